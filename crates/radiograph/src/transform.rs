//! From a radiograph of any shape to the square images that networks take.
//!
//! Aspect is kept unless asked otherwise: a squashed chest has a different heart. Images and masks go through one
//! [`FitGeometry`], so a mask lies on its image to the pixel.

use serde::{Deserialize, Serialize};

use crate::resample::{coverage_box, resize_box};
use crate::{Mask, Radiograph};

/// How a rectangle becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// All of the picture, centred on black. The default: nothing is cut off.
    #[default]
    Pad,
    /// The central square; the ends of the longer side are lost.
    CentreCrop,
    /// All of the picture, squashed. Only for collections that were squashed already.
    Stretch,
}

impl Fit {
    /// Where the picture of `height * width` lands in a square of `size`. All three must be at least 1.
    pub fn geometry(self, height: usize, width: usize, size: usize) -> FitGeometry {
        let (rows, columns) = (height as f64, width as f64);
        let whole = [0.0, 0.0, rows, columns];
        match self {
            Self::Stretch => FitGeometry { source: whole, target: [0, 0, size, size] },
            Self::CentreCrop => {
                let side = rows.min(columns);
                let source = [(rows - side) / 2.0, (columns - side) / 2.0, side, side];
                FitGeometry { source, target: [0, 0, size, size] }
            }
            Self::Pad => {
                let scale = size as f64 / rows.max(columns);
                // A very long picture keeps at least one row or column.
                let inner = |length: f64| ((length * scale).round() as usize).clamp(1, size);
                let (inner_height, inner_width) = (inner(rows), inner(columns));
                let (top, left) = ((size - inner_height) / 2, (size - inner_width) / 2);
                FitGeometry { source: whole, target: [top, left, inner_height, inner_width] }
            }
        }
    }
}

/// Which part of a picture lands where in the square: enough to carry a result back to the original picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitGeometry {
    /// `[top, left, height, width]` in the original picture, in pixels, with fractions.
    pub source: [f64; 4],
    /// `[top, left, height, width]` in the square, whole pixels; outside is black.
    pub target: [usize; 4],
}

impl FitGeometry {
    /// A mask of the square, carried back to the original picture of `height * width`: a pixel is inside where the mask,
    /// enlarged between its pixels' centres, is above a half.
    ///
    /// # Shapes
    /// - mask: `[size * size]`, non-zero inside
    /// - result: `[height * width]`, 0 or 1
    pub fn restore_mask(&self, mask: &[u8], size: usize, height: usize, width: usize) -> Vec<u8> {
        let [source_top, source_left, source_height, source_width] = self.source;
        let [top, left, inner_height, inner_width] = self.target.map(|value| value as f64);
        let place = |at: usize, from: f64, length: f64, to: f64, inner: f64| {
            (to + (at as f64 + 0.5 - from) / length * inner - 0.5).clamp(to - 0.5, to + inner - 0.5)
        };
        // What lies outside the square's picture part was never seen.
        let seen = |at: usize, from: f64, length: f64| (at as f64 + 0.5 - from) / length;
        let value = |row: f64, column: f64| {
            let pixel = |row: f64, column: f64| {
                let (row, column) = (row.clamp(0.0, size as f64 - 1.0), column.clamp(0.0, size as f64 - 1.0));
                f64::from(u8::from(mask[row as usize * size + column as usize] != 0))
            };
            let (row_low, column_low) = (row.floor(), column.floor());
            let (down, right) = (row - row_low, column - column_low);
            let line = |row: f64| pixel(row, column_low) * (1.0 - right) + pixel(row, column_low + 1.0) * right;
            line(row_low) * (1.0 - down) + line(row_low + 1.0) * down
        };
        let mut out = vec![0; height * width];
        for row in 0..height {
            let square_row = place(row, source_top, source_height, top, inner_height);
            for column in 0..width {
                let inside = (0.0..=1.0).contains(&seen(row, source_top, source_height))
                    && (0.0..=1.0).contains(&seen(column, source_left, source_width));
                let square_column = place(column, source_left, source_width, left, inner_width);
                out[row * width + column] = u8::from(inside && value(square_row, square_column) > 0.5);
            }
        }
        out
    }

    /// The part of each line of a `size * size` square that the picture fills, from the top to the bottom.
    pub(crate) fn lines_mut<'a, T>(
        &self,
        square: &'a mut [T],
        size: usize,
    ) -> impl Iterator<Item = &'a mut [T]> + use<'a, T> {
        let [top, left, height, width] = self.target;
        square.chunks_exact_mut(size).skip(top).take(height).map(move |line| &mut line[left..][..width])
    }
}

