//! Convolution as a matrix product over gathered patches: any kernel size, stride, padding and number of channels.

use super::matrix::{MatrixView, PackedMatrix, Panels, ROW_BLOCK, Start, multiply};
use super::memory::{Scratch, Shared, filled_by};
use super::transposed::{Segment, Strips, TASK_DEPTH, TASK_PANELS, multiply_transposed};
use rayon::prelude::*;

/// Extents of a convolution on NHWC images with HWIO weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels_in: usize,
    pub channels_out: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub stride: usize,
    /// Zeros before the first and after the last row, then the same for columns.
    pub padding: [(usize, usize); 2],
}

impl Shape {
    pub(crate) fn height_out(&self) -> usize {
        let (before, after) = self.padding[0];
        (before + self.height + after - self.kernel_height) / self.stride + 1
    }

    pub(crate) fn width_out(&self) -> usize {
        let (before, after) = self.padding[1];
        (before + self.width + after - self.kernel_width) / self.stride + 1
    }

    /// Values of one patch.
    fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels_in
    }

    /// Output pixels of all images.
    fn pixels_out(&self) -> usize {
        self.batch * self.height_out() * self.width_out()
    }

    /// A 3x3 kernel that keeps the map's size.
    pub(crate) fn is_same_3x3(&self) -> bool {
        (self.kernel_height, self.kernel_width, self.stride, self.padding) == (3, 3, 1, [(1, 1); 2])
    }

    /// Patches are the pixels themselves.
    fn is_pointwise(&self) -> bool {
        self.kernel_height == 1 && self.kernel_width == 1 && self.stride == 1 && self.padding == [(0, 0); 2]
    }

    /// Offset of the input pixel under a tap for an output pixel, `None` in the padding.
    #[inline]
    fn source(&self, pixel: usize, tap_row: usize, tap_column: usize) -> Option<usize> {
        let (row, column) = (pixel / self.width_out(), pixel % self.width_out());
        let (image, row) = (row / self.height_out(), row % self.height_out());
        let row = (row * self.stride + tap_row).checked_sub(self.padding[0].0)?;
        let column = (column * self.stride + tap_column).checked_sub(self.padding[1].0)?;
        (row < self.height && column < self.width)
            .then(|| ((image * self.height + row) * self.width + column) * self.channels_in)
    }
}

/// Convolves.
pub(crate) fn forward(shape: &Shape, images: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (depth, pixels, columns) = (shape.depth(), shape.pixels_out(), shape.channels_out);
    let weights = MatrixView::row_major(weights, columns);
    if shape.is_pointwise() {
        // SAFETY: `multiply` writes all of its output.
        return unsafe {
            filled_by(pixels * columns, |output| multiply(pixels, depth, columns, images, weights, bias, output))
        };
    }
    let packed = PackedMatrix::pack(weights, depth, columns);
    assert!(bias.is_none_or(|bias| bias.len() == columns));
    let start = bias.map_or(Start::Zero, Start::Bias);
    let fill = |output: Shared| {
        (0..pixels.div_ceil(ROW_BLOCK)).into_par_iter().for_each(|block| {
            let first = block * ROW_BLOCK;
            let count = (pixels - first).min(ROW_BLOCK);
            let mut patches = Scratch::take(count * depth);
            gather(shape, images, first, count, patches.as_mut_slice());
            // SAFETY: each block has output rows of its own.
            unsafe { packed.multiply(count, patches.as_mut_ptr(), depth, output.at(first * columns), columns, start) };
        });
    };
    // SAFETY: the blocks together write every output pixel.
    unsafe { filled_by(pixels * columns, fill) }
}

/// Copies the patches under `count` output pixels from `first` on, `[count, kernel_height, kernel_width, channels_in]`.
fn gather(shape: &Shape, images: &[f32], first: usize, count: usize, patches: &mut [f32]) {
    let channels = shape.channels_in;
    for (i, patch) in patches.chunks_exact_mut(shape.depth()).take(count).enumerate() {
        for (tap, target) in patch.chunks_exact_mut(channels).enumerate() {
            match shape.source(first + i, tap / shape.kernel_width, tap % shape.kernel_width) {
                Some(start) => target.copy_from_slice(&images[start..start + channels]),
                None => target.fill(0.0),
            }
        }
    }
}

