//! JPEG-LS of one or three components of 2 to 16 bits, lossless and near-lossless, after ITU-T T.87 (06/98).
//!
//! Written here because CharLS needs a C++ compiler, and the decoders in Rust refuse colour, or even plain streams of
//! CharLS (`findings/jpeg-ls-decoders-in-rust.sh`). The names of the standard (A, B, C, N, Nn, NEAR, RANGE, ...) are kept
//! where its code segments are followed.

mod bits;
mod scan;

use super::pixels::{Layout, Stream, Values, check_dimensions, is_luma_first};
use super::{contradictory, corrupt, unsupported};
use crate::DecodeError;
use scan::{Parameters, Scan};

/// Decodes a frame, lossless or near-lossless.
pub(super) fn decode(frame: &[u8], layout: &Layout) -> Result<Values, DecodeError> {
    let image = read(frame, layout)?;
    let fit = layout.fit(Stream { bits: image.bits, signed: false, lossy: image.lossy });
    let fit = |sample: &u16| fit(i32::from(*sample));
    match &image.planes[..] {
        [grey] => Ok(Values::Grey(grey.iter().map(fit).collect())),
        [luma, _, _] if is_luma_first(layout) => Ok(Values::Rgb(luma.iter().map(|sample| [fit(sample); 3]).collect())),
        [red, green, blue] => {
            let colors = red.iter().zip(green).zip(blue);
            Ok(Values::Rgb(colors.map(|((r, g), b)| [fit(r), fit(g), fit(b)]).collect()))
        }
        other => Err(unsupported(format!("JPEG-LS with {} components; one or three are read", other.len()))),
    }
}

/// A decoded image.
struct Image {
    bits: u32,
    /// Whether any component is near-lossless.
    lossy: bool,
    /// Samples of each component.
    planes: Vec<Vec<u16>>,
}

/// A frame header (T.87 C.2.2).
struct Frame {
    bits: u32,
    /// Identifiers of the components, in their order.
    components: Vec<u8>,
}

impl Frame {
    fn read(segment: &[u8], layout: &Layout) -> Result<Self, DecodeError> {
        let &[bits, h1, h0, w1, w0, count, ref components @ ..] = segment else {
            return Err(corrupt("the JPEG-LS header is cut short"));
        };
        if !(2..=16).contains(&bits) {
            return Err(corrupt(format_args!("JPEG-LS samples of {bits} bits")));
        }
        let [height, width] = [[h1, h0], [w1, w0]].map(|pair| usize::from(u16::from_be_bytes(pair)));
        check_dimensions(layout, width, height)?;
        let (components, _) = components.as_chunks::<3>();
        let count = usize::from(count);
        if count != layout.channels {
            let expected = layout.channels;
            return Err(contradictory(format_args!("{count} JPEG-LS components for {expected} sample(s) per pixel")));
        }
        if components.len() != count {
            return Err(corrupt("the JPEG-LS header is cut short"));
        }
        if components.iter().any(|component| component[1] != components[0][1]) {
            return Err(unsupported("JPEG-LS components of different sizes; compress it again without subsampling"));
        }
        Ok(Self { bits: bits.into(), components: components.iter().map(|component| component[0]).collect() })
    }
}

