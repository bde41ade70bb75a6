//! Antialiased resizing with one stated filter, the same on every machine.
//!
//! The filter is the Catmull-Rom cubic (Keys 1981, a = -0.5), widened by the reduction factor so that nothing finer
//! than the new grid is left to alias: what Pillow calls `BICUBIC` and torchvision `bicubic, antialias=True`. Rows are
//! reduced before columns, because the first pass then streams over whole rows and the second touches only what is left.
//! Plain sums in a fixed order, no processor-specific code: two machines give the same bits.

use std::ops::Range;

use crate::reduce::{Filter, Target, reduced};

/// Half-width of the filter in output pixels (input pixels when enlarging).
const SUPPORT: f64 = 2.0;

/// Keys' cubic convolution kernel with a = -0.5 (Catmull-Rom), eq. 8 of R. Keys, "Cubic convolution interpolation for
/// digital image processing", 1981.
pub(crate) fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// For one output position: the first input position and the weights from there on, summing to 1.
#[derive(Clone, Copy)]
pub(crate) struct Taps<'a> {
    pub first: usize,
    pub weights: &'a [f32],
}

impl Taps<'_> {
    /// The position behind the last one that counts.
    pub(crate) fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// The taps of every output position of an axis. They lie in one piece: small pictures come by the million, and a list
/// for each position takes longer than the sums that it is for.
pub(crate) struct Axis {
    /// For each position the first input position, and where its weights end.
    positions: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Axis {
    /// `taps` gives for each position the interval of input positions and a function of their weights, which need not sum
    /// to 1.
    fn new<W: Fn(usize) -> f64>(output: usize, taps: impl Fn(usize) -> (Range<usize>, W)) -> Self {
        let (mut positions, mut weights) = (Vec::with_capacity(output), Vec::new());
        let mut raw: Vec<f64> = Vec::new();
        for position in 0..output {
            let (range, weight) = taps(position);
            let first = range.start;
            if position == 0 {
                // Others have as many, or one more.
                weights.reserve(output * (range.len() + 1));
            }
            raw.clear();
            raw.extend(range.map(weight));
            let sum = raw.iter().sum::<f64>();
            let sum = if sum == 0.0 { f64::MIN_POSITIVE } else { sum };
            weights.extend(raw.iter().map(|weight| (weight / sum) as f32));
            positions.push((first, weights.len()));
        }
        Self { positions, weights }
    }

    /// The number of output positions.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// The taps of an output position; none beyond the last.
    #[inline(always)]
    pub(crate) fn get(&self, position: usize) -> Option<Taps<'_>> {
        let &(first, end) = self.positions.get(position)?;
        let start = position.checked_sub(1).map_or(0, |before| self.positions[before].1);
        Some(Taps { first, weights: &self.weights[start..end] })
    }

    /// The taps of all output positions from one on.
    #[inline(always)]
    pub(crate) fn iter_from(&self, start: usize) -> impl Iterator<Item = Taps<'_>> {
        (start..self.len()).filter_map(|position| self.get(position))
    }
}

/// The weights of every output position for the input interval `start..start + length` of an axis of `input` samples.
pub(crate) fn axis_taps(input: usize, start: f64, length: f64, output: usize) -> Axis {
    let scale = length / output as f64;
    let filter_scale = scale.max(1.0);
    let support = SUPPORT * filter_scale;
    Axis::new(output, |position| {
        let center = start + (position as f64 + 0.5) * scale;
        // Of numbers that are not negative the whole part is the floor.
        let first = ((center - support + 0.5).max(0.0) as usize).min(input - 1);
        let end = ((center + support + 0.5).max(0.0) as usize).min(input).max(first + 1);
        (first..end, move |tap| catmull_rom((tap as f64 - center + 0.5) / filter_scale))
    })
}

/// Resizes a plane (`height * width`, row-major) to `[new_height, new_width]` with the antialiased Catmull-Rom filter.
/// The cubic overshoots at edges, so the result is clamped to `0..=1`.
///
/// Returns `None` where a dimension is zero or `pixels` is not `height * width`.
pub fn resize(pixels: &[f32], height: usize, width: usize, new_height: usize, new_width: usize) -> Option<Vec<f32>> {
    let valid = height > 0 && width > 0 && new_height > 0 && new_width > 0;
    if !valid || height.checked_mul(width) != Some(pixels.len()) {
        return None;
    }
    let whole = [0.0, 0.0, height as f64, width as f64];
    Some(resize_box(pixels, [height, width], whole, [new_height, new_width]))
}

