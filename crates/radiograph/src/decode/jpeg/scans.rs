//! JPEG whose coefficients come in several scans, or whose components are all wanted: progressive (ITU-T T.81, annex G,
//! processes 6 and 10 with 8 bits, 8 and 12 with 12 bits), and sequential in RGB.
//!
//! The coefficients of the wanted components are kept until the last scan; then they are transformed.

use super::cosine::{Blocks, Coefficients, LANES, Sample, transform};
use super::header::{MAX_COMPONENTS, ORDER, Process, Refusal, Scan, Scanned, Stream, corrupt};
use super::huffman::{AcTable, Bits, Table, extend};
use super::sequential::{Segments, read_block};

/// The bits that are left out of a coefficient of which nothing has come yet.
const UNSEEN: u8 = u8::MAX;

/// The most bits that a scan may leave out (T.81, table B.3).
const MAX_LOW: u32 = 13;

/// The coefficients of a component.
struct Stored {
    /// Blocks that the component has, across and down.
    blocks: [usize; 2],
    /// Blocks from one row of them to the next: units of several components may reach over the edge.
    stride: usize,
    /// 64 for each block, in the order of the file.
    coefficients: Vec<i16>,
    /// In the order of their places, as they were at the component's first scan.
    quantization: [u16; 64],
    /// For each coefficient in the order of the file, the bits that are left out up to now.
    low: [u8; 64],
}

/// How a scan tells coefficients.
enum Pass {
    /// All of a block.
    Sequential,
    /// The first bits of the constant ones.
    FirstConstant,
    /// One more bit of those.
    NextConstant,
    /// The first bits of others.
    First,
    /// One more bit of those.
    Next,
}

