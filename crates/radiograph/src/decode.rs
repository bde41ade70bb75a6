//! From the bytes of a file to a [`Radiograph`]: what the file is, is told by its content, never by its name.
//!
//! Hospital exports are full of surprises (`.dcm` files that are JPEG, thumbnails without an ending, half-copied
//! files), so every failure is a sentence and none a panic: the decoders are pure Rust, and a panic inside one is
//! caught and reported as a failure of that decoder.

mod dicom;
mod guard;
mod jpeg;
mod orientation;
mod png;

use std::io::Read;
use std::path::Path;

pub use dicom::aspect::dicom_square_dimensions;
pub use dicom::directory::dicom_directory;
pub use dicom::segmentation::{DicomStructure, dicom_dimensions, dicom_segmentation};

use orientation::Orientation;

use crate::{DecodeError, Fit, Radiograph, SourceFormat, StoredRadiograph};

/// What a decoder may do and how it chooses grey values where the file leaves a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeOptions {
    /// Images with more pixels are refused before memory is taken for them. Default 100,000,000: the largest
    /// radiographs (mammograms) have about 30 million; each pixel takes 4 bytes once decoded, and up to 12 on the way.
    /// It limits the bytes of a file too, see [`DecodeOptions::max_bytes`].
    pub max_pixels: u64,
    /// The percentiles that become black and white for a DICOM image of more than 8 bits without window or look-up table.
    /// Default `[0.5, 99.5]`: robust against markers, collimator edges and dead pixels.
    pub percentiles: [f32; 2],
    /// Also stretch between these percentiles: PNG and JPEG images, DICOM images of up to 8 bits without window or look-up
    /// table, and DICOM images of which the window or table leaves nothing to see. Default `false`: values are taken as
    /// they are. For 16-bit PNG exports that use a part of the range only.
    pub stretch_plain_images: bool,
    /// Pictures may be decoded to a half, a quarter or an eighth of their rows and columns where the file's compression
    /// makes that quicker (JPEG of the usual kinds, JPEG 2000), as long as they keep twice the resolution that is needed
    /// for this. Default `None`: all pixels are decoded.
    pub reduce_for: Option<(usize, Fit)>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, percentiles: [0.5, 99.5], stretch_plain_images: false, reduce_for: None }
    }
}

impl DecodeOptions {
    /// The most bytes that a file may have, packed or unpacked: eight for each pixel, which is RGB with alpha at 16 bit,
    /// and 64 MiB for headers and profiles.
    pub fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(8).saturating_add(64 << 20)
    }

    fn too_many_bytes(&self) -> DecodeError {
        DecodeError::TooManyBytes { max_bytes: self.max_bytes(), max_pixels: self.max_pixels }
    }

    /// By how much a picture of a size is reduced when it is decoded: 1, 2, 4 or 8.
    fn reduction(&self, height: usize, width: usize) -> usize {
        let Some((size, fit)) = self.reduce_for.filter(|&(size, _)| size > 0 && height > 0 && width > 0) else {
            return 1;
        };
        let geometry = fit.geometry(height, width, size);
        let finer = |axis: usize| geometry.source[axis] / geometry.target[axis] as f64;
        let finer = finer(2).min(finer(3));
        [8, 4, 2].into_iter().find(|&reduction| finer >= 2.0 * reduction as f64).unwrap_or(1)
    }

    /// Checks dimensions from a header, before memory is taken for them.
    fn check_size(&self, format: SourceFormat, height: u64, width: u64) -> Result<(), DecodeError> {
        if height == 0 || width == 0 {
            return Err(DecodeError::corrupt(format, format_args!("the header says {width} x {height} pixels")));
        }
        if height.checked_mul(width).is_none_or(|pixels| pixels > self.max_pixels) {
            return Err(DecodeError::TooLarge { width, height, max_pixels: self.max_pixels });
        }
        Ok(())
    }
}

/// How many leading bytes tell the format: the DICOM mark lies at 128..132.
const SNIFFED_BYTES: u64 = 132;

