//! Training on cached encodings: no frozen network runs in the loop.
//!
//! The clock is images seen. Every random number is keyed by the number of the image in the run, so a run that is
//! killed and resumed draws the same noise, times, order and dropped conditions as one that was not, and ends with the
//! same weights to the last bit.

mod checkpoint;
mod data;
mod fidelity;
mod metrics;
pub mod optimiser;
mod samples;

use crate::{
    encode,
    model::{self, Denoiser, ModelInfo},
    progress::Progress,
    recipe::Recipe,
    run::{self, Inputs, Journal},
    settings::Settings as _,
    tensors::to_host,
};
use anyhow::{Result, bail, ensure};
use burn::tensor::Device;
use checkpoint::State;
use data::{Batch, TrainingData};
use dataset::{Dataset, RunDir};
use diffusion::{Preconditioning, weighted_mean_squared_error};
use fidelity::{Best, FidelityCheck};
use kernels::AdamWStep;
use metrics::Averages;
use optimiser::GradientSet;
use samples::SampleGrid;
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What to train, on what, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// A prepared dataset.
    pub dataset: PathBuf,
    /// All settings.
    pub recipe: Recipe,
    /// The run folder.
    pub out: PathBuf,
    /// Continue the run in `out` from its newest checkpoint.
    pub resume: bool,
    /// Needed only where the dataset lacks encodings, or has several.
    pub autoencoder: Option<PathBuf>,
    /// Needed only where the dataset lacks encodings, or has several.
    pub encoder: Option<PathBuf>,
    /// Stop, with a checkpoint, after so many minutes; `--resume` goes on.
    pub max_minutes: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct TrainSummary {
    /// Images seen in the whole run.
    pub images_seen: u64,
    /// Whether the recipe's length was reached.
    pub finished: bool,
    /// Mean loss since the line of metrics before the last; absent where this session had nothing left to train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Over this session, without sample grids and checkpoints; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_sec: Option<f64>,
    /// Parameters of the network.
    pub num_parameters: usize,
    /// The exported model.
    pub model: PathBuf,
    /// Images seen by the model in `best`, whose reconstructions were nearest to real images; absent where that is not
    /// measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_images_seen: Option<u64>,
}

/// Trains until the recipe's length or `max_minutes`.
///
/// # Errors
/// Settings, dataset, encodings or a checkpoint that do not belong together; a loss that is no number, naming the
/// images; a disk that is full. The newest checkpoint is complete in every case.
pub fn run(config: &TrainConfig, device: &Device, progress: &dyn Progress) -> Result<TrainSummary> {
    let recipe = &config.recipe;
    recipe.validate()?;
    run::check(&config.out, config.resume, recipe, config.max_minutes)?;
    let dataset = Dataset::open(&config.dataset)?;
    ensure!(
        dataset.image_size() == recipe.data.image_size,
        "the dataset has images of {} px, the recipe wants {} px; prepare the dataset with `--image-size {}`, \
         or choose another recipe",
        dataset.image_size(),
        recipe.data.image_size,
        recipe.data.image_size
    );
    data::check_splits(&dataset, recipe)?;
    let earlier = if config.resume { run::identity::<Identity>(&config.out)? } else { None };
    let frozen = encode::find_or_make(
        &dataset,
        config.autoencoder.as_deref(),
        config.encoder.as_deref(),
        earlier.map(|identity| identity.encodings).as_deref(),
        device,
        progress,
    )?;
    let recipe = &data::fitted(recipe, &frozen)?;
    data::check_encodings(&frozen, recipe)?;
    let identity = Identity { dataset: dataset.fingerprint().to_owned(), encodings: frozen.encodings_name.clone() };
    let inputs = Inputs::new(&config.dataset, None);
    let (run_dir, _lock) = run::open(&config.out, config.resume, recipe, &identity, &inputs)?;
    let data = TrainingData::open(&dataset, &frozen, recipe, progress)?;
    let info = data.model_info(&frozen, recipe)?;
    let autodiff = device.clone().autodiff();
    let state = match run_dir.checkpoints().latest()? {
        Some(found) if config.resume => {
            progress.say(&format!("continuing from {}", found.path.display()));
            State::load(&found.path, recipe, info.condition_shape[0], &autodiff)?
        }
        _ => State::fresh(recipe, info.condition_shape[0], &autodiff)?,
    };
    let mut session = Session {
        recipe,
        preconditioning: recipe.preconditioning()?,
        grid: SampleGrid::new(&dataset, &frozen, &info, recipe)?,
        fidelity: FidelityCheck::new(&dataset, &frozen, &info, recipe)?,
        best: Best::read(&config.out)?,
        journal: Journal::open(&run_dir, state.images_seen)?,
        averages: Averages::default(),
        run_dir,
        info,
        frozen,
        data,
        device: device.clone(),
        autodiff,
    };
    session.train(state, config.max_minutes, progress)
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    dataset: String,
    encodings: String,
}

