//! Huffman codes of JPEG (ITU-T T.81, annexes C and F.2.2) and the bits that they are read from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bits that are looked up at once; longer codes are rare.
const LOOKUP_BITS: u32 = 11;

/// The largest number of bits in a code.
const MAX_CODE_BITS: usize = 16;

/// A table of codes, for DC differences or AC coefficients.
pub(super) struct Table {
    /// For each of the next [`LOOKUP_BITS`] bits: symbol, bits of its code; no bits where the code is longer.
    short: Box<[(u8, u8); 1 << LOOKUP_BITS]>,
    /// The first code of each length, left-aligned in 16 bits, that is beyond those of the length; T.81, figure F.16.
    beyond: [u32; MAX_CODE_BITS + 1],
    /// What to add to a code of each length for the place of its symbol.
    offsets: [i32; MAX_CODE_BITS + 1],
    symbols: Vec<u8>,
}

/// Zeros "before" the mark that a block has no more coefficients: more than there can be.
pub(super) const END_OF_BLOCK: u8 = 128;

/// One AC coefficient or two of them, each with the zeros before it, in one word: what the next look-up waits for comes
/// first, the number of bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Pair(u64);

impl Pair {
    /// Of value, zeros before it, and bits of code and value together.
    fn one((value, run, bits): (i16, u8, u8)) -> Self {
        let [first, second] = value.to_le_bytes();
        Self(u64::from_le_bytes([bits, bits, run, 0, first, second, 0, 0]))
    }

    /// With another one after it.
    fn and(self, (value, run, bits): (i16, u8, u8)) -> Self {
        let mut bytes = self.0.to_le_bytes();
        bytes[0] += bits;
        bytes[3] = run;
        bytes[6..].copy_from_slice(&value.to_le_bytes());
        Self(u64::from_le_bytes(bytes))
    }

    /// Bits of codes and values together; 0 where not even the first is in the table.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 as u32 & 0xff
    }

    /// Bits of code and value of the first.
    #[inline(always)]
    pub(super) fn first_bits(self) -> u32 {
        self.0 as u32 >> 8 & 0xff
    }

    /// Zeros before them.
    #[inline(always)]
    pub(super) fn runs(self) -> [usize; 2] {
        [16, 24].map(|shift| (self.0 >> shift) as usize & 0xff)
    }

    /// The second is 0 where there is one only.
    #[inline(always)]
    pub(super) fn values(self) -> [i32; 2] {
        [32, 48].map(|shift| i32::from((self.0 >> shift) as i16))
    }
}

impl Table {
    /// The table of the numbers of codes of 1 to 16 bits and of the symbols in the order of their codes. `None` where
    /// there are more codes than bits.
    pub(super) fn new(counts: &[u8; MAX_CODE_BITS], symbols: &[u8]) -> Option<Self> {
        let mut short = Box::new([(0, 0); 1 << LOOKUP_BITS]);
        let (mut beyond, mut offsets) = ([0; MAX_CODE_BITS + 1], [0; MAX_CODE_BITS + 1]);
        let (mut code, mut place) = (0_u32, 0_usize);
        for bits in 1..=MAX_CODE_BITS {
            offsets[bits] = place as i32 - code as i32;
            for _ in 0..counts[bits - 1] {
                let symbol = *symbols.get(place)?;
                if code >> bits != 0 {
                    return None;
                }
                if let Some(free) = LOOKUP_BITS.checked_sub(bits as u32) {
                    let first = (code << free) as usize;
                    short.get_mut(first..first + (1 << free))?.fill((symbol, bits as u8));
                }
                (code, place) = (code + 1, place + 1);
            }
            if code > 1 << bits {
                return None;
            }
            beyond[bits] = code << (MAX_CODE_BITS - bits);
            code <<= 1;
        }
        Some(Self { short, beyond, offsets, symbols: symbols[..place].to_vec() })
    }

