//! 2-d convolution: which algorithm, and its gradients.

use super::direct::{self, Shape};
use super::matrix::column_sums;
use super::narrow::{self, Narrow};
use super::upsample::{self, Upsample};
use super::winograd::{self, Extents};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Environment variable that, set to `direct`, turns Winograd's algorithm off: for finding out what its rounding means.
pub const CONVOLUTION_VARIABLE: &str = "DINO_DIFFUSION_CONVOLUTION";

fn only_direct() -> bool {
    static ONLY_DIRECT: OnceLock<bool> = OnceLock::new();
    *ONLY_DIRECT.get_or_init(|| std::env::var(CONVOLUTION_VARIABLE).is_ok_and(|algorithm| algorithm == "direct"))
}

/// Winograd's algorithm serves 3x3 kernels that keep the map's size, once channels are worth a matrix product.
/// Decided by the shape of one image, never by the batch.
fn is_winograd(shape: &Shape, channels_in: usize, channels_out: usize) -> bool {
    shape.is_same_3x3()
        && shape.height.max(shape.width) > 2 // a tile of 4 x 4 must not be mostly padding
        && winograd::fits(channels_in, channels_out)
        && !only_direct()
}

fn extents(shape: &Shape) -> Extents {
    let Shape { batch, height, width, channels_in, channels_out, .. } = *shape;
    Extents { batch, height, width, channels_in, channels_out, doubled: false }
}

/// Convolves.
pub(crate) fn forward(shape: &Shape, images: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    if is_winograd(shape, shape.channels_in, shape.channels_out) {
        winograd::forward(extents(shape), images, weights, bias, false)
    } else if Narrow::of(shape) == Some(Narrow::Output) {
        narrow::forward(shape, images, weights, bias)
    } else {
        direct::forward(shape, images, weights, bias)
    }
}

/// Gradient of the images.
pub(crate) fn input_gradient(shape: &Shape, weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    if let Some(narrow) = Narrow::of(shape) {
        return narrow::input_gradient(narrow, shape, weights, gradient);
    }
    if !is_winograd(shape, shape.channels_out, shape.channels_in) {
        return direct::input_gradient(shape, weights, gradient);
    }
    // The same convolution with turned taps, and in and out exchanged.
    let (channels_in, channels_out) = (shape.channels_in, shape.channels_out);
    let mut exchanged = vec![0f32; weights.len()];
    let pairs = exchanged.par_chunks_exact_mut(channels_in * channels_out);
    pairs.zip(weights.par_chunks_exact(channels_in * channels_out)).for_each(|(target, source)| {
        transpose(channels_in, channels_out, source, target);
    });
    let turned = Extents { channels_in: channels_out, channels_out: channels_in, ..extents(shape) };
    winograd::forward(turned, gradient, &exchanged, None, true)
}

/// Gradient of the weights.
pub(crate) fn weight_gradient(shape: &Shape, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    if is_winograd(shape, shape.channels_in, shape.channels_out) {
        winograd::weight_gradient(extents(shape), images, gradient)
    } else if let Some(narrow) = Narrow::of(shape) {
        narrow::weight_gradient(narrow, shape, images, gradient)
    } else {
        direct::weight_gradient(shape, images, gradient)
    }
}

/// The small images that a convolution of `shape` doubles before it runs.
fn small(shape: &Shape) -> Upsample {
    Upsample { width: shape.width / 2, channels: shape.channels_in, factor: 2 }
}

/// [`forward`] on images doubled by repeating their pixels; `shape` is that of the doubled ones.
pub(crate) fn doubled_forward(shape: &Shape, images: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    if is_winograd(shape, shape.channels_in, shape.channels_out) {
        winograd::forward(Extents { doubled: true, ..extents(shape) }, images, weights, bias, false)
    } else {
        direct::forward(shape, &upsample::forward(&small(shape), images), weights, bias)
    }
}

/// Gradient of the images that [`doubled_forward`] takes.
pub(crate) fn doubled_input_gradient(shape: &Shape, weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    upsample::backward(&small(shape), &input_gradient(shape, weights, gradient))
}

/// Gradient of the weights of [`doubled_forward`].
pub(crate) fn doubled_weight_gradient(shape: &Shape, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    if is_winograd(shape, shape.channels_in, shape.channels_out) {
        winograd::weight_gradient(Extents { doubled: true, ..extents(shape) }, images, gradient)
    } else {
        direct::weight_gradient(shape, &upsample::forward(&small(shape), images), gradient)
    }
}

/// Gradient of the bias.
pub(crate) fn bias_gradient(shape: &Shape, gradient: &[f32]) -> Vec<f32> {
    column_sums(gradient, shape.channels_out)
}

/// Transposes a row-major matrix by blocks that stay in the first-level cache.
fn transpose(rows: usize, columns: usize, source: &[f32], target: &mut [f32]) {
    const BLOCK: usize = 16;
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for column in first_column..(first_column + BLOCK).min(columns) {
                for row in first_row..(first_row + BLOCK).min(rows) {
                    target[column * rows + row] = source[row * columns + column];
                }
            }
        }
    }
}
