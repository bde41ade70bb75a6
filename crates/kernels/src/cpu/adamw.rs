//! AdamW and the moving average of the weights in one pass over memory.

use super::activation::for_each_vector;
use super::memory::Shared;
use super::simd::Simd;
use super::simd_dispatch;
use crate::reference::AdamWStep;
use rayon::prelude::*;

/// The factors of one update, worked out in double precision.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    root: f32,
    epsilon: f32,
    keep: f32,
    rate: f32,
    average: f32,
    rest_average: f32,
}

impl Factors {
    fn new(settings: &AdamWStep) -> Self {
        let &AdamWStep { learning_rate, beta_1, beta_2, epsilon, weight_decay, step, ema_decay, gradient_scale } =
            settings;
        let correction_1 = 1.0 - beta_1.powf(step as f64);
        let correction_2 = 1.0 - beta_2.powf(step as f64);
        Self {
            gradient: gradient_scale as f32,
            beta_1: beta_1 as f32,
            rest_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            rest_2: (1.0 - beta_2) as f32,
            root: (1.0 / correction_2.sqrt()) as f32,
            epsilon: epsilon as f32,
            keep: (1.0 - learning_rate * weight_decay) as f32,
            rate: (learning_rate / correction_1) as f32,
            average: ema_decay as f32,
            rest_average: (1.0 - ema_decay) as f32,
        }
    }
}

#[inline(always)]
unsafe fn update_kernel<S: Simd>(
    factors: &Factors,
    len: usize,
    gradient: *const f32,
    weights: *mut f32,
    first: *mut f32,
    second: *mut f32,
    average: *mut f32,
) {
    // SAFETY: all pointers cover `len` values and none overlaps another.
    unsafe {
        let scale = S::splat(factors.gradient);
        let (beta_1, rest_1) = (S::splat(factors.beta_1), S::splat(factors.rest_1));
        let (beta_2, rest_2) = (S::splat(factors.beta_2), S::splat(factors.rest_2));
        let (root_factor, epsilon) = (S::splat(factors.root), S::splat(factors.epsilon));
        let (keep, rate) = (S::splat(factors.keep), S::splat(factors.rate));
        let (decay, rest) = (S::splat(factors.average), S::splat(factors.rest_average));
        for_each_vector!(S, len, |i, load, store| {
            let slope = S::mul(load!(gradient), scale);
            let m = S::mul_add(load!(first), beta_1, S::mul(slope, rest_1));
            let v = S::mul_add(load!(second), beta_2, S::mul(S::mul(slope, slope), rest_2));
            let root = S::mul_add(S::sqrt(v), root_factor, epsilon);
            let w = S::sub(S::mul(load!(weights), keep), S::mul(S::div(m, root), rate));
            store!(first, m);
            store!(second, v);
            store!(weights, w);
            store!(average, S::mul_add(load!(average), decay, S::mul(w, rest)));
        });
    }
}
simd_dispatch! {
    fn update(
        factors: &Factors, len: usize, gradient: *const f32, weights: *mut f32, first: *mut f32, second: *mut f32,
        average: *mut f32,
    ) = update_kernel
}

/// Updates weights, moments and average in place.
pub(crate) fn step(
    settings: &AdamWStep,
    gradient: &[f32],
    weights: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    average: &mut [f32],
) {
    let len = gradient.len();
    assert!([weights.len(), first.len(), second.len(), average.len()] == [len; 4]);
    const BLOCK: usize = 1 << 14;
    let factors = Factors::new(settings);
    let (weights, first) = (Shared::new(weights), Shared::new(first));
    let (second, average) = (Shared::new(second), Shared::new(average));
    gradient.par_chunks(BLOCK).enumerate().for_each(|(block, gradient)| {
        let at = block * BLOCK;
        let source = gradient.as_ptr();
        // SAFETY: each block is one task's; the slices are as long as the gradient and distinct.
        unsafe {
            update(&factors, gradient.len(), source, weights.at(at), first.at(at), second.at(at), average.at(at))
        };
    });
}
