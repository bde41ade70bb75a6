//! From grey pictures to what feature networks take, number for number as their originals do it: features of a picture
//! that was resized otherwise lie elsewhere, and distances with them.

use crate::error::Error;
use burn::tensor::{Device, Tensor, TensorData};

/// Side of the images that torchxrayvision's networks take.
pub const XRV_SIZE: usize = 224;
/// Side of the images that Inception-v3 takes.
pub const INCEPTION_SIZE: usize = 299;
/// Of torchxrayvision's values, which lie in -1024..=1024.
const XRV_RANGE: f32 = 1024.0;

/// Pictures as torchxrayvision's networks take them: its `normalize`, `XRayCenterCrop` and `XRayResizer(224)`.
///
/// # Shapes
/// - pictures: grey `[batch, height, width]` in 0..=1, row-major
/// - result: `[batch, 224, 224, 1]` with values in -1024..=1024
///
/// # Errors
/// [`Error::Pictures`], and [`Error::Brightness`] for a value that is no number or outside 0..=1.
pub fn xrv_input(pictures: &[f32], [height, width]: [usize; 2], device: &Device) -> Result<Tensor<4>, Error> {
    let batch = check(pictures, height, width)?;
    let side = height.min(width);
    // Halves are rounded down before they are subtracted, as in the original.
    let (top, left) = (height / 2 - side / 2, width / 2 - side / 2);
    let mut values = Vec::with_capacity(batch * XRV_SIZE * XRV_SIZE);
    for picture in pictures.chunks_exact(height * width) {
        let rows = picture.chunks_exact(width).skip(top).take(side);
        let centre: Vec<f32> = rows.flat_map(|row| &row[left..left + side]).map(xrv_value).collect();
        values.extend(resize_smoothed(&centre, [side, side], [XRV_SIZE, XRV_SIZE]));
    }
    Ok(Tensor::from_data(TensorData::new(values, [batch, XRV_SIZE, XRV_SIZE, 1]), device))
}

/// 0..=1 to -1024..=1024, in the original's order of operations.
fn xrv_value(brightness: &f32) -> f32 {
    (2.0 * brightness - 1.0) * XRV_RANGE
}

/// Pictures as the Fréchet inception distance's network takes them: resized to 299 x 299 whatever their aspect, the grey
/// channel three times, from 0..=1 to -1..=1.
///
/// # Shapes
/// - pictures: grey `[batch, height, width]` in 0..=1, row-major
/// - result: `[batch, 299, 299, 3]` with values in -1..=1
///
/// # Errors
/// As [`xrv_input`].
pub fn inception_input(pictures: &[f32], [height, width]: [usize; 2], device: &Device) -> Result<Tensor<4>, Error> {
    let batch = check(pictures, height, width)?;
    let to = [INCEPTION_SIZE, INCEPTION_SIZE];
    let mut values = Vec::with_capacity(batch * 3 * INCEPTION_SIZE * INCEPTION_SIZE);
    for picture in pictures.chunks_exact(height * width) {
        let resized = resize_bilinear(picture, [height, width], to);
        values.extend(resized.into_iter().flat_map(|value| [2.0 * value - 1.0; 3]));
    }
    Ok(Tensor::from_data(TensorData::new(values, [batch, INCEPTION_SIZE, INCEPTION_SIZE, 3]), device))
}

/// The number of pictures; refuses what is none.
fn check(pictures: &[f32], height: usize, width: usize) -> Result<usize, Error> {
    let (num_values, num_pixels) = (pictures.len(), height * width);
    if num_pixels == 0 || num_values == 0 || !num_values.is_multiple_of(num_pixels) {
        return Err(Error::Pictures { num_values, height, width });
    }
    match pictures.iter().position(|value| !(0.0..=1.0).contains(value)) {
        Some(position) => Err(Error::Brightness { position, value: pictures[position] }),
        None => Ok(num_values / num_pixels),
    }
}

/// Two neighbouring samples of an axis and their weights.
type Pair = [(usize, f64); 2];

/// Linear interpolation at the centre of each of `num_outputs` samples along an axis of `num_inputs`; `place` says where
/// a sample beyond the ends is read, if anywhere.
fn pairs(num_inputs: usize, num_outputs: usize, place: impl Fn(f64) -> Option<usize>) -> Vec<Pair> {
    let scale = num_inputs as f64 / num_outputs as f64;
    let pair = |output: usize| {
        let centre = (output as f64 + 0.5) * scale - 0.5;
        let (first, share) = (centre.floor(), centre - centre.floor());
        [(first, 1.0 - share), (first + 1.0, share)]
            .map(|(sample, weight)| place(sample).map_or((0, 0.0), |sample| (sample, weight)))
    };
    (0..num_outputs).map(pair).collect()
}

/// Applies the pairs of both axes.
fn interpolate(picture: &[f64], width: usize, rows: &[Pair], columns: &[Pair]) -> Vec<f64> {
    let mut resized = Vec::with_capacity(rows.len() * columns.len());
    for &[(upper, upper_weight), (lower, lower_weight)] in rows {
        let (upper, lower) = (&picture[upper * width..][..width], &picture[lower * width..][..width]);
        let line: Vec<f64> =
            upper.iter().zip(lower).map(|(upper, lower)| upper_weight * upper + lower_weight * lower).collect();
        resized.extend(columns.iter().map(|[left, right]| left.1 * line[left.0] + right.1 * line[right.0]));
    }
    resized
}