    /// Reads the next symbol; `None` for bits that are no code. At least 16 bits must be there.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let (symbol, length) = self.short[bits.peek(LOOKUP_BITS) as usize];
        if length != 0 {
            bits.skip(u32::from(length));
            return Some(symbol);
        }
        self.read_long(bits)
    }

    /// The AC coefficient that [`LOOKUP_BITS`] bits begin with, of which `known` are there: value, zeros before it, bits of
    /// code and value.
    fn coefficient(&self, bits: u32, known: u32) -> Option<(i16, u8, u8)> {
        let bits = bits & ((1 << LOOKUP_BITS) - 1);
        let (symbol, length) = self.short[bits as usize];
        let (run, size, length) = (symbol >> 4, u32::from(symbol & 15), u32::from(length));
        if length == 0 || length + size > known {
            return None;
        }
        if symbol == 0 {
            return Some((0, END_OF_BLOCK, length as u8));
        }
        // Sixteen zeros and no value are left to others.
        let value = bits >> (LOOKUP_BITS - length - size) & ((1 << size) - 1);
        (size > 0).then(|| (extend(value, size) as i16, run, (length + size) as u8))
    }

    #[cold]
    fn read_long(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let next = bits.peek(MAX_CODE_BITS as u32);
        let length = (LOOKUP_BITS as usize + 1..=MAX_CODE_BITS).find(|&length| next < self.beyond[length])?;
        let code = (next >> (MAX_CODE_BITS - length)) as i32;
        bits.skip(length as u32);
        self.symbols.get(usize::try_from(code + self.offsets[length]).ok()?).copied()
    }
}

/// A table of codes for the differences of lossless samples.
pub(super) struct Differences<'a> {
    table: &'a Table,
    /// For each of the next [`LOOKUP_BITS`] bits: difference, bits of code and difference; no bits where they do not fit.
    short: Box<[(i16, u8); 1 << LOOKUP_BITS]>,
}

impl<'a> Differences<'a> {
    /// Those of a table whose symbols are numbers of bits.
    pub(super) fn of(table: &'a Table) -> Self {
        let mut short = Box::new([(0, 0); 1 << LOOKUP_BITS]);
        for (bits, found) in (0_u32..).zip(short.iter_mut()) {
            let (size, length) = table.short[bits as usize];
            let (size, length) = (u32::from(size), u32::from(length));
            if length > 0 && length + size <= LOOKUP_BITS {
                let value = bits >> (LOOKUP_BITS - length - size) & ((1 << size) - 1);
                *found = (extend(value, size) as i16, (length + size) as u8);
            }
        }
        Self { table, short }
    }

    /// Reads a difference modulo 2^16 (T.81, H.1.2.2); `None` for bits that mean nothing.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Option<u16> {
        bits.ensure();
        let (difference, length) = self.short[bits.peek(LOOKUP_BITS) as usize];
        if length > 0 {
            bits.skip(u32::from(length));
            return Some(difference as u16);
        }
        match u32::from(self.table.read(bits)?) {
            size @ 0..16 => Some(extend(bits.take(size), size) as u16),
            // The only difference of its size: no bits follow.
            16 => Some(1 << 15),
            _ => None,
        }
    }
}

/// A table of codes for AC coefficients.
pub(super) struct AcTable {
    table: Table,
    /// For each of the next [`LOOKUP_BITS`] bits the coefficients whose code and value fit.
    coefficients: Box<[Pair; 1 << LOOKUP_BITS]>,
}

/// Tables that a thread remembers: most files have those that the standard proposes, or those of the file before.
const REMEMBERED: usize = 4;

thread_local! {
    /// The last tables, by the numbers of codes and the symbols.
    static LAST: RefCell<VecDeque<(Vec<u8>, Rc<AcTable>)>> = const { RefCell::new(VecDeque::new()) };
}

