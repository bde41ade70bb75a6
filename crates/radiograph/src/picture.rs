//! The decoded picture and what may be known about where it came from.
//!
//! Everything downstream sees only this: one plane of `f32` in `0..=1`, so that bit depths, windows and inverted greys
//! end at the decoder.

use std::fmt;

use crate::Remark;

/// A decoded radiograph: one plane of brightness, bright where the body absorbs X-rays.
#[derive(Clone, Debug, PartialEq)]
pub struct Radiograph {
    /// Brightness in `0..=1`, row-major, `height * width` values.
    pub pixels: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Distance between pixel centres in millimetres, `[between rows, between columns]`, where the file says it
    /// (DICOM `PixelSpacing`, else `ImagerPixelSpacing`; the `pHYs` chunk of a PNG is about printing and is ignored).
    pub pixel_spacing_mm: Option<[f32; 2]>,
    /// Bits per sample that the file stored: 1, 2, 4, 8, ... 16.
    pub stored_bits: u8,
    /// The container that the picture came from.
    pub format: SourceFormat,
    /// What the source says about the patient and the view (DICOM only), and remarks on how it was read.
    pub metadata: SourceMetadata,
}

impl Radiograph {
    /// A radiograph made in memory from `height * width` values, which are clamped to `0..=1` (not a number becomes 0).
    ///
    /// Returns `None` where the number of pixels is not `height * width` or is zero.
    pub fn from_pixels(mut pixels: Vec<f32>, height: usize, width: usize) -> Option<Self> {
        if pixels.is_empty() || height.checked_mul(width) != Some(pixels.len()) {
            return None;
        }
        for pixel in &mut pixels {
            *pixel = if pixel.is_nan() { 0.0 } else { pixel.clamp(0.0, 1.0) };
        }
        Some(Self {
            pixels,
            height,
            width,
            pixel_spacing_mm: None,
            stored_bits: 8,
            format: SourceFormat::Memory,
            metadata: SourceMetadata::default(),
        })
    }

    /// The part `[top, left, height, width]` of the picture, which must lie within it and have pixels.
    pub fn cropped(&self, part: [usize; 4]) -> Self {
        let [_, _, height, width] = part;
        Self {
            pixels: crop(&self.pixels, self.width, part),
            height,
            width,
            pixel_spacing_mm: self.pixel_spacing_mm,
            stored_bits: self.stored_bits,
            format: self.format,
            metadata: self.metadata.clone(),
        }
    }

    /// The mean brightness, in `0..=1`.
    pub fn mean(&self) -> f32 {
        let sum: f64 = self.pixels.iter().map(|&pixel| f64::from(pixel)).sum();
        (sum / self.pixels.len() as f64) as f32
    }
}

/// The container that a picture was read from, found by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceFormat {
    /// DICOM part 10 file, or a bare DICOM data set.
    Dicom,
    /// Portable Network Graphics.
    Png,
    /// JPEG (baseline, progressive).
    Jpeg,
    /// Made in memory: a phantom or a generated image.
    Memory,
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dicom => "DICOM",
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Memory => "memory",
        })
    }
}

/// What the rest of the program may learn from a header beyond the picture. Nothing else leaves the decoder.
///
/// The patient identifier is here so that a caller can hash it with a salt for splitting by patient; it must not be
/// stored. `Debug` therefore does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceMetadata {
    /// `PatientID` (0010,0020) as written, trimmed; `None` where missing or empty.
    pub patient_id: Option<String>,
    /// `ViewPosition` (0018,5101), trimmed: `PA`, `AP`, `LL`, ...; `None` where missing or empty.
    pub view: Option<String>,
    /// Rows and columns of the file where its pixels are not square, so that the picture has others.
    pub stored_size: Option<[usize; 2]>,
    /// What is to be known about how the file was read, each once; of every format.
    pub remarks: Vec<Remark>,
}

impl fmt::Debug for SourceMetadata {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SourceMetadata")
            .field("patient_id", &self.patient_id.as_ref().map(|_| "(withheld)"))
            .field("view", &self.view)
            .field("stored_size", &self.stored_size)
            .field("remarks", &self.remarks)
            .finish()
    }
}

