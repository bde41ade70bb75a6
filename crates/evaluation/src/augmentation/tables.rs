//! The results as tidy tables for other programs, and as Markdown for people.

use super::grid::{GridSettings, Regime};
use super::journal::Finished;
use super::statistics::{Comparison, Group, TEST};
use anyhow::Result;
use dataset::{Cells, Table};
use std::fmt::Write as _;

/// A run, a label, the area, its interval.
type Area<'a> = (&'a Finished, &'a str, f64, [f64; 2]);

/// One row for each run and label, and one for the mean over labels (`macro`).
pub(super) fn runs(finished: &[Finished]) -> Result<Table> {
    let rows: Vec<Area<'_>> = finished
        .iter()
        .flat_map(|run| {
            let labels = run.labels.iter().map(move |area| (run, area.label.as_str(), area.auc, area.interval));
            std::iter::once((run, "macro", run.macro_auc, run.macro_interval)).chain(labels)
        })
        .collect();
    let text = |of: &dyn Fn(&Finished) -> Option<String>| Cells::Text(rows.iter().map(|row| of(row.0)).collect());
    let count = |of: &dyn Fn(&Finished) -> Option<usize>| {
        Cells::Integers(rows.iter().map(|row| of(row.0).map(|count| count as u64)).collect())
    };
    let number = |of: &dyn Fn(&Area<'_>) -> f64| Cells::Numbers(rows.iter().map(|row| Some(of(row))).collect());
    Ok(Table::default()
        .with("classifier", text(&|run| Some(run.cell.classifier.clone())))?
        .with("regime", text(&|run| Some(word(run.cell.regime))))?
        .with("synthetic", text(&|run| run.cell.synthetic.clone()))?
        .with("size", count(&|run| Some(run.cell.size)))?
        .with("ratio", count(&|run| run.cell.ratio))?
        .with("repeat", count(&|run| Some(run.cell.repeat)))?
        .with("fold", count(&|run| Some(run.cell.fold)))?
        .with("num_real", count(&|run| Some(run.num_real)))?
        .with("num_synthetic", count(&|run| Some(run.num_synthetic)))?
        .with("num_steps", count(&|run| run.num_steps))?
        .with("label", Cells::Text(rows.iter().map(|row| Some(row.1.to_owned())).collect()))?
        .with("auc", number(&|row| row.2))?
        .with("auc_low", number(&|row| row.3[0]))?
        .with("auc_high", number(&|row| row.3[1]))?
        .with("secs", number(&|row| row.0.secs))?)
}

/// One row for each group and baseline.
pub(super) fn comparisons(groups: &[Group]) -> Result<Table> {
    let rows: Vec<(&Group, &str, &Comparison)> = groups
        .iter()
        .flat_map(|group| {
            let against = [("real", &group.against_real), ("classical", &group.against_classical)];
            against.into_iter().filter_map(move |(name, found)| found.as_ref().map(|found| (group, name, found)))
        })
        .collect();
    let text = |of: &dyn Fn(&Group) -> Option<String>| Cells::Text(rows.iter().map(|row| of(row.0)).collect());
    let number = |of: &dyn Fn(&Comparison) -> Option<f64>| Cells::Numbers(rows.iter().map(|row| of(row.2)).collect());
    let sizes = rows.iter().map(|row| Some(row.0.size as u64)).collect();
    Ok(Table::default()
        .with("classifier", text(&|group| Some(group.classifier.clone())))?
        .with("regime", text(&|group| Some(word(group.regime))))?
        .with("synthetic", text(&|group| group.synthetic.clone()))?
        .with("size", Cells::Integers(sizes))?
        .with("ratio", Cells::Integers(rows.iter().map(|row| row.0.ratio.map(|ratio| ratio as u64)).collect()))?
        .with("baseline", Cells::Text(rows.iter().map(|row| Some(row.1.to_owned())).collect()))?
        .with("num_pairs", Cells::Integers(rows.iter().map(|row| Some(row.2.num_pairs as u64)).collect()))?
        .with("difference", number(&|found| Some(found.difference)))?
        .with("difference_low", number(&|found| found.interval.map(|interval| interval[0])))?
        .with("difference_high", number(&|found| found.interval.map(|interval| interval[1])))?
        .with("p_value", number(&|found| found.p_value))?
        .with("p_adjusted", number(&|found| found.p_adjusted))?
        .with("p_signed_rank", number(&|found| found.p_signed_rank))?
        .with("cohens_d", number(&|found| found.cohens_d))?
        .with("rank_biserial", number(&|found| found.rank_biserial))?)
}

/// The regime as the settings spell it.
fn word(regime: Regime) -> String {
    serde_json::to_value(regime).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A table for each classifier: rows of regimes and ratios, columns of sizes.
pub(super) fn markdown(settings: &GridSettings, groups: &[Group]) -> String {
    let grid = &settings.grid;
    let mut text = format!(
        "Mean area under the curve over {} (each against the rest), and in brackets its difference from real images \
         alone, over {} and {}. An asterisk: differs from real images alone; a dagger: differs from as \
         many classical variants ({TEST}; 5 %).\n",
        settings.cases.labels.join(", "),
        counted(grid.num_folds, "fold"),
        counted(grid.num_repeats, "repeat")
    );
    for classifier in &settings.classifiers {
        let own: Vec<&Group> = groups.iter().filter(|group| group.classifier == classifier.name()).collect();
        let _ = write!(text, "\n## {}\n\n| learned from | synthetic per real |", classifier.name().replace('_', " "));
        for size in &grid.sizes {
            let real = own.iter().find(|group| group.size == *size);
            let there = real.map_or(*size as f64, |group| group.num_real);
            let _ = match there as usize == *size {
                true => write!(text, " {size} real |"),
                false => write!(text, " {there:.0} real (all) |"),
            };
        }
        let _ = write!(text, "\n| --- | ---: |{}\n", " ---: |".repeat(grid.sizes.len()));
        let mut rows: Vec<(Regime, Option<String>, Option<usize>)> =
            own.iter().map(|group| (group.regime, group.synthetic.clone(), group.ratio)).collect();
        rows.sort();
        rows.dedup();
        for (regime, synthetic, ratio) in rows {
            let set = synthetic.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            let ratio_text = ratio.map_or_else(String::new, |ratio| ratio.to_string());
            let _ = write!(text, "| {}{set} | {ratio_text} |", regime.title());
            for size in &grid.sizes {
                let found = own.iter().find(|group| {
                    (group.regime, &group.synthetic, group.ratio, group.size) == (regime, &synthetic, ratio, *size)
                });
                let _ = match found {
                    Some(group) => write!(text, " {} |", entry(group)),
                    None => write!(text, " |"),
                };
            }
            text.push('\n');
        }
    }
    text
}

/// `1 repeat`, `2 repeats`
fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn entry(group: &Group) -> String {
    let Some(comparison) = &group.against_real else { return format!("{:.3}", group.auc) };
    let asterisk = if comparison.is_significant() { "\\*" } else { "" };
    let dagger = if group.against_classical.as_ref().is_some_and(Comparison::is_significant) { "†" } else { "" };
    format!("{:.3} ({:+.3}{asterisk}{dagger})", group.auc, comparison.difference)
}

#[cfg(test)]
mod tests {
    use super::super::statistics::{groups, tests::run};
    use super::*;
    use settings::resolve;

    #[test]
    fn every_run_and_comparison_is_a_row() {
        let settings: GridSettings = resolve("kermany", &[]).unwrap();
        let finished: Vec<Finished> = (0..5)
            .flat_map(|fold| {
                let base = 0.7 + 0.01 * fold as f64;
                let more = 0.1 + 0.002 * (fold % 2) as f64;
                [run(Regime::Real, None, fold, base), run(Regime::RealAndSynthetic, Some(5), fold, base + more)]
            })
            .collect();
        assert_eq!(runs(&finished).unwrap().num_rows(), 10 * 4);
        let groups = groups(&settings, &finished).unwrap();
        assert_eq!(comparisons(&groups).unwrap().num_rows(), 1);
        let text = markdown(&settings, &groups);
        assert!(text.contains("| real + synthetic (reconstruction) | 5 | 0.821 (+0.101\\*) |"), "{text}");
        assert!(text.contains("| real |  | 0.720 |"), "{text}");
        let (folds, repeats) = (settings.grid.num_folds, settings.grid.num_repeats);
        assert!((folds, repeats) == (5, 1) && text.contains("over 5 folds and 1 repeat."), "{text}");
    }
}