/// Gradient of the images.
pub(crate) fn input_gradient(shape: &Shape, weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (depth, columns, channels) = (shape.depth(), shape.channels_out, shape.channels_in);
    let turned = MatrixView::transposed(weights, columns); // [channels_out, depth]
    if shape.is_pointwise() {
        let pixels = shape.pixels_out();
        // SAFETY: `multiply` writes all of its output.
        return unsafe {
            filled_by(pixels * depth, |output| multiply(pixels, columns, depth, gradient, turned, None, output))
        };
    }
    let packed = PackedMatrix::pack(turned, columns, depth);
    let pixels_out = shape.height_out() * shape.width_out();
    let mut images = vec![0f32; shape.batch * shape.height * shape.width * channels];
    // Patches overlap, so one task adds up a whole image, in the order of its pixels.
    images.par_chunks_exact_mut(shape.height * shape.width * channels).enumerate().for_each(|(image, target)| {
        let image_start = image * target.len();
        for block in (0..pixels_out).step_by(ROW_BLOCK) {
            let count = (pixels_out - block).min(ROW_BLOCK);
            let first = image * pixels_out + block;
            let mut patches = Scratch::take(count * depth);
            let left = gradient[first * columns..(first + count) * columns].as_ptr();
            // SAFETY: the patches are this task's own and as large as the product.
            unsafe { packed.multiply(count, left, columns, patches.as_mut_ptr(), depth, Start::Zero) };
            for (i, patch) in patches.as_slice().chunks_exact(depth).enumerate() {
                for (tap, values) in patch.chunks_exact(channels).enumerate() {
                    let tap = (tap / shape.kernel_width, tap % shape.kernel_width);
                    if let Some(start) = shape.source(first + i, tap.0, tap.1) {
                        let start = start - image_start;
                        for (sum, value) in target[start..start + channels].iter_mut().zip(values) {
                            *sum += value;
                        }
                    }
                }
            }
        }
    });
    images
}

/// Gradient of the weights.
pub(crate) fn weight_gradient(shape: &Shape, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (channels, columns, pixels) = (shape.channels_in, shape.channels_out, shape.pixels_out());
    if shape.is_pointwise() {
        return multiply_transposed(channels, pixels, columns, images, gradient);
    }
    let panels = Panels::new(columns);
    let taps = shape.kernel_height * shape.kernel_width;
    // A task holds the input channels of one tap by a few panels; pixels are gathered a block at a time.
    let groups = panels.count().div_ceil(TASK_PANELS);
    let fill = |output: Shared| {
        (0..taps * groups).into_par_iter().for_each(|task| {
            let (tap, group) = (task / groups, task % groups);
            let panels_from = |group: usize| group * panels.count() / groups;
            let mut gathered = Scratch::take(TASK_DEPTH * channels);
            let gather = |strips: &mut Strips, first: usize, count: usize| {
                for (i, target) in gathered.as_mut_slice().chunks_exact_mut(channels).take(count).enumerate() {
                    match shape.source(first + i, tap / shape.kernel_width, tap % shape.kernel_width) {
                        Some(start) => target.copy_from_slice(&images[start..start + channels]),
                        None => target.fill(0.0),
                    }
                }
                strips.fill(gathered.as_slice(), channels, channels, count);
            };
            let panels_of_task = panels_from(group)..panels_from(group + 1);
            let segment = Segment { rows: 0..channels, depth: 0..pixels, panels: panels_of_task };
            // SAFETY: all channels, pixels and panels exist; a tap's panel is written by this task alone.
            unsafe { segment.run(panels, gather, gradient, output.at(tap * channels * columns)) };
        });
    };
    // SAFETY: the tasks together write every tap of every panel.
    unsafe { filled_by(taps * channels * columns, fill) }
}
