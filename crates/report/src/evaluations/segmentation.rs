//! Segmentation: every method and rule, and under a fold all settings that were tried.

use super::{CONTROL, Captioned, SUBJECT, mark, settings};
use crate::page::{Markup, chart_row, figures_table, folded};
use crate::place::{Measure, Place, Style};
use charts::{Mark, interval_chart};

/// Methods that use no trained diffusion model.
const CONTROLS: [&str; 3] = ["place alone", "otsu", "token_cut"];

pub(super) fn section(root: &Place<'_>) -> String {
    let results = root.get("results").entries();
    let style = Style::Decimals(3);
    let mut rules: Vec<&str> = Vec::new();
    for rule in results.iter().filter_map(|row| row.get("rule").text()) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let drawn = rules.iter().filter_map(|rule| {
        let marks: Vec<Mark> = results
            .iter()
            .filter(|row| row.get("rule").text() == Some(rule))
            .filter_map(|row| {
                let method = row.get("method").text()?;
                let is_control = CONTROLS.contains(&method) || method.ends_with("on random weights");
                let dice = Measure::any(&row.get("scores"), "dice");
                mark(method.replace('_', " "), &dice, style, if is_control { CONTROL } else { SUBJECT })
            })
            .collect();
        Some((interval_chart("Dice", &marks, None)?, format!("{rule}; orange: controls")))
    });
    let drawn: Vec<Captioned> = drawn.collect();
    let rows: Vec<Vec<Markup>> = results
        .iter()
        .map(|row| {
            let scores = row.get("scores");
            let share = |name: &str| Measure::any(&scores, name).written(style);
            let pixels = |name: &str| Measure::any(&scores, name).written(Style::Decimals(1));
            vec![
                Markup::text(row.get("method").text().unwrap_or_default().replace('_', " ")),
                row.get("rule").words(),
                share("dice"),
                share("intersection_over_union"),
                share("dice_right"),
                share("dice_left"),
                pixels("hausdorff_95"),
                pixels("surface_distance"),
                scores.get("num_nothing_found").written(Style::Plain),
                row.get("search_dice").written(style),
            ]
        })
        .collect();
    let headings = [
        "method",
        "rule",
        "Dice",
        "IoU",
        "right lung, Dice",
        "left lung, Dice",
        "Hausdorff 95 % (MONAI's), px",
        "surface distance, px",
        "nothing found",
        "Dice in the search",
    ];
    let facts = [
        ("model", "model"),
        ("images it was trained on", "images_seen"),
        ("dataset", "dataset"),
        ("images to choose settings on", "search.images"),
        ("patients they are of", "search.patients"),
        ("images of the report", "report.images"),
        ("patients they are of", "report.patients"),
    ];
    let chosen: Vec<Vec<Markup>> = results
        .iter()
        .filter(|row| row.get("settings").exists())
        .map(|row| vec![row.get("method").words(), row.get("rule").words(), row.get("settings").in_one_line()])
        .collect();
    chart_row(drawn)
        + &figures_table(&headings, &rows)
        + &settings(root, &facts)
        + &progress(root)
        + &options(root)
        + &folded("Settings that were best in the search", &figures_table(&["method", "rule", "settings"], &chosen))
        + &folded("Every setting that was tried", &tried(root))
}

/// By checkpoint.
fn progress(root: &Place<'_>) -> String {
    let rows: Vec<Vec<Markup>> = root
        .get("checkpoints")
        .entries()
        .iter()
        .map(|row| {
            let (seen, method) = (row.get("images_seen").written(Style::Plain), row.get("method").words());
            vec![seen, method, dice_by_rule(row)]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    folded("Dice in the search, by checkpoint", &figures_table(&["images seen", "method", "Dice by rule"], &rows))
}

/// What was tried beside the plain pass.
fn options(root: &Place<'_>) -> String {
    let style = Style::Decimals(3);
    let rows: Vec<Vec<Markup>> = root
        .get("options")
        .entries()
        .iter()
        .map(|row| {
            let [option, method, rule] = ["option", "method", "rule"].map(|key| row.get(key).words());
            let [with, without] = ["dice", "dice_without"].map(|key| row.get(key).written(style));
            let kept = Markup::text(if row.get("kept").is_true() { "yes" } else { "no" });
            vec![option, method, rule, with, without, kept]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let headings = ["option", "method", "rule", "Dice in the search", "without options", "kept"];
    folded("Options of the pass, and whether they help", &figures_table(&headings, &rows))
}

fn tried(root: &Place<'_>) -> String {
    let rows: Vec<Vec<Markup>> = root
        .get("tried")
        .entries()
        .iter()
        .map(|row| {
            let segments = row.get("mean_segments").written(Style::Plain);
            vec![row.get("method").words(), dice_by_rule(row), segments, row.get("settings").in_one_line()]
        })
        .collect();
    figures_table(&["method", "Dice in the search", "segments", "settings"], &rows)
}

fn dice_by_rule(row: &Place<'_>) -> Markup {
    let each = row.get("dice").entries();
    let written = each.iter().map(|entry| {
        let (Markup(rule), Markup(dice)) = (entry.get("rule").words(), entry.get("dice").written(Style::Decimals(3)));
        format!("{rule} {dice}")
    });
    Markup(written.collect::<Vec<_>>().join("<br>"))
}
