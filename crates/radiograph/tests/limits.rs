//! Small files that ask for much memory: each is refused by a sentence with the value and the remedy.

use std::io::Write as _;
use std::path::Path;

use radiograph::{DecodeError, DecodeOptions, decode_bytes, encode_png_u8, read_image};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn message(bytes: &[u8]) -> String {
    decode_bytes(bytes, &DecodeOptions::default()).unwrap_err().to_string()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn jpeg_headers_that_claim_too_much() {
    for name in ["plain/grey.jpg", "plain/progressive.jpg", "plain/color.jpg"] {
        let mut bytes = fixture(name);
        let frame = bytes.windows(2).position(|mark| mark == [0xff, 0xc0] || mark == [0xff, 0xc2]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
        assert_eq!(
            message(&bytes),
            "the image has 20000 x 20000 pixels, more than the limit of 100000000; reduce it, or raise `max_pixels`",
            "{name}"
        );
    }
}

#[test]
fn profiles_in_png_are_not_unpacked() {
    // 64 MiB of zeros as a colour profile: with the limit of one pixel, unpacking it would fail.
    let png = encode_png_u8(&[7; 1], 1, 1).unwrap();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 65 << 20]).unwrap();
    let content = [b"iCCPa\0\0".to_vec(), encoder.finish().unwrap()].concat();
    let mut checksum = flate2::Crc::new();
    checksum.update(&content);
    let chunk = [&(content.len() as u32 - 4).to_be_bytes(), &content[..], &checksum.sum().to_be_bytes()].concat();
    let bytes = [&png[..33], &chunk, &png[33..]].concat();
    let options = DecodeOptions { max_pixels: 1, ..Default::default() };
    assert_eq!(decode_bytes(&bytes, &options).unwrap().pixels, decode_bytes(&png, &options).unwrap().pixels);
}

#[test]
fn a_deflated_dicom_file_is_unpacked_up_to_the_limit() {
    let bytes = fixture("dicom/deflated.dcm");
    // Everything before the data set is not deflated; its length is in the first element.
    let length = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    let (head, body) = bytes.split_at(144 + length);
    let mut plain = Vec::new();
    flate2::write::DeflateDecoder::new(&mut plain).write_all(body).unwrap();
    let bomb = [head, &deflated(&[plain, vec![0; 65 << 20]].concat())].concat();
    assert!(bomb.len() < 1 << 20);
    let options = DecodeOptions { max_pixels: 1000, ..Default::default() };
    let error = decode_bytes(&bomb, &options).unwrap_err();
    assert!(matches!(error, DecodeError::TooManyBytes { max_bytes: 67_116_864, max_pixels: 1000 }), "{error}");
    assert!(error.to_string().contains("67116864 bytes") && error.to_string().contains("raise `max_pixels`"));
}

/// The codestream's place in a DICOM file.
fn codestream(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|mark| mark == [0xff, 0x4f, 0xff, 0x51]).unwrap()
}

