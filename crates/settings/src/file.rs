//! Files of settings: what is wrong is said with its line.

use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::Table;
use toml::de::{DeTable, DeValue};

use super::change::settle;
use super::reader::{Problem, Reason};
use super::sentence::sentence;
use super::words::same_word;

/// Sections of what `--dry-run` prints that hold the settings of a file.
const SECTIONS: [&str; 2] = ["recipe", "settings"];

/// Reads settings, in either spelling; of what `--dry-run` printed the section with the recipe.
///
/// # Errors
/// Text that is no TOML, an unknown key with what was probably meant, a value that a setting cannot have; with the line.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut tree: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or_else(String::new, |span| format!("line {}: ", line_of(text, span.start)));
        anyhow!("{line}{}", error.message())
    })?;
    let mut section = None;
    if !tree.contains_key("description")
        && let Some(name) = SECTIONS.into_iter().find(|name| tree.get(*name).is_some_and(toml::Value::is_table))
        && let Some(toml::Value::Table(inner)) = tree.remove(name)
    {
        (tree, section) = (inner, Some(name));
    }
    settle::<T>(&mut tree, &[]).map_err(|problem| {
        let line = line_of_problem(text, section, &problem);
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        anyhow!("{line}{}", sentence(&problem, &tree))
    })
}

/// Lines count from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Where the key, or the section that lacks one, stands.
fn line_of_problem(text: &str, section: Option<&str>, problem: &Problem) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut way: Vec<&str> = section.into_iter().chain(problem.path.iter().map(String::as_str)).collect();
    let mut deeper = None;
    match &problem.reason {
        Reason::Key { key, .. } => deeper = Some(key.as_str()),
        Reason::Word { word, .. } => deeper = Some(word.as_str()),
        _ => {}
    }
    way.retain(|key| !key.is_empty());
    let mut place: Option<usize> = None;
    let mut table: Option<&DeTable<'_>> = Some(root.get_ref());
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for key in way {
        value = match (table, value.map(Spanned::get_ref)) {
            (Some(inside), _) => {
                let found = inside.iter().find(|(name, _)| same_word(name.get_ref(), &[key]).is_some());
                place = found.map(|(name, _)| name.span().start).or(place);
                found.map(|(_, value)| value)
            }
            (None, Some(DeValue::Array(items))) => key.parse::<usize>().ok().and_then(|number| items.get(number)),
            _ => None,
        };
        if let Some(item) = value
            && key.parse::<usize>().is_ok()
        {
            place = Some(item.span().start);
        }
        table = match value.map(Spanned::get_ref) {
            Some(DeValue::Table(inside)) => Some(inside),
            _ => None,
        };
    }
    // Inside an enum with a tag the place is that of the enum.
    let found = deeper.and_then(|key| table.and_then(|table| find_key(table, key)));
    found.or(place).map(|byte| line_of(text, byte))
}

fn find_key(table: &DeTable<'_>, key: &str) -> Option<usize> {
    table.iter().find_map(|(name, value)| {
        let is_value = matches!(value.get_ref(), DeValue::String(text) if text == key);
        if same_word(name.get_ref(), &[key]).is_some() || is_value {
            return Some(name.span().start);
        }
        match value.get_ref() {
            DeValue::Table(inside) => find_key(inside, key),
            _ => None,
        }
    })
}
