//! Pixel data of every supported transfer syntax to stored values.

use super::dataset::Dataset;
use super::{contradictory, corrupt, jpeg, jpeg_2000, jpeg_ls, jpeg_xl, rle, syntax, unsupported};
use crate::DecodeError;

/// The photometric interpretation whose pixels share chroma where they are not compressed.
const SUBSAMPLED: &str = "YBR_FULL_422";

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
    /// A pixel of unsigned grey of so many bits.
    #[cfg(test)]
    pub(super) fn grey(bits: u32) -> Self {
        Self {
            height: 1,
            width: 1,
            bits_allocated: if bits > 8 { 16 } else { 8 },
            bits_stored: bits,
            high_bit: bits - 1,
            signed: false,
            channels: 1,
            planar: false,
            photometric: "MONOCHROME2".to_string(),
        }
    }

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

    /// The lowest `bits_stored` bits of a sample of a lossless stream. Those above are no part of the image: overlays,
    /// and what writers left there.
    pub(super) fn mask_sample(&self, value: i32) -> u16 {
        (value as u32 & self.max_value()) as u16
    }

    /// A sample of a lossy stream as it is stored: loss may carry it out of the range of `bits_stored`, to whose nearest
    /// end it belongs. Masked, the brightest pixels would become black.
    pub(super) fn clamp_sample(&self, value: i32) -> u16 {
        let max = self.max_value() as i32;
        let low = if self.signed { -(max / 2) - 1 } else { 0 };
        self.mask_sample(value.clamp(low, low + max))
    }

    /// How samples of a stream are stored.
    ///
    /// A stream may have more bits than `bits_stored`, or less: its samples are then taken as they are, not scaled. Where
    /// it says another sign than the header, the header is right and the bits are read accordingly, as pydicom does. The
    /// one exception are signed samples of more bits than are stored, of a lossy stream, under an unsigned header: no
    /// writer needs a sign bit then, so that what is below 0 is the loss at black.
    pub(super) fn fit(&self, stream: Stream) -> impl Fn(i32) -> u16 {
        let Stream { bits, signed, lossy } = stream;
        let unused = 32 - bits.clamp(1, 32);
        let become_signed = self.signed && !signed;
        let become_unsigned = signed && !self.signed && !(lossy && bits > self.bits_stored);
        move |value| {
            let value = if become_signed {
                value << unused >> unused
            } else if become_unsigned {
                ((value << unused) as u32 >> unused) as i32
            } else {
                value
            };
            if lossy { self.clamp_sample(value) } else { self.mask_sample(value) }
        }
    }
}

/// What a compressed stream says of its samples.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    /// Bits of a sample, 1 to 16.
    pub(super) bits: u32,
    pub(super) signed: bool,
    /// Whether samples may differ from those that were compressed.
    pub(super) lossy: bool,
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
        uid if syntax::is_jpeg(uid) => {
            let (values, by) = jpeg::decode(&frame, layout, reduction)?;
            reduced = by;
            values
        }
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => jpeg_ls::decode(&frame, layout)?,
        // JPEG 2000 and high-throughput JPEG 2000, lossless and lossy; a codestream says itself which it is.
        "1.2.840.10008.1.2.4.90"
        | "1.2.840.10008.1.2.4.91"
        | "1.2.840.10008.1.2.4.201"
        | "1.2.840.10008.1.2.4.202"
        | "1.2.840.10008.1.2.4.203" => {
            let may_be_lossy = matches!(uid, "1.2.840.10008.1.2.4.91" | "1.2.840.10008.1.2.4.203");
            let (values, by) = jpeg_2000::decode(&frame, layout, may_be_lossy, reduction)?;
            reduced = by;
            values
        }
        // JPEG XL: lossless, a JPEG packed further, any.
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
            jpeg_xl::decode(&frame, layout, uid != "1.2.840.10008.1.2.4.110")?
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
        return Err(contradictory(format_args!(
            "{found} pixels of {channels} channel(s) for an image of {width} x {height}"
        )));
    }
    Ok((samples, reduced))
}

