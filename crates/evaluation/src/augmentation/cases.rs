//! The real images of the grid: who has which label, how patients are divided into folds, and in which order images
//! join the growing subsets of a fold.

use super::grid::{CaseKind, CaseSettings, GridShape};
use anyhow::{Result, ensure};
use dataset::{Dataset, ManifestRow, Split};
use std::collections::BTreeMap;

/// Some images of a dataset with their targets.
#[derive(Debug)]
pub(super) struct Cases {
    /// Numbers of their rows in the dataset.
    pub rows: Vec<usize>,
    /// `[cases, labels]`, 0 or 1.
    pub targets: Vec<f32>,
    /// Whose image it is.
    pub patients: Vec<String>,
    /// Their names in the dataset.
    pub ids: Vec<String>,
    pub num_labels: usize,
    /// Images that were left out for their labels.
    pub num_left_out: usize,
}

/// The target of an image, or nothing where its labels do not fit.
pub(super) fn target_of(row: &ManifestRow, settings: &CaseSettings) -> Option<Vec<f32>> {
    let has = |list: &[String], label: &String| list.contains(label);
    let target: Vec<f32> =
        settings.labels.iter().map(|label| if has(&row.labels, label) { 1.0 } else { 0.0 }).collect();
    let fits = match settings.kind {
        CaseKind::Classes => target.iter().sum::<f32>() == 1.0,
        CaseKind::Labels => !settings.labels.iter().any(|label| has(&row.labels_uncertain, label)),
    };
    fits.then_some(target)
}

impl Cases {
    /// # Errors
    /// A label that all images or none have.
    pub fn read(dataset: &Dataset, settings: &CaseSettings, split: Split) -> Result<Self> {
        let num_labels = settings.labels.len();
        let mut cases = Self {
            rows: Vec::new(),
            targets: Vec::new(),
            patients: Vec::new(),
            ids: Vec::new(),
            num_labels,
            num_left_out: 0,
        };
        for (index, row) in dataset.rows()?.enumerate() {
            let row = row?;
            let inside = settings.source.is_none() || row.collection == settings.source;
            if row.split != split || !inside {
                continue;
            }
            match target_of(&row, settings) {
                Some(target) => {
                    cases.rows.push(index);
                    cases.targets.extend(target);
                    cases.patients.push(row.patient);
                    cases.ids.push(row.id);
                }
                None => cases.num_left_out += 1,
            }
        }
        let mut counts: Vec<(usize, &String)> =
            settings.labels.iter().enumerate().map(|(position, label)| (cases.count(position), label)).collect();
        // What is missing is the likelier mistake, so it is named first.
        counts.sort();
        for (count, label) in counts {
            ensure!(
                count > 0 && count < cases.len(),
                "{count} of {} images in the split `{split}` have the label `{label}`, so nothing can be told apart; \
                 the dataset has the labels {}",
                cases.len(),
                dataset.info().labels.join(", ")
            );
        }
        Ok(cases)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn target(&self, case: usize) -> &[f32] {
        &self.targets[case * self.num_labels..][..self.num_labels]
    }

    /// Cases with a label.
    fn count(&self, label: usize) -> usize {
        (0..self.len()).filter(|case| self.target(*case)[label] > 0.5).count()
    }

    /// How many cases have which label, for the record.
    pub fn label_counts(&self, settings: &CaseSettings) -> BTreeMap<String, usize> {
        let labels = settings.labels.iter().enumerate();
        let mut counts: BTreeMap<String, usize> =
            labels.map(|(position, label)| (label.clone(), self.count(position))).collect();
        if settings.kind == CaseKind::Labels {
            let without = |case: &usize| self.target(*case).iter().all(|value| *value < 0.5);
            counts.insert("none of them".into(), (0..self.len()).filter(without).count());
        }
        counts
    }

    /// The cases of each patient, patients by name.
    pub fn by_patient(&self) -> Vec<Vec<usize>> {
        let mut patients: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (case, patient) in self.patients.iter().enumerate() {
            patients.entry(patient).or_default().push(case);
        }
        patients.into_values().collect()
    }

    /// Of each case whether it is in a subset.
    pub fn inside(&self, subset: &[usize]) -> Vec<bool> {
        let mut inside = vec![false; self.len()];
        subset.iter().for_each(|case| inside[*case] = true);
        inside
    }

    /// A number for each combination of labels that occurs.
    fn strata(&self) -> Vec<usize> {
        let mut numbers: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
        let mut strata = Vec::with_capacity(self.len());
        for case in 0..self.len() {
            let next = numbers.len();
            let combination = self.target(case).iter().map(|value| *value > 0.5).collect();
            strata.push(*numbers.entry(combination).or_insert(next));
        }
        strata
    }
}

/// Of each repeat and fold, the cases to learn from, in the order in which they join: the first `n` are the subset of
/// size `n`, with labels in about the proportions of all.
///
/// Folds of one division share their order, so that subsets overlap as whole training sets of cross-validation do (the
/// corrected test expects that) and most synthetic images serve several folds. Divisions draw anew.
#[derive(Debug)]
pub(super) struct Folds {
    orders: Vec<Vec<Vec<usize>>>,
}

impl Folds {
    /// Divides patients, each with the stratum of their first image, so that every fold gets about as many images of
    /// each stratum.
    ///
    /// # Errors
    /// Fewer patients than folds.
    pub fn divide(cases: &Cases, grid: &GridShape, seed: u64) -> Result<Self> {
        let strata = cases.strata();
        let patients = cases.by_patient();
        ensure!(
            patients.len() >= grid.num_folds,
            "there are {} patients to divide into {} folds; set `grid.num_folds` to fewer",
            patients.len(),
            grid.num_folds
        );
        let num_strata = strata.iter().max().map_or(0, |most| most + 1);
        let mut orders = Vec::new();
        for repeat in 0..grid.num_repeats as u64 {
            let mut fold_of = vec![0; cases.len()];
            let mut filled = vec![vec![0; grid.num_folds]; num_strata];
            for patient in random::permutation(seed, 2 * repeat, patients.len()) {
                let images = &patients[patient];
                let counts = &mut filled[strata[images[0]]];
                let fold = (0..grid.num_folds).min_by_key(|fold| counts[*fold]).unwrap_or(0);
                counts[fold] += images.len();
                images.iter().for_each(|image| fold_of[*image] = fold);
            }
            let order = random::permutation(seed, 2 * repeat + 1, cases.len());
            let of_fold = |fold: usize| {
                interleaved(order.iter().copied().filter(|case| fold_of[*case] != fold), &strata, num_strata)
            };
            orders.push((0..grid.num_folds).map(of_fold).collect());
        }
        Ok(Self { orders })
    }

