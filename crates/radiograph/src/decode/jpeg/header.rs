//! What stands between the data of a JPEG (ITU-T T.81, annex B): its size, its components, the tables that decode them,
//! and what its components mean.

use std::rc::Rc;

use super::huffman::{AcTable, Table};

/// `[row * 8 + column]` of the coefficients in the order of the file (T.81, figure A.6).
pub(super) const ORDER: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Components of an image at most: grey, colour, or colour for printing.
pub(super) const MAX_COMPONENTS: usize = 4;

/// How an image is coded, always with Huffman codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Process {
    /// Baseline and extended: the coefficients of a block one after the other (T.81, annex F).
    #[default]
    Sequential,
    /// Coefficients in several scans, by frequency, by precision or both (T.81, annex G).
    Progressive,
    /// Samples predicted from their neighbours (T.81, annex H).
    Lossless,
}

/// What three components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Brightness and two differences of colour.
    YCbCr,
    /// Red, green, blue.
    Rgb,
}

/// An image header.
#[derive(Default)]
pub(crate) struct Frame {
    pub process: Process,
    /// 8 or 12; 2 to 16 where lossless.
    pub bits: u32,
    pub height: usize,
    pub width: usize,
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// Blocks of the finest component in a unit of a scan of all of them, across and down.
    pub(super) fn finest(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.components.iter().map(|component| component.sampling[axis]).max().unwrap_or(1))
    }
}

/// A component of the image.
#[derive(Clone, Copy)]
pub(super) struct Component {
    pub name: u8,
    /// Blocks, or samples where lossless, in a unit of a scan of several components, across and down.
    pub sampling: [usize; 2],
    /// The number of its quantization table.
    pub quantization: usize,
}

/// A component in a scan: its number in the image and those of its Huffman tables.
#[derive(Clone, Copy)]
pub(super) struct Scanned {
    pub number: usize,
    pub dc: usize,
    pub ac: usize,
}

/// The header of a scan.
#[derive(Default)]
pub(super) struct Scan {
    pub components: Vec<Scanned>,
    /// The first coefficient in the order of the file; the predictor where lossless.
    pub first: usize,
    /// The last coefficient in the order of the file.
    pub last: usize,
    /// Bits that were left out up to now, 0 for the first scan of a coefficient.
    pub high: u32,
    /// Bits that are still left out; the point transform where lossless.
    pub low: u32,
}

/// Huffman tables by their numbers.
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Rc<AcTable>>; 4],
}

/// Why a file is not decoded.
pub(crate) enum Refusal {
    /// It is of a kind that is not read: which, and what to do.
    Unsupported(String),
    /// It is damaged.
    Corrupt(String),
}

/// The refusal of a damaged file.
pub(super) fn corrupt<T>(detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Corrupt(detail.into()))
}

/// The refusal of a sound file.
pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(reason.into()))
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

    fn nibbles(&mut self) -> Result<[usize; 2], Refusal> {
        let byte = self.byte()?;
        Ok([usize::from(byte >> 4), usize::from(byte & 15)])
    }

    /// Passes over the data of a scan, to the next marker that is not of a restart; to the end where none follows.
    fn skip_data(&mut self) {
        let is_marker = |at: &usize| !matches!(self.0.get(at + 1), Some(0 | 0xd0..=0xd7 | 0xff));
        let end = memchr::memchr_iter(0xff, self.0).find(is_marker).unwrap_or(self.0.len());
        self.0 = &self.0[end..];
    }
}

/// A JPEG up to the data of a scan.
pub(crate) struct Stream<'a> {
    /// From the data of the scan on.
    rest: Reader<'a>,
    pub(crate) frame: Frame,
    pub(super) quantization: [[u16; 64]; 4],
    pub(super) tables: Tables,
    /// Units of the scan between restart marks, 0 without any.
    pub(super) restart_interval: usize,
    pub(super) scan: Scan,
    /// Whether the end of the image was seen.
    pub(super) is_ended: bool,
    /// Whether a JFIF header was seen.
    has_jfif: bool,
    /// The transform that a header of Adobe names.
    adobe: Option<u8>,
}

