//! Views and orientation: which images are turned, upside down, inverted or mirrored, and which view the images show
//! whose metadata do not say.
//!
//! Both by small classifiers on embeddings of a frozen encoder, whose accuracy on patients that they have not seen stands
//! beside what they found. Nothing in the dataset is changed: what is suspected is listed, and the list can be given to
//! `prepare` as what to leave out.

mod classifier;
mod orientation;
mod pose;
mod projection;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use files::fingerprint_bytes;
use nets::encoder::Encoder;
use radiograph::{Border, Grid};
use serde::{Deserialize, Serialize};

pub use orientation::{PoseCheck, Suspect};
pub use pose::Pose;
pub use projection::{FEWEST_PATIENTS, STRONG, ToldView, ViewAccuracy, ViewCheck, ViewQuestion};

use crate::encode;
use files::outputs;
use messages::Progress;

/// Pictures of suspects that are drawn.
const SHOWN: usize = 64;

/// What to look at and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewsConfig {
    /// A prepared dataset.
    pub dataset: PathBuf,
    /// Folder of the encoder; the one that the dataset was encoded with where absent.
    pub encoder: Option<PathBuf>,
    /// The collection to stay inside; all where absent.
    pub source: Option<String>,
    /// At most so many patients are turned, inverted and mirrored to learn from, one training image of each.
    pub max_patients: usize,
    /// Of images that lie as they should, the share to expect among the suspected; at least 0, below 1. It becomes larger
    /// where patients are too few to promise it, and where otherwise less than 95 % of what lies wrongly would be found.
    pub false_alarms: f64,
    /// Which views to tell apart.
    pub question: ViewQuestion,
    /// Of the choice of images and the intervals.
    pub seed: u64,
    /// Images that go through the encoder together.
    pub batch_size: usize,
    /// A folder for `views.json`, `exclude.csv` and `suspects.png`.
    pub out: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ViewsSummary {
    /// Fingerprint of the dataset.
    pub dataset: String,
    /// Fingerprint of the encoder.
    pub encoder: String,
    /// The collection, where one was asked for.
    pub source: Option<String>,
    /// Images that were looked at.
    pub num_images: usize,
    /// Turned and inverted images, then mirrored ones; empty where there are too few patients.
    pub orientation: Vec<PoseCheck>,
    /// Why nothing is said about the orientation, where that is so.
    pub orientation_note: Option<String>,
    /// Views.
    pub view: ViewCheck,
}

impl ViewsSummary {
    /// For programs: the fields by their names.
    ///
    /// # Errors
    /// None that are known; the serialiser's.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// An image of the dataset, as far as it matters here.
#[derive(Debug, Clone)]
struct Case {
    /// Number in the dataset.
    index: usize,
    patient: String,
    /// The part that the patient was dealt into.
    fold: usize,
    /// By which images are chosen.
    order: String,
    is_train: bool,
    has_view: bool,
    /// Of the question about views.
    class: Option<usize>,
}

/// Looks at every image of a dataset.
///
/// # Errors
/// A dataset without embeddings while no encoder is given, settings outside their range, a network or an image that
/// cannot be read.
pub fn run(config: &ViewsConfig, device: &Device, progress: &dyn Progress) -> Result<ViewsSummary> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(
        (0.0..1.0).contains(&config.false_alarms),
        "the share of false alarms is {}; it must be at least 0 and below 1",
        config.false_alarms
    );
    ensure!(config.max_patients > 0, "the number of patients to learn from is 0; give at least 1");
    if let Some(out) = &config.out {
        outputs::check_folder(out)?;
    }
    let dataset = Dataset::open(&config.dataset)?;
    let cases = cases(config, &dataset)?;
    let (folder, embeddings) = encode::encoder_of(&dataset, config.encoder.as_deref(), device, progress)?;

    let view = projection::check(config, &dataset, &cases, &embeddings, progress)?;
    let learned = sample(&cases, |_| true, config.max_patients);
    let (mut orientation, mut orientation_note) = (Vec::new(), None);
    if learned.len() < FEWEST_PATIENTS {
        orientation_note = Some(format!(
            "how images lie cannot be learned from {} patients with training images; it takes at least {FEWEST_PATIENTS}",
            learned.len()
        ));
    } else {
        let encoder = Encoder::load(&folder, device)?;
        orientation = orientation::check(config, &dataset, &cases, &learned, &encoder, device, progress)?;
    }
    let summary = ViewsSummary {
        dataset: dataset.fingerprint().to_owned(),
        encoder: embeddings.fingerprint().to_owned(),
        source: config.source.clone(),
        num_images: cases.len(),
        orientation,
        orientation_note,
        view,
    };
    if let Some(out) = &config.out {
        write(out, &dataset, &summary)?;
    }
    Ok(summary)
}

fn cases(config: &ViewsConfig, dataset: &Dataset) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (index, row) in dataset.rows()?.enumerate() {
        let row = row?;
        if config.source.is_some() && config.source != row.collection {
            continue;
        }
        cases.push(Case {
            index,
            fold: classifier::fold_of(&row.patient),
            order: fingerprint_bytes(format!("{} {}", config.seed, row.id).as_bytes()),
            is_train: row.split == Split::Train,
            has_view: row.view.is_some(),
            class: row.view.as_deref().and_then(|view| config.question.class_of(view)),
            patient: row.patient,
        });
    }
    let names = || dataset.info().collections.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    ensure!(
        !cases.is_empty(),
        "there is no image {}: {}",
        config.source.as_ref().map_or_else(
            || "to look at; prepare some".to_owned(),
            |source| format!("from `{source}`; the dataset has some from: {}", names())
        ),
        dataset.dir().display()
    );
    Ok(cases)
}

/// Training images that satisfy a condition, one for each patient, at most `most`: always the same ones for a seed,
/// whatever the order of the dataset.
fn sample(cases: &[Case], condition: impl Fn(&Case) -> bool, most: usize) -> Vec<usize> {
    let wanted = |case: &usize| cases[*case].is_train && condition(&cases[*case]);
    let mut chosen: Vec<usize> = (0..cases.len()).filter(wanted).collect();
    chosen.sort_by(|left, right| cases[*left].order.cmp(&cases[*right].order));
    let mut seen = HashSet::new();
    chosen.retain(|case| seen.insert(cases[*case].patient.as_str()));
    chosen.truncate(most);
    chosen
}

/// The files of a result; see [`ViewsConfig::out`].
fn write(out: &Path, dataset: &Dataset, summary: &ViewsSummary) -> Result<()> {
    outputs::make_folder(out)?;
    files::write_file(out.join("views.json"), summary.to_json()?.as_bytes())?;
    let suspects: Vec<&Suspect> = summary.orientation.iter().flat_map(|check| &check.suspects).collect();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["pixel_hash", "note"])?;
    for suspect in &suspects {
        let Suspect { id, source_file, pixel_hash, pose, probability, .. } = suspect;
        table.write_record([
            pixel_hash,
            &format!("{}, probability {probability:.3}: {id} {source_file}", pose.name()),
        ])?;
    }
    files::write_file(out.join("exclude.csv"), &table.into_inner()?)?;
    let size = dataset.image_size();
    let mut grid = Grid::new(size.max(96));
    for suspect in suspects.iter().take(SHOWN) {
        let caption = format!("{} {:.3}", suspect.pose.name(), suspect.probability);
        grid.push_grey(&dataset.image(suspect.index)?, size, size, caption, Border::None)?;
    }
    grid.render().write_png(&out.join("suspects.png"))?;
    Ok(())
}
