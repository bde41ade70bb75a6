//! Everything that a run needs to continue exactly: weights, moments, averages, and how many images it has seen. Noise
//! and data order follow from the last.

use super::optimiser::{GradientSet, Optimiser};
use crate::{model::Denoiser, recipe::Recipe};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Retention, RunDir};
use kernels::AdamWStep;
use nets::{Checkpoint, load_weights, weights_of};
use serde::{Deserialize, Serialize};
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

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    images_seen: u64,
    num_steps: u64,
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
        let load = || -> Result<Self> {
            let state: StateFile = serde_json::from_slice(&std::fs::read(folder.join("state.json"))?)?;
            let fresh = Denoiser::new(&recipe.unet, num_tokens, recipe.seed, device)?;
            let denoiser = load_weights(fresh, &Checkpoint::open(&folder.join("weights.safetensors"))?)?;
            let saved = Checkpoint::open(&folder.join("optimiser.safetensors"))?;
            let optimiser = Optimiser::from_checkpoint(&denoiser, &saved, state.num_steps)?;
            let images_seen = state.images_seen;
            Ok(Self { denoiser, optimiser, images_seen, saved_at: Some(images_seen) })
        };
        load().with_context(|| {
            format!("the checkpoint cannot be used; delete it to continue from the one before: {}", folder.display())
        })
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
        checkpoints.write(self.images_seen, |folder| -> Result<()> {
            weights_of(&self.denoiser).save(&folder.join("weights.safetensors"), false, None)?;
            self.optimiser.to_checkpoint()?.save(&folder.join("optimiser.safetensors"), false, None)?;
            let state = StateFile { images_seen: self.images_seen, num_steps: self.optimiser.num_steps() };
            ensure!(state.images_seen > 0, "a run saves no checkpoint before its first image");
            std::fs::write(folder.join("state.json"), serde_json::to_vec_pretty(&state)?)?;
            Ok(())
        })?;
        self.saved_at = Some(self.images_seen);
        if keep > 0 {
            checkpoints.prune(Retention { keep_last: keep, keep_every: 0 })?;
        }
        Ok(())
    }
}
