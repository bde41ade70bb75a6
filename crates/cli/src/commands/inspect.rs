//! `inspect`: what a file or folder is, and whether it is sound.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use pipeline::Skipped;
use pipeline::inspect::{self, Inspection};

use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Files and folders of any kind
    #[arg(required = true, value_name = "ANYTHING")]
    paths: Vec<PathBuf>,
}

/// Unsound things count like skipped items: the status is 1, and each is listed with its first problem.
pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    context.refuse_overrides("inspect")?;
    let mut outcome = Outcome::default();
    let single = arguments.paths.len() == 1;
    for path in &arguments.paths {
        match inspect::run(path) {
            Ok(inspection) => {
                context.terminal.print(&describe(path, &inspection))?;
                if !inspection.is_sound() {
                    let reason = match inspection.problems.first() {
                        Some(problem) => format!("not sound: {problem}"),
                        None => "nothing that this program knows".to_owned(),
                    };
                    outcome.skipped.push(Skipped { item: path.display().to_string(), reason });
                }
            }
            Err(error) if single => return Err(error),
            Err(error) => {
                outcome.skipped.push(Skipped { item: path.display().to_string(), reason: format!("{error:#}") });
            }
        }
    }
    Ok(outcome)
}

fn describe(path: &Path, inspection: &Inspection) -> String {
    let mut text = format!("{}: {}\n", path.display(), inspection.kind.name());
    let width = inspection.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
    for line in &inspection.lines {
        text += &format!("  {:<width$}  {}\n", line.label, line.value);
    }
    for problem in &inspection.problems {
        text += &format!("  problem: {problem}\n");
    }
    text
}
