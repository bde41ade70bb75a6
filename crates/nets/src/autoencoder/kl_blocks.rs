//! The blocks of [`super::kl`], with fields named like the keys of diffusers' checkpoints.

use super::kl::AutoencoderKlConfig;
use crate::layers::{Conv2d, GroupNorm, Linear};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use kernels::Conv2dOptions;

/// Of every group normalisation in this network (PyTorch's own default is 1e-5).
const EPSILON: f64 = 1e-6;

/// Two convolutions, each after normalisation and SiLU, around which the input is carried.
#[derive(Module, Debug)]
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn new(channels_in: usize, channels_out: usize, num_groups: usize, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::new(num_groups, channels_in, EPSILON, device),
            conv1: Conv2d::same(channels_in, channels_out, 3, device),
            norm2: GroupNorm::new(num_groups, channels_out, EPSILON, device),
            conv2: Conv2d::same(channels_out, channels_out, 3, device),
            conv_shortcut: (channels_in != channels_out).then(|| Conv2d::same(channels_in, channels_out, 1, device)),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let hidden = self.conv1.forward(self.norm1.forward_silu(images.clone()));
        let hidden = self.conv2.forward(self.norm2.forward_silu(hidden));
        let carried = match &self.conv_shortcut {
            Some(conv) => conv.forward(images),
            None => images,
        };
        carried + hidden
    }
}

/// `count` blocks, of which the first changes the number of channels.
fn resnets(
    count: usize,
    channels_in: usize,
    channels_out: usize,
    num_groups: usize,
    device: &Device,
) -> Vec<ResnetBlock> {
    (0..count)
        .map(|index| {
            let channels_in = if index == 0 { channels_in } else { channels_out };
            ResnetBlock::new(channels_in, channels_out, num_groups, device)
        })
        .collect()
}

/// Self-attention of all pixels with one head.
#[derive(Module, Debug)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
}

impl Attention {
    fn new(channels: usize, num_groups: usize, device: &Device) -> Self {
        let linear = || Linear::new(channels, channels, device);
        Self {
            group_norm: GroupNorm::new(num_groups, channels, EPSILON, device),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![linear()],
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = images.dims();
        let tokens = self.group_norm.forward(images.clone()).reshape([batch, height * width, channels]);
        let query = self.to_q.forward(tokens.clone());
        let key = self.to_k.forward(tokens.clone());
        let value = self.to_v.forward(tokens);
        let attended = kernels::attention(query, key, value, 1);
        let output = self.to_out.iter().fold(attended, |tokens, linear| linear.forward(tokens));
        images + output.reshape([batch, height, width, channels])
    }
}

/// The blocks at the lowest resolution: residual, attention, residual.
#[derive(Module, Debug)]
struct MidBlock {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock>,
}

impl MidBlock {
    fn new(channels: usize, config: &AutoencoderKlConfig, device: &Device) -> Self {
        let num_groups = config.norm_num_groups;
        let num_attentions = usize::from(config.mid_block_add_attention);
        Self {
            attentions: (0..num_attentions).map(|_| Attention::new(channels, num_groups, device)).collect(),
            resnets: resnets(2, channels, channels, num_groups, device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut hidden = images;
        for (index, resnet) in self.resnets.iter().enumerate() {
            if let Some(attention) = index.checked_sub(1).and_then(|index| self.attentions.get(index)) {
                hidden = attention.forward(hidden);
            }
            hidden = resnet.forward(hidden);
        }
        hidden
    }
}

/// The convolution that halves or follows the doubling of the size.
#[derive(Module, Debug)]
struct Resampler {
    conv: Conv2d,
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsamplers: Vec<Resampler>,
}

/// Pictures to the moments of their latents.
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    /// All weights zero; `config` is checked already.
    pub fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let num_groups = config.norm_num_groups;
        let widths = &config.block_out_channels;
        let (first, last) = ends(widths);
        // Zeros to the right and below only, as in the original.
        let halving = Conv2dOptions::padded(2, (0, 1));
        let mut channels = first;
        let mut down_blocks = Vec::with_capacity(widths.len());
        for (stage, &width) in widths.iter().enumerate() {
            let resnets = resnets(config.layers_per_block, channels, width, num_groups, device);
            let num_downsamplers = usize::from(stage + 1 < widths.len());
            let downsampler = |_| Resampler { conv: Conv2d::new(width, width, 3, halving, device) };
            down_blocks.push(DownBlock { resnets, downsamplers: (0..num_downsamplers).map(downsampler).collect() });
            channels = width;
        }
        Self {
            conv_in: Conv2d::same(config.in_channels, first, 3, device),
            down_blocks,
            mid_block: MidBlock::new(last, config, device),
            conv_norm_out: GroupNorm::new(num_groups, last, EPSILON, device),
            conv_out: Conv2d::same(last, 2 * config.latent_channels, 3, device),
        }
    }

    /// # Shapes
    /// `[batch, height, width, in_channels]` to `[batch, height / factor, width / factor, 2 * latent_channels]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut hidden = self.conv_in.forward(images);
        for block in &self.down_blocks {
            hidden = block.resnets.iter().fold(hidden, |hidden, resnet| resnet.forward(hidden));
            hidden = block.downsamplers.iter().fold(hidden, |hidden, sampler| sampler.conv.forward(hidden));
        }
        let hidden = self.mid_block.forward(hidden);
        self.conv_out.forward(self.conv_norm_out.forward_silu(hidden))
    }
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsamplers: Vec<Resampler>,
}

/// Latents to pictures.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    /// All weights zero; `config` is checked already.
    pub fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let num_groups = config.norm_num_groups;
        let widths = &config.block_out_channels;
        let (first, last) = ends(widths);
        let mut channels = last;
        let mut up_blocks = Vec::with_capacity(widths.len());
        for (stage, &width) in widths.iter().rev().enumerate() {
            let resnets = resnets(config.layers_per_block + 1, channels, width, num_groups, device);
            let num_upsamplers = usize::from(stage + 1 < widths.len());
            let upsampler = |_| Resampler { conv: Conv2d::same(width, width, 3, device) };
            up_blocks.push(UpBlock { resnets, upsamplers: (0..num_upsamplers).map(upsampler).collect() });
            channels = width;
        }
        Self {
            conv_in: Conv2d::same(config.latent_channels, last, 3, device),
            mid_block: MidBlock::new(last, config, device),
            up_blocks,
            conv_norm_out: GroupNorm::new(num_groups, first, EPSILON, device),
            conv_out: Conv2d::same(first, config.out_channels, 3, device),
        }
    }

    /// # Shapes
    /// `[batch, height, width, latent_channels]` to `[batch, factor * height, factor * width, out_channels]`
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut hidden = self.mid_block.forward(self.conv_in.forward(latents));
        for block in &self.up_blocks {
            hidden = block.resnets.iter().fold(hidden, |hidden, resnet| resnet.forward(hidden));
            hidden = block.upsamplers.iter().fold(hidden, |hidden, sampler| sampler.conv.forward_doubled(hidden));
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(hidden))
    }
}

/// First and last of a list that the configuration's check has found not to be empty.
fn ends(widths: &[usize]) -> (usize, usize) {
    (widths.first().copied().unwrap_or(1), widths.last().copied().unwrap_or(1))
}
