//! Recipes of `pretrain encoder`: everything that decides a run, resolved and checked before any work starts.

use crate::Length;
use anyhow::{Context, Result, bail, ensure};
use nets::dino::DinoHeadConfig;
use nets::encoder::{EncoderConfig, Size};
use radiograph::{Augmentation, ViewKind};
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::f64::consts::PI;

/// All settings of a run. Papers' values are DINO's (Caron et al. 2021, section 3.2 and appendix C).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderRecipe {
    /// What it is for, in a sentence.
    pub description: String,
    /// Decides every random number of the run.
    #[serde(default)]
    pub seed: u64,
    /// Side of the square images in pixels; the dataset must have it, and the encoder's position embeddings are made
    /// for it.
    pub image_size: usize,
    /// Which vision transformer.
    pub network: NetworkRecipe,
    /// The projection head, which is thrown away after training.
    #[serde(default)]
    pub head: DinoHeadConfig,
    /// Which views of an image are compared.
    #[serde(default)]
    pub views: ViewsRecipe,
    /// By how much a view differs from its image.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Loss and teacher.
    #[serde(default)]
    pub distillation: DistillationRecipe,
    /// Optimisation of the student.
    #[serde(default)]
    pub optimiser: OptimiserRecipe,
    /// How the encoder is judged on its way.
    #[serde(default)]
    pub evaluation: EvaluationRecipe,
    /// Length of the run, and what is written on its way.
    pub training: Length,
}

/// See [`EncoderRecipe::network`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// Width and heads.
    pub size: Size,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Transformer blocks. Default 12.
    #[serde(default = "twelve")]
    pub num_layers: usize,
    /// Standard deviation of the encoder's initial weights. Default 0.02, as DINO, whose networks are 384 wide and more.
    /// A network 192 wide with 1 / sqrt(192) = 0.07 tells images apart before it has learnt anything, and what the
    /// teacher tells apart is what the student has to learn from.
    #[serde(default = "dino_deviation")]
    pub initial_deviation: f64,
    /// Standard deviation of the initial position embeddings, the class token's included. Default 0.02, as DINO: hardly
    /// anything beside the patches. With 1 a fresh network knows where each patch is.
    #[serde(default = "dino_deviation")]
    pub position_deviation: f64,
    /// Export the encoder's weights in 16 bit: half the size on disk. Training and checkpoints stay at 32. Default
    /// false.
    #[serde(default)]
    pub half_precision: bool,
}

fn twelve() -> usize {
    12
}

fn dino_deviation() -> f64 {
    0.02
}

/// See [`EncoderRecipe::views`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsRecipe {
    /// Side of the two global views in pixels, a multiple of the patch. Default 112: half the paper's.
    pub global_size: usize,
    /// Shares of the image's area that a global view covers. Default 0.4 to 1, as the paper.
    pub global_scale: [f64; 2],
    /// Side of a local view in pixels, a multiple of the patch. Default 48: half the paper's.
    pub local_size: usize,
    /// Shares of the image's area that a local view covers. Default 0.05 to 0.4, as the paper.
    pub local_scale: [f64; 2],
    /// Local views of each image, which only the student sees; 0 is allowed. Default 6.
    pub num_local: usize,
    /// Probability of blur in the first global view, the second, and local ones. Default 1, 0.1 and 0.5, as the paper.
    pub blur_probability: [f64; 3],
}

impl Default for ViewsRecipe {
    fn default() -> Self {
        Self {
            global_size: 112,
            global_scale: [0.4, 1.0],
            local_size: 48,
            local_scale: [0.05, 0.4],
            num_local: 6,
            blur_probability: [1.0, 0.1, 0.5],
        }
    }
}

impl ViewsRecipe {
    /// The views of one image in order: two global ones, then the local ones.
    pub fn kinds(&self) -> Vec<ViewKind> {
        let [first, second, local] = self.blur_probability;
        let global = |blur_probability| ViewKind { size: self.global_size, scale: self.global_scale, blur_probability };
        let local = ViewKind { size: self.local_size, scale: self.local_scale, blur_probability: local };
        [global(first), global(second)].into_iter().chain(std::iter::repeat_n(local, self.num_local)).collect()
    }
}

