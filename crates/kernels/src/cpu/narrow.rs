//! 3x3 convolutions that keep the size, between many channels and a few: the first and the last of an autoencoder.
//!
//! As a product over patches, a few output channels would fill a fraction of a vector, and patches of many input
//! channels would be nine times the images. Instead the taps join the few channels: one pointwise product gives nine
//! numbers for each pixel, which are then added up where they belong; gradients are the same steps backwards.

use super::direct::Shape;
use super::linear;
use super::transposed::multiply_transposed;
use rayon::prelude::*;

/// Taps of the kernel.
const TAPS: usize = 9;
/// With more channels than this on the narrow side, patches are as good.
const MOST_FEW: usize = 4;
/// With fewer channels than this on the wide side, there is nothing to save.
const LEAST_MANY: usize = 16;

/// Whether this algorithm takes the convolution: few output channels, or few input channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrow {
    Input,
    Output,
}

impl Narrow {
    /// Decided by the shape of one image, never by the batch.
    pub(crate) fn of(shape: &Shape) -> Option<Self> {
        let is_same = shape.is_same_3x3();
        match (shape.channels_in, shape.channels_out) {
            (LEAST_MANY.., ..=MOST_FEW) if is_same => Some(Self::Output),
            (..=MOST_FEW, LEAST_MANY..) if is_same => Some(Self::Input),
            _ => None,
        }
    }
}

/// The convolution, to few output channels.
pub(crate) fn forward(shape: &Shape, images: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (many, few) = (shape.channels_in, shape.channels_out);
    // [taps, many, few] to [many, taps, few]
    let joined = permuted(weights, |[tap, channel, out]| (channel * TAPS + tap) * few + out, [many, few]);
    let products = linear::forward(images, &joined, None, many, TAPS * few);
    summed(&products, shape, few, Direction::Forward, bias)
}

/// Gradient of the images.
pub(crate) fn input_gradient(narrow: Narrow, shape: &Shape, weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (shape.channels_in, shape.channels_out);
    match narrow {
        Narrow::Output => {
            // [taps, many, few] to [taps, few, many]
            let turned =
                permuted(weights, |[tap, input, out]| (tap * outputs + out) * inputs + input, [inputs, outputs]);
            let patches = gathered(gradient, shape, outputs, Direction::Backward);
            linear::forward(&patches, &turned, None, TAPS * outputs, inputs)
        }
        Narrow::Input => {
            // [taps, few, many] to [many, taps, few]
            let joined = permuted(weights, |[tap, input, out]| (out * TAPS + tap) * inputs + input, [inputs, outputs]);
            let products = linear::forward(gradient, &joined, None, outputs, TAPS * inputs);
            summed(&products, shape, inputs, Direction::Backward, None)
        }
    }
}

/// Gradient of the weights.
pub(crate) fn weight_gradient(narrow: Narrow, shape: &Shape, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (shape.channels_in, shape.channels_out);
    match narrow {
        Narrow::Output => {
            let patches = gathered(gradient, shape, outputs, Direction::Backward);
            let product = product_over_pixels(shape, images, &patches, inputs, TAPS * outputs);
            // [many, taps, few] to [taps, many, few]
            let mut weights = vec![0f32; product.len()];
            for (index, value) in product.into_iter().enumerate() {
                let (input, tap, out) = (index / outputs / TAPS, index / outputs % TAPS, index % outputs);
                weights[(tap * inputs + input) * outputs + out] = value;
            }
            weights
        }
        Narrow::Input => {
            let patches = gathered(images, shape, inputs, Direction::Forward);
            product_over_pixels(shape, &patches, gradient, TAPS * inputs, outputs)
        }
    }
}

