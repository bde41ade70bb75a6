//! Baseline and extended sequential JPEG (ITU-T T.81, processes 1, 2 and 4) of 8 or 12 bits, brightness only, at full
//! size or reduced on the way.
//!
//! Nearly every radiograph that is a JPEG is one of these. Libraries decode them to all of their colours and at full size;
//! here the colours are passed over, and a picture that will be made small need not be made large first.

use std::rc::Rc;

use super::cosine::{Blocks, Coefficients, LANES, Sample, transform};
use super::huffman::{AcTable, Bits, END_OF_BLOCK, LOOKUPS, PADDING, Table, extend};

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

const ORDER: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Components of a picture at most: grey, colour, or colour for printing.
const MAX_COMPONENTS: usize = 4;

/// What the headers say.
pub(crate) struct Header {
    pub height: usize,
    pub width: usize,
    /// 8 or 12.
    pub bits: u32,
    pub num_components: usize,
    /// Whether the first of three components is brightness, by the mark of Adobe or the names of components; true for grey.
    pub is_luma_first: bool,
    components: Vec<Component>,
    quantization: [[u16; 64]; 4],
    tables: Tables,
    restart_interval: usize,
    /// Where the data of the scan begin.
    scan: usize,
}

struct Component {
    /// Blocks in a unit of the scan, across and down.
    sampling: [usize; 2],
    quantization: usize,
    /// The numbers of its Huffman tables.
    dc: usize,
    ac: usize,
}

/// Huffman tables by their numbers.
#[derive(Default)]
struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Rc<AcTable>>; 4],
}

/// Why a file is not decoded here.
pub(crate) enum Refusal {
    /// It is another kind of JPEG, which somebody else may decode.
    OtherKind,
    /// It is damaged.
    Corrupt(String),
}

fn corrupt<T>(detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Corrupt(detail.into()))
}

/// Bytes of a header, read one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, num: usize) -> Result<&'a [u8], Refusal> {
        match self.0.split_at_checked(num) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => corrupt("a header ends too early"),
        }
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<usize, Refusal> {
        let pair = self.take(2)?;
        Ok(usize::from(pair[0]) << 8 | usize::from(pair[1]))
    }
}

/// Reads everything before the data of the first scan.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Header, Refusal> {
    let mut quantization = [[0_u16; 64]; 4];
    let mut tables = Tables::default();
    let mut restart_interval = 0;
    let mut adobe = None;
    let mut frame = None;
    let mut reader = Reader(bytes);
    if reader.take(2)? != [0xff, 0xd8] {
        return corrupt("it does not begin as a JPEG");
    }
    loop {
        if reader.byte()? != 0xff {
            return corrupt("there is something else where a marker should be");
        }
        let mut marker = 0xff;
        while marker == 0xff {
            marker = reader.byte()?;
        }
        let length = reader.word()?;
        let Some(length) = length.checked_sub(2) else { return corrupt("a header is shorter than its own length") };
        let mut segment = Reader(reader.take(length)?);
        match marker {
            0xdb => {
                while !segment.0.is_empty() {
                    let [precision, number] = nibbles(segment.byte()?);
                    let Some(table) = quantization.get_mut(number) else {
                        return corrupt("quantization table 4 or more");
                    };
                    for place in ORDER {
                        table[usize::from(place)] =
                            if precision == 0 { segment.byte()?.into() } else { segment.word()? as u16 };
                    }
                }
            }
            0xc4 => {
                while !segment.0.is_empty() {
                    let [class, number] = nibbles(segment.byte()?);
                    let mut counts = [0; 16];
                    counts.copy_from_slice(segment.take(16)?);
                    let symbols = segment.take(counts.iter().map(|&count| usize::from(count)).sum())?;
                    let is_sound = match (class, number) {
                        (0, 0..4) => {
                            tables.dc[number] = Table::new(&counts, symbols);
                            tables.dc[number].is_some()
                        }
                        (1, 0..4) => {
                            tables.ac[number] = AcTable::of(&counts, symbols);
                            tables.ac[number].is_some()
                        }
                        _ => return corrupt("a Huffman table of an unknown class or number"),
                    };
                    if !is_sound {
                        return corrupt("a Huffman table with more codes than there can be");
                    }
                }
            }
            0xdd => restart_interval = segment.word()?,
            0xee if length >= 12 && segment.0.starts_with(b"Adobe") => adobe = Some(segment.0[11]),
            0xc0 | 0xc1 => {
                if frame.is_some() {
                    return corrupt("two image headers");
                }
                frame = Some(read_frame(&mut segment)?);
            }
            // Progressive, lossless, hierarchical, arithmetic.
            0xc2 | 0xc3 | 0xc5..=0xc7 | 0xc9..=0xcf => return Err(Refusal::OtherKind),
            0xda => {
                let Some(Frame { bits, height, width, components }) = frame else { return corrupt("no image header") };
                let num_components = components.len();
                let names: Vec<u8> = components.iter().map(|(name, _)| *name).collect();
                let is_luma_first = match (num_components, adobe) {
                    (1, _) | (3, Some(1)) => true,
                    (3, None) => names != *b"RGB",
                    _ => false,
                };
                let components = read_scan(&mut segment, components, &tables)?;
                let scan = bytes.len() - reader.0.len();
                return Ok(Header {
                    height,
                    width,
                    bits,
                    num_components,
                    is_luma_first,
                    components,
                    quantization,
                    tables,
                    restart_interval,
                    scan,
                });
            }
            0xd9 => return corrupt("the end of the image comes before its data"),
            _ => {}
        }
    }
}

