//! What the cells say together: means, and whether a regime beats its baseline by more than chance.

use super::grid::{GridSettings, Regime};
use super::journal::Finished;
use super::plan::Cell;
use anyhow::Result;
use metrics::CONFIDENCE;
use metrics::{corrected_t_test, holm, paired_cohens_d, rank_biserial, wilcoxon_signed_rank};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// The test behind every p-value, for the record.
pub(super) const TEST: &str = "corrected resampled t test over folds and repeats (Nadeau and Bengio 2003), two-sided; \
                               adjusted after Holm (1979) over all comparisons of a classifier";

/// All folds and repeats of one kind of cell.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Name of the classifier.
    pub classifier: String,
    /// What it learned from.
    pub regime: Regime,
    /// Name of the synthetic set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<String>,
    /// Real images asked for.
    pub size: usize,
    /// Synthetic images for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<usize>,
    /// Real images that were there, mean over folds.
    pub num_real: f64,
    /// Synthetic or classical images, mean over folds.
    pub num_synthetic: f64,
    /// Trainings.
    pub num_runs: usize,
    /// Mean over runs of the mean area over labels.
    pub auc: f64,
    /// Standard deviation of that between runs; absent for a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Mean over runs of each label's area, in the order of the settings.
    pub label_aucs: Vec<f64>,
    /// Beside real images alone at the same size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_real: Option<Comparison>,
    /// Beside real images with as many classical variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_classical: Option<Comparison>,
}

/// Paired differences of the macro area, fold by fold.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Pairs of runs with the same fold and repeat.
    pub num_pairs: usize,
    /// Mean difference; above 0 where the regime is better than its baseline.
    pub difference: f64,
    /// Of each pair.
    pub differences: Vec<f64>,
    /// The differences that the test would not refuse at 5 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Of the corrected t test; absent with a single pair or equal differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Adjusted after Holm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_adjusted: Option<f64>,
    /// Of the signed-rank test, not adjusted; cannot be below 0.0625 with five pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_signed_rank: Option<f64>,
    /// Mean difference over the standard deviation of differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohens_d: Option<f64>,
    /// Rank-biserial correlation, -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_biserial: Option<f64>,
}

impl Comparison {
    fn of(differences: Vec<f64>, num_folds: usize) -> Self {
        let count = differences.len();
        // Test cases over training cases, as if each fold's own rest were the test set: the share that training sets
        // of two folds do not have in common.
        let correction = 1.0 / (num_folds as f64 - 1.0).max(1.0);
        let test = corrected_t_test(&differences, correction).ok();
        let interval = test.as_ref().and_then(|test| test.interval(CONFIDENCE).ok());
        Self {
            num_pairs: count,
            difference: differences.iter().sum::<f64>() / count as f64,
            interval: interval.map(|interval| [interval.low, interval.high]),
            p_value: test.map(|test| test.p_value),
            p_adjusted: None,
            p_signed_rank: wilcoxon_signed_rank(&differences).ok().map(|test| test.p_value),
            cohens_d: paired_cohens_d(&differences).ok(),
            rank_biserial: rank_biserial(&differences).ok(),
            differences,
        }
    }

    /// Whether the adjusted test refuses that nothing changed, at 5 %.
    pub fn is_significant(&self) -> bool {
        self.p_adjusted.is_some_and(|p| p < 0.05)
    }
}

/// Groups in the order of the cells, compared with their baselines.
///
/// # Errors
/// A p-value outside 0 to 1, which the tests rule out.
pub(super) fn groups(settings: &GridSettings, finished: &[Finished]) -> Result<Vec<Group>> {
    let by_cell: HashMap<&Cell, &Finished> = finished.iter().map(|run| (&run.cell, run)).collect();
    let key = |cell: &Cell| Cell { repeat: 0, fold: 0, ..cell.clone() };
    let mut order: Vec<Cell> = Vec::new();
    let mut members: HashMap<Cell, Vec<&Finished>> = HashMap::new();
    for run in finished {
        let key = key(&run.cell);
        let list = members.entry(key.clone()).or_default();
        if list.is_empty() {
            order.push(key);
        }
        list.push(run);
    }
    let mut groups = Vec::new();
    for key in order {
        let runs = &members[&key];
        let mean =
            |value: &dyn Fn(&Finished) -> f64| runs.iter().map(|run| value(run)).sum::<f64>() / runs.len() as f64;
        let auc = mean(&|run| run.macro_auc);
        let spread = mean(&|run| (run.macro_auc - auc).powi(2));
        let against = |baseline: &dyn Fn(&Cell) -> Cell| {
            let pairs = runs
                .iter()
                .filter_map(|run| by_cell.get(&baseline(&run.cell)).map(|other| run.macro_auc - other.macro_auc));
            let differences: Vec<f64> = pairs.collect();
            (!differences.is_empty()).then(|| Comparison::of(differences, settings.grid.num_folds))
        };
        let real = |cell: &Cell| Cell { regime: Regime::Real, synthetic: None, ratio: None, ..cell.clone() };
        let classical = |cell: &Cell| Cell { regime: Regime::RealAndClassical, synthetic: None, ..cell.clone() };
        let (is_real, is_classical) = (key.regime == Regime::Real, key.regime == Regime::RealAndClassical);
        groups.push(Group {
            num_real: mean(&|run| run.num_real as f64),
            num_synthetic: mean(&|run| run.num_synthetic as f64),
            num_runs: runs.len(),
            auc,
            deviation: (runs.len() > 1).then(|| (spread * runs.len() as f64 / (runs.len() - 1) as f64).sqrt()),
            label_aucs: (0..settings.cases.labels.len()).map(|label| mean(&|run| run.labels[label].auc)).collect(),
            against_real: if is_real { None } else { against(&real) },
            against_classical: if is_real || is_classical { None } else { against(&classical) },
            classifier: key.classifier,
            regime: key.regime,
            synthetic: key.synthetic,
            size: key.size,
            ratio: key.ratio,
        });
    }
    adjust(&mut groups)?;
    Ok(groups)
}

