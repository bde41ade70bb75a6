//! A small classifier on embeddings, and how it judges only people whom it has not seen.
//!
//! One logistic regression against the rest for each class, on standardised features. Patients are dealt into parts by
//! their hash, and for each part a classifier learns from the other parts, so every image of a dataset, learned from or
//! not, is judged by one that has not seen its patient: what is measured on the images that were learned from holds for
//! all others of the same archive.

use anyhow::{Context, Result};
use files::fingerprint_bytes;
use metrics::{LogisticRegression, Rows, Standardiser};
use rayon::prelude::*;

/// Parts of the patients.
pub(super) const FOLDS: usize = 5;

/// Strength against the penalty, scikit-learn's `C`. 0.01 and 1 gave the same accuracy within its interval on the
/// training images of the shipped model.
const STRENGTH: f64 = 0.1;

/// The part of a patient, by the hash in the manifest.
pub(super) fn fold_of(patient: &str) -> usize {
    let digits = fingerprint_bytes(patient.as_bytes());
    u64::from_str_radix(&digits, 16).map_or(0, |number| (number % FOLDS as u64) as usize)
}

/// One classifier for each part of the patients.
#[derive(Debug)]
pub(super) struct CrossFitted {
    folds: Vec<Classifier>,
    dim: usize,
}

impl CrossFitted {
    /// Learns from rows of features, each with its part and its class (below `num_classes`, at least 2).
    ///
    /// # Errors
    /// Features that are not numbers, parts beside which a class has no rows.
    pub(super) fn fit(
        features: &[f64],
        dim: usize,
        folds: &[usize],
        classes: &[usize],
        num_classes: usize,
    ) -> Result<Self> {
        let fit = |fold: usize| -> Result<Classifier> {
            let places: Vec<usize> = (0..folds.len()).filter(|place| folds[*place] != fold).collect();
            let rows: Vec<f64> = places.iter().flat_map(|place| &features[place * dim..][..dim]).copied().collect();
            let classes: Vec<usize> = places.iter().map(|place| classes[*place]).collect();
            Classifier::fit(Rows::new(&rows, dim)?, &classes, num_classes)
        };
        let folds: Result<Vec<Classifier>> = (0..FOLDS).into_par_iter().map(fit).collect();
        let folds = folds.context("the classifier cannot learn from these embeddings; encode the dataset again")?;
        Ok(Self { folds, dim })
    }

    /// Probabilities of the classes for one row, by the classifier that has not seen the part `fold`.
    ///
    /// # Errors
    /// A row of another length.
    pub(super) fn judge(&self, fold: usize, row: &[f64]) -> Result<Vec<f64>> {
        self.folds[fold].judge(Rows::new(row, self.dim)?)
    }
}

/// One logistic regression for each class against the rest; of two classes one is enough.
#[derive(Debug)]
struct Classifier {
    standardiser: Standardiser,
    parts: Vec<LogisticRegression>,
}

impl Classifier {
    fn fit(rows: Rows<'_>, classes: &[usize], num_classes: usize) -> Result<Self> {
        let standardiser = Standardiser::of(rows);
        let values: Vec<f64> = (0..rows.len()).flat_map(|row| rows.row(row)).copied().collect();
        let values = standardiser.apply(&values);
        let against_rest = |class: usize| {
            let positive: Vec<bool> = classes.iter().map(|found| *found == class).collect();
            Ok(LogisticRegression::fit(Rows::new(&values, rows.dim())?, &positive, STRENGTH)?)
        };
        let first = if num_classes == 2 { 1 } else { 0 };
        let parts: Result<Vec<LogisticRegression>> = (first..num_classes).map(against_rest).collect();
        Ok(Self { standardiser, parts: parts? })
    }

    fn judge(&self, row: Rows<'_>) -> Result<Vec<f64>> {
        let values = self.standardiser.apply(row.row(0));
        let row = Rows::new(&values, row.dim())?;
        let logits: Result<Vec<f64>, metrics::Error> = self.parts.iter().map(|part| Ok(part.scores(row)?[0])).collect();
        Ok(match logits?.as_slice() {
            [logit] => vec![log_sigmoid(-logit).exp(), log_sigmoid(*logit).exp()],
            logits => {
                // Each class' own probability, made to sum to 1; by logarithms, since all may be tiny.
                let logs: Vec<f64> = logits.iter().map(|logit| log_sigmoid(*logit)).collect();
                let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
                logs.iter().map(|log| (log - largest).exp() / sum).collect()
            }
        })
    }
}

/// `log(1 / (1 + exp(-x)))` without overflow.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// The position of the largest value, 0 of none.
pub(super) fn largest(values: &[f64]) -> usize {
    (0..values.len()).max_by(|left, right| values[*left].total_cmp(&values[*right])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_judged_by_what_was_learned_from_them() {
        // The class is the patient's own, by lot: whoever has seen the patient knows it, nobody else can.
        let dim = 40;
        let (mut features, mut folds, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for patient in 0..40_usize {
            let fold = fold_of(&format!("patient-{patient}"));
            let class = fingerprint_bytes(format!("class {patient}").as_bytes()).as_bytes()[0] as usize % 2;
            for _ in 0..3 {
                features.extend((0..dim).map(|place| f64::from(u8::from(place == patient))));
                folds.push(fold);
                classes.push(class);
            }
        }
        let fitted = CrossFitted::fit(&features, dim, &folds, &classes, 2).unwrap();
        let mut right = 0;
        for (place, class) in classes.iter().enumerate() {
            let row = &features[place * dim..][..dim];
            let told = largest(&fitted.judge(folds[place], row).unwrap());
            right += usize::from(told == *class);
            let seen = (0..FOLDS).filter(|fold| *fold != folds[place]);
            for fold in seen {
                assert_eq!(largest(&fitted.judge(fold, row).unwrap()), *class, "those who have seen it know");
            }
        }
        assert!(right < classes.len() * 3 / 4, "{right} of {}", classes.len());
    }

    #[test]
    fn probabilities_sum_to_one_and_follow_the_classes() {
        let corners = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]];
        let (mut features, mut folds, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..60_usize {
            let corner = corners[number % 3];
            features.extend(corner.map(|value| value + (number % 7) as f64 / 7.0));
            folds.push(number % FOLDS);
            classes.push(number % 3);
        }
        let fitted = CrossFitted::fit(&features, 2, &folds, &classes, 3).unwrap();
        for place in 0..60 {
            let probabilities = fitted.judge(folds[place], &features[2 * place..][..2]).unwrap();
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{probabilities:?}");
            assert_eq!(largest(&probabilities), classes[place], "{probabilities:?}");
        }
        // Far from everything known, where all logits are large and negative.
        let far = fitted.judge(0, &[-1e6, -1e6]).unwrap();
        assert!(far.iter().all(|probability| probability.is_finite()), "{far:?}");
    }

    #[test]
    fn patients_are_dealt_into_all_parts() {
        let counts = (0..500).fold([0; FOLDS], |mut counts, number| {
            counts[fold_of(&format!("patient-{number}"))] += 1;
            counts
        });
        assert!(counts.iter().all(|count| (70..130).contains(count)), "{counts:?}");
    }
}
