//! The decoded picture and what may be known about where it came from.
//!
//! Everything downstream sees only this: one plane of `f32` in `0..=1`, so that bit depths, windows and inverted greys
//! end at the decoder.

use std::fmt;

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
    /// What the source says about the patient and the view; empty for anything but DICOM.
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

/// The two things that the rest of the program may learn from a DICOM header. Nothing else leaves the decoder.
///
/// The patient identifier is here so that a caller can hash it with a salt for splitting by patient; it must not be
/// stored. `Debug` therefore does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceMetadata {
    /// `PatientID` (0010,0020) as written, trimmed; `None` where missing or empty.
    pub patient_id: Option<String>,
    /// `ViewPosition` (0018,5101), trimmed: `PA`, `AP`, `LL`, ...; `None` where missing or empty.
    pub view: Option<String>,
}

impl fmt::Debug for SourceMetadata {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SourceMetadata")
            .field("patient_id", &self.patient_id.as_ref().map(|_| "(withheld)"))
            .field("view", &self.view)
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

    /// The share of the picture that is inside, in `0..=1`.
    pub fn coverage(&self) -> f32 {
        let inside = self.pixels.iter().filter(|&&pixel| pixel != 0).count();
        inside as f32 / self.pixels.len().max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_patient() {
        let metadata = SourceMetadata { patient_id: Some("Doe^Jane".into()), view: Some("PA".into()) };
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
