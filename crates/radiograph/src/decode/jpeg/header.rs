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
    /// Blocks of the finest component in a unit of a scan of all of them, across and down.
    pub(super) finest: [usize; 2],
    /// Those of the scan that has the first one, which is the first of these.
    pub(super) components: Vec<Component>,
    pub(super) quantization: [[u16; 64]; 4],
    pub(super) tables: Tables,
    /// Units of the scan between restart marks, 0 where there are none.
    pub(super) restart_interval: usize,
    /// Where the data of the scan begin.
    pub(super) scan: usize,
}

/// A component of the picture.
#[derive(Clone, Copy)]
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

    /// Passes over the data of a scan, to the next marker that is not of a restart; to the end where there is none.
    fn skip_data(&mut self) {
        let is_marker = |at: &usize| !matches!(self.0.get(at + 1), Some(0 | 0xd0..=0xd7 | 0xff));
        let end = memchr::memchr_iter(0xff, self.0).find(is_marker).unwrap_or(self.0.len());
        self.0 = &self.0[end..];
    }
}

/// Reads everything before the data of the scan that has the first component; scans of others are passed over.
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
                let Some(frame) = &frame else { return corrupt("no image header") };
                let components = &frame.components;
                let Some(scanned) = read_scan(&mut segment, components, &tables)? else {
                    reader.skip_data();
                    continue;
                };
                let names: Vec<u8> = components.iter().map(|(name, _)| *name).collect();
                let is_luma_first = match (names.len(), adobe) {
                    (1, _) | (3, Some(1)) => true,
                    (3, None) => names != *b"RGB",
                    _ => false,
                };
                let finest = [0, 1]
                    .map(|axis| components.iter().map(|(_, component)| component.sampling[axis]).max().unwrap_or(1));
                return Ok(Header {
                    height: frame.height,
                    width: frame.width,
                    bits: frame.bits,
                    num_components: names.len(),
                    is_luma_first,
                    finest,
                    components: scanned,
                    quantization,
                    tables,
                    restart_interval,
                    scan: bytes.len() - reader.0.len(),
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

/// The components of a scan with their tables; `None` where the first component of the picture is not among them.
fn read_scan(
    segment: &mut Reader<'_>,
    components: &[(u8, Component)],
    tables: &Tables,
) -> Result<Option<Vec<Component>>, Refusal> {
    let num_scanned = usize::from(segment.byte()?);
    let mut scanned = Vec::with_capacity(MAX_COMPONENTS);
    // Those of a scan come in the order of the picture (T.81, B.2.3), so the first can only be the first here.
    let has_first = segment.0.first() == components.first().map(|(name, _)| name);
    let mut rest = components.iter();
    for _ in 0..num_scanned {
        let name = segment.byte()?;
        let Some((_, component)) = rest.find(|(known, _)| *known == name) else {
            if num_scanned == components.len() {
                // All of them in another order, against the standard: left to others.
                return Err(Refusal::OtherKind);
            }
            return corrupt("a scan of components that the picture does not have");
        };
        let [dc, ac] = nibbles(segment.byte()?);
        scanned.push(Component { dc, ac, ..*component });
    }
    if scanned.is_empty() {
        return corrupt("a scan of no components");
    }
    let has_tables = |component: &Component| {
        matches!((tables.dc.get(component.dc), tables.ac.get(component.ac)), (Some(Some(_)), Some(Some(_))))
    };
    if !has_first {
        return Ok(None);
    }
    if scanned.iter().all(has_tables) { Ok(Some(scanned)) } else { corrupt("a Huffman table is missing") }
}
