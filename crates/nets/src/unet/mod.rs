//! The denoising network: diffusers' `UNet2DConditionModel` (Rombach et al. 2022, arXiv 2112.10752) on channels-last
//! tensors, with every option that Stable Diffusion 1.x and 2.x use.
//!
//! A folder with `config.json` and `diffusion_pytorch_model.safetensors` goes in and comes out in diffusers' layout:
//! fields are named like checkpoint keys, so there is no table of names.

mod attention;
mod blocks;
mod config;
mod folder;

pub use attention::{Attention, FeedForward, GatedProjection, Projection, Transformer, TransformerBlock};
pub use blocks::{DownBlock, MidBlock, Resampler, ResnetBlock, TimeEmbedding, UpBlock};
pub use config::{Activation, DownBlockType, MidBlockType, OneOrEach, UNetConfig, UpBlockType};

use crate::error::Error;
use crate::layers::{Conv2d, GroupNorm};
use attention::Conditioning;
use blocks::{BlockOptions, sinusoids};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

/// Where the pixels of one transformer block look.
#[derive(Debug, Clone)]
pub struct AttentionMap {
    /// Rows of pixels at this level.
    pub height: usize,
    /// Columns of pixels at this level.
    pub width: usize,
    /// Softmax of the self-attention averaged over heads: `[batch, height * width, height * width]`, the second axis
    /// the pixel that looks, the third the pixel looked at; each row sums to 1.
    pub maps: Tensor<3>,
    /// Which block, such as `down_blocks.0.attentions.1.transformer_blocks.0`.
    pub block_name: String,
}

/// What a pass shows on its way, see [`UNet::forward_observed`].
#[derive(Debug, Clone)]
pub enum Observation {
    /// The self-attention of a transformer block.
    Attention(AttentionMap),
    /// What a block of the expanding half gave, its upsampling included.
    UpBlock {
        /// From 0, the coarsest.
        index: usize,
        /// `[batch, height, width, channels]`
        features: Tensor<4>,
    },
}

/// Predicts the training target (noise, velocity or flow) from noisy latents, the time and a condition.
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv2d,
    time_embedding: TimeEmbedding,
    down_blocks: Vec<DownBlock>,
    up_blocks: Vec<UpBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNetConfig,
}

impl UNetConfig {
    /// A network of these settings whose weights are zeros (normalisation: ones), ready for
    /// [`crate::init::randomise`] or [`crate::load_weights`].
    ///
    /// # Errors
    /// [`Error::Impossible`] where settings contradict one another.
    pub fn init(&self, device: &Device) -> Result<UNet, Error> {
        let plan = self.plan()?;
        let levels = &plan.levels;
        let options = BlockOptions::new(self, plan.time_dim);
        let finest_channels = levels[0].channels;
        let coarsest = levels.len() - 1;
        let down_block = |index: usize| {
            let channels_in = levels[index.saturating_sub(1)].channels;
            let padding = (index != coarsest).then_some(self.downsample_padding);
            DownBlock::new(&format!("down_blocks.{index}"), channels_in, &levels[index], padding, &options, device)
        };
        let up_block = |index: usize| {
            let level = coarsest - index;
            let channels_in = levels[(level + 1).min(coarsest)].channels;
            let channels_finer = levels[level.saturating_sub(1)].channels;
            let name = format!("up_blocks.{index}");
            UpBlock::new(&name, channels_in, channels_finer, &levels[level], level != 0, &options, device)
        };
        Ok(UNet {
            conv_in: Conv2d::same(self.in_channels, finest_channels, self.conv_in_kernel, device),
            time_embedding: TimeEmbedding::new(finest_channels, plan.time_dim, device),
            down_blocks: (0..levels.len()).map(down_block).collect(),
            up_blocks: (0..levels.len()).map(up_block).collect(),
            mid_block: MidBlock::new(&levels[coarsest], self.mid_block_scale_factor, &options, device),
            conv_norm_out: GroupNorm::new(self.norm_num_groups, finest_channels, self.norm_eps, device),
            conv_out: Conv2d::same(finest_channels, self.out_channels, self.conv_out_kernel, device),
            config: self.clone(),
        })
    }
}

impl UNet {
    /// The settings it was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// One prediction. Heights and widths may be odd; they need not equal `sample_size`.
    ///
    /// # Shapes
    /// - noisy: `[batch, height, width, in_channels]`
    /// - timesteps: `[batch]`, in 0..=1000 for networks that were trained so, fractions allowed
    /// - condition: `[batch, tokens, cross_attention_dim]`
    /// - output: `[batch, height, width, out_channels]`
    ///
    /// # Panics
    /// Where the shapes differ from these.
    pub fn forward(&self, noisy: Tensor<4>, timesteps: Tensor<1>, condition: Tensor<3>) -> Tensor<4> {
        self.run(noisy, timesteps, condition, None)
    }

    /// [`UNet::forward`] that shows the self-attention of every transformer block and the result of every block of the
    /// expanding half to `observe`, in the order of execution. What is not kept there is gone before the next block runs,
    /// so that no more than one map need be in memory. Blocks under `only_cross_attention` have no self-attention.
    pub fn forward_observed(
        &self,
        noisy: Tensor<4>,
        timesteps: Tensor<1>,
        condition: Tensor<3>,
        observe: &mut dyn FnMut(Observation),
    ) -> Tensor<4> {
        self.run(noisy, timesteps, condition, Some(observe))
    }

    fn run(
        &self,
        noisy: Tensor<4>,
        timesteps: Tensor<1>,
        condition: Tensor<3>,
        observer: Option<&mut dyn FnMut(Observation)>,
    ) -> Tensor<4> {
        let UNetConfig { center_input_sample, flip_sin_to_cos, freq_shift, block_out_channels, .. } = &self.config;
        let sinusoids = sinusoids(timesteps, block_out_channels[0], *flip_sin_to_cos, *freq_shift);
        let time = kernels::silu(self.time_embedding.forward(sinusoids));
        let mut conditioning = Conditioning { time, condition, observer };

        let noisy = if *center_input_sample { noisy * 2.0 - 1.0 } else { noisy };
        let mut images = self.conv_in.forward(noisy);
        let mut skips = vec![images.clone()];
        for block in &self.down_blocks {
            images = block.forward(images, &mut skips, &mut conditioning);
        }
        images = self.mid_block.forward(images, &mut conditioning);
        for (index, block) in self.up_blocks.iter().enumerate() {
            images = block.forward(images, &mut skips, &mut conditioning);
            if let Some(observe) = &mut conditioning.observer {
                observe(Observation::UpBlock { index, features: images.clone() });
            }
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(images))
    }
}