impl Stream<'_> {
    /// The samples of the first `num_planes` components, row-major, of the image reduced by 1, 2, 4 or 8 (its sides
    /// rounded up): of `T` for the header's bits.
    pub(super) fn decode_scans<T: Sample>(
        &mut self,
        num_planes: usize,
        reduction: usize,
    ) -> Result<Vec<Vec<T>>, Refusal> {
        let mut stored: Vec<Option<Stored>> = (0..num_planes).map(|_| None).collect();
        let is_complete = |stored: &[Option<Stored>]| {
            stored.iter().all(|stored| stored.as_ref().is_some_and(|stored| stored.low == [0; 64]))
        };
        // Scans behind the last bit that is wanted are not looked at.
        while !is_complete(&stored) {
            if self.scan.components.iter().any(|scanned| scanned.number < num_planes) {
                self.decode_scan(&mut stored)?;
                if is_complete(&stored) {
                    break;
                }
            }
            if !self.next_scan()? {
                break;
            }
        }
        let mut planes = Vec::with_capacity(num_planes);
        for (number, stored) in stored.iter().enumerate() {
            // A writer may leave out coefficients and bits that nobody misses; a file that is cut short lacks its end.
            match stored {
                Some(stored) if stored.low[0] != UNSEEN && (self.is_ended || stored.low == [0; 64]) => {
                    let plane = transform_all(stored, reduction, self.dimensions(number, reduction));
                    planes.push(self.enlarged(number, reduction, plane));
                }
                _ => return corrupt("its data end before the image does"),
            }
        }
        Ok(planes)
    }

    /// Rows and columns of a component of the reduced image (T.81, A.1.1).
    fn dimensions(&self, number: usize, reduction: usize) -> [usize; 2] {
        let (sampling, finest) = (self.frame.components[number].sampling, self.frame.finest());
        [
            (self.frame.height * sampling[1]).div_ceil(finest[1]).div_ceil(reduction),
            (self.frame.width * sampling[0]).div_ceil(finest[0]).div_ceil(reduction),
        ]
    }

    /// A component of lower resolution than others, at that of the image: each sample repeated.
    fn enlarged<T: Sample>(&self, number: usize, reduction: usize, plane: Vec<T>) -> Vec<T> {
        let [height, width] = [self.frame.height, self.frame.width].map(|length| length.div_ceil(reduction));
        let [num_rows, num_columns] = self.dimensions(number, reduction);
        if [num_rows, num_columns] == [height, width] {
            return plane;
        }
        let (sampling, finest) = (self.frame.components[number].sampling, self.frame.finest());
        let nearest = |at: usize, axis: usize, num: usize| (at * sampling[axis] / finest[axis]).min(num - 1);
        let columns: Vec<usize> = (0..width).map(|column| nearest(column, 0, num_columns)).collect();
        let mut samples = Vec::with_capacity(height * width);
        for row in 0..height {
            let line = &plane[nearest(row, 1, num_rows) * num_columns..][..num_columns];
            samples.extend(columns.iter().map(|&column| line[column]));
        }
        samples
    }

    /// Adds what the scan has to the coefficients of the components that are wanted.
    fn decode_scan(&self, stored: &mut [Option<Stored>]) -> Result<(), Refusal> {
        let (scan, finest) = (&self.scan, self.frame.finest());
        let units = [self.frame.width.div_ceil(8 * finest[0]), self.frame.height.div_ceil(8 * finest[1])];
        for scanned in &scan.components {
            let component = &self.frame.components[scanned.number];
            let Some(stored) = stored.get_mut(scanned.number) else { continue };
            let stored = stored.get_or_insert_with(|| {
                let [rows, columns] = self.dimensions(scanned.number, 1);
                let (stride, num_rows) = (units[0] * component.sampling[0], units[1] * component.sampling[1]);
                Stored {
                    blocks: [columns.div_ceil(8), rows.div_ceil(8)],
                    stride,
                    coefficients: vec![0; stride * num_rows * 64],
                    quantization: self.quantization[component.quantization],
                    low: [UNSEEN; 64],
                }
            });
            stored.advance(scan, self.frame.process)?;
        }
        let pass = match (self.frame.process, scan.first, scan.high) {
            (Process::Progressive, 0, 0) => Pass::FirstConstant,
            (Process::Progressive, 0, _) => Pass::NextConstant,
            (Process::Progressive, _, 0) => Pass::First,
            (Process::Progressive, _, _) => Pass::Next,
            _ => Pass::Sequential,
        };
        let decoders = self.scan_decoders(&pass)?;
        // A scan of one component has its blocks one by one, and none over the edge (T.81, A.2.2).
        let alone = scan.components.len() == 1;
        let units = match stored.get(scan.components[0].number) {
            Some(Some(stored)) if alone => stored.blocks,
            _ => units,
        };
        let mut segments = Segments::new(self.data());
        let interval = if self.restart_interval == 0 { units[0] * units[1] } else { self.restart_interval };
        let (mut unit, mut unused) = (0, [0; 64]);
        while unit < units[0] * units[1] {
            if !segments.next() {
                return corrupt("restart intervals are missing");
            }
            let end = (unit + interval).min(units[0] * units[1]);
            let mut state =
                State { bits: Bits::new(&segments.data), predictions: [0; MAX_COMPONENTS], empty_blocks: 0 };
            for unit in unit..end {
                let (row, column) = (unit / units[0], unit % units[0]);
                for (place, (scanned, decoder)) in scan.components.iter().zip(&decoders).enumerate() {
                    let [across, down] = if alone { [1, 1] } else { self.frame.components[scanned.number].sampling };
                    for block in 0..across * down {
                        let at = [column * across + block % across, row * down + block / across];
                        let block = match stored.get_mut(scanned.number) {
                            Some(Some(stored)) => stored.block(at),
                            _ => &mut unused,
                        };
                        if state.read(&pass, scan, decoder, place, block).is_none() {
                            return corrupt("its data hold bits that mean nothing");
                        }
                    }
                }
                if state.bits.is_overdrawn() {
                    return corrupt("its data end before the image does");
                }
            }
            unit = end;
        }
        Ok(())
    }

    /// The tables of each component of the scan, as far as the pass needs them.
    fn scan_decoders(&self, pass: &Pass) -> Result<Vec<Decoder<'_>>, Refusal> {
        let decoder = |scanned: &Scanned| {
            let dc = self.tables.dc.get(scanned.dc).and_then(Option::as_ref);
            let ac = self.tables.ac.get(scanned.ac).and_then(Option::as_deref);
            let has_all = match pass {
                Pass::Sequential => dc.is_some() && ac.is_some(),
                Pass::FirstConstant => dc.is_some(),
                Pass::NextConstant => true,
                Pass::First | Pass::Next => ac.is_some(),
            };
            has_all.then_some(Decoder { dc, ac })
        };
        match self.scan.components.iter().map(decoder).collect() {
            Some(decoders) => Ok(decoders),
            None => corrupt("a Huffman table is missing"),
        }
    }
}

