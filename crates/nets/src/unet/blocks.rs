//! Residual blocks, the levels of the two halves and what stands between them, and the embedding of time.
//!
//! Fields are named like checkpoint keys; a list that is empty has no keys, so one struct serves levels with and
//! without attention.

use super::attention::{Conditioning, Transformer, TransformerOptions};
use super::config::{Level, UNetConfig};
use crate::layers::{Conv2d, GroupNorm, Linear};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use kernels::Conv2dOptions;

/// What the blocks of one network share.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockOptions {
    pub norm_num_groups: usize,
    pub norm_epsilon: f64,
    pub time_dim: usize,
    pub transformer: TransformerOptions,
}

impl BlockOptions {
    pub fn new(config: &UNetConfig, time_dim: usize) -> Self {
        let transformer = TransformerOptions {
            norm_num_groups: config.norm_num_groups,
            condition_dim: config.cross_attention_dim,
            use_linear_projection: config.use_linear_projection,
        };
        Self { norm_num_groups: config.norm_num_groups, norm_epsilon: config.norm_eps, time_dim, transformer }
    }
}

/// Two convolutions with the time embedding added between them, added to the input.
#[derive(Module, Debug)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
    output_scale_factor: f64,
}

impl ResnetBlock {
    fn new(channels_in: usize, channels_out: usize, scale: f64, options: &BlockOptions, device: &Device) -> Self {
        let norm = |channels| GroupNorm::new(options.norm_num_groups, channels, options.norm_epsilon, device);
        Self {
            norm1: norm(channels_in),
            conv1: Conv2d::same(channels_in, channels_out, 3, device),
            time_emb_proj: Linear::new(options.time_dim, channels_out, device),
            norm2: norm(channels_out),
            conv2: Conv2d::same(channels_out, channels_out, 3, device),
            conv_shortcut: (channels_in != channels_out).then(|| Conv2d::same(channels_in, channels_out, 1, device)),
            output_scale_factor: scale,
        }
    }

    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height, width, channels_out]`
    fn forward(&self, images: Tensor<4>, conditioning: &Conditioning<'_>) -> Tensor<4> {
        let hidden = self.conv1.forward(self.norm1.forward_silu(images.clone()));
        let shortcut = match &self.conv_shortcut {
            Some(layer) => layer.forward(images),
            None => images,
        };
        self.finish(hidden, shortcut, conditioning)
    }

    /// [`ResnetBlock::forward`] on images and a skip side by side in the channels, without joining them.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` twice, `channels_in` together, to `[batch, height, width, channels_out]`
    fn forward_with_skip(&self, images: Tensor<4>, skip: Tensor<4>, conditioning: &Conditioning<'_>) -> Tensor<4> {
        let hidden = self.conv1.forward(self.norm1.forward_silu_joined(images.clone(), skip.clone()));
        let shortcut = match &self.conv_shortcut {
            Some(layer) => layer.forward_joined(images, skip),
            None => Tensor::cat(vec![images, skip], 3),
        };
        self.finish(hidden, shortcut, conditioning)
    }

    /// What follows the first convolution.
    fn finish(&self, hidden: Tensor<4>, shortcut: Tensor<4>, conditioning: &Conditioning<'_>) -> Tensor<4> {
        let [batch, _, _, channels_out] = hidden.dims();
        let time = self.time_emb_proj.forward(conditioning.time.clone()); // [batch, channels_out]
        let hidden = hidden + time.reshape([batch, 1, 1, channels_out]);
        let hidden = self.conv2.forward(self.norm2.forward_silu(hidden));
        let output = shortcut + hidden;
        if self.output_scale_factor == 1.0 { output } else { output / self.output_scale_factor }
    }
}

/// The convolution of a change of resolution.
#[derive(Module, Debug)]
pub struct Resampler {
    conv: Conv2d,
}

/// One level of the contracting half.
#[derive(Module, Debug)]
pub struct DownBlock {
    attentions: Vec<Transformer>,
    resnets: Vec<ResnetBlock>,
    /// None or one.
    downsamplers: Vec<Resampler>,
}

