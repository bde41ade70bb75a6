//! A JPEG-LS scan: contexts, prediction, runs (T.87, annexes A and B).

use super::super::corrupt;
use super::bits::BitReader;
use crate::DecodeError;

/// Coding parameters of a scan (T.87 C.2.4.1.1 and A.2.1).
#[derive(Debug)]
pub(super) struct Parameters {
    max_value: i32,
    near: i32,
    thresholds: [i32; 3],
    reset: i32,
    range: i32,
    /// Bits of a sample error that is too long for a Golomb code.
    error_bits: u32,
    limit: u32,
}

/// `J` of T.87 A.2.1: the orders of the run-length code.
const RUN_ORDERS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

impl Parameters {
    /// From the precision and, where the stream gives them, `[MAXVAL, T1, T2, T3, RESET]` (0 means the default).
    pub(super) fn new(precision: u32, near: i32, preset: [i32; 5]) -> Result<Self, DecodeError> {
        let [preset_max, t1, t2, t3, preset_reset] = preset;
        let full = (1 << precision) - 1;
        let max_value = if preset_max == 0 { full } else { preset_max };
        if !(1..=full).contains(&max_value) || near > 255.min(max_value / 2) {
            return Err(corrupt(format_args!("JPEG-LS with greatest value {max_value} and tolerance {near}")));
        }
        let clamp = |value: i32, low: i32| if value > max_value || value < low { low } else { value };
        let defaults = if max_value >= 128 {
            let factor = (max_value.min(4095) + 128) / 256;
            [factor + 2 + 3 * near, factor * 4 + 3 + 5 * near, factor * 17 + 4 + 7 * near]
        } else {
            let factor = 256 / (max_value + 1);
            [(3 / factor + 3 * near).max(2), (7 / factor + 5 * near).max(3), (21 / factor + 7 * near).max(4)]
        };
        let mut thresholds = [t1, t2, t3];
        let mut low = near + 1;
        for (threshold, default) in thresholds.iter_mut().zip(defaults) {
            if *threshold == 0 {
                *threshold = clamp(default, low);
            } else if *threshold < low || *threshold > max_value {
                return Err(corrupt(format_args!("a JPEG-LS threshold of {threshold}")));
            }
            low = *threshold;
        }
        let reset = if preset_reset == 0 { 64 } else { preset_reset };
        if reset < 3 {
            return Err(corrupt(format_args!("a JPEG-LS reset interval of {reset}")));
        }
        let range = (max_value + 2 * near) / (2 * near + 1) + 1;
        let bits_for = |values: i32| (values - 1).max(1).ilog2() + 1;
        let sample_bits = bits_for(max_value + 1).max(2);
        Ok(Self {
            max_value,
            near,
            thresholds,
            reset,
            range,
            error_bits: bits_for(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
        })
    }

    /// The region of a gradient, -4..=4 (code segment A.4).
    fn quantize(&self, gradient: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let size = gradient.abs();
        let region = if size <= self.near {
            0
        } else if size < t1 {
            1
        } else if size < t2 {
            2
        } else if size < t3 {
            3
        } else {
            4
        };
        region * gradient.signum()
    }

    /// The sample for a prediction and a (signed) error: dequantised, wrapped into the range, clamped (A.4.5, A.8).
    fn reconstruct(&self, prediction: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let mut sample = prediction + error * step;
        if sample < -self.near {
            sample += self.range * step;
        } else if sample > self.max_value + self.near {
            sample -= self.range * step;
        }
        sample.clamp(0, self.max_value)
    }
}

/// The decoded samples around one.
struct Neighbors {
    left: i32,
    up: i32,
    up_left: i32,
    up_right: i32,
}

impl Neighbors {
    #[inline(always)]
    fn of(above: &[i32], line: &[i32], x: usize) -> Self {
        Self { left: line[x - 1], up: above[x], up_left: above[x - 1], up_right: above[x + 1] }
    }

    fn gradients(&self) -> [i32; 3] {
        [self.up_right - self.up, self.up - self.up_left, self.up_left - self.left]
    }

    /// Whether a run begins here (A.3.2).
    fn are_alike(&self, near: i32) -> bool {
        self.gradients().iter().all(|gradient| gradient.abs() <= near)
    }

