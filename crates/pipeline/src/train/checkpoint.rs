//! Everything that a run needs to continue exactly: weights, moments, averages, and how many images it has seen. Noise
//! and data order follow from the last.

use super::optimiser::{GradientSet, Optimiser};
use crate::{model::Denoiser, recipe::Recipe, run};
use anyhow::Result;
use burn::tensor::Device;
use dataset::{Retention, RunDir};
use kernels::AdamWStep;
use std::path::Path;

/// Where a run stands.
#[derive(Debug)]
pub struct State {
    /// The network in training.
    pub denoiser: Denoiser,
    /// Moments and averages.
    pub optimiser: Optimiser,
    /// The clock.
    pub images_seen: u64,
    /// Images seen at the newest checkpoint of this session.
    pub saved_at: Option<u64>,
}

impl State {
    /// Before the first image.
    ///
    /// # Errors
    /// A network configuration that cannot be.
    pub fn fresh(recipe: &Recipe, num_tokens: usize, device: &Device) -> Result<Self> {
        let denoiser = Denoiser::new(&recipe.unet, num_tokens, recipe.seed, device)?;
        let optimiser = Optimiser::new(&denoiser);
        Ok(Self { denoiser, optimiser, images_seen: 0, saved_at: None })
    }

    /// From a checkpoint folder.
    ///
    /// # Errors
    /// Files that are missing or do not fit the recipe.
    pub fn load(folder: &Path, recipe: &Recipe, num_tokens: usize, device: &Device) -> Result<Self> {
        let fresh = Denoiser::new(&recipe.unet, num_tokens, recipe.seed, device)?;
        let (denoiser, optimiser, images_seen) = run::load_state(folder, fresh)?;
        Ok(Self { denoiser, optimiser, images_seen, saved_at: Some(images_seen) })
    }

    /// One optimiser step on `num_images` images. By value, so that each weight has one owner and is updated in place.
    pub fn updated(mut self, gradients: GradientSet, settings: AdamWStep, num_images: usize) -> Self {
        self.denoiser = self.optimiser.step(self.denoiser, gradients, settings);
        self.images_seen += num_images as u64;
        self
    }

    /// Writes `checkpoints/step-N/`, N being the images seen, in one go and drops old ones beyond `keep` (0 keeps all).
    ///
    /// # Errors
    /// A disk that is full or refuses; older checkpoints stay then.
    pub fn save(&mut self, run_dir: &RunDir, keep: usize) -> Result<()> {
        let checkpoints = run_dir.checkpoints();
        checkpoints.write(self.images_seen, |folder| {
            run::save_state(folder, &self.denoiser, &self.optimiser, self.images_seen)
        })?;
        self.saved_at = Some(self.images_seen);
        if keep > 0 {
            checkpoints.prune(Retention { keep_last: keep, keep_every: 0 })?;
        }
        Ok(())
    }
}
