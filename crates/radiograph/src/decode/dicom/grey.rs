//! From stored values to brightness: modality rescale or table, window or table of interest, inversion of MONOCHROME1.
//! The formulas are those of DICOM PS3.3, C.11.1 and C.11.2.

use dicom_dictionary_std::tags;

use super::super::{luma, percentile_range, stretch};
use super::dataset::Dataset;
use super::pixels::Layout;
use super::tables;
use crate::perceptual::FLAT;
use crate::{DecodeError, DecodeOptions, Remark};

/// Brightness in `0..=1` of every value that can be stored; `stored` are those of the picture.
///
/// What decides is, in this order: a table of interest, a window, for values of 8 bits or fewer their own range (as in a
/// PNG, unless [`DecodeOptions::stretch_plain_images`]), percentiles.
pub(super) fn brightness(
    dataset: &Dataset,
    layout: &Layout,
    stored: &[u16],
    options: &DecodeOptions,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<f32>, DecodeError> {
    // The chain acts on single values: it is worked out once for each possible value, not for each pixel.
    let codes = 1_usize << layout.bits_stored;
    let signed = |code: usize| {
        let half = codes as i32 / 2;
        let value = code as i32;
        if layout.signed && value >= half { value - codes as i32 } else { value }
    };
    let modality_table = tables::modality(dataset, remarks)?;
    let slope = dataset.decimals(tags::RESCALE_SLOPE).first().copied().filter(|&slope| slope != 0.0).unwrap_or(1.0);
    let intercept = dataset.decimals(tags::RESCALE_INTERCEPT).first().copied().unwrap_or(0.0);
    let modality: Vec<f64> = (0..codes)
        .map(|code| match &modality_table {
            // The first input of a modality table is signed where stored values are.
            Some(table) => f64::from(table.lookup(f64::from(signed(code)), layout.signed)),
            None => f64::from(signed(code)) * slope + intercept,
        })
        .collect();
    let extremes = modality
        .iter()
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], &value| [value.min(least), value.max(most)]);

    let padding = padding_codes(dataset, layout);
    let is_padding = |code: u16| padding.is_some_and(|[low, high]| (low..=high).contains(&signed(usize::from(code))));
    let seen = || stored.iter().filter(|&&code| !is_padding(code)).map(|&code| usize::from(code));
    let by_file = if let Some(table) = tables::of_interest(dataset, remarks) {
        let is_signed = tables::is_signed(&table, extremes);
        let white = f32::from(tables::white(std::slice::from_ref(&table), remarks));
        Some(modality.iter().map(|&value| f32::from(table.lookup(value, is_signed)) / white).collect())
    } else {
        Window::read(dataset, slope).map(|window| modality.iter().map(|&value| window.apply(value) as f32).collect())
    };
    // What is left nearly blank by the file is stretched as well, where that is asked for.
    let by_file = by_file.filter(|brightness: &Vec<f32>| !options.stretch_plain_images || !is_flat(brightness, seen()));
    let is_plain = layout.bits_stored <= 8 && modality_table.is_none() && !options.stretch_plain_images;
    let mut brightness = match by_file {
        Some(brightness) => brightness,
        None if is_plain && (extremes[1] - extremes[0]).is_finite() => {
            let [least, most] = extremes;
            modality.iter().map(|value| ((value - least) / (most - least)) as f32).collect()
        }
        None => {
            let values = seen().map(|code| modality[code] as f32);
            let range = percentile_range(values, options.percentiles).unwrap_or([0.0, 0.0]);
            let mut brightness: Vec<f32> = modality.iter().map(|&value| value as f32).collect();
            stretch(&mut brightness, range);
            brightness
        }
    };
    if layout.photometric == "MONOCHROME1" {
        brightness.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    // Padding is no part of the picture, whatever the window makes of it.
    if padding.is_some() {
        for (code, value) in brightness.iter_mut().enumerate() {
            if is_padding(code as u16) {
                *value = 0.0;
            }
        }
    }
    Ok(brightness)
}

