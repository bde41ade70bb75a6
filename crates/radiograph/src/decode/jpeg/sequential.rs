//! Baseline and extended sequential JPEG (ITU-T T.81, processes 1, 2 and 4) of 8 or 12 bits, brightness only, at full
//! size or reduced on the way.
//!
//! Nearly every radiograph that is a JPEG is one of these. Libraries decode them to all of their colours and at full size;
//! here the colours are passed over, and a picture that will be made small need not be made large first.

use super::cosine::{Blocks, Coefficients, LANES, Sample, transform};
use super::header::{MAX_COMPONENTS, ORDER, Refusal, Scanned, Stream, corrupt};
use super::huffman::{AcTable, Bits, END_OF_BLOCK, PADDING, Table, extend};

/// `[row * 8 + column]` of the coefficients in the order of the file (T.81, figure A.6), and the last place for whatever
/// damaged data put beyond it, and for the zero that ends a block.
const ZIGZAG: [u8; 256] = {
    let mut places = [63; 256];
    let mut number = 0;
    while number < 64 {
        places[number] = ORDER[number];
        number += 1;
    }
    places
};

impl Stream<'_> {
    /// The brightness of each pixel, row-major, of the image reduced by 1, 2, 4 or 8 (its sides rounded up): of `T` for
    /// the header's bits. The scan has the first component at full resolution before all others.
    pub(super) fn decode_brightness<T: Sample>(&self, reduction: usize) -> Result<Vec<T>, Refusal> {
        let side = 8 / reduction;
        let scan = self.scan_components()?;
        // A scan of one component has its blocks one by one, whatever its sampling (T.81, A.2.2).
        let [across, down] = if scan.len() == 1 { [1, 1] } else { self.frame.finest() };
        let units = [self.frame.width.div_ceil(8 * across), self.frame.height.div_ceil(8 * down)];
        let [height, width] = [self.frame.height, self.frame.width].map(|length| length.div_ceil(reduction));
        let stride = units[0] * across * side;
        let quantization = &self.quantization[self.frame.components[0].quantization];
        let mut plane = Plane {
            arch: pulp::Arch::new(),
            places: ZIGZAG.map(|place| Place { number: place, factor: quantization[usize::from(place)] }),
            strip: vec![T::default(); stride * down * side],
            stride,
            side,
            across,
            waiting: (0..down).map(|_| Waiting::default()).collect(),
            width,
            samples: Vec::with_capacity(height * width),
        };
        let mut segments = Segments::new(self.data());
        let interval = if self.restart_interval == 0 { units[0] * units[1] } else { self.restart_interval };
        let (mut unit, mut column) = (0, 0);
        while unit < units[0] * units[1] {
            if !segments.next() {
                return corrupt("restart intervals are missing");
            }
            let end = (unit + interval).min(units[0] * units[1]);
            let mut bits = Bits::new(&segments.data);
            let mut predictions = [0; MAX_COMPONENTS];
            for _ in unit..end {
                if decode_unit(&scan, &mut bits, &mut predictions, &mut plane).is_none() {
                    return corrupt("its data hold bits that mean nothing");
                }
                column += 1;
                if column == units[0] {
                    column = 0;
                    plane.finish_strip(height);
                }
                if bits.is_overdrawn() {
                    return corrupt("its data end before the image does");
                }
            }
            unit = end;
        }
        Ok(plane.samples)
    }

    /// The components of a sequential scan with what decoding them needs.
    fn scan_components(&self) -> Result<Vec<ScanComponent<'_>>, Refusal> {
        let component = |scanned: &Scanned| {
            let dc = self.tables.dc.get(scanned.dc)?.as_ref()?;
            let ac = self.tables.ac.get(scanned.ac)?.as_deref()?;
            let num_blocks = self.frame.components[scanned.number].sampling.iter().product();
            Some(ScanComponent { dc, ac, num_blocks })
        };
        match self.scan.components.iter().map(component).collect() {
            Some(components) => Ok(components),
            None => corrupt("a Huffman table is missing"),
        }
    }
}

/// A component, ready to be decoded.
struct ScanComponent<'a> {
    dc: &'a Table,
    ac: &'a AcTable,
    /// Blocks in a unit of a scan of several components.
    num_blocks: usize,
}

/// Where a coefficient belongs, and what it is multiplied by.
#[derive(Clone, Copy)]
struct Place {
    number: u8,
    factor: u16,
}

