//! Times of the Fréchet distance and its interval at the size of Inception's features, on one thread.
//!
//! ```text
//! cargo bench -p dino-diffusion-metrics --bench frechet [-- IMAGES REFERENCE DIM]
//! ```
//!
//! Without sizes: few and many images against 5,000, and as many as there are features.
#![allow(clippy::print_stdout)] // a benchmark prints its times

use metrics::{Error, Moments, Rows, frechet_distance, frechet_estimate};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let cases = match sizes[..] {
        [images, reference, dim] => vec![[images, reference, dim]],
        _ => vec![[600, 5000, 2048], [5000, 5000, 2048], [600, 5000, 1024], [5000, 5000, 1024]],
    };
    println!("images, reference, features: seconds for moments of both, distance, distance with interval");
    for [images, reference, dim] in cases {
        measure(images, reference, dim)?;
    }
    Ok(())
}

fn measure(images: usize, reference: usize, dim: usize) -> Result<(), Error> {
    let (a, b) = (features(images, dim, 1), features(reference, dim, 2));
    let (a, b) = (Rows::new(&a, dim)?, Rows::new(&b, dim)?);
    let begun = Instant::now();
    let (moments_a, moments_b) = (Moments::of(a)?, Moments::of(b)?);
    let summed = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let distance = frechet_distance(&moments_a, &moments_b)?;
    let point = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let estimate = frechet_estimate(a, b, 0.95)?;
    let interval = begun.elapsed().as_secs_f64();
    println!(
        "{images}, {reference}, {dim}: {summed:.2}, {point:.2}, {interval:.2} (distance {distance:.4}, {estimate:?})"
    );
    Ok(())
}

/// Values in 0..1, of deviations that fall from feature to feature as those of networks do, some features never active.
fn features(num_rows: usize, dim: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut values = Vec::with_capacity(num_rows * dim);
    for place in 0..num_rows * dim {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let feature = place % dim;
        let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
        values.push(if feature.is_multiple_of(97) { 0.0 } else { uniform / (1.0 + feature as f64 / 64.0) });
    }
    values
}
