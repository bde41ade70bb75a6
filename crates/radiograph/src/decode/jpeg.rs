//! JPEG streams, of files of their own and within DICOM: baseline, extended, progressive and lossless, grey and colour.

mod cosine;
mod header;
mod huffman;
mod lossless;
mod scans;
mod sequential;

use cosine::Sample;
pub(super) use header::{Colours, Process, Refusal, Stream};

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
    let refuse = |refusal| match refusal {
        Refusal::Unsupported(reason) => DecodeError::unsupported(FORMAT, reason),
        Refusal::Corrupt(detail) => DecodeError::corrupt(FORMAT, detail),
    };
    let mut stream = Stream::read(bytes).map_err(refuse)?;
    let (height, width, bits) = (stream.frame.height, stream.frame.width, stream.frame.bits);
    options.check_size(FORMAT, height as u64, width as u64)?;
    let colours = stream.colours(None).map_err(refuse)?;
    let reduction = stream.reduction(options.reduction(height, width));
    let max = (1_u32 << bits) - 1;
    // Damaged lossless data may have any value.
    let last = if stream.frame.process == Process::Lossless { u16::MAX } else { max as u16 };
    let num_planes = if colours == Colours::Rgb { 3 } else { 1 };
    let samples = match stream.decode(num_planes, reduction).map_err(refuse)? {
        Planes::Bytes(planes) => match <[Vec<u8>; 3]>::try_from(planes) {
            Ok(planes) => brightness(&planes, max),
            Err(planes) => Samples::Bytes(planes.into_iter().next().unwrap_or_default()),
        },
        Planes::Words(planes) => match <[Vec<u16>; 3]>::try_from(planes) {
            Ok(planes) => brightness(&planes, max),
            Err(planes) => {
                let brightness = (0..=last).map(|value| (f32::from(value) / max as f32).min(1.0)).collect();
                Samples::Words { values: planes.into_iter().next().unwrap_or_default(), brightness }
            }
        },
    };
    let picture = StoredRadiograph {
        samples,
        height: height.div_ceil(reduction),
        width: width.div_ceil(reduction),
        pixel_spacing_mm: None,
        stored_bits: bits as u8,
        format: FORMAT,
        metadata: SourceMetadata::default(),
    };
    Ok(finish_plain(picture, orientation(bytes), options))
}

/// The brightness of red, green and blue up to `max`.
fn brightness<T: Copy + Into<u32>>([red, green, blue]: &[Vec<T>; 3], max: u32) -> Samples {
    let colours = red.iter().zip(green).zip(blue);
    let brightness = |((&red, &green), &blue): ((&T, &T), &T)| {
        luma([red, green, blue].map(|sample| sample.into().min(max)), f64::from(max))
    };
    Samples::Brightness(colours.map(brightness).collect())
}

/// The samples of components, each row-major.
pub(super) enum Planes {
    /// Of 8 bits, with cosine transform.
    Bytes(Vec<Vec<u8>>),
    /// Of 12 bits with cosine transform, or lossless.
    Words(Vec<Vec<u16>>),
}

impl Stream<'_> {
    /// By how much the image is reduced on the way where `wanted` is: lossless ones are not.
    pub(super) fn reduction(&self, wanted: usize) -> usize {
        if self.frame.process == Process::Lossless { 1 } else { wanted }
    }

    /// Decodes the first `num_planes` components, reduced by 1, 2, 4 or 8 (the image's sides rounded up).
    pub(super) fn decode(&mut self, num_planes: usize, reduction: usize) -> Result<Planes, Refusal> {
        Ok(match (self.frame.process, self.frame.bits) {
            (Process::Lossless, _) => Planes::Words(self.decode_lossless(num_planes)?),
            (_, 8) => Planes::Bytes(self.decode_blocks(num_planes, reduction)?),
            _ => Planes::Words(self.decode_blocks(num_planes, reduction)?),
        })
    }

    /// Nearly every radiograph that is a JPEG is sequential, and of brightness at full resolution before all else: that
    /// needs no memory for coefficients.
    fn decode_blocks<T: Sample>(&mut self, num_planes: usize, reduction: usize) -> Result<Vec<Vec<T>>, Refusal> {
        if self.frame.process == Process::Sequential && num_planes == 1 {
            while self.scan.components.iter().all(|scanned| scanned.number != 0) {
                if !self.next_scan()? {
                    return header::corrupt("the scan of its brightness is missing");
                }
            }
            if self.scan.components[0].number == 0 && self.has_first_at_full_resolution() {
                return Ok(vec![self.decode_brightness(reduction)?]);
            }
        }
        self.decode_scans(num_planes, reduction)
    }
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
