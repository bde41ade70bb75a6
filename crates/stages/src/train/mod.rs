//! Training on cached encodings: no frozen network runs in the loop.
//!
//! The clock is images seen. Every random number is keyed by the number of the image in the run, so a run that is
//! killed and resumed draws the same noise, times, order and dropped conditions as one that was not, and ends with the
//! same weights to the last bit.

mod data;
mod fidelity;
mod metrics;
mod samples;

use crate::{
    encode,
    encoded::EncodedDataset,
    model::{self, Denoiser, ModelInfo},
    recipe::Recipe,
};
use anyhow::{Result, bail, ensure};
use burn::{module::Module as _, tensor::Device};
use data::{Batch, TrainingData};
use dataset::Dataset;
use diffusion::{Preconditioning, weighted_mean_squared_error};
use fidelity::FidelityCheck;
use messages::Progress;
use metrics::Averages;
use radiograph::RgbImage;
use samples::SampleGrid;
use serde::{Deserialize, Serialize};
use settings::Settings as _;
use std::path::{Path, PathBuf};
use training::{
    Evaluation, State, Trainable, TrainingSummary,
    optimiser::GradientSet,
    run::{self, Inputs},
    tensors::to_host,
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

/// Trains until the recipe's length or `max_minutes`.
///
/// # Errors
/// Settings, dataset, encodings or a checkpoint that do not belong together; a loss that is no number, naming the
/// images; a disk that is full. The newest checkpoint is complete in every case.
pub fn run(config: &TrainConfig, device: &Device, progress: &dyn Progress) -> Result<TrainingSummary> {
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
    let encoded = encode::find_or_make(
        &dataset,
        config.autoencoder.as_deref(),
        config.encoder.as_deref(),
        earlier.map(|identity| identity.encodings).as_deref(),
        device,
        progress,
    )?;
    let recipe = &data::fitted(recipe, &encoded)?;
    data::check_encodings(&encoded, recipe)?;
    let identity = Identity { dataset: dataset.fingerprint().to_owned(), encodings: encoded.encodings_name.clone() };
    let inputs = Inputs::new(&config.dataset, None);
    let (run_dir, _lock) = run::open(&config.out, config.resume, recipe, &identity, &inputs)?;
    let data = TrainingData::open(&dataset, &encoded, recipe, progress)?;
    let info = data.model_info(&encoded, recipe)?;
    let autodiff = device.clone().autodiff();
    let fresh = Denoiser::new(&recipe.network, info.condition_shape[0], recipe.seed, &autodiff)?;
    let state = match run_dir.checkpoints().latest()? {
        Some(found) if config.resume => {
            progress.say(&format!("continuing from {}", found.path.display()));
            load_state(&found.path, fresh)?
        }
        _ => State::new(fresh),
    };
    let setting = Setting {
        preconditioning: recipe.preconditioning()?,
        grid: SampleGrid::new(&dataset, &encoded, &info, recipe)?,
        fidelity: FidelityCheck::new(&dataset, &encoded, &info, recipe)?,
        averages: Averages::default(),
        recipe: recipe.clone(),
        info,
        encoded,
        data,
        device: device.clone(),
        autodiff,
    };
    let training = DenoiserTraining { state, setting: Box::new(setting) };
    training::train(training, &run_dir, recipe.training.clock(), config.max_minutes, progress)
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

/// A denoiser in training, from the folder of a checkpoint; `fresh` gives the shape of the network.
///
/// # Errors
/// Files that are missing or do not fit the network, with the remedy.
pub fn load_state(checkpoint: &Path, fresh: Denoiser) -> Result<State<Denoiser>> {
    // Checkpoints of earlier releases call the network after its only kind.
    State::load_renamed(checkpoint, fresh, &|key| Some(format!("backbone.{}", key.strip_prefix("unet.")?)))
}

/// What a run trains with.
struct Setting {
    recipe: Recipe,
    preconditioning: Preconditioning,
    grid: SampleGrid,
    fidelity: Option<FidelityCheck>,
    averages: Averages,
    info: ModelInfo,
    encoded: EncodedDataset,
    data: TrainingData,
    device: Device,
    autodiff: Device,
}

/// The denoiser in training.
struct DenoiserTraining {
    state: State<Denoiser>,
    setting: Box<Setting>,
}

impl Setting {
    /// Adds the gradients of a part of a step.
    fn forward_backward(&mut self, denoiser: &Denoiser, batch: Batch, gradients: &mut GradientSet) -> Result<()> {
        let training = self.preconditioning.training_batch(
            batch.latents.into_tensor(),
            batch.noise,
            &batch.times,
            self.recipe.diffusion.loss_weighting,
        )?;
        let condition = denoiser.drop_conditions(batch.condition, batch.keep);
        let output = denoiser.forward(training.input, training.timesteps, condition);
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
}

impl Trainable for DenoiserTraining {
    fn num_parameters(&self) -> usize {
        self.state.network.num_params()
    }

    fn images_seen(&self) -> u64 {
        self.state.images_seen
    }

    fn step(self) -> Result<Self> {
        let Self { state, mut setting } = self;
        let optimiser = setting.recipe.optimiser.clone();
        let part_size = optimiser.batch_size / optimiser.accumulation_steps;
        let mut gradients = GradientSet::default();
        for part in 0..optimiser.accumulation_steps {
            let first = state.images_seen + (part * part_size) as u64;
            let batch = setting.data.batch(first, part_size, &setting.autodiff)?;
            setting.forward_backward(&state.network, batch, &mut gradients)?;
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
        setting.averages.add_gradient_norm(norm);
        let total_images = setting.recipe.training.total_images;
        let state = state.stepped(gradients, norm, &optimiser, &setting.recipe.ema, total_images);
        Ok(Self { state, setting })
    }

    fn note(&self) -> String {
        format!("loss {:.4}", self.setting.averages.recent_loss())
    }

    fn take_metrics(&mut self) -> Result<Vec<(String, f64)>> {
        let learning_rate = self.setting.recipe.learning_rate(self.state.images_seen);
        Ok(self.setting.averages.take(learning_rate))
    }

    fn evaluate(&mut self) -> Result<Evaluation> {
        let Setting { fidelity: Some(check), info, device, .. } = &*self.setting else {
            return Ok(Evaluation::default());
        };
        check.evaluation(&check.measure(&self.state.averaged(), info, device)?)
    }

    fn draw(&mut self) -> Result<Option<RgbImage>> {
        let Setting { grid, info, device, .. } = &*self.setting;
        Ok(Some(grid.draw(&self.state.averaged(), info, device)?))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.state.save(folder)
    }

    fn export(&self, folder: &Path) -> Result<()> {
        let Setting { recipe, info, encoded, .. } = &*self.setting;
        let info = ModelInfo { images_seen: self.state.images_seen, ..info.clone() };
        let (denoiser, half) = (self.state.averaged(), recipe.training.half_precision);
        model::write(folder, &info, &denoiser, half, &encoded.autoencoder, &encoded.encoder)
    }
}
