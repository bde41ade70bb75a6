//! JPEG 2000 codestreams, high-throughput ones included: the decoders make room for whatever a header asks for, so
//! headers are checked first.

mod markers;

use memchr::memmem;

use super::pixels::{Layout, Stream, Values, check_dimensions, is_luma_first};
use super::{contradictory, corrupt, unsupported};
use crate::DecodeError;

/// Decodes a frame, lossless or lossy, to a half, a quarter or an eighth of its rows and columns if so asked and as far as
/// the file has resolutions; also returns by how much they were reduced. The transfer syntax says whether the data may be
/// lossy.
pub(super) fn decode(
    frame: &[u8],
    layout: &Layout,
    may_be_lossy: bool,
    reduction: usize,
) -> Result<(Values, usize), DecodeError> {
    // Some writers wrap the codestream in a JP2 file, which the standard does not allow. The SIZ segment follows its
    // start.
    let start = memmem::find(frame, &[0xff, 0x4f, 0xff, 0x51]).ok_or_else(|| corrupt("no JPEG 2000 codestream"))?;
    let codestream = &frame[start..];
    let num_tiles = check_grid(codestream, layout)?;
    let components = Components::read(codestream, layout)?;
    let markers = markers::read(codestream, layout, num_tiles)?;
    // The irreversible wavelet is lossy. Data of the reversible one are so where they end early, which they do not say.
    let stream =
        Stream { bits: components.bits, signed: components.signed, lossy: may_be_lossy || markers.irreversible };
    // Components that were not mixed are what the header says, brightness first among them.
    let luma_first = is_luma_first(layout) && !markers.mixes_colors && components.same_sampling;
    // The capabilities, which precede the grid, say whether blocks are coded after part 15 (ISO/IEC 15444-15, A.3).
    let is_high_throughput = codestream[6] & 0x40 != 0;
    if is_high_throughput && !components.same_sampling {
        return Err(unsupported(
            "high-throughput JPEG 2000 components of different sizes; compress it again without subsampling",
        ));
    }
    let decode = |is_padded| {
        let codestream = markers.complete(codestream, is_padded);
        if is_high_throughput {
            Ok((high_throughput(&codestream, layout, stream, luma_first)?, 1))
        } else {
            part_1(&codestream, layout, stream, luma_first, reduction)
        }
    };
    decode(false).or_else(|error| if markers.may_be_padded(codestream) { decode(true) } else { Err(error) })
}

/// Decodes a checked codestream whose blocks are coded after part 1 of the standard. Its samples have at most 16 bits.
fn part_1(
    codestream: &[u8],
    layout: &Layout,
    stream: Stream,
    luma_first: bool,
    reduction: usize,
) -> Result<(Values, usize), DecodeError> {
    // The decoder divides and rounds down.
    let smallest = |length: usize| (length / reduction).max(1) as u32;
    let target_resolution = (reduction > 1).then(|| (smallest(layout.width), smallest(layout.height)));
    let settings = hayro_jpeg2000::DecodeSettings { strict: true, target_resolution, ..Default::default() };
    let image = hayro_jpeg2000::Image::new(codestream, &settings).map_err(corrupt)?;
    let (height, width) = (image.height() as usize, image.width() as usize);
    let is_reduced = |by: &usize| [layout.height, layout.width].map(|length| length.div_ceil(*by)) == [height, width];
    let reduced = [1, 2, 4, 8].into_iter().take_while(|&by| by <= reduction).find(is_reduced).unwrap_or(1);
    if reduced == 1 {
        check_dimensions(layout, width, height)?;
    }
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(corrupt)?;
    // The decoder shifts signed samples up by half of their range; lossy ones may leave the range a little.
    let (offset, max) = (if stream.signed { 1_i32 << (stream.bits - 1) } else { 0 }, (1_i32 << stream.bits) - 1);
    let fit = layout.fit(stream);
    let sample = |value: f32| fit((value.round() as i32).clamp(0, max) - offset);
    match decoded.components() {
        [grey] => Ok((Values::Grey(grey.samples().iter().map(|&value| sample(value)).collect()), reduced)),
        [luma, _, _] if luma_first => {
            Ok((Values::Rgb(luma.samples().iter().map(|&value| [sample(value); 3]).collect()), reduced))
        }
        [red, green, blue] => {
            let colors = red.samples().iter().zip(green.samples()).zip(blue.samples());
            Ok((Values::Rgb(colors.map(|((&r, &g), &b)| [sample(r), sample(g), sample(b)]).collect()), reduced))
        }
        other => Err(corrupt(format_args!("{} JPEG 2000 components", other.len()))),
    }
}

