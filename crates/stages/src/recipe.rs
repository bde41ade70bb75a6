//! Recipes of `train`: everything that decides a training run, resolved and checked before any work starts.

use anyhow::{Result, ensure};
use diffusion::{LossWeighting, Preconditioning, Prediction, Sampler, ScheduleConfig, StepSpacing, TimeDistribution};
use nets::backbone::BackboneConfig;
use serde::{Deserialize, Serialize};
use settings::{self, Settings};
use training::{Clock, OptimiserRecipe};

/// All settings of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is for, in a sentence.
    pub description: String,
    /// Decides every random number of the run.
    #[serde(default)]
    pub seed: u64,
    /// Which data, and how they are presented.
    pub data: DataRecipe,
    /// How the embeddings condition the network.
    #[serde(default)]
    pub condition: ConditionRecipe,
    /// The noise process and what the network learns of it.
    #[serde(default)]
    pub diffusion: DiffusionRecipe,
    /// Optimisation.
    #[serde(default)]
    pub optimiser: OptimiserRecipe,
    /// The moving average of the weights, which is what gets exported.
    #[serde(default)]
    pub ema: diffusion::ema::Ema,
    /// Length of the run, and what is written on its way.
    #[serde(default)]
    pub training: TrainingRecipe,
    /// Defaults of generation: sample grids during training, and the exported model.
    #[serde(default)]
    pub sampling: SamplingRecipe,
    /// The denoising network. Recipes of earlier releases have a section `unet` instead.
    pub network: BackboneConfig,
}

/// See [`Recipe::data`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Side of the square images in pixels; the dataset must have it.
    pub image_size: usize,
    /// Draw latents from the autoencoder's distribution instead of taking its mean (no effect for autoencoders
    /// without one). Default true, as Stable Diffusion.
    #[serde(default = "yes")]
    pub sample_latents: bool,
    /// Bring each latent channel to mean 0 and standard deviation 1 over the training images, beyond the
    /// autoencoder's own scale. Default true.
    #[serde(default = "yes")]
    pub standardise_latents: bool,
    /// Take the network's latent channels and width of the condition from the dataset's encodings instead of the section
    /// `network`, so that one recipe serves any autoencoder and encoder. Default false.
    #[serde(default)]
    pub fit_network: bool,
}

/// Which of the encoder's output becomes the condition. Patch tokens are not offered: with them models copy the image
/// through the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionTokens {
    /// The class token. The default.
    #[default]
    Class,
    /// The class token and, where the encoder has them, the register tokens.
    ClassAndRegisters,
}

/// See [`Recipe::condition`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionRecipe {
    /// Which tokens.
    pub tokens: ConditionTokens,
    /// Bring each dimension of the embeddings to mean 0 and standard deviation 1 over the training images.
    pub standardise: bool,
    /// Share of training images whose condition is replaced by the learned null condition, in `0..=1`.
    pub dropout: f64,
}

impl Default for ConditionRecipe {
    fn default() -> Self {
        Self { tokens: ConditionTokens::Class, standardise: true, dropout: 0.1 }
    }
}

/// See [`Recipe::diffusion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionRecipe {
    /// What the network predicts.
    pub prediction: Prediction,
    /// The noise process.
    pub schedule: ScheduleConfig,
    /// How training times are drawn.
    pub time_distribution: TimeDistribution,
    /// How much each noise level counts.
    pub loss_weighting: LossWeighting,
}

impl Default for DiffusionRecipe {
    fn default() -> Self {
        Self {
            prediction: Prediction::Flow,
            schedule: ScheduleConfig::default(),
            time_distribution: TimeDistribution::LogitNormal { mean: 0.0, std: 1.0 },
            loss_weighting: LossWeighting::Uniform,
        }
    }
}

