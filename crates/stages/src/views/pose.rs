//! How a picture may lie, and the part of it that may tell.
//!
//! Padding must not give a copy away: a portrait has bars at its sides and, once turned, above and below; whoever inverts
//! a padded square gets white bars. What is looked at is therefore the largest square inside what is left once flat lines
//! are taken off the edges. Lines are flat or not whatever their grey value and direction, so taking the square and
//! turning, mirroring or inverting it can change places: a copy shows exactly what its original shows.

use anyhow::{Context, Result};
use radiograph::{Fit, Radiograph, fit_square};
use serde::Serialize;

/// Grey values, of 255, between the darkest and the brightest pixel of a line that still counts as flat: what JPEG leaves
/// of a black bar.
const FLAT: u8 = 8;

/// How a picture lies, compared with how the archive's pictures lie as a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pose {
    /// As it should.
    Upright,
    /// Turned by a quarter, clockwise.
    Clockwise,
    /// Turned by a half.
    UpsideDown,
    /// Turned by a quarter, against the clock.
    CounterClockwise,
    /// Bright where it should be dark.
    Inverted,
    /// Left and right exchanged.
    Mirrored,
}

impl Pose {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upright => "as it should be",
            Self::Clockwise => "rotated clockwise",
            Self::UpsideDown => "upside down",
            Self::CounterClockwise => "rotated counter-clockwise",
            Self::Inverted => "grey values inverted",
            Self::Mirrored => "mirrored",
        }
    }

    /// A copy of an upright picture of `size * size` pixels that lies so.
    pub fn of(self, pixels: &[u8], size: usize) -> Vec<u8> {
        let last = size.saturating_sub(1);
        let from = |place: fn(usize, usize, usize) -> [usize; 2]| {
            let at = |position: usize| {
                let [row, column] = place(position / size, position % size, last);
                pixels[row * size + column]
            };
            (0..size * size).map(at).collect()
        };
        match self {
            Self::Upright => pixels.to_vec(),
            Self::Clockwise => from(|row, column, last| [last - column, row]),
            Self::UpsideDown => from(|row, column, last| [last - row, last - column]),
            Self::CounterClockwise => from(|row, column, last| [column, last - row]),
            Self::Inverted => pixels.iter().map(|pixel| 255 - pixel).collect(),
            Self::Mirrored => from(|row, column, last| [row, last - column]),
        }
    }
}

/// The largest square in the middle of a picture's content, as large as the picture: see the head of this file. A picture
/// of which less than a quarter is left either way is taken as it is.
///
/// # Shapes
/// `size * size` bytes, kept
///
/// # Errors
/// Bytes of another number.
pub(super) fn inner_square(pixels: &[u8], size: usize) -> Result<Vec<u8>> {
    let [top, left, height, width] = content(pixels, size);
    let lines = (top..top + height).flat_map(|row| &pixels[row * size + left..][..width]);
    let cut: Vec<f32> = lines.map(|pixel| f32::from(*pixel) / 255.0).collect();
    let cut = Radiograph::from_pixels(cut, height, width).context("a picture without pixels; prepare it again")?;
    Ok(fit_square(&cut, size, Fit::CentreCrop))
}

/// `[top, left, height, width]` of what is left once flat lines are taken off all edges.
fn content(pixels: &[u8], size: usize) -> [usize; 4] {
    let (mut top, mut bottom, mut left, mut right) = (0, size, 0, size);
    let flat = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let values = rows.flat_map(|row| &pixels[row * size..][columns.clone()]);
        let (low, high) = values.fold((u8::MAX, 0), |(low, high), value| (low.min(*value), high.max(*value)));
        high.saturating_sub(low) <= FLAT
    };
    // A line that is flat stays so while others go, so the end does not depend on where one begins.
    loop {
        if bottom - top < size / 4 || right - left < size / 4 || bottom == top || right == left {
            return [0, 0, size, size];
        }
        if flat(top..top + 1, left..right) {
            top += 1;
        } else if flat(bottom - 1..bottom, left..right) {
            bottom -= 1;
        } else if flat(top..bottom, left..left + 1) {
            left += 1;
        } else if flat(top..bottom, right - 1..right) {
            right -= 1;
        } else {
            return [top, left, bottom - top, right - left];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Pose; 6] =
        [Pose::Upright, Pose::Clockwise, Pose::UpsideDown, Pose::CounterClockwise, Pose::Inverted, Pose::Mirrored];

    #[test]
    fn copies_lie_as_their_names_say() {
        let pixels = [1, 2, 3, 4];
        let copies = ALL.map(|pose| pose.of(&pixels, 2));
        let expected: [[u8; 4]; 6] =
            [[1, 2, 3, 4], [3, 1, 4, 2], [4, 3, 2, 1], [2, 4, 1, 3], [254, 253, 252, 251], [2, 1, 4, 3]];
        assert_eq!(copies, expected.map(Vec::from));
        assert_eq!(ALL.map(|pose| pose.of(&[], 0).len()), [0; 6]);
    }

    /// A phantom squeezed between bars of one grey value, as padding leaves it.
    fn padded(bar: u8) -> Vec<u8> {
        let (size, width) = (64, 48);
        let phantom = radiograph::to_u8(&radiograph::Phantom::from_seed(3, 1).render(size).radiograph.pixels);
        let inside = |column: usize| (8..8 + width).contains(&column);
        (0..size * size).map(|at| if inside(at % size) { phantom[at] } else { bar }).collect()
    }

    #[test]
    fn padding_says_nothing_about_how_a_picture_lies() {
        let size = 64;
        let square = inner_square(&padded(0), size).unwrap();
        for bar in [0, 128, 255] {
            for pose in ALL {
                let copy = pose.of(&padded(bar), size);
                let (found, expected) = (inner_square(&copy, size).unwrap(), pose.of(&square, size));
                // Sums are taken in another order where the picture is turned.
                let furthest = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(furthest <= Some(1), "{pose:?} between bars of {bar}: {furthest:?}");
            }
        }
        // The bars are gone: no edge of the square is a flat line.
        assert_eq!(content(&square, size), [0, 0, size, size]);
        assert_eq!(content(&padded(0), size), [0, 8, size, 48]);
    }

    #[test]
    fn flat_pictures_are_taken_as_they_are() {
        for pixels in [vec![0; 256], vec![200; 256]] {
            assert_eq!(content(&pixels, 16), [0, 0, 16, 16]);
            assert_eq!(inner_square(&pixels, 16).unwrap(), pixels);
        }
        let mut dot = vec![0; 256];
        dot[100] = 255;
        assert_eq!(content(&dot, 16), [0, 0, 16, 16], "one bright pixel is no content");
    }
}
