//! Nearest-neighbour enlargement of NHWC images, and its gradient.

use super::memory::filled_by;
use rayon::prelude::*;

/// Extents of the small images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upsample {
    pub width: usize,
    pub channels: usize,
    pub factor: usize,
}

/// Repeats each pixel.
pub(crate) fn forward(shape: &Upsample, images: &[f32]) -> Vec<f32> {
    let &Upsample { width, channels, factor, .. } = shape;
    let row = width * channels;
    // SAFETY: each input row fills its `factor` output rows.
    unsafe {
        filled_by(images.len() * factor * factor, |output| {
            images.par_chunks_exact(row).with_min_len(8).enumerate().for_each(|(index, source)| {
                let first = output.at(index * factor * factor * row);
                for (column, pixel) in source.chunks_exact(channels).enumerate() {
                    for repeat in 0..factor {
                        let target = first.wrapping_add((column * factor + repeat) * channels);
                        std::ptr::copy_nonoverlapping(pixel.as_ptr(), target, channels);
                    }
                }
                for repeat in 1..factor {
                    std::ptr::copy_nonoverlapping(first, first.wrapping_add(repeat * factor * row), factor * row);
                }
            });
        })
    }
}

/// Sums the gradients of each pixel's copies.
pub(crate) fn backward(shape: &Upsample, gradient: &[f32]) -> Vec<f32> {
    let &Upsample { width, channels, factor, .. } = shape;
    let row = width * channels;
    let mut sums = vec![0f32; gradient.len() / (factor * factor)];
    let rows = sums.par_chunks_exact_mut(row).zip(gradient.par_chunks_exact(factor * factor * row));
    rows.with_min_len(8).for_each(|(target, rows)| {
        for line in rows.chunks_exact(factor * row) {
            for (pixel, copies) in target.chunks_exact_mut(channels).zip(line.chunks_exact(factor * channels)) {
                for copy in copies.chunks_exact(channels) {
                    for (sum, value) in pixel.iter_mut().zip(copy) {
                        *sum += value;
                    }
                }
            }
        }
    });
    sums
}
