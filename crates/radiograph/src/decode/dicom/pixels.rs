//! Pixel data of every supported transfer syntax to stored values.

use super::dataset::Dataset;
use super::{corrupt, jpeg, jpeg_2000, jpeg_ls, jpeg_xl, rle, unsupported};
use crate::DecodeError;

/// How pixels are stored.
pub(super) struct Layout {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) bits_allocated: u32,
    pub(super) bits_stored: u32,
    pub(super) high_bit: u32,
    pub(super) signed: bool,
    pub(super) channels: usize,
    /// Colours in planes rather than interleaved (native pixel data only).
    pub(super) planar: bool,
    pub(super) photometric: String,
}

impl Layout {
    pub(super) fn num_pixels(&self) -> usize {
        self.height * self.width
    }

    /// The greatest unsigned value.
    pub(super) fn max_value(&self) -> u32 {
        (1 << self.bits_stored) - 1
    }

    /// The bits of a stored word that are the sample.
    fn sample(&self, word: u16) -> u16 {
        (u32::from(word) >> (self.high_bit + 1 - self.bits_stored) & self.max_value()) as u16
    }
}

/// Stored values, without sign: the lowest `bits_stored` bits are the sample.
pub(super) enum Values {
    /// One per pixel.
    Grey(Vec<u16>),
    /// Red, green, blue.
    Rgb(Vec<[u16; 3]>),
}

/// Decodes the only frame. Where its compression makes that quicker, rows and columns are reduced by 2, 4 or 8 if so
/// asked; also returns by how much they were.
pub(super) fn decode(dataset: &Dataset, layout: &Layout, reduction: usize) -> Result<(Values, usize), DecodeError> {
    let uid = dataset.transfer_syntax.as_str();
    let Some(frame) = dataset.encapsulated_frame() else {
        let bytes = dataset.native_pixels().unwrap_or(&[]);
        return Ok((native(dataset, layout, bytes)?, 1));
    };
    let mut reduced = 1;
    let samples = match uid {
        "1.2.840.10008.1.2.5" => {
            let planes = rle::decode(&frame, layout.num_pixels(), layout.bits_allocated, layout.channels)?;
            let sample = |word: &u16| layout.sample(*word);
            match &planes[..] {
                [grey] => Values::Grey(grey.iter().map(sample).collect()),
                [luma, ..] if is_luma_first(layout) => Values::Rgb(luma.iter().map(|word| [sample(word); 3]).collect()),
                [red, green, blue] => {
                    let rows = red.iter().zip(green).zip(blue);
                    Values::Rgb(rows.map(|((r, g), b)| [sample(r), sample(g), sample(b)]).collect())
                }
                _ => return Err(corrupt(format_args!("{} RLE planes", planes.len()))),
            }
        }
        // JPEG baseline, extended, progressive, lossless; the retired ones are refused by what the stream says.
        "1.2.840.10008.1.2.4.50"
        | "1.2.840.10008.1.2.4.51"
        | "1.2.840.10008.1.2.4.52"
        | "1.2.840.10008.1.2.4.53"
        | "1.2.840.10008.1.2.4.54"
        | "1.2.840.10008.1.2.4.55"
        | "1.2.840.10008.1.2.4.56"
        | "1.2.840.10008.1.2.4.57"
        | "1.2.840.10008.1.2.4.58"
        | "1.2.840.10008.1.2.4.59"
        | "1.2.840.10008.1.2.4.60"
        | "1.2.840.10008.1.2.4.61"
        | "1.2.840.10008.1.2.4.62"
        | "1.2.840.10008.1.2.4.63"
        | "1.2.840.10008.1.2.4.64"
        | "1.2.840.10008.1.2.4.65"
        | "1.2.840.10008.1.2.4.66"
        | "1.2.840.10008.1.2.4.70" => {
            let (values, by) = jpeg::decode(&frame, layout, reduction)?;
            reduced = by;
            values
        }
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => {
            let image = jpeg_ls::decode(&frame, layout.num_pixels() as u64)?;
            check_dimensions(layout, image.width, image.height)?;
            let mask = layout.max_value() as u16;
            Values::Grey(image.samples.iter().map(|sample| sample & mask).collect())
        }
        // JPEG 2000 and high-throughput JPEG 2000, lossless and lossy; a codestream says itself which it is.
        "1.2.840.10008.1.2.4.90"
        | "1.2.840.10008.1.2.4.91"
        | "1.2.840.10008.1.2.4.201"
        | "1.2.840.10008.1.2.4.202"
        | "1.2.840.10008.1.2.4.203" => {
            let (values, by) = jpeg_2000::decode(&frame, layout, reduction)?;
            reduced = by;
            values
        }
        // JPEG XL: lossless, a JPEG packed further, any.
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
            jpeg_xl::decode(&frame, layout)?
        }
        _ => {
            let name = &dataset.transfer_syntax_name;
            return Err(unsupported(format!(
                "its pixels are compressed as {name} ({uid}); convert it to explicit little endian first"
            )));
        }
    };
    let (found, channels) = match &samples {
        Values::Grey(values) => (values.len(), 1),
        Values::Rgb(values) => (values.len(), 3),
    };
    let expected = layout.height.div_ceil(reduced) * layout.width.div_ceil(reduced);
    if found != expected || channels != layout.channels {
        let (height, width) = (layout.height, layout.width);
        return Err(corrupt(format_args!(
            "{found} pixels of {channels} channel(s) for an image of {width} x {height}"
        )));
    }
    Ok((samples, reduced))
}

