//! Group normalisation with an optional SiLU behind it, and its gradients, on NHWC images.
//!
//! Statistics are gathered per channel (pixels run along memory) and joined per group. Sums are taken of differences
//! from the channel's first pixel, which keeps the variance exact when the mean is large against it.
//!
//! The images may come in parts that stand side by side in the channels, such as a UNet's features and what it skipped:
//! the joined images are never made. Groups may reach across the border of two parts.

use super::activation::{Activation, derivative, for_each_vector, value};
use super::memory::{Shared, all_filled_by, filled_by};
use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

/// Extents and settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNorm {
    pub batch: usize,
    /// Height times width.
    pub pixels: usize,
    pub channels: usize,
    pub num_groups: usize,
    pub epsilon: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Gradients of the images' parts, weight and bias.
pub(crate) type Gradients<const N: usize> = ([Vec<f32>; N], Vec<f32>, Vec<f32>);

/// One image's values in one part.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: &'a [f32],
    channels: usize,
    /// Its first channel among those of all parts.
    first: usize,
}

impl Part<'_> {
    /// Its values from a pixel on.
    fn at(&self, pixel: usize) -> *const f32 {
        self.values[pixel * self.channels..].as_ptr()
    }
}

impl GroupNorm {
    /// Channels of each part.
    fn widths<const N: usize>(&self, parts: [&[f32]; N]) -> [usize; N] {
        let pixels = self.batch * self.pixels;
        let widths = parts.map(|values| if pixels == 0 { 0 } else { values.len() / pixels });
        assert!(pixels == 0 || widths.iter().sum::<usize>() == self.channels, "the parts must have all channels");
        assert_eq!(parts.map(<[f32]>::len), widths.map(|width| width * pixels));
        assert_eq!(self.channels % self.num_groups, 0, "groups must divide the channels");
        widths
    }

    /// The parts of one image.
    fn image<'a, const N: usize>(&self, parts: [&'a [f32]; N], widths: [usize; N], index: usize) -> [Part<'a>; N] {
        let mut first = 0;
        std::array::from_fn(|part| {
            let channels = widths[part];
            let values = &parts[part][index * self.pixels * channels..(index + 1) * self.pixels * channels];
            first += channels;
            Part { values, channels, first: first - channels }
        })
    }

    /// Pixels that one task works on; by the shape of one image alone.
    fn block(&self) -> usize {
        ((1 << 15) / self.channels.max(1)).max(16)
    }

    fn num_blocks(&self) -> usize {
        self.pixels.div_ceil(self.block())
    }

    /// First pixel and number of pixels of a block.
    fn block_at(&self, block: usize) -> (usize, usize) {
        let first = block * self.block();
        (first, (self.pixels - first).min(self.block()))
    }

    /// Runs `work(block)` for the blocks of an image, on all threads if there are several; results in order.
    fn each_block<T: Send>(&self, work: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self.num_blocks() {
            1 => vec![work(0)],
            blocks => (0..blocks).into_par_iter().map(work).collect(),
        }
    }

    /// Per channel: mean and reciprocal standard deviation of its group, of one image.
    fn statistics(&self, image: &[Part]) -> (Vec<f32>, Vec<f32>) {
        let channels = self.channels;
        let origin: Vec<f32> = image.iter().flat_map(|part| &part.values[..part.channels]).copied().collect();
        let partial = self.each_block(|block| {
            let (first, count) = self.block_at(block);
            let mut sums = vec![0f64; 2 * channels];
            // Single-precision sums are kept short; double precision joins them.
            for start in (first..first + count).step_by(64) {
                let rows = (first + count - start).min(64);
                let mut short = vec![0f32; 2 * channels];
                for part in image {
                    let (origin, short) = (origin[part.first..].as_ptr(), short[part.first..].as_mut_ptr());
                    // SAFETY: the rows lie inside the image; the sums have two rows of all channels.
                    unsafe { moments(rows, part.channels, part.at(start), origin, short, channels) };
                }
                for (sum, value) in sums.iter_mut().zip(short) {
                    *sum += value as f64;
                }
            }
            sums
        });
        let mut sums = vec![0f64; 2 * channels];
        for part in partial {
            for (sum, value) in sums.iter_mut().zip(part) {
                *sum += value;
            }
        }
        let (mut means, mut scales) = (vec![0f32; channels], vec![0f32; channels]);
        let per_group = channels / self.num_groups;
        let pixels = self.pixels as f64;
        for group in 0..self.num_groups {
            let members = group * per_group..(group + 1) * per_group;
            let mean_of = |channel: usize| origin[channel] as f64 + sums[channel] / pixels;
            let mean = members.clone().map(mean_of).sum::<f64>() / per_group as f64;
            let variance = members
                .clone()
                .map(|channel| {
                    let shift = sums[channel] / pixels;
                    let own = sums[channels + channel] / pixels - shift * shift;
                    own.max(0.0) + (mean_of(channel) - mean).powi(2)
                })
                .sum::<f64>()
                / per_group as f64;
            means[members.clone()].fill(mean as f32);
            scales[members].fill((1.0 / (variance + self.epsilon as f64).sqrt()) as f32);
        }
        (means, scales)
    }
}