/// Whether the values that are seen are all of one brightness, as far as an eye can tell.
fn is_flat(brightness: &[f32], seen: impl Iterator<Item = usize>) -> bool {
    let (low, high) = seen.fold((1.0_f32, 0.0_f32), |(low, high), code| {
        let value = brightness[code];
        (low.min(value), high.max(value))
    });
    high - low < FLAT
}

/// Brightness in `0..=1` of every number of a colour (PS3.3, C.7.6.3.1.5). Windows do not apply.
pub(super) fn through_palette(
    dataset: &Dataset,
    layout: &Layout,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<f32>, DecodeError> {
    let palette = dataset.palette()?;
    let max = f64::from(tables::white(&palette, remarks));
    let codes = 1_i32 << layout.bits_stored;
    Ok((0..codes)
        .map(|code| {
            let input = if layout.signed && code >= codes / 2 { code - codes } else { code };
            luma(palette.each_ref().map(|table| u32::from(table.lookup(f64::from(input), layout.signed))), max)
        })
        .collect())
}

/// The stored values that mean "no picture here".
fn padding_codes(dataset: &Dataset, layout: &Layout) -> Option<[i32; 2]> {
    let read = |tag| {
        let word = dataset.integer(tag)?;
        Some(if layout.signed { i32::from(word as u16 as i16) } else { word as i32 })
    };
    let value = read(tags::PIXEL_PADDING_VALUE)?;
    let limit = read(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    Some([value.min(limit), value.max(limit)])
}

/// A window of interest, from black to white.
struct Window {
    center: f64,
    width: f64,
    function: Function,
}

/// `VOILUTFunction`.
#[derive(Clone, Copy, PartialEq)]
enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

impl Window {
    /// The first window of the file; `None` where there is none or it makes no sense (width 0, text). LINEAR has widths of
    /// 1 and more, which is one step of whole numbers; a width below 1 makes sense where values have fractions, and is
    /// that of LINEAR_EXACT.
    fn read(dataset: &Dataset, slope: f64) -> Option<Self> {
        let &center = dataset.decimals(tags::WINDOW_CENTER).first()?;
        let &width = dataset.decimals(tags::WINDOW_WIDTH).first()?;
        let function = match dataset.text(tags::VOILUT_FUNCTION).as_deref() {
            Some("SIGMOID") => Function::Sigmoid,
            Some("LINEAR_EXACT") => Function::LinearExact,
            _ => Function::Linear,
        };
        let function = match function {
            Function::Linear if width < 1.0 && slope.fract() == 0.0 => return None,
            Function::Linear if width < 1.0 => Function::LinearExact,
            other => other,
        };
        (width > 0.0).then_some(Self { center, width, function })
    }

    /// PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT) and C.11.2.1.3.1 (SIGMOID), with output 0 to 1.
    fn apply(&self, value: f64) -> f64 {
        let Self { center, width, function } = *self;
        match function {
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
            Function::LinearExact => ((value - center) / width + 0.5).clamp(0.0, 1.0),
            // At width 1 the window is a step.
            Function::Linear if width <= 1.0 => f64::from(value > center - 0.5),
            Function::Linear => ((value - (center - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_standard() {
        let window = |width, function| Window { center: 100.0, width, function };
        let linear = window(51.0, Function::Linear);
        // The ramp runs over center - 0.5 -+ (width - 1) / 2.
        assert_eq!([74.5, 99.5, 124.5, 10.0, 900.0].map(|v| linear.apply(v)), [0.0, 0.5, 1.0, 0.0, 1.0]);
        let exact = window(50.0, Function::LinearExact);
        assert_eq!([75.0, 100.0, 125.0].map(|v| exact.apply(v)), [0.0, 0.5, 1.0]);
        let step = window(1.0, Function::Linear);
        assert_eq!([99.0, 99.5, 99.6, 100.0].map(|v| step.apply(v)), [0.0, 0.0, 1.0, 1.0]);
        let sigmoid = window(40.0, Function::Sigmoid);
        assert_eq!(sigmoid.apply(100.0), 0.5);
        assert!((sigmoid.apply(110.0) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
    }
}
