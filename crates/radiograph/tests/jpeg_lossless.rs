//! Lossless JPEG (ITU-T T.81, annex H) within DICOM, sample by sample: streams of other programs, and the whole kind by
//! an encoder of its own.

mod support;

use radiograph::{DecodeOptions, Radiograph, decode_bytes};
use support::{Golden, Wrapped, golden, stream};

/// Lossless JPEG with any predictor.
const LOSSLESS: &str = "1.2.840.10008.1.2.4.57";

/// With predictor 1.
const FIRST_ORDER: &str = "1.2.840.10008.1.2.4.70";

fn decode(frame: &[u8], photometric: &str, [height, width]: [usize; 2], bits: u32) -> Result<Radiograph, String> {
    let full = 1 << bits;
    let window = [full / 2, full];
    let transfer_syntax = if frame.len().is_multiple_of(2) { LOSSLESS } else { FIRST_ORDER };
    let bits_stored = bits as u16;
    let file = Wrapped { transfer_syntax, photometric, height, width, bits_stored, is_signed: false, window, frame };
    decode_bytes(&file.to_bytes(), &DecodeOptions::default()).map_err(|error| error.to_string())
}

/// The stored values that brightness under the window of all values came from.
fn stored(picture: &Radiograph, bits: u32) -> Vec<u16> {
    let max = f64::from((1_u32 << bits) - 1);
    picture.pixels.iter().map(|&pixel| (f64::from(pixel) * max).round() as u16).collect()
}

/// Against libjpeg-turbo and dcmtk, by `golden/jpeg/make.py`.
#[test]
fn streams_of_other_programs_are_exact() {
    let mut num = 0;
    for Golden { height, width, names, samples } in golden() {
        for name in names.iter().filter(|name| name.starts_with("lossless_u")) {
            let bits: String = name["lossless_u".len()..].chars().take_while(char::is_ascii_digit).collect();
            let bits = bits.parse().unwrap();
            let picture = decode(&stream(name), "MONOCHROME2", [height, width], bits).unwrap();
            assert!(stored(&picture, bits) == samples, "{name}");
            // As a file of its own, the stream is the same image.
            let plain = decode_bytes(&stream(name), &DecodeOptions::default()).unwrap();
            // dcmcjpeg writes the allocated bits into the header.
            let plain_bits = u32::from(plain.stored_bits);
            assert!(plain_bits == bits || plain_bits == 16 && name.ends_with("_shift1"), "{name}");
            assert!(stored(&plain, plain_bits) == samples, "{name}");
            num += 1;
        }
        if names == ["lossless_rgb"] {
            let luma = |rgb: &[u16]| {
                (299.0 * f32::from(rgb[0]) + 587.0 * f32::from(rgb[1]) + 114.0 * f32::from(rgb[2])) / 255e3
            };
            let expected: Vec<f32> = samples.chunks(3).map(luma).collect();
            let [as_dicom, as_file] = [
                decode(&stream("lossless_rgb"), "RGB", [height, width], 8).unwrap(),
                decode_bytes(&stream("lossless_rgb"), &DecodeOptions::default()).unwrap(),
            ];
            assert_eq!(as_dicom.pixels, as_file.pixels);
            assert!(expected.iter().zip(&as_file.pixels).all(|(a, b)| (a - b).abs() < 1e-6));
            num += 1;
        }
    }
    assert_eq!(num, 29);
}

/// What an encoder is asked for.
#[derive(Clone, Copy, Debug)]
struct Way {
    bits: u32,
    predictor: u8,
    shift: u32,
    /// Samples between restart marks.
    interval: Option<usize>,
}

/// Bits of a segment, first of all the highest.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    pending: u64,
    num: u32,
}

impl Writer {
    fn put(&mut self, value: u32, num: u32) {
        self.pending = self.pending << num | u64::from(value);
        self.num += num;
        while self.num >= 8 {
            self.num -= 8;
            let byte = (self.pending >> self.num) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                self.bytes.push(0);
            }
        }
    }

    /// Fills the last byte with ones.
    fn finish(&mut self) {
        if self.num > 0 {
            self.put((1 << (8 - self.num)) - 1, 8 - self.num);
        }
    }
}