/// The picture as a `size * size` square with values in `0..=1`, resized with the antialiased Catmull-Rom filter
/// (see [`crate::resize`]). A `size` of 0 gives an empty vector.
pub fn fit_square_f32(picture: &Radiograph, size: usize, fit: Fit) -> Vec<f32> {
    if size == 0 || picture.height == 0 || picture.width == 0 {
        return vec![0.0; size * size];
    }
    let geometry = fit.geometry(picture.height, picture.width, size);
    let [_, _, inner_height, inner_width] = geometry.target;
    let dimensions = [picture.height, picture.width];
    let inner = resize_box(&picture.pixels, dimensions, geometry.source, [inner_height, inner_width]);
    place(inner, geometry, size, 0.0)
}

/// The picture as a `size * size` square of 8-bit values, `round(255 * brightness)`; otherwise as [`fit_square_f32`].
pub fn fit_square(picture: &Radiograph, size: usize, fit: Fit) -> Vec<u8> {
    to_u8(&fit_square_f32(picture, size, fit))
}

/// A mask as a `size * size` square of 0 and 1 that lies on [`fit_square`] of its image. A pixel is inside where at
/// least half of its area is: the majority when reducing, the nearest pixel when enlarging.
pub fn fit_square_mask(mask: &Mask, size: usize, fit: Fit) -> Vec<u8> {
    if size == 0 || mask.height == 0 || mask.width == 0 {
        return vec![0; size * size];
    }
    let geometry = fit.geometry(mask.height, mask.width, size);
    let [_, _, inner_height, inner_width] = geometry.target;
    let shares = coverage_box(&mask.pixels, [mask.height, mask.width], geometry.source, [inner_height, inner_width]);
    // Shares are sums of f32 weights: exactly half must not depend on their last bit.
    let inner = shares.iter().map(|&share| u8::from(share >= 0.5 - 1e-4)).collect();
    place(inner, geometry, size, 0)
}

/// Puts a resized rectangle into its square.
fn place<T: Copy>(inner: Vec<T>, geometry: FitGeometry, size: usize, background: T) -> Vec<T> {
    let [_, _, inner_height, inner_width] = geometry.target;
    if (inner_height, inner_width) == (size, size) {
        return inner;
    }
    let mut square = vec![background; size * size];
    for (line, row) in geometry.lines_mut(&mut square, size).zip(inner.chunks_exact(inner_width)) {
        line.copy_from_slice(row);
    }
    square
}

/// `0..=1` to 8 bit, rounded to nearest; out of range is clamped, not a number is 0.
pub fn to_u8(pixels: &[f32]) -> Vec<u8> {
    let mut out = vec![0; pixels.len()];
    write_u8(pixels, &mut out);
    out
}

/// As [`to_u8`], into as many bytes as there are pixels.
pub(crate) fn write_u8(pixels: &[f32], out: &mut [u8]) {
    pulp::Arch::new().dispatch(|| {
        for (out, pixel) in out.iter_mut().zip(pixels) {
            *out = round(pixel.clamp(0.0, 1.0) * 255.0) as u8;
        }
    });
}

/// `0..=1` to 16 bit, rounded to nearest; out of range is clamped, not a number is 0.
pub fn to_u16(pixels: &[f32]) -> Vec<u16> {
    pixels.iter().map(|pixel| round(pixel.clamp(0.0, 1.0) * 65535.0) as u16).collect()
}

