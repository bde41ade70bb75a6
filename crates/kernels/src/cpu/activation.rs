//! Activations and their gradients in one pass over memory.

use super::math::{normal_tail, sigmoid};
use super::memory::filled_by;
use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

type V<S> = <S as Simd>::Vector;

/// Which function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`
    Silu,
    /// `x · Φ(x)`
    Gelu,
    /// `x · sigmoid(1.702 x)`
    QuickGelu,
}

const QUICK_GELU_SLOPE: f32 = 1.702;

/// `Φ(x)` from its tail: mirrored for positive x.
#[inline(always)]
unsafe fn normal_distribution<S: Simd>(x: V<S>, tail: V<S>) -> V<S> {
    // SAFETY: the caller runs on a processor with the instructions of `S`.
    unsafe {
        let one = S::splat(1.0);
        let sign = S::max(S::min(S::mul(x, S::splat(f32::MAX)), one), S::splat(-1.0));
        let half = S::splat(0.5);
        S::mul_add(sign, S::sub(half, tail), half)
    }
}

/// The function's value.
#[inline(always)]
pub(crate) unsafe fn value<S: Simd>(kind: Activation, x: V<S>) -> V<S> {
    // SAFETY: as above.
    unsafe {
        match kind {
            Activation::Silu => S::mul(x, sigmoid::<S>(x)),
            Activation::QuickGelu => S::mul(x, sigmoid::<S>(S::mul(x, S::splat(QUICK_GELU_SLOPE)))),
            Activation::Gelu => {
                // max(x, 0) - |x| Φ(-|x|): no cancellation on either side.
                let (tail, _, magnitude) = normal_tail::<S>(x);
                let zero = S::splat(0.0);
                S::mul_add(S::sub(zero, magnitude), tail, S::max(x, zero))
            }
        }
    }
}

/// The function's derivative.
#[inline(always)]
pub(crate) unsafe fn derivative<S: Simd>(kind: Activation, x: V<S>) -> V<S> {
    // SAFETY: as above.
    unsafe {
        let one = S::splat(1.0);
        match kind {
            Activation::Silu => {
                let s = sigmoid::<S>(x);
                S::mul(s, S::mul_add(x, S::sub(one, s), one))
            }
            Activation::QuickGelu => {
                let scaled = S::mul(x, S::splat(QUICK_GELU_SLOPE));
                let s = sigmoid::<S>(scaled);
                S::mul(s, S::mul_add(scaled, S::sub(one, s), one))
            }
            Activation::Gelu => {
                let (tail, density, _) = normal_tail::<S>(x);
                S::mul_add(x, density, normal_distribution::<S>(x, tail))
            }
        }
    }
}

/// Runs a block over whole vectors and a last partial one: `$i` is the offset, `$count` the values in this vector.
macro_rules! for_each_vector {
    ($simd:ident, $len:expr, |$i:ident, $load:ident, $store:ident| $body:block) => {{
        let len = $len;
        let mut $i = 0;
        while $i + $simd::LANES <= len {
            macro_rules! $load {
                ($pointer:expr) => {
                    $simd::load($pointer.wrapping_add($i))
                };
            }
            macro_rules! $store {
                ($pointer:expr, $value:expr) => {
                    $simd::store($pointer.wrapping_add($i), $value)
                };
            }
            $body
            $i += $simd::LANES;
        }
        if $i < len {
            macro_rules! $load {
                ($pointer:expr) => {
                    $simd::load_partial($pointer.wrapping_add($i), len - $i)
                };
            }
            macro_rules! $store {
                ($pointer:expr, $value:expr) => {
                    $simd::store_partial($pointer.wrapping_add($i), $value, len - $i)
                };
            }
            $body
        }
    }};
}
pub(crate) use for_each_vector;

#[inline(always)]
unsafe fn values_kernel<S: Simd>(kind: Activation, len: usize, input: *const f32, output: *mut f32) {
    // SAFETY: both pointers cover `len` values.
    unsafe {
        for_each_vector!(S, len, |i, load, store| {
            store!(output, value::<S>(kind, load!(input)));
        });
    }
}
simd_dispatch! {
    fn values(kind: Activation, len: usize, input: *const f32, output: *mut f32) = values_kernel
}

