//! Fidelity during training: reconstructions of fixed validation images by the averaged weights, compared with the
//! training images in the frozen encoder's own features. The best model by it is kept beside the newest.
//!
//! The features are those that the model is conditioned on, which flatters it: read the curve, not the number, and judge
//! a finished model with `evaluate fidelity` in another encoder's features.

use super::samples::conditions;
use crate::{
    encode::Frozen,
    model::{self, Denoiser, ModelInfo},
    recipe::Recipe,
    tensors::{bytes_from_pictures, from_host, pictures_from_images, to_host},
};
use anyhow::{Context as _, Result};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use metrics::{Moments, Rows, frechet_distance, kernel_distance};
use nets::{autoencoder::Autoencoder, vit::Vit};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Images that go through the networks together.
const BATCH_SIZE: usize = 16;

/// Distances of some images to the training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Unbiased (Binkowski et al. 2018).
    pub kernel_distance: f64,
    /// Biased upwards with few images (Heusel et al. 2017).
    pub frechet_distance: f64,
}

/// `best.json`: the best model's measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// When it was measured.
    pub images_seen: u64,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
    /// The same of the validation images themselves.
    pub floor: Measured,
}

impl Best {
    /// Where the best model lies and its measurement beside it.
    pub fn paths(run: &Path) -> (PathBuf, PathBuf) {
        (run.join("best"), run.join("best.json"))
    }

    /// What an earlier session of the run left.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let (_, path) = Self::paths(run);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let best = serde_json::from_str(&text);
                Ok(Some(best.with_context(|| format!("the file is damaged, delete it: {}", path.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("the file cannot be read: {}", path.display())),
        }
    }
}

/// What is measured, chosen once.
pub struct FidelityCheck {
    networks: [PathBuf; 2],
    image_size: usize,
    num_images: usize,
    /// Standardised.
    conditions: Vec<f32>,
    reference: Vec<f64>,
    moments: Moments,
    dim: usize,
    seed: u64,
    /// Of the chosen validation images themselves.
    pub floor: Measured,
}

impl FidelityCheck {
    /// Takes the first images of a fixed shuffle of the validation split; nothing where the recipe asks for none. That
    /// there are two of each has been checked.
    ///
    /// # Errors
    /// Embeddings that are not numbers.
    pub fn new(dataset: &Dataset, frozen: &Frozen, info: &ModelInfo, recipe: &Recipe) -> Result<Option<Self>> {
        let training = &recipe.training;
        if training.fidelity_every_images == 0 {
            return Ok(None);
        }
        let (held_out, learnt) = (dataset.indices(Split::Val)?, dataset.indices(Split::Train)?);
        let chosen = random::choice(recipe.seed, u64::MAX, &held_out, training.num_fidelity_images);
        let [_, dim] = info.condition_shape;
        let class_tokens = |rows: &[usize]| -> Result<Vec<f64>> {
            Ok(frozen.embeddings.gather(rows, 1)?.into_iter().map(f64::from).collect())
        };
        let (reference, own) = (class_tokens(&learnt)?, class_tokens(&chosen)?);
        let moments = Moments::of(Rows::new(&reference, dim)?)?;
        let floor = distances(&own, &reference, &moments, dim)?;
        Ok(Some(Self {
            networks: [frozen.autoencoder.clone(), frozen.encoder.clone()],
            image_size: info.image_size,
            num_images: chosen.len(),
            conditions: conditions(frozen, info, &chosen)?,
            reference,
            moments,
            dim,
            seed: recipe.seed,
            floor,
        }))
    }

    /// Reconstructs and measures.
    ///
    /// # Errors
    /// A device that failed, frozen networks whose files are gone.
    pub fn measure(&self, averaged: &Denoiser, info: &ModelInfo, device: &Device) -> Result<Measured> {
        let [tokens, dim] = info.condition_shape;
        // Loaded for the occasion, as for the sample grids.
        let (autoencoder, encoder) =
            (Autoencoder::load(&self.networks[0], device)?, Vit::load(&self.networks[1], device)?);
        let mut features = Vec::new();
        let images: Vec<u64> = (0..self.num_images as u64).collect();
        for (indices, conditions) in images.chunks(BATCH_SIZE).zip(self.conditions.chunks(BATCH_SIZE * tokens * dim)) {
            let condition = from_host(conditions.to_vec(), [indices.len(), tokens, dim], device);
            let latents = model::sample(averaged, info, &info.sampling, condition, indices, self.seed)?;
            let pictures = bytes_from_pictures(&pictures_from_images(autoencoder.decode(latents))?);
            let inputs = encoder.preprocessing().apply(&pictures, self.image_size, self.image_size, device)?;
            features.extend(to_host(encoder.forward(inputs).class_token())?.into_iter().map(f64::from));
        }
        distances(&features, &self.reference, &self.moments, self.dim)
    }
}

fn distances(features: &[f64], reference: &[f64], moments: &Moments, dim: usize) -> Result<Measured> {
    let rows = Rows::new(features, dim).context("the encoder's features of generated images are not numbers")?;
    Ok(Measured {
        kernel_distance: kernel_distance(rows, Rows::new(reference, dim)?)?,
        frechet_distance: frechet_distance(&Moments::of(rows)?, moments)?,
    })
}
