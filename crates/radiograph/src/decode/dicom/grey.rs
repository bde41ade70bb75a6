//! From stored values to brightness: modality rescale or table, window or table of interest, inversion of MONOCHROME1.
//! The formulas are those of DICOM PS3.3, C.11.1 and C.11.2.

use dicom_dictionary_std::tags;

use super::super::{luma, percentile_range, stretch};
use super::dataset::{Dataset, LookupTable};
use super::pixels::Layout;
use crate::{DecodeError, DecodeOptions};

/// Brightness in `0..=1` of every value that can be stored; `stored` are those of the picture.
pub(super) fn brightness(
    dataset: &Dataset,
    layout: &Layout,
    stored: &[u16],
    options: &DecodeOptions,
) -> Result<Vec<f32>, DecodeError> {
    // The chain acts on single values: it is worked out once for each possible value, not for each pixel.
    let codes = 1_usize << layout.bits_stored;
    let signed = |code: usize| {
        let half = codes as i32 / 2;
        let value = code as i32;
        if layout.signed && value >= half { value - codes as i32 } else { value }
    };
    let modality_table = dataset.lookup_table(tags::MODALITY_LUT_SEQUENCE)?;
    // A table's first input is signed where its inputs are; a modality table puts out unsigned values.
    let inputs_signed = layout.signed && modality_table.is_none();
    let slope = dataset.decimals(tags::RESCALE_SLOPE).first().copied().filter(|&slope| slope != 0.0).unwrap_or(1.0);
    let intercept = dataset.decimals(tags::RESCALE_INTERCEPT).first().copied().unwrap_or(0.0);
    let modality: Vec<f64> = (0..codes)
        .map(|code| match &modality_table {
            Some(table) => f64::from(table.lookup(f64::from(signed(code)), layout.signed)),
            None => f64::from(signed(code)) * slope + intercept,
        })
        .collect();

    let padding = padding_codes(dataset, layout);
    let is_padding = |code: u16| padding.is_some_and(|[low, high]| (low..=high).contains(&signed(usize::from(code))));
    let mut brightness: Vec<f32> = if let Some(table) = dataset.lookup_table(tags::VOILUT_SEQUENCE)? {
        let max = f32::from(u16::MAX >> (16 - table.descriptor[2]));
        modality.iter().map(|&value| (f32::from(table.lookup(value, inputs_signed)) / max).min(1.0)).collect()
    } else if let Some(window) = Window::read(dataset) {
        modality.iter().map(|&value| window.apply(value) as f32).collect()
    } else {
        let values = stored.iter().filter(|&&code| !is_padding(code)).map(|&code| modality[usize::from(code)] as f32);
        let mut brightness: Vec<f32> = modality.iter().map(|&value| value as f32).collect();
        let range = percentile_range(values, options.percentiles).unwrap_or([0.0, 0.0]);
        stretch(&mut brightness, range);
        brightness
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

/// Brightness in `0..=1` of every number of a colour (PS3.3, C.7.6.3.1.5). Windows do not apply.
pub(super) fn through_palette(dataset: &Dataset, layout: &Layout) -> Result<Vec<f32>, DecodeError> {
    let palette = dataset.palette()?;
    let max = f64::from(palette[0].descriptor[2].min(16)).exp2() - 1.0;
    let codes = 1_i32 << layout.bits_stored;
    Ok((0..codes)
        .map(|code| {
            let input = if layout.signed && code >= codes / 2 { code - codes } else { code };
            luma(palette.each_ref().map(|table| u32::from(table.lookup(f64::from(input), layout.signed))), max).min(1.0)
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

impl LookupTable {
    /// The entry for an input; inputs before the first and after the last take those entries.
    fn lookup(&self, input: f64, signed: bool) -> u16 {
        let first = if signed { f64::from(self.descriptor[1] as i16) } else { f64::from(self.descriptor[1]) };
        let index = (input - first).max(0.0) as usize;
        self.entries[index.min(self.entries.len() - 1)]
    }
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
    /// The first window of the file; `None` where there is none or it makes no sense (width 0, text).
    fn read(dataset: &Dataset) -> Option<Self> {
        let &center = dataset.decimals(tags::WINDOW_CENTER).first()?;
        let &width = dataset.decimals(tags::WINDOW_WIDTH).first()?;
        let function = match dataset.text(tags::VOILUT_FUNCTION).as_deref() {
            Some("SIGMOID") => Function::Sigmoid,
            Some("LINEAR_EXACT") => Function::LinearExact,
            _ => Function::Linear,
        };
        let narrowest = if function == Function::Linear { 1.0 } else { f64::MIN_POSITIVE };
        (width >= narrowest).then_some(Self { center, width, function })
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

    #[test]
    fn tables_hold_their_ends() {
        let table = LookupTable { descriptor: [3, 0xfffe, 8], entries: vec![10, 20, 30] };
        assert_eq!([-9.0, -2.0, -1.0, 0.0, 7.0].map(|v| table.lookup(v, true)), [10, 10, 20, 30, 30]);
        assert_eq!(table.lookup(65_535.0, false), 20);
    }
}