    /// The first `size` cases of a fold, or all it has.
    pub fn subset(&self, repeat: usize, fold: usize, size: usize) -> &[usize] {
        let order = &self.orders[repeat][fold];
        &order[..size.min(order.len())]
    }

    /// Fewest images that a fold has to learn from.
    pub fn smallest(&self) -> usize {
        self.orders.iter().flatten().map(Vec::len).min().unwrap_or(0)
    }
}

/// The cases in an order whose every beginning has the strata in nearly the proportions of all; the order within each
/// stratum stays.
fn interleaved(cases: impl Iterator<Item = usize>, strata: &[usize], num_strata: usize) -> Vec<usize> {
    let mut lists = vec![Vec::new(); num_strata];
    cases.for_each(|case| lists[strata[case]].push(case));
    let mut placed: Vec<(f64, usize)> = lists
        .iter()
        .flat_map(|list| {
            let count = list.len() as f64;
            list.iter().enumerate().map(move |(place, case)| ((place as f64 + 0.5) / count, *case))
        })
        .collect();
    placed.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    placed.into_iter().map(|(_, case)| case).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `num_patients` patients with one to three images each, two classes of one to three.
    pub(in super::super) fn example(num_patients: usize) -> Cases {
        let mut cases = Cases {
            rows: Vec::new(),
            targets: Vec::new(),
            patients: Vec::new(),
            ids: Vec::new(),
            num_labels: 2,
            num_left_out: 0,
        };
        for patient in 0..num_patients {
            for image in 0..=patient % 3 {
                cases.rows.push(cases.rows.len());
                cases.targets.extend(if patient % 4 == 0 { [1.0, 0.0] } else { [0.0, 1.0] });
                cases.patients.push(format!("p{patient}"));
                cases.ids.push(format!("p{patient}-{image}"));
            }
        }
        cases
    }

    pub(in super::super) fn shape() -> GridShape {
        GridShape {
            sizes: vec![8, 16],
            ratios: vec![1, 3],
            regimes: Vec::new(),
            num_folds: 5,
            num_repeats: 2,
            max_synthetic: 1000,
            soft_labels: false,
        }
    }

    #[test]
    fn folds_part_patients_keep_proportions_and_subsets_grow() {
        let cases = example(100);
        let folds = Folds::divide(&cases, &shape(), 7).unwrap();
        let all: BTreeSet<usize> = (0..cases.len()).collect();
        for repeat in 0..2 {
            let mut times_left_out = vec![0; cases.len()];
            for fold in 0..5 {
                let pool = folds.subset(repeat, fold, usize::MAX);
                let distinct: BTreeSet<usize> = pool.iter().copied().collect();
                assert_eq!(distinct.len(), pool.len());
                let kept: BTreeSet<&str> = pool.iter().map(|case| cases.patients[*case].as_str()).collect();
                for case in all.difference(&distinct) {
                    assert!(!kept.contains(cases.patients[*case].as_str()), "a patient on both sides");
                    times_left_out[*case] += 1;
                }
                let share = |subset: &[usize]| {
                    subset.iter().filter(|case| cases.target(**case)[0] > 0.5).count() as f64 / subset.len() as f64
                };
                let small = folds.subset(repeat, fold, 20);
                assert_eq!(small[..10], *folds.subset(repeat, fold, 10));
                assert!((share(small) - share(pool)).abs() < 0.06, "{} and {}", share(small), share(pool));
                assert!((share(pool) - 0.25).abs() < 0.04, "{}", share(pool));
            }
            assert!(times_left_out.iter().all(|times| *times == 1));
        }
        assert_ne!(folds.subset(0, 0, 20), folds.subset(1, 0, 20));
        assert_ne!(folds.subset(0, 0, 20), folds.subset(0, 1, 20));
    }

    #[test]
    fn more_folds_than_patients_are_refused() {
        let error = Folds::divide(&example(3), &shape(), 0).unwrap_err();
        assert!(error.to_string().contains("3 patients"), "{error}");
    }
}
