//! The operations in vector code for the processor at hand, on plain slices: values and gradients.
//!
//! Work is cut into tasks by the shapes alone and every sum runs in a fixed order, so results depend neither on the
//! number of threads nor, for the values of one image, on the batch that it stands in.
//!
//! Pointers step by `wrapping_add` and are read by vector loads: debug builds put checks around `add` and `*`, which
//! would cost the innermost loops their registers.

pub(crate) mod activation;
pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod attention_backward;
pub(crate) mod convolution;
pub(crate) mod direct;
pub(crate) mod group_norm;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod matrix;
pub(crate) mod memory;
pub(crate) mod narrow;
pub(crate) mod packing;
pub(crate) mod pool;
pub(crate) mod scale_shift;
pub(crate) mod simd;
pub(crate) mod squares;
pub(crate) mod tile;
pub(crate) mod transposed;
pub(crate) mod upsample;
pub(crate) mod winograd;
pub(crate) mod winograd_transforms;

use std::sync::atomic::{AtomicU8, Ordering};

/// A set of vector instructions that this crate has code for, the later the faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuLevel {
    /// Whatever the compiler's target guarantees.
    Portable,
    /// 128-bit vectors of 64-bit ARM.
    Neon,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 foundation.
    Avx512,
}

/// Environment variable that forces a lower level: `portable`, `neon`, `avx2` or `avx512`; one that the processor does
/// not have, and any other word, means the best.
pub const LEVEL_VARIABLE: &str = "DINO_DIFFUSION_CPU";

const LEVELS: [CpuLevel; 4] = [CpuLevel::Portable, CpuLevel::Neon, CpuLevel::Avx2, CpuLevel::Avx512];

static LEVEL: AtomicU8 = AtomicU8::new(u8::MAX);

/// The level in use: the best of the processor, or a lower one that [`LEVEL_VARIABLE`] names.
pub fn cpu_level() -> CpuLevel {
    if let Some(&level) = LEVELS.get(LEVEL.load(Ordering::Relaxed) as usize) {
        return level;
    }
    let wanted = match std::env::var(LEVEL_VARIABLE).as_deref() {
        Ok("portable") => CpuLevel::Portable,
        Ok("neon") => CpuLevel::Neon,
        Ok("avx2") => CpuLevel::Avx2,
        _ => CpuLevel::Avx512,
    };
    let level = if is_available(wanted) { wanted } else { best_level() };
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

fn is_available(level: CpuLevel) -> bool {
    match level {
        CpuLevel::Portable => true,
        CpuLevel::Neon => cfg!(target_arch = "aarch64"),
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 => is_available(CpuLevel::Avx2) && is_x86_feature_detected!("avx512f"),
        #[cfg(not(target_arch = "x86_64"))]
        CpuLevel::Avx2 | CpuLevel::Avx512 => false,
    }
}

fn best_level() -> CpuLevel {
    LEVELS.into_iter().rev().find(|&level| is_available(level)).unwrap_or(CpuLevel::Portable)
}

/// Values per vector at the level in use.
pub(crate) fn lanes() -> usize {
    match cpu_level() {
        CpuLevel::Portable | CpuLevel::Neon => 4,
        CpuLevel::Avx2 => 8,
        CpuLevel::Avx512 => 16,
    }
}

/// Rows of the register tile at the level in use.
pub(crate) fn tile_rows() -> usize {
    use simd::Simd;
    match cpu_level() {
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 => simd::Avx512::ROWS,
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx2 => simd::Avx2::ROWS,
        #[cfg(target_arch = "aarch64")]
        CpuLevel::Neon => simd::Neon::ROWS,
        _ => simd::Portable::ROWS,
    }
}

/// Defines a function that runs a generic kernel `kernel::<S>` compiled for the instructions of the level in use.
macro_rules! simd_dispatch {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? = $kernel:ident) => {
        $(#[$attribute])*
        #[allow(clippy::missing_safety_doc)]
        $visibility unsafe fn $name($($argument: $type),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($argument: $type),*) $(-> $output)? {
                // SAFETY: the caller's, plus the instructions that this function declares.
                unsafe { $kernel::<$crate::cpu::simd::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($argument: $type),*) $(-> $output)? {
                // SAFETY: the caller's, plus the instructions that this function declares.
                unsafe { $kernel::<$crate::cpu::simd::Avx2>($($argument),*) }
            }
            // SAFETY: the level says that the processor has the instructions; the rest is the caller's.
            unsafe {
                match $crate::cpu::cpu_level() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::CpuLevel::Avx512 => avx512($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::CpuLevel::Avx2 => avx2($($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::cpu::CpuLevel::Neon => $kernel::<$crate::cpu::simd::Neon>($($argument),*),
                    _ => $kernel::<$crate::cpu::simd::Portable>($($argument),*),
                }
            }
        }
    };
}
pub(crate) use simd_dispatch;

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of the kernels share.
    use super::*;
    use std::sync::Mutex;

    static SERIAL: Mutex<()> = Mutex::new(());

    /// Runs `check` once for each level that this processor has. Every test that runs a kernel must come through here:
    /// the level must not change under a running kernel, whose buffers are cut for it.
    pub(crate) fn at_each_level(mut check: impl FnMut(CpuLevel)) {
        let _guard = SERIAL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for level in LEVELS.into_iter().filter(|&level| is_available(level)) {
            LEVEL.store(level as u8, Ordering::Relaxed);
            check(level);
        }
        LEVEL.store(best_level() as u8, Ordering::Relaxed);
    }

    /// Reproducible values, roughly uniform in -1..1.
    pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }
}