/// Resizes the box `[top, left, height, width]` (in pixels, fractions allowed) of a plane. The caller has checked sizes.
pub(crate) fn resize_box(
    pixels: &[f32],
    [height, width]: [usize; 2],
    source: [f64; 4],
    target: [usize; 2],
) -> Vec<f32> {
    reduced(&pixels, [height, width], Target { filter: Filter::CatmullRom, source, size: target })
}

/// The share of each target pixel that is inside a binary plane: exact area coverage over the box, in `0..=1`.
pub(crate) fn coverage_box(mask: &[u8], [height, width]: [usize; 2], source: [f64; 4], target: [usize; 2]) -> Vec<f32> {
    let [top, left, box_height, box_width] = source;
    let rows = area_taps(height, top, box_height, target[0]);
    let columns = area_taps(width, left, box_width, target[1]);
    let mut out = Vec::with_capacity(target[0] * target[1]);
    let mut line = vec![0.0_f32; width];
    for row_taps in rows.iter_from(0) {
        line.fill(0.0);
        for (row, &weight) in mask[row_taps.first * width..].chunks_exact(width).zip(row_taps.weights) {
            for (sum, &pixel) in line.iter_mut().zip(row) {
                *sum += weight * f32::from(pixel.min(1));
            }
        }
        out.extend(columns.iter_from(0).map(|taps| {
            line[taps.first..].iter().zip(taps.weights).map(|(&share, &weight)| share * weight).sum::<f32>()
        }));
    }
    out
}

/// Box-filter weights: how much of each input sample an output pixel covers, summing to 1.
pub(crate) fn area_taps(input: usize, start: f64, length: f64, output: usize) -> Axis {
    let scale = length / output as f64;
    Axis::new(output, |position| {
        let from = (start + position as f64 * scale).clamp(0.0, input as f64);
        let to = (start + (position + 1) as f64 * scale).clamp(0.0, input as f64);
        let first = (from as usize).min(input - 1);
        let end = (to.ceil() as usize).clamp(first + 1, input);
        (first..end, move |tap| (((tap + 1) as f64).min(to) - (tap as f64).max(from)).max(0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth picture with some fine texture, away from 0 and 1 so that nothing is clamped.
    fn texture(height: usize, width: usize) -> Vec<f32> {
        (0..height * width)
            .map(|i| {
                let (row, column) = ((i / width) as f32, (i % width) as f32);
                0.5 + 0.2 * (row * 0.11).sin() + 0.2 * (column * 0.07).cos() + 0.02 * ((i * 7919) % 13) as f32 / 13.0
            })
            .collect()
    }

    fn mean(values: &[f32]) -> f64 {
        values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn mean_is_kept() {
        let pixels = texture(211, 157);
        for (height, width) in [(64, 64), (32, 48), (211, 20), (300, 300)] {
            let out = resize(&pixels, 211, 157, height, width).unwrap();
            assert!((mean(&out) - mean(&pixels)).abs() < 2e-3, "{height} x {width}: {}", mean(&out));
        }
    }

    #[test]
    fn constant_stays_constant_and_same_size_is_identity() {
        let out = resize(&vec![0.3; 99 * 31], 99, 31, 17, 64).unwrap();
        assert!(out.iter().all(|pixel| (pixel - 0.3).abs() < 1e-6));
        let pixels = texture(20, 30);
        assert_eq!(resize(&pixels, 20, 30, 20, 30).unwrap(), pixels);
    }

    /// A checkerboard is finer than the new grid: without antialiasing it would come out as black, white or stripes.
    #[test]
    fn checkerboard_becomes_grey() {
        let pixels: Vec<f32> = (0..128 * 128).map(|i| ((i / 128 + i % 128) % 2) as f32).collect();
        let out = resize(&pixels, 128, 128, 30, 30).unwrap();
        let inner = out.chunks(30).skip(2).take(26).flat_map(|row| &row[2..28]);
        for &pixel in inner {
            assert!((pixel - 0.5).abs() < 0.02, "{pixel}");
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(resize(&[0.0; 6], 2, 2, 1, 1).is_none());
        assert!(resize(&[0.0; 6], 2, 3, 0, 1).is_none());
        assert!(resize(&[], 0, 0, 1, 1).is_none());
    }
}
