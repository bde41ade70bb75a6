//! Compressed streams under every header that may stand before them, against their reference decoders: samples beyond
//! BitsStored, signs that disagree, tiles without a length, components of JPEG-LS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use radiograph::{DecodeError, DecodeOptions, Fit, Radiograph, decode_bytes};

const JPEG_LS: [&str; 2] = ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"];
const JPEG_2000: [&str; 2] = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"];
const HIGH_THROUGHPUT: [&str; 3] = ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"];
const JPEG_XL: [&str; 2] = ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"];
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codecs")
}

fn stream(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The names of the streams that begin like this.
fn streams(start: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(start))
        .collect();
    names.sort();
    names
}

struct Decoded {
    height: usize,
    width: usize,
    channels: usize,
    samples: Vec<i64>,
}

/// What reference decoders made of the streams.
fn decoded() -> BTreeMap<String, Decoded> {
    let text = std::fs::read_to_string(folder().join("decoded.txt")).unwrap();
    let mut lines = text.lines();
    let mut all = BTreeMap::new();
    while let Some(head) = lines.next() {
        let (name, sizes) = head.split_once(' ').unwrap();
        let sizes: Vec<usize> = sizes.split(' ').map(|size| size.parse().unwrap()).collect();
        let rows = lines.by_ref().take(sizes[0]);
        let samples = rows.flat_map(|row| row.split(' ').map(|sample| sample.parse().unwrap())).collect();
        all.insert(name.to_string(), Decoded { height: sizes[0], width: sizes[1], channels: sizes[2], samples });
    }
    all
}

/// How a DICOM header says that pixels are stored.
#[derive(Clone, Copy, Debug)]
struct Header<'a> {
    syntax: &'a str,
    photometric: &'a str,
    height: usize,
    width: usize,
    bits_allocated: u16,
    bits_stored: u16,
    signed: bool,
}

impl Header<'_> {
    fn range(&self) -> [i64; 2] {
        let low = if self.signed { -(1_i64 << (self.bits_stored - 1)) } else { 0 };
        [low, low + (1_i64 << self.bits_stored) - 1]
    }

    /// A file of these pixels, in a fragment or as they are, with a window over all values that can be stored.
    fn file(&self, pixels: &[u8]) -> Vec<u8> {
        let mut file = [vec![0; 128], b"DICM".to_vec()].concat();
        let mut put = |tag: [u16; 2], representation: &[u8; 2], value: &[u8]| {
            let padding = if representation == b"UI" { 0 } else { b' ' };
            let mut value = value.to_vec();
            if value.len() % 2 == 1 {
                value.push(padding);
            }
            file.extend(tag.iter().flat_map(|half| half.to_le_bytes()));
            file.extend(representation);
            file.extend((value.len() as u16).to_le_bytes());
            file.extend(value);
        };
        put([2, 0x10], b"UI", self.syntax.as_bytes());
        let channels = if self.photometric.starts_with("MONO") { 1_u16 } else { 3 };
        put([0x28, 2], b"US", &channels.to_le_bytes());
        put([0x28, 4], b"CS", self.photometric.as_bytes());
        put([0x28, 6], b"US", &0_u16.to_le_bytes());
        let [low, high] = self.range();
        for (element, value) in [
            (0x10, self.height as u16),
            (0x11, self.width as u16),
            (0x100, self.bits_allocated),
            (0x101, self.bits_stored),
            (0x102, self.bits_stored - 1),
            (0x103, self.signed.into()),
        ] {
            put([0x28, element], b"US", &value.to_le_bytes());
        }
        put([0x28, 0x1050], b"DS", ((low + high) as f64 / 2.0).to_string().as_bytes());
        put([0x28, 0x1051], b"DS", (high - low).to_string().as_bytes());
        put([0x28, 0x1056], b"CS", b"LINEAR_EXACT");
        let mut pixels = pixels.to_vec();
        if pixels.len() % 2 == 1 {
            pixels.push(0);
        }
        let length = (pixels.len() as u32).to_le_bytes();
        file.extend(b"\xe0\x7f\x10\0OW\0\0");
        if self.syntax == EXPLICIT {
            file.extend(length);
            file.extend(pixels);
        } else {
            file.extend(b"\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0");
            file.extend(length);
            file.extend(pixels);
            file.extend(b"\xfe\xff\xdd\xe0\0\0\0\0");
        }
        file
    }
}

