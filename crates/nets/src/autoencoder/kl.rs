//! The autoencoder of Stable Diffusion (Rombach et al. 2022, "High-resolution image synthesis with latent diffusion
//! models", appendix G) in the layout of diffusers' `AutoencoderKL`: residual blocks with group normalisation, one
//! self-attention at the lowest resolution, and a normal distribution for every latent.

use super::{
    LatentDistribution,
    checks::{positive, require, scaling},
    kl_blocks::{Decoder, Encoder},
    statistics::LatentStatistics,
};
use crate::error::Error;
use crate::{checkpoint::Checkpoint, layers::Conv2d};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// `config.json` of diffusers' `AutoencoderKL`. [`AutoencoderKlConfig::stable_diffusion`] is the published network;
/// the defaults are those of diffusers, which a file may leave out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderKlConfig {
    /// Channels of the pictures that go in.
    pub in_channels: usize,
    /// Channels of the pictures that come out.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` for each stage.
    pub down_block_types: Vec<String>,
    /// One `UpDecoderBlock2D` for each stage.
    pub up_block_types: Vec<String>,
    /// Channels of each stage, from full size down; each but the last is followed by halving the size.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each encoder stage; the decoder has one more.
    pub layers_per_block: usize,
    /// Activation; only `silu`, also called `swish`.
    pub act_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every normalisation; divides all of `block_out_channels`.
    pub norm_num_groups: usize,
    /// Picture size of the training, in pixels, a number or a pair; kept for diffusers, used nowhere here.
    pub sample_size: serde_json::Value,
    /// Normalised latents = (latents - `shift_factor`) · `scaling_factor`.
    pub scaling_factor: f64,
    /// See `scaling_factor`; `None` is 0.
    pub shift_factor: Option<f64>,
    /// Per channel, with `latents_std` and instead of `shift_factor`:
    /// normalised latents = (latents - `latents_mean`) / `latents_std` · `scaling_factor`.
    pub latents_mean: Option<Vec<f32>>,
    /// See `latents_mean`.
    pub latents_std: Option<Vec<f32>>,
    /// A wish of diffusers' pipelines, which compute in f16 at times; everything here is f32.
    pub force_upcast: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks hold self-attention.
    pub mid_block_add_attention: bool,
}

impl Default for AutoencoderKlConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.into()],
            up_block_types: vec![UP_BLOCK.into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32.into(),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

const DOWN_BLOCK: &str = "DownEncoderBlock2D";
const UP_BLOCK: &str = "UpDecoderBlock2D";

impl AutoencoderKlConfig {
    /// The autoencoder of Stable Diffusion 1 and 2: 84 M parameters, four latent channels at 1/8 of the size.
    pub fn stable_diffusion() -> Self {
        Self {
            down_block_types: vec![DOWN_BLOCK.into(); 4],
            up_block_types: vec![UP_BLOCK.into(); 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            sample_size: 512.into(),
            ..Self::default()
        }
    }

    /// The network with all weights zero.
    pub(super) fn network(&self, device: &Device) -> KlNetwork {
        let point = |channels| Conv2d::same(channels, channels, 1, device);
        KlNetwork {
            encoder: Encoder::new(self, device),
            decoder: Decoder::new(self, device),
            quant_conv: self.use_quant_conv.then(|| point(2 * self.latent_channels)),
            post_quant_conv: self.use_post_quant_conv.then(|| point(self.latent_channels)),
        }
    }

    /// Refuses options that this code does not have, by name.
    pub(super) fn check(&self) -> Result<(), Error> {
        require("act_fn", &self.act_fn, &["silu", "swish"])?;
        for (option, types, supported) in [
            ("down_block_types", &self.down_block_types, DOWN_BLOCK),
            ("up_block_types", &self.up_block_types, UP_BLOCK),
        ] {
            for name in types {
                require(option, name, &[supported])?;
            }
            if types.len() != self.block_out_channels.len() {
                return Err(Error::option(option, types, "one block for each of `block_out_channels`"));
            }
        }
        positive("in_channels", self.in_channels)?;
        positive("out_channels", self.out_channels)?;
        positive("latent_channels", self.latent_channels)?;
        positive("layers_per_block", self.layers_per_block)?;
        positive("norm_num_groups", self.norm_num_groups)?;
        let channels = &self.block_out_channels;
        let divisible = channels.iter().all(|width| *width > 0 && width % self.norm_num_groups == 0);
        if channels.is_empty() || !divisible {
            let supported = format!("positive multiples of `norm_num_groups`, which is {},", self.norm_num_groups);
            return Err(Error::option("block_out_channels", channels, &supported));
        }
        scaling("scaling_factor", self.scaling_factor)?;
        match (&self.latents_mean, &self.latents_std) {
            (None, None) => Ok(()),
            (Some(mean), Some(std)) => {
                let statistics = LatentStatistics { mean: mean.clone(), std: std.clone() };
                let supported = "as many finite means and positive deviations as latent channels";
                statistics
                    .check(self.latent_channels)
                    .map_err(|_| Error::option("latents_mean` / `latents_std", (mean, std), supported))
            }
            (mean, _) => Err(Error::option(
                "latents_mean",
                mean.as_deref().unwrap_or_default(),
                "a list together with one for `latents_std`",
            )),
        }
    }

    /// The scale that the configuration gives the latents.
    pub(super) fn statistics(&self) -> LatentStatistics {
        let scale = self.scaling_factor as f32;
        match (&self.latents_mean, &self.latents_std) {
            (Some(mean), Some(std)) => {
                LatentStatistics { mean: mean.clone(), std: std.iter().map(|std| std / scale).collect() }
            }
            _ => LatentStatistics::uniform(self.shift_factor.unwrap_or(0.0) as f32, 1.0 / scale, self.latent_channels),
        }
    }

    /// Pixels of a picture along one axis per latent.
    pub fn downsampling_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }
}

/// Gives the attention's tensors their present names: files from before 2023 say `query`, `key`, `value` and
/// `proj_attn`.
pub(super) fn rename_old_keys(checkpoint: Checkpoint) -> Checkpoint {
    const NAMES: [(&str, &str); 4] =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    checkpoint.rename(|key| {
        if !key.contains(".attentions.") {
            return Some(key.into());
        }
        Some(NAMES.iter().fold(key.to_string(), |key, (old, new)| key.replace(old, new)))
    })
}

/// Encoder and decoder with the 1x1 convolutions between them.
#[derive(Module, Debug)]
pub struct KlNetwork {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
}

impl KlNetwork {
    /// # Shapes
    /// Images in -1..=1 `[batch, height, width, in_channels]` to a distribution of latents as the network gives them
    /// `[batch, height / factor, width / factor, latent_channels]`
    pub fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        let moments = self.encoder.forward(images);
        let moments = match &self.quant_conv {
            Some(conv) => conv.forward(moments),
            None => moments,
        };
        let [_, _, _, twice_channels] = moments.dims();
        let channels = twice_channels / 2;
        let log_variance = moments.clone().narrow(3, channels, channels);
        // The bounds of the original; they keep the exponential finite.
        let std = (log_variance.clamp(-30.0, 20.0) * 0.5).exp();
        LatentDistribution { mean: moments.narrow(3, 0, channels), std: Some(std) }
    }

    /// The inverse of [`KlNetwork::encode`]; the result may overshoot -1..=1 a little.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = match &self.post_quant_conv {
            Some(conv) => conv.forward(latents),
            None => latents,
        };
        self.decoder.forward(latents)
    }
}
