//! The inverse cosine transform of many blocks at once, at full size or reduced to a half, a quarter or an eighth.
//!
//! Blocks lie side by side: number `i` of the coefficients of all of them, then number `i + 1`. So one instruction does
//! the same for as many blocks as the processor's vectors hold. Whole numbers, the same on every machine.

use std::num::Wrapping;

/// Blocks that are transformed at once.
pub(super) const LANES: usize = 16;

/// Coefficients of [`LANES`] blocks: `[vertical frequency * 8 + horizontal frequency][block]`.
pub(super) type Coefficients = [[i32; LANES]; 64];

/// Fractional bits of constants.
const CONSTANT_BITS: u32 = 13;

/// A constant of the transform. Damaged files have coefficients beyond all bounds: sums wrap.
const fn constant(value: f64) -> Wrapping<i32> {
    Wrapping((value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32)
}

/// A sample of 8 or 12 bits.
pub(in super::super) trait Sample: Copy + Default {
    /// Fractional bits that are kept between the two directions.
    const KEPT_BITS: u32;
    /// The greatest value.
    const MAX: i32;

    /// A value that was clamped to `0..=MAX`.
    fn from_clamped(value: i32) -> Self;
}

impl Sample for u8 {
    const KEPT_BITS: u32 = 2;
    const MAX: i32 = 255;

    #[inline(always)]
    fn from_clamped(value: i32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    const KEPT_BITS: u32 = 1;
    const MAX: i32 = 4095;

    #[inline(always)]
    fn from_clamped(value: i32) -> Self {
        value as u16
    }
}

/// Samples of [`LANES`] blocks beside each other: the first `side` rows hold `[block * side + column]`.
pub(super) type Blocks<T> = [[T; LANES * 8]; 8];

/// Transforms blocks to `side * side` samples each, `side` being 8, 4, 2 or 1: the lowest frequencies of that number in a
/// transform of that size, which is the best reduction of each block by itself.
pub(super) fn transform<T: Sample>(
    arch: pulp::Arch,
    side: usize,
    coefficients: &mut Coefficients,
    out: &mut Blocks<T>,
) {
    match side {
        8 => arch.dispatch(Transform::<T, 8> { coefficients, out }),
        4 => arch.dispatch(Transform::<T, 4> { coefficients, out }),
        2 => arch.dispatch(Transform::<T, 2> { coefficients, out }),
        _ => arch.dispatch(Transform::<T, 1> { coefficients, out }),
    }
}

/// Compiled for each kind of processor.
struct Transform<'a, T, const SIDE: usize> {
    coefficients: &'a mut Coefficients,
    out: &'a mut Blocks<T>,
}

impl<T: Sample, const SIDE: usize> pulp::NullaryFnOnce for Transform<'_, T, SIDE> {
    type Output = ();

    // Blocks are the innermost loop and coefficients lie first, which is what vectors want.
    #[expect(clippy::needless_range_loop)]
    #[inline(always)]
    fn call(self) {
        let Self { coefficients, out } = self;
        for column in 0..SIDE {
            for lane in 0..LANES {
                let values: [_; SIDE] = std::array::from_fn(|row| Wrapping(coefficients[row * 8 + column][lane]));
                let values = line(values);
                for (row, value) in values.into_iter().enumerate() {
                    coefficients[row * 8 + column][lane] = shift(value, CONSTANT_BITS - T::KEPT_BITS).0;
                }
            }
        }
        for row in 0..SIDE {
            let mut samples = [[T::default(); LANES]; SIDE];
            for lane in 0..LANES {
                let values: [_; SIDE] = std::array::from_fn(|column| Wrapping(coefficients[row * 8 + column][lane]));
                for (samples, value) in samples.iter_mut().zip(line(values)) {
                    // The transform of the standard (T.81, A.3.3) is an eighth of this one. Samples are stored around the
                    // middle of their range.
                    let value = shift(value, CONSTANT_BITS + T::KEPT_BITS + 3) + Wrapping((T::MAX + 1) / 2);
                    samples[lane] = T::from_clamped(value.0.clamp(0, T::MAX));
                }
            }
            interleave(&samples, &mut out[row]);
        }
    }
}

/// Puts the columns of blocks that lie side by side into the order of a row. Spelled out for whole blocks, which the
/// compiler then does with vectors.
#[inline(always)]
fn interleave<T: Sample, const SIDE: usize>(columns: &[[T; LANES]; SIDE], out: &mut [T; LANES * 8]) {
    if let [a, b, c, d, e, f, g, h] = &columns[..] {
        for (lane, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *out = [a[lane], b[lane], c[lane], d[lane], e[lane], f[lane], g[lane], h[lane]];
        }
    } else {
        for lane in 0..LANES {
            for column in 0..SIDE {
                out[lane * SIDE + column] = columns[column][lane];
            }
        }
    }
}

/// Divides by a power of two and rounds.
#[inline(always)]
fn shift(value: Wrapping<i32>, bits: u32) -> Wrapping<i32> {
    Wrapping((value.0.wrapping_add(1 << (bits - 1))) >> bits)
}

