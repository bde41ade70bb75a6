//! Layer normalisation over rows, and its gradients.

use super::activation::for_each_vector;
use super::memory::filled_by;
use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

/// Rows that one task works on; fixed, because it also cuts the sums over rows.
const ROWS: usize = 64;

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
unsafe fn statistics<S: Simd>(dim: usize, epsilon: f32, row: *const f32) -> (f32, f32) {
    // SAFETY: the row covers `dim` values.
    unsafe {
        let mut sum = S::splat(0.0);
        for_each_vector!(S, dim, |i, load, _store| {
            sum = S::add(sum, load!(row));
        });
        let mean = S::sum(sum) / dim as f32;
        let centre = S::splat(mean);
        let mut squares = S::splat(0.0);
        let whole = dim / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let value = S::sub(S::load(row.wrapping_add(i)), centre);
            squares = S::mul_add(value, value, squares);
        }
        let mut total = S::sum(squares);
        for i in whole..dim {
            total += (*row.wrapping_add(i) - mean).powi(2);
        }
        (mean, 1.0 / (total / dim as f32 + epsilon).sqrt())
    }
}

#[inline(always)]
unsafe fn rows_kernel<S: Simd>(
    rows: usize,
    dim: usize,
    epsilon: f32,
    input: *const f32,
    weight: *const f32,
    bias: *const f32,
    output: *mut f32,
) {
    // SAFETY: input and output cover `rows * dim` values, weight and bias `dim`.
    unsafe {
        for row in 0..rows {
            let (input, output) = (input.wrapping_add(row * dim), output.wrapping_add(row * dim));
            let (mean, scale) = statistics::<S>(dim, epsilon, input);
            let (mean, scale) = (S::splat(mean), S::splat(scale));
            for_each_vector!(S, dim, |i, load, store| {
                let normal = S::mul(S::sub(load!(input), mean), scale);
                store!(output, S::mul_add(normal, load!(weight), load!(bias)));
            });
        }
    }
}
simd_dispatch! {
    fn normalise_rows(
        rows: usize, dim: usize, epsilon: f32, input: *const f32, weight: *const f32, bias: *const f32,
        output: *mut f32,
    ) = rows_kernel
}

/// Normalises rows of `weight.len()` values.
pub(crate) fn forward(input: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let dim = weight.len();
    assert!(bias.len() == dim && input.len().is_multiple_of(dim));
    // SAFETY: the blocks of rows cover input and output once.
    unsafe {
        filled_by(input.len(), |output| {
            input.par_chunks(ROWS * dim).enumerate().for_each(|(block, chunk)| {
                let target = output.at(block * ROWS * dim);
                let rows = chunk.len() / dim;
                normalise_rows(rows, dim, epsilon, chunk.as_ptr(), weight.as_ptr(), bias.as_ptr(), target);
            });
        })
    }
}

#[inline(always)]
unsafe fn gradient_kernel<S: Simd>(
    rows: usize,
    dim: usize,
    epsilon: f32,
    input: *const f32,
    weight: *const f32,
    gradient: *const f32,
    output: *mut f32,
    sums: *mut f32,
) {
    // SAFETY: input, gradient and output cover `rows * dim` values, weight `dim`, the sums two rows of `dim`.
    unsafe {
        for row in 0..rows {
            let (input, gradient) = (input.wrapping_add(row * dim), gradient.wrapping_add(row * dim));
            let output = output.wrapping_add(row * dim);
            let (mean, scale) = statistics::<S>(dim, epsilon, input);
            let (mean, scale) = (S::splat(mean), S::splat(scale));
            let (mut plain, mut weighted) = (S::splat(0.0), S::splat(0.0));
            for_each_vector!(S, dim, |i, load, store| {
                let normal = S::mul(S::sub(load!(input), mean), scale);
                let slope = load!(gradient);
                store!(sums, S::mul_add(slope, normal, load!(sums)));
                store!(sums.wrapping_add(dim), S::add(slope, load!(sums.wrapping_add(dim))));
                let slope = S::mul(slope, load!(weight)); // zero in the lanes beyond `dim`
                plain = S::add(plain, slope);
                weighted = S::mul_add(slope, normal, weighted);
            });
            let plain = S::splat(S::sum(plain) / dim as f32);
            let weighted = S::splat(S::sum(weighted) / dim as f32);
            for_each_vector!(S, dim, |i, load, store| {
                let normal = S::mul(S::sub(load!(input), mean), scale);
                let slope = S::mul(load!(gradient), load!(weight));
                store!(output, S::mul(scale, S::sub(slope, S::mul_add(normal, weighted, plain))));
            });
        }
    }
}
simd_dispatch! {
    fn gradient_rows(
        rows: usize, dim: usize, epsilon: f32, input: *const f32, weight: *const f32, gradient: *const f32,
        output: *mut f32, sums: *mut f32,
    ) = gradient_kernel
}

/// Gradients of input, weight and bias.
pub(crate) fn backward(
    input: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let dim = weight.len();
    assert!(input.len() == gradient.len() && input.len().is_multiple_of(dim));
    let mut sums = vec![0f32; input.len().div_ceil(ROWS * dim) * 2 * dim];
    // SAFETY: the blocks of rows cover inputs and output once; each has two rows of sums.
    let input_gradient = unsafe {
        filled_by(input.len(), |output| {
            let blocks = input.par_chunks(ROWS * dim).zip(gradient.par_chunks(ROWS * dim));
            blocks.zip(sums.par_chunks_exact_mut(2 * dim)).enumerate().for_each(
                |(block, ((chunk, gradient), sums))| {
                    let target = output.at(block * ROWS * dim);
                    let (rows, sums) = (chunk.len() / dim, sums.as_mut_ptr());
                    let (chunk, gradient) = (chunk.as_ptr(), gradient.as_ptr());
                    gradient_rows(rows, dim, epsilon, chunk, weight.as_ptr(), gradient, target, sums);
                },
            );
        })
    };
    let mut totals = vec![0f64; 2 * dim];
    for block in sums.chunks_exact(2 * dim) {
        for (total, value) in totals.iter_mut().zip(block) {
            *total += *value as f64;
        }
    }
    let totals: Vec<f32> = totals.into_iter().map(|total| total as f32).collect();
    (input_gradient, totals[..dim].to_vec(), totals[dim..].to_vec())
}
