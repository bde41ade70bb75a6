//! What stands before the data of a JPEG (ITU-T T.81, annex B): its size, its components, and the tables that decode them.

use std::rc::Rc;

use super::huffman::{AcTable, Table};

/// `[row * 8 + column]` of the coefficients in the order of the file (T.81, figure A.6).
pub(super) const ORDER: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Components of a picture at most: grey, colour, or colour for printing.
pub(super) const MAX_COMPONENTS: usize = 4;

/// What the headers say.
pub(crate) struct Header {
    pub height: usize,
    pub width: usize,
    /// 8 or 12.
    pub bits: u32,
    pub num_components: usize,
    /// Whether the first of three components is brightness, by the mark of Adobe or the names of components; true for grey.
    pub is_luma_first: bool,
    pub(super) components: Vec<Component>,
    pub(super) quantization: [[u16; 64]; 4],
    pub(super) tables: Tables,
    /// Units of the scan between restart marks, 0 where there are none.
    pub(super) restart_interval: usize,
    /// Where the data of the scan begin.
    pub(super) scan: usize,
}

/// A component of the picture.
pub(super) struct Component {
    /// Blocks in a unit of the scan, across and down.
    pub sampling: [usize; 2],
    /// The number of its quantization table.
    pub quantization: usize,
    /// The numbers of its Huffman tables.
    pub dc: usize,
    pub ac: usize,
}

/// Huffman tables by their numbers.
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Rc<AcTable>>; 4],
}

/// Why a file is not decoded here.
pub(crate) enum Refusal {
    /// It is another kind of JPEG, which somebody else may decode.
    OtherKind,
    /// It is damaged.
    Corrupt(String),
}

/// The refusal of a damaged file.
pub(super) fn corrupt<T>(detail: impl Into<String>) -> Result<T, Refusal> {
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
