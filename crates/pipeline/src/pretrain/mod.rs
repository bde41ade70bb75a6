//! Pre-training: networks made from the user's own images, for where nothing can be downloaded.
//!
//! What is shared stands here: the length of a run, its folder, and the loop that steps, writes the journal, evaluates,
//! takes checkpoints and exports. Each network is a `Trainee` that the loop drives. The clock is images seen, and
//! every random number is keyed by the number of the image in the run, so that a run that was killed and resumed
//! exports the same bytes as one that never stopped.

pub mod autoencoder;
pub mod encoder;

use crate::{
    progress::Progress,
    run::{self, Journal},
};
use anyhow::{Result, ensure};
use dataset::{AtomicFolder, Dataset, Retention, RunDir, Split};
use radiograph::RgbImage;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Length of a run, and what is written on its way. All in images seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Length of the run.
    pub total_images: u64,
    /// Between two lines of metrics.
    pub log_every_images: u64,
    /// Between two looks at validation images; 0 never looks.
    pub evaluate_every_images: u64,
    /// Between two checkpoints.
    pub checkpoint_every_images: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep_checkpoints: usize,
}

impl Length {
    /// Refuses lengths of 0.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("total_images", self.total_images),
            ("log_every_images", self.log_every_images),
            ("checkpoint_every_images", self.checkpoint_every_images),
        ] {
            ensure!(value > 0, "training.{name} is 0; it must be above 0");
        }
        Ok(())
    }
}

/// A network in training, as the loop sees it.
pub(crate) trait Trainee: Sized {
    /// Parameters of the network that is exported.
    fn num_parameters(&self) -> usize;

    /// The clock.
    fn images_seen(&self) -> u64;

    /// One optimiser step. By value, so that each weight has one owner and is updated in place.
    ///
    /// # Errors
    /// A loss or gradient that is no number, with the remedy; images that cannot be read.
    fn step(self) -> Result<Self>;

    /// What the progress line shows, such as `loss 0.1234`.
    fn note(&self) -> String;

    /// The means since the last call, for one line of the journal.
    ///
    /// # Errors
    /// A device that failed.
    fn take_metrics(&mut self) -> Result<Vec<(String, f64)>>;

    /// How good the network is on validation images.
    ///
    /// # Errors
    /// A device that failed, images that cannot be read.
    fn evaluate(&mut self) -> Result<Evaluation>;

    /// Writes all that it takes to continue exactly into the folder of a checkpoint.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Writes the network that other stages use into an empty folder.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    fn export(&self, folder: &Path) -> Result<()>;
}

/// What [`Trainee::evaluate`] found.
#[derive(Debug, Default)]
pub(crate) struct Evaluation {
    /// Numbers for the journal.
    pub(crate) values: Vec<(String, f64)>,
    /// A picture for people.
    pub(crate) picture: Option<RgbImage>,
}

/// What a session of pre-training came to.
#[derive(Debug, Clone, Serialize)]
pub struct PretrainSummary {
    /// Images seen in the whole run.
    pub images_seen: u64,
    /// Whether the recipe's length was reached.
    pub finished: bool,
    /// Over this session, without evaluations and checkpoints; 0 where it trained nothing.
    pub images_per_sec: f64,
    /// Parameters of the exported network.
    pub num_parameters: usize,
    /// The last values of the journal's lines.
    pub metrics: BTreeMap<String, f64>,
    /// The exported network.
    pub network: PathBuf,
}

