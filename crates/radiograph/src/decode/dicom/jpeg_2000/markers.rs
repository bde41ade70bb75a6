//! What the marker segments of a JPEG 2000 codestream say before it is decoded (ISO/IEC 15444-1, annex A), and where its
//! last tile-part ends.

use std::borrow::Cow;

use memchr::memmem;

use super::super::pixels::Layout;
use super::super::{contradictory, corrupt, unsupported};
use crate::DecodeError;

/// Code-blocks that an image may be cut into, over all resolutions and components. 100 million pixels in the usual blocks
/// of 64 x 64 have some 33,000; each takes a few hundred bytes.
const MAX_BLOCKS: u64 = 2_000_000;

const SOT: u16 = 0xff90;
const SOD: u16 = 0xff93;
const EOC: u16 = 0xffd9;
const COD: u16 = 0xff52;
const COC: u16 = 0xff53;

/// What was read from a codestream.
#[derive(Default)]
pub(super) struct Markers {
    /// Whether any component is transformed by the irreversible wavelet.
    pub(super) irreversible: bool,
    /// Whether components are mixed by a colour transform (annex G.2 and G.3), which is undone when they are decoded.
    pub(super) mixes_colors: bool,
    /// The tile-part that says a length of 0, by the place of its marker, and where it ends.
    unmeasured: Option<[usize; 2]>,
    /// Where the codestream ends, if no marker says so.
    open_end: Option<usize>,
}

impl Markers {
    /// Whether nothing says where the data end, so that their last byte may be the one that makes their length even.
    pub(super) fn may_be_padded(&self, codestream: &[u8]) -> bool {
        self.unmeasured.is_some() && self.open_end.is_some() && codestream.ends_with(&[0])
    }

    /// The codestream as decoders want it: each tile-part with its length, and a marker at the end. Without its last
    /// byte, if that is padding.
    pub(super) fn complete<'a>(&self, codestream: &'a [u8], is_padded: bool) -> Cow<'a, [u8]> {
        if self.unmeasured.is_none() && self.open_end.is_none() {
            return Cow::Borrowed(codestream);
        }
        let padding = usize::from(is_padded);
        let mut codestream = codestream[..self.open_end.map_or(codestream.len(), |end| end - padding)].to_vec();
        if let Some([start, end]) = self.unmeasured
            && let Some(length) = codestream.get_mut(start + 6..start + 10)
        {
            length.copy_from_slice(&((end - padding - start) as u32).to_be_bytes());
        }
        if self.open_end.is_some() {
            codestream.extend(EOC.to_be_bytes());
        }
        Cow::Owned(codestream)
    }
}

/// Parts of a tile: how many there are so far, and how many it says there will be (0 where it does not).
#[derive(Clone, Copy, Default)]
struct Parts {
    found: u32,
    announced: u32,
}

