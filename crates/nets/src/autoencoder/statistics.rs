//! The scale of latents: every autoencoder has its own, and diffusion wants mean 0 and standard deviation 1.

use crate::error::Error;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Mean and standard deviation of each latent channel as the network gives it; `normalised = (latents - mean) / std`.
///
/// diffusers' `shift_factor` and `scaling_factor` are the same thing for all channels: mean = shift, std = 1 / scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentStatistics {
    /// `[latent_channels]`
    pub mean: Vec<f32>,
    /// `[latent_channels]`, positive
    pub std: Vec<f32>,
}

impl LatentStatistics {
    /// The same for all channels.
    pub fn uniform(mean: f32, std: f32, latent_channels: usize) -> Self {
        Self { mean: vec![mean; latent_channels], std: vec![std; latent_channels] }
    }

    pub(super) fn check(&self, latent_channels: usize) -> Result<(), Error> {
        let statistics = |reason| Err(Error::Statistics { reason });
        for (name, values) in [("means", &self.mean), ("standard deviations", &self.std)] {
            if values.len() != latent_channels {
                return statistics(format!("{} {name} for {latent_channels} channels", values.len()));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return statistics(format!("one of the {name} is {value}"));
            }
        }
        match self.std.iter().find(|std| **std <= 0.0) {
            Some(std) => statistics(format!("one of the standard deviations is {std}")),
            None => Ok(()),
        }
    }

    pub(super) fn normalise(&self, latents: Tensor<4>) -> Tensor<4> {
        let (mean, std) = self.tensors(&latents.device());
        (latents - mean) / std
    }

    /// Standard deviations have no mean to take off.
    pub(super) fn normalise_std(&self, std_of_latents: Tensor<4>) -> Tensor<4> {
        let (_, std) = self.tensors(&std_of_latents.device());
        std_of_latents / std
    }

    pub(super) fn restore(&self, normalised: Tensor<4>) -> Tensor<4> {
        let (mean, std) = self.tensors(&normalised.device());
        normalised * std + mean
    }

    /// `[1, 1, 1, latent_channels]` each.
    fn tensors(&self, device: &Device) -> (Tensor<4>, Tensor<4>) {
        let tensor =
            |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len()]), device);
        (tensor(&self.mean), tensor(&self.std))
    }
}
