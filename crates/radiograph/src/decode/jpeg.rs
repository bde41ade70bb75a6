//! JPEG files: baseline and progressive, grey and colour.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{DecodeOptions, finish_plain, luma};
use crate::{DecodeError, Samples, SourceFormat, SourceMetadata, StoredRadiograph};

const FORMAT: SourceFormat = SourceFormat::Jpeg;

/// Decodes a JPEG file. Orientation tags of cameras are ignored: radiograph exports do not carry them.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<StoredRadiograph, DecodeError> {
    let corrupt = |error: zune_jpeg::errors::DecodeErrors| DecodeError::corrupt(FORMAT, error);
    check_complete(bytes)?;
    let settings = DecoderOptions::default().set_strict_mode(true).set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), settings);
    decoder.decode_headers().map_err(corrupt)?;
    let no_header = || DecodeError::corrupt(FORMAT, "no image header");
    let (width, height) = decoder.dimensions().ok_or_else(no_header)?;
    options.check_size(FORMAT, height as u64, width as u64)?;
    // The luma channel is stored as such in the usual encodings; colour is only computed where it is not.
    let output = match decoder.input_colorspace().ok_or_else(no_header)? {
        ColorSpace::Luma | ColorSpace::YCbCr => ColorSpace::Luma,
        ColorSpace::RGB => ColorSpace::RGB,
        other => {
            let reason = format!("its colours are {other:?} (made for printing); save it as grey or RGB");
            return Err(DecodeError::unsupported(FORMAT, reason));
        }
    };
    decoder.set_options(settings.jpeg_set_out_colorspace(output));
    let samples = decoder.decode().map_err(corrupt)?;
    let samples = match output {
        ColorSpace::RGB => Samples::Brightness(
            samples.as_chunks().0.iter().map(|&rgb: &[u8; 3]| luma(rgb.map(u32::from), 255.0)).collect(),
        ),
        _ => Samples::Bytes(samples),
    };
    if samples.len() != height * width {
        return Err(DecodeError::corrupt(
            FORMAT,
            format_args!("{} pixels instead of {width} x {height}", samples.len()),
        ));
    }
    let picture = StoredRadiograph {
        samples,
        height,
        width,
        pixel_spacing_mm: None,
        stored_bits: 8,
        format: FORMAT,
        metadata: SourceMetadata::default(),
    };
    Ok(finish_plain(picture, options))
}

/// A decoder fills the missing part of a cut file with grey, so the end mark is looked for first. Within the compressed
/// data `FF` is always followed by `00` or a restart number, so `FF D9` after the first scan header is the end.
fn check_complete(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut position = 2;
    // Header segments: marker, length, content.
    while let Some(&[0xff, marker, high, low]) = bytes.get(position..position + 4) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        match marker {
            0xff => position += 1,
            0xda => {
                let complete = bytes[position..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
                let cut = || DecodeError::corrupt(FORMAT, "the end of the image is missing");
                return if complete { Ok(()) } else { Err(cut()) };
            }
            _ => position += 2 + length,
        }
    }
    Err(DecodeError::corrupt(FORMAT, "the header ends before the image begins"))
}
