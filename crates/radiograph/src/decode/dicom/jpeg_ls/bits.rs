//! The bits of a JPEG-LS scan, and the codes that they make.

use super::super::corrupt;
use crate::DecodeError;

/// Reads bits, most significant first. After a byte of 255 the next one holds only seven (A.1, bit stuffing); one with
/// its top bit set is a marker, the end of the data.
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    buffer: u64,
    available: u32,
    after_ff: bool,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0, buffer: 0, available: 0, after_ff: false }
    }

    /// The data from the marker on that ends those that were read; empty where none does.
    pub(super) fn rest(&self) -> &'a [u8] {
        // The byte of 255 that begins a marker has been read, the one behind it has not.
        let from = self.position.saturating_sub(usize::from(self.after_ff));
        let rest = self.data.get(from..).unwrap_or(&[]);
        let start = rest.windows(2).position(|pair| pair[0] == 0xff && pair[1] & 0x80 != 0);
        start.map_or(&[], |start| &rest[start..])
    }

    /// Tops up the buffer to more than 48 bits, or to what is left.
    fn fill(&mut self) {
        while self.available <= 48 {
            let Some(&byte) = self.data.get(self.position) else { return };
            if self.after_ff && byte & 0x80 != 0 {
                return;
            }
            let bits = if self.after_ff { 7 } else { 8 };
            self.buffer = self.buffer << bits | u64::from(byte);
            self.available += bits;
            self.after_ff = byte == 0xff;
            self.position += 1;
        }
    }

    /// The next `count <= 32` bits.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, DecodeError> {
        if self.available < count {
            self.fill();
        }
        self.available = self.available.checked_sub(count).ok_or_else(|| corrupt("the JPEG-LS data are cut short"))?;
        Ok((self.buffer >> self.available & ((1 << count) - 1)) as u32)
    }

    /// A value in the limited-length Golomb code of an order (A.5.3).
    pub(super) fn golomb(&mut self, order: u32, limit: u32, error_bits: u32) -> Result<i32, DecodeError> {
        let longest = limit - error_bits - 1;
        let mut zeros = 0;
        while self.read(1)? == 0 {
            zeros += 1;
            if zeros > longest {
                return Err(corrupt("an impossible JPEG-LS code"));
            }
        }
        let value = if zeros < longest { zeros << order | self.read(order)? } else { self.read(error_bits)? + 1 };
        // No error is larger than twice the range of 16-bit samples.
        i32::try_from(value).ok().filter(|&value| value < 1 << 18).ok_or_else(|| corrupt("an impossible JPEG-LS error"))
    }
}
