//! `inspect`: what a file or folder is, and whether it is sound.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use ingest::compare::{Comparison, Shared, compare_folders};
use messages::Skipped;
use stages::inspect::{self, Inspection};

use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Files and folders of any kind
    #[arg(required = true, value_name = "ANYTHING")]
    paths: Vec<PathBuf>,
    /// Print nothing but what two datasets share, as JSON
    #[arg(long)]
    json: bool,
    /// End with status 2 where two datasets share patients, images or images that look alike
    #[arg(long)]
    fail_on_leaks: bool,
}

/// Two datasets are compared as well. Unsound things count like skipped items: the status is 1, and each is listed with
/// its first problem.
pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    context.refuse_overrides("inspect")?;
    let mut outcome = Outcome::default();
    let comparison = match &arguments.paths[..] {
        [first, second] => compare_folders(first, second)?,
        _ => None,
    };
    ensure!(
        comparison.is_some() || !(arguments.json || arguments.fail_on_leaks),
        "`--json` and `--fail-on-leaks` compare two datasets; give the folders of two finished ones"
    );
    if !arguments.json {
        describe_all(&arguments, context, &mut outcome)?;
    }
    if let Some(comparison) = comparison {
        let text = if arguments.json { comparison.to_json()? + "\n" } else { describe_comparison(&comparison) };
        context.terminal.print(&text)?;
        ensure!(
            !(arguments.fail_on_leaks && comparison.has_leaks()),
            "the datasets share patients or images; prepare one of them again with `--exclude` and the other"
        );
    }
    Ok(outcome)
}

fn describe_all(arguments: &Arguments, context: &Context<'_>, outcome: &mut Outcome) -> Result<()> {
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
                let reason = messages::sentence(&error, None);
                outcome.skipped.push(Skipped { item: path.display().to_string(), reason });
            }
        }
    }
    Ok(())
}

fn describe_comparison(comparison: &Comparison) -> String {
    let line = |name: &str, shared: &Shared| {
        let examples: String = shared.examples.iter().map(|example| format!("\n    {example}")).collect();
        format!("  {name:<16}  {}{examples}\n", shared.count)
    };
    let mut text = "in both, second = first:\n".to_owned();
    text += &match &comparison.patients {
        Some(patients) => line("patients", patients),
        None => "  patients          unknown: the datasets were not prepared with the same salt file\n".to_owned(),
    };
    text += &line("equal pixels", &comparison.exact_duplicates);
    text += &line("near duplicates", &comparison.near_duplicates);
    let [first, second] = comparison.num_without_hash;
    if first + second > 0 {
        text += &format!("  without a hash    {first} and {second} images, of which near duplicates are not found\n");
    }
    text
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
