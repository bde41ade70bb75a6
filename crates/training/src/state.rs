//! Where a run stands: everything that it needs to continue exactly. Noise and the order of images follow from the
//! number of images seen.

use crate::OptimiserRecipe;
use crate::optimiser::{GradientSet, Optimiser};
use anyhow::{Context, Result, ensure};
use burn::module::Module;
use kernels::AdamWStep;
use nets::{Checkpoint, load_weights, weights_of};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A network in training.
#[derive(Debug)]
pub struct State<M> {
    /// The weights in training.
    pub network: M,
    /// Moments and averages.
    pub optimiser: Optimiser,
    /// The clock.
    pub images_seen: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    images_seen: u64,
    num_steps: u64,
}

impl<M: Module> State<M> {
    /// Before the first image.
    pub fn new(network: M) -> Self {
        let optimiser = Optimiser::new(&network);
        Self { network, optimiser, images_seen: 0 }
    }

    /// From the folder of a checkpoint; `fresh` gives the shape of the network.
    ///
    /// # Errors
    /// Files that are missing or do not fit the network, with the remedy.
    pub fn load(folder: &Path, fresh: M) -> Result<Self> {
        Self::load_renamed(folder, fresh, &|_| None)
    }

    /// As [`State::load`], where some parameters had other names when the checkpoint was written: `rename` gives the
    /// present one.
    ///
    /// # Errors
    /// Those of [`State::load`].
    pub fn load_renamed(folder: &Path, fresh: M, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let load = || -> Result<Self> {
            let state: StateFile = serde_json::from_slice(&std::fs::read(folder.join("state.json"))?)?;
            let weights = Checkpoint::open(&folder.join("weights.safetensors"))?;
            let network =
                load_weights(fresh, &weights.rename(|key| Some(rename(key).unwrap_or_else(|| key.to_owned()))))?;
            // Keys are `part:parameter`.
            let saved = Checkpoint::open(&folder.join("optimiser.safetensors"))?.rename(|key| {
                let renamed = key.split_once(':').and_then(|(part, name)| Some(format!("{part}:{}", rename(name)?)));
                Some(renamed.unwrap_or_else(|| key.to_owned()))
            });
            let optimiser = Optimiser::from_checkpoint(&network, &saved, state.num_steps)?;
            Ok(Self { network, optimiser, images_seen: state.images_seen })
        };
        load().with_context(|| unusable(folder))
    }

    /// Writes weights, optimiser and clock into the folder of a checkpoint.
    ///
    /// # Errors
    /// A disk that is full or refuses, a device that failed.
    pub fn save(&self, folder: &Path) -> Result<()> {
        ensure!(self.images_seen > 0, "a run saves no checkpoint before its first image");
        weights_of(&self.network).save(&folder.join("weights.safetensors"), false, None)?;
        self.optimiser.to_checkpoint()?.save(&folder.join("optimiser.safetensors"), false, None)?;
        let state = StateFile { images_seen: self.images_seen, num_steps: self.optimiser.num_steps() };
        std::fs::write(folder.join("state.json"), serde_json::to_vec_pretty(&state)?)?;
        Ok(())
    }

    /// The network with the averaged weights, outside autodiff.
    pub fn averaged(&self) -> M {
        self.optimiser.averaged(&self.network)
    }

    /// One update by these gradients of `num_images` images. By value, so that each weight has one owner and is updated
    /// in place.
    #[must_use]
    pub fn updated(mut self, gradients: GradientSet, settings: AdamWStep, num_images: usize) -> Self {
        self.network = self.optimiser.step(self.network, gradients, settings);
        self.images_seen += num_images as u64;
        self
    }

    /// One update as the recipe says: gradients shortened together, learning rate and average of the clock after it.
    /// `norm` is the length of all gradients together.
    #[must_use]
    pub fn stepped(
        self,
        gradients: GradientSet,
        norm: f64,
        recipe: &OptimiserRecipe,
        ema: &diffusion::ema::Ema,
        total_images: u64,
    ) -> Self {
        let images_seen = self.images_seen + recipe.batch_size as u64;
        let is_long = recipe.max_gradient_norm > 0.0 && norm > recipe.max_gradient_norm;
        let settings = AdamWStep {
            learning_rate: recipe.learning_rate(images_seen, total_images),
            beta_1: recipe.beta_1,
            beta_2: recipe.beta_2,
            epsilon: recipe.epsilon,
            weight_decay: recipe.weight_decay,
            step: 0,
            ema_decay: ema.decay(images_seen, recipe.batch_size),
            gradient_scale: if is_long { recipe.max_gradient_norm / norm } else { 1.0 },
        };
        self.updated(gradients, settings, recipe.batch_size)
    }
}

/// Why a checkpoint is passed over, and the remedy.
pub fn unusable(checkpoint: &Path) -> String {
    format!(
        "the checkpoint cannot be used; delete it to continue from the one before it, or from the beginning: {}",
        checkpoint.display()
    )
}