/// Process 14: each of 17 numbers of bits has the code of 5 bits that it is itself.
fn encode(planes: &[Vec<u16>], [height, width]: [usize; 2], way: Way) -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let length = (content.len() + 2) as u16;
        [&[0xff, marker][..], &length.to_be_bytes(), content].concat()
    };
    let num = planes.len() as u8;
    let mut frame = vec![way.bits as u8];
    frame.extend([(height as u16).to_be_bytes(), (width as u16).to_be_bytes()].concat());
    frame.push(num);
    frame.extend((1..=num).flat_map(|name| [name, 0x11, 0]));
    let mut scan = vec![num];
    scan.extend((1..=num).flat_map(|name| [name, 0]));
    scan.extend([way.predictor, 0, way.shift as u8]);
    let mut counts = vec![0; 17];
    counts[5] = 17;
    let mut bytes = vec![0xff, 0xd8];
    bytes.extend(segment(0xc3, &frame));
    bytes.extend(segment(0xc4, &[counts, (0..17).collect()].concat()));
    if let Some(interval) = way.interval {
        bytes.extend(segment(0xdd, &(interval as u16).to_be_bytes()));
    }
    bytes.extend(segment(0xda, &scan));
    let interval = way.interval.unwrap_or(height * width);
    let mut writer = Writer::default();
    for at in 0..height * width {
        let (row, column, start) = (at / width, at % width, at / interval * interval);
        if at == start && at > 0 {
            writer.finish();
            writer.bytes.extend([0xff, 0xd0 | ((at / interval - 1) % 8) as u8]);
        }
        for plane in planes {
            let sample = |row: usize, column: usize| i32::from(plane[row * width + column] >> way.shift);
            let guess = if at == start {
                1 << (way.bits - way.shift - 1)
            } else if row == start / width {
                sample(row, column - 1)
            } else if column == 0 {
                sample(row - 1, column)
            } else {
                let [a, b, c] =
                    [(row, column - 1), (row - 1, column), (row - 1, column - 1)].map(|(y, x)| sample(y, x));
                [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1]
                    [usize::from(way.predictor) - 1]
            };
            let difference = i32::from((sample(row, column) - guess) as i16);
            let size = if difference == -32_768 { 16 } else { 32 - difference.unsigned_abs().leading_zeros() };
            writer.put(size, 5);
            if size < 16 {
                let value = if difference < 0 { difference + (1 << size) - 1 } else { difference };
                writer.put(value as u32, size);
            }
        }
    }
    writer.finish();
    bytes.extend(writer.bytes);
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// Numbers that follow from where they are, over all bits, with smooth parts.
fn plane(bits: u32, [height, width]: [usize; 2], seed: u32) -> Vec<u16> {
    let sample = |at: usize| {
        let (row, column) = (at / width, at % width);
        let noise = (at as u32 + seed).wrapping_mul(2_654_435_761) >> 16;
        let smooth = (row * 5 + column * 3) as u32 * (1 << bits) / 400;
        (if column % 7 < 3 { noise } else { smooth }) as u16 & ((1_u32 << bits) - 1) as u16
    };
    (0..height * width).map(sample).collect()
}

/// The uncompressed twin, to the last bit.
#[test]
fn predictors_intervals_bits_and_point_transforms() {
    let size @ [height, width] = [21, 16];
    let intervals = [
        None,
        Some(1),
        Some(4),
        Some(7),
        Some(8),
        Some(width),
        Some(24),
        Some(3 * width),
        Some(width + 5),
        Some(height * width + 3),
    ];
    let mut num = 0;
    for predictor in 1..=7 {
        for interval in intervals {
            for bits in [2, 8, 12, 16] {
                for shift in [0, 1, 3] {
                    if shift >= bits {
                        continue;
                    }
                    let way = Way { bits, predictor, shift, interval };
                    let expected: Vec<u16> =
                        plane(bits, size, 1).iter().map(|sample| sample >> shift << shift).collect();
                    let frame = encode(std::slice::from_ref(&expected), size, way);
                    let picture = decode(&frame, "MONOCHROME2", size, bits).unwrap();
                    assert!(stored(&picture, bits) == expected, "{way:?}");
                    num += 1;
                }
            }
        }
    }
    assert_eq!(num, 7 * 10 * 11);
}

