//! What fidelity contributes to the page: every synthetic set beside the floor, in one table.

use super::super::page::{Markup, chart_row, figures_table, note};
use super::super::place::{Measure, Place, Style};
use super::{CONTROL, Captioned, SUBJECT, mark, settings};
use charts::{Mark, interval_chart};

/// Key, name and style of each measure.
const MEASURES: [(&str, &str, Style); 8] = [
    ("kernel_distance", "kernel distance", Style::Decimals(4)),
    ("frechet_distance", "Fréchet distance", Style::Decimals(2)),
    ("precision", "precision", Style::Percent),
    ("recall", "recall", Style::Percent),
    ("density", "density", Style::Decimals(3)),
    ("coverage", "coverage", Style::Percent),
    ("brightness", "brightness", Style::Decimals(3)),
    ("contrast", "contrast", Style::Decimals(3)),
];

pub(super) fn section(root: &Place<'_>) -> String {
    let sets = sets(root);
    let floor = root.get("held_out");
    // Statistics that stand for the reference bring a floor of their own.
    let floor = if floor.exists() { floor } else { root.get("floor") };
    let mut html = root.get("note").text().map_or(String::new(), note);
    let marks = |key: &str, label: &str, style: Style| -> Vec<Mark> {
        let prefix = if label.is_empty() { String::new() } else { format!("{label}, ") };
        let subjects = sets.iter().map(|set| (set.short.as_str(), &set.place, SUBJECT));
        subjects
            .chain([("held-out real: the floor", &floor, CONTROL)])
            .filter_map(|(name, set, colour)| mark(format!("{prefix}{name}"), &Measure::any(set, key), style, colour))
            .collect()
    };
    let mut all: Vec<Captioned> = Vec::new();
    for (key, name, style) in &MEASURES[..2] {
        let caption = format!("{name} to the reference; smaller is nearer");
        all.extend(interval_chart(name, &marks(key, "", *style), None).map(|chart| (chart, caption)));
    }
    let shares = |of: &[(&str, &str, Style)], caption: &str| {
        let marks: Vec<Mark> = of.iter().flat_map(|(key, name, style)| marks(key, name, *style)).collect();
        interval_chart("share", &marks, None).map(|chart| (chart, caption.to_owned()))
    };
    all.extend(shares(&MEASURES[2..4], "Precision: synthetic images among real ones; recall: real ones among them"));
    all.extend(shares(&MEASURES[4..6], "The same by neighbourhoods of five: density and coverage"));
    html.push_str(&chart_row(all));
    html.push_str(&settings(
        root,
        &[
            ("feature network", "network"),
            ("its fingerprint", "features"),
            ("numbers in a feature", "dim"),
            ("real images in the reference", "num_reference"),
            ("images of each set and of the floor", "num_images"),
            ("images of the floor", "floor.num_images"),
        ],
    ));
    let rows: Vec<Vec<Markup>> = MEASURES
        .iter()
        .map(|(key, name, style)| {
            let reference = root.get(&format!("reference_{key}"));
            let reference = if reference.exists() { reference.written(*style) } else { Markup::default() };
            let judged = sets.iter().map(|set| &set.place).chain([&floor]);
            let judged = judged.map(|set| Measure::any(set, key).written(*style));
            [Markup::text(name)].into_iter().chain(judged).chain([reference]).collect()
        })
        .collect();
    let names = sets.iter().map(|set| set.name.as_str());
    let headings: Vec<&str> =
        [""].into_iter().chain(names).chain(["held-out real: the floor", "reference itself"]).collect();
    html.push_str(&figures_table(&headings, &rows));
    for Set { name, place, .. } in &sets {
        // Files of a single set have it at their root.
        let drift = [place.get("drift"), root.get("drift")].into_iter().find(Place::exists);
        html.push_str(&drift.map_or_else(String::new, |drift| drift_table(name, &drift)));
    }
    html
}

/// One synthetic set.
struct Set<'a> {
    /// How it was drawn and the name of its folder.
    name: String,
    /// For charts, where there is little room: how it was drawn, or its number where that does not tell sets apart.
    short: String,
    place: Place<'a>,
}

/// The synthetic sets; older files hold a single one in place of a list.
fn sets<'a>(root: &Place<'a>) -> Vec<Set<'a>> {
    let synthetic = root.get("synthetic");
    let entries = synthetic.entries();
    if entries.is_empty() {
        return vec![Set { name: "synthetic".into(), short: "synthetic".into(), place: synthetic }];
    }
    let drawn: Vec<&str> = entries.iter().map(|set| set.get("drawn").text().unwrap_or("unknown")).collect();
    let is_telling = |word: &str| word != "unknown" && drawn.iter().filter(|other| **other == word).count() == 1;
    let set = |(index, place): (usize, &Place<'a>)| {
        let (word, folder) = (drawn[index], place.get("name").text().unwrap_or("synthetic"));
        let (name, short) = match () {
            () if entries.len() == 1 && word == "unknown" => (folder.to_owned(), "synthetic".to_owned()),
            () if entries.len() == 1 => (format!("{word}: {folder}"), "synthetic".to_owned()),
            () if is_telling(word) => (format!("{word}: {folder}"), word.to_owned()),
            () => (format!("synthetic {}: {folder}", index + 1), format!("synthetic {}", index + 1)),
        };
        Set { name, short, place: place.clone() }
    };
    entries.iter().enumerate().map(set).collect()
}

fn drift_table(name: &str, drift: &Place<'_>) -> String {
    let row = |key: &str, name: &str, style: Style, ideal: &str| {
        vec![Markup::text(name), Measure::any(drift, key).written(style), Markup::text(ideal)]
    };
    let rows = [
        row("brightness", "brightness less its source's", Style::Decimals(4), "0"),
        row("contrast", "contrast less its source's", Style::Decimals(4), "0"),
        row("left_right_consistency", "resembles its source more than the mirror image", Style::Percent, "100 %"),
    ];
    figures_table(&["beside its own source", name, "of a perfect copy"], &rows)
        + &settings(drift, &[("images with a single source", "num_images")])
}