impl<'a> Stream<'a> {
    /// Reads everything before the data of the first scan.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut stream = Self {
            rest: Reader(bytes),
            frame: Frame::default(),
            quantization: [[0; 64]; 4],
            tables: Tables::default(),
            restart_interval: 0,
            scan: Scan::default(),
            is_ended: false,
            has_jfif: false,
            adobe: None,
        };
        if stream.rest.take(2)? != [0xff, 0xd8] {
            return corrupt("it does not begin as a JPEG");
        }
        match stream.read_to_scan()? {
            true => Ok(stream),
            false => corrupt("the end of the image comes before its data"),
        }
    }

    /// The data of the scan and what follows them.
    pub(super) fn data(&self) -> &'a [u8] {
        self.rest.0
    }

    /// Passes over the data of the scan and reads everything before those of the next; false where none follows.
    pub(super) fn next_scan(&mut self) -> Result<bool, Refusal> {
        self.rest.skip_data();
        self.read_to_scan()
    }

    /// Whether no component has a higher resolution than the first.
    pub(super) fn has_first_at_full_resolution(&self) -> bool {
        self.frame.components[0].sampling == self.frame.finest()
    }

    /// The number of components.
    pub(crate) fn num_components(&self) -> usize {
        self.frame.components.len()
    }

    /// What the components are; one is brightness. `label` is what the file around the JPEG says of three.
    ///
    /// A JFIF header means YCbCr, and so does a component of another resolution than the first: no writer makes RGB of
    /// that. Then the header of Adobe decides, then the names "R", "G", "B" (all as libjpeg does), then the label. JFIF
    /// speaks of the processes with cosine transform alone, and lossless RGB needs no header to be RGB.
    pub(crate) fn colours(&self, label: Option<Colours>) -> Result<Colours, Refusal> {
        let [first, second, third] = match self.frame.components[..] {
            [_] => return Ok(Colours::YCbCr),
            [first, second, third] => [first, second, third],
            ref others => {
                return unsupported(format!(
                    "it has {} components (colours made for printing, or none); save it as grey or RGB",
                    others.len()
                ));
            }
        };
        let is_lossless = self.frame.process == Process::Lossless;
        let is_subsampled = [second, third].iter().any(|component| component.sampling != first.sampling);
        Ok(match self.adobe {
            _ if is_subsampled || self.has_jfif && !is_lossless => Colours::YCbCr,
            Some(0) => Colours::Rgb,
            Some(_) => Colours::YCbCr,
            None if [first, second, third].map(|component| component.name) == *b"RGB" => Colours::Rgb,
            None => label.unwrap_or(if is_lossless { Colours::Rgb } else { Colours::YCbCr }),
        })
    }

    /// Reads headers up to the data of a scan; false where the image ends.
    fn read_to_scan(&mut self) -> Result<bool, Refusal> {
        loop {
            if self.rest.0.is_empty() {
                return Ok(false);
            }
            if self.rest.byte()? != 0xff {
                return corrupt("something else stands where a marker should be");
            }
            let mut marker = 0xff;
            while marker == 0xff {
                marker = self.rest.byte()?;
            }
            match marker {
                0xd9 => {
                    self.is_ended = true;
                    return Ok(false);
                }
                // Markers without content.
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let length = self.rest.word()?;
            let Some(length) = length.checked_sub(2) else { return corrupt("a header is shorter than its own length") };
            let mut segment = Reader(self.rest.take(length)?);
            match marker {
                0xdb => self.read_quantization(&mut segment)?,
                0xc4 => self.read_tables(&mut segment)?,
                0xdd => self.restart_interval = segment.word()?,
                0xe0 if segment.0.starts_with(b"JFIF\0") => self.has_jfif = true,
                0xee if length >= 12 && segment.0.starts_with(b"Adobe") => self.adobe = Some(segment.0[11]),
                0xc0..=0xc3 => {
                    if !self.frame.components.is_empty() {
                        return corrupt("two image headers");
                    }
                    let process = match marker {
                        0xc2 => Process::Progressive,
                        0xc3 => Process::Lossless,
                        _ => Process::Sequential,
                    };
                    self.frame = read_frame(&mut segment, process)?;
                }
                0xc5..=0xc7 => {
                    return unsupported("it is a hierarchical JPEG; decompress it, or save it as another kind");
                }
                0xc9..=0xcf => {
                    return unsupported(
                        "it is a JPEG with arithmetic coding; decompress it, or save it as another kind",
                    );
                }
                0xf7 => return unsupported("it is JPEG-LS under the name of another JPEG; decompress it first"),
                0xda => {
                    self.scan = self.read_scan(&mut segment)?;
                    return Ok(true);
                }
                _ => {}
            }
        }
    }

    fn read_quantization(&mut self, segment: &mut Reader<'_>) -> Result<(), Refusal> {
        while !segment.0.is_empty() {
            let [precision, number] = segment.nibbles()?;
            let Some(table) = self.quantization.get_mut(number) else {
                return corrupt("quantization table 4 or more");
            };
            for place in ORDER {
                table[usize::from(place)] =
                    if precision == 0 { segment.byte()?.into() } else { segment.word()? as u16 };
            }
        }
        Ok(())
    }

    fn read_tables(&mut self, segment: &mut Reader<'_>) -> Result<(), Refusal> {
        while !segment.0.is_empty() {
            let [class, number] = segment.nibbles()?;
            let mut counts = [0; 16];
            counts.copy_from_slice(segment.take(16)?);
            let symbols = segment.take(counts.iter().map(|&count| usize::from(count)).sum())?;
            let is_sound = match (class, number) {
                (0, 0..4) => {
                    self.tables.dc[number] = Table::new(&counts, symbols);
                    self.tables.dc[number].is_some()
                }
                (1, 0..4) => {
                    self.tables.ac[number] = AcTable::of(&counts, symbols);
                    self.tables.ac[number].is_some()
                }
                _ => return corrupt("a Huffman table of an unknown class or number"),
            };
            if !is_sound {
                return corrupt("a Huffman table with more codes than there can be");
            }
        }
        Ok(())
    }

    fn read_scan(&self, segment: &mut Reader<'_>) -> Result<Scan, Refusal> {
        if self.frame.components.is_empty() {
            return corrupt("no image header");
        }
        let mut scan = Scan::default();
        for _ in 0..segment.byte()? {
            let name = segment.byte()?;
            // Their order is that of the image (T.81, B.2.3), which not every writer knows.
            let is_new = |number: &usize| scan.components.iter().all(|scanned: &Scanned| scanned.number != *number);
            let named = |number: &usize| self.frame.components[*number].name == name;
            let Some(number) = (0..self.frame.components.len()).find(|number| named(number) && is_new(number)) else {
                return corrupt("a scan of components that the image does not have");
            };
            let [dc, ac] = segment.nibbles()?;
            scan.components.push(Scanned { number, dc, ac });
        }
        if scan.components.is_empty() {
            return corrupt("a scan of no components");
        }
        [scan.first, scan.last] = [segment.byte()?.into(), segment.byte()?.into()];
        [scan.high, scan.low] = segment.nibbles()?.map(|bits| bits as u32);
        Ok(scan)
    }
}

