//! Places in a tree of TOML: keys and, in lists, numbers.

use toml::{Table, Value};

/// The section at a place and all below it, from above.
pub(super) fn each_table(tree: &mut Table, place: &[String], act: &mut dyn FnMut(&mut Table)) {
    fn walk(value: &mut Value, act: &mut dyn FnMut(&mut Table)) {
        match value {
            Value::Table(table) => {
                act(table);
                table.iter_mut().for_each(|(_, value)| walk(value, act));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, act)),
            _ => {}
        }
    }
    if place.is_empty() {
        act(tree);
        tree.iter_mut().for_each(|(_, value)| walk(value, act));
    } else if let Some(value) = value_at(tree, place) {
        walk(value, act);
    }
}

/// The value at a place.
pub(super) fn value_at<'a>(tree: &'a mut Table, place: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = place.split_first()?;
    rest.iter().try_fold(tree.get_mut(first)?, |value, key| match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The value at a place.
pub(super) fn get<'a>(tree: &'a Table, place: &[String]) -> Option<&'a Value> {
    let (first, rest) = place.split_first()?;
    rest.iter().try_fold(tree.get(first)?, |value, key| match value {
        Value::Table(table) => table.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Puts a value at a place; sections on the way are made, and what is no section becomes one.
pub(super) fn put(tree: &mut Table, place: &[String], value: Value) {
    let Some((last, parents)) = place.split_last() else { return };
    if parents.is_empty() {
        tree.insert(last.clone(), value);
        return;
    }
    if let Some(Value::Array(items)) = value_at(tree, parents) {
        if let Some(item) = last.parse::<usize>().ok().and_then(|place| items.get_mut(place)) {
            *item = value;
        }
        return;
    }
    if !matches!(get(tree, parents), Some(Value::Table(_))) {
        put(tree, parents, Table::new().into());
    }
    if let Some(Value::Table(table)) = value_at(tree, parents) {
        table.insert(last.clone(), value);
    }
}

/// Takes away what stands at a place.
pub(super) fn remove(tree: &mut Table, place: &[String]) {
    match place.split_last() {
        Some((last, [])) => _ = tree.remove(last),
        Some((last, parents)) => {
            if let Some(Value::Table(table)) = value_at(tree, parents) {
                table.remove(last);
            }
        }
        None => {}
    }
}

/// The paths of all values.
pub(super) fn paths(tree: &Table) -> Vec<String> {
    fn walk(path: &str, table: &Table, found: &mut Vec<String>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Table(table) => walk(&path, table, found),
                _ => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk("", tree, &mut found);
    found
}
