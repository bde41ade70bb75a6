//! The processor's peak, measured: multiply-adds on registers alone, on every thread of the pool.

use std::time::Instant;

/// Single-precision operations in 10^9 per second, a multiply-add counting as two; 0 where there is no vector code.
pub fn billion_operations_per_second() -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..5 {
        let begin = Instant::now();
        let counts = rayon::broadcast(|_| multiply_adds(20_000_000));
        let operations: f64 = counts.iter().sum();
        best = best.max(operations / begin.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Runs `rounds` rounds of independent multiply-adds; how many operations that were.
#[cfg(target_arch = "x86_64")]
fn multiply_adds(rounds: usize) -> f64 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    fn wide(rounds: usize) -> f64 {
        let (factor, mut sums) = (_mm512_set1_ps(0.999), [_mm512_set1_ps(1.0); 12]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        std::hint::black_box(sums);
        (rounds * 12 * 16 * 2) as f64
    }
    #[target_feature(enable = "avx2,fma")]
    fn narrow(rounds: usize) -> f64 {
        let (factor, mut sums) = (_mm256_set1_ps(0.999), [_mm256_set1_ps(1.0); 12]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        std::hint::black_box(sums);
        (rounds * 12 * 8 * 2) as f64
    }
    match kernels::cpu_level() {
        // SAFETY: the level says that the processor has the instructions.
        kernels::CpuLevel::Avx512 => unsafe { wide(rounds) },
        // SAFETY: as above.
        kernels::CpuLevel::Avx2 => unsafe { narrow(rounds) },
        _ => 0.0,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(_rounds: usize) -> f64 {
    0.0
}