/// Trains until the end of the run or for `max_minutes`. The network is exported with every checkpoint.
///
/// # Errors
/// Those of the trainee, and a disk that is full. The newest checkpoint is complete in every case.
pub(crate) fn train<T: Trainee>(
    mut trainee: T,
    run_dir: &RunDir,
    length: &Length,
    max_minutes: Option<f64>,
    progress: &dyn Progress,
) -> Result<PretrainSummary> {
    let mut journal = Journal::open(run_dir, trainee.images_seen())?;
    let begun = Instant::now();
    let begun_at = trainee.images_seen();
    let mut busy = Duration::ZERO;
    let mut metrics = BTreeMap::new();
    let mut saved_at = None;
    progress.begin("training", length.total_images.saturating_sub(begun_at), "images");
    while trainee.images_seen() < length.total_images {
        if max_minutes.is_some_and(|minutes| begun.elapsed().as_secs_f64() >= 60.0 * minutes) {
            break;
        }
        let step_begun = Instant::now();
        let before = trainee.images_seen();
        trainee = trainee.step()?;
        busy += step_begun.elapsed();
        let images_seen = trainee.images_seen();
        let is_last = images_seen >= length.total_images;
        let crossed = |every: u64| every > 0 && before / every != images_seen / every;
        let rate = (images_seen - begun_at) as f64 / busy.as_secs_f64().max(1e-9);
        let mut values = Vec::new();
        if crossed(length.log_every_images) || is_last {
            values.extend(trainee.take_metrics()?);
            values.push(("images_per_sec".to_owned(), rate));
        }
        progress.advance(images_seen - before, &format!("{}, {rate:.1} images/s", trainee.note()));
        if crossed(length.evaluate_every_images) || (is_last && length.evaluate_every_images > 0) {
            let evaluation = trainee.evaluate()?;
            let text: Vec<String> = evaluation
                .values
                .iter()
                .map(|(name, value)| format!("{} {value:.4}", name.replace('_', " ")))
                .collect();
            progress.say(&format!("after {images_seen} images: {}", text.join(", ")));
            values.extend(evaluation.values);
            if let Some(picture) = evaluation.picture {
                picture.write_png(&run_dir.samples_dir()?.join(format!("images-{images_seen:09}.png")))?;
                journal.picture(images_seen, "samples", &picture)?;
            }
        }
        if !values.is_empty() {
            journal.write(images_seen, &values)?;
            metrics.extend(values);
        }
        if crossed(length.checkpoint_every_images) {
            save(&trainee, run_dir, length.keep_checkpoints)?;
            saved_at = Some(images_seen);
        }
    }
    progress.end();
    let images_seen = trainee.images_seen();
    match saved_at {
        Some(saved_at) if saved_at == images_seen => {}
        _ if images_seen > begun_at => save(&trainee, run_dir, length.keep_checkpoints)?,
        // A kill may have come between the checkpoint and its export.
        _ if images_seen > 0 => export(&trainee, run_dir)?,
        _ => {}
    }
    Ok(PretrainSummary {
        images_seen,
        finished: images_seen >= length.total_images,
        images_per_sec: (images_seen - begun_at) as f64 / busy.as_secs_f64().max(1e-9),
        num_parameters: trainee.num_parameters(),
        metrics,
        network: run_dir.model_dir(),
    })
}

/// Writes a checkpoint and the network that comes of it.
fn save<T: Trainee>(trainee: &T, run_dir: &RunDir, keep: usize) -> Result<()> {
    let checkpoints = run_dir.checkpoints();
    checkpoints.write(trainee.images_seen(), |folder| trainee.save(folder))?;
    if keep > 0 {
        checkpoints.prune(Retention { keep_last: keep, keep_every: 0 })?;
    }
    export(trainee, run_dir)
}

/// In one go, replacing an older one.
fn export<T: Trainee>(trainee: &T, run_dir: &RunDir) -> Result<()> {
    let target = AtomicFolder::create(run_dir.model_dir())?;
    trainee.export(target.path())?;
    Ok(target.commit()?)
}

/// A run of pre-training belongs to its dataset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    dataset: String,
}

impl Identity {
    pub(crate) fn of(dataset: &Dataset) -> Self {
        Self { dataset: dataset.fingerprint().to_owned() }
    }
}

impl run::Identity for Identity {
    fn describe(&self) -> String {
        format!("dataset {}", self.dataset)
    }
}

/// Which training image comes when: each once in every epoch, in an order that seed and epoch decide.
#[derive(Debug)]
pub(crate) struct TrainingOrder {
    rows: Vec<usize>,
    seed: u64,
    /// The epoch whose order is at hand, and that order.
    order: Option<(u64, Vec<usize>)>,
}

impl TrainingOrder {
    /// Of the training split.
    ///
    /// # Errors
    /// A dataset without training images.
    pub(crate) fn of(dataset: &Dataset, seed: u64) -> Result<Self> {
        let rows = dataset.indices(Split::Train)?;
        ensure!(
            !rows.is_empty(),
            "the dataset has no image in the split `train`; prepare it with another `--split`: {}",
            dataset.dir().display()
        );
        Ok(Self { rows, seed, order: None })
    }

    /// The training images in the dataset's order.
    pub(crate) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The image of the dataset that has this number in the run.
    pub(crate) fn row(&mut self, number: u64) -> usize {
        let len = self.rows.len() as u64;
        let (epoch, place) = (number / len, (number % len) as usize);
        if self.order.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.order = Some((epoch, random::permutation(self.seed, epoch, self.rows.len())));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        self.rows[order[place]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_each_training_image_once_in_a_fresh_order() {
        let mut order = TrainingOrder { rows: (10..20).collect(), seed: 1, order: None };
        let mut epoch = |first: u64| (first..first + 10).map(|number| order.row(number)).collect::<Vec<_>>();
        let (first, second, again) = (epoch(0), epoch(10), epoch(0));
        assert_eq!(first, again);
        assert_ne!(first, second);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (10..20).collect::<Vec<_>>());
    }
}
