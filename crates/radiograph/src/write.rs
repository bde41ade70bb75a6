//! PNG writing: grey of 8 or 16 bits and RGB, to bytes or to a file, which appears whole or not at all (`files`).

use std::path::Path;

use crate::WriteError;

/// Encodes grey 8-bit pixels (`height * width`, row-major) as PNG.
///
/// # Errors
/// [`WriteError::Dimensions`] where the number of values does not fit.
pub fn encode_png_u8(pixels: &[u8], height: usize, width: usize) -> Result<Vec<u8>, WriteError> {
    encode(pixels, height, width, 1, png::ColorType::Grayscale, png::BitDepth::Eight)
}

/// Encodes grey 16-bit pixels (`height * width`, row-major) as PNG.
///
/// # Errors
/// [`WriteError::Dimensions`] where the number of values does not fit.
pub fn encode_png_u16(pixels: &[u16], height: usize, width: usize) -> Result<Vec<u8>, WriteError> {
    encode(&big_endian(pixels), height, width, 2, png::ColorType::Grayscale, png::BitDepth::Sixteen)
}

/// Encodes RGB 8-bit pixels (`height * width * 3`, interleaved) as PNG.
///
/// # Errors
/// [`WriteError::Dimensions`] where the number of values does not fit.
pub fn encode_png_rgb(pixels: &[u8], height: usize, width: usize) -> Result<Vec<u8>, WriteError> {
    encode(pixels, height, width, 3, png::ColorType::Rgb, png::BitDepth::Eight)
}

/// Writes grey 8-bit pixels as a PNG file, atomically.
///
/// # Errors
/// [`WriteError::Dimensions`], or [`WriteError::File`] where the file system refuses.
pub fn write_png_u8(path: &Path, pixels: &[u8], height: usize, width: usize) -> Result<(), WriteError> {
    Ok(files::write_file(path, &encode_png_u8(pixels, height, width)?)?)
}

/// Writes grey 16-bit pixels as a PNG file, atomically.
///
/// # Errors
/// [`WriteError::Dimensions`], or [`WriteError::File`] where the file system refuses.
pub fn write_png_u16(path: &Path, pixels: &[u16], height: usize, width: usize) -> Result<(), WriteError> {
    Ok(files::write_file(path, &encode_png_u16(pixels, height, width)?)?)
}

fn big_endian(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn encode(
    bytes: &[u8],
    height: usize,
    width: usize,
    bytes_per_pixel: usize,
    color: png::ColorType,
    depth: png::BitDepth,
) -> Result<Vec<u8>, WriteError> {
    let sample_bytes = if depth == png::BitDepth::Sixteen { 2 } else { 1 };
    let wrong = || WriteError::Dimensions {
        values: bytes.len() / sample_bytes,
        height,
        width,
        channels: bytes_per_pixel / sample_bytes,
    };
    let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(bytes_per_pixel));
    if expected != Some(bytes.len()) || bytes.is_empty() {
        return Err(wrong());
    }
    let (png_width, png_height) =
        (u32::try_from(width).map_err(|_| wrong())?, u32::try_from(height).map_err(|_| wrong())?);
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, png_width, png_height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    let encoded = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(bytes)?;
        writer.finish()
    });
    encoded.map_err(|error| WriteError::Encode(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeOptions, decode_bytes};

    #[test]
    fn sixteen_bits_survive() {
        let pixels: Vec<u16> = (0..12).map(|i| i * 5461 + 3).collect();
        let bytes = encode_png_u16(&pixels, 3, 4).unwrap();
        let picture = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        assert_eq!((picture.height, picture.width, picture.stored_bits), (3, 4, 16));
        let back: Vec<u16> = picture.pixels.iter().map(|pixel| (pixel * 65535.0).round() as u16).collect();
        assert_eq!(back, pixels);
    }

    #[test]
    fn dimensions_are_checked() {
        let message = encode_png_rgb(&[0; 11], 2, 2).unwrap_err().to_string();
        assert_eq!(message, "11 values do not make a 2 x 2 image of 3 channel(s)");
        assert!(encode_png_u8(&[], 0, 0).is_err());
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png_u8(&path, &[1, 2, 3, 4], 2, 2).unwrap();
        let before = std::fs::read(&path).unwrap();
        let missing = folder.path().join("no").join("a.png");
        let message = write_png_u8(&missing, &[1, 2, 3, 4], 2, 2).unwrap_err().to_string();
        assert!(message.ends_with(&missing.display().to_string()), "{message}");
        assert!(write_png_u8(&path, &[1], 2, 2).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
