//! Settings of every command: TOML that is resolved and checked before any work starts.
//!
//! What comes with the program is embedded; `--set path.to.key=value` changes single settings of any command. Files and
//! `--set` go through one reader, so an unknown key cannot be ignored and both say what was probably meant.
//!
//! | part | what it does |
//! | --- | --- |
//! | `reader` | reads a tree, and keeps the parts of what is wrong with it |
//! | `change` | paths, kinds and their defaults, spellings |
//! | `sentence` | says what is wrong |
//! | `file` | the same for files, with lines |
//! | `words` | spellings and suggestions |
//!
//! Each kind of training has settings of its own; finding, saving and comparing them is the same for all and lives here.

mod change;
mod file;
mod reader;
mod sentence;
#[cfg(test)]
mod tests;
mod tree;
mod words;

pub use change::{Known, change, change_within, keys_at, kinds_at};
pub use words::{nearest, same_word};

use anyhow::{Context, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// All settings of one kind of training. Implementors derive serde's traits with `deny_unknown_fields`.
pub trait Settings: Clone + Serialize + DeserializeOwned {
    /// Name and text of each file that comes with the program.
    const EMBEDDED: &'static [(&'static str, &'static str)];

    /// What the settings are for, in a sentence.
    fn description(&self) -> &str;

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    fn validate(&self) -> Result<()>;

    /// A run's own settings with those of the given ones that may change when it is resumed, such as a longer run.
    #[must_use]
    fn resumed_with(self, given: &Self) -> Self;
}

/// Name and description of each embedded file.
///
/// # Errors
/// An embedded file that cannot be read, which the tests rule out.
pub fn list<S: Settings>() -> Result<Vec<(&'static str, String)>> {
    S::EMBEDDED.iter().map(|(name, text)| Ok((*name, file::parse::<S>(text)?.description().to_owned()))).collect()
}

/// The settings of that name or in that file, changed by `(path.to.key, value)` pairs and checked.
///
/// # Errors
/// No such recipe, a key or value that it cannot have, or settings that contradict one another.
pub fn resolve<S: Settings>(name_or_path: &str, overrides: &[(String, String)]) -> Result<S> {
    let settings = change(&read::<S>(name_or_path)?, overrides)?;
    settings.validate()?;
    Ok(settings)
}

/// The settings of that name or in that file, not yet checked against one another: that comes when all are set.
///
/// # Errors
/// No such recipe, a key or value that it cannot have.
pub fn read<S: Settings>(name_or_path: &str) -> Result<S> {
    if let Some((name, text)) = S::EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        return file::parse(text).with_context(|| format!("the recipe is not valid: {name}"));
    }
    let known: Vec<&str> = S::EMBEDDED.iter().map(|(name, _)| *name).collect();
    ensure!(
        Path::new(name_or_path).is_file(),
        "there is no recipe `{name_or_path}`, and no file of that name; the embedded ones are {}",
        known.join(", ")
    );
    let text =
        std::fs::read_to_string(name_or_path).with_context(|| format!("the recipe cannot be read: {name_or_path}"))?;
    file::parse(&text).with_context(|| format!("the recipe is not valid: {name_or_path}"))
}

/// As a TOML file that [`from_toml`] reads back equal.
///
/// # Errors
/// A value that TOML cannot hold.
pub fn to_toml<S: Settings>(settings: &S) -> Result<String> {
    toml::to_string_pretty(settings).context("the recipe has a value that TOML cannot hold")
}

/// Reads back what [`to_toml`] wrote.
///
/// # Errors
/// Text that is no recipe, or an impossible one.
pub fn from_toml<S: Settings>(text: &str) -> Result<S> {
    let settings = file::parse::<S>(text)?;
    settings.validate()?;
    Ok(settings)
}

/// The first setting, beyond those that may change, in which a resumed run's settings differ from the given ones; in
/// words.
///
/// # Errors
/// A value that TOML cannot hold.
pub fn first_difference<S: Settings>(saved: &S, given: &S) -> Result<Option<String>> {
    fn walk(path: &str, saved: &toml::Value, given: Option<&toml::Value>) -> Option<String> {
        match (saved, given) {
            (toml::Value::Table(saved), Some(toml::Value::Table(given))) => {
                let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                saved.iter().find_map(|(key, value)| walk(&inside(key), value, given.get(key)))
            }
            (saved, Some(given)) if saved == given => None,
            (saved, Some(given)) => Some(format!("`{path}` is {given} instead of {saved}")),
            (saved, None) => Some(format!("`{path}` is not set instead of {saved}")),
        }
    }
    let saved = saved.clone().resumed_with(given);
    Ok(walk("", &toml::Value::try_from(&saved)?, Some(&toml::Value::try_from(given)?)))
}