/// Goes through the markers of a codestream with so many tiles, and checks how many code-blocks its coding styles (A.6.1,
/// A.6.2) ask for: blocks and precincts may be as small as a pixel.
pub(super) fn read(codestream: &[u8], layout: &Layout, num_tiles: usize) -> Result<Markers, DecodeError> {
    let word = |at: usize| codestream.get(at..).and_then(<[u8]>::first_chunk).map(|pair| u16::from_be_bytes(*pair));
    let mut markers = Markers::default();
    let mut tiles = vec![Parts::default(); num_tiles];
    // Behind the start; and where the tile-part begins and ends that is being read.
    let (mut at, mut part) = (2_usize, None);
    loop {
        // All tile-parts are there, and nothing behind them but what makes the length even.
        if part.is_none() && codestream.get(at..).is_some_and(|rest| rest.iter().all(|&byte| byte == 0)) {
            let is_whole = |tile: &Parts| tile.found > 0 && tile.found >= tile.announced;
            if !tiles.iter().all(is_whole) {
                return Err(corrupt("JPEG 2000 tile-parts are missing"));
            }
            markers.open_end = Some(at);
            return Ok(markers);
        }
        let marker = word(at).ok_or_else(|| corrupt("the JPEG 2000 codestream is cut short"))?;
        if marker == EOC {
            let missing = tiles.iter().filter(|tile| tile.found == 0).count();
            if missing > 0 {
                return Err(corrupt(format_args!("{missing} of {num_tiles} JPEG 2000 tiles are missing")));
            }
            return Ok(markers);
        }
        if marker == SOD {
            // Data, without a length of their own.
            let Some((start, length)) = part.take() else {
                return Err(corrupt("JPEG 2000 data outside of a tile-part"));
            };
            let end = match length {
                Some(length) => start + length,
                None => {
                    let end = end_of_data(codestream, at + 2)?;
                    markers.unmeasured = Some([start, end]);
                    end
                }
            };
            if end < at + 2 {
                return Err(corrupt("a JPEG 2000 tile-part that ends within its header"));
            }
            at = end;
            continue;
        }
        let cut = || corrupt("a JPEG 2000 marker segment is cut short");
        let length = usize::from(word(at + 2).ok_or_else(cut)?);
        let segment = codestream.get(at + 4..at + 2 + length).unwrap_or(&[]);
        match (marker, segment) {
            // Number of the tile, length of the tile-part from here on, its number, number of the tile's parts.
            (SOT, &[i1, i0, a, b, c, d, _, announced]) => {
                let tile = usize::from(u16::from_be_bytes([i1, i0]));
                let parts = tiles
                    .get_mut(tile)
                    .ok_or_else(|| corrupt(format_args!("JPEG 2000 tile {tile} of an image of {num_tiles}")))?;
                parts.found += 1;
                parts.announced = parts.announced.max(announced.into());
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                part = Some((at, (length > 0).then_some(length)));
            }
            (SOT, _) => return Err(cut()),
            // Style, then progression, layers and colour transform, then levels and sizes.
            (COD, &[style, _, _, _, mixes_colors, ref sizes @ ..]) => {
                markers.mixes_colors |= mixes_colors != 0;
                markers.irreversible |= is_irreversible(sizes);
                check_blocks(style, sizes, layout)?;
            }
            // For one of less than 257 components: its number, style, then levels and sizes.
            (COC, &[_, style, ref sizes @ ..]) => {
                markers.irreversible |= is_irreversible(sizes);
                check_blocks(style, sizes, layout)?;
            }
            _ => {}
        }
        // Markers of this range have no segment.
        at += if matches!(marker, 0xff30..=0xff3f) { 2 } else { 2 + length.max(2) };
    }
}

/// Where the data end that begin here and have no length: a tile-part of length 0 goes on to the end of the codestream
/// (A.4.2), so that it is the last. No two bytes of data look like these markers.
fn end_of_data(codestream: &[u8], start: usize) -> Result<usize, DecodeError> {
    let data = codestream.get(start..).unwrap_or(&[]);
    let length = memmem::find(data, &EOC.to_be_bytes()).unwrap_or(data.len());
    if memmem::find(&data[..length], &SOT.to_be_bytes()).is_some() {
        return Err(contradictory("a JPEG 2000 tile-part without a length, which only the last may be"));
    }
    Ok(start + length)
}

/// Whether a coding style (levels, block width and height, block style, wavelet, precincts) is of the irreversible wavelet.
fn is_irreversible(sizes: &[u8]) -> bool {
    sizes.get(4) == Some(&0)
}

fn check_blocks(style: u8, sizes: &[u8], layout: &Layout) -> Result<(), DecodeError> {
    let num_blocks = count_blocks(style, sizes, layout);
    if num_blocks > MAX_BLOCKS {
        return Err(unsupported(format!(
            "its JPEG 2000 data are cut into {num_blocks} blocks, and {MAX_BLOCKS} are read; compress it again with the \
             usual blocks of 64 x 64"
        )));
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
