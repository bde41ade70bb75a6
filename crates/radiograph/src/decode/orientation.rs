//! The orientation that Exif gives to a JPEG or PNG file (CIPA DC-008, 4.6.4, tag 0x0112): which side of the stored
//! picture is up. It is applied, as viewers do. Exif that cannot be read counts as none.

use crate::remark::note;
use crate::{Remark, Samples, StoredRadiograph};

/// The tag of the orientation in the first directory.
const TAG: u16 = 0x0112;

/// The types of numbers of one, two and four bytes. The standard asks for two; others were seen.
const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// An orientation other than the usual one: 2 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    /// From Exif data, with or without the mark that goes before them in JPEG files.
    pub(super) fn of_exif(exif: &[u8]) -> Option<Self> {
        let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
        let is_little_endian = match exif.get(..4)? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let bytes = |at: usize, count: usize| exif.get(at..at.checked_add(count)?);
        let short = |at: usize| {
            let pair = *bytes(at, 2)?.first_chunk()?;
            Some(if is_little_endian { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
        };
        let long = |at: usize| {
            let four = *bytes(at, 4)?.first_chunk()?;
            Some(if is_little_endian { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
        };
        let directory = usize::try_from(long(4)?).ok()?;
        // Each entry: tag, type, count, and a value of up to four bytes, at the beginning of its field.
        let entries = (0..usize::from(short(directory)?)).map(|entry| directory.saturating_add(2 + 12 * entry));
        let entry = entries.take_while(|&at| at < exif.len()).find(|&at| short(at) == Some(TAG))?;
        let value = match short(entry + 2)? {
            BYTE => u32::from(*exif.get(entry + 8)?),
            SHORT => u32::from(short(entry + 8)?),
            LONG => long(entry + 8)?,
            _ => return None,
        };
        (2..=8).contains(&value).then_some(Self(value as u8))
    }

    /// Turns and mirrors the picture so that it is upright.
    pub(super) fn apply(self, picture: &mut StoredRadiograph) {
        let size = [picture.height, picture.width];
        match &mut picture.samples {
            Samples::Bytes(values) => *values = self.upright(values, size),
            Samples::Words { values, .. } => *values = self.upright(values, size),
            Samples::Brightness(values) => *values = self.upright(values, size),
        }
        if self.0 >= 5 {
            (picture.height, picture.width) = (picture.width, picture.height);
            picture.pixel_spacing_mm = picture.pixel_spacing_mm.map(|[rows, columns]| [columns, rows]);
        }
        note(&mut picture.metadata.remarks, Remark::Oriented);
    }

    /// Rows and columns are exchanged from 5 on.
    fn upright<T: Copy>(self, values: &[T], [height, width]: [usize; 2]) -> Vec<T> {
        let [rows, columns] = if self.0 >= 5 { [width, height] } else { [height, width] };
        let mut out = Vec::with_capacity(values.len());
        for row in 0..rows {
            out.extend((0..columns).map(|column| {
                let (from_row, from_column) = match self.0 {
                    2 => (row, width - 1 - column),
                    3 => (height - 1 - row, width - 1 - column),
                    4 => (height - 1 - row, column),
                    5 => (column, row),
                    6 => (height - 1 - column, row),
                    7 => (height - 1 - column, width - 1 - row),
                    8 => (column, width - 1 - row),
                    _ => (row, column),
                };
                values[from_row * width + from_column]
            }));
        }
        out
    }
}