/// One line: `f[x] = F[0] + sum over u of sqrt(2) cos((2x + 1) u pi / (2 N)) F[u]`, times `2^CONSTANT_BITS`.
#[inline(always)]
fn line<const SIDE: usize>(values: [Wrapping<i32>; SIDE]) -> [Wrapping<i32>; SIDE] {
    let mut out = values;
    match SIDE {
        8 => {
            let mut all = [Wrapping(0); 8];
            all.copy_from_slice(&values);
            out.copy_from_slice(&line_of_8(all));
        }
        4 => {
            let [a, b, c, d] = [values[0], values[1], values[2], values[3]];
            let (even, odd) = ((a + c) << CONSTANT_BITS as usize, (a - c) << CONSTANT_BITS as usize);
            let (wide, narrow) = (constant(1.306_562_965), constant(0.541_196_100));
            let (outer, inner) = (b * wide + d * narrow, b * narrow - d * wide);
            out.copy_from_slice(&[even + outer, odd + inner, odd - inner, even - outer]);
        }
        2 => {
            let [a, b] = [values[0], values[1]].map(|value| value << CONSTANT_BITS as usize);
            out.copy_from_slice(&[a + b, a - b]);
        }
        _ => out[0] = values[0] << CONSTANT_BITS as usize,
    }
    out
}

/// Eight values by the flow graph of C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical fast 1-D DCT algorithms with
/// 11 multiplications", 1989, figure 1, backwards, with the three rotations of its odd part in the form that libjpeg made
/// common (four products of sums): with its rounding, pictures are the same as from most other programs.
#[inline(always)]
fn line_of_8(f: [Wrapping<i32>; 8]) -> [Wrapping<i32>; 8] {
    // Even frequencies.
    let turn = (f[2] + f[6]) * constant(0.541_196_100);
    let (second, third) = (turn + f[2] * constant(0.765_366_865), turn - f[6] * constant(1.847_759_065));
    let (sum, difference) = ((f[0] + f[4]) << CONSTANT_BITS as usize, (f[0] - f[4]) << CONSTANT_BITS as usize);
    let even = [sum + second, difference + third, difference - third, sum - second];
    // Odd frequencies.
    let all = (f[7] + f[3] + f[5] + f[1]) * constant(1.175_875_602);
    let sevens = (f[7] + f[1]) * constant(0.899_976_223);
    let fives = (f[5] + f[3]) * constant(2.562_915_447);
    let threes = all - (f[7] + f[3]) * constant(1.961_570_560);
    let ones = all - (f[5] + f[1]) * constant(0.390_180_644);
    let odd = [
        f[1] * constant(1.501_321_110) - sevens + ones,
        f[3] * constant(3.072_711_026) - fives + threes,
        f[5] * constant(2.053_119_869) - fives + ones,
        f[7] * constant(0.298_631_336) - sevens + threes,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    /// The transform by its definition (T.81, A.3.3), of the lowest `side` frequencies, around 0.
    fn exact(block: &[f64; 64], side: usize) -> Vec<f64> {
        let scale = |frequency: usize| if frequency == 0 { 1.0 } else { 2.0_f64.sqrt() };
        let wave = |at: usize, frequency: usize| {
            scale(frequency) * ((2 * at + 1) as f64 * frequency as f64 * PI / (2 * side) as f64).cos()
        };
        let value = |row: usize, column: usize| -> f64 {
            let terms = (0..side * side).map(|i| {
                let (v, u) = (i / side, i % side);
                block[v * 8 + u] * wave(row, v) * wave(column, u)
            });
            terms.sum::<f64>() / 8.0
        };
        (0..side * side).map(|i| value(i / side, i % side)).collect()
    }

    fn check<T: Sample + Into<i32>>(spread: i32) {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32
        };
        let mut coefficients = [[0; LANES]; 64];
        for (number, values) in coefficients.iter_mut().enumerate() {
            for value in values {
                *value = (next() % (2 * spread) - spread) / (1 + number as i32 / 4);
            }
        }
        // Half a unit at the end, and half of what is kept in between through up to eight waves of height sqrt(2).
        let tolerance = 0.5 + 0.5 / f64::from(1 << T::KEPT_BITS) * (1.0 + 7.0 * 2.0_f64.sqrt()) / 8.0;
        for side in [8, 4, 2, 1] {
            let mut out: Blocks<T> = [[T::default(); LANES * 8]; 8];
            transform(pulp::Arch::new(), side, &mut coefficients.clone(), &mut out);
            for lane in 0..LANES {
                let block = std::array::from_fn(|i| f64::from(coefficients[i][lane]));
                for (place, expected) in exact(&block, side).into_iter().enumerate() {
                    let expected = (expected + f64::from((T::MAX + 1) / 2)).clamp(0.0, f64::from(T::MAX));
                    let found: i32 = out[place / side][lane * side + place % side].into();
                    assert!((f64::from(found) - expected).abs() < tolerance, "{side}: {found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn transforms_are_those_of_the_standard() {
        check::<u8>(300);
        check::<u16>(5000);
    }

    #[test]
    fn coefficients_beyond_all_bounds_are_no_overflow() {
        let mut out: Blocks<u8> = [[0; LANES * 8]; 8];
        transform(pulp::Arch::new(), 8, &mut [[i32::MAX; LANES]; 64], &mut out);
        transform(pulp::Arch::new(), 4, &mut [[i32::MIN; LANES]; 64], &mut out);
    }
}