/// `leftᵀ · right` over all pixels, image by image, added up in the order of the images.
fn product_over_pixels(shape: &Shape, left: &[f32], right: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let pixels = shape.height * shape.width;
    let pairs = left.par_chunks(pixels * rows).zip(right.par_chunks(pixels * columns));
    let parts: Vec<Vec<f32>> =
        pairs.map(|(left, right)| multiply_transposed(rows, pixels, columns, left, right)).collect();
    let mut sums = vec![0f64; rows * columns];
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += f64::from(value);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Weights in another order: `place` says where the one of `[tap, input, output]` goes.
fn permuted(weights: &[f32], place: impl Fn([usize; 3]) -> usize, [inputs, outputs]: [usize; 2]) -> Vec<f32> {
    let mut target = vec![0f32; weights.len()];
    for (index, value) in weights.iter().enumerate() {
        target[place([index / outputs / inputs, index / outputs % inputs, index % outputs])] = *value;
    }
    target
}

/// Which pixel a tap looks at: the one that the convolution reads there, or the one that reads this pixel there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// Row or column under a tap (0 to 2), `None` in the padding.
    #[inline]
    fn source(self, position: usize, tap: usize, length: usize) -> Option<usize> {
        let shifted = match self {
            Self::Forward => (position + tap).checked_sub(1)?,
            Self::Backward => (position + 1).checked_sub(tap)?,
        };
        (shifted < length).then_some(shifted)
    }

    /// The columns for which a tap of a row of `width` pixels is no padding, and the first of them that it looks at.
    fn columns(self, tap: usize, width: usize) -> (std::ops::Range<usize>, usize) {
        let first = usize::from(self.source(0, tap, width).is_none());
        let last = width - usize::from(self.source(width - 1, tap, width).is_none());
        let start = self.source(first, tap, width).unwrap_or(0);
        (first..last.max(first), start)
    }
}

/// For each pixel the few values under each tap: `[pixels, taps, few]`.
fn gathered(images: &[f32], shape: &Shape, few: usize, direction: Direction) -> Vec<f32> {
    let Shape { height, width, .. } = *shape;
    let mut patches = vec![0f32; images.len() * TAPS];
    patches.par_chunks_exact_mut(width * TAPS * few).enumerate().for_each(|(line, target)| {
        let (image, row) = (line / height, line % height);
        for tap in 0..TAPS {
            let Some(source_row) = direction.source(row, tap / 3, height) else { continue };
            let source = &images[(image * height + source_row) * width * few..][..width * few];
            let (columns, start) = direction.columns(tap % 3, width);
            let target = target[columns.start * TAPS * few..].chunks_exact_mut(TAPS * few).take(columns.len());
            for (patch, values) in target.zip(source[start * few..].chunks_exact(few)) {
                patch[tap * few..(tap + 1) * few].copy_from_slice(values);
            }
        }
    });
    patches
}

/// The reverse: for each pixel the sum of what `[pixels, taps, few]` holds for it, tap by tap, upon the bias.
fn summed(products: &[f32], shape: &Shape, few: usize, direction: Direction, bias: Option<&[f32]>) -> Vec<f32> {
    let Shape { height, width, .. } = *shape;
    let mut images = vec![0f32; products.len() / TAPS];
    images.par_chunks_exact_mut(width * few).enumerate().for_each(|(line, target)| {
        let (image, row) = (line / height, line % height);
        if let Some(bias) = bias {
            target.chunks_exact_mut(few).for_each(|pixel| pixel.copy_from_slice(bias));
        }
        for tap in 0..TAPS {
            let Some(source_row) = direction.source(row, tap / 3, height) else { continue };
            let source = &products[(image * height + source_row) * width * TAPS * few..][..width * TAPS * few];
            let (columns, start) = direction.columns(tap % 3, width);
            let target = target[columns.start * few..].chunks_exact_mut(few).take(columns.len());
            for (sums, patch) in target.zip(source[start * TAPS * few..].chunks_exact(TAPS * few)) {
                for (sum, value) in sums.iter_mut().zip(&patch[tap * few..]) {
                    *sum += value;
                }
            }
        }
    });
    images
}
