//! Lossless JPEG (ITU-T T.81, annex H, process 14) of 2 to 16 bits: samples predicted from their neighbours.
//!
//! Crates that decode it forget which samples follow a restart mark, or refuse the mark; hospitals' archives have both.

use super::header::{Refusal, Stream, corrupt, unsupported};
use super::huffman::{Bits, Differences};
use super::sequential::Segments;

impl Stream<'_> {
    /// The samples of the first `num_planes` components, row-major, modulo 2^16: those of damaged data may have more bits
    /// than the header says.
    pub(super) fn decode_lossless(&mut self, num_planes: usize) -> Result<Vec<Vec<u16>>, Refusal> {
        if self.frame.components.iter().any(|component| component.sampling != self.frame.components[0].sampling) {
            return unsupported("its lossless components have different resolutions; decompress it first");
        }
        let mut planes = vec![Vec::new(); num_planes];
        loop {
            if self.scan.components.iter().any(|scanned| scanned.number < num_planes) {
                self.decode_lossless_scan(&mut planes)?;
            }
            if planes.iter().all(|plane| !plane.is_empty()) {
                return Ok(planes);
            }
            if !self.next_scan()? {
                return corrupt("the scan of a component is missing");
            }
        }
    }

    /// Decodes the components of the scan, line by line.
    fn decode_lossless_scan(&self, planes: &mut [Vec<u16>]) -> Result<(), Refusal> {
        let (scan, width, height) = (&self.scan, self.frame.width, self.frame.height);
        if scan.components.len() > 1 && self.frame.components[0].sampling != [1, 1] {
            return unsupported("its lossless units have several samples of a component; decompress it first");
        }
        let &predictor @ 1..=7 = &scan.first else {
            return corrupt(format!("predictor {} of 1 to 7", scan.first));
        };
        if scan.low >= self.frame.bits {
            return corrupt(format!("a point transform by {} of {} bits", scan.low, self.frame.bits));
        }
        let mut lines = Vec::with_capacity(scan.components.len());
        for scanned in &scan.components {
            let Some(Some(table)) = self.tables.dc.get(scanned.dc) else {
                return corrupt("a Huffman table is missing");
            };
            lines.push((scanned.number, Differences::of(table), vec![0; width]));
            if let Some(plane) = planes.get_mut(scanned.number) {
                if !plane.is_empty() {
                    return corrupt("two scans of one component");
                }
                plane.resize(width * height, 0);
            }
        }
        let mut segments = Segments::new(self.data());
        let interval = if self.restart_interval == 0 { width * height } else { self.restart_interval };
        let mut position = 0;
        while position < width * height {
            if !segments.next() {
                return corrupt("restart intervals are missing");
            }
            let (start, end) = (position, (position + interval).min(width * height));
            let mut bits = Bits::new(&segments.data);
            while position < end {
                let (row, from) = (position / width, position % width);
                let to = width.min(from + end - position);
                if read_line(&mut bits, &mut lines, from, to).is_none() {
                    return corrupt("its data hold bits that mean nothing");
                }
                if bits.is_overdrawn() {
                    return corrupt("its data end before the image does");
                }
                for (number, _, differences) in &lines {
                    let Some(plane) = planes.get_mut(*number) else { continue };
                    let (above, line) = plane.split_at_mut(row * width);
                    let above = &above[row.saturating_sub(1) * width..];
                    let (line, differences) = (&mut line[from..to], &differences[from..to]);
                    if position == start {
                        // The middle of the range, and what is left of the line from the left alone (H.1.2.1), also where
                        // an interval begins within a line.
                        start_line(line, differences, 1 << (self.frame.bits - scan.low - 1));
                    } else {
                        continue_line(line, &above[..to], differences, predictor);
                    }
                }
                position += to - from;
            }
        }
        if scan.low > 0 {
            for scanned in &scan.components {
                for sample in planes.get_mut(scanned.number).into_iter().flatten() {
                    *sample <<= scan.low;
                }
            }
        }
        Ok(())
    }
}

/// Reads the differences of a piece of a line, of one component after the other for each sample.
fn read_line(
    bits: &mut Bits<'_>,
    lines: &mut [(usize, Differences<'_>, Vec<u16>)],
    from: usize,
    to: usize,
) -> Option<()> {
    if let [(_, table, differences)] = lines {
        for difference in &mut differences[from..to] {
            *difference = table.read(bits)?;
        }
        return Some(());
    }
    for column in from..to {
        for (_, table, differences) in &mut *lines {
            differences[column] = table.read(bits)?;
        }
    }
    Some(())
}

/// The samples at the beginning of an interval, of which the first is predicted as `middle`.
fn start_line(line: &mut [u16], differences: &[u16], middle: u16) {
    let mut left = middle;
    for (sample, &difference) in line.iter_mut().zip(differences) {
        left = left.wrapping_add(difference);
        *sample = left;
    }
}

/// The samples of any other line, from those of the line above (T.81, table H.1).
fn continue_line(line: &mut [u16], above: &[u16], differences: &[u16], predictor: usize) {
    // Sums and differences of three samples, of which the lower 16 bits count.
    match predictor {
        1 => predict(line, above, differences, |left, _, _| left),
        2 => predict(line, above, differences, |_, up, _| up),
        3 => predict(line, above, differences, |_, _, corner| corner),
        4 => predict(line, above, differences, |left, up, corner| left + up - corner),
        5 => predict(line, above, differences, |left, up, corner| left + ((up - corner) >> 1)),
        6 => predict(line, above, differences, |left, up, corner| up + ((left - corner) >> 1)),
        _ => predict(line, above, differences, |left, up, _| (left + up) >> 1),
    }
}

#[inline(always)]
fn predict(line: &mut [u16], above: &[u16], differences: &[u16], predictor: impl Fn(i32, i32, i32) -> i32) {
    // The first sample is predicted from the one above.
    line[0] = above[0].wrapping_add(differences[0]);
    let (mut left, mut corner) = (i32::from(line[0]), i32::from(above[0]));
    for ((sample, &up), &difference) in line[1..].iter_mut().zip(&above[1..]).zip(&differences[1..]) {
        let up = i32::from(up);
        *sample = (predictor(left, up, corner) as u16).wrapping_add(difference);
        (left, corner) = (i32::from(*sample), up);
    }
}