impl Stored {
    /// Notes what a scan adds, which is refused where the standard has another order (T.81, G.1.1.1): each coefficient's
    /// first bits come once, and each further bit after the one above it. So the time that a file takes has a bound, too.
    fn advance(&mut self, scan: &Scan, process: Process) -> Result<(), Refusal> {
        if process == Process::Sequential {
            if self.low[0] != UNSEEN {
                return corrupt("two scans of one component");
            }
            self.low = [0; 64];
            return Ok(());
        }
        let is_band = match scan.first {
            0 => scan.last == 0,
            first => (first..64).contains(&scan.last) && scan.components.len() == 1,
        };
        if !is_band || scan.low > MAX_LOW || scan.high > 0 && scan.high != scan.low + 1 {
            let Scan { first, last, high, low, .. } = scan;
            return corrupt(format!("a progressive scan of coefficients {first} to {last}, bits {high} to {low}"));
        }
        let expected = if scan.high == 0 { UNSEEN } else { scan.high as u8 };
        for low in &mut self.low[scan.first..=scan.last] {
            if *low != expected {
                return corrupt("progressive scans in an order that the standard does not have");
            }
            *low = scan.low as u8;
        }
        Ok(())
    }

    /// The coefficients of a block by its column and row.
    #[inline(always)]
    fn block(&mut self, [column, row]: [usize; 2]) -> &mut [i16; 64] {
        &mut self.coefficients.as_chunks_mut().0[row * self.stride + column]
    }
}

/// The tables of a component.
struct Decoder<'a> {
    dc: Option<&'a Table>,
    ac: Option<&'a AcTable>,
}

/// What goes on from block to block.
struct State<'a> {
    bits: Bits<'a>,
    predictions: [i32; MAX_COMPONENTS],
    /// Blocks that have nothing new in the band.
    empty_blocks: u32,
}

