//! JPEG 2000 codestreams, high-throughput ones included: the decoders make room for whatever a header asks for, so
//! headers are checked first.

use super::pixels::{Layout, Values, check_dimensions};
use super::{corrupt, unsupported};
use crate::DecodeError;

/// Code-blocks that an image may be cut into, over all resolutions and components. 100 million pixels in the usual blocks
/// of 64 x 64 have some 33,000; each takes a few hundred bytes.
const MAX_BLOCKS: u64 = 2_000_000;

/// Decodes a frame, lossless or lossy, to a half, a quarter or an eighth of its rows and columns if so asked and as far as
/// the file has resolutions; also returns by how much they were reduced.
pub(super) fn decode(frame: &[u8], layout: &Layout, reduction: usize) -> Result<(Values, usize), DecodeError> {
    // Some writers wrap the codestream in a JP2 file, which the standard does not allow. The SIZ segment follows its
    // start; the precision of the first component, with its sign, lies 42 bytes in.
    let start = frame.windows(4).position(|mark| mark == [0xff, 0x4f, 0xff, 0x51]);
    let codestream = start.map(|start| &frame[start..]).ok_or_else(|| corrupt("no JPEG 2000 codestream"))?;
    let &precision = codestream.get(42).ok_or_else(|| corrupt("the JPEG 2000 header is cut short"))?;
    let (signed, bits) = (precision & 0x80 != 0, u32::from(precision & 0x7f) + 1);
    if bits > 16 {
        return Err(unsupported(format!("JPEG 2000 samples of {bits} bits; up to 16 are read")));
    }
    check_grid(codestream, layout)?;
    check_blocks(codestream, layout)?;
    // The capabilities, which precede the grid, say whether blocks are coded after part 15 (ISO/IEC 15444-15, A.3).
    if codestream[6] & 0x40 != 0 {
        return Ok((high_throughput(codestream, layout, signed, bits)?, 1));
    }
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
    let (offset, max) = (if signed { 1_i32 << (bits - 1) } else { 0 }, (1_i32 << bits) - 1);
    let mask = layout.max_value() as u16;
    let sample = |value: f32| ((value.round() as i32).clamp(0, max) - offset) as u16 & mask;
    match decoded.components() {
        [grey] => Ok((Values::Grey(grey.samples().iter().map(|&value| sample(value)).collect()), reduced)),
        [red, green, blue] => {
            let colors = red.samples().iter().zip(green.samples()).zip(blue.samples());
            Ok((Values::Rgb(colors.map(|((&r, &g), &b)| [sample(r), sample(g), sample(b)]).collect()), reduced))
        }
        other => Err(corrupt(format_args!("{} JPEG 2000 components", other.len()))),
    }
}

/// Decodes a checked codestream whose blocks are coded for high throughput. `bits` is at most 16.
fn high_throughput(codestream: &[u8], layout: &Layout, signed: bool, bits: u32) -> Result<Values, DecodeError> {
    use dicom_toolkit_jpeg2000::{DecodeSettings, Image};
    let settings = DecodeSettings { strict: true, ..Default::default() };
    let image = Image::new(codestream, &settings).map_err(corrupt)?;
    check_dimensions(layout, image.width() as usize, image.height() as usize)?;
    let decoded = image.decode_native().map_err(corrupt)?;
    // As above, signed samples come shifted up.
    let offset = if signed { 1_u16 << (bits - 1) } else { 0 };
    let mask = layout.max_value() as u16;
    let sample = |value: u16| value.wrapping_sub(offset) & mask;
    let samples: Vec<u16> = if decoded.bytes_per_sample == 1 {
        decoded.data.iter().map(|&byte| sample(u16::from(byte))).collect()
    } else {
        decoded.data.as_chunks().0.iter().map(|&pair| sample(u16::from_le_bytes(pair))).collect()
    };
    match decoded.num_components {
        1 => Ok(Values::Grey(samples)),
        3 => Ok(Values::Rgb(samples.as_chunks().0.to_vec())),
        other => Err(corrupt(format_args!("{other} JPEG 2000 components"))),
    }
}

/// Checks what the header of a JPEG 2000 codestream asks memory for, before any is taken: the reference grid with its
/// tiles, and the number of components (ISO/IEC 15444-1, A.5.1).
fn check_grid(codestream: &[u8], layout: &Layout) -> Result<(), DecodeError> {
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
        return Err(corrupt(format_args!(
            "{channels} JPEG 2000 components for {} sample(s) per pixel",
            layout.channels
        )));
    }
    Ok(())
}

/// Checks how many code-blocks the coding styles (A.6.1, A.6.2) of the image and of its tiles ask for: blocks and
/// precincts may be as small as a pixel.
fn check_blocks(codestream: &[u8], layout: &Layout) -> Result<(), DecodeError> {
    let word = |at: usize| codestream.get(at..).and_then(<[u8]>::first_chunk).map(|pair| u16::from_be_bytes(*pair));
    // Behind the start; and where the tile-part ends that is being read.
    let (mut at, mut end) = (2_usize, None);
    while let (Some(marker), Some(length)) = (word(at), word(at + 2)) {
        let segment = codestream.get(at + 4..at + 2 + usize::from(length)).unwrap_or(&[]);
        match (marker, segment) {
            // SOT: number of the tile, length of the tile-part from here on; 0 goes up to the end.
            (0xff90, [_, _, a, b, c, d, ..]) => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                end = at.checked_add(length).filter(|_| length > 0);
            }
            // SOD: data, without a length.
            (0xff93, _) => match end.take() {
                Some(end) if end > at => {
                    at = end;
                    continue;
                }
                _ => break,
            },
            // COD, and COC for one of less than 257 components: style, then levels and sizes.
            (0xff52, [style, _, _, _, _, sizes @ ..]) | (0xff53, [_, style, sizes @ ..]) => {
                let num_blocks = count_blocks(*style, sizes, layout);
                if num_blocks > MAX_BLOCKS {
                    return Err(unsupported(format!(
                        "its JPEG 2000 data are cut into {num_blocks} blocks, and {MAX_BLOCKS} are read; compress it \
                         again with the usual blocks of 64 x 64"
                    )));
                }
            }
            _ => {}
        }
        at += 2 + usize::from(length).max(2);
    }
    Ok(())
}

/// Code-blocks of all components in all resolutions, leaving aside what tiles cut.
fn count_blocks(style: u8, sizes: &[u8], layout: &Layout) -> u64 {
    let &[levels, width, height, _, _, ref precincts @ ..] = sizes else { return 0 };
    let levels = u32::from(levels.min(32));
    let resolutions = (0..=levels).map(|resolution| {
        // Exponents of two. A precinct lies on the resolution, a block on its bands, which are half as large.
        let precinct = match precincts.get(resolution as usize) {
            Some(&both) if style & 1 == 1 => [u32::from(both & 15), u32::from(both >> 4)],
            _ => [15, 15],
        };
        let bands = u32::from(resolution > 0);
        let blocks = |length: usize, block: u8, precinct: u32| {
            let length = (length as u64).div_ceil(1 << (levels - resolution));
            let block = (u32::from(block & 15) + 2).min(precinct.saturating_sub(bands));
            length.div_ceil(1 << block)
        };
        blocks(layout.width, width, precinct[0]).saturating_mul(blocks(layout.height, height, precinct[1]))
    });
    resolutions.fold(0_u64, u64::saturating_add).saturating_mul(layout.channels as u64)
}