impl AcTable {
    /// The table of the numbers of codes of 1 to 16 bits and of the symbols, as [`Table::new`]; making one takes as long
    /// as decoding some hundred blocks, so the last ones are kept.
    pub(super) fn of(counts: &[u8; MAX_CODE_BITS], symbols: &[u8]) -> Option<Rc<Self>> {
        LAST.with_borrow_mut(|last| {
            let is_this = |key: &[u8]| key.split_at(MAX_CODE_BITS) == (&counts[..], symbols);
            if let Some((_, table)) = last.iter().find(|(key, _)| is_this(key)) {
                return Some(Rc::clone(table));
            }
            let table = Rc::new(Self::new(Table::new(counts, symbols)?));
            last.truncate(REMEMBERED - 1);
            last.push_front(([&counts[..], symbols].concat(), Rc::clone(&table)));
            Some(table)
        })
    }

    fn new(table: Table) -> Self {
        let mut coefficients = Box::new([Pair::default(); 1 << LOOKUP_BITS]);
        for (bits, found) in coefficients.iter_mut().enumerate() {
            let bits = bits as u32;
            let Some(first) = table.coefficient(bits, LOOKUP_BITS) else { continue };
            *found = Pair::one(first);
            let (_, run, length) = first;
            if run != END_OF_BLOCK
                && let Some(second) = table.coefficient(bits << length, LOOKUP_BITS - u32::from(length))
            {
                *found = found.and(second);
            }
        }
        Self { table, coefficients }
    }

    /// The coefficients that come next, where they are short enough to be looked up; otherwise some of no bits.
    #[inline(always)]
    pub(super) fn peek(&self, bits: &Bits<'_>) -> Pair {
        self.coefficients[bits.peek(LOOKUP_BITS) as usize]
    }

    /// Reads the next symbol, as [`Table::read`].
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Option<u8> {
        self.table.read(bits)
    }
}

/// The number of `size` bits that is meant (T.81, F.12): those that begin with 0 are negative.
#[inline(always)]
pub(super) fn extend(value: u32, size: u32) -> i32 {
    let value = value as i32;
    if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
}

/// Bits of a segment between restart marks, without the zeros after `FF`. After its end come zeros.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The next bits, from the highest on.
    buffer: u64,
    /// How many are there.
    count: u32,
}

/// Zeros after a segment, so that eight bytes can be read at any place of it.
pub(super) const PADDING: usize = 16;