impl run::Identity for Identity {
    fn describe(&self) -> String {
        format!("dataset {}, encodings {}", self.dataset, self.encodings)
    }
}

/// Everything that stays the same while a run trains.
struct Session<'a> {
    recipe: &'a Recipe,
    preconditioning: Preconditioning,
    grid: SampleGrid,
    fidelity: Option<FidelityCheck>,
    best: Option<Best>,
    journal: Journal,
    averages: Averages,
    run_dir: RunDir,
    info: ModelInfo,
    frozen: encode::Frozen,
    data: TrainingData,
    device: Device,
    autodiff: Device,
}

impl Session<'_> {
    fn train(&mut self, mut state: State, max_minutes: Option<f64>, progress: &dyn Progress) -> Result<TrainSummary> {
        let training = &self.recipe.training;
        let begun = Instant::now();
        let mut busy = Duration::ZERO;
        let begun_at = state.images_seen;
        let mut loss = f64::NAN;
        progress.begin("training", training.total_images.saturating_sub(state.images_seen), "images");
        while state.images_seen < training.total_images {
            let out_of_time = max_minutes.is_some_and(|minutes| begun.elapsed().as_secs_f64() >= 60.0 * minutes);
            if out_of_time {
                break;
            }
            let step_begun = Instant::now();
            let batch_size = self.recipe.optimiser.batch_size as u64;
            let before = state.images_seen;
            state = self.step(state)?;
            busy += step_begun.elapsed();
            let crossed = |every: u64| every > 0 && before / every != state.images_seen / every;
            let rate = (state.images_seen - begun_at) as f64 / busy.as_secs_f64();
            if crossed(training.log_every_images) {
                loss = self.averages.loss();
                let values = self.averages.take(self.recipe.learning_rate(before), rate);
                self.journal.write(state.images_seen, &values)?;
            }
            progress.advance(batch_size, &format!("loss {:.4}, {rate:.1} images/s", self.averages.recent_loss()));
            if crossed(training.sample_every_images) && training.num_sample_images > 0 {
                let averaged = state.optimiser.averaged(&state.denoiser);
                let picture = self.grid.draw(&averaged, &self.info, &self.device)?;
                let path = self.run_dir.samples_dir()?.join(format!("images-{:09}.png", state.images_seen));
                picture.write_png(&path)?;
                self.journal.picture(state.images_seen, "samples", &picture)?;
                progress.detail(&format!("samples: {}", path.display()));
            }
            if crossed(training.fidelity_every_images) {
                self.check_fidelity(&state, progress)?;
            }
            if crossed(training.checkpoint_every_images) {
                self.save(&mut state)?;
            }
        }
        progress.end();
        if state.saved_at != Some(state.images_seen) {
            self.save(&mut state)?;
        } else if !self.is_exported(state.images_seen) {
            // A kill came between the checkpoint and its export.
            self.export(&self.run_dir.model_dir(), state.images_seen, &state.optimiser.averaged(&state.denoiser))?;
        }
        let has_trained = state.images_seen > begun_at;
        Ok(TrainSummary {
            images_seen: state.images_seen,
            finished: state.images_seen >= training.total_images,
            loss: has_trained.then(|| if loss.is_nan() { self.averages.recent_loss() } else { loss }),
            images_per_sec: has_trained.then(|| (state.images_seen - begun_at) as f64 / busy.as_secs_f64().max(1e-9)),
            num_parameters: burn::module::Module::num_params(&state.denoiser),
            model: self.run_dir.model_dir(),
            best_images_seen: self.best.map(|best| best.images_seen),
        })
    }

    /// Measures the averaged weights, and keeps their model where it is the best so far.
    fn check_fidelity(&mut self, state: &State, progress: &dyn Progress) -> Result<()> {
        let Some(check) = &self.fidelity else { return Ok(()) };
        let averaged = state.optimiser.averaged(&state.denoiser);
        let measured = check.measure(&averaged, &self.info, &self.device)?;
        let values = [
            ("fidelity/kernel_distance", measured.kernel_distance),
            ("fidelity/kernel_distance_floor", check.floor.kernel_distance),
            ("fidelity/frechet_distance", measured.frechet_distance),
            ("fidelity/frechet_distance_floor", check.floor.frechet_distance),
        ];
        self.journal.write(state.images_seen, &values.map(|(name, value)| (name.to_owned(), value)))?;
        progress
            .detail(&format!("kernel distance after {} images: {:.4}", state.images_seen, measured.kernel_distance));
        if self.best.is_none_or(|best| measured.kernel_distance < best.measured.kernel_distance) {
            let best = Best { images_seen: state.images_seen, measured, floor: check.floor };
            let (folder, record) = Best::paths(self.run_dir.dir());
            self.export(&folder, state.images_seen, &averaged)?;
            dataset::write_file(record, serde_json::to_string_pretty(&best)?.as_bytes())?;
            self.best = Some(best);
        }
        Ok(())
    }

    /// One optimiser step.
    fn step(&mut self, state: State) -> Result<State> {
        let optimiser = &self.recipe.optimiser;
        let part_size = optimiser.batch_size / optimiser.accumulation_steps;
        let mut gradients = GradientSet::default();
        for part in 0..optimiser.accumulation_steps {
            let first = state.images_seen + (part * part_size) as u64;
            let batch = self.data.batch(first, part_size, &self.autodiff)?;
            self.forward_backward(&state.denoiser, batch, &mut gradients)?;
        }
        let norm = gradients.norm()?;
        if !norm.is_finite() {
            bail!(
                "the gradient after {} images is {norm} although the loss is a number; start a new run with a lower \
                 `optimiser.learning_rate` (now {})",
                state.images_seen,
                optimiser.learning_rate
            );
        }
        let clip = if optimiser.max_gradient_norm > 0.0 && norm > optimiser.max_gradient_norm {
            optimiser.max_gradient_norm / norm
        } else {
            1.0
        };
        let images_seen = state.images_seen + optimiser.batch_size as u64;
        let settings = AdamWStep {
            learning_rate: self.recipe.learning_rate(images_seen),
            beta_1: optimiser.beta_1,
            beta_2: optimiser.beta_2,
            epsilon: optimiser.epsilon,
            weight_decay: optimiser.weight_decay,
            step: 0,
            ema_decay: self.recipe.ema.decay(images_seen, optimiser.batch_size),
            gradient_scale: clip,
        };
        self.averages.add_gradient_norm(norm);
        Ok(state.updated(gradients, settings, optimiser.batch_size))
    }

    fn forward_backward(&mut self, denoiser: &Denoiser, batch: Batch, gradients: &mut GradientSet) -> Result<()> {
        let training = self.preconditioning.training_batch(
            batch.latents,
            batch.noise,
            &batch.times,
            self.recipe.diffusion.loss_weighting,
        )?;
        let condition = denoiser.drop_conditions(batch.condition, batch.keep);
        let output = denoiser.unet.forward(training.input, training.timesteps, condition);
        let loss = weighted_mean_squared_error(output, training.target, training.weights);
        let per_sample = to_host(loss.per_sample.clone().inner())?;
        let broken: Vec<&str> = per_sample
            .iter()
            .zip(&batch.ids)
            .filter(|(loss, _)| !loss.is_finite())
            .map(|(_, id)| id.as_str())
            .collect();
        if !broken.is_empty() {
            bail!(
                "the loss is not a number for {}; look at these images, or start a new run with a lower \
                 `optimiser.learning_rate` (now {})",
                broken.join(", "),
                self.recipe.optimiser.learning_rate
            );
        }
        self.averages.add_losses(&per_sample, &batch.times);
        let parts = self.recipe.optimiser.accumulation_steps as f64;
        gradients.accumulate(denoiser, loss.mean.div_scalar(parts).backward());
        Ok(())
    }

    /// Writes a checkpoint and the model that comes of it.
    fn save(&mut self, state: &mut State) -> Result<()> {
        let keep = self.recipe.training.keep_checkpoints;
        state.save(&self.run_dir, keep)?;
        self.export(&self.run_dir.model_dir(), state.images_seen, &state.optimiser.averaged(&state.denoiser))
    }

    /// Whether the exported model is the one after so many images.
    fn is_exported(&self, images_seen: u64) -> bool {
        model::read_info(&self.run_dir.model_dir()).is_ok_and(|info| info.images_seen == images_seen)
    }

    fn export(&self, folder: &std::path::Path, images_seen: u64, averaged: &Denoiser) -> Result<()> {
        let info = ModelInfo { images_seen, ..self.info.clone() };
        let half = self.recipe.training.half_precision;
        model::save(folder, &info, averaged, half, &self.frozen.autoencoder, &self.frozen.encoder)
    }
}