/// See [`Recipe::training`]. The clock is images seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Length of the run.
    pub total_images: u64,
    /// Between two lines of metrics.
    pub log_every_images: u64,
    /// Between two checkpoints.
    pub checkpoint_every_images: u64,
    /// Between two sample grids; 0 draws none.
    pub sample_every_images: u64,
    /// Validation images whose reconstructions the grids show.
    pub num_sample_images: usize,
    /// Between two measurements of fidelity, of which the best model is kept in `best`; 0 (the default) makes none.
    pub fidelity_every_images: u64,
    /// Validation images that are reconstructed for each, all where there are fewer.
    pub num_fidelity_images: usize,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep_checkpoints: usize,
    /// Export the UNet's weights in 16 bit: half the size on disk. Training and checkpoints stay at 32. Default false.
    pub half_precision: bool,
}

impl Default for TrainingRecipe {
    fn default() -> Self {
        Self {
            total_images: 1_000_000,
            log_every_images: 640,
            checkpoint_every_images: 25_600,
            sample_every_images: 25_600,
            num_sample_images: 8,
            fidelity_every_images: 0,
            num_fidelity_images: 128,
            keep_checkpoints: 3,
            half_precision: false,
        }
    }
}

impl TrainingRecipe {
    /// For the training loop.
    pub fn clock(&self) -> Clock {
        Clock {
            total_images: self.total_images,
            log_every_images: self.log_every_images,
            evaluate_every_images: self.fidelity_every_images,
            draw_every_images: if self.num_sample_images > 0 { self.sample_every_images } else { 0 },
            checkpoint_every_images: self.checkpoint_every_images,
            keep_checkpoints: self.keep_checkpoints,
        }
    }
}

/// See [`Recipe::sampling`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingRecipe {
    /// Which sampler.
    pub sampler: Sampler,
    /// How many steps.
    pub num_steps: usize,
    /// Which noise levels.
    pub spacing: StepSpacing,
    /// Classifier-free guidance; 1 is off.
    pub guidance_scale: f64,
}

impl Default for SamplingRecipe {
    fn default() -> Self {
        Self { sampler: Sampler::Heun, num_steps: 20, spacing: StepSpacing::default(), guidance_scale: 1.5 }
    }
}

fn yes() -> bool {
    true
}

/// The recipe of that name or in that file, changed by `(path.to.key, value)` pairs and checked.
///
/// # Errors
/// As [`settings::resolve`].
pub fn resolve(name_or_path: &str, overrides: &[(String, String)]) -> Result<Recipe> {
    settings::resolve(name_or_path, overrides)
}

impl Recipe {
    /// The schedule joined with the prediction type.
    ///
    /// # Errors
    /// Settings that do not go together.
    pub fn preconditioning(&self) -> Result<Preconditioning> {
        Ok(Preconditioning::new(self.diffusion.schedule.resolve()?, self.diffusion.prediction)?)
    }

    /// The learning rate after `images_seen` images.
    pub fn learning_rate(&self, images_seen: u64) -> f64 {
        self.optimiser.learning_rate(images_seen, self.training.total_images)
    }
}

