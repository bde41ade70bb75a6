//! The training loop: steps, the journal, looks at the model, the best so far, checkpoints and exports.
//!
//! The clock is images seen. Every random number is keyed by the number of the image in the run, so a run that was killed
//! and resumed ends with the same weights to the last bit as one that never stopped.

use crate::{
    best::{Best, Score},
    journal::Journal,
};
use anyhow::Result;
use dataset::{Retention, RunDir};
use files::AtomicFolder;
use messages::Progress;
use radiograph::RgbImage;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a run does when, in images seen; what is 0 is never done, but for the checkpoint and the line of metrics at the
/// end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Length of the run.
    pub total_images: u64,
    /// Between two lines of metrics.
    pub log_every_images: u64,
    /// Between two evaluations.
    pub evaluate_every_images: u64,
    /// Between two pictures.
    pub draw_every_images: u64,
    /// Between two checkpoints.
    pub checkpoint_every_images: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep_checkpoints: usize,
}

/// A network in training, as the loop sees it.
pub trait Trainable: Sized {
    /// Parameters of the network that is exported.
    fn num_parameters(&self) -> usize;

    /// Images that this network has learned from.
    fn images_seen(&self) -> u64;

    /// One optimiser step. By value, so that each weight has one owner and is updated in place.
    ///
    /// # Errors
    /// A loss or gradient that is no number, with the remedy; images that cannot be read.
    fn step(self) -> Result<Self>;

    /// What the progress line shows, such as `loss 0.1234`.
    fn note(&self) -> String;

    /// The means since the last call, for one line of the journal; among them `loss`.
    ///
    /// # Errors
    /// A device that failed.
    fn take_metrics(&mut self) -> Result<Vec<(String, f64)>>;

    /// Measures the averaged network on images that it does not learn from.
    ///
    /// # Errors
    /// A device that failed, images that cannot be read.
    fn evaluate(&mut self) -> Result<Evaluation>;

    /// Draws a picture for people by the averaged network; nothing where the recipe asks for none.
    ///
    /// # Errors
    /// A device that failed, images that cannot be read.
    fn draw(&mut self) -> Result<Option<RgbImage>>;

    /// Writes all that it takes to continue exactly into the folder of a checkpoint.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Writes the averaged network, as other stages use it, into an empty folder.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    fn export(&self, folder: &Path) -> Result<()>;
}

/// Result of [`Trainable::evaluate`].
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Numbers for the journal.
    pub values: Vec<(String, f64)>,
    /// By which the best model so far is kept; absent where nothing tells.
    pub score: Option<Score>,
}

/// Result of a session of training.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingSummary {
    /// Images seen in the whole run.
    pub images_seen: u64,
    /// Whether the recipe's length was reached.
    pub finished: bool,
    /// Mean loss of the journal's last line; absent where this session had nothing left to train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Over this session, without evaluations and checkpoints; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_sec: Option<f64>,
    /// Parameters of the exported network.
    pub num_parameters: usize,
    /// Images seen by the network in `best`; absent where nothing measures which one that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_images_seen: Option<u64>,
    /// The exported network.
    pub model: PathBuf,
    /// The last value of each number in this session's lines of the journal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// Trains until the end of the run or for `max_minutes`. Every checkpoint is followed by an export.
