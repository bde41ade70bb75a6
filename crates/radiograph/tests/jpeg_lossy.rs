//! Lossy JPEG of 8 and 12 bits within DICOM: progressive streams against dcmtk, and samples that leave the stored bits.

mod support;

use radiograph::{DecodeOptions, Fit, decode_bytes};
use support::{Wrapped, golden, stream};

/// What `decode_bytes` makes of a frame under the window of all values, as numbers from 0 to `2^bits_stored - 1`.
fn stored(frame: &[u8], size: [usize; 2], bits_stored: u16, is_signed: bool, reduction: usize) -> Vec<u16> {
    let [height, width] = size;
    let full = 1_i32 << bits_stored;
    let window = [if is_signed { 0 } else { full / 2 }, full];
    let transfer_syntax = "1.2.840.10008.1.2.4.51";
    let photometric = "MONOCHROME2";
    let file = Wrapped { transfer_syntax, photometric, height, width, bits_stored, is_signed, window, frame };
    let needed = height.min(width) / (2 * reduction);
    let options = DecodeOptions { reduce_for: (reduction > 1).then_some((needed, Fit::Stretch)), ..Default::default() };
    let picture = decode_bytes(&file.to_bytes(), &options).unwrap();
    assert_eq!([picture.height, picture.width], size.map(|length| length.div_ceil(reduction)));
    picture.pixels.iter().map(|&pixel| (f64::from(pixel) * f64::from(full - 1)).round() as u16).collect()
}

/// The transform of libjpeg, to the last bit. `progressive_*` and `spectral_*` are dcmtk's.
#[test]
fn progressive_streams_are_those_of_dcmtk() {
    let mut num = 0;
    for image in golden() {
        for name in image.names.iter().filter(|name| name.starts_with("progressive_") || name.starts_with("spectral_"))
        {
            let bits = if name.ends_with("u12") { 12 } else { 8 };
            let size = [image.height, image.width];
            assert!(stored(&stream(name), size, bits, false, 1) == image.samples, "{name}");
            // As a file of its own.
            let plain = decode_bytes(&stream(name), &DecodeOptions::default()).unwrap();
            let max = f32::from((1_u16 << bits) - 1);
            let found: Vec<u16> = plain.pixels.iter().map(|pixel| (pixel * max).round() as u16).collect();
            assert!(plain.stored_bits == bits as u8 && found == image.samples, "{name}");
            num += 1;
        }
    }
    assert_eq!(num, 4);
}

/// Every process, reduced: nearly the mean of the pixels that become one.
#[test]
fn reduced_decoding_is_near_the_mean() {
    for image in golden() {
        let [height, width] = [image.height, image.width];
        for name in image.names.iter().filter(|name| name.starts_with("progressive_") || name.starts_with("spectral_"))
        {
            let bits = if name.ends_with("u12") { 12 } else { 8 };
            for reduction in [2, 4, 8] {
                let found = stored(&stream(name), [height, width], bits, false, reduction);
                let columns = width.div_ceil(reduction);
                let (mut sum, mut num) = (0.0, 0);
                for (at, &value) in found.iter().enumerate() {
                    let (top, left) = (at / columns * reduction, at % columns * reduction);
                    if top + reduction > height || left + reduction > width {
                        continue;
                    }
                    let of = |i: usize| f64::from(image.samples[(top + i / reduction) * width + left + i % reduction]);
                    let mean = (0..reduction * reduction).map(of).sum::<f64>() / (reduction * reduction) as f64;
                    sum += (f64::from(value) - mean).abs();
                    num += 1;
                }
                let error = sum / f64::from(num) / f64::from(1 << bits);
                assert!(error < 0.03, "{name} by {reduction}: {error}");
            }
        }
    }
}