fn nibbles(byte: u8) -> [usize; 2] {
    [usize::from(byte >> 4), usize::from(byte & 15)]
}

/// An image header.
struct Frame {
    bits: u32,
    height: usize,
    width: usize,
    /// With their names.
    components: Vec<(u8, Component)>,
}

fn read_frame(segment: &mut Reader<'_>) -> Result<Frame, Refusal> {
    let bits = u32::from(segment.byte()?);
    let (height, width) = (segment.word()?, segment.word()?);
    let num_components = usize::from(segment.byte()?);
    if !matches!(bits, 8 | 12) || height == 0 || !(1..=MAX_COMPONENTS).contains(&num_components) {
        // A height of 0 is told after the first scan.
        return Err(Refusal::OtherKind);
    }
    if width == 0 {
        return corrupt("the header says a width of 0");
    }
    let component = |segment: &mut Reader<'_>| {
        let name = segment.byte()?;
        let sampling = nibbles(segment.byte()?);
        let quantization = usize::from(segment.byte()?);
        if sampling.iter().any(|factor| !(1..=4).contains(factor)) || quantization > 3 {
            return corrupt("a component with impossible sampling or quantization");
        }
        Ok((name, Component { sampling, quantization, dc: 0, ac: 0 }))
    };
    let components = (0..num_components).map(|_| component(segment)).collect::<Result<_, _>>()?;
    Ok(Frame { bits, height, width, components })
}

/// The components of a scan of all of them, with their tables.
fn read_scan(
    segment: &mut Reader<'_>,
    components: Vec<(u8, Component)>,
    tables: &Tables,
) -> Result<Vec<Component>, Refusal> {
    let num_components = usize::from(segment.byte()?);
    if num_components != components.len() {
        // A scan for each component: rare, and left to others.
        return Err(Refusal::OtherKind);
    }
    let component = |(name, component): (u8, Component)| {
        if segment.byte()? != name {
            return Err(Refusal::OtherKind);
        }
        let [dc, ac] = nibbles(segment.byte()?);
        if matches!((tables.dc.get(dc), tables.ac.get(ac)), (Some(Some(_)), Some(Some(_)))) {
            Ok(Component { dc, ac, ..component })
        } else {
            corrupt("a Huffman table is missing")
        }
    };
    components.into_iter().map(component).collect()
}