/// The value that a sample stands for: the standard's bits, and the rules of [`radiograph`] where standards are silent.
fn value_of(sample: i64, precision: u32, stream_signed: bool, lossy: bool, header: &Header) -> i64 {
    let wrapped = |value: i64, bits: u32, signed: bool| {
        let value = value.rem_euclid(1 << bits);
        if signed && value >= 1 << (bits - 1) { value - (1 << bits) } else { value }
    };
    let stored = u32::from(header.bits_stored);
    let lost_at_black = lossy && stream_signed && !header.signed && precision > stored;
    let sample = if stream_signed == header.signed || lost_at_black {
        sample
    } else {
        wrapped(sample, precision, header.signed)
    };
    let [low, high] = header.range();
    if lossy { sample.clamp(low, high) } else { wrapped(sample, stored, header.signed) }
}

/// Lossless or lossy x bits stored below and above those of the stream x signs of both x transfer syntax x reduction.
#[test]
fn samples_beyond_bits_stored_are_clamped_if_lossy_and_masked_if_not() {
    let all = decoded();
    let mut num_cases = 0;
    for name in ["j2k_", "htj2k_", "jls_l", "jxl_"].into_iter().flat_map(streams) {
        let (key, codec) = name.split_once('.').unwrap();
        let (stream_signed, precision) = (key.contains("_i"), if key.ends_with("12") { 12 } else { 16 });
        let syntaxes: &[&str] = match codec {
            "j2k" => &JPEG_2000,
            "htj2k" => &HIGH_THROUGHPUT,
            "jls" => &JPEG_LS,
            _ => &JPEG_XL,
        };
        for (&syntax, bits_stored, signed) in syntaxes
            .iter()
            .flat_map(|syntax| [10, 12, 16].map(|bits| (syntax, bits)))
            .flat_map(|(syntax, bits)| [false, true].map(|signed| (syntax, bits, signed)))
        {
            // What the codestream says; where it does not say so, what the transfer syntax allows.
            let may_be_lossy = codec != "jls" && syntaxes.last() == Some(&syntax);
            let lossy = may_be_lossy || key.contains("_lossy");
            if key.contains("_cut") && !lossy {
                continue;
            }
            for (reference, options) in [
                (key.to_string(), DecodeOptions::default()),
                (format!("{key}_half"), DecodeOptions { reduce_for: Some((10, Fit::Stretch)), ..Default::default() }),
            ] {
                let Some(Decoded { height, width, samples, .. }) = all.get(&reference) else { continue };
                let reduction = if reference == key { 1 } else { 2 };
                let header = Header {
                    syntax,
                    photometric: "MONOCHROME2",
                    height: height * reduction,
                    width: width * reduction,
                    bits_allocated: 16,
                    bits_stored,
                    signed,
                };
                let picture = decode_bytes(&header.file(&stream(&name)), &options).unwrap();
                assert_eq!((picture.height, picture.width), (*height, *width), "{reference}");
                let [low, high] = header.range();
                // Lossy decoders round as they like.
                let tolerance = match codec {
                    _ if key.contains("lossless") => 0.01,
                    // Where in its interval a quantised coefficient is put, is left open.
                    "htj2k" => 12.0,
                    _ => 2.01,
                };
                for (position, (&found, &sample)) in picture.pixels.iter().zip(samples).enumerate() {
                    let value = value_of(sample, precision, stream_signed, lossy, &header);
                    // Where zero is next to the greatest value, a rounding is all the difference.
                    if lossy && stream_signed != signed && sample.abs() <= 3 {
                        continue;
                    }
                    let found = f64::from(found) * (high - low) as f64 + low as f64;
                    assert!(
                        (found - value as f64).abs() <= tolerance,
                        "{name} {reference} {header:?}, pixel {position}: {found} instead of {value}, from {sample}"
                    );
                }
                num_cases += 1;
            }
        }
    }
    assert!(num_cases >= 200, "{num_cases} cases");
}

