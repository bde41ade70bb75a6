//! A mask of both lungs, cleaned and told apart.

use anyhow::Result;
use metrics::segmentation::{BinaryMask, Connectivity, connected_components, fill_holes};

/// Both lungs, 1 inside, `[size * size]` each. Right and left are the patient's: the right lung is on the left of the
/// picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lungs {
    /// The patient's right lung.
    pub right: Vec<u8>,
    /// The patient's left lung.
    pub left: Vec<u8>,
}

/// A lung is at least this share of the picture; anything smaller is debris.
const SMALLEST_SHARE: f64 = 0.005;

impl Lungs {
    /// Splits a mask at the column in the middle half where it is thinnest, keeps the largest connected piece of each
    /// side and fills its holes. Pieces below half a hundredth of the picture are no lungs.
    ///
    /// # Errors
    /// A mask of another size.
    pub fn of_mask(mask: &[u8], size: usize) -> Result<Self> {
        let Self { right, left } = Self::split(mask, size);
        Ok(Self { right: largest_piece(&right, size)?, left: largest_piece(&left, size)? })
    }

    /// Splits a mask alone, every pixel kept: for masks that people drew.
    pub fn split(mask: &[u8], size: usize) -> Self {
        let middle = middle_column(mask, size);
        let side = |is_right: bool| {
            mask.iter()
                .enumerate()
                .map(|(at, value)| u8::from(*value != 0 && (at % size < middle) == is_right))
                .collect()
        };
        Self { right: side(true), left: side(false) }
    }

    /// Both together.
    pub fn both(&self) -> Vec<u8> {
        self.right.iter().zip(&self.left).map(|(right, left)| right | left).collect()
    }
}

/// The first column of the left lung: of the thinnest columns in the middle half the one nearest to the centre.
fn middle_column(mask: &[u8], size: usize) -> usize {
    let inside = |column: usize| (0..size).filter(|row| mask[row * size + column] != 0).count();
    let columns = size / 4..(3 * size).div_ceil(4);
    columns.min_by_key(|column| (inside(*column), column.abs_diff(size / 2))).unwrap_or(size / 2)
}

fn largest_piece(mask: &[u8], size: usize) -> Result<Vec<u8>> {
    let pieces = connected_components(BinaryMask::new(mask, size, size)?, Connectivity::Four);
    let fewest = (size * size) as f64 * SMALLEST_SHARE;
    match pieces.by_area().first() {
        Some(&largest) if pieces.areas[largest as usize - 1] as f64 >= fewest => {
            Ok(fill_holes(BinaryMask::new(&pieces.mask_of(&[largest]), size, size)?))
        }
        _ => Ok(vec![0; size * size]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangle(mask: &mut [u8], rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, value: u8) {
        for row in rows {
            for column in columns.clone() {
                mask[row * 40 + column] = value;
            }
        }
    }

    #[test]
    fn the_two_sides_are_told_apart_and_cleaned() {
        let mut mask = vec![0; 1600];
        rectangle(&mut mask, 10..30, 4..17, 1);
        rectangle(&mut mask, 10..30, 22..36, 1);
        let clean = Lungs::split(&mask, 40);
        rectangle(&mut mask, 15..17, 8..10, 0);
        rectangle(&mut mask, 35..37, 8..10, 1);
        let found = Lungs::of_mask(&mask, 40).unwrap();
        assert_eq!(found, clean, "a hole is filled, debris is gone");
        assert_eq!(found.right.iter().map(|x| usize::from(*x)).sum::<usize>(), 20 * 13);
        assert_eq!(found.both().iter().map(|x| usize::from(*x)).sum::<usize>(), 20 * 27);
    }

    #[test]
    fn lungs_that_touch_are_cut_where_they_are_thinnest() {
        let mut mask = vec![0; 1600];
        rectangle(&mut mask, 10..30, 4..36, 1);
        rectangle(&mut mask, 12..30, 18..19, 0);
        let Lungs { right, left } = Lungs::of_mask(&mask, 40).unwrap();
        assert!(right.iter().enumerate().all(|(at, value)| *value == 0 || at % 40 < 18));
        assert!(left.contains(&1));
    }

    #[test]
    fn an_empty_mask_has_no_lungs() {
        let lungs = Lungs::of_mask(&[0; 1600], 40).unwrap();
        assert_eq!(lungs.both(), vec![0; 1600]);
    }
}