    /// The edge-detecting prediction (A.4.1).
    fn prediction(&self) -> i32 {
        let Self { left, up, up_left, .. } = *self;
        if up_left >= left.max(up) {
            left.min(up)
        } else if up_left <= left.min(up) {
            left.max(up)
        } else {
            left + up - up_left
        }
    }
}

/// Statistics of one context.
#[derive(Clone, Copy)]
struct Context {
    /// Sum of error sizes.
    a: i32,
    /// Sum of errors, for the bias.
    b: i32,
    /// Correction of the prediction.
    c: i32,
    /// Occurrences.
    n: i32,
    /// Negative errors (run interruption only).
    negative: i32,
}

/// A scan that is being decoded.
pub(super) struct Scan<'p, 'a> {
    parameters: &'p Parameters,
    bits: BitReader<'a>,
    /// 365 regular contexts and two for the ends of runs.
    contexts: Vec<Context>,
    run_index: usize,
}

impl<'p, 'a> Scan<'p, 'a> {
    pub(super) fn new(parameters: &'p Parameters, data: &'a [u8]) -> Self {
        let a = ((parameters.range + 32) / 64).max(2);
        let contexts = vec![Context { a, b: 0, c: 0, n: 1, negative: 0 }; 367];
        Self { parameters, bits: BitReader::new(data), contexts, run_index: 0 }
    }

    /// What follows the data that were decoded: the next marker, if there is one.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bits.rest()
    }

    /// The samples of the only component.
    pub(super) fn decode(&mut self, height: usize, width: usize) -> Result<Vec<u16>, DecodeError> {
        let mut samples = Vec::with_capacity(height * width);
        // Lines with one neighbour more on each side. The one before the first sample is the sample above the first.
        let (mut above, mut line) = (vec![0; width + 2], vec![0; width + 2]);
        for _ in 0..height {
            line[0] = above[1];
            above[width + 1] = above[width];
            self.decode_line(&above, &mut line, width)?;
            samples.extend(line[1..=width].iter().map(|&sample| sample as u16));
            std::mem::swap(&mut above, &mut line);
        }
        Ok(samples)
    }

    /// The samples of each of several components, which take turns line by line (annex B.2) or sample by sample (B.3).
    /// They share contexts; taking turns by lines, each counts runs for itself.
    pub(super) fn decode_together(
        &mut self,
        height: usize,
        width: usize,
        num_components: usize,
        by_sample: bool,
    ) -> Result<Vec<Vec<u16>>, DecodeError> {
        let mut planes = vec![Vec::with_capacity(height * width); num_components];
        let mut above = vec![vec![0; width + 2]; num_components];
        let mut lines = above.clone();
        let mut run_indices = vec![0; num_components];
        for _ in 0..height {
            for (above, line) in above.iter_mut().zip(&mut lines) {
                line[0] = above[1];
                above[width + 1] = above[width];
            }
            if by_sample {
                self.decode_samples(&above, &mut lines, width)?;
            } else {
                for ((above, line), run_index) in above.iter().zip(&mut lines).zip(&mut run_indices) {
                    self.run_index = *run_index;
                    self.decode_line(above, line, width)?;
                    *run_index = self.run_index;
                }
            }
            for (plane, line) in planes.iter_mut().zip(&lines) {
                plane.extend(line[1..=width].iter().map(|&sample| sample as u16));
            }
            std::mem::swap(&mut above, &mut lines);
        }
        Ok(planes)
    }

    fn decode_line(&mut self, above: &[i32], line: &mut [i32], width: usize) -> Result<(), DecodeError> {
        let mut x = 1;
        while x <= width {
            let neighbors = Neighbors::of(above, line, x);
            if neighbors.are_alike(self.parameters.near) {
                let length = self.decode_run(width + 1 - x)?;
                let value = line[x - 1];
                line[x..x + length].fill(value);
                x += length;
                if x > width {
                    return Ok(());
                }
                line[x] = self.decode_run_end(value, above[x], true)?;
                self.run_index = self.run_index.saturating_sub(1);
            } else {
                line[x] = self.decode_sample(&neighbors)?;
            }
            x += 1;
        }
        Ok(())
    }

    /// A line of all components, sample by sample. A run is one of all of them (B.3).
    fn decode_samples(&mut self, above: &[Vec<i32>], lines: &mut [Vec<i32>], width: usize) -> Result<(), DecodeError> {
        let near = self.parameters.near;
        let mut x = 1;
        while x <= width {
            if above.iter().zip(&*lines).all(|(above, line)| Neighbors::of(above, line, x).are_alike(near)) {
                let length = self.decode_run(width + 1 - x)?;
                for line in &mut *lines {
                    let value = line[x - 1];
                    line[x..x + length].fill(value);
                }
                x += length;
                if x > width {
                    return Ok(());
                }
                for (above, line) in above.iter().zip(&mut *lines) {
                    line[x] = self.decode_run_end(line[x - 1], above[x], false)?;
                }
                self.run_index = self.run_index.saturating_sub(1);
            } else {
                for (above, line) in above.iter().zip(&mut *lines) {
                    line[x] = self.decode_sample(&Neighbors::of(above, line, x))?;
                }
            }
            x += 1;
        }
        Ok(())
    }