#[inline(always)]
unsafe fn moments_kernel<S: Simd>(
    rows: usize,
    channels: usize,
    source: *const f32,
    origin: *const f32,
    sums: *mut f32,
    sums_stride: usize,
) {
    // SAFETY: the source covers `rows * channels` values, the origin `channels`, the sums two rows of them.
    unsafe {
        for_each_vector!(S, channels, |i, load, store| {
            let shift = load!(origin);
            let (mut sum, mut squares) = (S::splat(0.0), S::splat(0.0));
            for row in 0..rows {
                let value = S::sub(load!(source.wrapping_add(row * channels)), shift);
                sum = S::add(sum, value);
                squares = S::mul_add(value, value, squares);
            }
            store!(sums, sum);
            store!(sums.wrapping_add(sums_stride), squares);
        });
    }
}
simd_dispatch! {
    fn moments(
        rows: usize, channels: usize, source: *const f32, origin: *const f32, sums: *mut f32, sums_stride: usize,
    ) = moments_kernel
}

#[inline(always)]
unsafe fn apply_kernel<S: Simd>(
    rows: usize,
    channels: usize,
    silu: bool,
    source: *const f32,
    scale: *const f32,
    shift: *const f32,
    target: *mut f32,
    target_stride: usize,
) {
    // SAFETY: source and target cover `rows` rows of `channels` values, scale and shift `channels`.
    unsafe {
        for row in 0..rows {
            let (source, target) = (source.wrapping_add(row * channels), target.wrapping_add(row * target_stride));
            for_each_vector!(S, channels, |i, load, store| {
                let normal = S::mul_add(load!(source), load!(scale), load!(shift));
                store!(target, if silu { value::<S>(Activation::Silu, normal) } else { normal });
            });
        }
    }
}
simd_dispatch! {
    fn apply(
        rows: usize, channels: usize, silu: bool, source: *const f32, scale: *const f32, shift: *const f32,
        target: *mut f32, target_stride: usize,
    ) = apply_kernel
}

/// Normalises images whose channels stand in `parts`.
pub(crate) fn forward<const N: usize>(shape: &GroupNorm, parts: [&[f32]; N], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let &GroupNorm { batch, channels, pixels, silu, .. } = shape;
    let widths = shape.widths(parts);
    assert!(weight.len() == channels && bias.len() == channels);
    let fill = |output: Shared| {
        (0..batch).into_par_iter().for_each(|index| {
            let image = shape.image(parts, widths, index);
            let (means, scales) = shape.statistics(&image);
            let scale: Vec<f32> = weight.iter().zip(&scales).map(|(weight, scale)| weight * scale).collect();
            let shift: Vec<f32> = (0..channels).map(|c| bias[c] - means[c] * scale[c]).collect();
            shape.each_block(|block| {
                let (first, rows) = shape.block_at(block);
                for part in &image {
                    let (scale, shift) = (scale[part.first..].as_ptr(), shift[part.first..].as_ptr());
                    let target = output.at((index * pixels + first) * channels + part.first);
                    // SAFETY: the block lies inside the image and is written by this task alone.
                    unsafe { apply(rows, part.channels, silu, part.at(first), scale, shift, target, channels) };
                }
            });
        });
    };
    // SAFETY: all blocks of all images are written.
    unsafe { filled_by(batch * pixels * channels, fill) }
}

#[inline(always)]
unsafe fn gradient_sums_kernel<S: Simd>(
    rows: usize,
    channels: usize,
    silu: bool,
    source: *const f32,
    gradient: *const f32,
    affine: *const f32,
    sums: *mut f32,
    stride: usize,
) {
    // SAFETY: the source covers `rows * channels` values, gradient, affine and sums as many rows of as many values,
    // four and two, `stride` apart.
    unsafe {
        for_each_vector!(S, channels, |i, load, store| {
            let (mean, scale) = (load!(affine), load!(affine.wrapping_add(stride)));
            let (weight, bias) = (load!(affine.wrapping_add(2 * stride)), load!(affine.wrapping_add(3 * stride)));
            let (mut plain, mut weighted) = (load!(sums), load!(sums.wrapping_add(stride)));
            for row in 0..rows {
                let normal = S::mul(S::sub(load!(source.wrapping_add(row * channels)), mean), scale);
                let mut slope = load!(gradient.wrapping_add(row * stride));
                if silu {
                    slope = S::mul(slope, derivative::<S>(Activation::Silu, S::mul_add(normal, weight, bias)));
                }
                plain = S::add(plain, slope);
                weighted = S::mul_add(slope, normal, weighted);
            }
            store!(sums, plain);
            store!(sums.wrapping_add(stride), weighted);
        });
    }
}
simd_dispatch! {
    fn gradient_sums(
        rows: usize, channels: usize, silu: bool, source: *const f32, gradient: *const f32, affine: *const f32,
        sums: *mut f32, stride: usize,
    ) = gradient_sums_kernel
}

