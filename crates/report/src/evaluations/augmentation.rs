//! What the grid of classifiers contributes to the page: the compact tables, the box plots, and every comparison with its
//! test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::markdown;
use super::super::page::{Markup, escape, figures_table, folded, paragraph};
use super::super::pictures::files_in;
use super::super::place::{Measure, Place, Style};
use super::settings;

/// What a p-value must be below to count.
const LEVEL: f64 = 0.05;

/// Tables and comparisons; the drawings that [`own_files`] names follow them.
pub(super) fn section(root: &Place<'_>, file: &Path) -> Result<String> {
    let mut html = String::new();
    let tables = file.with_file_name("tables.md");
    if tables.is_file() {
        let text = fs::read_to_string(&tables).with_context(|| format!("the file is no text: {}", tables.display()))?;
        html.push_str(&markdown::to_html(&text));
    }
    let groups = root.get("groups").entries();
    let mut classifiers: Vec<&str> = groups.iter().filter_map(|group| group.get("classifier").text()).collect();
    classifiers.dedup();
    let comparisons: String = classifiers
        .iter()
        .map(|classifier| {
            let own = groups.iter().filter(|group| group.get("classifier").text() == Some(*classifier));
            let rows: Vec<Vec<Markup>> = own.map(row).collect();
            format!("<h4>{}</h4>\n", escape(&classifier.replace('_', " "))) + &figures_table(&HEADINGS, &rows)
        })
        .collect();
    if !comparisons.is_empty() {
        let test = root.get("test").text().map_or_else(String::new, |test| {
            paragraph(&format!(
                "Differences of the mean area under the curve, fold by fold. p-values: {test}. An asterisk: below \
                 {LEVEL}."
            ))
        });
        html.push_str(&folded("Every comparison, with its test", &(test + &comparisons)));
    }
    html.push_str(&settings(
        root,
        &[
            ("real images", "dataset"),
            ("trainings that are done", "num_finished"),
            ("trainings that would need too many synthetic images", "num_left_out_cells"),
            ("images left out for their labels", "num_left_out"),
            ("folds", "settings.grid.num_folds"),
            ("repeats", "settings.grid.num_repeats"),
        ],
    ));
    Ok(html)
}

const HEADINGS: [&str; 11] = [
    "learned from",
    "real",
    "synthetic per real",
    "trainings",
    "mean AUC",
    "standard deviation",
    "less real images alone",
    "p, adjusted",
    "Cohen's d",
    "less classical variants",
    "p, adjusted",
];

/// A regime as people call it; one that is not known as the file has it.
fn regime_title(regime: &str) -> &str {
    match regime {
        "real_and_synthetic" => "real + synthetic",
        "synthetic" => "synthetic only",
        "synthetic_then_real" => "synthetic, then real",
        "real_and_classical" => "real + classical",
        other => other,
    }
}

fn row(group: &Place<'_>) -> Vec<Markup> {
    let regime = group.get("regime").text().unwrap_or_default();
    let set = group.get("synthetic").text().map_or_else(String::new, |name| format!(" ({name})"));
    let optional = |place: Place<'_>, style| if place.exists() { place.written(style) } else { Markup::default() };
    let comparison = |name: &str| -> [Markup; 3] {
        let found = group.get(name);
        if !found.exists() {
            return [Markup::default(), Markup::default(), Markup::default()];
        }
        let p = found.get("p_adjusted");
        let mark = if p.number().is_some_and(|p| p < LEVEL) { " *" } else { "" };
        let difference = Measure::of(&found, "difference").written(Style::Decimals(3));
        [
            difference,
            Markup(p.written(Style::Decimals(4)).0 + mark),
            optional(found.get("cohens_d"), Style::Decimals(2)),
        ]
    };
    let ([real, real_p, effect], [classical, classical_p, _]) =
        (comparison("against_real"), comparison("against_classical"));
    vec![
        Markup::text(regime_title(regime).to_owned() + &set),
        group.get("size").written(Style::Plain),
        optional(group.get("ratio"), Style::Plain),
        group.get("num_runs").written(Style::Plain),
        group.get("auc").written(Style::Decimals(3)),
        optional(group.get("deviation"), Style::Decimals(3)),
        real,
        real_p,
        effect,
        classical,
        classical_p,
    ]
}

/// The tables and the box plots that lie beside the file, whose names begin with a classifier's: as SVG, which the page
/// shows, and as PNG.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn own_files(root: &Place<'_>, folder: &Path) -> Result<Vec<PathBuf>> {
    let groups = root.get("groups").entries();
    let classifiers: Vec<&str> = groups.iter().filter_map(|group| group.get("classifier").text()).collect();
    let is_own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        classifiers.iter().any(|classifier| name.starts_with(&format!("{classifier}-")))
    };
    let mut files = vec![folder.join("tables.md")];
    for extension in ["svg", "png"] {
        files.extend(files_in(folder, extension)?.into_iter().filter(is_own));
    }
    Ok(files)
}
