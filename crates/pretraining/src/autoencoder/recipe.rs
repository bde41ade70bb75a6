//! Recipes of `pretrain autoencoder`: everything that decides a run, resolved and checked before any work starts.

use super::loss::{LossRecipe, MIN_STRUCTURAL_SIZE};
use crate::Length;
use anyhow::{Result, ensure};
use nets::autoencoder::AutoencoderTinyConfig;
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::ops::RangeInclusive;
use training::OptimiserRecipe;

/// Fewer latent channels lose anatomy, more are harder to generate.
const LATENT_CHANNELS: RangeInclusive<usize> = 4..=32;

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderRecipe {
    /// What it is for, in a sentence.
    pub description: String,
    /// Decides every random number of the run.
    #[serde(default)]
    pub seed: u64,
    /// Side of the square images in pixels; the dataset must have it.
    pub image_size: usize,
    /// The shape of encoder and decoder.
    pub network: NetworkRecipe,
    /// What is made of an image before it is shown.
    #[serde(default)]
    pub augmentation: AugmentationRecipe,
    /// What is minimised.
    #[serde(default)]
    pub loss: LossRecipe,
    /// Optimisation.
    #[serde(default)]
    pub optimiser: OptimiserRecipe,
    /// The moving average of the weights, which is what gets exported.
    #[serde(default)]
    pub ema: diffusion::ema::Ema,
    /// How the autoencoder is judged on its way.
    #[serde(default)]
    pub evaluation: EvaluationRecipe,
    /// Length of the run, and what is written on its way.
    pub training: Length,
}

/// See [`AutoencoderRecipe::network`]: TAESD (Ollin Boer Bohan, 2023) for one channel, residual blocks of three 3x3
/// convolutions with ReLU and no normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// Channels of the latents, 4 to 32.
    pub latent_channels: usize,
    /// Channels of every stage of the encoder. The CPU kernels are fastest at multiples of 32.
    pub encoder_channels: usize,
    /// Channels of every stage of the decoder.
    pub decoder_channels: usize,
    /// Residual blocks of each stage of the encoder. Every stage but the first halves the image: 3 stages divide by 4,
    /// 4 by 8.
    pub encoder_blocks: Vec<usize>,
    /// Residual blocks of each stage of the decoder, the smallest map first; as many stages as the encoder has.
    pub decoder_blocks: Vec<usize>,
    /// Export the weights in 16 bit: half the size on disk. Training and checkpoints stay at 32. Default false.
    #[serde(default)]
    pub half_precision: bool,
}

impl NetworkRecipe {
    /// In the names of diffusers' `AutoencoderTiny`.
    pub fn config(&self) -> AutoencoderTinyConfig {
        AutoencoderTinyConfig {
            in_channels: 1,
            out_channels: 1,
            latent_channels: self.latent_channels,
            encoder_block_out_channels: vec![self.encoder_channels; self.encoder_blocks.len()],
            decoder_block_out_channels: vec![self.decoder_channels; self.decoder_blocks.len()],
            num_encoder_blocks: self.encoder_blocks.clone(),
            num_decoder_blocks: self.decoder_blocks.clone(),
            ..AutoencoderTinyConfig::default()
        }
    }

    fn validate(&self) -> Result<()> {
        let Self { latent_channels, encoder_channels, decoder_channels, encoder_blocks, decoder_blocks, .. } = self;
        ensure!(
            LATENT_CHANNELS.contains(latent_channels),
            "network.latent_channels is {latent_channels}; it must be from {} to {}",
            LATENT_CHANNELS.start(),
            LATENT_CHANNELS.end()
        );
        for (name, channels) in [("encoder_channels", encoder_channels), ("decoder_channels", decoder_channels)] {
            ensure!((1..=1024).contains(channels), "network.{name} is {channels}; it must be from 1 to 1024");
        }
        ensure!(
            matches!(encoder_blocks.len(), 3 | 4) && encoder_blocks.len() == decoder_blocks.len(),
            "network.encoder_blocks has {} stages and network.decoder_blocks {}; give 3 for both (latents a quarter as \
             wide and high) or 4 (an eighth)",
            encoder_blocks.len(),
            decoder_blocks.len()
        );
        for blocks in encoder_blocks.iter().chain(decoder_blocks) {
            ensure!(*blocks <= 64, "a stage of the network has {blocks} blocks; give at most 64");
        }
        Ok(())
    }
}

