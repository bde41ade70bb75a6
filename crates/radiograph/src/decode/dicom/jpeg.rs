//! JPEG streams of DICOM images. What kind a stream is, its own header says, not the transfer syntax.

use super::super::jpeg::{Colours, Planes, Process, Refusal, Stream};
use super::pixels::{Layout, Values, check_dimensions};
use super::{corrupt, unsupported};
use crate::DecodeError;

/// Decodes a frame, reduced by 2, 4 or 8 if so asked and possible; also returns by how much it was.
pub(super) fn decode(frame: &[u8], layout: &Layout, reduction: usize) -> Result<(Values, usize), DecodeError> {
    let refuse = |refusal| match refusal {
        Refusal::Unsupported(reason) => unsupported(format!("of its pixels, {reason}")),
        Refusal::Corrupt(detail) => corrupt(detail),
    };
    let mut stream = Stream::read(frame).map_err(refuse)?;
    check_dimensions(layout, stream.frame.width, stream.frame.height)?;
    let label = match layout.photometric.as_str() {
        "RGB" => Some(Colours::Rgb),
        photometric if photometric.starts_with("YBR") => Some(Colours::YCbCr),
        _ => None,
    };
    let colours = stream.colours(label).map_err(refuse)?;
    if stream.num_components() != layout.channels {
        return Err(corrupt(format_args!(
            "a JPEG of {} component(s) for {} sample(s) per pixel",
            stream.num_components(),
            layout.channels
        )));
    }
    let reduction = stream.reduction(reduction);
    let is_lossless = stream.frame.process == Process::Lossless;
    let bits = stream.frame.bits;
    let limit = Limit::new(layout, (!is_lossless).then_some(bits));
    // Colours that lossy data put beyond the range of red, green and blue are clamped there, which changes brightness.
    let num_planes = if is_lossless && colours == Colours::YCbCr { 1 } else { layout.channels };
    let to_rgb = (num_planes == 3 && colours == Colours::YCbCr).then_some(bits);
    let values = match stream.decode(num_planes, reduction).map_err(refuse)? {
        Planes::Bytes(planes) => values(&planes, layout, to_rgb, |sample| limit.apply(sample)),
        Planes::Words(planes) => values(&planes, layout, to_rgb, |sample| limit.apply(sample)),
    };
    Ok((values, reduction))
}

/// Planes of samples as stored values, of YCbCr with a number of bits where `to_rgb` says so. Brightness alone stands for
/// all three colours.
fn values<T: Copy + Into<u16>>(
    planes: &[Vec<T>],
    layout: &Layout,
    to_rgb: Option<u32>,
    value: impl Fn(u16) -> u16,
) -> Values {
    match planes {
        [first, second, third] => {
            let pixels = first.iter().zip(second).zip(third).map(|((&a, &b), &c)| [a.into(), b.into(), c.into()]);
            Values::Rgb(match to_rgb {
                Some(bits) => pixels.map(|pixel| rgb(pixel, bits).map(&value)).collect(),
                None => pixels.map(|pixel| pixel.map(&value)).collect(),
            })
        }
        _ if layout.channels == 3 => {
            Values::Rgb(planes.iter().flatten().map(|&sample| [value(sample.into()); 3]).collect())
        }
        _ => Values::Grey(planes.iter().flatten().map(|&sample| value(sample.into())).collect()),
    }
}

/// Red, green and blue of brightness and differences of colour (ITU-T T.871, clause 7), in sixteen fractional bits.
#[inline(always)]
fn rgb([y, cb, cr]: [u16; 3], bits: u32) -> [u16; 3] {
    let max = (1 << bits) - 1;
    let [y, cb, cr] = [i32::from(y), i32::from(cb) - (1 << (bits - 1)), i32::from(cr) - (1 << (bits - 1))];
    let colour = |sum: i32| (y + ((sum + (1 << 15)) >> 16)).clamp(0, max) as u16;
    [colour(91_881 * cr), colour(-22_554 * cb - 46_802 * cr), colour(116_130 * cb)]
}

/// How samples are brought into the bits that are stored.
///
/// Lossless samples are what was stored, and bits above are an overlay's: they are cut off. A lossy sample above the
/// greatest value is that value with an error, and cutting bits off would make black of white. Of signed images whose
/// stream has more bits than are stored, samples are in two's complement of the stream's bits; otherwise of the stored
/// bits, whose sign is looked at later.
#[derive(Clone, Copy)]
enum Limit {
    /// The lowest bits.
    Mask(u16),
    /// `0..=max`.
    Unsigned(u16),
    /// Two's complement of the bits above this shift, and `-half..half`.
    Signed(u32, i16),
}

impl Limit {
    /// For lossy streams of a number of bits, and for lossless ones.
    fn new(layout: &Layout, lossy_bits: Option<u32>) -> Self {
        let max = layout.max_value() as u16;
        match lossy_bits {
            Some(bits) if bits > layout.bits_stored && layout.signed => {
                Self::Signed(16 - bits, 1 << (layout.bits_stored - 1))
            }
            Some(_) => Self::Unsigned(max),
            None => Self::Mask(max),
        }
    }

    #[inline(always)]
    fn apply(self, sample: u16) -> u16 {
        match self {
            Self::Mask(mask) => sample & mask,
            Self::Unsigned(max) => sample.min(max),
            Self::Signed(shift, half) => {
                let value = (sample << shift) as i16 >> shift;
                // The stored bits are all ones below twice the half.
                value.clamp(-half, half - 1) as u16 & (2 * half as u16 - 1)
            }
        }
    }
}