/// Blocks of one value each, which is all that lossy data need for their range: baseline, extended or progressive of 8 or
/// 12 bits. Each of `values` is a column of two blocks.
fn flat_blocks(marker: u8, bits: u8, values: &[i32]) -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        [&[0xff, marker][..], &((content.len() + 2) as u16).to_be_bytes(), content].concat()
    };
    let mut bytes = vec![0xff, 0xd8];
    bytes.extend(segment(0xdb, &[vec![0], vec![1; 64]].concat()));
    let width = (8 * values.len() as u16).to_be_bytes();
    bytes.extend(segment(marker, &[bits, 0, 16, width[0], width[1], 1, 1, 0x11, 0]));
    // Sixteen numbers of bits with codes of 5 bits; the end of a block is the code 0.
    let mut sizes = vec![0; 17];
    sizes[5] = 16;
    sizes.extend(0..16);
    bytes.extend(segment(0xc4, &sizes));
    let mut end = vec![0; 18];
    (end[0], end[1]) = (0x10, 1);
    bytes.extend(segment(0xc4, &end));
    let is_progressive = marker == 0xc2;
    bytes.extend(segment(0xda, &[1, 1, 0, 0, if is_progressive { 0 } else { 63 }, 0]));
    let (mut text, mut before) = (String::new(), 0);
    for value in values.iter().chain(values) {
        // A constant coefficient is eight times the value, around the middle.
        let constant = 8 * (value - (1 << (bits - 1)));
        let difference: i32 = constant - before;
        before = constant;
        let size = 32 - difference.unsigned_abs().leading_zeros();
        text += &format!("{size:05b}");
        if size > 0 {
            let number = if difference < 0 { difference + (1 << size) - 1 } else { difference };
            text += &format!("{number:0width$b}", width = size as usize);
        }
        if !is_progressive {
            text += "0";
        }
    }
    while text.len() % 8 != 0 {
        text += "1";
    }
    for byte in text.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, &bit| byte << 1 | (bit - b'0'));
        bytes.push(byte);
        if byte == 0xff {
            bytes.push(0);
        }
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// Errors of lossy data go beyond what is stored: white stays white. Signed samples are in two's complement of the bits of
/// the stream where those are more than the stored ones.
#[test]
fn samples_beyond_the_stored_bits_are_clamped() {
    let mut num = 0;
    for marker in [0xc0, 0xc1, 0xc2] {
        for bits in [8, 12] {
            for bits_stored in [bits, bits - 1, bits - 2, bits - 4] {
                for is_signed in [false, true] {
                    for reduction in [1, 2, 4, 8] {
                        let (range, max) = (1_i32 << bits, (1_i32 << bits_stored) - 1);
                        let half = (max + 1) / 2;
                        let values =
                            [0, 1, half - 1, half, max, (max + 7).min(range - 1), range / 2, range - 2, range - 1];
                        let frame = flat_blocks(marker, bits, &values);
                        let size = [16, 8 * values.len()];
                        let found = stored(&frame, size, u16::from(bits_stored), is_signed, reduction);
                        let columns = size[1] / reduction;
                        for (number, &value) in values.iter().enumerate() {
                            // Brightness begins at the lowest signed value.
                            let expected = if is_signed {
                                let signed = if value >= range / 2 { value - range } else { value };
                                signed.clamp(-half, half - 1) + half
                            } else {
                                value.min(max)
                            };
                            for row in 0..16 / reduction {
                                let at = row * columns + number * 8 / reduction;
                                let name = format!("{marker:x} {bits} {bits_stored} {is_signed} {reduction}: {value}");
                                assert_eq!(i32::from(found[at]), expected, "{name}");
                            }
                        }
                        num += 1;
                    }
                }
            }
        }
    }
    assert_eq!(num, 3 * 2 * 4 * 2 * 4);
}

/// The standard has an order of scans (T.81, G.1.1.1): others are refused, and none may come for ever.
#[test]
fn progressive_scans_have_an_order() {
    let bytes = stream("grey_grey_progressive");
    let scans: Vec<usize> = (0..bytes.len() - 1).filter(|&at| bytes[at..at + 2] == [0xff, 0xda]).collect();
    assert!(scans.len() > 3);
    let message = |bytes: &[u8]| decode_bytes(bytes, &DecodeOptions::default()).unwrap_err().to_string();
    let second = scans[1];
    let end = second + bytes[second + 2..].windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0).unwrap() + 2;
    let twice = [&bytes[..end], &bytes[second..]].concat();
    assert!(message(&twice).contains("in an order that the standard does not have"), "{}", message(&twice));
    let mut wide = bytes.clone();
    wide[second + 8] = 64;
    assert!(message(&wide).contains("coefficients 1 to 64"), "{}", message(&wide));
    // Without the constant coefficients nothing can be shown.
    let first =
        scans[0] + bytes[scans[0] + 2..].windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0).unwrap() + 2;
    let without = [&bytes[..scans[0]], &bytes[first..]].concat();
    assert!(message(&without).contains("in an order that the standard does not have"), "{}", message(&without));
}
