//! One vector interface over AVX-512, AVX2, NEON and plain arrays.
//!
//! A kernel is written once, generic over [`Simd`] and `#[inline(always)]` all the way down, and compiled once for each
//! instruction set by the [`simd_dispatch!`](crate::cpu::simd_dispatch) macro, which picks one at run time. Every
//! operation works lane by lane, so a value never depends on where in a vector it stands.

use super::tile::{TileProduct, product};

/// A set of vector instructions.
///
/// # Safety
/// All functions are unsafe for one reason: they may only run on a processor that has the instructions of the
/// implementing type. Pointers must be valid for `LANES` values; no alignment is needed.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// `LANES` values.
    type Vector: Copy;
    /// Values per vector.
    const LANES: usize;
    /// Rows of the register tile of a matrix product: as many as leave no accumulator in memory.
    const ROWS: usize;

    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(source: *const f32) -> Self::Vector;
    /// The value at `source` in every lane.
    unsafe fn broadcast(source: *const f32) -> Self::Vector;
    unsafe fn store(target: *mut f32, value: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn div(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the processor can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn min(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sqrt(a: Self::Vector) -> Self::Vector;
    /// `2^n` for integral `n` in -126..=127.
    unsafe fn power_of_two(n: Self::Vector) -> Self::Vector;
    /// Asks for the cache line of an address that will be read soon; any address is allowed. Does nothing where stable
    /// Rust offers no such instruction.
    #[inline(always)]
    unsafe fn prefetch(_address: *const f32) {}
    /// A matrix product on packed panels; a real function call, so that its many register tiles exist once.
    unsafe fn product(job: &TileProduct);

    /// The first `count <= LANES` values, zeros behind.
    #[inline(always)]
    unsafe fn load_partial(source: *const f32, count: usize) -> Self::Vector {
        let mut buffer = [0f32; 16];
        // SAFETY: the caller vouches for `count` values; the buffer is at least a vector long.
        unsafe {
            std::ptr::copy_nonoverlapping(source, buffer.as_mut_ptr(), count);
            Self::load(buffer.as_ptr())
        }
    }

    /// Stores the first `count <= LANES` values.
    #[inline(always)]
    unsafe fn store_partial(target: *mut f32, value: Self::Vector, count: usize) {
        let mut buffer = [0f32; 16];
        // SAFETY: as in `load_partial`.
        unsafe {
            Self::store(buffer.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), target, count);
        }
    }

    /// Sum of the lanes, in a fixed order.
    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        let mut buffer = [0f32; 16];
        // SAFETY: the buffer is at least a vector long.
        unsafe { Self::store(buffer.as_mut_ptr(), value) };
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                buffer[lane] += buffer[lane + width];
            }
        }
        buffer[0]
    }

    /// Largest lane.
    #[inline(always)]
    unsafe fn largest(value: Self::Vector) -> f32 {
        let mut buffer = [f32::NEG_INFINITY; 16];
        // SAFETY: the buffer is at least a vector long.
        unsafe { Self::store(buffer.as_mut_ptr(), value) };
        buffer[..Self::LANES].iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
    }
}

/// Arrays of four values: right on any processor, and vectorised by the compiler where it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type Array = [f32; 4];

