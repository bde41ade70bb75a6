//! A decoded picture with its samples as the file has them: a quarter or a half of what a [`Radiograph`] takes, and
//! reduced, hashed and compared without ever becoming one.

use crate::perceptual::{self, hash_small, remark_on};
use crate::reduce::{Filter, Rows, Target, plane, reduce};
use crate::transform::{Fit, FitGeometry, write_u8};
use crate::{Radiograph, Remark, SourceFormat, SourceMetadata};

/// A decoded radiograph whose brightness is worked out row by row. [`Radiograph::from`] gives the same pixels as a plane
/// of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRadiograph {
    /// What the file has, row-major, `height * width` values.
    pub samples: Samples,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// See [`Radiograph::pixel_spacing_mm`].
    pub pixel_spacing_mm: Option<[f32; 2]>,
    /// Bits per sample that the file stored: 1, 2, 4, 8, ... 16.
    pub stored_bits: u8,
    /// The container that the picture came from.
    pub format: SourceFormat,
    /// What the source says about the patient and the view (DICOM only), and remarks on how it was read.
    pub metadata: SourceMetadata,
}

/// The samples of a [`StoredRadiograph`].
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Brightness is the value divided by 255.
    Bytes(Vec<u8>),
    /// Brightness is the table's entry of that number, in `0..=1`. No value is beyond the table's end.
    Words {
        /// One for each pixel.
        values: Vec<u16>,
        /// One for each value that there can be.
        brightness: Vec<f32>,
    },
    /// Brightness itself, in `0..=1`.
    Brightness(Vec<f32>),
}

impl Samples {
    /// The number of pixels.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(values) => values.len(),
            Self::Words { values, .. } => values.len(),
            Self::Brightness(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Rows for Samples {
    fn read(&self, row: usize, out: &mut [f32]) {
        let start = row * out.len();
        match self {
            Self::Bytes(values) => pulp::Arch::new().dispatch(|| {
                for (out, &value) in out.iter_mut().zip(&values[start..]) {
                    *out = byte_brightness(value);
                }
            }),
            Self::Words { values, brightness } => {
                for (out, &value) in out.iter_mut().zip(&values[start..]) {
                    *out = brightness[usize::from(value)];
                }
            }
            Self::Brightness(values) => values.as_slice().read(row, out),
        }
    }
}

/// A byte divided by 255, to the last bit, without a division: the first product is exact.
#[inline(always)]
fn byte_brightness(value: u8) -> f32 {
    let value = f32::from(value);
    value * (1.0 / 256.0) + value * (1.0 / 65_280.0)
}

/// What a picture becomes in a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduced {
    /// As [`crate::fit_square`] makes it: `[size, size]`.
    pub image: Vec<u8>,
    /// As [`crate::perceptual_hash`] makes it, of the whole picture.
    pub perceptual_hash: Option<u64>,
    /// As [`crate::content_remark`] finds it.
    pub remark: Option<Remark>,
}

impl StoredRadiograph {
    /// The picture as a square of 8-bit values and its perceptual hash, in one pass over its rows; otherwise as
    /// [`crate::fit_square`] and [`crate::perceptual_hash`], to the last bit.
    pub fn reduce(&self, size: usize, fit: Fit) -> Reduced {
        if size == 0 || self.samples.is_empty() {
            return Reduced { image: vec![0; size * size], perceptual_hash: None, remark: None };
        }
        let dimensions = [self.height, self.width];
        let geometry: FitGeometry = fit.geometry(self.height, self.width, size);
        let [_, _, inner_height, inner_width] = geometry.target;
        let wanted = Target { filter: Filter::CatmullRom, source: geometry.source, size: [inner_height, inner_width] };
        let mut image = vec![0; size * size];
        let mut lines = geometry.lines_mut(&mut image, size);
        let mut put = |rows: &[f32]| {
            for (row, line) in rows.chunks_exact(inner_width).zip(&mut lines) {
                write_u8(row, line);
            }
        };
        let mut small = Vec::with_capacity(perceptual::SIDE * perceptual::SIDE);
        let mut keep = |rows: &[f32]| small.extend_from_slice(rows);
        reduce(&self.samples, dimensions, [(wanted, &mut put), (perceptual::target(dimensions), &mut keep)]);
        drop(lines);
        Reduced { image, perceptual_hash: hash_small(&small), remark: remark_on(&small) }
    }
}

impl From<StoredRadiograph> for Radiograph {
    fn from(stored: StoredRadiograph) -> Self {
        let pixels = match stored.samples {
            Samples::Brightness(pixels) => pixels,
            _ => plane(&stored.samples, [stored.height, stored.width]),
        };
        let StoredRadiograph { height, width, pixel_spacing_mm, stored_bits, format, metadata, .. } = stored;
        Self { pixels, height, width, pixel_spacing_mm, stored_bits, format, metadata }
    }
}

impl From<Radiograph> for StoredRadiograph {
    fn from(picture: Radiograph) -> Self {
        let Radiograph { pixels, height, width, pixel_spacing_mm, stored_bits, format, metadata } = picture;
        Self { samples: Samples::Brightness(pixels), height, width, pixel_spacing_mm, stored_bits, format, metadata }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_divided_exactly() {
        for value in 0..=255_u8 {
            assert_eq!(byte_brightness(value).to_bits(), (f32::from(value) / 255.0).to_bits());
        }
    }

    /// Upright, lying and square pictures, larger and smaller than what they become and as large.
    #[test]
    fn rows_become_what_the_plane_of_brightness_becomes() {
        for (height, width) in [(90, 61), (61, 90), (40, 40), (24, 24), (9, 17)] {
            let samples = (0..height * width).map(|at| (at * 151 % 256) as u8).collect();
            let stored = StoredRadiograph {
                samples: Samples::Bytes(samples),
                height,
                width,
                pixel_spacing_mm: None,
                stored_bits: 8,
                format: SourceFormat::Png,
                metadata: SourceMetadata::default(),
            };
            let plane = Radiograph::from(stored.clone());
            let hash = crate::perceptual_hash(&plane.pixels, height, width);
            for fit in [Fit::Pad, Fit::CentreCrop, Fit::Stretch] {
                let image = crate::fit_square(&plane, 24, fit);
                assert_eq!(
                    stored.reduce(24, fit),
                    Reduced { image, perceptual_hash: hash, remark: crate::content_remark(&plane) },
                    "{height} x {width} {fit:?}"
                );
            }
        }
    }
}