/// No sample of the fault's kind: squares of the greatest value have no black pixel, by whatever way they are decoded.
#[test]
fn white_stays_white() {
    for (name, syntax) in [
        ("j2k_lossy_u16.j2k", JPEG_2000[1]),
        ("j2k_lossy_u16.j2k", JPEG_2000[0]),
        ("j2k_cut_u16.j2k", JPEG_2000[1]),
        ("htj2k_lossy_u16.htj2k", HIGH_THROUGHPUT[2]),
        ("jls_lossy_u16.jls", JPEG_LS[1]),
        ("jxl_lossy_u16.jxl", JPEG_XL[1]),
    ] {
        let header = Header {
            syntax,
            photometric: "MONOCHROME2",
            height: 40,
            width: 48,
            bits_allocated: 16,
            bits_stored: 12,
            signed: false,
        };
        for reduce_for in [None, Some((10, Fit::Stretch))] {
            let options = DecodeOptions { reduce_for, ..Default::default() };
            let picture = decode_bytes(&header.file(&stream(name)), &options).unwrap();
            let side = 8 * picture.width / 48;
            for (row, column) in (0..picture.height).flat_map(|row| (0..picture.width).map(move |column| (row, column)))
            {
                let is_inner = |at: usize| (side / 4..side - side / 4).contains(&(at % side));
                if (row / side + column / side).is_multiple_of(3) && is_inner(row) && is_inner(column) {
                    let pixel = picture.pixels[row * picture.width + column];
                    assert!(pixel > 0.7, "{name}, row {row}, column {column}: {pixel}");
                }
            }
        }
    }
}

const TILES: Header<'static> = Header {
    syntax: JPEG_2000[0],
    photometric: "MONOCHROME2",
    height: 40,
    width: 48,
    bits_allocated: 16,
    bits_stored: 12,
    signed: false,
};

fn tile_parts(stream: &[u8]) -> Vec<usize> {
    (0..stream.len() - 1).filter(|&at| stream[at..at + 2] == [0xff, 0x90]).collect()
}

fn read_tiles(name: &str, stream: &[u8], reduce_for: Option<(usize, Fit)>) -> Result<Radiograph, DecodeError> {
    let syntax = if name.ends_with("htj2k") { HIGH_THROUGHPUT[0] } else { JPEG_2000[0] };
    decode_bytes(&Header { syntax, ..TILES }.file(stream), &DecodeOptions { reduce_for, ..Default::default() })
}

/// Tiles x tile-parts x block coder x length x end x reduction. A last tile-part of length 0 ends with the codestream.
#[test]
fn tile_parts_without_a_length_go_on_to_the_end() {
    let expected = &decoded()["tiles"].samples;
    let names = streams("tiles-");
    assert_eq!(names.len(), 8);
    for name in names {
        let whole = stream(&name);
        let parts = tile_parts(&whole);
        let last = *parts.last().unwrap();
        let end = whole.len() - 2;
        assert_eq!(whole[end..], [0xff, 0xd9]);
        let mut open = whole.clone();
        open[last + 6..last + 10].fill(0);
        let padded = |stream: &[u8]| [stream, &[0]].concat();
        for (what, stream) in [
            ("as it is", whole.clone()),
            ("no length", open.clone()),
            ("no end", whole[..end].to_vec()),
            ("neither", open[..end].to_vec()),
            ("padded", padded(&open)),
            ("no end, padded", padded(&whole[..end])),
        ] {
            let picture = read_tiles(&name, &stream, None).unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
            let values: Vec<i64> = picture.pixels.iter().map(|pixel| (pixel * 4095.0).round() as i64).collect();
            assert_eq!(&values, expected, "{name}, {what}");
            let reduced = read_tiles(&name, &stream, Some((10, Fit::Stretch))).unwrap();
            assert_eq!(reduced, read_tiles(&name, &whole, Some((10, Fit::Stretch))).unwrap(), "{name}, {what}");
        }
        // One before the last cannot be without a length.
        for &part in &parts[..parts.len() - 1] {
            let mut wrong = whole.clone();
            wrong[part + 6..part + 10].fill(0);
            let error = read_tiles(&name, &wrong, None).unwrap_err();
            assert!(matches!(error, DecodeError::Contradictory { .. }), "{name}: {error}");
            assert!(error.to_string().contains("only the last"), "{name}: {error}");
        }
        // A length that is wrong, and parts that are missing, are no image.
        for length in [1_u32, 11, 14, (end - last) as u32 + 9, u32::MAX] {
            let mut wrong = whole.clone();
            wrong[last + 6..last + 10].copy_from_slice(&length.to_be_bytes());
            assert!(read_tiles(&name, &wrong, None).is_err(), "{name}: length {length}");
        }
        for &part in &parts[1..] {
            assert!(read_tiles(&name, &whole[..part], None).is_err(), "{name} cut to {part} bytes");
        }
        for cut in [last + 3, last + 11, last + 20, (last + end) / 2] {
            assert!(read_tiles(&name, &whole[..cut], None).is_err(), "{name} cut to {cut} bytes");
        }
    }
}

