//! A dataset as frozen networks encoded it, and the scale on which a diffusion model sees it.
//!
//! [`Latents`] and [`Condition`] are tensors that a model's scale has been applied to. Nothing but a scale makes them, so
//! what is not standardised cannot reach a model:
//!
//! ```compile_fail
//! # use burn::tensor::{Device, Tensor};
//! let raw = Tensor::<3>::zeros([1, 1, 8], &Device::flex());
//! let condition: stages::encoded::Condition = raw; // expected `Condition`, found `Tensor<3>`
//! ```

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use dataset::{Dataset, EncodingsReader};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use training::tensors::from_host;

/// Mean and standard deviation of each channel or dimension; empty where values are taken as they are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStats {
    /// One for each channel.
    pub mean: Vec<f32>,
    /// One for each channel, above 0.
    pub std: Vec<f32>,
}

impl ChannelStats {
    /// In place, on values whose last axis has this many channels.
    pub fn normalize(&self, values: &mut [f32]) {
        if self.mean.is_empty() {
            return;
        }
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((value, mean), std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *value = (*value - mean) / std;
            }
        }
    }

    /// Latents on this scale.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]`
    pub fn latents(&self, mut values: Vec<f32>, shape: [usize; 4], device: &Device) -> Latents {
        self.normalize(&mut values);
        Latents(from_host(values, shape, device))
    }

    /// A condition on this scale.
    ///
    /// # Shapes
    /// `[batch, tokens, dim]`
    pub fn condition(&self, mut values: Vec<f32>, shape: [usize; 3], device: &Device) -> Condition {
        self.normalize(&mut values);
        Condition(from_host(values, shape, device))
    }

    /// Latents of this scale in the autoencoder's own.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub fn denormalize(&self, latents: Latents) -> Tensor<4> {
        let Latents(latents) = latents;
        if self.mean.is_empty() {
            return latents;
        }
        let (device, channels) = (latents.device(), self.mean.len());
        let row = |values: &[f32]| from_host(values.to_vec(), [1, 1, 1, channels], &device);
        latents * row(&self.std) + row(&self.mean)
    }
}

/// Standardised latents, `[batch, height, width, channels]`.
#[derive(Debug, Clone)]
pub struct Latents(Tensor<4>);

impl Latents {
    /// What a sampler draws: a model learns and draws on its own scale.
    pub(crate) fn drawn(latents: Tensor<4>) -> Self {
        Self(latents)
    }

    /// The tensor.
    pub fn into_tensor(self) -> Tensor<4> {
        self.0
    }
}

/// A standardised condition, `[batch, tokens, dim]`.
#[derive(Debug, Clone)]
pub struct Condition(Tensor<3>);

impl Condition {
    /// The null condition, which a model learns on its own scale, or a mixture with it.
    pub(crate) fn learned(condition: Tensor<3>) -> Self {
        Self(condition)
    }

    /// The tensor.
    pub fn into_tensor(self) -> Tensor<3> {
        self.0
    }
}

/// Embeddings of all images of a dataset by one encoder.
#[derive(Debug)]
pub struct Embeddings {
    reader: EncodingsReader,
}

impl Embeddings {
    pub(crate) fn new(reader: EncodingsReader) -> Self {
        Self { reader }
    }

    /// Tokens of each image that are stored: the class token first, then registers.
    pub fn num_tokens(&self) -> usize {
        self.shape()[0]
    }

    /// `[tokens, dim]`
    pub fn shape(&self) -> [usize; 2] {
        match self.reader.row_shape("embeddings") {
            Some([tokens, dim]) => [*tokens, *dim],
            _ => [0, 0],
        }
    }

    /// The first `num_tokens` tokens of some images, as the encoder gave them.
    ///
    /// # Shapes
    /// `rows.len() * num_tokens * dim` values
    ///
    /// # Errors
    /// Rows that do not exist, a damaged shard.
    pub fn gather(&self, rows: &[usize], num_tokens: usize) -> Result<Vec<f32>> {
        let [stored, dim] = self.shape();
        ensure!(num_tokens <= stored, "{num_tokens} tokens are asked for, the encoder gave {stored}");
        let values = self.reader.gather("embeddings", rows)?;
        if num_tokens == stored {
            return Ok(values);
        }
        Ok(values.chunks_exact(stored * dim).flat_map(|row| row[..num_tokens * dim].iter().copied()).collect())
    }

    /// Where they are read from.
    pub fn reader(&self) -> &EncodingsReader {
        &self.reader
    }

    /// Fingerprint of the encoder.
    pub fn fingerprint(&self) -> &str {
        &self.reader.info().fingerprint
    }
}

/// Latents and embeddings of a dataset's images, and the frozen networks that gave them.
#[derive(Debug)]
pub struct EncodedDataset {
    /// Folder of the autoencoder.
    pub autoencoder: PathBuf,
    /// Folder of the encoder.
    pub encoder: PathBuf,
    /// Tensor `mean`, and `std` where the autoencoder has one.
    pub latents: EncodingsReader,
    /// Of the encoder.
    pub embeddings: Embeddings,
    /// Names and fingerprints of both, for a run to recognise them.
    pub encodings_name: String,
}

impl EncodedDataset {
    /// `[height, width, channels]`
    ///
    /// # Errors
    /// Encodings that hold no latents.
    pub fn latent_shape(&self) -> Result<[usize; 3]> {
        let shape = self.latents.row_shape("mean").and_then(|shape| shape.try_into().ok());
        shape.context("the encodings hold no latents; run `encode` again")
    }

    /// The same with readers of its own, for another thread or another owner.
    ///
    /// # Errors
    /// Encodings that are gone.
    pub fn reopened(&self, dataset: &Dataset) -> Result<Self> {
        let reopen = |reader: &EncodingsReader| dataset.encodings(&reader.info().name, &reader.info().fingerprint);
        Ok(Self {
            autoencoder: self.autoencoder.clone(),
            encoder: self.encoder.clone(),
            latents: reopen(&self.latents)?,
            embeddings: Embeddings::new(reopen(self.embeddings.reader())?),
            encodings_name: self.encodings_name.clone(),
        })
    }
}
