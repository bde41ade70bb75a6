//! Fidelity during training: reconstructions of fixed validation images by the averaged weights, compared with the
//! training images in the frozen encoder's own features. The best model by it is kept beside the newest.
//!
//! The features are those that the model is conditioned on, which flatters it: read the curve, not the number, and judge
//! a finished model with `evaluate fidelity` in another encoder's features.

use crate::encoded::EncodedDataset;
use crate::model::{self, Denoiser, ModelInfo};
use crate::recipe::Recipe;
use anyhow::{Context as _, Result};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use metrics::{Moments, Rows, frechet_distance, kernel_distance};
use nets::{autoencoder::Autoencoder, encoder::Encoder};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;
use training::tensors::{bytes_from_pictures, pictures_from_images, to_host};
use training::{Evaluation, Score};

/// Images that go through the networks together.
const BATCH_SIZE: usize = 16;

/// Distances of some images to the training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Unbiased (Binkowski et al. 2018).
    pub kernel_distance: f64,
    /// Biased upwards with few images (Heusel et al. 2017).
    pub frechet_distance: f64,
}

/// What is measured, chosen once.
pub struct FidelityCheck {
    networks: [PathBuf; 2],
    image_size: usize,
    num_images: usize,
    /// The encoder's embeddings of the images to reconstruct.
    embeddings: Vec<f32>,
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
    pub fn new(dataset: &Dataset, encoded: &EncodedDataset, info: &ModelInfo, recipe: &Recipe) -> Result<Option<Self>> {
        let training = &recipe.training;
        if training.fidelity_every_images == 0 {
            return Ok(None);
        }
        let (held_out, learnt) = (dataset.indices(Split::Val)?, dataset.indices(Split::Train)?);
        let chosen = random::choice(recipe.seed, u64::MAX, &held_out, training.num_fidelity_images);
        let [_, dim] = info.condition_shape;
        let class_tokens = |rows: &[usize]| -> Result<Vec<f64>> {
            Ok(encoded.embeddings.gather(rows, 1)?.into_iter().map(f64::from).collect())
        };
        let (reference, own) = (class_tokens(&learnt)?, class_tokens(&chosen)?);
        let moments = Moments::of(Rows::new(&reference, dim)?)?;
        let floor = distances(&own, &reference, &moments, dim)?;
        Ok(Some(Self {
            networks: [encoded.autoencoder.clone(), encoded.encoder.clone()],
            image_size: info.image_size,
            num_images: chosen.len(),
            embeddings: encoded.embeddings.gather(&chosen, info.condition_shape[0])?,
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
            (Autoencoder::load(&self.networks[0], device)?, Encoder::load(&self.networks[1], device)?);
        let mut features = Vec::new();
        let images: Vec<u64> = (0..self.num_images as u64).collect();
        for (indices, embeddings) in images.chunks(BATCH_SIZE).zip(self.embeddings.chunks(BATCH_SIZE * tokens * dim)) {
            let condition = info.embedding_scale.condition(embeddings.to_vec(), [indices.len(), tokens, dim], device);
            let latents = model::sample(averaged, info, &info.sampling, condition, indices, self.seed)?;
            let pictures = bytes_from_pictures(&pictures_from_images(autoencoder.decode(latents))?);
            let inputs = encoder.preprocessing().apply(&pictures, self.image_size, self.image_size, device)?;
            features.extend(to_host(encoder.forward(inputs).class_token())?.into_iter().map(f64::from));
        }
        distances(&features, &self.reference, &self.moments, self.dim)
    }
}

impl FidelityCheck {
    /// What the journal and `best.json` say of a measurement, which is better the smaller its kernel distance is.
    ///
    /// # Errors
    /// None but serde's.
    pub fn evaluation(&self, measured: &Measured) -> Result<Evaluation> {
        let values = [
            ("fidelity/kernel_distance", measured.kernel_distance),
            ("fidelity/kernel_distance_floor", self.floor.kernel_distance),
            ("fidelity/frechet_distance", measured.frechet_distance),
            ("fidelity/frechet_distance_floor", self.floor.frechet_distance),
        ];
        let mut record = Map::new();
        if let Value::Object(numbers) = serde_json::to_value(measured)? {
            record.extend(numbers);
        }
        record.insert("floor".to_owned(), serde_json::to_value(self.floor)?);
        Ok(Evaluation {
            values: values.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            score: Some(Score { name: "kernel_distance", is_larger_better: false, record }),
        })
    }
}

fn distances(features: &[f64], reference: &[f64], moments: &Moments, dim: usize) -> Result<Measured> {
    let rows = Rows::new(features, dim).context("the encoder's features of generated images are not numbers")?;
    Ok(Measured {
        kernel_distance: kernel_distance(rows, Rows::new(reference, dim)?)?,
        frechet_distance: frechet_distance(&Moments::of(rows)?, moments)?,
    })
}
