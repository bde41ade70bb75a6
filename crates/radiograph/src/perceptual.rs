//! A hash of what a picture looks like: copies that were resized, compressed again or brightened differ in few bits.

use std::f64::consts::PI;
use std::sync::OnceLock;

use crate::reduce::{Filter, Target, reduced};
use crate::{Radiograph, Remark};

/// Side of the reduced picture.
pub(crate) const SIDE: usize = 32;
/// Frequencies kept along each axis, from 1 on: the mean brightness of rows and columns says little.
const FREQUENCIES: usize = 8;
/// Spread of brightness (see [`spread`]) below which there is nothing to hash.
pub(crate) const FLAT: f32 = 0.02;
/// Spread of brightness below which there is little to see: twelve bits in a file of 16 fill half of this.
const FAINT: f32 = 0.125;
/// The share of the reduced picture at each end of brightness that is left out of its spread, so that neither a marker
/// nor a line of text makes a blank picture one with content.
const ENDS: f64 = 0.02;

/// The 64-bit hash of the low frequencies of `[height, width]` brightness in `0..=1`: the picture reduced to 32 x 32
/// by area,
/// its cosine transform at the frequencies 1 to 8 of both axes, one bit for each coefficient above their median
/// (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1).
///
/// `None` for a picture that [`content_remark`] calls blank, whose bits would be noise, and where `pixels` is not `height * width`.
pub fn perceptual_hash(pixels: &[f32], height: usize, width: usize) -> Option<u64> {
    if pixels.is_empty() || height.checked_mul(width) != Some(pixels.len()) {
        return None;
    }
    hash_small(&reduced(&pixels, [height, width], target([height, width])))
}

/// Whether a picture shows next to nothing. It is reduced to 32 x 32 by area; of these 1,024 values the 2 % at either
/// end are left out. [`Remark::Blank`] where the rest lies within 0.02 of the range of brightness, [`Remark::Faint`] where
/// it lies within an eighth.
pub fn content_remark(picture: &Radiograph) -> Option<Remark> {
    let dimensions = [picture.height, picture.width];
    if picture.pixels.is_empty() {
        return None;
    }
    remark_on(&reduced(&picture.pixels.as_slice(), dimensions, target(dimensions)))
}

/// [`content_remark`] of a picture that was reduced to [`SIDE`] rows and columns.
pub(crate) fn remark_on(small: &[f32]) -> Option<Remark> {
    match spread(small) {
        spread if spread < FLAT => Some(Remark::Blank),
        spread if spread < FAINT => Some(Remark::Faint),
        _ => None,
    }
}

/// From the darkest to the brightest value without the [`ENDS`], or [`FAINT`] where it is more than that; 0 for an empty
/// picture.
fn spread(small: &[f32]) -> f32 {
    let left_out = (small.len() as f64 * ENDS) as usize;
    // Nearly every image: enough values are far from the mean on both sides. Counting is quicker than finding the ends.
    let mean = small.iter().sum::<f32>() / small.len().max(1) as f32;
    let (low, high) = (mean - FAINT / 2.0, mean + FAINT / 2.0);
    let num_dark = small.iter().filter(|&&value| value < low).count();
    let num_bright = small.iter().filter(|&&value| value > high).count();
    if num_dark.min(num_bright) > left_out {
        return FAINT;
    }
    let mut values = small.to_vec();
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let low = *values.select_nth_unstable_by(left_out, f32::total_cmp).1;
    let high = *values.select_nth_unstable_by(last - left_out, f32::total_cmp).1;
    high - low
}

/// What a picture of `[height, width]` is reduced to before it is hashed.
pub(crate) fn target([height, width]: [usize; 2]) -> Target {
    Target { filter: Filter::Area, source: [0.0, 0.0, height as f64, width as f64], size: [SIDE; 2] }
}

