//! Tiny autoencoders: TAESD (Ollin Boer Bohan, 2023) in the layout of diffusers' `AutoencoderTiny`.
//!
//! The networks were distilled from large autoencoders and give one latent per image, not a distribution. They work on
//! pictures in 0..=1; the -1..=1 of this project is converted at both ends.

use super::{
    checks::{positive, require, scaling},
    sequential::{Operation, Sequential, SequentialBuilder},
};
use crate::error::Error;
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// `config.json` of diffusers' `AutoencoderTiny`; the defaults are those of TAESD for Stable Diffusion 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderTinyConfig {
    /// Channels of the pictures that go in.
    pub in_channels: usize,
    /// Channels of the pictures that come out.
    pub out_channels: usize,
    /// Channels of each encoder stage; each stage but the first halves the size.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each decoder stage; each stage but the last enlarges by `upsampling_scaling_factor`.
    pub decoder_block_out_channels: Vec<usize>,
    /// Activation between convolutions; only `relu`.
    pub act_fn: String,
    /// How stages are enlarged; only `nearest`.
    pub upsample_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Enlargement of each decoder stage but the last.
    pub upsampling_scaling_factor: usize,
    /// Residual blocks in each encoder stage.
    pub num_encoder_blocks: Vec<usize>,
    /// Residual blocks in each decoder stage.
    pub num_decoder_blocks: Vec<usize>,
    /// Largest latent that diffusers expects when it stores latents as bytes; kept for it, used nowhere here.
    pub latent_magnitude: f64,
    /// Offset that diffusers adds when it stores latents as bytes; kept for it, used nowhere here.
    pub latent_shift: f64,
    /// A wish of diffusers' pipelines, which compute in f16 at times; everything here is f32.
    pub force_upcast: bool,
    /// Normalised latents = (latents - `shift_factor`) · `scaling_factor`.
    pub scaling_factor: f64,
    /// See `scaling_factor`.
    pub shift_factor: f64,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: "relu".into(),
            upsample_fn: "nearest".into(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
            scaling_factor: 1.0,
            shift_factor: 0.0,
        }
    }
}

impl AutoencoderTinyConfig {
    /// A one-channel network of about 0.15 M parameters, 64 × 64 pictures to 8 × 8 × 4 latents, small enough to be
    /// trained within the demo.
    pub fn demo() -> Self {
        Self {
            in_channels: 1,
            out_channels: 1,
            encoder_block_out_channels: vec![24; 4],
            decoder_block_out_channels: vec![24; 4],
            num_encoder_blocks: vec![0, 1, 1, 1],
            num_decoder_blocks: vec![1, 1, 1, 0],
            ..Self::default()
        }
    }

    /// The network with all weights zero.
    pub(super) fn network(&self, device: &Device) -> TinyNetwork {
        let mut encoder = SequentialBuilder::new(self.in_channels, device);
        let stages = self.num_encoder_blocks.iter().zip(&self.encoder_block_out_channels);
        for (stage, (&num_blocks, &channels)) in stages.enumerate() {
            if stage == 0 {
                encoder.conv(channels, true);
            } else {
                encoder.downsample(channels);
            }
            (0..num_blocks).for_each(|_| encoder.block(channels, None));
        }
        encoder.conv(self.latent_channels, true);

        let mut decoder = SequentialBuilder::new(self.latent_channels, device);
        decoder.conv(self.decoder_block_out_channels.first().copied().unwrap_or(self.out_channels), true);
        decoder.plain(Operation::Relu);
        let last = self.num_decoder_blocks.len().saturating_sub(1);
        let stages = self.num_decoder_blocks.iter().zip(&self.decoder_block_out_channels);
        for (stage, (&num_blocks, &channels)) in stages.enumerate() {
            (0..num_blocks).for_each(|_| decoder.block(channels, None));
            if stage == last {
                decoder.conv(self.out_channels, true);
            } else {
                decoder.plain(Operation::Upsample(self.upsampling_scaling_factor));
                decoder.conv(channels, false);
            }
        }
        TinyNetwork { encoder: encoder.build(), decoder: decoder.build() }
    }

    /// Refuses options that this code does not have, by name.
    pub(super) fn check(&self) -> Result<(), Error> {
        require("act_fn", &self.act_fn, &["relu"])?;
        require("upsample_fn", &self.upsample_fn, &["nearest"])?;
        for (name, channels, blocks) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("decoder_block_out_channels", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            // diffusers has one number of channels for the convolution between two stages, so unequal ones fail there.
            let is_uniform = channels.iter().all(|width| Some(width) == channels.first() && *width > 0);
            if !is_uniform || channels.is_empty() || channels.len() != blocks.len() {
                return Err(Error::option(name, channels, "equal positive numbers, one for each stage"));
            }
        }
        positive("in_channels", self.in_channels)?;
        positive("out_channels", self.out_channels)?;
        positive("latent_channels", self.latent_channels)?;
        positive("upsampling_scaling_factor", self.upsampling_scaling_factor)?;
        scaling("scaling_factor", self.scaling_factor)
    }

    /// Pixels of a picture along one axis per latent.
    pub fn downsampling_factor(&self) -> usize {
        1 << self.num_encoder_blocks.len().saturating_sub(1)
    }
}

/// Encoder and decoder of TAESD.
#[derive(Module, Debug)]
pub struct TinyNetwork {
    pub(super) encoder: Sequential,
    pub(super) decoder: Sequential,
}

impl TinyNetwork {
    /// # Shapes
    /// Images in -1..=1 `[batch, height, width, in_channels]` to latents as the network gives them
    /// `[batch, height / factor, width / factor, latent_channels]`
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        self.encoder.forward((images + 1.0) * 0.5)
    }

    /// The inverse of [`TinyNetwork::encode`]; the result may overshoot -1..=1 a little.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        // TAESD never saw latents beyond ±3: squash them softly.
        let latents = (latents * (1.0 / 3.0)).tanh() * 3.0;
        self.decoder.forward(latents) * 2.0 - 1.0
    }
}
