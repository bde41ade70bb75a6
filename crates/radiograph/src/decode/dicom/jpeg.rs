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
    let limit = Limit::new(layout, (!is_lossless).then_some(stream.frame.bits));
    let values = match stream.decode(colours, reduction).map_err(refuse)? {
        Planes::Bytes(planes) => values(&planes, layout, |&sample| limit.apply(sample.into())),
        Planes::Words(planes) => values(&planes, layout, |&sample| limit.apply(sample)),
    };
    Ok((values, reduction))
}

/// Planes of samples as stored values. Brightness of a colour image stands for all three colours.
fn values<T>(planes: &[Vec<T>], layout: &Layout, value: impl Fn(&T) -> u16) -> Values {
    match planes {
        [red, green, blue] => {
            let colours = red.iter().zip(green).zip(blue);
            Values::Rgb(colours.map(|((red, green), blue)| [value(red), value(green), value(blue)]).collect())
        }
        _ if layout.channels == 3 => Values::Rgb(planes.iter().flatten().map(|sample| [value(sample); 3]).collect()),
        _ => Values::Grey(planes.iter().flatten().map(value).collect()),
    }
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