/// A binary mask: 1 inside, 0 outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// 0 or 1, row-major, `height * width` values.
    pub pixels: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Mask {
    /// The mask that a picture shows: inside is whatever is brighter than half of the picture's brightest pixel, so
    /// that masks stored as 0 and 1, as 0 and 255, or with lossy compression all read the same. All black is all
    /// outside.
    pub fn from_radiograph(picture: &Radiograph) -> Self {
        let brightest = picture.pixels.iter().copied().fold(0.0_f32, f32::max);
        let pixels = picture.pixels.iter().map(|&pixel| u8::from(brightest > 0.0 && pixel > 0.5 * brightest)).collect();
        Self { pixels, height: picture.height, width: picture.width }
    }

    /// What lies on the part `[top, left, height, width]` of a picture of `[height, width]` that the mask belongs to; the
    /// mask may have another resolution, and has a pixel at least.
    pub fn cropped(&self, part: [usize; 4], picture: [usize; 2]) -> Self {
        let interval = |start: usize, length: usize, of: usize, own: usize| {
            let scaled = |at: usize| (at as f64 * own as f64 / of as f64).round() as usize;
            let first = scaled(start).min(own.saturating_sub(1));
            (first, scaled(start + length).clamp(first + 1, own.max(first + 1)) - first)
        };
        let (top, height) = interval(part[0], part[2], picture[0], self.height);
        let (left, width) = interval(part[1], part[3], picture[1], self.width);
        Self { pixels: crop(&self.pixels, self.width, [top, left, height, width]), height, width }
    }

    /// The share of the picture that is inside, in `0..=1`.
    pub fn coverage(&self) -> f32 {
        let inside = self.pixels.iter().filter(|&&pixel| pixel != 0).count();
        inside as f32 / self.pixels.len().max(1) as f32
    }
}

fn crop<T: Copy>(pixels: &[T], row_length: usize, [top, left, height, width]: [usize; 4]) -> Vec<T> {
    let rows = pixels.chunks_exact(row_length.max(1)).skip(top).take(height);
    rows.flat_map(|row| &row[left..left + width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_cropped_where_their_picture_is() {
        let pixels: Vec<f32> = (0..24).map(|at| at as f32 / 24.0).collect();
        let picture = Radiograph::from_pixels(pixels, 4, 6).unwrap();
        let part = picture.cropped([1, 2, 2, 3]);
        let expected = [8, 9, 10, 14, 15, 16].map(|at| at as f32 / 24.0);
        assert_eq!((part.height, part.width, &part.pixels[..]), (2, 3, &expected[..]));
        let mask =
            Mask { pixels: (0..96).map(|at| u8::from(at % 12 >= 6 && at / 12 < 4)).collect(), height: 8, width: 12 };
        let part = mask.cropped([1, 2, 2, 3], [4, 6]);
        assert_eq!((part.height, part.width), (4, 6));
        // Columns 4 to 9 and rows 2 to 5 of the mask.
        assert_eq!(part.pixels, [[0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0; 6], [0; 6]].concat());
    }

    #[test]
    fn debug_does_not_show_the_patient() {
        let metadata =
            SourceMetadata { patient_id: Some("Doe^Jane".into()), view: Some("PA".into()), ..Default::default() };
        let shown = format!("{metadata:?}");
        assert!(!shown.contains("Doe") && shown.contains("PA"), "{shown}");
    }

    #[test]
    fn from_pixels_checks_and_clamps() {
        assert!(Radiograph::from_pixels(vec![0.0; 5], 2, 3).is_none());
        assert!(Radiograph::from_pixels(vec![], 0, 3).is_none());
        let picture = Radiograph::from_pixels(vec![-1.0, f32::NAN, 2.0, 0.25], 2, 2).unwrap();
        assert_eq!(picture.pixels, [0.0, 0.0, 1.0, 0.25]);
    }

    #[test]
    fn masks_read_the_same_whatever_their_scale() {
        for scale in [1.0, 1.0 / 255.0] {
            let picture = Radiograph::from_pixels(vec![0.0, scale, 0.0, scale], 2, 2).unwrap();
            assert_eq!(Mask::from_radiograph(&picture).pixels, [0, 1, 0, 1]);
        }
        let black = Radiograph::from_pixels(vec![0.0; 4], 2, 2).unwrap();
        assert_eq!(Mask::from_radiograph(&black).coverage(), 0.0);
    }
}