impl State<'_> {
    /// Reads what a scan has for a block of its component number `place`; `None` for bits that mean nothing.
    #[inline(always)]
    fn read(
        &mut self,
        pass: &Pass,
        scan: &Scan,
        decoder: &Decoder<'_>,
        place: usize,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let prediction = &mut self.predictions[place & (MAX_COMPONENTS - 1)];
        match pass {
            Pass::Sequential => {
                let set = |number: usize, value: i32| block[number.min(63)] = value as i16;
                read_block(&mut self.bits, decoder.dc?, decoder.ac?, prediction, set)
            }
            Pass::FirstConstant => {
                self.bits.ensure();
                let size = u32::from(decoder.dc?.read(&mut self.bits)?);
                if size > 16 {
                    return None;
                }
                *prediction = prediction.wrapping_add(extend(self.bits.take(size), size));
                block[0] = (*prediction << scan.low) as i16;
                Some(())
            }
            Pass::NextConstant => {
                block[0] |= (self.bit() << scan.low) as i16;
                Some(())
            }
            Pass::First => self.read_first(scan, decoder.ac?, block),
            Pass::Next => self.read_next(scan, decoder.ac?, block),
        }
    }

    #[inline(always)]
    fn bit(&mut self) -> u32 {
        self.bits.ensure();
        self.bits.take(1)
    }

    /// T.81, G.1.2.2.
    #[inline(always)]
    fn read_first(&mut self, scan: &Scan, table: &AcTable, block: &mut [i16; 64]) -> Option<()> {
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            return Some(());
        }
        let mut place = scan.first;
        while place <= scan.last {
            self.bits.ensure();
            let symbol = table.read(&mut self.bits)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => place += 16,
                (_, 0) => {
                    // This one, and others of a number of that many bits below a leading 1.
                    self.empty_blocks = (1 << run) - 1 + self.bits.take(run);
                    return Some(());
                }
                _ => {
                    place += run as usize;
                    *block.get_mut(place).filter(|_| place <= scan.last)? =
                        (extend(self.bits.take(size), size) << scan.low) as i16;
                    place += 1;
                }
            }
        }
        (place == scan.last + 1).then_some(())
    }

    /// T.81, G.1.2.3: between the new coefficients, one more bit of each that is not zero.
    fn read_next(&mut self, scan: &Scan, table: &AcTable, block: &mut [i16; 64]) -> Option<()> {
        let one = 1_i16 << scan.low;
        let mut place = scan.first;
        while self.empty_blocks == 0 && place <= scan.last {
            self.bits.ensure();
            let symbol = table.read(&mut self.bits)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            let new = match (run, size) {
                (15, 0) => 0,
                (_, 0) => {
                    self.empty_blocks = (1 << run) + self.bits.take(run);
                    break;
                }
                (_, 1) => [-one, one][self.bits.take(1) as usize],
                _ => return None,
            };
            // The place after as many zeros.
            while place <= scan.last {
                if block[place] != 0 {
                    self.refine(&mut block[place], one);
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                place += 1;
            }
            if new != 0 {
                *block.get_mut(place).filter(|_| place <= scan.last)? = new;
            }
            place += 1;
        }
        if self.empty_blocks > 0 {
            for coefficient in block[..=scan.last].iter_mut().skip(place).filter(|value| **value != 0) {
                self.refine(coefficient, one);
            }
            self.empty_blocks -= 1;
        }
        Some(())
    }

    /// Reads the next bit of a coefficient that is not zero.
    #[inline(always)]
    fn refine(&mut self, coefficient: &mut i16, one: i16) {
        if self.bit() == 1 && *coefficient & one == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -one } else { one });
        }
    }
}

/// Makes samples of all blocks, and crops them to rows and columns.
fn transform_all<T: Sample>(stored: &Stored, reduction: usize, [height, width]: [usize; 2]) -> Vec<T> {
    let (arch, side) = (pulp::Arch::new(), 8 / reduction);
    let blocks: &[[i16; 64]] = stored.coefficients.as_chunks().0;
    let mut samples = Vec::with_capacity(height * width);
    let mut coefficients: Box<Coefficients> = Box::new([[0; LANES]; 64]);
    let mut out: Box<Blocks<T>> = Box::new([[T::default(); LANES * 8]; 8]);
    let mut strip = vec![T::default(); stored.stride.next_multiple_of(LANES) * side * side];
    let stride = stored.stride.next_multiple_of(LANES) * side;
    for row in blocks.chunks_exact(stored.stride).take(stored.blocks[1]) {
        for (group, blocks) in row.chunks(LANES).enumerate() {
            for (lane, block) in blocks.iter().enumerate() {
                for (place, &value) in ORDER.iter().zip(block) {
                    let place = usize::from(place & 63);
                    coefficients[place][lane] = i32::from(value) * i32::from(stored.quantization[place]);
                }
            }
            transform(arch, side, &mut coefficients, &mut out);
            for (line, out) in strip.chunks_exact_mut(stride).zip(out.iter()) {
                line[group * LANES * side..][..LANES * side].copy_from_slice(&out[..LANES * side]);
            }
        }
        for line in strip.chunks_exact(stride).take(height - samples.len() / width) {
            samples.extend_from_slice(&line[..width]);
        }
    }
    samples
}
