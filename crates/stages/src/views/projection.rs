//! Which view an image shows, where its metadata do not say.
//!
//! Images with a known view teach a classifier on the embeddings that are kept with the dataset; what it makes of held-out
//! patients is measured. A dataset that has one view only teaches nothing, and then nothing is said.

use anyhow::Result;
use dataset::Dataset;
use metrics::{Interval, bootstrap_interval};
use serde::{Deserialize, Serialize};

use super::classifier::{CrossFitted, largest};
use super::{Case, ViewsConfig, sample};
use crate::encoded::Embeddings;
use messages::Progress;
use metrics::{CONFIDENCE, Estimate, REPLICATES};

/// Fewer patients than this teach no class.
pub const FEWEST_PATIENTS: usize = 20;
/// More than this teach it no better; it bounds memory and time.
const MOST_PATIENTS: usize = 5000;
/// Metadata contradict the classifier where it gives the other class at least this.
pub const STRONG: f64 = 0.95;
/// Embeddings in memory at a time.
const CHUNK: usize = 1024;

/// Which two classes of views are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViewQuestion {
    /// A chest from the front or back against one from the side.
    FrontalLateral,
    /// X-rays that went in at the front against those that went in at the back; lateral images are neither.
    ApPa,
}

impl ViewQuestion {
    /// The names of both classes.
    pub fn classes(self) -> [&'static str; 2] {
        match self {
            Self::FrontalLateral => ["frontal", "lateral"],
            Self::ApPa => ["AP", "PA"],
        }
    }

    /// The class of a view as manifests, DICOM's `ViewPosition` and the presets write it: `PA`, `AP SUPINE`, `LL`,
    /// `XTABLE LATERAL`, ... `None` for oblique and decubitus views of unknown direction, and for words that are not
    /// known.
    pub fn class_of(self, view: &str) -> Option<usize> {
        let upper = view.to_uppercase();
        let words: Vec<&str> =
            upper.split(|letter: char| !letter.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
        let ap = has(&["AP", "APS", "ANTEROPOSTERIOR"]) || words.windows(2).any(|two| two == ["ANTERO", "POSTERIOR"]);
        let pa = has(&["PA", "POSTEROANTERIOR"]) || words.windows(2).any(|two| two == ["POSTERO", "ANTERIOR"]);
        let frontal = ap || pa || has(&["FRONTAL"]);
        // Of a patient who lies on the side: the direction of the rays is another matter.
        let lying = has(&["DECUBITUS", "DECUB", "LLD", "RLD"]);
        let lateral = !lying && has(&["LATERAL", "LAT", "L", "LL", "RL", "LATERALL", "LATERALR", "PROFILE"]);
        let oblique = has(&["OBLIQUE", "LAO", "RAO", "LPO", "RPO", "LLO", "RLO"]);
        let [first, second] = match self {
            Self::FrontalLateral => [frontal, lateral],
            Self::ApPa => [ap && !lateral, pa && !lateral],
        };
        // Words of both classes say nothing.
        (first != second && !oblique).then_some(usize::from(second))
    }
}

/// What is known about the views, and what was told.
#[derive(Debug, Clone, Serialize)]
pub struct ViewCheck {
    /// What is told apart.
    pub question: ViewQuestion,
    /// Images of each class by their metadata.
    pub num_known: [usize; 2],
    /// Patients of the training images of each class.
    pub num_patients: [usize; 2],
    /// Images whose metadata name a view of neither class.
    pub num_other: usize,
    /// Images whose metadata name none.
    pub num_without: usize,
    /// Why nothing can be told, where that is so.
    pub note: Option<String>,
    /// How well the classes are told.
    pub accuracy: Option<ViewAccuracy>,
    /// The images without a view.
    pub told: Vec<ToldView>,
    /// Images whose metadata the classifier contradicts with a probability of at least [`STRONG`], the most certain
    /// first.
    pub contradicted: Vec<ToldView>,
}

/// How well classes are told by classifiers that have not seen the patient: one image for each patient and class.
#[derive(Debug, Clone, Serialize)]
pub struct ViewAccuracy {
    /// Mean of both recalls; the interval is a bootstrap over patients, like those of the recalls.
    pub balanced: Estimate,
    /// Share of each class that is told rightly.
    pub recall: [Estimate; 2],
    /// Images of each class (rows) that were told to be of each (columns).
    pub confusion: [[usize; 2]; 2],
}

/// What the classifier says of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToldView {
    /// In the manifest.
    pub id: String,
    /// In the manifest.
    pub source_file: String,
    /// In the manifest; `None` where there is none.
    pub view: Option<String>,
    /// What it seems to be.
    pub told: &'static str,
    /// Of that.
    pub probability: f64,
}