/// A JPEG 2000 fixture with 32-bit words of its size segment replaced: Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz...
fn with_words(name: &str, words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = fixture(&format!("dicom/{name}.dcm"));
    let start = codestream(&bytes) + 8;
    for (number, word) in words {
        bytes[start + 4 * number..start + 4 * number + 4].copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[test]
fn jpeg_2000_headers_that_claim_too_much() {
    for name in ["j2k_u12", "htj2k_u12"] {
        let large = message(&with_words(name, &[(0, 4_000_000_000), (1, 4_000_000_000)]));
        assert!(large.contains("4000000000 x 4000000000 pixels, the header says 40 x 36"), "{name}: {large}");
        // The same few pixels, far out on a grid of tiles of one pixel each.
        let far = u32::MAX - 100;
        let grid = [(0, far + 40), (1, far + 36), (2, far), (3, far), (4, 1), (5, 1)];
        let tiles = message(&with_words(name, &grid));
        assert!(tiles.contains("JPEG 2000 tiles, the standard has 65535"), "{name}: {tiles}");
        let mut components = with_words(name, &[]);
        let at = codestream(&components) + 40;
        components[at..at + 2].copy_from_slice(&16_384_u16.to_be_bytes());
        assert!(message(&components).contains("16384 JPEG 2000 components"), "{name}: {}", message(&components));
    }
}

/// Gives the DICOM header of an uncompressed or encapsulated fixture other rows and columns.
fn with_dimensions(mut bytes: Vec<u8>, rows: u16, columns: u16) -> Vec<u8> {
    for (tag, value) in [([0x28, 0, 0x10, 0], rows), ([0x28, 0, 0x11, 0], columns)] {
        let at = bytes.windows(4).position(|window| window == tag).unwrap();
        bytes[at + 8..at + 10].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[test]
fn jpeg_2000_data_in_too_many_blocks_are_refused() {
    for name in ["j2k_u12", "htj2k_u12"] {
        // 10,000 x 9,000 pixels, allowed by the limit, in blocks of 4 x 4: claimed by the header of 40 x 36 pixels.
        let mut bytes = with_words(name, &[(0, 10_000), (1, 9_000), (4, 10_000), (5, 9_000)]);
        let start = codestream(&bytes);
        let style = start + bytes[start..].windows(2).position(|mark| mark == [0xff, 0x52]).unwrap();
        bytes[style + 10..style + 12].copy_from_slice(&[0, 0]);
        let refusal = message(&with_dimensions(bytes, 9_000, 10_000));
        assert!(refusal.contains("blocks, and 2000000 are read"), "{name}: {refusal}");
    }
}

#[test]
fn jpeg_xl_headers_that_claim_too_much() {
    for name in ["jxl_u8", "jxl_u16", "jxl_lossy_u12", "jxl_rgb"] {
        let refusal = message(&with_dimensions(fixture(&format!("dicom/{name}.dcm")), 2, 3));
        assert!(refusal.contains("40 x 36 pixels, the header says 3 x 2"), "{name}: {refusal}");
    }
    // From the lowest bit on (ISO/IEC 18181-1): a size that is not small, 20,000 rows in 18 bits, as many columns, and
    // everything else as usual.
    let mut bytes = fixture("dicom/jxl_u8.dcm");
    let start = bytes.windows(4).rposition(|mark| mark == [0xff, 0x0a, 0x18, 0x01]).unwrap();
    let header = 0b100_u32 | 19_999 << 3 | 1 << 21 | 1 << 24 | 1 << 25;
    bytes[start + 2..start + 6].copy_from_slice(&header.to_le_bytes());
    assert!(message(&bytes).contains("20000 x 20000 pixels, the header says 40 x 36"), "{}", message(&bytes));
}

#[test]
fn rle_and_lossless_jpeg_do_not_outgrow_their_header() {
    for name in ["rle_u8", "jpeg_lossless_u8", "jls_u8", "jpeg_baseline", "htj2k_u8", "jxl_u8"] {
        let bytes = with_dimensions(fixture(&format!("dicom/{name}.dcm")), 20_000, 20_000);
        assert!(message(&bytes).contains("20000 x 20000 pixels, more than the limit of 100000000"), "{name}");
    }
    // The compressed image claims more than the header.
    for (name, mark, offset) in
        [("jpeg_lossless_u8", [0xff, 0xc3], 5), ("jls_u8", [0xff, 0xf7], 5), ("jpeg_baseline", [0xff, 0xc0], 5)]
    {
        let mut bytes = fixture(&format!("dicom/{name}.dcm"));
        let at = bytes.windows(2).position(|window| window == mark).unwrap() + offset;
        bytes[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        let message = message(&bytes);
        assert!(message.contains("65535 x 65535"), "{name}: {message}");
    }
}

#[test]
fn reading_stops_at_what_a_file_claims_or_gives() {
    let options = DecodeOptions { max_pixels: 1, ..Default::default() };
    let png = encode_png_u8(&[7; 1], 1, 1).unwrap();
    assert_eq!(options.max_bytes(), (64 << 20) + 8);
    assert_eq!(read_image(&png[..], png.len() as u64, &options).unwrap(), png);
    let is_refused = |reader: &mut dyn std::io::Read, size: u64| {
        matches!(read_image(reader, size, &options), Err(DecodeError::TooManyBytes { .. }))
    };
    assert!(is_refused(&mut &png[..], (64 << 20) + 9), "by the claim alone");
    assert!(is_refused(&mut std::io::Read::chain(&png[..], std::io::repeat(0)), 100), "by what comes");
    // What is no image is not read at all.
    let error = read_image(std::io::repeat(b'x'), u64::MAX, &options).unwrap_err().to_string();
    assert!(error.contains("this is a text file"), "{error}");
}
