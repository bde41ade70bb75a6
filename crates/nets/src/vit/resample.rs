//! Antialiased resampling of grey pictures, bit for bit as Pillow does it for 8-bit images.
//!
//! Networks see small differences of their input; the published ones were trained on pictures that Pillow reduced. The
//! weights are also those of PyTorch's antialiased `interpolate`.

/// Shape of the resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle; `resample` 2 in preprocessor files.
    Bilinear,
    /// Keys' cubic with a = -0.5 (Catmull-Rom); `resample` 3 in preprocessor files.
    Bicubic,
}

impl Filter {
    /// Half of the width of the kernel at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - distance.abs()).max(0.0),
            Self::Bicubic => cubic(distance, -0.5),
        }
    }
}

/// Keys' cubic convolution kernel (1981, equation 4, with free parameter `a`), zero beyond ±2.
pub(super) fn cubic(distance: f64, a: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

/// The input samples that one output sample is made of.
pub(super) struct Window {
    /// Index of the first.
    pub start: usize,
    /// Their weights, which sum to 1.
    pub weights: Vec<f64>,
}

/// One window for each of `num_outputs` samples along an axis of `num_inputs`.
pub(super) fn windows(num_inputs: usize, num_outputs: usize, filter: Filter) -> Vec<Window> {
    let scale = num_inputs as f64 / num_outputs as f64;
    // Reducing widens the kernel, so that every input sample counts (antialiasing); enlarging does not narrow it.
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..num_outputs)
        .map(|output| {
            let centre = (output as f64 + 0.5) * scale;
            // `as usize` truncates and takes negative numbers to 0.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(num_inputs);
            let mut weights: Vec<f64> =
                (start..end).map(|input| filter.weight((input as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            Window { start, weights }
        })
        .collect()
}

/// Fractional bits of Pillow's integer weights: 32, less 8 for the pixel and 2 for sign and overshoot.
const PRECISION_BITS: u32 = 22;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

struct IntegerWindow {
    start: usize,
    weights: Vec<i32>,
}

fn integer_windows(num_inputs: usize, num_outputs: usize, filter: Filter) -> Vec<IntegerWindow> {
    windows(num_inputs, num_outputs, filter)
        .into_iter()
        .map(|Window { start, weights }| {
            let one = f64::from(1 << PRECISION_BITS);
            let weights = weights.iter().map(|weight| (weight * one).round() as i32).collect();
            IntegerWindow { start, weights }
        })
        .collect()
}

fn to_pixel(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes one 8-bit picture of `[height, width]` pixels as Pillow's `Image.resize` does: along rows, rounding to 8 bit,
/// then along columns. All sizes must be at least 1. An axis that keeps its length is not touched.
///
/// Pillow 13 takes columns first where the height shrinks much more than the width, which changes single grey levels;
/// networks were trained with the older versions, which never do.
pub(super) fn resize_u8(pixels: &[u8], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
    let [height, width] = from;
    let [new_height, new_width] = to;
    let mut picture = pixels.to_vec();
    if new_width != width {
        let windows = integer_windows(width, new_width, filter);
        picture = picture
            .chunks_exact(width)
            .flat_map(|row| {
                windows.iter().map(|window| {
                    let inputs = &row[window.start..];
                    let products = window.weights.iter().zip(inputs).map(|(weight, &pixel)| weight * i32::from(pixel));
                    to_pixel(HALF + products.sum::<i32>())
                })
            })
            .collect();
    }
    if new_height != height {
        let mut sums = vec![HALF; new_width];
        let mut resized = Vec::with_capacity(new_height * new_width);
        for window in integer_windows(height, new_height, filter) {
            sums.fill(HALF);
            let rows = picture[window.start * new_width..].chunks_exact(new_width);
            for (weight, row) in window.weights.iter().zip(rows) {
                for (sum, &pixel) in sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(pixel);
                }
            }
            resized.extend(sums.iter().map(|&sum| to_pixel(sum)));
        }
        picture = resized;
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (num_inputs, num_outputs) in [(1, 7), (7, 1), (100, 33), (33, 100), (5, 5)] {
                for window in windows(num_inputs, num_outputs, filter) {
                    assert!((window.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    assert!(window.start + window.weights.len() <= num_inputs);
                }
            }
        }
    }

    #[test]
    fn a_flat_picture_stays_flat_and_a_kept_size_is_identity() {
        let flat = resize_u8(&[255; 35], [5, 7], [16, 3], Filter::Bicubic);
        assert_eq!(flat, [255; 48]);
        let pixels: Vec<u8> = (0..35).collect();
        assert_eq!(resize_u8(&pixels, [5, 7], [5, 7], Filter::Bilinear), pixels);
    }
}