#[inline(always)]
unsafe fn input_gradient_kernel<S: Simd>(
    rows: usize,
    channels: usize,
    silu: bool,
    source: *const f32,
    gradient: *const f32,
    affine: *const f32,
    target: *mut f32,
    stride: usize,
) {
    // SAFETY: source and target cover `rows * channels` values, gradient and affine as many rows of as many values
    // and six, `stride` apart.
    unsafe {
        for row in 0..rows {
            let offset = row * channels;
            for_each_vector!(S, channels, |i, load, store| {
                let (mean, scale) = (load!(affine), load!(affine.wrapping_add(stride)));
                let (weight, bias) = (load!(affine.wrapping_add(2 * stride)), load!(affine.wrapping_add(3 * stride)));
                let (plain, weighted) =
                    (load!(affine.wrapping_add(4 * stride)), load!(affine.wrapping_add(5 * stride)));
                let normal = S::mul(S::sub(load!(source.wrapping_add(offset)), mean), scale);
                let mut slope = load!(gradient.wrapping_add(row * stride));
                if silu {
                    slope = S::mul(slope, derivative::<S>(Activation::Silu, S::mul_add(normal, weight, bias)));
                }
                // scale · (weight · slope - mean of that - normal · mean of that times normal)
                let centre = S::mul_add(normal, weighted, plain);
                store!(target.wrapping_add(offset), S::mul(scale, S::sub(S::mul(slope, weight), centre)));
            });
        }
    }
}
simd_dispatch! {
    fn input_gradient(
        rows: usize, channels: usize, silu: bool, source: *const f32, gradient: *const f32, affine: *const f32,
        target: *mut f32, stride: usize,
    ) = input_gradient_kernel
}

/// Gradients of the images' parts, weight and bias.
pub(crate) fn backward<const N: usize>(
    shape: &GroupNorm,
    parts: [&[f32]; N],
    weight: &[f32],
    bias: &[f32],
    gradient: &[f32],
) -> Gradients<N> {
    let &GroupNorm { batch, channels, pixels, silu, num_groups, .. } = shape;
    let widths = shape.widths(parts);
    assert_eq!(gradient.len(), batch * pixels * channels);
    assert!(weight.len() == channels && bias.len() == channels);
    let per_group = channels / num_groups;
    let mut sums_of_images = vec![0f64; batch * 2 * channels];
    let fill = |outputs: [Shared; N]| {
        let all = gradient.par_chunks_exact(pixels * channels).zip(sums_of_images.par_chunks_exact_mut(2 * channels));
        all.enumerate().for_each(|(index, (gradient, sums))| {
            let image = shape.image(parts, widths, index);
            let (means, scales) = shape.statistics(&image);
            let mut affine = [&means[..], &scales, weight, bias].concat();
            let partial = shape.each_block(|block| {
                let (first, count) = shape.block_at(block);
                let mut sums = vec![0f64; 2 * channels];
                for start in (first..first + count).step_by(64) {
                    let rows = (first + count - start).min(64);
                    let mut short = vec![0f32; 2 * channels];
                    for part in &image {
                        let (affine, short) = (affine[part.first..].as_ptr(), short[part.first..].as_mut_ptr());
                        let gradient = gradient[start * channels + part.first..].as_ptr();
                        let source = part.at(start);
                        // SAFETY: the rows lie inside the image and its gradient; `affine` has four rows of all
                        // channels, the sums two.
                        unsafe { gradient_sums(rows, part.channels, silu, source, gradient, affine, short, channels) };
                    }
                    for (sum, value) in sums.iter_mut().zip(short) {
                        *sum += value as f64;
                    }
                }
                sums
            });
            for part in partial {
                for (sum, value) in sums.iter_mut().zip(part) {
                    *sum += value;
                }
            }
            for side in 0..2 {
                for group in 0..num_groups {
                    let members = group * per_group..(group + 1) * per_group;
                    let total: f64 = members.map(|c| sums[side * channels + c] * weight[c] as f64).sum();
                    let mean = (total / (pixels * per_group) as f64) as f32;
                    affine.extend(std::iter::repeat_n(mean, per_group));
                }
            }
            shape.each_block(|block| {
                let (first, rows) = shape.block_at(block);
                for (part, output) in image.iter().zip(outputs) {
                    let affine = affine[part.first..].as_ptr();
                    let gradient = gradient[first * channels + part.first..].as_ptr();
                    let target = output.at((index * pixels + first) * part.channels);
                    let source = part.at(first);
                    // SAFETY: the block lies inside the image and is written by this task alone.
                    unsafe { input_gradient(rows, part.channels, silu, source, gradient, affine, target, channels) };
                }
            });
        });
    };
    // SAFETY: all blocks of all parts of all images are written.
    let inputs = unsafe { all_filled_by(parts.map(<[f32]>::len), fill) };
    let mut totals = vec![0f64; 2 * channels];
    for sums in sums_of_images.chunks_exact(2 * channels) {
        for (total, value) in totals.iter_mut().zip(sums) {
            *total += value;
        }
    }
    let totals: Vec<f32> = totals.into_iter().map(|total| total as f32).collect();
    (inputs, totals[channels..].to_vec(), totals[..channels].to_vec())
}
