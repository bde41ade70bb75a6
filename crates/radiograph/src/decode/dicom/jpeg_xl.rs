//! JPEG XL codestreams, bare or in their container: one still frame, grey or in colours, of up to 16 bits.

use jxl::api::{
    Endianness, Event, JxlBitDepth, JxlColorType, JxlDataFormat, JxlDecoder, JxlDecoderOptions, JxlOutputBuffer,
    JxlPixelFormat, ProfileLevel,
};
use jxl::error::Error;

use super::pixels::{Layout, Stream, Values, check_dimensions};
use super::{corrupt, unsupported};
use crate::DecodeError;

/// Bytes of a sample as it is asked for.
const BYTES: usize = 2;

/// Decodes a frame, lossless or lossy; the transfer syntax says whether it may be the latter.
pub(super) fn decode(frame: &[u8], layout: &Layout, may_be_lossy: bool) -> Result<Values, DecodeError> {
    let refuse = |error: Error| match error {
        Error::ImageSizeTooLarge(width, height) => {
            check_dimensions(layout, width, height).err().unwrap_or_else(|| corrupt("JPEG XL layers beyond the image"))
        }
        other => corrupt(other),
    };
    let mut options = JxlDecoderOptions::default();
    // The DICOM header decides how rows and columns lie.
    options.adjust_orientation = false;
    options.max_profile_level = ProfileLevel::Main10;
    // The decoder counts three samples for a pixel and sixteen columns at least; layers may be somewhat larger than the
    // image.
    options.sample_limit = Some(2 * 3 * layout.height * layout.width.max(16) + 1);
    let mut decoder = JxlDecoder::new(options);
    let mut input = frame;
    while decoder.basic_info().is_none() {
        if let Event::NeedMoreInput { .. } = decoder.process(&mut input, None, None).map_err(refuse)? {
            return Err(corrupt("the JPEG XL header is cut short"));
        }
    }
    let info = decoder.basic_info().ok_or_else(|| corrupt("a JPEG XL codestream without a header"))?;
    check_dimensions(layout, info.size.0, info.size.1)?;
    if info.animation.is_some() {
        return Err(unsupported("its pixels are an animated JPEG XL image; export one frame per file"));
    }
    let bits = match info.bit_depth {
        JxlBitDepth::Int { bits_per_sample: bits @ 1..=16 } => bits as u8,
        JxlBitDepth::Int { bits_per_sample: bits } => {
            return Err(unsupported(format!("JPEG XL samples of {bits} bits; up to 16 are read")));
        }
        JxlBitDepth::Float { .. } => return Err(unsupported("JPEG XL samples in floating point; integers are read")),
    };
    // Samples in the colour space XYB are lossy whatever the transfer syntax says.
    let lossy = may_be_lossy || !info.uses_original_profile;
    let extra_channel_format = vec![None; info.extra_channels.len()];
    let is_grey = decoder.current_pixel_format().is_some_and(|format| format.color_type.is_grayscale());
    let color_type = if is_grey { JxlColorType::Grayscale } else { JxlColorType::Rgb };
    let color_data_format = Some(JxlDataFormat::U16 { endianness: Endianness::native(), bit_depth: bits });
    decoder.set_pixel_format(JxlPixelFormat { color_type, color_data_format, extra_channel_format }).map_err(refuse)?;

    let row_bytes = layout.width * color_type.samples_per_pixel() * BYTES;
    // The decoder writes samples where samples may lie in memory.
    let mut bytes = vec![0_u8; layout.height * row_bytes + BYTES];
    let start = bytes.as_ptr().align_offset(BYTES).min(BYTES);
    let bytes = &mut bytes[start..start + layout.height * row_bytes];
    let mut rows = [JxlOutputBuffer::new(bytes, layout.height, row_bytes)];
    loop {
        match decoder.process(&mut input, Some(&mut rows), None).map_err(refuse)? {
            Event::FrameComplete { has_more_frames: false } | Event::Complete => break,
            Event::FrameComplete { has_more_frames: true } => {
                return Err(unsupported("its pixels are several JPEG XL frames; export one frame per file"));
            }
            Event::NeedMoreInput { .. } => return Err(corrupt("the JPEG XL codestream is cut short")),
            Event::BasicInfo | Event::FrameHeader => {}
        }
    }
    let fit = layout.fit(Stream { bits: bits.into(), signed: false, lossy });
    let samples: Vec<u16> = bytes.as_chunks().0.iter().map(|&pair| fit(u16::from_ne_bytes(pair).into())).collect();
    Ok(if is_grey { Values::Grey(samples) } else { Values::Rgb(samples.as_chunks().0.to_vec()) })
}