/// Decodes an image whose size is that of the layout.
fn read(bytes: &[u8], layout: &Layout) -> Result<Image, DecodeError> {
    let cut = || corrupt("the JPEG-LS header is cut short");
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| corrupt("no JPEG-LS image"))?;
    let mut frame: Option<Frame> = None;
    let mut preset = [0; 5];
    let mut transform = ColorTransform::None;
    let mut lossy = false;
    let mut planes: Vec<Vec<u16>> = vec![Vec::new(); layout.channels];
    while planes.iter().any(Vec::is_empty) {
        let &[0xff, marker, ref after @ ..] = rest else { return Err(cut()) };
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk().ok_or_else(cut)?));
        let segment = after.get(2..length).ok_or_else(cut)?;
        rest = &after[length..];
        match (marker, segment) {
            // SOF55.
            (0xf7, segment) => frame = Some(Frame::read(segment, layout)?),
            // LSE 1: MAXVAL, T1, T2, T3, RESET.
            (0xf8, &[1, ref values @ ..]) if values.len() >= 10 => {
                for (value, pair) in preset.iter_mut().zip(values.as_chunks().0) {
                    *value = u16::from_be_bytes(*pair).into();
                }
            }
            (0xf8, &[kind, ..]) => {
                return Err(unsupported(format!("JPEG-LS with parameters of kind {kind}; decompress it first")));
            }
            (0xdd, interval) if interval.iter().any(|&byte| byte != 0) => {
                return Err(unsupported("JPEG-LS with restart intervals; decompress it first"));
            }
            // APP8, with the transform that Hewlett-Packard's first codec and CharLS apply to colours.
            (0xe8, &[b'm', b'r', b'f', b'x', kind, ..]) => {
                transform = ColorTransform::read(kind)?;
            }
            // SOS: components with their mapping tables, NEAR, interleave mode, point transform.
            (0xda, &[count, ref segment @ ..]) => {
                let frame = frame.as_ref().ok_or_else(|| corrupt("a JPEG-LS scan before its frame"))?;
                let (scanned, &[near, interleave, point]) =
                    segment.split_at_checked(2 * usize::from(count)).ok_or_else(cut)?
                else {
                    return Err(cut());
                };
                let (scanned, _) = scanned.as_chunks::<2>();
                if point != 0 || scanned.iter().any(|&[_, table]| table != 0) {
                    return Err(unsupported("JPEG-LS with mapping tables or point transforms; decompress it first"));
                }
                let parameters = Parameters::new(frame.bits, near.into(), preset)?;
                let mut scan = Scan::new(&parameters, rest);
                lossy |= near > 0;
                match (scanned, interleave) {
                    (&[[component, _]], _) => {
                        let index = frame.components.iter().position(|&known| known == component);
                        let index = index.ok_or_else(|| {
                            corrupt(format_args!("a JPEG-LS scan of component {component}, which its frame lacks"))
                        })?;
                        planes[index] = scan.decode(layout.height, layout.width)?;
                    }
                    (_, 1 | 2) if scanned.len() == planes.len() => {
                        let by_sample = interleave == 2;
                        planes = scan.decode_together(layout.height, layout.width, planes.len(), by_sample)?;
                    }
                    _ => {
                        return Err(unsupported(format!(
                            "a JPEG-LS scan of {count} of {} components in order {interleave}; decompress it first",
                            planes.len()
                        )));
                    }
                }
                rest = scan.rest();
            }
            (0xf8 | 0xda, _) => return Err(cut()),
            _ => {}
        }
    }
    let bits = frame.map_or(16, |frame| frame.bits);
    transform.undo(&mut planes, bits)?;
    Ok(Image { bits, lossy, planes })
}

/// A reversible transform of colours, with samples wrapped around at the end of their range.
#[derive(Clone, Copy, PartialEq)]
enum ColorTransform {
    None,
    /// Differences of red and blue from green.
    Hp1,
    /// The difference of red from green, and of blue from the mean of both.
    Hp2,
    /// Differences of blue and red from green, and green with a quarter of both.
    Hp3,
}

impl ColorTransform {
    fn read(kind: u8) -> Result<Self, DecodeError> {
        match kind {
            0 => Ok(Self::None),
            1 => Ok(Self::Hp1),
            2 => Ok(Self::Hp2),
            3 => Ok(Self::Hp3),
            _ => Err(unsupported(format!("JPEG-LS with colour transform {kind}; decompress it first"))),
        }
    }

    fn undo(self, planes: &mut [Vec<u16>], bits: u32) -> Result<(), DecodeError> {
        let [first, second, third] = planes else { return Ok(()) };
        if self == Self::None {
            return Ok(());
        }
        if bits != 8 && bits != 16 {
            return Err(unsupported(format!(
                "JPEG-LS with a colour transform of {bits} bits; 8 and 16 are read, decompress it first"
            )));
        }
        let range = 1_i32 << bits;
        let (half, quarter) = (range / 2, range / 4);
        let wrap = |value: i32| value & (range - 1);
        for ((first, second), third) in first.iter_mut().zip(second).zip(third) {
            let [v1, v2, v3] = [*first, *second, *third].map(i32::from);
            let [red, green, blue] = match self {
                Self::None => [v1, v2, v3],
                Self::Hp1 => [wrap(v1 + v2 - half), v2, wrap(v3 + v2 - half)],
                Self::Hp2 => {
                    let red = wrap(v1 + v2 - half);
                    [red, v2, wrap(v3 + (red + v2) / 2 - half)]
                }
                Self::Hp3 => {
                    let green = wrap(v1 - (v3 + v2) / 4 + quarter);
                    [wrap(v3 + green - half), green, wrap(v2 + green - half)]
                }
            };
            [*first, *second, *third] = [red, green, blue].map(|value| value as u16);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of T.87 annex H.3: a 4 x 4 image of 8 bits, with its coded bytes.
    #[test]
    fn the_example_of_the_standard_decodes() {
        let bytes = [
            0xff, 0xd8, 0xff, 0xf7, 0x00, 0x0b, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00, 0xff, 0xda, 0x00,
            0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x6c, 0x80, 0x20, 0x8e, 0x01, 0xc0, 0x00, 0x00,
            0x57, 0x40, 0x00, 0x00, 0x6e, 0xe6, 0x00, 0x00, 0x01, 0xbc, 0x18, 0x00, 0x00, 0x05, 0xd8, 0x00, 0x00, 0x91,
            0x60, 0xff, 0xd9,
        ];
        let layout = Layout { height: 4, width: 4, ..Layout::grey(8) };
        let image = read(&bytes, &layout).unwrap();
        assert_eq!(image.planes, [[0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145]]);
        for length in 0..bytes.len() - 4 {
            assert!(read(&bytes[..length], &layout).is_err(), "cut to {length} bytes");
        }
    }
}
