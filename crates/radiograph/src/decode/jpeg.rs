//! JPEG files: baseline, extended and progressive, grey and colour.

mod cosine;
pub(super) mod header;
mod huffman;
mod sequential;

use header::{Header, Refusal};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::orientation::Orientation;
use super::{DecodeOptions, finish_plain, luma};
use crate::{DecodeError, Samples, SourceFormat, SourceMetadata, StoredRadiograph};

const FORMAT: SourceFormat = SourceFormat::Jpeg;

/// The marker of a scan's header.
const SCAN: u8 = 0xda;

/// The marker of the segment that Exif lies in.
const APPLICATION_1: u8 = 0xe1;

/// Decodes a JPEG file and turns it as its Exif orientation says.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<StoredRadiograph, DecodeError> {
    check_complete(bytes)?;
    let decoded = match header::read_header(bytes) {
        Ok(header) if header.is_luma_first => {
            options.check_size(FORMAT, header.height as u64, header.width as u64)?;
            decode_luma(bytes, &header, options.reduction(header.height, header.width))
        }
        Ok(_) => Err(Refusal::OtherKind),
        Err(refusal) => Err(refusal),
    };
    let (samples, height, width, stored_bits) = match decoded {
        Ok(decoded) => decoded,
        Err(Refusal::Corrupt(detail)) => return Err(DecodeError::corrupt(FORMAT, detail)),
        Err(Refusal::OtherKind) => decode_other(bytes, options)?,
    };
    let picture = StoredRadiograph {
        samples,
        height,
        width,
        pixel_spacing_mm: None,
        stored_bits,
        format: FORMAT,
        metadata: SourceMetadata::default(),
    };
    Ok(finish_plain(picture, orientation(bytes), options))
}

/// Samples, height, width, bits.
type Decoded = (Samples, usize, usize, u8);

/// The usual kinds, whose first component is brightness.
fn decode_luma(bytes: &[u8], header: &Header, reduction: usize) -> Result<Decoded, Refusal> {
    let samples = if header.bits == 8 {
        Samples::Bytes(header.decode(bytes, reduction)?)
    } else {
        let brightness = (0..4096_u16).map(|value| f32::from(value) / 4095.0).collect();
        Samples::Words { values: header.decode(bytes, reduction)?, brightness }
    };
    let (height, width) = (header.height.div_ceil(reduction), header.width.div_ceil(reduction));
    Ok((samples, height, width, header.bits as u8))
}

/// Progressive pictures, and those whose brightness is worked out from colours; always at full size.
fn decode_other(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    let corrupt = |error: zune_jpeg::errors::DecodeErrors| DecodeError::corrupt(FORMAT, error);
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
        let found = samples.len();
        return Err(DecodeError::corrupt(FORMAT, format_args!("{found} pixels instead of {width} x {height}")));
    }
    Ok((samples, height, width, 8))
}

/// The segments of the header up to the first scan's: the marker, and the bytes from its segment's length on.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut position = 2;
    std::iter::from_fn(move || {
        loop {
            let Some(&[0xff, marker, high, low]) = bytes.get(position..position + 4) else { return None };
            if marker == 0xff {
                position += 1;
                continue;
            }
            let segment = &bytes[position + 2..];
            // Nothing behind the first scan's header is looked for.
            position =
                if marker == SCAN { bytes.len() } else { position + 2 + usize::from(u16::from_be_bytes([high, low])) };
            return Some((marker, segment));
        }
    })
}

/// A decoder fills the missing part of a cut file with grey, so the end mark is looked for first. Within the compressed
/// data `FF` is always followed by `00` or a restart number, so `FF D9` after the first scan header is the end.
fn check_complete(bytes: &[u8]) -> Result<(), DecodeError> {
    let Some((_, scan)) = segments(bytes).find(|&(marker, _)| marker == SCAN) else {
        return Err(DecodeError::corrupt(FORMAT, "the header ends before the image begins"));
    };
    if scan.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
        Ok(())
    } else {
        Err(DecodeError::corrupt(FORMAT, "the end of the image is missing"))
    }
}

/// The orientation that the file's Exif gives it, in the first segment that begins as Exif does.
fn orientation(bytes: &[u8]) -> Option<Orientation> {
    segments(bytes).filter(|&(marker, _)| marker == APPLICATION_1).find_map(|(_, segment)| {
        let length = usize::from(u16::from_be_bytes(*segment.first_chunk()?));
        let content = segment.get(2..length)?;
        content.starts_with(b"Exif\0\0").then(|| Orientation::of_exif(content))
    })?
}