impl DownBlock {
    pub(super) fn new(
        name: &str,
        channels_in: usize,
        level: &Level,
        downsample_padding: Option<usize>,
        options: &BlockOptions,
        device: &Device,
    ) -> Self {
        let channels = level.channels;
        let num_transformers = if level.down_attention { level.num_layers } else { 0 };
        let resnet = |layer| {
            let channels_in = if layer == 0 { channels_in } else { channels };
            ResnetBlock::new(channels_in, channels, 1.0, options, device)
        };
        let downsampler = |padding| {
            // diffusers' padding 0 means one row below and one column to the right.
            let padding = if padding == 0 { (0, 1) } else { (padding, padding) };
            let conv = Conv2d::new(channels, channels, 3, Conv2dOptions::padded(2, padding), device);
            Resampler { conv }
        };
        Self {
            attentions: transformers(name, num_transformers, level, options, device),
            resnets: (0..level.num_layers).map(resnet).collect(),
            downsamplers: downsample_padding.into_iter().map(downsampler).collect(),
        }
    }

    /// Pushes every intermediate image onto `skips` and returns the last.
    pub(super) fn forward(
        &self,
        mut images: Tensor<4>,
        skips: &mut Vec<Tensor<4>>,
        conditioning: &mut Conditioning<'_>,
    ) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            images = resnet.forward(images, conditioning);
            if let Some(attention) = self.attentions.get(layer) {
                images = attention.forward(images, conditioning);
            }
            skips.push(images.clone());
        }
        for downsampler in &self.downsamplers {
            images = downsampler.conv.forward(images);
            skips.push(images.clone());
        }
        images
    }
}

/// Between the halves: residual block, transformer, residual block.
#[derive(Module, Debug)]
pub struct MidBlock {
    attentions: Vec<Transformer>,
    resnets: Vec<ResnetBlock>,
}

impl MidBlock {
    pub(super) fn new(coarsest: &Level, scale: f64, options: &BlockOptions, device: &Device) -> Self {
        // Here diffusers always looks at the image first, whatever `only_cross_attention` says.
        let level = Level { only_cross_attention: false, ..*coarsest };
        let resnet = |_| ResnetBlock::new(level.channels, level.channels, scale, options, device);
        Self {
            attentions: transformers("mid_block", 1, &level, options, device),
            resnets: (0..2).map(resnet).collect(),
        }
    }

    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub(super) fn forward(&self, mut images: Tensor<4>, conditioning: &mut Conditioning<'_>) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            images = resnet.forward(images, conditioning);
            if let Some(attention) = self.attentions.get(layer) {
                images = attention.forward(images, conditioning);
            }
        }
        images
    }
}

/// One level of the expanding half.
#[derive(Module, Debug)]
pub struct UpBlock {
    attentions: Vec<Transformer>,
    resnets: Vec<ResnetBlock>,
    /// None or one.
    upsamplers: Vec<Resampler>,
}

impl UpBlock {
    /// `channels_in` come from the coarser level, `channels_finer` is what the next finer level holds (its
    /// down-sampled image is this level's last skip).
    pub(super) fn new(
        name: &str,
        channels_in: usize,
        channels_finer: usize,
        level: &Level,
        upsample: bool,
        options: &BlockOptions,
        device: &Device,
    ) -> Self {
        let channels = level.channels;
        let num_layers = level.num_layers + 1;
        let num_transformers = if level.up_attention { num_layers } else { 0 };
        let resnet = |layer| {
            let hidden = if layer == 0 { channels_in } else { channels };
            let skip = if layer + 1 == num_layers { channels_finer } else { channels };
            ResnetBlock::new(hidden + skip, channels, 1.0, options, device)
        };
        let upsampler = || Resampler { conv: Conv2d::same(channels, channels, 3, device) };
        Self {
            attentions: transformers(name, num_transformers, level, options, device),
            resnets: (0..num_layers).map(resnet).collect(),
            upsamplers: upsample.then(upsampler).into_iter().collect(),
        }
    }