/// Decodes the image file at `path`.
///
/// Covered: DICOM (8 to 16 bit, signed or not, grey or RGB, one frame; uncompressed little and big endian, deflated,
/// RLE, JPEG baseline, extended and lossless, JPEG-LS, JPEG 2000 and its high-throughput kind, JPEG XL), PNG (1 to 16 bit,
/// grey, alpha, palette, RGB) and JPEG (baseline, extended, progressive; grey, colour). Colours become luma (Rec. 601),
/// alpha is laid on black; pixels that are not square are resampled, Exif orientations applied, and
/// [`SourceMetadata::remarks`](crate::SourceMetadata::remarks) say so.
///
/// # Errors
/// [`DecodeError::InFile`] around the reason, with the path last in the message.
pub fn decode_file(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Radiograph, DecodeError> {
    let path = path.as_ref();
    let read = || {
        let file = std::fs::File::open(path).map_err(DecodeError::Read)?;
        let size = file.metadata().map_err(DecodeError::Read)?.len();
        read_image(file, size, options)
    };
    read()
        .and_then(|bytes| decode_bytes(&bytes, options))
        .map_err(|reason| DecodeError::InFile { reason: Box::new(reason), path: path.to_path_buf() })
}

/// Whether bytes are a DICOM file, by content.
pub fn is_dicom(bytes: &[u8]) -> bool {
    matches!(sniff(bytes), Ok(SourceFormat::Dicom))
}

/// Decodes an image from the bytes of its file; otherwise as [`decode_file`].
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<Radiograph, DecodeError> {
    decode_stored(bytes, options).map(Radiograph::from)
}

/// Decodes an image from the bytes of its file and leaves its samples as they are there; otherwise as [`decode_bytes`].
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_stored(bytes: &[u8], options: &DecodeOptions) -> Result<StoredRadiograph, DecodeError> {
    let format = sniff(bytes)?;
    let decode = || match format {
        SourceFormat::Png => png::decode(bytes, options),
        SourceFormat::Jpeg => jpeg::decode(bytes, options),
        _ => dicom::decode(bytes, options),
    };
    guard::guarded(format, decode)
}

/// Reads the bytes of an image file for [`decode_bytes`], as far as they may be one: a stray file is not read beyond the
/// bytes that tell its format, and never more than [`DecodeOptions::max_bytes`] are. `size` is what the reader is said to
/// hold, in bytes.
///
/// # Errors
/// No image by its first bytes, too many bytes, whatever the reader says.
pub fn read_image(mut reader: impl Read, size: u64, options: &DecodeOptions) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    (&mut reader).take(SNIFFED_BYTES).read_to_end(&mut bytes).map_err(DecodeError::Read)?;
    sniff(&bytes)?;
    let limit = options.max_bytes();
    if size > limit {
        return Err(options.too_many_bytes());
    }
    // Sizes that headers claim are not believed beyond a megabyte: room for more is made as bytes arrive.
    bytes.reserve_exact(size.min(1 << 20) as usize);
    let rest = limit.saturating_add(1) - bytes.len() as u64;
    reader.take(rest).read_to_end(&mut bytes).map_err(DecodeError::Read)?;
    if bytes.len() as u64 > limit {
        return Err(options.too_many_bytes());
    }
    Ok(bytes)
}

/// The format that the first bytes announce.
fn sniff(bytes: &[u8]) -> Result<SourceFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(SourceFormat::Png);
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Ok(SourceFormat::Jpeg);
    }
    if bytes.get(128..132) == Some(b"DICM") || dicom::starts_without_preamble(bytes) {
        return Ok(SourceFormat::Dicom);
    }
    Err(DecodeError::UnknownFormat { found: describe(bytes) })
}

/// What bytes that are no image we read look like, for the message.
fn describe(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 17] = [
        (b"GIF8", "a GIF image"),
        (b"BM", "a BMP image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
        (b"%PDF", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzip-compressed data"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a RAR archive"),
        (b"\xfd7zXZ\0", "xz-compressed data"),
        (b"RIFF", "a RIFF file (WebP or sound)"),
        (b"\x89HDF", "an HDF5 file"),
        (b"PAR1", "a Parquet table"),
        (b"<", "an HTML or XML document"),
        (b"\x5c\x01\0\0", "a NIfTI volume"),
    ];
    // A text byte is printable ASCII, white space, or part of UTF-8.
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if let Some((_, name)) = known.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        (*name).to_string()
    } else if bytes.iter().all(is_text) && std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_ok() {
        "a text file".to_string()
    } else {
        let first: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("data of an unknown kind (starting with {})", first.join(" "))
    }
}

/// Rec. 601 luma of integer samples, scaled to `0..=1`. Integer weights keep a grey RGB pixel exactly at its grey.
fn luma([red, green, blue]: [u32; 3], max: f64) -> f32 {
    let thousandths = u64::from(red) * 299 + u64::from(green) * 587 + u64::from(blue) * 114;
    (thousandths as f64 / (1000.0 * max)) as f32
}

