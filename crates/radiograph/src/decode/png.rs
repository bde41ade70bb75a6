//! PNG: 1, 2, 4, 8 and 16 bit, grey, palette and RGB, with or without alpha.

use std::io::Cursor;

use super::orientation::Orientation;
use super::{DecodeOptions, finish_plain, luma};
use crate::{DecodeError, Samples, SourceFormat, SourceMetadata, StoredRadiograph};

const FORMAT: SourceFormat = SourceFormat::Png;

/// Decodes a PNG; only the first picture of an animated one.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<StoredRadiograph, DecodeError> {
    let corrupt = |error: png::DecodingError| DecodeError::corrupt(FORMAT, error);
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    // Palettes and depths below 8 bit come out as 8-bit samples over the full range, transparency as an alpha channel.
    decoder.set_transformations(png::Transformations::EXPAND);
    // Profiles and texts can unpack to a thousand times their size, and nothing here needs them. The picture's own size
    // is checked from the header.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    decoder.set_limits(png::Limits { bytes: usize::try_from(options.max_bytes()).unwrap_or(usize::MAX) });
    let info = decoder.read_header_info().map_err(corrupt)?;
    let (height, width, stored) = (info.height, info.width, info.bit_depth);
    options.check_size(FORMAT, height.into(), width.into())?;
    let mut reader = decoder.read_info().map_err(corrupt)?;
    let size = reader.output_buffer_size().ok_or_else(|| DecodeError::corrupt(FORMAT, "impossible dimensions"))?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(corrupt)?;
    // Only reading to the end mark shows that nothing is missing.
    reader.finish().map_err(corrupt)?;
    samples.truncate(frame.buffer_size());
    // Its chunk may lie before or behind the picture.
    let orientation = reader.info().exif_metadata.as_deref().and_then(Orientation::of_exif);

    let channels = frame.color_type.samples();
    let samples = match (frame.bit_depth, channels) {
        (png::BitDepth::Sixteen, _) => {
            let values: Vec<u16> = samples.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
            match channels {
                1 => {
                    let brightness = (0..=u16::MAX).map(|value| f32::from(value) / 65535.0).collect();
                    Samples::Words { values, brightness }
                }
                _ => Samples::Brightness(to_grey(&values, channels, 65535.0)),
            }
        }
        (_, 1) => Samples::Bytes(samples),
        _ => Samples::Brightness(to_grey(&samples, channels, 255.0)),
    };
    let picture = StoredRadiograph {
        samples,
        height: height as usize,
        width: width as usize,
        pixel_spacing_mm: None,
        stored_bits: stored as u8,
        format: FORMAT,
        metadata: SourceMetadata::default(),
    };
    Ok(finish_plain(picture, orientation, options))
}

/// Interleaved samples of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels to grey on black.
fn to_grey<T: Copy + Into<u32>>(samples: &[T], channels: usize, max: f64) -> Vec<f32> {
    let grey = |pixel: &[T]| -> f32 {
        let alpha = |value: T| (f64::from(value.into()) / max) as f32;
        match *pixel {
            [grey, opacity] => (f64::from(grey.into()) / max) as f32 * alpha(opacity),
            [red, green, blue] => luma([red, green, blue].map(Into::into), max),
            [red, green, blue, opacity] => luma([red, green, blue].map(Into::into), max) * alpha(opacity),
            [grey, ..] => (f64::from(grey.into()) / max) as f32,
            [] => 0.0,
        }
    };
    samples.chunks_exact(channels).map(grey).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_bytes;

    /// Encodes raw scan lines as they lie in the file.
    fn encode(
        color: png::ColorType,
        depth: png::BitDepth,
        size: [u32; 2],
        palette: Option<&[u8]>,
        data: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size[1], size[0]);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn pixels(bytes: &[u8]) -> (Vec<f32>, u8) {
        let picture = decode_bytes(bytes, &DecodeOptions::default()).unwrap();
        (picture.pixels, picture.stored_bits)
    }

    #[test]
    fn every_colour_type_and_depth() {
        use png::{BitDepth as Depth, ColorType as Color};
        let third = 85.0 / 255.0;
        let cases: [(&str, Vec<u8>, Vec<f32>, u8); 8] = [
            ("1 bit", encode(Color::Grayscale, Depth::One, [1, 3], None, &[0b1010_0000]), vec![1.0, 0.0, 1.0], 1),
            ("2 bit", encode(Color::Grayscale, Depth::Two, [1, 2], None, &[0b0111_0000]), vec![third, 1.0], 2),
            ("8 bit", encode(Color::Grayscale, Depth::Eight, [1, 2], None, &[51, 255]), vec![0.2, 1.0], 8),
            ("16 bit", encode(Color::Grayscale, Depth::Sixteen, [1, 1], None, &[0x33, 0x33]), vec![0.2], 16),
            ("grey, alpha", encode(Color::GrayscaleAlpha, Depth::Eight, [1, 1], None, &[255, 51]), vec![0.2], 8),
            ("RGB", encode(Color::Rgb, Depth::Eight, [1, 2], None, &[51, 51, 51, 255, 0, 0]), vec![0.2, 0.299], 8),
            ("RGB, alpha", encode(Color::Rgba, Depth::Eight, [1, 1], None, &[255, 255, 255, 0]), vec![0.0], 8),
            (
                "palette",
                encode(Color::Indexed, Depth::One, [1, 2], Some(&[0, 255, 0, 51, 51, 51]), &[0b0100_0000]),
                vec![0.587, 0.2],
                1,
            ),
        ];
        for (name, bytes, expected, depth) in cases {
            let (found, stored) = pixels(&bytes);
            assert_eq!(stored, depth, "{name}");
            assert_eq!(found.len(), expected.len(), "{name}");
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6, "{name}: {found:?} instead of {expected:?}");
            }
        }
    }

    #[test]
    fn size_is_checked_before_memory_is_taken() {
        // A header of 20,000 x 20,000 pixels with one line of data.
        let mut bytes = encode(png::ColorType::Grayscale, png::BitDepth::Eight, [1, 1], None, &[0]);
        bytes[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let message = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err().to_string();
        assert_eq!(
            message,
            "the image has 20000 x 20000 pixels, more than the limit of 100000000; reduce it, or raise `max_pixels`"
        );
    }

    /// The checksum of PNG chunks, bit by bit (PNG specification, annex D).
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let good = encode(png::ColorType::Grayscale, png::BitDepth::Eight, [2, 2], None, &[1, 2, 3, 4]);
        for position in 8..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x10;
            // Any bit that a checksum covers is found; the message is a sentence in every case.
            if let Err(error) = decode_bytes(&bad, &DecodeOptions::default()) {
                assert!(error.to_string().len() > 20);
            } else {
                panic!("a change of byte {position} went unnoticed");
            }
        }
    }

    #[test]
    fn stretching_is_optional() {
        let bytes = encode(png::ColorType::Grayscale, png::BitDepth::Sixteen, [1, 3], None, &[1, 0, 2, 0, 3, 0]);
        let options = DecodeOptions { stretch_plain_images: true, percentiles: [0.0, 100.0], ..Default::default() };
        let stretched = decode_bytes(&bytes, &options).unwrap().pixels;
        for (found, expected) in stretched.iter().zip([0.0, 0.5, 1.0]) {
            assert!((found - expected).abs() < 1e-5, "{stretched:?}");
        }
        assert!(pixels(&bytes).0[2] < 0.02);
    }
}