/// Three components in one scan: those of colours that go into brightness by their weights, and the first alone.
#[test]
fn colours_are_interleaved() {
    let size @ [_, width] = [9, 11];
    for interval in [None, Some(width), Some(2 * width)] {
        for predictor in [1, 4, 7] {
            let planes: Vec<Vec<u16>> = (0..3).map(|seed| plane(8, size, seed * 77)).collect();
            let frame = encode(&planes, size, Way { bits: 8, predictor, shift: 0, interval });
            let rgb = decode(&frame, "RGB", size, 8).unwrap();
            for (at, found) in rgb.pixels.iter().enumerate() {
                let [r, g, b] = [0, 1, 2].map(|number: usize| f32::from(planes[number][at]));
                assert!((found - (0.299 * r + 0.587 * g + 0.114 * b) / 255.0).abs() < 1e-6);
            }
            let ybr = decode(&frame, "YBR_FULL", size, 8).unwrap();
            assert!(stored(&ybr, 8) == planes[0]);
        }
    }
}

/// The only difference of 16 bits has no bits of its own (T.81, table H.2).
#[test]
fn a_difference_of_32768() {
    let size = [1, 4];
    let expected = vec![0, 32_768, 0, 65_535];
    let way = Way { bits: 16, predictor: 1, shift: 0, interval: None };
    let picture = decode(&encode(std::slice::from_ref(&expected), size, way), "MONOCHROME2", size, 16).unwrap();
    assert_eq!(stored(&picture, 16), expected);
}

/// Bits above the stored ones may be an overlay's: of lossless images they are cut off, not clamped.
#[test]
fn bits_above_the_stored_ones_are_cut_off() {
    let size = [4, 8];
    let samples = plane(16, size, 5);
    let frame = encode(std::slice::from_ref(&samples), size, Way { bits: 16, predictor: 1, shift: 0, interval: None });
    let expected: Vec<u16> = samples.iter().map(|sample| sample & 0xfff).collect();
    assert_eq!(stored(&decode(&frame, "MONOCHROME2", size, 12).unwrap(), 12), expected);
}

#[test]
fn damage_is_a_sentence() {
    let size @ [height, width] = [6, 8];
    let way = Way { bits: 12, predictor: 1, shift: 0, interval: Some(width) };
    let frame = encode(&[plane(12, size, 3)], size, way);
    let message = |frame: &[u8]| decode(frame, "MONOCHROME2", size, 12).unwrap_err();
    // All but one restart mark.
    let mark = frame.windows(2).position(|pair| pair == [0xff, 0xd2]).unwrap();
    let cut = [&frame[..mark], &[0xff, 0xd9]].concat();
    assert!(message(&cut).contains("restart intervals are missing"), "{}", message(&cut));
    let scan = frame.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let with = |place: usize, value: u8| {
        let mut frame = frame.clone();
        frame[scan + place] = value;
        frame
    };
    assert!(message(&with(7, 0)).contains("predictor 0"), "{}", message(&with(7, 0)));
    assert!(message(&with(7, 8)).contains("predictor 8"));
    assert!(message(&with(9, 12)).contains("a point transform by 12 of 12 bits"));
    assert!(message(&with(6, 0x10)).contains("a Huffman table is missing"));
    let ended = &frame[..frame.len() - 12];
    assert!(message(ended).contains("its data end before the image does"), "{}", message(ended));
    let error = decode(&frame, "MONOCHROME2", [height, width + 1], 12).unwrap_err();
    assert!(error.contains("8 x 6 pixels, the header says 9 x 6"), "{error}");
}
