//! A scale and a shift for each channel with a ReLU behind them, in one pass over memory, and the gradients.

use super::activation::for_each_vector;
use super::matrix::column_sums;
use super::memory::filled_by;
use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

#[inline(always)]
unsafe fn values_kernel<S: Simd>(
    rows: usize,
    channels: usize,
    source: *const f32,
    scale: *const f32,
    shift: *const f32,
    target: *mut f32,
) {
    // SAFETY: source and target cover `rows` rows of `channels` values, scale and shift `channels`.
    unsafe {
        let zero = S::splat(0.0);
        for row in 0..rows {
            let (source, target) = (source.wrapping_add(row * channels), target.wrapping_add(row * channels));
            for_each_vector!(S, channels, |i, load, store| {
                store!(target, S::max(S::mul_add(load!(source), load!(scale), load!(shift)), zero));
            });
        }
    }
}
simd_dispatch! {
    fn values(
        rows: usize, channels: usize, source: *const f32, scale: *const f32, shift: *const f32, target: *mut f32,
    ) = values_kernel
}

/// Rows that one task works on.
fn block_rows(channels: usize) -> usize {
    ((1 << 14) / channels.max(1)).max(1)
}

/// `max(image · scale + shift, 0)`
pub(crate) fn forward(images: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    let channels = check(images, scale, shift);
    let block = block_rows(channels) * channels;
    // SAFETY: the blocks cover images and output once; scale and shift have a value for each channel.
    unsafe {
        filled_by(images.len(), |output| {
            images.par_chunks(block).enumerate().for_each(|(index, chunk)| {
                let target = output.at(index * block);
                values(chunk.len() / channels, channels, chunk.as_ptr(), scale.as_ptr(), shift.as_ptr(), target);
            });
        })
    }
}

/// Gradients of images, scale and shift.
pub(crate) fn backward(images: &[f32], scale: &[f32], shift: &[f32], gradient: &[f32]) -> [Vec<f32>; 3] {
    let channels = check(images, scale, shift);
    assert_eq!(images.len(), gradient.len());
    let block = block_rows(channels) * channels;
    // The gradient that passes the ReLU, its products with the images, and with the scale.
    let mut passed = gradient.to_vec();
    let mut products = vec![0f32; images.len()];
    let mut of_images = vec![0f32; images.len()];
    let tasks = passed.par_chunks_mut(block).zip(products.par_chunks_mut(block)).zip(of_images.par_chunks_mut(block));
    tasks.zip(images.par_chunks(block)).for_each(|(((passed, products), of_images), images)| {
        let rows = passed.chunks_exact_mut(channels).zip(products.chunks_exact_mut(channels));
        let rows = rows.zip(of_images.chunks_exact_mut(channels)).zip(images.chunks_exact(channels));
        for (((passed, products), of_images), image) in rows {
            for channel in 0..channels {
                if image[channel].mul_add(scale[channel], shift[channel]) <= 0.0 {
                    passed[channel] = 0.0;
                }
                products[channel] = passed[channel] * image[channel];
                of_images[channel] = passed[channel] * scale[channel];
            }
        }
    });
    [of_images, column_sums(&products, channels), column_sums(&passed, channels)]
}

/// The number of channels.
fn check(images: &[f32], scale: &[f32], shift: &[f32]) -> usize {
    let channels = scale.len();
    assert_eq!(shift.len(), channels, "scale and shift must have a value for each channel");
    assert!(channels > 0 && images.len().is_multiple_of(channels), "images must have as many channels as the scale");
    channels
}