/// See [`EncoderRecipe::distillation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillationRecipe {
    /// Temperature of the student's softmax. Default 0.1, as the paper.
    pub student_temperature: f64,
    /// Temperature of the teacher's softmax at the start. Default 0.04, as the paper.
    pub first_teacher_temperature: f64,
    /// Temperature of the teacher's softmax after its warm-up. Default 0.04: the paper goes to 0.07 in long runs.
    pub teacher_temperature: f64,
    /// Images over which it rises linearly. Default 0.
    pub temperature_warmup_images: u64,
    /// Share of the old centre that survives a step. Default 0.9, as the paper.
    pub centre_momentum: f64,
    /// Share of the old teacher that survives a step, at the start; it rises along a half cosine to 1 at the end of the
    /// run. Default 0.996, as the paper.
    pub teacher_momentum: f64,
    /// Weight of DINOv2's KoLeo term; 0, the default, is off. DINOv2 takes 0.1.
    pub koleo_weight: f64,
}

impl Default for DistillationRecipe {
    fn default() -> Self {
        Self {
            student_temperature: 0.1,
            first_teacher_temperature: 0.04,
            teacher_temperature: 0.04,
            temperature_warmup_images: 0,
            centre_momentum: 0.9,
            teacher_momentum: 0.996,
            koleo_weight: 0.0,
        }
    }
}

/// See [`EncoderRecipe::optimiser`]. AdamW (Loshchilov & Hutter 2019); biases and normalisations are not decayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserRecipe {
    /// After warm-up, for a batch of 256 images: it is multiplied by `batch_size / 256`. Default 5e-4, as the paper.
    pub learning_rate: f64,
    /// The rate falls along a half cosine to this at the end of the run. Default 1e-6, as the paper's code; not scaled.
    pub final_learning_rate: f64,
    /// Images over which the rate rises linearly from 0.
    pub warmup_images: u64,
    /// Decoupled weight decay at the start. Default 0.04, as the paper.
    pub weight_decay: f64,
    /// Weight decay at the end of the run, along a half cosine. Default 0.4, as the paper.
    pub final_weight_decay: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The gradient of each single parameter that is longer than this is shortened to it; 0 leaves them. Default 3, as
    /// the paper's code for vision transformers.
    pub max_gradient_norm: f64,
    /// The prototypes do not move for so many images, which steadies the start.
    pub freeze_last_layer_images: u64,
    /// Images in one optimiser step.
    pub batch_size: usize,
}

impl Default for OptimiserRecipe {
    fn default() -> Self {
        Self {
            learning_rate: 5e-4,
            final_learning_rate: 1e-6,
            warmup_images: 10_000,
            weight_decay: 0.04,
            final_weight_decay: 0.4,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            max_gradient_norm: 3.0,
            freeze_last_layer_images: 1_000,
            batch_size: 64,
        }
    }
}

/// See [`EncoderRecipe::evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationRecipe {
    /// Neighbours that vote. Default 20, as the paper.
    pub num_neighbours: usize,
    /// Of the votes. Default 0.07, as the paper.
    pub temperature: f64,
    /// Labelled training images among which neighbours are looked for, at most. Default 2,000.
    pub max_references: usize,
    /// Validation images that are classified, at most. Default 1,000.
    pub max_queries: usize,
}

impl Default for EvaluationRecipe {
    fn default() -> Self {
        Self { num_neighbours: 20, temperature: 0.07, max_references: 2_000, max_queries: 1_000 }
    }
}

/// `share` of the way from `start` to `end` along a half cosine; `share` in 0..=1.
fn half_cosine(start: f64, end: f64, share: f64) -> f64 {
    end + 0.5 * (start - end) * (1.0 + (PI * share).cos())
}

impl EncoderRecipe {
    /// Shape of the encoder.
    pub fn encoder(&self) -> EncoderConfig {
        let NetworkRecipe { size, patch_size, num_layers, .. } = self.network;
        EncoderConfig::of_size(size, patch_size, self.image_size).with_num_layers(num_layers)
    }

    fn share(&self, images_seen: u64) -> f64 {
        (images_seen as f64 / self.training.total_images as f64).min(1.0)
    }

    /// Learning rate of the step that begins after `images_seen` images.
    pub fn learning_rate(&self, images_seen: u64) -> f64 {
        let OptimiserRecipe { learning_rate, final_learning_rate, warmup_images, batch_size, .. } = self.optimiser;
        let highest = learning_rate * batch_size as f64 / 256.0;
        if images_seen < warmup_images {
            return highest * images_seen as f64 / warmup_images as f64;
        }
        let rest = self.training.total_images.saturating_sub(warmup_images);
        let share = ((images_seen - warmup_images) as f64 / rest.max(1) as f64).min(1.0);
        half_cosine(highest, final_learning_rate, share)
    }

    /// Weight decay of that step.
    pub fn weight_decay(&self, images_seen: u64) -> f64 {
        half_cosine(self.optimiser.weight_decay, self.optimiser.final_weight_decay, self.share(images_seen))
    }