/// Decodes a checked codestream whose blocks are coded for high throughput. Its samples have at most 16 bits.
fn high_throughput(
    codestream: &[u8],
    layout: &Layout,
    stream: Stream,
    luma_first: bool,
) -> Result<Values, DecodeError> {
    use dicom_toolkit_jpeg2000::{DecodeSettings, Image};
    let settings = DecodeSettings { strict: true, ..Default::default() };
    let image = Image::new(codestream, &settings).map_err(corrupt)?;
    check_dimensions(layout, image.width() as usize, image.height() as usize)?;
    let decoded = image.decode_native().map_err(corrupt)?;
    // As above, signed samples come shifted up.
    let offset = if stream.signed { 1_i32 << (stream.bits - 1) } else { 0 };
    let fit = layout.fit(stream);
    let sample = |value: u16| fit(i32::from(value) - offset);
    let samples: Vec<u16> = if decoded.bytes_per_sample == 1 {
        decoded.data.iter().map(|&byte| sample(u16::from(byte))).collect()
    } else {
        decoded.data.as_chunks().0.iter().map(|&pair| sample(u16::from_le_bytes(pair))).collect()
    };
    match decoded.num_components {
        1 => Ok(Values::Grey(samples)),
        3 if luma_first => Ok(Values::Rgb(samples.as_chunks().0.iter().map(|&[luma, _, _]| [luma; 3]).collect())),
        3 => Ok(Values::Rgb(samples.as_chunks().0.to_vec())),
        other => Err(corrupt(format_args!("{other} JPEG 2000 components"))),
    }
}

/// What the size segment says of the components' samples (ISO/IEC 15444-1, A.5.1).
struct Components {
    bits: u32,
    signed: bool,
    /// Whether all have one sampling of the reference grid.
    same_sampling: bool,
}

impl Components {
    fn read(codestream: &[u8], layout: &Layout) -> Result<Self, DecodeError> {
        // Precision with its sign, then distances of columns and rows, for each component from byte 42 on.
        let components = codestream.get(42..42 + 3 * layout.channels).map(|bytes| bytes.as_chunks::<3>().0);
        let [first, others @ ..] = components.unwrap_or(&[]) else {
            return Err(corrupt("the JPEG 2000 header is cut short"));
        };
        let (signed, bits) = (first[0] & 0x80 != 0, u32::from(first[0] & 0x7f) + 1);
        if bits > 16 {
            return Err(unsupported(format!("JPEG 2000 samples of {bits} bits; up to 16 are read")));
        }
        if others.iter().any(|other| other[0] != first[0]) {
            return Err(unsupported("JPEG 2000 components of different precision; convert it to RGB or MONOCHROME2"));
        }
        Ok(Self { bits, signed, same_sampling: others.iter().all(|other| other[1..] == first[1..]) })
    }
}

/// Checks what the header of a JPEG 2000 codestream asks memory for, before any is taken: the reference grid with its
/// tiles, and the number of components (ISO/IEC 15444-1, A.5.1). Returns the number of tiles.
fn check_grid(codestream: &[u8], layout: &Layout) -> Result<usize, DecodeError> {
    // Tiles are counted with 16 bits.
    const MAX_TILES: u64 = 65_535;
    let cut = || corrupt("the JPEG 2000 header is cut short");
    // Start, marker, length and capabilities; then eight words of 32 bits and the number of components.
    let grid: &[u8; 34] = codestream.get(8..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
    let (words, count) = grid.as_chunks::<4>();
    let words: Vec<u64> = words.iter().map(|&word| u64::from(u32::from_be_bytes(word))).collect();
    let &[right, bottom, left, top, tile_width, tile_height, tile_left, tile_top] = &words[..] else {
        return Err(cut());
    };
    // Components may all be coarser than the grid; the image's own dimensions are compared once it is open.
    let area = right.saturating_sub(left).saturating_mul(bottom.saturating_sub(top));
    if area > 4 * layout.num_pixels() as u64 {
        check_dimensions(layout, right.saturating_sub(left) as usize, bottom.saturating_sub(top) as usize)?;
    }
    let tiles = |end: u64, start: u64, size: u64| end.saturating_sub(start).div_ceil(size.max(1));
    let num_tiles = tiles(right, tile_left, tile_width).saturating_mul(tiles(bottom, tile_top, tile_height));
    if num_tiles > MAX_TILES {
        return Err(corrupt(format_args!("{num_tiles} JPEG 2000 tiles, the standard has {MAX_TILES} at most")));
    }
    let channels = count.iter().fold(0, |all, &byte| all << 8 | usize::from(byte));
    if channels != layout.channels {
        return Err(contradictory(format_args!(
            "{channels} JPEG 2000 components for {} sample(s) per pixel",
            layout.channels
        )));
    }
    Ok(num_tiles as usize)
}
