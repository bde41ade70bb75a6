//! Exponential, sigmoid and the normal distribution function on vectors, each within 1e-6 of the exact value.

use super::simd::Simd;

type V<S> = <S as Simd>::Vector;

/// `e^x`; inputs are limited to what single precision can hold as a normal number.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: V<S>) -> V<S> {
    // SAFETY: the caller runs on a processor with the instructions of `S`.
    unsafe {
        // A NaN passes both: they return their second operand then.
        let x = S::max(S::splat(-87.0), S::min(S::splat(88.0), x));
        // x = n ln 2 + r with integral n: adding and taking away 1.5 * 2^23 rounds to an integer.
        let magic = S::splat(12_582_912.0);
        let n = S::sub(S::mul_add(x, S::splat(std::f32::consts::LOG2_E), magic), magic);
        // ln 2 in two parts, the first short enough for exact products.
        let r = S::mul_add(n, S::splat(-0.693_359_4), x);
        let r = S::mul_add(n, S::splat(2.121_944_4e-4), r);
        // e^r = 1 + r + r² q(r) on |r| <= ln 2 / 2; q by Chebyshev interpolation, error 1e-8.
        let q = S::splat(0.001_392_625);
        let q = S::mul_add(q, r, S::splat(0.008_363_233));
        let q = S::mul_add(q, r, S::splat(0.041_666_552));
        let q = S::mul_add(q, r, S::splat(0.166_665_76));
        let q = S::mul_add(q, r, S::splat(0.5));
        let one = S::splat(1.0);
        let power = S::add(S::mul_add(S::mul(r, r), q, r), one);
        S::mul(power, S::power_of_two(n))
    }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: V<S>) -> V<S> {
    // SAFETY: as in `exp`.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// `(Φ(-|x|), φ(x), |x|)`: upper tail and density of the standard normal distribution.
///
/// `Φ(-|x|) = e^(-x²/2) · t · Q(t)` with `t = 1 / (1 + 0.3 |x|)`; Q by Chebyshev interpolation of the scaled
/// complementary error function on `|x| <= 14`, relative error 5e-9.
#[inline(always)]
pub(crate) unsafe fn normal_tail<S: Simd>(x: V<S>) -> (V<S>, V<S>, V<S>) {
    // SAFETY: as in `exp`.
    unsafe {
        let zero = S::splat(0.0);
        let magnitude = S::max(S::sub(zero, x), x);
        let one = S::splat(1.0);
        let t = S::div(one, S::mul_add(magnitude, S::splat(0.3), one));
        let mut q = S::splat(-0.020_914_36);
        for coefficient in [
            0.114_040_27,
            -0.232_038_48,
            0.196_940_68,
            -0.083_742_55,
            0.098_480_74,
            0.077_589_065,
            0.110_405_18,
            0.119_551_76,
            0.119_687_69,
        ] {
            q = S::mul_add(q, t, S::splat(coefficient));
        }
        // The rounding error of x² matters in the exponent: e^-(s + d) = e^-s (1 - d).
        let square = S::mul(x, x);
        let lost = S::mul_add(x, x, S::sub(zero, square));
        let half = S::splat(-0.5);
        let power = exp::<S>(S::mul(square, half));
        let power = S::mul_add(power, S::mul(lost, half), power);
        let tail = S::mul(power, S::mul(t, q));
        let density = S::mul(power, S::splat(0.398_942_3)); // 1 / sqrt(2 pi)
        (tail, density, magnitude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{simd_dispatch, testing::at_each_level};

    #[inline(always)]
    unsafe fn exp_kernel<S: Simd>(x: f32) -> f32 {
        // SAFETY: dispatched by level.
        unsafe { S::largest(exp::<S>(S::splat(x))) }
    }
    simd_dispatch! { fn exp_of(x: f32) -> f32 = exp_kernel }

    #[inline(always)]
    unsafe fn tail_kernel<S: Simd>(x: f32) -> f32 {
        // SAFETY: dispatched by level.
        unsafe { S::largest(normal_tail::<S>(S::splat(x)).0) }
    }
    simd_dispatch! { fn tail_of(x: f32) -> f32 = tail_kernel }

    #[test]
    fn exponential_is_exact_to_a_millionth() {
        at_each_level(|level| {
            for i in -8600..=8700 {
                let x = i as f32 * 0.01;
                // SAFETY: no pointers.
                let (got, exact) = (unsafe { exp_of(x) } as f64, (x as f64).exp());
                assert!((got / exact - 1.0).abs() < 3e-7, "{level:?} exp({x}) = {got}, not {exact}");
            }
        });
    }

    #[test]
    fn normal_tail_agrees_with_its_series_and_tabulated_values() {
        // Φ(-x) from scipy.special.ndtr
        let table = [
            (0.0, 0.5),
            (0.5, 0.308_537_538_725_986_9),
            (1.0, 0.158_655_253_931_457_05),
            (2.0, 0.022_750_131_948_179_21),
            (3.0, 0.001_349_898_031_630_094_6),
            (5.0, 2.866_515_718_791_939e-7),
            (8.0, 6.220_960_574_271_786e-16),
        ];
        at_each_level(|level| {
            for (x, exact) in table {
                for sign in [1.0, -1.0] {
                    // SAFETY: no pointers.
                    let got = unsafe { tail_of(sign * x as f32) } as f64;
                    assert!((got / exact - 1.0).abs() < 1e-6, "{level:?} tail({x}) = {got}, not {exact}");
                }
            }
        });
    }
}