#[inline(always)]
fn zip(a: Array, b: Array, f: impl Fn(f32, f32) -> f32) -> Array {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

#[allow(clippy::undocumented_unsafe_blocks)] // nothing here needs special instructions
impl Simd for Portable {
    type Vector = Array;
    const LANES: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Array {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Array {
        unsafe { source.cast::<Array>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn broadcast(source: *const f32) -> Array {
        [unsafe { source.read_unaligned() }; 4]
    }
    #[inline(always)]
    unsafe fn store(target: *mut f32, value: Array) {
        unsafe { target.cast::<Array>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn add(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: Array, b: Array, c: Array) -> Array {
        // A library call without hardware support, so two roundings instead.
        zip(zip(a, b, |a, b| a * b), c, |product, c| product + c)
    }
    #[inline(always)]
    unsafe fn max(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(a: Array) -> Array {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn power_of_two(n: Array) -> Array {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    unsafe fn product(job: &TileProduct) {
        unsafe { product::<Self>(job) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)] // each function's safety is the trait's: the processor has the instructions
mod x86 {
    use super::{Simd, TileProduct, product};
    use std::arch::x86_64::*;

    /// 256-bit vectors with fused multiply-add.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    impl Simd for Avx2 {
        type Vector = __m256;
        const LANES: usize = 8;
        const ROWS: usize = 6; // 12 accumulators, two of B and one of A: 15 of 16 registers

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(source) }
        }
        #[inline(always)]
        unsafe fn broadcast(source: *const f32) -> __m256 {
            unsafe { _mm256_broadcastss_ps(_mm_load_ss(source)) }
        }
        #[inline(always)]
        unsafe fn store(target: *mut f32, value: __m256) {
            unsafe { _mm256_storeu_ps(target, value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m256) -> __m256 {
            unsafe { _mm256_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: __m256) -> __m256 {
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        unsafe fn load_partial(source: *const f32, count: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(source, first_lanes(count)) }
        }
        #[inline(always)]
        unsafe fn store_partial(target: *mut f32, value: __m256, count: usize) {
            unsafe { _mm256_maskstore_ps(target, first_lanes(count), value) }
        }
        #[inline(always)]
        unsafe fn prefetch(address: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }
        #[inline(always)]
        unsafe fn product(job: &TileProduct) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(job: &TileProduct) {
                unsafe { product::<Avx2>(job) }
            }
            unsafe { run(job) }
        }
    }

    /// Mask of the first `count` lanes.
    #[inline(always)]
    unsafe fn first_lanes(count: usize) -> __m256i {
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
        }
    }

    /// 512-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    impl Simd for Avx512 {
        type Vector = __m512;
        const LANES: usize = 16;
        const ROWS: usize = 14; // 28 accumulators, two of B and one of A: 31 of 32 registers

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(source) }
        }
        #[inline(always)]
        unsafe fn broadcast(source: *const f32) -> __m512 {
            unsafe { _mm512_broadcastss_ps(_mm_load_ss(source)) }
        }
        #[inline(always)]
        unsafe fn store(target: *mut f32, value: __m512) {
            unsafe { _mm512_storeu_ps(target, value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m512) -> __m512 {
            unsafe { _mm512_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: __m512) -> __m512 {
            unsafe {
                let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        unsafe fn load_partial(source: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, source) }
        }
        #[inline(always)]
        unsafe fn store_partial(target: *mut f32, value: __m512, count: usize) {
            unsafe { _mm512_mask_storeu_ps(target, ((1u32 << count) - 1) as u16, value) }
        }
        #[inline(always)]
        unsafe fn prefetch(address: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }
        #[inline(always)]
        unsafe fn product(job: &TileProduct) {
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn run(job: &TileProduct) {
                unsafe { product::<Avx512>(job) }
            }
            unsafe { run(job) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

#[cfg(target_arch = "aarch64")]
#[allow(clippy::undocumented_unsafe_blocks)] // every 64-bit ARM processor has these instructions; pointers are the caller's
mod arm {
    use super::{Simd, TileProduct, product};
    use std::arch::aarch64::*;

    /// 128-bit vectors of 64-bit ARM.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    impl Simd for Neon {
        type Vector = float32x4_t;
        const LANES: usize = 4;
        const ROWS: usize = 14; // 28 accumulators, two of B and one of A: 31 of 32 registers

        #[inline(always)]
        unsafe fn splat(value: f32) -> float32x4_t {
            unsafe { vdupq_n_f32(value) }
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> float32x4_t {
            unsafe { vld1q_f32(source) }
        }
        #[inline(always)]
        unsafe fn broadcast(source: *const f32) -> float32x4_t {
            unsafe { vld1q_dup_f32(source) }
        }
        #[inline(always)]
        unsafe fn store(target: *mut f32, value: float32x4_t) {
            unsafe { vst1q_f32(target, value) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vminq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
            unsafe { vsqrtq_f32(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: float32x4_t) -> float32x4_t {
            unsafe {
                let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            }
        }
        unsafe fn product(job: &TileProduct) {
            unsafe { product::<Neon>(job) }
        }
    }
}