impl Header {
    /// The brightness of each pixel, row-major, of the picture reduced by 1, 2, 4 or 8 (its sides rounded up): of `T` for
    /// the header's bits.
    pub(crate) fn decode<T: Sample>(&self, bytes: &[u8], reduction: usize) -> Result<Vec<T>, Refusal> {
        let side = 8 / reduction;
        let [across, down] = self.components[0].sampling;
        // See `scan`.
        let [across, down] = if self.components.len() == 1 { [1, 1] } else { [across, down] };
        let largest = |axis: usize| self.components.iter().map(|component| component.sampling[axis]).max().unwrap_or(1);
        let most = if self.components.len() == 1 { [1, 1] } else { [largest(0), largest(1)] };
        if [across, down] != most {
            // Brightness at less than full resolution.
            return Err(Refusal::OtherKind);
        }
        let units = [self.width.div_ceil(8 * across), self.height.div_ceil(8 * down)];
        let [height, width] = [self.height, self.width].map(|length| length.div_ceil(reduction));
        let stride = units[0] * across * side;
        let mut plane = Plane {
            arch: pulp::Arch::new(),
            strip: vec![T::default(); stride * down * side],
            stride,
            side,
            across,
            waiting: (0..down).map(|_| Waiting::default()).collect(),
            width,
            samples: Vec::with_capacity(height * width),
        };
        let scan = self.scan();
        let mut segments = Segments { bytes: bytes.get(self.scan..).unwrap_or_default(), data: Vec::new() };
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
                    return corrupt("its data end before the picture does");
                }
            }
            unit = end;
        }
        Ok(plane.samples)
    }

    /// The components with what decoding them needs.
    fn scan(&self) -> Vec<ScanComponent<'_>> {
        let component = |component: &Component| {
            let (dc, ac) = (self.tables.dc[component.dc].as_ref()?, self.tables.ac[component.ac].as_deref()?);
            let quantization = &self.quantization[component.quantization];
            let places = ZIGZAG.map(|place| Place { number: place, factor: quantization[usize::from(place)] });
            // A scan of one component has its blocks one by one, whatever its sampling (T.81, A.2.2).
            let num_blocks = if self.components.len() == 1 { 1 } else { component.sampling.iter().product() };
            Some(ScanComponent { dc, ac, places, num_blocks })
        };
        // The header was not accepted where a table is missing.
        self.components.iter().filter_map(component).collect()
    }
}

/// A component, ready to be decoded.
struct ScanComponent<'a> {
    dc: &'a Table,
    ac: &'a AcTable,
    /// Of each coefficient in the order of the file.
    places: [Place; 256],
    /// Blocks in a unit of the scan.
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
                let place = luma.places[number & 255];
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
fn read_block(
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
    'block: while place < 64 {
        bits.refill();
        // So many times, what is looked up is there without asking.
        for _ in 0..LOOKUPS {
            let found = ac.peek(bits);
            if found.bits() == 0 {
                bits.refill();
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
                continue 'block;
            }
            let ([first_run, second_run], [first, second]) = (found.runs(), found.values());
            place += first_run;
            set(place, first);
            place += 1;
            if place >= 64 {
                // What comes next is of another block.
                bits.skip(found.first_bits());
                break 'block;
            }
            bits.skip(found.bits());
            // Where there is no second one, this is a zero where the next will be.
            place += second_run;
            set(place, second);
            place += usize::from(found.bits() != found.first_bits());
            if place >= 64 {
                break 'block;
            }
        }
    }
    (place <= 64 || place > usize::from(END_OF_BLOCK)).then_some(())
}

/// The data between restart marks, one after the other, without the zeros after `FF` and padded.
struct Segments<'a> {
    bytes: &'a [u8],
    data: Vec<u8>,
}

impl Segments<'_> {
    /// The next segment; false after the last one.
    fn next(&mut self) -> bool {
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
        waiting.coefficients.as_flattened_mut().fill(0);
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