impl<'a> Bits<'a> {
    /// `bytes` end with [`PADDING`] zeros.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, buffer: 0, count: 0 }
    }

    /// Sees to it that there are at least 56 bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let Some(&next) = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) else {
            // Zeros, of which there are enough.
            return self.pad();
        };
        self.buffer |= u64::from_be_bytes(next) >> self.count;
        let num_bytes = (63 - self.count) >> 3;
        self.position += num_bytes as usize;
        self.count += num_bytes * 8;
    }

    #[cold]
    fn pad(&mut self) {
        self.position += (63 - self.count as usize) >> 3;
        self.count |= 56;
    }

    /// At least 32 bits.
    #[inline(always)]
    pub(super) fn ensure(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline(always)]
    pub(super) fn peek(&self, num: u32) -> u32 {
        (self.buffer >> (64 - num)) as u32
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, num: u32) {
        self.buffer <<= num;
        self.count -= num;
    }

    /// Reads 0 to 16 bits.
    #[inline(always)]
    pub(super) fn take(&mut self, num: u32) -> u32 {
        let value = (self.buffer >> 1 >> (63 - num)) as u32;
        self.skip(num);
        value
    }

    /// Whether more was read than there is.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.position * 8 - self.count as usize > (self.bytes.len() - PADDING) * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of T.81's table K.3 (luminance DC): 2 to 9 bits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let counts = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
        let table = Table::new(&counts, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]).unwrap();
        // 00, 010, 1110, 111111110 and the end.
        let mut bytes = vec![0b0001_0111, 0b0111_1111, 0b1000_0000];
        bytes.extend([0; PADDING]);
        let mut bits = Bits::new(&bytes);
        bits.refill();
        assert_eq!([0; 4].map(|_: u8| table.read(&mut bits)), [Some(0), Some(1), Some(6), Some(11)]);
        assert!(!bits.is_overdrawn());
        // Seven zeros are left of the bytes: three codes and half of another.
        assert_eq!([0; 3].map(|_: u8| table.read(&mut bits)), [Some(0); 3]);
        assert!(!bits.is_overdrawn());
        table.read(&mut bits);
        assert!(bits.is_overdrawn());
    }

    #[test]
    fn long_codes_and_bits_that_are_no_code() {
        // One code of 1 bit, then one of 16: 1000_0000_0000_0000.
        let counts = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let table = Table::new(&counts, &[5, 7]).unwrap();
        let mut bytes = vec![0b1000_0000, 0, 0b1100_0000, 0];
        bytes.extend([0; PADDING]);
        let mut bits = Bits::new(&bytes);
        bits.refill();
        assert_eq!(table.read(&mut bits), Some(7));
        assert_eq!(table.read(&mut bits), None);
    }

    #[test]
    fn tables_with_too_many_codes_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 1;
        assert!(Table::new(&counts, &[]).is_none());
    }

    #[test]
    fn numbers_are_extended_as_the_standard_says() {
        assert_eq!([0, 1, 2, 3].map(|value| extend(value, 2)), [-3, -2, 2, 3]);
        assert_eq!([extend(0, 0), extend(0, 1), extend(1, 1)], [0, -1, 1]);
    }

    #[test]
    fn tables_are_remembered_by_what_they_are() {
        let counts = |one: u8| [one, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let table = AcTable::of(&counts(1), &[0x12, 0]).unwrap();
        assert!(Rc::ptr_eq(&table, &AcTable::of(&counts(1), &[0x12, 0]).unwrap()));
        let other = AcTable::of(&counts(1), &[0, 0x12]).unwrap();
        assert!(!Rc::ptr_eq(&table, &other) && other.peek(&Bits::new(&[0; PADDING])).runs()[0] == 128);
        assert!(AcTable::of(&counts(3), &[1, 2, 3, 4]).is_none());
        for symbol in 1..20 {
            AcTable::of(&counts(1), &[symbol, 0]).unwrap();
        }
        assert_eq!(LAST.with_borrow(VecDeque::len), REMEMBERED);
        assert!(!Rc::ptr_eq(&table, &AcTable::of(&counts(1), &[0x12, 0]).unwrap()));
    }

    #[test]
    fn coefficients_are_what_codes_and_values_say() {
        // Code 0 is symbol 0x12: one zero, then a number of two bits. Code 10 is the end.
        let table = Table::new(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x12, 0]).unwrap();
        let table = AcTable::new(table);
        let peek = |first: u8, second: u8| {
            let mut bytes = vec![first, second];
            bytes.extend([0; PADDING]);
            let mut bits = Bits::new(&bytes);
            bits.refill();
            let found = table.peek(&bits);
            (found.values(), found.runs(), [found.first_bits(), found.bits()])
        };
        let end = usize::from(END_OF_BLOCK);
        assert_eq!(peek(0b0100_0100, 0), ([2, -2], [1, 1], [3, 6]));
        assert_eq!(peek(0b0110_0000, 0), ([3, -3], [1, 1], [3, 6]));
        assert_eq!(peek(0b0101_0000, 0), ([2, 0], [1, end], [3, 5]));
        assert_eq!(peek(0b1001_1000, 0), ([0, 0], [end, 0], [2, 2]));
        // 11 is no code.
        assert_eq!(peek(0b0101_1000, 0), ([2, 0], [1, 0], [3, 3]));
        assert_eq!(peek(0b1100_0000, 0).2, [0, 0]);
    }
}