///
/// # Errors
/// Those of the network in training, and a disk that is full. The newest checkpoint is complete in every case.
pub fn train<T: Trainable>(
    mut trainable: T,
    run_dir: &RunDir,
    clock: Clock,
    max_minutes: Option<f64>,
    progress: &dyn Progress,
) -> Result<TrainingSummary> {
    let begun_at = trainable.images_seen();
    let mut run = Run { run_dir, clock, journal: Journal::open(run_dir, begun_at)?, best: Best::open(run_dir.dir())? };
    let (begun, mut busy) = (Instant::now(), Duration::ZERO);
    let is_over = |images_seen: u64| {
        images_seen >= clock.total_images
            || max_minutes.is_some_and(|minutes| begun.elapsed().as_secs_f64() >= 60.0 * minutes)
    };
    let mut metrics = BTreeMap::new();
    let mut over = is_over(begun_at);
    progress.begin("training", clock.total_images.saturating_sub(begun_at), "images");
    while !over {
        let before = trainable.images_seen();
        let step_begun = Instant::now();
        trainable = trainable.step()?;
        busy += step_begun.elapsed();
        let images_seen = trainable.images_seen();
        over = is_over(images_seen);
        let is_last = images_seen >= clock.total_images;
        let due = |every: u64| every > 0 && (before / every != images_seen / every || is_last);
        let rate = rate(images_seen - begun_at, busy);
        let mut line = Vec::new();
        if over || due(clock.log_every_images) {
            line.extend(trainable.take_metrics()?);
            line.push(("images_per_sec".to_owned(), rate));
        }
        progress.advance(images_seen - before, &format!("{}, {rate:.1} images/s", trainable.note()));
        if due(clock.evaluate_every_images) {
            line.extend(run.evaluate(&mut trainable, progress)?);
        }
        if due(clock.draw_every_images) {
            run.draw(&mut trainable, progress)?;
        }
        if !line.is_empty() {
            run.journal.write(images_seen, &line)?;
            metrics.extend(line);
        }
        if over || due(clock.checkpoint_every_images) {
            run.save(&trainable)?;
        }
    }
    progress.end();
    let images_seen = trainable.images_seen();
    let has_trained = images_seen > begun_at;
    if !has_trained && images_seen > 0 {
        // A kill may have come between the checkpoint and its export.
        export(&trainable, &run_dir.model_dir())?;
    }
    Ok(TrainingSummary {
        images_seen,
        finished: images_seen >= clock.total_images,
        loss: metrics.get("loss").copied(),
        images_per_sec: has_trained.then(|| rate(images_seen - begun_at, busy)),
        num_parameters: trainable.num_parameters(),
        best_images_seen: run.best.images_seen(),
        model: run_dir.model_dir(),
        metrics,
    })
}

fn rate(num_images: u64, busy: Duration) -> f64 {
    num_images as f64 / busy.as_secs_f64().max(1e-9)
}

/// What the loop writes to.
struct Run<'a> {
    run_dir: &'a RunDir,
    clock: Clock,
    journal: Journal,
    best: Best,
}

impl Run<'_> {
    /// Gives the values for the journal, and keeps the network where it is the best so far.
    fn evaluate<T: Trainable>(&mut self, trainable: &mut T, progress: &dyn Progress) -> Result<Vec<(String, f64)>> {
        let Evaluation { values, score } = trainable.evaluate()?;
        let images_seen = trainable.images_seen();
        let text: Vec<String> =
            values.iter().map(|(name, value)| format!("{} {value:.4}", name.replace(['_', '/'], " "))).collect();
        if !text.is_empty() {
            progress.say(&format!("after {images_seen} images: {}", text.join(", ")));
        }
        if let Some(score) = score {
            self.best.offer(images_seen, score, |folder| export(trainable, folder))?;
        }
        Ok(values)
    }

    fn draw<T: Trainable>(&mut self, trainable: &mut T, progress: &dyn Progress) -> Result<()> {
        let images_seen = trainable.images_seen();
        let Some(picture) = trainable.draw()? else { return Ok(()) };
        let path = self.run_dir.samples_dir()?.join(format!("images-{images_seen:09}.png"));
        picture.write_png(&path)?;
        self.journal.picture(images_seen, "samples", &picture)?;
        progress.detail(&format!("samples: {}", path.display()));
        Ok(())
    }

    /// Writes a checkpoint and the network that comes of it.
    fn save<T: Trainable>(&self, trainable: &T) -> Result<()> {
        let checkpoints = self.run_dir.checkpoints();
        checkpoints.write(trainable.images_seen(), |folder| trainable.save(folder))?;
        if self.clock.keep_checkpoints > 0 {
            checkpoints.prune(Retention { keep_last: self.clock.keep_checkpoints, keep_every: 0 })?;
        }
        export(trainable, &self.run_dir.model_dir())
    }
}

/// In one go, replacing an older one.
fn export<T: Trainable>(trainable: &T, folder: &Path) -> Result<()> {
    let target = AtomicFolder::create(folder)?;
    trainable.export(target.path())?;
    Ok(target.commit()?)
}