/// Decodes the blocks of all components in one unit.
#[inline(always)]
fn decode_unit<T: Sample>(
    scan: &[ScanComponent<'_>],
    bits: &mut Bits<'_>,
    predictions: &mut [i32; MAX_COMPONENTS],
    plane: &mut Plane<T>,
) -> Option<()> {
    let (luma, colours) = scan.split_first()?;
    for block_row in 0..plane.waiting.len() {
        for _ in 0..plane.across {
            let waiting = &mut plane.waiting[block_row];
            let lane = waiting.num % LANES;
            let set = |number: usize, value: i32| {
                // The masks change nothing and spare the checks.
                let place = plane.places[number & 255];
                waiting.coefficients[usize::from(place.number) & 63][lane] =
                    value.wrapping_mul(i32::from(place.factor));
            };
            read_block(bits, luma.dc, luma.ac, &mut predictions[0], set)?;
            waiting.num += 1;
            if waiting.num == LANES {
                plane.transform(block_row);
            }
        }
    }
    for (colour, prediction) in colours.iter().zip(&mut predictions[1..]) {
        for _ in 0..colour.num_blocks {
            read_block(bits, colour.dc, colour.ac, prediction, |_, _| {})?;
        }
    }
    Some(())
}

/// Reads the coefficients of a block (T.81, F.2.2), `None` for bits that mean nothing.
#[inline(always)]
pub(super) fn read_block(
    bits: &mut Bits<'_>,
    dc: &Table,
    ac: &AcTable,
    prediction: &mut i32,
    mut set: impl FnMut(usize, i32),
) -> Option<()> {
    bits.refill();
    let size = u32::from(dc.read(bits)?);
    if size > 16 {
        return None;
    }
    *prediction = prediction.wrapping_add(extend(bits.take(size), size));
    set(0, *prediction);
    let mut place = 1;
    // Damaged data lead to place 79 at most, the end of a block beyond 128.
    while place < 64 {
        bits.ensure();
        let found = ac.peek(bits);
        if found.bits() == 0 {
            let symbol = ac.read(bits)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => place += 16,
                (_, 0) => place += usize::from(END_OF_BLOCK),
                _ => {
                    place += run;
                    set(place, extend(bits.take(size), size));
                    place += 1;
                }
            }
            continue;
        }
        let ([first_run, second_run], [first, second]) = (found.runs(), found.values());
        place += first_run;
        set(place, first);
        place += 1;
        if place >= 64 {
            // What comes next is of another block.
            bits.skip(found.first_bits());
            break;
        }
        bits.skip(found.bits());
        // Where there is no second one, this is a zero where the next will be.
        place += second_run;
        set(place, second);
        place += usize::from(found.bits() != found.first_bits());
    }
    (place <= 64 || place > usize::from(END_OF_BLOCK)).then_some(())
}

/// The data between restart marks, one after the other, without the zeros after `FF` and padded.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    pub data: Vec<u8>,
}

impl<'a> Segments<'a> {
    /// Those that `bytes` begin with.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, data: Vec::new() }
    }

    /// The next segment; false after the last one.
    pub(super) fn next(&mut self) -> bool {
        self.data.clear();
        if self.bytes.is_empty() {
            return false;
        }
        loop {
            let Some(at) = memchr::memchr(0xff, self.bytes) else {
                self.data.extend_from_slice(self.bytes);
                self.bytes = &[];
                break;
            };
            let (plain, rest) = self.bytes.split_at(at);
            self.data.extend_from_slice(plain);
            match rest.get(1) {
                Some(0) => {
                    self.data.push(0xff);
                    self.bytes = &rest[2..];
                }
                // A mark may have any number of these before it.
                Some(0xff) => self.bytes = &rest[1..],
                Some(0xd0..=0xd7) => {
                    self.bytes = &rest[2..];
                    break;
                }
                _ => {
                    self.bytes = &[];
                    break;
                }
            }
        }
        self.data.extend([0; PADDING]);
        true
    }
}

/// The samples of the first component, made from blocks that wait until there are enough.
struct Plane<T> {
    arch: pulp::Arch,
    /// Of each coefficient of a block, in the order of the file.
    places: [Place; 256],
    /// The rows of blocks of one row of units.
    strip: Vec<T>,
    /// Samples from one row of it to the next.
    stride: usize,
    /// Rows and columns of a block.
    side: usize,
    /// Blocks of a unit in each of its rows.
    across: usize,
    /// For each row of blocks in a unit.
    waiting: Vec<Waiting>,
    /// Columns of the picture.
    width: usize,
    /// The rows of the picture that are done.
    samples: Vec<T>,
}

struct Waiting {
    coefficients: Box<Coefficients>,
    num: usize,
    /// Blocks of the row that are done.
    column: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { coefficients: Box::new([[0; LANES]; 64]), num: 0, column: 0 }
    }
}

impl<T: Sample> Plane<T> {
    /// Transforms the blocks that wait for their place in a row of blocks.
    fn transform(&mut self, block_row: usize) {
        let waiting = &mut self.waiting[block_row];
        let mut out: Blocks<T> = [[T::default(); LANES * 8]; 8];
        transform(self.arch, self.side, &mut waiting.coefficients, &mut out);
        let (side, num) = (self.side, waiting.num);
        let start = block_row * side * self.stride + waiting.column * side;
        for (row, samples) in out[..side].iter().enumerate() {
            self.strip[start + row * self.stride..][..num * side].copy_from_slice(&samples[..num * side]);
        }
        // What lies behind these is never looked at.
        waiting.coefficients[..side * 8].as_flattened_mut().fill(0);
        (waiting.num, waiting.column) = (0, waiting.column + num);
    }

    /// Transforms what waits at the end of a row of units, and adds its rows to the picture, which has `height`.
    fn finish_strip(&mut self, height: usize) {
        for block_row in 0..self.waiting.len() {
            if self.waiting[block_row].num > 0 {
                self.transform(block_row);
            }
            self.waiting[block_row].column = 0;
        }
        let missing = height - self.samples.len() / self.width;
        for row in self.strip.chunks_exact(self.stride).take(missing) {
            self.samples.extend_from_slice(&row[..self.width]);
        }
    }
}