    /// Pops one image off `skips` for each residual block and leaves in the size of the next skip.
    pub(super) fn forward(
        &self,
        mut images: Tensor<4>,
        skips: &mut Vec<Tensor<4>>,
        conditioning: &mut Conditioning<'_>,
    ) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            images = match skips.pop() {
                Some(skip) => resnet.forward_with_skip(images, skip, conditioning),
                None => resnet.forward(images, conditioning),
            };
            if let Some(attention) = self.attentions.get(layer) {
                images = attention.forward(images, conditioning);
            }
        }
        if let (Some(upsampler), Some(next)) = (self.upsamplers.first(), skips.last()) {
            let [_, height, width, _] = next.dims();
            let [_, height_in, width_in, _] = images.dims();
            images = if (height, width) == (2 * height_in, 2 * width_in) {
                upsampler.conv.forward_doubled(images)
            } else {
                upsampler.conv.forward(resize_nearest(images, height, width))
            };
        }
        images
    }
}

fn transformers(name: &str, count: usize, level: &Level, options: &BlockOptions, device: &Device) -> Vec<Transformer> {
    let transformer =
        |index| Transformer::new(format!("{name}.attentions.{index}"), level, options.transformer, device);
    (0..count).map(transformer).collect()
}

/// Nearest-neighbour enlargement to any size: output pixel `i` of `n` reads input pixel `⌊i · m / n⌋` of `m`.
///
/// A level whose size was odd is not half as large as the next finer one, so doubling is not always right.
fn resize_nearest(images: Tensor<4>, height: usize, width: usize) -> Tensor<4> {
    let [_, height_in, width_in, _] = images.dims();
    let device = images.device();
    let indices = |size_in: usize, size_out: usize| {
        let indices: Vec<i64> = (0..size_out).map(|index| (index * size_in / size_out) as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(indices, [size_out]), &device)
    };
    images.select(1, indices(height_in, height)).select(2, indices(width_in, width))
}

/// Sinusoids of a timestep (Ho et al. 2020) through two linear layers.
#[derive(Module, Debug)]
pub struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    pub(super) fn new(dim_in: usize, dim_out: usize, device: &Device) -> Self {
        Self { linear_1: Linear::new(dim_in, dim_out, device), linear_2: Linear::new(dim_out, dim_out, device) }
    }

    /// # Shapes
    /// `[batch, dim_in]` to `[batch, dim_out]`
    pub(super) fn forward(&self, sinusoids: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(kernels::silu(self.linear_1.forward(sinusoids)))
    }
}

/// `dim / 2` sines and as many cosines of `timestep · 10000^(-i / (dim / 2 - freq_shift))`; cosines first if `flip`.
///
/// # Shapes
/// - timesteps: `[batch]`, output: `[batch, dim]`
pub(super) fn sinusoids(timesteps: Tensor<1>, dim: usize, flip: bool, freq_shift: usize) -> Tensor<2> {
    const LONGEST_PERIOD: f32 = 10_000.0;
    let half = dim / 2;
    let device = timesteps.device();
    let [batch] = timesteps.dims();
    // In f32 as diffusers does: at timestep 1000 the rounding of a frequency is visible in its sine.
    let spacing = (half - freq_shift) as f32;
    let frequencies: Vec<f32> = (0..half).map(|index| (-LONGEST_PERIOD.ln() * index as f32 / spacing).exp()).collect();
    let frequencies = Tensor::<1>::from_data(TensorData::new(frequencies, [half]), &device);
    let angles = timesteps.reshape([batch, 1]) * frequencies.reshape([1, half]);
    let (sines, cosines) = (angles.clone().sin(), angles.cos());
    Tensor::cat(if flip { vec![cosines, sines] } else { vec![sines, cosines] }, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_agrees_with_doubling_and_with_the_formula_for_odd_sizes() {
        let device = Device::flex();
        let images = Tensor::<1>::from_floats([0.0, 1.0, 2.0], &device).reshape([1, 3, 1, 1]);
        let rows = |height| {
            let resized = resize_nearest(images.clone().repeat_dim(2, 3), height, 6);
            resized.narrow(2, 0, 1).into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(rows(6), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(rows(5), [0.0, 0.0, 1.0, 1.0, 2.0]);
        assert_eq!(rows(7), [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn sinusoids_of_time_zero_are_zeros_and_ones_in_the_asked_order() {
        let device = Device::flex();
        let values = |flip| {
            let sinusoids = sinusoids(Tensor::from_floats([0.0], &device), 4, flip, 0);
            sinusoids.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(values(true), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(values(false), [0.0, 0.0, 1.0, 1.0]);
    }
}
