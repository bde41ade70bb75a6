//! The sum of squares of many values, for the length of a gradient.
//!
//! Segments are cut by the number of values alone, each is summed in the same lanes on every processor, and the segments
//! are added in their order: the result has the same bits however many threads there are, whenever each is done, and at
//! every level of vector instructions. A square of two single-precision values is exact in double precision, so rounding
//! begins with the sums.

use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

/// Values that one task works on.
const SEGMENT: usize = 1 << 16;

/// Sums side by side: enough that the processor need not wait for one addition before the next.
const LANES: usize = 32;

// Written without `Simd`, whose vectors are of single precision; the compiler makes vectors of each level of it.
#[inline(always)]
unsafe fn segment_kernel<S: Simd>(values: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*value) * f64::from(*value);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}
simd_dispatch! {
    fn segment(values: &[f32]) -> f64 = segment_kernel
}

/// The sum of the squares of all values.
pub(crate) fn sum(values: &[f32]) -> f64 {
    // SAFETY: the function reads a slice.
    let sums: Vec<f64> = values.par_chunks(SEGMENT).map(|values| unsafe { segment(values) }).collect();
    // From 0: the sum of nothing is -0 in Rust.
    sums.into_iter().fold(0.0, |total, sum| total + sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::best_level;
    use crate::cpu::testing::{at_each_level, noise};

    #[test]
    fn sums_are_right_for_every_length_and_the_same_at_each_level() {
        for len in [0, 1, 31, 32, 33, 1000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 77] {
            let values = noise(len, len as u64);
            // The noise has whole multiples of 2^-23, whose squares can be added exactly.
            let units = |value: &f32| (f64::from(*value) * f64::from(1 << 23)) as i128;
            let wanted = values.iter().map(|value| units(value).pow(2)).sum::<i128>() as f64 * 0.5f64.powi(46);
            let mut found = Vec::new();
            at_each_level(|_| found.push(sum(&values)));
            // A lane adds 2048 values, each time with an error of 2^-53 at most.
            assert!((found[0] - wanted).abs() <= 2.5e-13 * wanted, "{len}: {} instead of {wanted}", found[0]);
            assert!(found.iter().all(|sum| sum.to_bits() == found[0].to_bits()), "{len}: {found:?}");
        }
    }

    /// The size of the largest weights of the big recipes, which Burn's own sum adds in an order that changes.
    #[test]
    fn thirty_million_values_have_one_sum_whatever_the_threads() {
        let values = noise(30_000_000, 7);
        let mut found = Vec::new();
        at_each_level(|_| found.push(sum(&values)));
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            at_each_level(|level| {
                for _ in 0..if level == best_level() { 50 } else { 2 } {
                    assert_eq!(pool.install(|| sum(&values)).to_bits(), found[0].to_bits(), "{threads}, {level:?}");
                }
            });
        }
    }
}
