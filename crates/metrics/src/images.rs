//! Measures of single pictures and of pairs: brightness, contrast, signal-to-noise ratio and structural similarity.

use crate::error::{Error, check_enough, check_finite, check_size};

/// How bright and how contrasty a picture is, in the units of its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intensity {
    /// Mean over pixels.
    pub brightness: f64,
    /// Standard deviation over pixels (divided by their number, not one less).
    pub contrast: f64,
}

/// Brightness and contrast of a picture, or of a whole set when given all pixels.
///
/// # Errors
/// [`Error::TooFew`] without pixels, [`Error::NotFinite`].
pub fn intensity(pixels: &[f64]) -> Result<Intensity, Error> {
    check_enough("number of pixels", pixels.len(), 1)?;
    check_finite("the picture", pixels)?;
    let count = pixels.len() as f64;
    let brightness = pixels.iter().sum::<f64>() / count;
    let variance = pixels.iter().map(|pixel| (pixel - brightness).powi(2)).sum::<f64>() / count;
    Ok(Intensity { brightness, contrast: variance.sqrt() })
}

fn check_pair(picture: &[f64], reference: &[f64], data_range: f64) -> Result<(), Error> {
    check_size("number of pixels", picture.len(), reference.len())?;
    check_enough("number of pixels", picture.len(), 1)?;
    check_finite("the picture", picture)?;
    check_finite("the reference", reference)?;
    if data_range > 0.0 && data_range.is_finite() {
        return Ok(());
    }
    Err(Error::OutOfRange { name: "data_range", value: data_range, expected: "a finite number above 0" })
}

/// Peak signal-to-noise ratio in decibels, `10 log10(data_range^2 / mean squared error)`; infinite for equal pictures.
///
/// `data_range` is the largest possible pixel minus the smallest: 1 for pixels in 0..=1, 255 for bytes.
///
/// # Errors
/// [`Error::SizeMismatch`], [`Error::TooFew`], [`Error::NotFinite`], [`Error::OutOfRange`] for the data range.
pub fn peak_signal_to_noise(picture: &[f64], reference: &[f64], data_range: f64) -> Result<f64, Error> {
    check_pair(picture, reference, data_range)?;
    let squared: f64 = picture.iter().zip(reference).map(|(picture, reference)| (picture - reference).powi(2)).sum();
    Ok(10.0 * (data_range.powi(2) * picture.len() as f64 / squared).log10())
}

/// Half the width of the window of [`structural_similarity`], 11 pixels in all.
const WINDOW_RADIUS: usize = 5;

/// Standard deviation of that window, in pixels.
const WINDOW_SIGMA: f64 = 1.5;

/// Structural similarity of two grey pictures (Wang et al. 2004, equation 13 averaged over the picture): windows of
/// 11 x 11 pixels weighted by a normal function of deviation 1.5, only where they fit entirely; constants 0.01 and
/// 0.03. In -1..=1, 1 for equal pictures.
///
/// # Shapes
/// - `picture`, `reference`: `height * width` pixels, row after row, both sides at least 11
///
/// # Errors
/// [`Error::SizeMismatch`], [`Error::TooFew`], [`Error::NotFinite`], [`Error::OutOfRange`] for the data range.
pub fn structural_similarity(
    picture: &[f64],
    reference: &[f64],
    [height, width]: [usize; 2],
    data_range: f64,
) -> Result<f64, Error> {
    check_size("number of pixels", picture.len(), height.saturating_mul(width))?;
    check_enough("height of the pictures", height, 2 * WINDOW_RADIUS + 1)?;
    check_enough("width of the pictures", width, 2 * WINDOW_RADIUS + 1)?;
    check_pair(picture, reference, data_range)?;
    let average = |values: &[f64]| smooth(values, width);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
    let (mean_x, mean_y) = (average(picture), average(reference));
    let square_x = average(&product(picture, picture));
    let square_y = average(&product(reference, reference));
    let mixed = average(&product(picture, reference));
    let (c1, c2) = ((0.01 * data_range).powi(2), (0.03 * data_range).powi(2));
    let similarity = |index: usize| {
        let (x, y) = (mean_x[index], mean_y[index]);
        let (variance_x, variance_y) = (square_x[index] - x * x, square_y[index] - y * y);
        let covariance = mixed[index] - x * y;
        (2.0 * x * y + c1) * (2.0 * covariance + c2) / ((x * x + y * y + c1) * (variance_x + variance_y + c2))
    };
    Ok((0..mean_x.len()).map(similarity).sum::<f64>() / mean_x.len() as f64)
}

/// Weighted mean over each window that fits: `[height - 10, width - 10]`.
fn smooth(values: &[f64], width: usize) -> Vec<f64> {
    let weight = |offset: usize| {
        let distance = offset as f64 - WINDOW_RADIUS as f64;
        (-0.5 * (distance / WINDOW_SIGMA).powi(2)).exp()
    };
    let total: f64 = (0..=2 * WINDOW_RADIUS).map(weight).sum();
    let window: Vec<f64> = (0..=2 * WINDOW_RADIUS).map(|offset| weight(offset) / total).collect();
    let across: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(window.len()).map(|part| crate::kernel::dot(part, &window)))
        .collect(); // [height, width - 10]
    let narrow = width - 2 * WINDOW_RADIUS;
    let num_rows = across.len() / narrow - 2 * WINDOW_RADIUS;
    (0..num_rows * narrow)
        .map(|index| window.iter().enumerate().map(|(offset, weight)| weight * across[index + offset * narrow]).sum())
        .collect()
}
