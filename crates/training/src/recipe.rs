//! Settings that every training run has: how it steps.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// How a run steps: AdamW (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserRecipe {
    /// After warm-up.
    pub learning_rate: f64,
    /// Images over which the learning rate rises linearly from 0.
    pub warmup_images: u64,
    /// The learning rate falls along a half cosine to this share of itself at the end of the run; 1 keeps it.
    pub final_learning_rate_ratio: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients longer than this are shortened to it; 0 leaves them.
    pub max_gradient_norm: f64,
    /// Images in one optimiser step.
    pub batch_size: usize,
    /// The batch is worked through in so many equal parts, to save memory.
    pub accumulation_steps: usize,
}

impl Default for OptimiserRecipe {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            warmup_images: 10_000,
            final_learning_rate_ratio: 1.0,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            batch_size: 32,
            accumulation_steps: 1,
        }
    }
}

impl OptimiserRecipe {
    /// The learning rate after `images_seen` of `total_images` images.
    pub fn learning_rate(&self, images_seen: u64, total_images: u64) -> f64 {
        let Self { learning_rate, warmup_images, final_learning_rate_ratio, .. } = *self;
        let warmup = if warmup_images == 0 { 1.0 } else { (images_seen as f64 / warmup_images as f64).min(1.0) };
        let progress = (images_seen as f64 / total_images as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        learning_rate * warmup * (final_learning_rate_ratio + (1.0 - final_learning_rate_ratio) * cosine)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    pub fn validate(&self) -> Result<()> {
        let Self { learning_rate, final_learning_rate_ratio, beta_1, beta_2, batch_size, accumulation_steps, .. } =
            *self;
        ensure!(
            learning_rate > 0.0 && learning_rate.is_finite(),
            "optimiser.learning_rate is {learning_rate}; it must be above 0"
        );
        ensure!(
            (0.0..=1.0).contains(&final_learning_rate_ratio),
            "optimiser.final_learning_rate_ratio is {final_learning_rate_ratio}; it is a share, from 0 to 1"
        );
        for (name, beta) in [("beta_1", beta_1), ("beta_2", beta_2)] {
            ensure!((0.0..1.0).contains(&beta), "optimiser.{name} is {beta}; it must be at least 0 and below 1");
        }
        ensure!(
            batch_size > 0 && accumulation_steps > 0 && batch_size.is_multiple_of(accumulation_steps),
            "optimiser.batch_size is {batch_size} and optimiser.accumulation_steps {accumulation_steps}; \
             both must be above 0, and the first divisible by the second"
        );
        Ok(())
    }
}