#[inline(always)]
unsafe fn gradients_kernel<S: Simd>(
    kind: Activation,
    len: usize,
    input: *const f32,
    gradient: *const f32,
    output: *mut f32,
) {
    // SAFETY: all pointers cover `len` values.
    unsafe {
        for_each_vector!(S, len, |i, load, store| {
            store!(output, S::mul(load!(gradient), derivative::<S>(kind, load!(input))));
        });
    }
}
simd_dispatch! {
    fn gradients(kind: Activation, len: usize, input: *const f32, gradient: *const f32, output: *mut f32) = gradients_kernel
}

/// Values that one task works on.
const BLOCK: usize = 1 << 14;

/// Applies the function to every value.
pub(crate) fn forward(kind: Activation, input: &[f32]) -> Vec<f32> {
    // SAFETY: the blocks cover input and output once.
    unsafe {
        filled_by(input.len(), |output| {
            input.par_chunks(BLOCK).enumerate().for_each(|(block, chunk)| {
                values(kind, chunk.len(), chunk.as_ptr(), output.at(block * BLOCK));
            });
        })
    }
}

/// Gradient of the input.
pub(crate) fn backward(kind: Activation, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    assert_eq!(input.len(), gradient.len());
    // SAFETY: the blocks cover inputs and output once.
    unsafe {
        filled_by(input.len(), |output| {
            input.par_chunks(BLOCK).zip(gradient.par_chunks(BLOCK)).enumerate().for_each(
                |(block, (chunk, gradient))| {
                    gradients(kind, chunk.len(), chunk.as_ptr(), gradient.as_ptr(), output.at(block * BLOCK));
                },
            );
        })
    }
}

#[inline(always)]
unsafe fn gated_kernel<S: Simd>(dim: usize, row: *const f32, output: *mut f32) {
    // SAFETY: the row covers `2 * dim` values, the output `dim`.
    unsafe {
        for_each_vector!(S, dim, |i, load, store| {
            store!(output, S::mul(load!(row), value::<S>(Activation::Gelu, load!(row.wrapping_add(dim)))));
        });
    }
}
simd_dispatch! { fn gated(dim: usize, row: *const f32, output: *mut f32) = gated_kernel }

#[inline(always)]
unsafe fn gated_gradient_kernel<S: Simd>(dim: usize, row: *const f32, gradient: *const f32, output: *mut f32) {
    // SAFETY: row and output cover `2 * dim` values, the gradient `dim`.
    unsafe {
        for_each_vector!(S, dim, |i, load, store| {
            let (values, gates, gradient) = (load!(row), load!(row.wrapping_add(dim)), load!(gradient));
            let (tail, density, magnitude) = normal_tail::<S>(gates);
            let zero = S::splat(0.0);
            let gelu = S::mul_add(S::sub(zero, magnitude), tail, S::max(gates, zero));
            let slope = S::mul_add(gates, density, normal_distribution::<S>(gates, tail));
            store!(output, S::mul(gradient, gelu));
            store!(output.wrapping_add(dim), S::mul(S::mul(gradient, values), slope));
        });
    }
}
simd_dispatch! {
    fn gated_gradient(dim: usize, row: *const f32, gradient: *const f32, output: *mut f32) = gated_gradient_kernel
}

/// `values · gelu(gates)` of rows that hold `dim` values, then `dim` gates.
pub(crate) fn geglu_forward(input: &[f32], dim: usize) -> Vec<f32> {
    let rows_per_task = (BLOCK / dim.max(1)).max(1);
    // SAFETY: the rows cover input and output once.
    unsafe {
        filled_by(input.len() / 2, |output| {
            input.par_chunks_exact(2 * dim).with_min_len(rows_per_task).enumerate().for_each(|(i, row)| {
                gated(dim, row.as_ptr(), output.at(i * dim));
            });
        })
    }
}

/// Gradient of [`geglu_forward`].
pub(crate) fn geglu_backward(input: &[f32], gradient: &[f32], dim: usize) -> Vec<f32> {
    assert_eq!(input.len(), 2 * gradient.len());
    let rows_per_task = (BLOCK / dim.max(1)).max(1);
    // SAFETY: the rows cover inputs and output once.
    unsafe {
        filled_by(input.len(), |output| {
            let rows = input.par_chunks_exact(2 * dim).zip(gradient.par_chunks_exact(dim));
            rows.with_min_len(rows_per_task).enumerate().for_each(|(i, (row, gradient))| {
                gated_gradient(dim, row.as_ptr(), gradient.as_ptr(), output.at(i * 2 * dim));
            });
        })
    }
}