/// Rounds a number from 0 to 65,535 to the nearest, halves up, as `f32::round` does, which is a call for each pixel. Not a
/// number becomes a multiple of 65,536. In steps that processors have for vectors, which conversion to whole numbers with
/// all its special cases is not.
#[inline(always)]
fn round(value: f32) -> i32 {
    /// From here on, numbers of 32 bits are whole, and the lowest bits of the next 2^23 of them count up from 0.
    const WHOLE: f32 = 8_388_608.0;
    let shifted = value + WHOLE;
    let nearest = (shifted.to_bits() & 0x007f_ffff) as i32;
    // The addition has rounded halves to the even number.
    nearest + i32::from(value - (shifted - WHOLE) == 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_go_back_to_where_they_came_from() {
        let (height, width) = (120, 90);
        let inside = |row: usize, column: usize| (30..90).contains(&row) && (20..60).contains(&column);
        let pixels = (0..height * width).map(|at| u8::from(inside(at / width, at % width))).collect();
        let mask = Mask { pixels, height, width };
        for fit in [Fit::Pad, Fit::CentreCrop, Fit::Stretch] {
            for size in [30, 60, 120] {
                let square = fit_square_mask(&mask, size, fit);
                let back = fit.geometry(height, width, size).restore_mask(&square, size, height, width);
                let wrong = back.iter().zip(&mask.pixels).filter(|(a, b)| a != b).count();
                // Half a pixel of the square along the outline of 200 pixels.
                assert!(wrong <= 200 * 120 / size / 2, "{fit:?} {size}: {wrong}");
            }
        }
    }

    fn ramp(height: usize, width: usize) -> Radiograph {
        let pixels = (0..height * width).map(|i| (i % width) as f32 / (width - 1) as f32).collect();
        Radiograph::from_pixels(pixels, height, width).unwrap()
    }

    #[test]
    fn padding_keeps_aspect_and_is_black() {
        let white = Radiograph::from_pixels(vec![1.0; 40 * 80], 40, 80).unwrap();
        let square = fit_square(&white, 32, Fit::Pad);
        let lit: Vec<usize> =
            (0..32).filter(|row| square[row * 32..][..32].iter().all(|&pixel| pixel == 255)).collect();
        assert_eq!(lit, (8..24).collect::<Vec<_>>());
        assert_eq!(square.iter().filter(|&&pixel| pixel == 0).count(), 16 * 32);
    }

    #[test]
    fn centre_crop_takes_the_centre() {
        let square = fit_square_f32(&ramp(20, 60), 20, Fit::CentreCrop);
        // Columns 20..40 of a ramp over 0..59.
        for (column, &pixel) in square[..20].iter().enumerate() {
            assert!((pixel - (20 + column) as f32 / 59.0).abs() < 1e-5, "column {column}: {pixel}");
        }
    }

    #[test]
    fn stretch_covers_everything() {
        let square = fit_square_f32(&ramp(10, 64), 32, Fit::Stretch);
        assert!(square[0] < 0.03 && square[31] > 0.97);
    }

    #[test]
    fn extreme_aspect_keeps_a_line() {
        let line = Radiograph::from_pixels(vec![1.0; 5000], 1, 5000).unwrap();
        let square = fit_square(&line, 16, Fit::Pad);
        assert_eq!(square.iter().filter(|&&pixel| pixel > 0).count(), 16);
        assert_eq!(fit_square(&line, 0, Fit::Pad).len(), 0);
    }

    #[test]
    fn mask_lies_on_its_image() {
        let (height, width) = (90, 130);
        let inside = |i: usize| {
            let (row, column) = ((i / width) as f32 - 40.0, (i % width) as f32 - 70.0);
            row * row + column * column < 900.0
        };
        let pixels: Vec<f32> = (0..height * width).map(|i| if inside(i) { 1.0 } else { 0.0 }).collect();
        let picture = Radiograph::from_pixels(pixels, height, width).unwrap();
        let mask = Mask::from_radiograph(&picture);
        for fit in [Fit::Pad, Fit::CentreCrop, Fit::Stretch] {
            for size in [24, 64, 200] {
                let image = fit_square_f32(&picture, size, fit);
                let small = fit_square_mask(&mask, size, fit);
                let differing = image.iter().zip(&small).filter(|&(&p, &m)| (p > 0.5) != (m == 1)).count();
                // Only pixels on the circle's edge, where coverage is nearly half, may differ.
                assert!(differing * 100 < size * size, "{fit:?} {size}: {differing}");
            }
        }
    }

    #[test]
    fn majority_decides() {
        let mask = Mask { pixels: vec![1, 1, 0, 0, 1, 0, 0, 0], height: 2, width: 4 };
        assert_eq!(fit_square_mask(&mask, 2, Fit::Stretch), [1, 0, 1, 0]);
        let half = Mask { pixels: vec![1, 0, 0, 1], height: 2, width: 2 };
        assert_eq!(fit_square_mask(&half, 1, Fit::Stretch), [1]);
        assert_eq!(fit_square_mask(&half, 4, Fit::Stretch), [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn rounding_is_that_of_the_library() {
        for double in 0..=131_070_u32 {
            let half = double as f32 / 2.0;
            for value in [half.next_down().max(0.0), half, half.next_up()] {
                assert_eq!(round(value), value.round() as i32, "{value}");
            }
        }
    }

    #[test]
    fn quantising_rounds_and_clamps() {
        assert_eq!(to_u8(&[-1.0, 0.0, 0.5, 1.0, 7.0, f32::NAN]), [0, 0, 128, 255, 255, 0]);
        assert_eq!(to_u16(&[0.0, 0.5, 1.0]), [0, 32768, 65535]);
    }
}