fn read_frame(segment: &mut Reader<'_>, process: Process) -> Result<Frame, Refusal> {
    let bits = u32::from(segment.byte()?);
    let (height, width) = (segment.word()?, segment.word()?);
    let num_components = usize::from(segment.byte()?);
    let is_lossless = process == Process::Lossless;
    if !matches!((is_lossless, bits), (false, 8 | 12) | (true, 2..=16)) {
        return corrupt(format!("the header says {bits} bits"));
    }
    if !(1..=MAX_COMPONENTS).contains(&num_components) {
        return corrupt(format!("the header says {num_components} components"));
    }
    if width == 0 {
        return corrupt("the header says a width of 0");
    }
    if height == 0 {
        return unsupported("its header leaves the height to a later mark (DNL); save it with a height");
    }
    let component = |segment: &mut Reader<'_>| {
        let name = segment.byte()?;
        let sampling = segment.nibbles()?;
        let quantization = usize::from(segment.byte()?);
        if sampling.iter().any(|factor| !(1..=4).contains(factor)) || quantization > 3 && !is_lossless {
            return corrupt("a component with impossible sampling or quantization");
        }
        Ok(Component { name, sampling, quantization })
    };
    let components = (0..num_components).map(|_| component(segment)).collect::<Result<_, _>>()?;
    Ok(Frame { process, bits, height, width, components })
}