    /// A sample in regular mode (A.4 to A.6).
    fn decode_sample(&mut self, neighbors: &Neighbors) -> Result<i32, DecodeError> {
        let parameters = self.parameters;
        let [q1, q2, q3] = neighbors.gradients().map(|gradient| parameters.quantize(gradient));
        let signed_context = 81 * q1 + 9 * q2 + q3;
        let prediction = neighbors.prediction();
        let sign = if signed_context < 0 { -1 } else { 1 };
        let context = &mut self.contexts[signed_context.unsigned_abs() as usize];
        let prediction = (prediction + sign * context.c).clamp(0, parameters.max_value);
        let order = golomb_order(context.n, context.a);
        let mapped = self.bits.golomb(order, parameters.limit, parameters.error_bits)?;
        let half = mapped >> 1;
        let inverted = parameters.near == 0 && order == 0 && 2 * context.b <= -context.n;
        let error = match (mapped & 1 == 1, inverted) {
            (true, true) => half,
            (false, true) => -half - 1,
            (true, false) => -half - 1,
            (false, false) => half,
        };
        context.b += error * (2 * parameters.near + 1);
        context.a = context.a.saturating_add(error.abs());
        if context.n == parameters.reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        // Code segment A.13: keep the mean error of the context between -1 and 0.
        if context.b <= -context.n {
            context.c = (context.c - 1).max(-128);
            context.b = (context.b + context.n).max(1 - context.n);
        } else if context.b > 0 {
            context.c = (context.c + 1).min(127);
            context.b = (context.b - context.n).min(0);
        }
        Ok(parameters.reconstruct(prediction, sign * error))
    }

    /// The length of a run of equal samples, of which so many can follow at most (A.7.1). A sample that ends it follows if
    /// it is shorter.
    fn decode_run(&mut self, longest: usize) -> Result<usize, DecodeError> {
        let mut run = 0;
        while self.bits.read(1)? == 1 {
            let full = 1 << RUN_ORDERS[self.run_index];
            let length = full.min(longest - run);
            run += length;
            if length == full {
                self.run_index = (self.run_index + 1).min(31);
            }
            if run == longest {
                return Ok(run);
            }
        }
        run += self.bits.read(RUN_ORDERS[self.run_index])? as usize;
        if run >= longest {
            return Err(corrupt("a JPEG-LS run beyond the end of its line"));
        }
        Ok(run)
    }

    /// The sample that ends a run (A.7.2). Only where components are decoded one by one does it matter whether its
    /// neighbours are alike.
    fn decode_run_end(&mut self, left: i32, up: i32, tells_alike: bool) -> Result<i32, DecodeError> {
        let parameters = self.parameters;
        let run_order = RUN_ORDERS[self.run_index];
        let alike = tells_alike && (left - up).abs() <= parameters.near;
        let kind = i32::from(alike);
        let context = &mut self.contexts[if alike { 366 } else { 365 }];
        let size = if alike { context.a + (context.n >> 1) } else { context.a };
        let order = golomb_order(context.n, size);
        let mapped = self.bits.golomb(order, parameters.limit - run_order - 1, parameters.error_bits)?;
        // Inverse of code segments A.21 and A.22.
        let folded = mapped + kind;
        let odd = folded & 1 == 1;
        let magnitude = (folded + i32::from(odd)) >> 1;
        let error = if (order != 0 || 2 * context.negative >= context.n) == odd { -magnitude } else { magnitude };
        if error < 0 {
            context.negative += 1;
        }
        context.a = context.a.saturating_add((mapped + 1 - kind) >> 1);
        if context.n == parameters.reset {
            context.a >>= 1;
            context.n >>= 1;
            context.negative >>= 1;
        }
        context.n += 1;
        let prediction = if alike { left } else { up };
        let sign = if !alike && left > up { -1 } else { 1 };
        Ok(parameters.reconstruct(prediction, sign * error))
    }
}

/// The order of the Golomb code for a context (code segment A.10). Bounded, so that damaged data cannot shift too far.
fn golomb_order(occurrences: i32, size: i32) -> u32 {
    (0..24).find(|&order| i64::from(occurrences) << order >= i64::from(size)).unwrap_or(24)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default thresholds of T.87, table C.3, for 8 and 12 bits.
    #[test]
    fn defaults_follow_the_standard() {
        let of = |bits, near| Parameters::new(bits, near, [0; 5]).unwrap();
        assert_eq!(of(8, 0).thresholds, [3, 7, 21]);
        assert_eq!(of(12, 0).thresholds, [18, 67, 276]);
        assert_eq!((of(8, 0).range, of(8, 0).error_bits, of(8, 0).limit), (256, 8, 32));
        assert_eq!((of(8, 3).range, of(8, 3).error_bits), (38, 6));
        assert_eq!((of(16, 0).limit, of(12, 0).limit), (64, 48));
    }
}
