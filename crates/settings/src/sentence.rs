//! What is wrong with settings, for people: what there is, and what was probably meant.

use toml::{Table, Value};

use super::reader::{Problem, Reason};
use super::tree::get;
use super::words::nearest_all;

/// `did you mean ...? ` where something is near.
pub(super) fn did_you_mean(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => {
            let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("did you mean {}? ", quoted.join(" or "))
        }
    }
}

/// What a problem is, for people.
pub(super) fn sentence(problem: &Problem, tree: &Table) -> String {
    let at = |key: &str| {
        let mut path = problem.path.clone();
        path.push(key.to_owned());
        path.join(".")
    };
    let place = problem.path.join(".");
    let value = match get(tree, &problem.path) {
        Some(value @ (Value::Table(_) | Value::Array(_))) if value.to_string().len() > 60 => None,
        value => value.map(|value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }),
    };
    match &problem.reason {
        Reason::Key { key, known } => {
            let near: Vec<String> = nearest_all(key, known.iter().copied()).into_iter().map(at).collect();
            let advice = did_you_mean(&near);
            let whose = if place.is_empty() { "there are".to_owned() } else { format!("`{place}` has") };
            let names = if known.is_empty() { "no settings".to_owned() } else { known.join(", ") };
            format!("there is no setting `{}`; {advice}{whose} {names}", at(key))
        }
        Reason::Word { word, known } => {
            let near: Vec<String> = nearest_all(word, known.iter().copied()).into_iter().map(str::to_owned).collect();
            let advice = did_you_mean(&near);
            format!("`{word}` does not fit `{place}`; {advice}choose one of {}", known.join(", "))
        }
        Reason::Missing(key) => {
            format!("`{0}` has no default and is missing; give it too, as in `{0}=...`", at(key))
        }
        Reason::Value { found, wanted } => {
            let found = value.map_or_else(|| found.clone(), |value| format!("`{value}`"));
            format!("{found} does not fit `{place}`; it takes {}", in_words(wanted))
        }
        Reason::Other(message) if place.is_empty() => message.clone(),
        Reason::Other(message) => match value {
            Some(value) => format!("`{value}` does not fit `{place}`: {message}"),
            None => format!("`{place}`: {message}"),
        },
    }
}

/// What serde says that a type expects, for people.
fn in_words(wanted: &str) -> String {
    match wanted {
        "f32" | "f64" => "a number".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "a sequence" => "a list, as in `[1, 2]`".to_owned(),
        other => {
            match other.strip_prefix("an array of length ").or_else(|| other.strip_prefix("fewer elements in array")) {
                Some(length) => format!("a list of {length}"),
                None if other.starts_with("struct ") || other.contains("internally tagged") => {
                    "a section of settings".to_owned()
                }
                None if other.starts_with("enum ") || other.starts_with("variant ") => "one of its words".to_owned(),
                None => other.to_owned(),
            }
        }
    }
}