/// Order of components x bits x loss x colour transform x label.
#[test]
fn jpeg_ls_of_three_components_agrees_with_charls() {
    let all = decoded();
    let names = streams("rgb");
    assert_eq!(names.len(), 18);
    for name in names {
        let key = name.split(['.', '-']).next().unwrap();
        let Decoded { height, width, channels: 3, ref samples } = all[key] else { panic!("{key}") };
        let bits = if key.starts_with("rgb8") { 8 } else { 16 };
        let max = f64::from((1_u32 << bits) - 1);
        for (photometric, weights) in
            [("RGB", [0.299, 0.587, 0.114]), ("YBR_FULL", [1.0, 0.0, 0.0]), ("YBR_FULL_422", [1.0, 0.0, 0.0])]
        {
            let header = Header {
                syntax: JPEG_LS[usize::from(key.contains("near2"))],
                photometric,
                height,
                width,
                bits_allocated: bits,
                bits_stored: bits,
                signed: false,
            };
            let file = header.file(&stream(&name));
            let picture = decode_bytes(&file, &DecodeOptions::default()).unwrap();
            for (found, color) in picture.pixels.iter().zip(samples.as_chunks::<3>().0) {
                let luma: f64 = color.iter().zip(weights).map(|(&sample, weight)| sample as f64 * weight).sum();
                assert!((f64::from(*found) - luma / max).abs() < 1e-6, "{name} as {photometric}");
            }
            // A header of one component is another matter, as is one of another size.
            let grey = Header { photometric: "MONOCHROME2", ..header }.file(&stream(&name));
            let error = decode_bytes(&grey, &DecodeOptions::default()).unwrap_err();
            assert!(error.to_string().contains("3 JPEG-LS components for 1 sample"), "{error}");
        }
        // Cut anywhere: a sentence. Changed anywhere: no panic.
        let whole = stream(&name);
        let header = Header { syntax: JPEG_LS[0], photometric: "RGB", height, width, bits_allocated: bits, ..TILES };
        let header = Header { bits_stored: bits, ..header };
        for length in 0..whole.len() - 4 {
            assert!(
                decode_bytes(&header.file(&whole[..length]), &DecodeOptions::default()).is_err(),
                "{name} {length}"
            );
            let mut damaged = whole.clone();
            damaged[length] ^= 0xff;
            if let Err(error) = decode_bytes(&header.file(&damaged), &DecodeOptions::default()) {
                assert!(!error.to_string().contains("gave up"), "{name}, byte {length}: {error}");
            }
        }
    }
}

