//! Drawn curves: Dice against the threshold at which a method stops, and against training.

use super::{CheckpointRow, RuleDice, TriedRow};
use charts::{Axes, Chart, Series, line_chart};

/// Fewer thresholds make no curve.
const FEWEST_POINTS: usize = 3;

/// For each method that stops at a threshold a file name and a chart with one line for each rule.
///
/// The other settings are those that were best for the rule, so that the highest point of a line is the rule's result in
/// the search.
pub(super) fn by_threshold(tried: &[TriedRow]) -> Vec<(String, Chart)> {
    let with_threshold = || tried.iter().filter_map(|row| Some((row.settings.method.threshold()?, row)));
    let charts = distinct(with_threshold().map(|(_, row)| row.method.as_str())).into_iter().filter_map(|method| {
        let rows: Vec<(f64, &TriedRow)> = with_threshold().filter(|(_, row)| row.method == method).collect();
        let rules = distinct(rows.iter().flat_map(|(_, row)| &row.dice).map(|entry| entry.rule.as_str()));
        let lines: Vec<(&str, Vec<(f64, f64)>)> = rules.into_iter().map(|rule| (rule, at_best(&rows, rule))).collect();
        let has_curve = lines.iter().any(|(_, points)| points.len() >= FEWEST_POINTS);
        let axes = Axes { x: "threshold", y: "Dice", logarithmic: spans_decades(&rows) };
        let chart = if has_curve { drawn(axes, &lines) } else { None }?;
        let name = method.replace('_', " ");
        let title =
            format!("Dice against the threshold of {name}, in the search, other settings as they suit the rule");
        Some((format!("dice-by-threshold-{}.svg", file_name(method)), chart.titled(title)))
    });
    charts.collect()
}

/// For each method a file name and a chart with one line for each rule.
pub(super) fn by_training(rows: &[CheckpointRow]) -> Vec<(String, Chart)> {
    let charts = distinct(rows.iter().map(|row| row.method.as_str())).into_iter().filter_map(|method| {
        let of_method = || rows.iter().filter(|row| row.method == method);
        let rules = distinct(of_method().flat_map(|row| &row.dice).map(|entry| entry.rule.as_str()));
        let points = |rule: &str| -> Vec<(f64, f64)> {
            of_method().filter_map(|row| Some((row.images_seen as f64, dice_of(&row.dice, rule)?))).collect()
        };
        let lines: Vec<_> = rules.into_iter().map(|rule| (rule, points(rule))).collect();
        let chart = drawn(Axes { x: "images seen in training", y: "Dice", logarithmic: false }, &lines)?;
        let title =
            format!("Dice of {} in the course of training, on the images of the search", method.replace('_', " "));
        Some((format!("dice-by-training-{}.svg", file_name(method)), chart.titled(title)))
    });
    charts.collect()
}

/// Threshold and Dice of all rows that share their other settings with the best one of a rule, in the order of the
/// threshold.
fn at_best(rows: &[(f64, &TriedRow)], rule: &str) -> Vec<(f64, f64)> {
    let known = || rows.iter().filter_map(|(threshold, row)| Some((*threshold, dice_of(&row.dice, rule)?, *row)));
    let Some((_, _, best)) = known().reduce(|best, other| if other.1 > best.1 { other } else { best }) else {
        return Vec::new();
    };
    let others = |row: &TriedRow| (row.settings.pass.clone(), row.settings.rounds);
    let mut points: Vec<(f64, f64)> = known()
        .filter(|(_, _, row)| others(row) == others(best))
        .map(|(threshold, dice, _)| (threshold, dice))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn drawn(axes: Axes<'_>, lines: &[(&str, Vec<(f64, f64)>)]) -> Option<Chart> {
    let series: Vec<Series<'_>> = lines.iter().map(|(name, points)| Series { name, points }).collect();
    line_chart(axes, &series)
}

/// Whether thresholds differ by more than a factor of ten.
fn spans_decades(rows: &[(f64, &TriedRow)]) -> bool {
    let ends = rows.iter().fold((f64::INFINITY, 0.0), |(low, high), (x, _)| (f64::min(low, *x), f64::max(high, *x)));
    ends.0 > 0.0 && ends.1 / ends.0 > 10.0
}

fn dice_of(dice: &[RuleDice], rule: &str) -> Option<f64> {
    dice.iter().find(|entry| entry.rule == rule).map(|entry| entry.dice)
}

/// Each once, in the order in which they come.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn file_name(method: &str) -> String {
    method.replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use segmentation::{Method, PassSettings, SegmenterSettings};

    fn row(threshold: f32, timestep: f64, oracle: f64, unsupervised: f64) -> TriedRow {
        let dice = |rule: &str, dice| RuleDice { rule: rule.into(), dice };
        TriedRow {
            method: "diffseg".into(),
            mean_segments: 3.0,
            dice: vec![dice("oracle", oracle), dice("unsupervised", unsupervised)],
            settings: SegmenterSettings {
                method: Method::Diffseg { threshold },
                pass: PassSettings { timesteps: vec![timestep], ..PassSettings::default() },
                ..SegmenterSettings::default()
            },
        }
    }

    #[test]
    fn a_line_holds_the_other_settings_where_they_were_best_for_its_rule() {
        let tried = [
            row(0.5, 50.0, 0.1, 0.2),
            row(0.125, 50.0, 0.9, 0.3),
            row(0.0625, 50.0, 0.4, 0.1),
            row(0.125, 400.0, 0.2, 0.8),
            row(0.5, 400.0, 0.3, 0.4),
            row(0.03125, 400.0, 0.3, 0.5),
        ];
        let rows: Vec<(f64, &TriedRow)> =
            tried.iter().map(|row| (row.settings.method.threshold().unwrap(), row)).collect();
        assert_eq!(at_best(&rows, "oracle"), [(0.0625, 0.4), (0.125, 0.9), (0.5, 0.1)]);
        assert_eq!(at_best(&rows, "unsupervised"), [(0.03125, 0.5), (0.125, 0.8), (0.5, 0.4)]);
        assert_eq!(at_best(&rows, "prototype"), []);
        let charts = by_threshold(&tried);
        assert_eq!(charts.len(), 1);
        assert_eq!(charts[0].0, "dice-by-threshold-diffseg.svg");
        let svg = charts[0].1.file();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 6), "{svg}");
        assert!(by_threshold(&tried[..2]).is_empty(), "two thresholds make no curve");
    }

    #[test]
    fn training_gives_one_chart_for_each_method() {
        let row = |images_seen, method: &str, dice| CheckpointRow {
            images_seen,
            method: method.into(),
            dice: vec![RuleDice { rule: "oracle".into(), dice }],
        };
        let rows = [row(0, "parts", 0.7), row(0, "diffseg", 0.5), row(6400, "parts", 0.8), row(6400, "diffseg", 0.6)];
        let names: Vec<String> = by_training(&rows).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["dice-by-training-parts.svg", "dice-by-training-diffseg.svg"]);
        assert!(by_training(&rows[..2]).is_empty(), "one point makes no curve");
    }
}