/// The values at two percentiles (in percent) of a set of numbers, by counting into 65,536 bins between its extremes.
/// Integer pixels of up to 16 bit come out exact. `None` for an empty set.
fn percentile_range(values: impl Iterator<Item = f32> + Clone, percentiles: [f32; 2]) -> Option<[f32; 2]> {
    const BINS: usize = 1 << 16;
    let finite = || values.clone().filter(|value| value.is_finite());
    let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    // A range of whole numbers that fits gets one bin for each of them.
    let width = (f64::from(high) - f64::from(low)).max(f64::MIN_POSITIVE);
    let step = if width <= (BINS - 1) as f64 && width >= 16.0 { 1.0 } else { width / (BINS - 1) as f64 };
    let mut counts = vec![0_u64; BINS];
    let mut total = 0_u64;
    for value in finite() {
        let bin = ((f64::from(value) - f64::from(low)) / step).round() as usize;
        counts[bin.min(BINS - 1)] += 1;
        total += 1;
    }
    Some(percentiles.map(|percent| {
        let wanted = (f64::from(percent.clamp(0.0, 100.0)) / 100.0 * (total - 1) as f64).round() as u64;
        let mut seen = 0;
        let bin = counts.iter().position(|count| {
            seen += count;
            seen > wanted
        });
        (f64::from(low) + bin.unwrap_or(0) as f64 * step) as f32
    }))
}

/// Maps `low..high` to `0..=1` in place, clamping what lies outside. A flat image becomes mid-grey.
fn stretch(pixels: &mut [f32], [low, high]: [f32; 2]) {
    let span = high - low;
    for pixel in pixels {
        *pixel = if span > 0.0 { ((*pixel - low) / span).clamp(0.0, 1.0) } else { 0.5 };
    }
}

/// The orientation and the optional percentile stretch of PNG and JPEG pictures.
fn finish_plain(
    mut picture: StoredRadiograph,
    orientation: Option<Orientation>,
    options: &DecodeOptions,
) -> StoredRadiograph {
    if let Some(orientation) = orientation {
        orientation.apply(&mut picture);
    }
    if !options.stretch_plain_images {
        return picture;
    }
    stretched(picture, options)
}

/// Brightness stretched between the percentiles.
fn stretched(picture: StoredRadiograph, options: &DecodeOptions) -> StoredRadiograph {
    let mut picture = Radiograph::from(picture);
    if let Some(range) = percentile_range(picture.pixels.iter().map(|pixel| pixel * 65535.0), options.percentiles) {
        stretch(&mut picture.pixels, range.map(|value| value / 65535.0));
    }
    picture.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_whole_numbers_are_exact() {
        let values: Vec<f32> = (0..=1000).map(|i| 500.0 + i as f32).collect();
        assert_eq!(percentile_range(values.iter().copied(), [1.0, 99.0]), Some([510.0, 1490.0]));
        assert_eq!(percentile_range([7.0_f32; 3].into_iter(), [0.5, 99.5]), Some([7.0, 7.0]));
        assert_eq!(percentile_range([f32::NAN].into_iter(), [0.5, 99.5]), None);
    }

    #[test]
    fn percentiles_of_fractions_are_close() {
        let values: Vec<f32> = (0..=10_000).map(|i| i as f32 / 10_000.0).collect();
        let [low, high] = percentile_range(values.iter().copied(), [10.0, 90.0]).unwrap();
        assert!((low - 0.1).abs() < 1e-4 && (high - 0.9).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn foreign_content_is_named() {
        let options = DecodeOptions::default();
        for (bytes, expected) in [
            (&b"GIF89a......"[..], "a GIF image"),
            (b"path,label\na.png,1\n", "a text file"),
            (b"\x01\x02\x03\x00\x05", "data of an unknown kind (starting with 01 02 03 00 05)"),
        ] {
            let message = decode_bytes(bytes, &options).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("this is {expected}, not a DICOM, PNG or JPEG image; convert it or leave it out")
            );
        }
        assert!(matches!(decode_bytes(&[], &options), Err(DecodeError::Empty)));
    }

    #[test]
    fn a_missing_file_is_a_sentence_with_the_path_last() {
        let message = decode_file("/no/such/file.png", &DecodeOptions::default()).unwrap_err().to_string();
        assert!(
            message.starts_with("the file cannot be read") && message.ends_with(": /no/such/file.png"),
            "{message}"
        );
    }

    #[test]
    fn grey_colours_keep_their_value() {
        for value in 0..=255_u32 {
            assert_eq!(luma([value; 3], 255.0), value as f32 / 255.0);
        }
    }
}