/// Whether the first channel already is brightness.
fn is_luma_first(layout: &Layout) -> bool {
    layout.photometric.starts_with("YBR_FULL")
}

fn native(dataset: &Dataset, layout: &Layout, bytes: &[u8]) -> Result<Values, DecodeError> {
    if layout.photometric == "YBR_FULL_422" {
        return Err(unsupported("uncompressed YBR_FULL_422 pixels; convert it to RGB or MONOCHROME2"));
    }
    let count = layout.num_pixels();
    let expected = count * layout.channels * (layout.bits_allocated / 8) as usize;
    // One byte of padding to an even length is normal; fewer bytes than pixels are not.
    let Some(bytes) = bytes.get(..expected) else {
        return Err(corrupt(format_args!("{} bytes of pixel data instead of {expected}", bytes.len())));
    };
    let words: Vec<u16> = if layout.bits_allocated == 8 {
        bytes.iter().map(|&byte| layout.sample(u16::from(byte))).collect()
    } else {
        // Told apart here and not for each pixel.
        let pairs = bytes.as_chunks().0.iter();
        match (dataset.big_endian, layout.bits_stored) {
            (false, 16) => pairs.map(|&pair| u16::from_le_bytes(pair)).collect(),
            (false, _) => pairs.map(|&pair| layout.sample(u16::from_le_bytes(pair))).collect(),
            (true, _) => pairs.map(|&pair| layout.sample(u16::from_be_bytes(pair))).collect(),
        }
    };
    if layout.channels == 1 {
        return Ok(Values::Grey(words));
    }
    let color = |pixel: usize| {
        let at =
            |channel: usize| if layout.planar { words[channel * count + pixel] } else { words[pixel * 3 + channel] };
        if is_luma_first(layout) { [at(0); 3] } else { [at(0), at(1), at(2)] }
    };
    Ok(Values::Rgb((0..count).map(color).collect()))
}

pub(super) fn check_dimensions(layout: &Layout, width: usize, height: usize) -> Result<(), DecodeError> {
    if (width, height) == (layout.width, layout.height) {
        return Ok(());
    }
    let (expected_width, expected_height) = (layout.width, layout.height);
    Err(corrupt(format_args!(
        "the compressed image has {width} x {height} pixels, the header says {expected_width} x {expected_height}"
    )))
}
