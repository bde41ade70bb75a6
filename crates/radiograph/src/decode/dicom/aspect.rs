//! Pixels that are not square: distances between pixels, and the size of the picture with square ones.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dataset::Dataset;
use crate::decode::DecodeOptions;
use crate::remark::note;
use crate::{DecodeError, Radiograph, Remark, StoredRadiograph, dicom_dimensions};

/// How far from 1 the ratio of the sides of a pixel that counts as square may be: less is not seen, and is not worth
/// another resampling.
const TOLERANCE: f64 = 0.05;

/// The greatest ratio of a pixel's sides that is believed.
const GREATEST: f64 = 4.0;

/// What the file says of its pixels' sides.
pub(super) struct Grid {
    /// Millimetres between rows and between columns.
    pub(super) spacing: Option<[f64; 2]>,
    /// A pixel's height divided by its width; `None` where pixels are square.
    aspect: Option<f64>,
}

impl Grid {
    /// Pixel Spacing, else Imager Pixel Spacing, else Pixel Aspect Ratio (PS3.3, 10.7 and C.7.6.3.1.7).
    pub(super) fn read(dataset: &Dataset, remarks: &mut Vec<Remark>) -> Self {
        let pair = |tag: Tag| match dataset.decimals(tag)[..] {
            [rows, columns] if rows > 0.0 && columns > 0.0 => Some([rows, columns]),
            _ => None,
        };
        let spacing = pair(tags::PIXEL_SPACING).or_else(|| pair(tags::IMAGER_PIXEL_SPACING));
        let ratio = spacing.or_else(|| pair(tags::PIXEL_ASPECT_RATIO)).map_or(1.0, |[rows, columns]| rows / columns);
        let aspect = if (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio) {
            None
        } else if (1.0 / GREATEST..=GREATEST).contains(&ratio) {
            note(remarks, Remark::NotSquare);
            Some(ratio)
        } else {
            note(remarks, Remark::AspectIgnored);
            None
        };
        Self { spacing, aspect }
    }

    /// The size of a picture with square pixels; `None` where it has them. The finer of both distances is kept, and the
    /// coarser where that would be more pixels than allowed.
    pub(super) fn square_size(&self, [height, width]: [usize; 2], options: &DecodeOptions) -> Option<[usize; 2]> {
        let aspect = self.aspect?;
        let scaled = |length: usize, by: f64| ((length as f64 * by).round() as usize).max(1);
        let (taller, wider) = ([scaled(height, aspect), width], [height, scaled(width, 1.0 / aspect)]);
        let (finer, coarser) = if aspect > 1.0 { (taller, wider) } else { (wider, taller) };
        let is_allowed = (finer[0] as u64).saturating_mul(finer[1] as u64) <= options.max_pixels;
        Some(if is_allowed { finer } else { coarser })
    }
}

/// The picture at another size, of which it says what it had in its file.
pub(super) fn resampled(picture: StoredRadiograph, [height, width]: [usize; 2]) -> StoredRadiograph {
    let mut picture = Radiograph::from(picture);
    let stored_size = [picture.height, picture.width];
    if let Some(pixels) = crate::resize(&picture.pixels, stored_size[0], stored_size[1], height, width) {
        picture.pixels = pixels;
        (picture.height, picture.width) = (height, width);
        picture.metadata.stored_size = Some(stored_size);
    }
    picture.into()
}

/// Height and width that a DICOM image has once it is decoded, without decoding it: its rows and columns, but for images
/// whose pixels are not square.
///
/// # Errors
/// Those of [`dicom_dimensions`].
pub fn dicom_square_dimensions(source: &[u8], options: &DecodeOptions) -> Result<[usize; 2], DecodeError> {
    let stored = dicom_dimensions(source)?;
    let wanted = [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING, tags::PIXEL_ASPECT_RATIO];
    let grid = Grid::read(&Dataset::read_only(source, &wanted, options)?, &mut Vec::new());
    Ok(grid.square_size(stored, options).unwrap_or(stored))
}
