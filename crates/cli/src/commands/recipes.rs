//! What commands with recipes share: listing them, and guessing the one that was meant.

use std::path::Path;

use anyhow::{Error, Result};
use settings::{self, Settings, nearest};

use crate::context::Context;
use crate::outcome::{Hint, Outcome};

/// Prints the recipes that a command knows.
///
/// # Errors
/// A closed output.
pub fn list_recipes<S: Settings>(context: &Context<'_>) -> Result<Outcome> {
    let recipes = settings::list::<S>()?;
    let width = recipes.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        recipes.iter().map(|(name, description)| format!("{name:<width$} {description}")).collect();
    context.terminal.print(&lines.join("\n"))?;
    Ok(Outcome::default())
}

/// The recipe of that name or in that file, with the seed that was given; not checked before all of it is set.
///
/// # Errors
/// No such recipe, with the one that was probably meant; a file that is not valid.
pub fn read_recipe<S: Settings>(typed: &str, context: &Context<'_>) -> Result<S> {
    context.seeded(&settings::read::<S>(typed).map_err(|error| suggest::<S>(typed, error))?)
}

/// Adds the recipe that was probably meant.
fn suggest<S: Settings>(typed: &str, error: Error) -> Error {
    let is_known = S::EMBEDDED.iter().any(|(name, _)| *name == typed) || Path::new(typed).exists();
    match nearest(typed, S::EMBEDDED.iter().map(|(name, _)| *name)) {
        Some(name) if !is_known => error.context(Hint(format!("did you mean `--recipe {name}`?"))),
        _ => error,
    }
}
