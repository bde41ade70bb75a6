//! JPEG-LS for one grey component of 2 to 16 bit, lossless and near-lossless, after ITU-T T.87 (06/98).
//!
//! Written here because the codecs at hand for it need a C++ compiler, and the program is to build with Rust alone. The
//! names of the standard (A, B, C, N, Nn, NEAR, RANGE, ...) are kept where its code segments are followed.

use super::{corrupt, unsupported};
use crate::DecodeError;

/// A decoded image.
pub(super) struct Image {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u16>,
}

/// Coding parameters of a scan (T.87 C.2.4.1.1 and A.2.1).
#[derive(Debug)]
struct Parameters {
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
    fn new(precision: u32, near: i32, preset: [i32; 5]) -> Result<Self, DecodeError> {
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

/// Decodes a JPEG-LS image of at most `max_pixels`.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Image, DecodeError> {
    let cut = || corrupt("the JPEG-LS header is cut short");
    let word = |pair: &[u8]| i32::from(pair[0]) << 8 | i32::from(pair[1]);
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| corrupt("no JPEG-LS image"))?;
    let mut frame: Option<(u32, usize, usize)> = None;
    let mut preset = [0; 5];
    loop {
        let &[0xff, marker, ref after @ ..] = rest else { return Err(cut()) };
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk().ok_or_else(cut)?));
        let segment = after.get(2..length).ok_or_else(cut)?;
        rest = &after[length..];
        match (marker, segment) {
            // SOF55: precision, height, width, components.
            (0xf7, &[precision, h1, h0, w1, w0, components, ..]) => {
                if components != 1 {
                    return Err(unsupported(format!("JPEG-LS with {components} components; one is read")));
                }
                if !(2..=16).contains(&precision) {
                    return Err(corrupt(format_args!("JPEG-LS samples of {precision} bits")));
                }
                let (height, width) =
                    (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
                if height == 0 || width == 0 || (height * width) as u64 > max_pixels {
                    return Err(corrupt(format_args!("a JPEG-LS image of {width} x {height} pixels")));
                }
                frame = Some((u32::from(precision), height, width));
            }
            // LSE 1: MAXVAL, T1, T2, T3, RESET.
            (0xf8, &[1, ref values @ ..]) if values.len() >= 10 => {
                for (value, pair) in preset.iter_mut().zip(values.chunks_exact(2)) {
                    *value = word(pair);
                }
            }
            (0xf8, &[kind, ..]) => return Err(unsupported(format!("JPEG-LS with parameters of kind {kind}"))),
            (0xdd, interval) if interval.iter().any(|&byte| byte != 0) => {
                return Err(unsupported("JPEG-LS with restart intervals"));
            }
            // SOS: one component with its mapping table, NEAR, interleave mode, point transform.
            (0xda, &[components, _, table, near, _, transform]) => {
                let (precision, height, width) = frame.ok_or_else(|| corrupt("a JPEG-LS scan before its frame"))?;
                if components != 1 || table != 0 || transform != 0 {
                    return Err(unsupported("JPEG-LS with mapping tables or point transforms"));
                }
                let parameters = Parameters::new(precision, i32::from(near), preset)?;
                let samples = Scan::new(&parameters, rest).decode(height, width)?;
                return Ok(Image { width, height, samples });
            }
            (0xf7 | 0xf8 | 0xda, _) => return Err(cut()),
            _ => {}
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

struct Scan<'a> {
    parameters: &'a Parameters,
    bits: BitReader<'a>,
    /// 365 regular contexts and two for the ends of runs.
    contexts: Vec<Context>,
    run_index: usize,
}

impl<'a> Scan<'a> {
    fn new(parameters: &'a Parameters, data: &'a [u8]) -> Self {
        let a = ((parameters.range + 32) / 64).max(2);
        let contexts = vec![Context { a, b: 0, c: 0, n: 1, negative: 0 }; 367];
        Self { parameters, bits: BitReader::new(data), contexts, run_index: 0 }
    }

    fn decode(&mut self, height: usize, width: usize) -> Result<Vec<u16>, DecodeError> {
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

    fn decode_line(&mut self, above: &[i32], line: &mut [i32], width: usize) -> Result<(), DecodeError> {
        let near = self.parameters.near;
        let mut x = 1;
        while x <= width {
            let (left, up, up_left, up_right) = (line[x - 1], above[x], above[x - 1], above[x + 1]);
            let gradients = [up_right - up, up - up_left, up_left - left];
            if gradients.iter().all(|gradient| gradient.abs() <= near) {
                x = self.decode_run(above, line, x, width)?;
            } else {
                let [q1, q2, q3] = gradients.map(|gradient| self.parameters.quantize(gradient));
                let context = 81 * q1 + 9 * q2 + q3;
                let prediction = if up_left >= left.max(up) {
                    left.min(up)
                } else if up_left <= left.min(up) {
                    left.max(up)
                } else {
                    left + up - up_left
                };
                line[x] = self.decode_sample(context, prediction)?;
                x += 1;
            }
        }
        Ok(())
    }

    /// A sample in regular mode (A.4 to A.6).
    fn decode_sample(&mut self, signed_context: i32, prediction: i32) -> Result<i32, DecodeError> {
        let parameters = self.parameters;
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

    /// A run of equal samples from `x` on and the sample that ends it (A.7); returns the position after them.
    fn decode_run(
        &mut self,
        above: &[i32],
        line: &mut [i32],
        start: usize,
        width: usize,
    ) -> Result<usize, DecodeError> {
        let value = line[start - 1];
        let mut x = start;
        while self.bits.read(1)? == 1 {
            let full = 1 << RUN_ORDERS[self.run_index];
            let length = full.min(width + 1 - x);
            line[x..x + length].fill(value);
            x += length;
            if length == full {
                self.run_index = (self.run_index + 1).min(31);
            }
            if x > width {
                return Ok(x);
            }
        }
        let order = RUN_ORDERS[self.run_index];
        let length = self.bits.read(order)? as usize;
        if x + length > width {
            return Err(corrupt("a JPEG-LS run beyond the end of its line"));
        }
        line[x..x + length].fill(value);
        x += length;
        line[x] = self.decode_run_end(value, above[x], order)?;
        self.run_index = self.run_index.saturating_sub(1);
        Ok(x + 1)
    }

    /// The sample that ends a run (A.7.2).
    fn decode_run_end(&mut self, left: i32, up: i32, run_order: u32) -> Result<i32, DecodeError> {
        let parameters = self.parameters;
        let alike = (left - up).abs() <= parameters.near;
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

/// Reads bits, most significant first. After a byte of 255 the next one holds only seven (A.1, bit stuffing); one with
/// its top bit set is a marker, the end of the data.
struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    buffer: u64,
    available: u32,
    after_ff: bool,
}

impl<'a> BitReader<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0, buffer: 0, available: 0, after_ff: false }
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
    fn read(&mut self, count: u32) -> Result<u32, DecodeError> {
        if self.available < count {
            self.fill();
        }
        self.available = self.available.checked_sub(count).ok_or_else(|| corrupt("the JPEG-LS data are cut short"))?;
        Ok((self.buffer >> self.available & ((1 << count) - 1)) as u32)
    }

    /// A value in the limited-length Golomb code of an order (A.5.3).
    fn golomb(&mut self, order: u32, limit: u32, error_bits: u32) -> Result<i32, DecodeError> {
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

    /// The worked example of T.87 annex H.3: a 4 x 4 image of 8 bits, with its coded bytes.
    #[test]
    fn the_example_of_the_standard_decodes() {
        let bytes = [
            0xff, 0xd8, 0xff, 0xf7, 0x00, 0x0b, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00, 0xff, 0xda, 0x00,
            0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x6c, 0x80, 0x20, 0x8e, 0x01, 0xc0, 0x00, 0x00,
            0x57, 0x40, 0x00, 0x00, 0x6e, 0xe6, 0x00, 0x00, 0x01, 0xbc, 0x18, 0x00, 0x00, 0x05, 0xd8, 0x00, 0x00, 0x91,
            0x60, 0xff, 0xd9,
        ];
        let image = decode(&bytes, 16).unwrap();
        assert_eq!(image.samples, [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145]);
        for length in 0..bytes.len() - 4 {
            assert!(decode(&bytes[..length], 16).is_err(), "cut to {length} bytes");
        }
    }
}