/// Whether the first channel already is brightness.
pub(super) fn is_luma_first(layout: &Layout) -> bool {
    layout.photometric.starts_with("YBR_FULL")
}

fn native(dataset: &Dataset, layout: &Layout, bytes: &[u8]) -> Result<Values, DecodeError> {
    let count = layout.num_pixels();
    let bytes_per_word = (layout.bits_allocated / 8) as usize;
    let pairs =
        if layout.photometric == SUBSAMPLED { Some(Pairs::read(layout, bytes.len() / bytes_per_word)?) } else { None };
    let expected = pairs.as_ref().map_or(count * layout.channels, |pairs| pairs.num_words) * bytes_per_word;
    // One byte of padding to an even length is normal; fewer bytes than pixels are not.
    let all = bytes;
    let Some(bytes) = all.get(..expected) else {
        return Err(corrupt(format_args!("{} bytes of pixel data instead of {expected}", all.len())));
    };
    let words: Vec<u16> = if layout.bits_allocated == 8 && dataset.big_endian && dataset.pixels_in_words {
        // Two samples in a word, the first in its lower half, which comes second (PS3.5 8.1.1 and 7.3).
        let at = |position: usize| all.get(position ^ 1).copied().unwrap_or(0);
        (0..expected).map(|position| layout.sample(u16::from(at(position)))).collect()
    } else if layout.bits_allocated == 8 {
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
    if let Some(pairs) = pairs {
        return Ok(Values::Rgb((0..count).map(|pixel| [words[pairs.luma(pixel)]; 3]).collect()));
    }
    let color = |pixel: usize| {
        let at =
            |channel: usize| if layout.planar { words[channel * count + pixel] } else { words[pixel * 3 + channel] };
        if is_luma_first(layout) { [at(0); 3] } else { [at(0), at(1), at(2)] }
    };
    Ok(Values::Rgb((0..count).map(color).collect()))
}

/// Uncompressed pixels that share chroma by two: Y1, Y2, Cb, Cr (PS3.3 C.7.6.3.1.2).
struct Pairs {
    /// Pixels of a run of pairs, whose last pixel may lack a partner: a row, or the image.
    run: usize,
    /// All words of the image.
    num_words: usize,
}

impl Pairs {
    /// The standard wants an even number of columns. Where there is an odd one, the number of words tells writers that
    /// complete each row from those that go on in the next row, as pydicom reads it.
    fn read(layout: &Layout, found: usize) -> Result<Self, DecodeError> {
        if layout.planar {
            return Err(contradictory("planar configuration 1 with YBR_FULL_422, which interleaves"));
        }
        let (count, run) = (layout.num_pixels(), layout.width);
        let by_rows = layout.height * run.div_ceil(2) * 4;
        if found >= 3 * count && found > by_rows + 1 {
            return Err(contradictory(format_args!(
                "{found} samples of pixel data, enough for RGB or YBR_FULL, while YBR_FULL_422 has {}",
                2 * count
            )));
        }
        // The last pair of an image without completed rows may itself be completed.
        Ok(if run % 2 == 0 || found > 2 * count + 2 * (count % 2) {
            Self { run, num_words: by_rows }
        } else {
            Self { run: count, num_words: 2 * count }
        })
    }

    /// The place of a pixel's brightness.
    fn luma(&self, pixel: usize) -> usize {
        let (row, column) = (pixel / self.run, pixel % self.run);
        (row * self.run.div_ceil(2) + column / 2) * 4 + column % 2
    }
}

pub(super) fn check_dimensions(layout: &Layout, width: usize, height: usize) -> Result<(), DecodeError> {
    if (width, height) == (layout.width, layout.height) {
        return Ok(());
    }
    let (expected_width, expected_height) = (layout.width, layout.height);
    Err(contradictory(format_args!(
        "the compressed image has {width} x {height} pixels, the header says {expected_width} x {expected_height}"
    )))
}
