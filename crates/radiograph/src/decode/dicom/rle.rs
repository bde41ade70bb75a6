//! DICOM's run-length encoding (PS3.5, annex G): byte planes, each packed as PackBits.

use super::{contradictory, corrupt};
use crate::DecodeError;

/// Decodes a frame to one plane of words per channel.
pub(super) fn decode(
    frame: &[u8],
    pixels: usize,
    bits_allocated: u32,
    channels: usize,
) -> Result<Vec<Vec<u16>>, DecodeError> {
    let header: &[u8; 64] = frame.first_chunk().ok_or_else(|| corrupt("the RLE header is cut short"))?;
    let words: Vec<usize> = header.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word) as usize).collect();
    let bytes_per_sample = (bits_allocated / 8) as usize;
    let segments = words[0];
    if segments != bytes_per_sample * channels || segments > 15 {
        return Err(contradictory(format_args!(
            "{segments} RLE segments for {channels} channel(s) of {bits_allocated} bits"
        )));
    }
    let mut planes = vec![vec![0_u16; pixels]; channels];
    for segment in 0..segments {
        let end = if segment + 1 < segments { words[segment + 2] } else { frame.len() };
        let packed = frame
            .get(words[segment + 1]..end)
            .ok_or_else(|| corrupt(format_args!("RLE segment {} lies outside the data", segment + 1)))?;
        // The most significant byte comes first.
        for (word, byte) in planes[segment / bytes_per_sample].iter_mut().zip(unpack(packed, pixels)?) {
            *word = *word << 8 | u16::from(byte);
        }
    }
    Ok(planes)
}

/// PackBits: a count of 0..=127 copies one more bytes than it says, -1..=-127 repeats the next byte.
fn unpack(packed: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    let cut = || corrupt("an RLE segment is cut short");
    let mut out = Vec::with_capacity(length);
    let mut rest = packed;
    while out.len() < length {
        let (&count, after) = rest.split_first().ok_or_else(cut)?;
        rest = match count {
            0..=127 => {
                let (literal, after) = after.split_at_checked(usize::from(count) + 1).ok_or_else(cut)?;
                out.extend_from_slice(literal);
                after
            }
            128 => after,
            129.. => {
                let (&byte, after) = after.split_first().ok_or_else(cut)?;
                out.resize(out.len() + 257 - usize::from(count), byte);
                after
            }
        };
    }
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_unpack() {
        // Apple's worked example of PackBits.
        let packed = [0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7, 0xaa];
        let mut expected = vec![0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22];
        expected.extend([0xaa; 10]);
        assert_eq!(unpack(&packed, 24).unwrap(), expected);
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length], 24).is_err());
        }
    }
}