/// The hash of a picture that was reduced to [`SIDE`] rows and columns.
pub(crate) fn hash_small(small: &[f32]) -> Option<u64> {
    if spread(small) < FLAT {
        return None;
    }
    let cosines = cosines();
    let values: Vec<i64> = small.iter().map(|&value| (value * 65_535.0).round() as i64).collect();
    let mut coefficients = Vec::with_capacity(FREQUENCIES * FREQUENCIES);
    for vertical in cosines {
        let mut weighted = [0; SIDE];
        for (weight, row) in vertical.iter().zip(values.chunks_exact(SIDE)) {
            for (sum, value) in weighted.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        coefficients.extend(
            cosines
                .iter()
                .map(|horizontal| horizontal.iter().zip(&weighted).map(|(weight, value)| weight * value).sum::<i64>()),
        );
    }
    let mut ordered = coefficients.clone();
    ordered.sort_unstable();
    let median = ordered[ordered.len() / 2];
    Some(coefficients.iter().fold(0, |hash, &value| hash << 1 | u64::from(value >= median)))
}

/// The waves of the frequencies 1 to [`FREQUENCIES`]. Whole numbers, so that the last bit of a machine's cosine does not
/// reach the hash.
fn cosines() -> &'static [[i64; SIDE]; FREQUENCIES] {
    static COSINES: OnceLock<[[i64; SIDE]; FREQUENCIES]> = OnceLock::new();
    let cosine = |frequency: usize, at: usize| {
        ((PI * frequency as f64 * (2 * at + 1) as f64 / (2 * SIDE) as f64).cos() * 4096.0).round() as i64
    };
    COSINES.get_or_init(|| std::array::from_fn(|index| std::array::from_fn(|at| cosine(index + 1, at))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Phantom, resize};

    fn distance(a: u64, b: u64) -> u32 {
        (a ^ b).count_ones()
    }

    #[test]
    fn copies_are_near_and_other_pictures_are_not() {
        let size = 128;
        let picture = |seed| Phantom::from_seed(seed, 0).render(size).radiograph.pixels;
        let first = picture(1);
        let hash = perceptual_hash(&first, size, size).unwrap();
        assert_eq!(hash.count_ones(), 32);
        let reduced = resize(&first, size, size, 90, 90).unwrap();
        assert!(distance(hash, perceptual_hash(&reduced, 90, 90).unwrap()) <= 3);
        let brighter: Vec<f32> = first.iter().map(|value| 0.1 + 0.8 * value).collect();
        assert!(distance(hash, perceptual_hash(&brighter, size, size).unwrap()) <= 3);
        let coarse: Vec<f32> = first.iter().map(|value| (value * 31.0).round() / 31.0).collect();
        assert!(distance(hash, perceptual_hash(&coarse, size, size).unwrap()) <= 3);
        let mirrored: Vec<f32> = first.chunks_exact(size).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(distance(hash, perceptual_hash(&mirrored, size, size).unwrap()) > 8);
    }

    #[test]
    fn flat_pictures_have_no_hash() {
        assert_eq!(perceptual_hash(&[0.5; 64], 8, 8), None);
        assert_eq!(perceptual_hash(&[0.5; 63], 8, 8), None);
        assert_eq!(perceptual_hash(&[], 0, 0), None);
    }

    #[test]
    fn blank_and_faint_pictures_are_found_whatever_lies_in_a_corner() {
        let side = 96;
        // A ramp from `low` to `high` with a white marker of `marker` pixels in a corner.
        let remark = |low: f32, high: f32, marker: usize| {
            let level = |at: usize| {
                let (row, column) = (at / side, at % side);
                let is_marker = row < marker && column < marker;
                if is_marker { 1.0 } else { low + (high - low) * (row * side + column) as f32 / (side * side) as f32 }
            };
            let picture = Radiograph::from_pixels((0..side * side).map(level).collect(), side, side).unwrap();
            let remark = content_remark(&picture);
            let hash = perceptual_hash(&picture.pixels, side, side);
            assert_eq!(hash.is_none(), remark == Some(Remark::Blank), "{low} to {high}, marker {marker}");
            remark
        };
        for marker in [0, 6, 12] {
            for level in [0.0, 0.5, 1.0] {
                assert_eq!(remark(level, level, marker), Some(Remark::Blank), "{level}, marker {marker}");
            }
            // Twelve bits in sixteen, and what a window makes nearly white.
            assert_eq!(remark(0.0, 1.0 / 16.0, marker), Some(Remark::Faint));
            assert_eq!(remark(0.9, 1.0, marker), Some(Remark::Faint));
            assert_eq!(remark(0.0, 0.25, marker), None);
            assert_eq!(remark(0.0, 1.0, marker), None);
        }
        assert_eq!(remark(0.0, 0.0, 40), None, "a large square on black is something to see");
    }
}