impl Settings for Recipe {
    const EMBEDDED: &'static [(&'static str, &'static str)] = &[
        ("demo-64", include_str!("../../../recipes/demo-64.toml")),
        ("small-128", include_str!("../../../recipes/small-128.toml")),
        ("paper-256", include_str!("../../../recipes/paper-256.toml")),
        ("paper-512", include_str!("../../../recipes/paper-512.toml")),
    ];

    fn description(&self) -> &str {
        &self.description
    }

    fn resumed_with(mut self, given: &Self) -> Self {
        self.description.clone_from(&given.description);
        // What is only looked at changes nothing in the weights.
        self.training.fidelity_every_images = given.training.fidelity_every_images;
        self.training.num_fidelity_images = given.training.num_fidelity_images;
        if self.data.fit_network && given.data.fit_network {
            // They follow from the encodings, by which a run knows its own.
            self.network = self.network.with_interface(given.network.interface());
        }
        // A schedule that ends with the run is another one when the run has another length.
        if self.optimiser.final_learning_rate_ratio == 1.0 {
            self.training.total_images = given.training.total_images;
        }
        self
    }

    fn validate(&self) -> Result<()> {
        let preconditioning = self.preconditioning()?;
        self.diffusion.time_distribution.validate()?;
        self.diffusion.loss_weighting.validate()?;
        self.ema.validate()?;
        diffusion::Guidance::new(self.sampling.guidance_scale).validate()?;
        preconditioning.schedule().sigmas(self.sampling.num_steps, self.sampling.spacing)?;
        self.network.validate()?;
        let ConditionRecipe { dropout, .. } = self.condition;
        ensure!((0.0..=1.0).contains(&dropout), "condition.dropout is {dropout}; it is a share, from 0 to 1");
        let size = self.data.image_size;
        ensure!(
            size >= 16 && size.is_multiple_of(8),
            "data.image_size is {size}; it must be a multiple of 8, at least 16"
        );
        self.optimiser.validate()?;
        let TrainingRecipe { total_images, log_every_images, checkpoint_every_images, .. } = self.training;
        for (name, value) in [
            ("total_images", total_images),
            ("log_every_images", log_every_images),
            ("checkpoint_every_images", checkpoint_every_images),
        ] {
            ensure!(value > 0, "training.{name} is 0; it must be above 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &str, value: &str) -> Result<Recipe> {
        resolve("small-128", &[(path.into(), value.into())])
    }

    #[test]
    fn embedded_recipes_are_valid_and_survive_a_round_trip() {
        for (name, description) in settings::list::<Recipe>().unwrap() {
            let recipe = resolve(name, &[]).unwrap();
            assert!(!description.is_empty());
            assert_eq!(settings::from_toml::<Recipe>(&settings::to_toml(&recipe).unwrap()).unwrap(), recipe, "{name}");
        }
    }

    #[test]
    fn single_settings_can_be_changed() {
        assert_eq!(set("optimiser.learning_rate", "1").unwrap().optimiser.learning_rate, 1.0);
        assert_eq!(set("sampling.sampler", "euler").unwrap().sampling.sampler, Sampler::Euler);
        assert_eq!(set("seed", "7").unwrap().seed, 7);
        assert_eq!(set("optimizer.learning_rate", "0.5").unwrap().optimiser.learning_rate, 0.5);
        let spacing = set("sampling.spacing.leading.steps_offset", "1").unwrap().sampling.spacing;
        assert_eq!(spacing, StepSpacing::Leading { steps_offset: 1 });
        let schedule = set("diffusion.schedule.kind", "cosine").unwrap().diffusion.schedule;
        assert_eq!(schedule, ScheduleConfig::Cosine(diffusion::schedule::Cosine::default()));
    }

    #[test]
    fn typos_and_impossible_settings_are_refused_by_name() {
        for (path, value, part) in [
            ("optimiser.learning_rte", "1", "learning_rate"),
            ("optimiser.learning_rate", "fast", "does not fit"),
            ("optimiser.learning_rate", "-1", "above 0"),
            ("condition.dropout", "2", "share"),
            ("diffusion.prediction", "noise", "zero terminal"),
            ("diffusion.prediction", "flow", "variance-preserving"),
            ("optimiser.accumulation_steps", "3", "divisible"),
            ("data.image_size", "100", "multiple of 8"),
        ] {
            let error = format!("{:#}", set(path, value).unwrap_err());
            assert!(error.contains(part), "{path}={value}: {error}");
        }
        assert!(resolve("smal-128", &[]).unwrap_err().to_string().contains("small-128"));
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let mut recipe = resolve("small-128", &[]).unwrap();
        recipe.optimiser.learning_rate = 1.0;
        recipe.optimiser.warmup_images = 100;
        recipe.optimiser.final_learning_rate_ratio = 0.0;
        recipe.training.total_images = 1_000_000;
        assert_eq!(recipe.learning_rate(0), 0.0);
        assert!((recipe.learning_rate(50) - 0.5).abs() < 1e-6);
        assert!((recipe.learning_rate(500_000) - 0.5).abs() < 1e-9);
        assert!(recipe.learning_rate(1_000_000).abs() < 1e-12);
    }
}
