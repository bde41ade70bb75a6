//! Masks and label maps over grey images, for reports and for looking at segmentations.

use crate::{RgbImage, WriteError};

/// Ten colours that stay apart in print and for colour-blind readers (after M. Petroff, "Accessible color sequences
/// for data visualization", 2021), used in turn for label maps.
const LABEL_COLORS: [[u8; 3]; 10] = [
    [63, 144, 218],
    [255, 169, 14],
    [189, 31, 1],
    [148, 164, 162],
    [131, 45, 182],
    [169, 107, 89],
    [231, 99, 0],
    [185, 172, 112],
    [113, 117, 129],
    [146, 218, 221],
];

/// A grey image (`height * width`) with every label (same size) tinted in a colour of its own, background 0 left as
/// it is; colours repeat after ten labels.
///
/// # Errors
/// [`WriteError::Dimensions`] where image or labels are not `height * width`.
pub fn overlay_labels(
    image: &[u8],
    labels: &[u8],
    height: usize,
    width: usize,
    opacity: f32,
) -> Result<RgbImage, WriteError> {
    let color = |label: u8| label.checked_sub(1).map(|index| LABEL_COLORS[usize::from(index) % LABEL_COLORS.len()]);
    tint(image, labels, height, width, opacity, color)
}

/// Draws the outline of a mask (non-zero, same size as the picture) in `color`: the pixels inside the mask with a
/// neighbour outside it, so that the picture's edge is no outline.
///
/// # Errors
/// [`WriteError::Dimensions`] where the mask has another size than the picture.
pub fn outline_mask(picture: &mut RgbImage, mask: &[u8], color: [u8; 3]) -> Result<(), WriteError> {
    let (height, width) = (picture.height, picture.width);
    check(mask, height, width)?;
    let inside = |row: usize, column: usize| mask[row * width + column] != 0;
    for row in 0..height {
        for column in 0..width {
            let has_outside_neighbour = (row > 0 && !inside(row - 1, column))
                || (row + 1 < height && !inside(row + 1, column))
                || (column > 0 && !inside(row, column - 1))
                || (column + 1 < width && !inside(row, column + 1));
            if inside(row, column) && has_outside_neighbour {
                picture.data[(row * width + column) * 3..][..3].copy_from_slice(&color);
            }
        }
    }
    Ok(())
}

fn check(values: &[u8], height: usize, width: usize) -> Result<(), WriteError> {
    if height.checked_mul(width) == Some(values.len()) {
        Ok(())
    } else {
        Err(WriteError::Dimensions { values: values.len(), height, width, channels: 1 })
    }
}

fn tint(
    image: &[u8],
    labels: &[u8],
    height: usize,
    width: usize,
    opacity: f32,
    color_of: impl Fn(u8) -> Option<[u8; 3]>,
) -> Result<RgbImage, WriteError> {
    check(labels, height, width)?;
    let mut picture = RgbImage::from_grey(image, height, width)?;
    let opacity = opacity.clamp(0.0, 1.0);
    for (pixel, &label) in picture.data.chunks_exact_mut(3).zip(labels) {
        if let Some(color) = color_of(label) {
            for (channel, tint) in pixel.iter_mut().zip(color) {
                *channel = (f32::from(*channel) * (1.0 - opacity) + f32::from(tint) * opacity).round() as u8;
            }
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_inside_is_tinted() {
        let picture = overlay_labels(&[100, 100], &[0, 1], 1, 2, 0.5).unwrap();
        assert_eq!(picture.data, [100, 100, 100, 82, 122, 159]);
        let labels = overlay_labels(&[10, 10, 10], &[0, 1, 11], 1, 3, 1.0).unwrap();
        assert_eq!(labels.data[..3], [10, 10, 10]);
        assert_eq!(labels.data[3..6], labels.data[6..9]);
    }

    #[test]
    fn outline_is_one_pixel_inside() {
        let mask: Vec<u8> = (0..49).map(|i| u8::from((1..6).contains(&(i / 7)) && (1..6).contains(&(i % 7)))).collect();
        let mut picture = RgbImage::from_grey(&[0; 49], 7, 7).unwrap();
        outline_mask(&mut picture, &mask, [255, 0, 0]).unwrap();
        assert_eq!(picture.data.iter().filter(|&&value| value == 255).count(), 16);
        assert!(outline_mask(&mut picture, &mask[1..], [0; 3]).is_err());
    }
}