/// Columns x bits x rows that are completed or go on in the next one.
#[test]
fn uncompressed_pixels_that_share_chroma_are_read() {
    for (width, height) in [(1, 1), (2, 3), (5, 3), (5, 4), (8, 2), (7, 1), (3, 5)] {
        for (bits, by_rows) in [(8, false), (8, true), (12, false), (12, true)] {
            let luma = |row: usize, column: usize| ((row * 37 + column * 11 + 5) % 250) as u16;
            let mut pixels: Vec<u16> =
                (0..height).flat_map(|row| (0..width).map(move |column| luma(row, column))).collect();
            if by_rows && width % 2 == 1 {
                pixels = pixels.chunks(width).flat_map(|row| [row, &[250]].concat()).collect();
            }
            let mut words: Vec<u16> =
                pixels.chunks(2).flat_map(|pair| [pair[0], *pair.get(1).unwrap_or(&251), 252, 253]).collect();
            if !by_rows {
                words.truncate(2 * width * height);
            }
            let bits_allocated = if bits == 8 { 8 } else { 16 };
            let header = Header {
                syntax: EXPLICIT,
                photometric: "YBR_FULL_422",
                height,
                width,
                bits_allocated,
                bits_stored: bits,
                signed: false,
            };
            let bytes: Vec<u8> = if bits == 8 {
                words.iter().map(|&word| word as u8).collect()
            } else {
                words.iter().flat_map(|word| word.to_le_bytes()).collect()
            };
            let picture = decode_bytes(&header.file(&bytes), &DecodeOptions::default()).unwrap();
            let max = f32::from((1_u16 << bits) - 1);
            let found: Vec<u16> = picture.pixels.iter().map(|pixel| (pixel * max).round() as u16).collect();
            let expected: Vec<u16> =
                (0..height).flat_map(|row| (0..width).map(move |column| luma(row, column))).collect();
            assert_eq!(found, expected, "{width} x {height}, {bits} bits, rows completed: {by_rows}");
            if width > 1 {
                let cut = decode_bytes(&header.file(&bytes[..bytes.len() / 2]), &DecodeOptions::default());
                assert!(matches!(cut, Err(DecodeError::Corrupt { .. })), "{width} x {height}, {bits} bits");
            }
            if width > 3 {
                let full = vec![0; 3 * width * height * usize::from(bits_allocated) / 8];
                let error = decode_bytes(&header.file(&full), &DecodeOptions::default()).unwrap_err();
                assert!(error.to_string().contains("enough for RGB or YBR_FULL"), "{error}");
            }
        }
    }
}

#[test]
fn fragments_under_a_syntax_that_does_not_compress_are_what_their_bytes_say() {
    let header = Header { syntax: JPEG_LS[0], bits_stored: 16, ..TILES };
    let mut file = header.file(&stream("jls_lossless_u16.jls"));
    let expected = decode_bytes(&file, &DecodeOptions::default()).unwrap();
    let at = file.windows(22).position(|window| window == JPEG_LS[0].as_bytes()).unwrap();
    file[at..at + 22].copy_from_slice(b"1.2.840.10008.1.2.1\0\0\0");
    assert_eq!(decode_bytes(&file, &DecodeOptions::default()).unwrap(), expected);
}

/// Bytes or words x even and odd numbers of samples: words of big endian files hold the first sample in their second byte.
#[test]
fn samples_of_8_bits_in_words_of_big_endian_files_are_in_order() {
    let big = std::fs::read(folder().join("../dicom/big_endian.dcm")).unwrap();
    let start = big.windows(4).rposition(|window| window == [0x7f, 0xe0, 0, 0x10]).unwrap();
    for (height, width) in [(3, 5), (4, 3), (1, 1)] {
        let samples: Vec<u8> = (0..height * width).map(|sample| (sample * 29 + 3) as u8).collect();
        for (representation, swapped) in [(b"OB", false), (b"OW", true)] {
            let mut file = big[..start].to_vec();
            for (element, value) in [([0, 0x10], height), ([0, 0x11], width), ([1, 0], 8), ([1, 1], 8), ([1, 2], 7)] {
                let tag = [0, 0x28, element[0], element[1]];
                let at = file.windows(4).rposition(|window| window == tag).unwrap();
                file[at + 8..at + 10].copy_from_slice(&(value as u16).to_be_bytes());
            }
            let mut pixels = samples.clone();
            pixels.resize(samples.len().next_multiple_of(2), 0);
            if swapped {
                pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
            }
            file.extend([&[0x7f, 0xe0, 0, 0x10][..], representation, &[0, 0]].concat());
            file.extend((pixels.len() as u32).to_be_bytes());
            file.extend(&pixels);
            // Without the window, samples are brighter in their order.
            for tag in [[0, 0x28, 0x10, 0x50], [0, 0x28, 0x10, 0x51]] {
                let at = file.windows(4).rposition(|window| window == tag).unwrap();
                let length = 8 + usize::from(u16::from_be_bytes([file[at + 6], file[at + 7]]));
                file.drain(at..at + length);
            }
            let picture = decode_bytes(&file, &DecodeOptions::default()).unwrap();
            let rank = |of: &dyn Fn(usize) -> f32| {
                let mut order: Vec<usize> = (0..samples.len()).collect();
                order.sort_by(|&a, &b| of(a).total_cmp(&of(b)));
                order
            };
            let expected = rank(&|at| f32::from(samples[at]));
            assert_eq!(rank(&|at| picture.pixels[at]), expected, "{height} x {width}, swapped: {swapped}");
        }
    }
}