    /// Share of the old teacher that survives that step.
    pub fn teacher_momentum(&self, images_seen: u64) -> f64 {
        half_cosine(self.distillation.teacher_momentum, 1.0, self.share(images_seen))
    }

    /// Temperature of the teacher in that step.
    pub fn teacher_temperature(&self, images_seen: u64) -> f64 {
        let DistillationRecipe { first_teacher_temperature, teacher_temperature, temperature_warmup_images, .. } =
            self.distillation;
        if images_seen >= temperature_warmup_images {
            return teacher_temperature;
        }
        let share = images_seen as f64 / temperature_warmup_images as f64;
        first_teacher_temperature + share * (teacher_temperature - first_teacher_temperature)
    }
}

impl Settings for EncoderRecipe {
    const EMBEDDED: &'static [(&'static str, &'static str)] =
        &[("dino-tiny-128", include_str!("../../../../recipes/dino-tiny-128.toml"))];

    fn description(&self) -> &str {
        &self.description
    }

    fn resumed_with(mut self, given: &Self) -> Self {
        // Every schedule ends with the run, so nothing else may change.
        self.description.clone_from(&given.description);
        self
    }

    fn validate(&self) -> Result<()> {
        self.encoder().validate().context("section `network`")?;
        self.training.validate()?;
        if let Some(problem) = self.augmentation.problem() {
            bail!("augmentation.{problem}");
        }
        for (name, deviation) in [
            ("network.initial_deviation", self.network.initial_deviation),
            ("network.position_deviation", self.network.position_deviation),
        ] {
            ensure!(deviation > 0.0 && deviation <= 10.0, "{name} is {deviation}; it must be above 0 and at most 10");
        }
        let patch_size = self.network.patch_size;
        let ViewsRecipe { global_size, global_scale, local_size, local_scale, blur_probability, .. } = self.views;
        ensure!(
            self.image_size.is_multiple_of(patch_size),
            "image_size is {}; it must be a multiple of network.patch_size, {patch_size}",
            self.image_size
        );
        for (name, size) in [("global_size", global_size), ("local_size", local_size)] {
            ensure!(
                size > 0 && size.is_multiple_of(patch_size) && size <= 4096,
                "views.{name} is {size}; it must be a multiple of network.patch_size, {patch_size}, at most 4096"
            );
        }
        for (name, [low, high]) in [("global_scale", global_scale), ("local_scale", local_scale)] {
            ensure!(
                low > 0.0 && low <= high && high <= 1.0,
                "views.{name} is {low} to {high}; both must be above 0 and at most 1, the smaller first"
            );
        }
        for probability in blur_probability {
            ensure!(
                (0.0..=1.0).contains(&probability),
                "views.blur_probability holds {probability}; it must be a share, from 0 to 1"
            );
        }
        let DinoHeadConfig { num_layers, hidden_dim, bottleneck_dim, output_dim, batch_norm: _ } = self.head;
        for (name, value) in [
            ("head.num_layers", num_layers),
            ("head.hidden_dim", hidden_dim),
            ("head.bottleneck_dim", bottleneck_dim),
            ("head.output_dim", output_dim),
            ("evaluation.num_neighbours", self.evaluation.num_neighbours),
        ] {
            ensure!((1..=1 << 20).contains(&value), "{name} is {value}; it must be from 1 to 1,048,576");
        }
        let DistillationRecipe { centre_momentum, teacher_momentum, koleo_weight, .. } = self.distillation;
        let OptimiserRecipe { learning_rate, beta_1, beta_2, batch_size, .. } = self.optimiser;
        for (name, value) in [
            ("distillation.student_temperature", self.distillation.student_temperature),
            ("distillation.first_teacher_temperature", self.distillation.first_teacher_temperature),
            ("distillation.teacher_temperature", self.distillation.teacher_temperature),
            ("evaluation.temperature", self.evaluation.temperature),
        ] {
            // A cosine over the temperature must have an exponential.
            ensure!((0.02..=100.0).contains(&value), "{name} is {value}; it must be from 0.02 to 100");
        }
        for (name, value) in
            [("distillation.centre_momentum", centre_momentum), ("distillation.teacher_momentum", teacher_momentum)]
        {
            ensure!((0.0..=1.0).contains(&value), "{name} is {value}; it must be a share, from 0 to 1");
        }
        for (name, beta) in [("beta_1", beta_1), ("beta_2", beta_2)] {
            ensure!((0.0..1.0).contains(&beta), "optimiser.{name} is {beta}; it must be at least 0 and below 1");
        }
        ensure!(
            learning_rate > 0.0 && learning_rate.is_finite(),
            "optimiser.learning_rate is {learning_rate}; it must be above 0"
        );
        for (name, value) in [
            ("distillation.koleo_weight", koleo_weight),
            ("optimiser.final_learning_rate", self.optimiser.final_learning_rate),
            ("optimiser.weight_decay", self.optimiser.weight_decay),
            ("optimiser.final_weight_decay", self.optimiser.final_weight_decay),
            ("optimiser.max_gradient_norm", self.optimiser.max_gradient_norm),
        ] {
            ensure!(value >= 0.0 && value.is_finite(), "{name} is {value}; it must be at least 0");
        }
        ensure!(batch_size >= 2, "optimiser.batch_size is {batch_size}; it must be at least 2");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings;

    fn set(path: &str, value: &str) -> Result<EncoderRecipe> {
        settings::resolve("dino-tiny-128", &[(path.into(), value.into())])
    }

    #[test]
    fn embedded_recipes_are_valid_and_survive_a_round_trip() {
        for (name, description) in settings::list::<EncoderRecipe>().unwrap() {
            let recipe: EncoderRecipe = settings::resolve(name, &[]).unwrap();
            assert!(!description.is_empty());
            let text = settings::to_toml(&recipe).unwrap();
            assert_eq!(settings::from_toml::<EncoderRecipe>(&text).unwrap(), recipe, "{name}");
        }
    }

    #[test]
    fn typos_and_impossible_settings_are_refused_by_name() {
        for (path, value, part) in [
            ("optimiser.learning_rte", "1", "learning_rate"),
            ("optimiser.learning_rate", "0", "above 0"),
            ("optimiser.batch_size", "1", "at least 2"),
            ("views.local_size", "50", "multiple"),
            ("views.global_scale", "[0.5, 1.5]", "at most 1"),
            ("augmentation.noise", "-1", "augmentation.noise"),
            ("augmentation.flip", "1", "flip_probability"),
            ("distillation.teacher_temperature", "0", "0.02"),
            ("distillation.teacher_momentum", "2", "share"),
            ("network.patch_size", "13", "multiple"),
            ("network.size", "huge", "does not fit"),
            ("network.initial_deviation", "0", "above 0"),
            ("head.output_dim", "0", "from 1"),
            ("training.log_every_images", "0", "above 0"),
        ] {
            let error = format!("{:#}", set(path, value).unwrap_err());
            assert!(error.contains(part), "{path}={value}: {error}");
        }
    }

    #[test]
    fn schedules_are_monotone_between_their_ends() {
        let mut recipe = set("seed", "0").unwrap();
        recipe.training.total_images = 100_000;
        recipe.optimiser = OptimiserRecipe { warmup_images: 10_000, batch_size: 128, ..OptimiserRecipe::default() };
        recipe.distillation = DistillationRecipe {
            teacher_temperature: 0.07,
            temperature_warmup_images: 30_000,
            ..DistillationRecipe::default()
        };
        let clock: Vec<u64> = (0..=100_000).step_by(500).collect();
        let curve = |schedule: &dyn Fn(u64) -> f64| clock.iter().map(|now| schedule(*now)).collect::<Vec<f64>>();
        let rises = |values: &[f64]| values.windows(2).all(|pair| pair[0] <= pair[1]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;

        let momentum = curve(&|now| recipe.teacher_momentum(now));
        assert!(rises(&momentum) && near(momentum[0], 0.996) && near(momentum[200], 1.0));
        let decay = curve(&|now| recipe.weight_decay(now));
        assert!(rises(&decay) && near(decay[0], 0.04) && near(decay[200], 0.4) && near(decay[100], 0.22));
        let temperature = curve(&|now| recipe.teacher_temperature(now));
        assert!(rises(&temperature) && near(temperature[0], 0.04) && near(temperature[30], 0.055));
        assert!(temperature[60..].iter().all(|value| near(*value, 0.07)));
        let rate = curve(&|now| recipe.learning_rate(now));
        let highest = recipe.optimiser.learning_rate * 128.0 / 256.0;
        assert!(rises(&rate[..=20]) && near(rate[0], 0.0) && near(rate[20], highest) && near(rate[10], highest / 2.0));
        let falling: Vec<f64> = rate[20..].iter().rev().copied().collect();
        assert!(rises(&falling) && near(rate[200], recipe.optimiser.final_learning_rate));
        // Beyond the end nothing turns round.
        assert!(near(recipe.learning_rate(200_000), 1e-6) && near(recipe.teacher_momentum(200_000), 1.0));
    }
}