impl ViewCheck {
    /// Counts what the metadata say; nothing is told yet.
    fn of(question: ViewQuestion, cases: &[Case]) -> Self {
        let mut check = Self {
            question,
            num_known: [0; 2],
            num_patients: [0; 2],
            num_other: 0,
            num_without: 0,
            note: None,
            accuracy: None,
            told: Vec::new(),
            contradicted: Vec::new(),
        };
        for case in cases {
            match (case.class, case.has_view) {
                (Some(class), _) => check.num_known[class] += 1,
                (None, true) => check.num_other += 1,
                (None, false) => check.num_without += 1,
            }
        }
        check
    }

    fn cannot(&mut self) {
        let [first, second] = self.question.classes();
        self.note = Some(format!(
            "{first} and {second} views cannot be told apart: the training images have metadata of {} patients with the \
             first and {} with the second, and each takes at least {FEWEST_PATIENTS}; nothing is guessed",
            self.num_patients[0], self.num_patients[1]
        ));
    }
}

/// Learns from the training images that say what they are, and tells the others.
///
/// # Errors
/// Embeddings that cannot be read.
pub(super) fn check(
    config: &ViewsConfig,
    dataset: &Dataset,
    cases: &[Case],
    embeddings: &Embeddings,
    progress: &dyn Progress,
) -> Result<ViewCheck> {
    let mut check = ViewCheck::of(config.question, cases);
    let of_class = |class: usize| sample(cases, |case| case.class == Some(class), MOST_PATIENTS);
    let learned = [of_class(0), of_class(1)];
    check.num_patients = [learned[0].len(), learned[1].len()];
    if check.num_patients.iter().any(|count| *count < FEWEST_PATIENTS) {
        check.cannot();
        return Ok(check);
    }
    let dim = embeddings.shape()[1];
    let classes: Vec<usize> = learned.iter().enumerate().flat_map(|(class, of)| vec![class; of.len()]).collect();
    let learned = learned.concat();
    let folds: Vec<usize> = learned.iter().map(|case| cases[*case].fold).collect();
    let rows = read(embeddings, cases, &learned)?;
    let classifier = CrossFitted::fit(&rows, dim, &folds, &classes, 2)?;
    let told: Vec<usize> = rows
        .chunks_exact(dim)
        .zip(&folds)
        .map(|(row, fold)| Ok(largest(&classifier.judge(*fold, row)?)))
        .collect::<Result<_>>()?;
    let patients: Vec<&str> = learned.iter().map(|case| cases[*case].patient.as_str()).collect();
    check.accuracy = Some(accuracy(&patients, &classes, &told, config.seed)?);

    progress.begin("telling views", cases.len() as u64, "images");
    let mut found: Vec<(usize, usize, f64)> = Vec::new();
    let numbers: Vec<usize> = (0..cases.len()).collect();
    for chunk in numbers.chunks(CHUNK) {
        for (case, row) in chunk.iter().zip(read(embeddings, cases, chunk)?.chunks_exact(dim)) {
            let Case { fold, class, has_view, .. } = cases[*case];
            let probabilities = classifier.judge(fold, row)?;
            let told = largest(&probabilities);
            let is_contradicted = class.is_some_and(|class| class != told && probabilities[told] >= STRONG);
            if !has_view || is_contradicted {
                found.push((*case, told, probabilities[told]));
            }
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    let rows = dataset.rows_at(&found.iter().map(|found| cases[found.0].index).collect::<Vec<_>>())?;
    for (row, (_, told, probability)) in rows.into_iter().zip(found) {
        let told = config.question.classes()[told];
        let told = ToldView { id: row.id, source_file: row.source_file, view: row.view, told, probability };
        let list = if told.view.is_none() { &mut check.told } else { &mut check.contradicted };
        list.push(told);
    }
    check.contradicted.sort_by(|left, right| right.probability.total_cmp(&left.probability));
    Ok(check)
}

/// Class tokens, `[cases, dim]`.
fn read(embeddings: &Embeddings, cases: &[Case], chosen: &[usize]) -> Result<Vec<f64>> {
    let rows: Vec<usize> = chosen.iter().map(|case| cases[*case].index).collect();
    Ok(embeddings.gather(&rows, 1)?.into_iter().map(f64::from).collect())
}

fn accuracy(patients: &[&str], classes: &[usize], told: &[usize], seed: u64) -> Result<ViewAccuracy> {
    let mut confusion = [[0; 2]; 2];
    // For each patient the image of each class, if there is one, and whether it was told rightly.
    let mut by_patient: std::collections::BTreeMap<&str, [Option<bool>; 2]> = std::collections::BTreeMap::new();
    for ((patient, class), told) in patients.iter().zip(classes).zip(told) {
        confusion[*class][*told] += 1;
        by_patient.entry(*patient).or_default()[*class] = Some(class == told);
    }
    let by_patient: Vec<[Option<bool>; 2]> = by_patient.into_values().collect();
    let recall = |drawn: &[usize], class: usize| {
        let right: Vec<bool> = drawn.iter().filter_map(|patient| by_patient[*patient][class]).collect();
        (!right.is_empty()).then(|| right.iter().filter(|right| **right).count() as f64 / right.len() as f64)
    };
    let balanced = |drawn: &[usize]| Some(0.5 * (recall(drawn, 0)? + recall(drawn, 1)?));
    let estimate = |statistic: &dyn Fn(&[usize]) -> Option<f64>| -> Result<Estimate> {
        let all: Vec<usize> = (0..by_patient.len()).collect();
        let interval: Interval = bootstrap_interval(all.len(), REPLICATES, CONFIDENCE, seed, statistic)?;
        Ok(Estimate::new(statistic(&all).unwrap_or(f64::NAN), interval))
    };
    Ok(ViewAccuracy {
        balanced: estimate(&balanced)?,
        recall: [estimate(&|drawn| recall(drawn, 0))?, estimate(&|drawn| recall(drawn, 1))?],
        confusion,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_frontal_or_lateral_or_neither() {
        let class = |view: &str| ViewQuestion::FrontalLateral.class_of(view);
        for view in [
            "PA",
            "AP",
            "AP SUPINE",
            "AP ERECT",
            "AP_PORTABLE",
            "AP AXIAL",
            "APS",
            "FRONTAL",
            "pa",
            "AP LLD",
            "PA RLD",
            "POSTERO-ANTERIOR",
            "ANTEROPOSTERIOR",
        ] {
            assert_eq!(class(view), Some(0), "{view}");
        }
        for view in ["LL", "RL", "LATERAL", "LAT", "L", "XTABLE LATERAL", "LEFT LATERAL", "lateral", "LATERAL R"] {
            assert_eq!(class(view), Some(1), "{view}");
        }
        for view in ["", "LLD", "RLD", "LATERAL DECUBITUS", "LAO", "AP OBLIQUE", "SWIMMERS", "AP LATERAL", "COSTAL"] {
            assert_eq!(class(view), None, "{view}");
        }
    }

    #[test]
    fn the_direction_of_the_rays_is_another_question() {
        let class = |view: &str| ViewQuestion::ApPa.class_of(view);
        assert_eq!(["AP", "AP SUPINE", "PA", "AP LLD"].map(class), [Some(0), Some(0), Some(1), Some(0)]);
        assert_eq!(["FRONTAL", "LL", "PA LATERAL", "AP PA", ""].map(class), [None; 5]);
    }

    #[test]
    fn accuracy_counts_both_classes_alike_and_patients_once() {
        let patients = ["a", "a", "b", "c", "d", "e"];
        let found = accuracy(&patients, &[0, 1, 0, 0, 0, 1], &[0, 1, 0, 0, 1, 0], 0).unwrap();
        assert_eq!(found.confusion, [[3, 1], [1, 1]]);
        assert_eq!(found.recall.map(|recall| recall.value), [0.75, 0.5]);
        assert_eq!(found.balanced.value, 0.625);
        assert!(found.recall[1].interval[0] < found.recall[1].interval[1], "{found:?}");
    }
}