/// See [`AutoencoderRecipe::augmentation`]. Flips are off unless asked for: laterality is clinical information.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationRecipe {
    /// Side of the square that is cut out at a random place, a multiple of what the network divides by; 0, the default,
    /// takes whole images. Crops cost less each and are evaluated as whole images all the same.
    pub crop_size: usize,
    /// Probability that left and right are exchanged. Default 0.
    pub flip_probability: f64,
    /// Standard deviation of the noise on the latents, whose own deviation is about 1: teaches the decoder to forgive
    /// what a generative model gets slightly wrong. Default 0.
    pub latent_noise: f64,
}

/// See [`AutoencoderRecipe::evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationRecipe {
    /// Validation images that are sent there and back each time, the same ones. Default 128.
    pub num_images: usize,
    /// Of these, images that the picture shows; 0 draws none. Default 8.
    pub num_pictures: usize,
}

impl Default for EvaluationRecipe {
    fn default() -> Self {
        Self { num_images: 128, num_pictures: 8 }
    }
}

impl AutoencoderRecipe {
    /// Side of the squares that training takes.
    pub fn training_size(&self) -> usize {
        match self.augmentation.crop_size {
            0 => self.image_size,
            size => size,
        }
    }
}

impl Settings for AutoencoderRecipe {
    const EMBEDDED: &'static [(&'static str, &'static str)] = &[
        ("autoencoder-128", include_str!("../../../../recipes/autoencoder-128.toml")),
        ("autoencoder-demo-64", include_str!("../../../../recipes/autoencoder-demo-64.toml")),
    ];

    fn description(&self) -> &str {
        &self.description
    }

    fn resumed_with(mut self, given: &Self) -> Self {
        // The learning rate's schedule ends with the run, so nothing else may change.
        self.description.clone_from(&given.description);
        self
    }

    fn validate(&self) -> Result<()> {
        self.network.validate()?;
        self.optimiser.validate()?;
        self.ema.validate()?;
        self.training.validate()?;
        let factor = self.network.config().downsampling_factor();
        ensure!(
            self.image_size > 0 && self.image_size.is_multiple_of(factor) && self.image_size <= 4096,
            "image_size is {}; it must be a multiple of {factor}, by which the network divides, at most 4096",
            self.image_size
        );
        let AugmentationRecipe { crop_size, flip_probability, latent_noise } = self.augmentation;
        ensure!(
            crop_size.is_multiple_of(factor) && crop_size <= self.image_size,
            "augmentation.crop_size is {crop_size}; it must be a multiple of {factor}, by which the network divides, at \
             most image_size, {}; 0 takes whole images",
            self.image_size
        );
        let training_size = self.training_size();
        // Evaluation measures it in any case.
        ensure!(
            training_size >= MIN_STRUCTURAL_SIZE,
            "training images have {training_size} px; structural similarity needs at least {MIN_STRUCTURAL_SIZE}"
        );
        ensure!(
            (0.0..=1.0).contains(&flip_probability),
            "augmentation.flip_probability is {flip_probability}; it must be a share, from 0 to 1"
        );
        ensure!(
            (0.0..=1.0).contains(&latent_noise),
            "augmentation.latent_noise is {latent_noise}; it must be from 0 to 1"
        );
        let weights = self.loss.weights();
        for (name, weight) in weights {
            ensure!(weight >= 0.0 && weight.is_finite(), "loss.{name} is {weight}; it must be a number, at least 0");
        }
        let LossRecipe { absolute, squared, structural, .. } = self.loss;
        ensure!(
            absolute + squared + structural > 0.0,
            "loss.absolute, loss.squared and loss.structural are all 0; nothing would teach the decoder brightness"
        );
        ensure!(self.evaluation.num_images > 0, "evaluation.num_images is 0; it must be at least 1");
        Ok(())
    }
}