/// PyTorch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing, which is how the Fréchet inception
/// distance's network resizes. Beyond the border stands what stands at the border.
///
/// # Shapes
/// - picture: `[height, width] = from`, all sizes at least 1
/// - result: `[height, width] = to`
pub fn resize_bilinear(picture: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let picture: Vec<f64> = picture.iter().map(|value| f64::from(*value)).collect();
    let [rows, columns] = [0, 1].map(|axis| {
        let last = from[axis] - 1;
        pairs(from[axis], to[axis], |sample| Some((sample.max(0.0) as usize).min(last)))
    });
    interpolate(&picture, from[1], &rows, &columns).into_iter().map(|value| value as f32).collect()
}

/// scikit-image's `resize(mode="constant", preserve_range=True)`, torchxrayvision's default: along an axis that shrinks by
/// a factor, a Gaussian of standard deviation (factor - 1) / 2 first, cut off at four of them; then linear interpolation.
/// Beyond the border stands 0, and the result is kept in the range of the picture.
///
/// # Shapes
/// - picture: `[height, width] = from`, all sizes at least 1
/// - result: `[height, width] = to`
pub fn resize_smoothed(picture: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    if from == to {
        return picture.to_vec();
    }
    let mut smoothed: Vec<f64> = picture.iter().map(|value| f64::from(*value)).collect();
    for axis in 0..2 {
        let deviation = (from[axis] as f64 / to[axis] as f64 - 1.0) / 2.0;
        if deviation > 0.0 {
            smoothed = smooth(&smoothed, from, axis, &gaussian(deviation));
        }
    }
    let [rows, columns] = [0, 1].map(|axis| {
        let len = from[axis];
        pairs(len, to[axis], |sample| (sample >= 0.0 && (sample as usize) < len).then_some(sample as usize))
    });
    let mut resized = interpolate(&smoothed, from[1], &rows, &columns);

    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (mut low, mut high) = range(&mut picture.iter().map(|value| f64::from(*value)));
    let (lowest, highest) = range(&mut resized.iter().copied());
    // The 0 beyond the border counts as a value of the picture where it has reached the result.
    if lowest <= 0.0 && 0.0 <= highest {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    resized.iter_mut().for_each(|value| *value = value.clamp(low, high));
    resized.into_iter().map(|value| value as f32).collect()
}

/// Weights of a Gaussian from its middle outwards, all of them (both sides) summing to 1.
fn gaussian(deviation: f64) -> Vec<f64> {
    let radius = (4.0 * deviation + 0.5) as usize;
    let weight = |distance: usize| (-0.5 * (distance as f64 / deviation).powi(2)).exp();
    let sum = 1.0 + 2.0 * (1..=radius).map(weight).sum::<f64>();
    (0..=radius).map(|distance| weight(distance) / sum).collect()
}

/// Convolves along an axis with a symmetric kernel, zeros beyond the border.
fn smooth(picture: &[f64], [height, width]: [usize; 2], axis: usize, kernel: &[f64]) -> Vec<f64> {
    let mut smoothed = vec![0.0; picture.len()];
    let (len, step) = if axis == 0 { (height, width) } else { (width, 1) };
    for (index, target) in smoothed.iter_mut().enumerate() {
        let place = if axis == 0 { index / width } else { index % width };
        let mut sum = kernel[0] * picture[index];
        for (distance, weight) in kernel.iter().enumerate().skip(1) {
            let before = if place >= distance { picture[index - distance * step] } else { 0.0 };
            let after = if place + distance < len { picture[index + distance * step] } else { 0.0 };
            sum += weight * (before + after);
        }
        *target = sum;
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_are_no_brightness_are_refused_with_their_place_and_value() {
        let device = Device::flex();
        for (wrong, shown) in [(f32::NAN, "NaN"), (1.5, "1.5"), (-0.25, "-0.25"), (f32::INFINITY, "inf")] {
            let mut pictures = vec![0.5; 2 * 6];
            pictures[7] = wrong;
            for message in [
                xrv_input(&pictures, [2, 3], &device).unwrap_err().to_string(),
                inception_input(&pictures, [2, 3], &device).unwrap_err().to_string(),
            ] {
                assert!(
                    message.contains("pixel 7") && message.contains(shown) && message.contains("0..=1"),
                    "{message}"
                );
            }
        }
        for (len, size) in [(0, [2, 3]), (7, [2, 3]), (6, [0, 3])] {
            let message = xrv_input(&vec![0.5; len], size, &device).unwrap_err().to_string();
            assert!(message.contains("whole number"), "{message}");
        }
    }

    #[test]
    fn inputs_have_the_ranges_of_their_networks_at_both_ends() {
        let device = Device::flex();
        let ends = |tensor: Tensor<4>| {
            let values = tensor.into_data().try_into_vec::<f32>().unwrap();
            (
                values.iter().copied().fold(f32::INFINITY, f32::min),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            )
        };
        // Left half black, right half white.
        let picture: Vec<f32> = (0..300 * 400).map(|index| if index % 400 < 200 { 0.0 } else { 1.0 }).collect();
        let xrv = xrv_input(&picture, [300, 400], &device).unwrap();
        assert_eq!(xrv.dims(), [1, 224, 224, 1]);
        let (low, high) = ends(xrv);
        assert!((-1024.0..-1023.0).contains(&low) && (1023.0..=1024.0).contains(&high), "{low} {high}");
        let inception = inception_input(&picture, [300, 400], &device).unwrap();
        assert_eq!(inception.dims(), [1, 299, 299, 3]);
        assert_eq!(ends(inception), (-1.0, 1.0));
    }
}
