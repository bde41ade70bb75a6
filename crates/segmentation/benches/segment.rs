//! How long the ways to cut an image take, beside the UNet's pass, on drawn maps and features of three regions.
//!
//! ```text
//! cargo bench -p dino-diffusion-segmentation --bench segment
//! ```
#![allow(clippy::print_stdout)] // a benchmark prints its times

use burn::tensor::Device;
use segmentation::{Affinity, AttentionMaps, DiffSeg, Grid, Ncut, SoftMaps, Walk};
use std::error::Error;
use std::time::Instant;

/// Values per token of the features.
const DIM: usize = 320;
/// Of the label maps.
const PIXELS: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    println!("seconds for an image of {PIXELS} x {PIXELS} pixels: method, grid, seconds, segments");
    for side in [16, 32, 64] {
        let grid = Grid::square(side)?;
        let (maps, features) = (AttentionMaps::new(attention(side), grid)?, features(side));
        report("DiffSeg", side, || {
            let found = DiffSeg { threshold: 0.1, ..DiffSeg::default() }.segment(&maps, &device)?;
            Ok(found.label_map(PIXELS, PIXELS))
        })?;
        report("normalised cuts of features", side, || {
            let tree = Ncut::default().tree(&Affinity::from_features(&features, grid.tokens(), 10.0, &device)?)?;
            Ok(SoftMaps::from_labels(&tree.labels(0.5), grid)?.label_map(PIXELS, PIXELS))
        })?;
        report("random walk on attention", side, || {
            let tree = Ncut { threshold: 1.0, min_tokens: 4 }.tree(&Walk::default().affinity(&maps, &device)?)?;
            Ok(SoftMaps::from_labels(&tree.labels(tree.automatic_threshold()), grid)?.label_map(PIXELS, PIXELS))
        })?;
    }
    Ok(())
}

/// The median of three.
fn report(name: &str, side: usize, cut: impl Fn() -> Result<Vec<u16>, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let (mut secs, mut segments) = (Vec::new(), 0);
    for _ in 0..3 {
        let begin = Instant::now();
        let mut labels = cut()?;
        secs.push(begin.elapsed().as_secs_f64());
        labels.sort_unstable();
        labels.dedup();
        segments = labels.len();
    }
    secs.sort_by(f64::total_cmp);
    println!("{name}, {side} x {side}: {:.3} s, {segments}", secs[1]);
    Ok(())
}

/// Two ellipses, 1 and 2, in front of 0.
fn region(token: usize, side: usize) -> usize {
    let (row, column) = ((token / side) as f32 / side as f32, (token % side) as f32 / side as f32);
    let inside = |centre: f32| ((row - 0.5) / 0.4).powi(2) + ((column - centre) / 0.2).powi(2) < 1.0;
    if inside(0.27) { 1 } else { 2 * usize::from(inside(0.73)) }
}

/// A number in 0..1 without pattern.
fn noise(index: usize) -> f32 {
    ((index as f64 * 12.9898).sin() * 43_758.545).fract().abs() as f32
}

/// A token looks at its region and its neighbourhood; `[tokens, tokens]`.
fn attention(side: usize) -> Vec<f32> {
    let tokens = side * side;
    let regions: Vec<usize> = (0..tokens).map(|token| region(token, side)).collect();
    let jitter: Vec<f32> = (0..7 * tokens).map(noise).collect();
    let value = |index: usize| {
        let (token, other) = (index / tokens, index % tokens);
        let rows = (token / side).abs_diff(other / side) as f32 / side as f32;
        let columns = (token % side).abs_diff(other % side) as f32 / side as f32;
        let same = f32::from(u8::from(regions[token] == regions[other]));
        (1.5 * same - 3.0 * (rows * rows + columns * columns) + 0.3 * jitter[(token * 31 + other) % jitter.len()]).exp()
    };
    (0..tokens * tokens).map(value).collect()
}

/// A direction for each region, with noise; `[tokens, DIM]`.
fn features(side: usize) -> Vec<f32> {
    let value = |index: usize| {
        let (token, unit) = (index / DIM, index % DIM);
        noise(unit + 1_000 * region(token, side)) + 0.5 * noise(index + 7) + 0.2 * (token / side) as f32 / side as f32
    };
    (0..side * side * DIM).map(value).collect()
}
