//! One self-contained HTML page about any mix of runs, datasets, models, networks and results of evaluations: pictures,
//! curves, figures beside their controls, settings, fingerprints, counts. It needs nothing from the network and can be
//! mailed or archived as it is.
//!
//! A number out of a result file stands in an element with `data-key`, the way to it in the file, and `data-value`, all
//! its digits; the nearest `data-source` around it names the file.

mod evaluations;
mod folders;
mod markdown;
mod page;
mod pictures;
mod place;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use files::outputs;
use messages::Progress;
use messages::{Skipped, duration};

/// What to report on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// Runs, datasets (synthetic ones too), models, networks, results of evaluations (files or folders), or folders that
    /// hold some of these.
    pub folders: Vec<PathBuf>,
    /// The HTML file.
    pub out: PathBuf,
    /// The heading of the page.
    pub title: String,
    /// Sentences below the heading, set off from the rest; may be empty.
    pub notes: Vec<String>,
    /// What took how many seconds, for a table of timings; may be empty.
    pub timings: Vec<(String, f64)>,
}

impl ReportConfig {
    /// A page about these folders without notes or timings.
    pub fn new(folders: Vec<PathBuf>, out: PathBuf) -> Self {
        Self { folders, out, title: "DiNO-Diffusion report".into(), notes: Vec::new(), timings: Vec::new() }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ReportSummary {
    /// The HTML file.
    pub out: PathBuf,
    /// Its size in bytes.
    pub num_bytes: usize,
    /// The sections of the page: folders, and result files that have one of their own.
    pub num_folders: usize,
    /// Folders and files that could not be shown.
    pub skipped: Vec<Skipped>,
}

/// Writes the page. A folder that cannot be read is skipped and listed.
///
/// # Errors
/// None of the folders could be shown, or the file cannot be written.
pub fn run(config: &ReportConfig, progress: &dyn Progress) -> Result<ReportSummary> {
    outputs::check_file(&config.out)?;
    let mut skipped = Vec::new();
    let mut skip = |folder: &Path, error: anyhow::Error| {
        skipped.push(Skipped { item: folder.display().to_string(), reason: messages::sentence(&error, None) });
    };
    let mut found = Vec::new();
    for folder in &config.folders {
        match folders::find(folder) {
            Ok(more) => found.extend(more),
            Err(error) => skip(folder, error),
        }
    }
    if found.is_empty() {
        bail!(nothing(&skipped));
    }
    progress.begin("reading the folders", found.len() as u64, "folders");
    let (mut sections, mut conditioning) = (Vec::new(), Vec::new());
    for (folder, kind) in &found {
        progress.advance(1, &folder.display().to_string());
        match folders::section(folder, *kind) {
            Ok(Some(folders::Section { title, body })) => sections.push((title, body)),
            Ok(None) => {}
            Err(error) => skip(folder, error),
        }
        if *kind == folders::Kind::Results {
            conditioning.extend(folders::conditioning_in(folder).unwrap_or_default());
        }
    }
    progress.end();
    if !conditioning.is_empty() {
        let files: Vec<_> = conditioning.iter().collect();
        sections.push(("Conditioning".into(), evaluations::conditioning_section(&files)));
    }
    if sections.is_empty() {
        bail!(nothing(&skipped));
    }

    let html = page::document(&config.title, &introduction(config), &sections);
    outputs::write_file(&config.out, html.as_bytes())?;
    Ok(ReportSummary { out: config.out.clone(), num_bytes: html.len(), num_folders: sections.len(), skipped })
}

fn nothing(skipped: &[Skipped]) -> String {
    match skipped.first() {
        Some(first) => format!("there is nothing to report on: {}", first.reason),
        None => "there is nothing to report on; give runs, datasets, models or results of evaluations".into(),
    }
}

fn introduction(config: &ReportConfig) -> String {
    let mut html = String::new();
    for note in &config.notes {
        html.push_str(&page::note(note));
    }
    if !config.timings.is_empty() {
        let mut rows: Vec<(String, String)> =
            config.timings.iter().map(|(stage, secs)| (stage.clone(), duration(*secs))).collect();
        rows.push(("together".into(), duration(config.timings.iter().map(|(_, secs)| secs).sum())));
        html.push_str(&page::facts(&rows));
    }
    html
}

#[cfg(test)]
mod rendered_tests;
#[cfg(test)]
mod tests;