/// Holm's adjustment inside each classifier, over comparisons with both baselines together.
fn adjust(groups: &mut [Group]) -> Result<()> {
    let mut families: BTreeMap<String, Vec<(usize, bool, f64)>> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        for (real, comparison) in [(true, &group.against_real), (false, &group.against_classical)] {
            if let Some(p) = comparison.as_ref().and_then(|comparison| comparison.p_value) {
                families.entry(group.classifier.clone()).or_default().push((place, real, p));
            }
        }
    }
    for family in families.into_values() {
        let adjusted = holm(&family.iter().map(|(_, _, p)| *p).collect::<Vec<_>>())?;
        for ((place, real, _), p) in family.into_iter().zip(adjusted) {
            let group = &mut groups[place];
            let comparison = if real { &mut group.against_real } else { &mut group.against_classical };
            if let Some(comparison) = comparison {
                comparison.p_adjusted = Some(p);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::augmentation::journal::LabelArea;
    use settings::resolve;

    pub(in super::super) fn run(regime: Regime, ratio: Option<usize>, fold: usize, auc: f64) -> Finished {
        let synthetic = (!matches!(regime, Regime::Real | Regime::RealAndClassical)).then(|| "reconstruction".into());
        Finished {
            cell: Cell { classifier: "linear_probe".into(), regime, synthetic, size: 50, ratio, repeat: 0, fold },
            num_real: 50,
            num_synthetic: 50 * ratio.unwrap_or(0),
            num_steps: None,
            macro_auc: auc,
            macro_interval: [auc - 0.1, auc + 0.1],
            labels: ["normal", "bacterial_pneumonia", "viral_pneumonia"]
                .map(|label| LabelArea { label: label.into(), auc, interval: [auc - 0.1, auc + 0.1] })
                .into(),
            secs: 1.0,
        }
    }

    /// Two comparisons: a steady gain of 0.1 with a little noise, and one that is noise.
    #[test]
    fn a_steady_gain_is_found_and_noise_is_not() {
        let settings: GridSettings = resolve("kermany", &[]).unwrap();
        let mut finished = Vec::new();
        for (fold, base) in [0.70, 0.74, 0.66, 0.71, 0.72].into_iter().enumerate() {
            let wobble = [0.004, -0.006, 0.002, 0.005, -0.005][fold];
            finished.push(run(Regime::Real, None, fold, base));
            finished.push(run(Regime::RealAndSynthetic, Some(5), fold, base + 0.1 + wobble));
            finished.push(run(Regime::RealAndClassical, Some(5), fold, base + wobble));
        }
        let groups = groups(&settings, &finished).unwrap();
        assert_eq!(groups.len(), 3);
        let real = &groups[0];
        assert!(real.against_real.is_none() && (real.auc - 0.706).abs() < 1e-12);
        let gain = groups[1].against_real.as_ref().unwrap();
        assert!((gain.difference - 0.1).abs() < 1e-12 && gain.is_significant(), "{gain:?}");
        assert_eq!(gain.p_signed_rank, Some(0.0625));
        // Three tests in the family: the smallest p is tripled.
        let (p, adjusted) = (gain.p_value.unwrap(), gain.p_adjusted.unwrap());
        assert!((adjusted / p - 3.0).abs() < 1e-9 || (adjusted / p - 2.0).abs() < 1e-9, "{p} {adjusted}");
        let noise = groups[2].against_real.as_ref().unwrap();
        assert!(!noise.is_significant() && noise.difference.abs() < 1e-3);
        assert!(groups[2].against_classical.is_none());
        assert!((groups[1].against_classical.as_ref().unwrap().difference - 0.1).abs() < 1e-12);
    }
}
