//! Files of settings: TOML that is resolved and checked before any work starts.
//!
//! What comes with the program is embedded; `--set path.to.key=value` changes single settings. Unknown keys are
//! refused, so a typo cannot be ignored. Each kind of training has settings of its own; finding, changing, saving and
//! comparing them is the same for all and lives here.

use anyhow::{Context, Result, bail, ensure};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// All settings of one kind of training. Implementors derive serde's traits with `deny_unknown_fields`.
pub trait Settings: Clone + Serialize + DeserializeOwned {
    /// Name and text of each file that comes with the program.
    const EMBEDDED: &'static [(&'static str, &'static str)];
    /// Last parts of the keys that are not written where they have no value, but may be set.
    const OPTIONAL: &'static [&'static str] = &[];

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
    S::EMBEDDED.iter().map(|(name, text)| Ok((*name, parse::<S>(text)?.description().to_owned()))).collect()
}

/// The settings of that name or in that file, changed by `(path.to.key, value)` pairs and checked.
///
/// # Errors
/// No such recipe, a key or value that it cannot have, or settings that contradict one another.
pub fn resolve<S: Settings>(name_or_path: &str, overrides: &[(String, String)]) -> Result<S> {
    let text = match S::EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        Some((_, text)) => (*text).to_owned(),
        None => {
            let path = Path::new(name_or_path);
            let known: Vec<&str> = S::EMBEDDED.iter().map(|(name, _)| *name).collect();
            ensure!(
                path.is_file(),
                "there is no recipe `{name_or_path}`, and no file of that name; the embedded ones are {}",
                known.join(", ")
            );
            std::fs::read_to_string(path).with_context(|| format!("the recipe cannot be read: {name_or_path}"))?
        }
    };
    let settings = parse::<S>(&text).with_context(|| format!("the recipe is not valid: {name_or_path}"))?;
    let settings = if overrides.is_empty() { settings } else { change(&settings, overrides)? };
    settings.validate()?;
    Ok(settings)
}

fn parse<S: Settings>(text: &str) -> Result<S> {
    Ok(toml::from_str(text)?)
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
    let settings = parse::<S>(text)?;
    settings.validate()?;
    Ok(settings)
}

fn change<S: Settings>(settings: &S, overrides: &[(String, String)]) -> Result<S> {
    let mut root = toml::Table::try_from(settings)?;
    for (path, value) in overrides {
        let keys: Vec<&str> = path.split('.').collect();
        let Some((last, parents)) = keys.split_last() else { continue };
        let mut table = &mut root;
        for key in parents {
            let known = table.keys().cloned().collect::<Vec<_>>().join(", ");
            table = match table.get_mut(*key) {
                Some(toml::Value::Table(inner)) => inner,
                _ => bail!("`{path}` is no setting of a recipe: there is no section `{key}`; there are {known}"),
            };
        }
        // A bare word such as `heun` is meant as a string.
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.clone()));
        // `--set x=1` for a setting that is a fraction: TOML is stricter than people.
        let parsed = match (table.get(*last), parsed) {
            (Some(toml::Value::Float(_)), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
            (None, _) if !S::OPTIONAL.contains(last) => bail!(
                "`{path}` is no setting of a recipe; the section has {}",
                table.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
            (_, parsed) => parsed,
        };
        table.insert((*last).to_owned(), parsed);
    }
    root.try_into().context("a value given by `--set` does not fit its setting")
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
