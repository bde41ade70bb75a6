//! Images that lie otherwise than their pixels are stored: Exif orientations, and pixels that are not square.

mod common;

use std::path::{Path, PathBuf};

use common::{Dicom, item, words};
use radiograph::{DecodeOptions, Fit, Remark, decode_bytes, decode_file, dicom_square_dimensions, encode_png_u8};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Exif with one other entry and the orientation, of a type of one, two or four bytes.
fn exif(is_little_endian: bool, number_type: u16, orientation: u32) -> Vec<u8> {
    let short = |value: u16| if is_little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
    let long = |value: u32| if is_little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
    let mut bytes = if is_little_endian { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
    bytes.extend(long(8));
    bytes.extend(short(2));
    bytes.extend([short(0x0100), short(3)].concat());
    bytes.extend([&long(1)[..], &short(7), &[0, 0]].concat());
    bytes.extend([short(0x0112), short(number_type)].concat());
    bytes.extend(long(1));
    bytes.extend(match number_type {
        1 => vec![orientation as u8, 0, 0, 0],
        3 => [short(orientation as u16), [0, 0]].concat(),
        _ => long(orientation).to_vec(),
    });
    bytes.extend(long(0));
    bytes
}

fn jpeg_with(exif: &[u8]) -> Vec<u8> {
    let file = std::fs::read(golden("plain/grey.jpg")).unwrap();
    let content = [b"Exif\0\0", exif].concat();
    let length = (content.len() as u16 + 2).to_be_bytes();
    // Another segment of the same marker before it.
    let other = b"\xff\xe1\x00\x08http:/";
    [&file[..2], other, &[0xff, 0xe1], &length, &content, &file[2..]].concat()
}

/// A PNG of 3 rows and 5 columns; the chunk before or behind the picture.
fn png_with(exif: &[u8], is_behind: bool) -> Vec<u8> {
    let file = encode_png_u8(&(0..15).map(|at| at * 16).collect::<Vec<u8>>(), 3, 5).unwrap();
    let mut chunk = [b"eXIf", exif].concat();
    let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    let crc = !chunk.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)));
    chunk.splice(0..0, (exif.len() as u32).to_be_bytes());
    chunk.extend(crc.to_be_bytes());
    let at = if is_behind { file.len() - 12 } else { 33 };
    [&file[..at], &chunk, &file[at..]].concat()
}

/// Where the pixel at a row and column of the upright picture is stored, by the words of the standard: which side of the
/// upright picture the first row and the first column are.
fn stored_at(orientation: u32, row: usize, column: usize, height: usize, width: usize) -> usize {
    let (rows, columns) = match orientation {
        1 => (row, column),                          // top, left
        2 => (row, width - 1 - column),              // top, right
        3 => (height - 1 - row, width - 1 - column), // bottom, right
        4 => (height - 1 - row, column),             // bottom, left
        5 => (column, row),                          // left, top
        6 => (height - 1 - column, row),             // right, top
        7 => (height - 1 - column, width - 1 - row), // right, bottom
        _ => (column, width - 1 - row),              // left, bottom
    };
    rows * width + columns
}

#[test]
fn every_orientation_of_both_byte_orders_is_applied() {
    let options = DecodeOptions::default();
    for orientation in 1..=8 {
        for is_little_endian in [true, false] {
            for number_type in [1, 3, 4] {
                let exif = exif(is_little_endian, number_type, orientation);
                for (with, without) in [
                    (jpeg_with(&exif), std::fs::read(golden("plain/grey.jpg")).unwrap()),
                    (png_with(&exif, false), png_with(&[], false)),
                    (png_with(&exif, true), png_with(&[], false)),
                ] {
                    let (stored, upright) = (decode_bytes(&without, &options), decode_bytes(&with, &options));
                    let (stored, upright) = (stored.unwrap(), upright.unwrap());
                    let [height, width] = [stored.height, stored.width];
                    let expected = if orientation >= 5 { [width, height] } else { [height, width] };
                    assert_eq!([upright.height, upright.width], expected, "{orientation}");
                    for (at, pixel) in upright.pixels.iter().enumerate() {
                        let (row, column) = (at / expected[1], at % expected[1]);
                        assert_eq!(*pixel, stored.pixels[stored_at(orientation, row, column, height, width)]);
                    }
                    assert_eq!(upright.metadata.remarks, [Remark::Oriented][..usize::from(orientation > 1)]);
                    assert!(stored.metadata.remarks.is_empty());
                }
            }
        }
    }
}

#[test]
fn pillow_turns_pictures_the_same_way() {
    let text = std::fs::read_to_string(golden("upright/expected.txt")).unwrap();
    let mut lines = text.lines();
    let mut count = 0;
    while let Some(head) = lines.next() {
        let parts: Vec<&str> = head.split(' ').collect();
        let (name, height, width) = (parts[0], parts[1], parts[2]);
        let (height, width): (usize, usize) = (height.parse().unwrap(), width.parse().unwrap());
        let picture = decode_file(golden("upright").join(name), &DecodeOptions::default()).unwrap();
        assert_eq!([picture.height, picture.width], [height, width], "{name}");
        let expected =
            lines.by_ref().take(height).flat_map(|row| row.split(' ').map(|grey| grey.parse::<f32>().unwrap()));
        for (found, expected) in picture.pixels.iter().zip(expected) {
            assert!((found * 255.0 - expected).abs() <= 1.0, "{name}: {found} and {expected}");
        }
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn damaged_exif_counts_as_none() {
    let whole = exif(true, 3, 6);
    let plain = decode_file(golden("plain/grey.jpg"), &DecodeOptions::default()).unwrap();
    let decode = |exif: &[u8]| decode_bytes(&jpeg_with(exif), &DecodeOptions::default()).unwrap();
    for length in 0..whole.len() {
        let found = decode(&whole[..length]);
        assert!(found == plain || found.metadata.remarks == [Remark::Oriented], "cut to {length}");
    }
    for at in 0..whole.len() {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            decode(&damaged);
        }
    }
    for value in [0, 9, 255, 65_535] {
        assert_eq!(decode(&exif(false, 3, value)), plain, "orientation {value}");
    }
    assert_eq!(decode(&exif(false, 2, 6)), plain, "a text");
}

#[test]
fn reduced_decoding_turns_the_picture_too() {
    let options = DecodeOptions { reduce_for: Some((8, Fit::Pad)), ..DecodeOptions::default() };
    let reduced = decode_bytes(&jpeg_with(&exif(true, 3, 6)), &options).unwrap();
    let stored = decode_bytes(&jpeg_with(&exif(true, 3, 1)), &options).unwrap();
    assert!(stored.width < 53 && [reduced.height, reduced.width] == [stored.width, stored.height]);
}

/// A ramp over 40 rows and 60 columns, which any resampling keeps but for its ends.
fn ramp(spacing: Option<&str>, imager: Option<&str>, ratio: Option<&str>) -> Dicom {
    let stored: Vec<u16> = (0..40 * 60).map(|at| (at / 60 * 20 + at % 60 * 10) as u16).collect();
    let mut file = Dicom {
        rows: 40,
        columns: 60,
        bits_allocated: 16,
        bits_stored: 12,
        pixels: words(&stored),
        ..Dicom::default()
    };
    for (tag, representation, value) in
        [([0x28, 0x30], b"DS", spacing), ([0x18, 0x1164], b"DS", imager), ([0x28, 0x34], b"IS", ratio)]
    {
        if let Some(value) = value {
            file.elements.push(item(tag, representation, value.as_bytes()));
        }
    }
    file.with_window("2048", "4096")
}

#[test]
fn pixels_become_square_by_the_finer_distance() {
    let options = DecodeOptions::default();
    for (spacing, imager, ratio, size, mm, remarks) in [
        (Some("0.4\\0.2"), None, None, [80, 60], Some([0.2, 0.2]), vec![Remark::NotSquare]),
        (Some("0.2\\0.4"), None, None, [40, 120], Some([0.2, 0.2]), vec![Remark::NotSquare]),
        (None, Some("0.3\\0.2"), None, [60, 60], Some([0.2, 0.2]), vec![Remark::NotSquare]),
        (None, None, Some("2\\1"), [80, 60], None, vec![Remark::NotSquare]),
        (None, None, Some("1\\4"), [40, 240], None, vec![Remark::NotSquare]),
        // Distances go before the ratio.
        (Some("0.2\\0.2"), None, Some("2\\1"), [40, 60], Some([0.2, 0.2]), vec![]),
        (Some("0.2\\0.201"), None, None, [40, 60], Some([0.2, 0.201]), vec![]),
        (Some("1\\0.2"), None, None, [40, 60], Some([1.0, 0.2]), vec![Remark::AspectIgnored]),
        (Some("0\\0.2"), None, Some("1\\9"), [40, 60], None, vec![Remark::AspectIgnored]),
        (None, None, Some("1"), [40, 60], None, vec![]),
    ] {
        let bytes = ramp(spacing, imager, ratio).bytes();
        let picture = decode_bytes(&bytes, &options).unwrap();
        let case = format!("{spacing:?} {imager:?} {ratio:?}");
        assert_eq!([picture.height, picture.width], size, "{case}");
        assert_eq!(dicom_square_dimensions(&bytes, &options).unwrap(), size, "{case}");
        assert_eq!(picture.pixel_spacing_mm, mm, "{case}");
        assert_eq!(picture.metadata.stored_size, (size != [40, 60]).then_some([40, 60]), "{case}");
        assert_eq!(picture.metadata.remarks, remarks, "{case}");
        let stored = |at: usize, of: usize, from: usize| (at as f32 + 0.5) * from as f32 / of as f32 - 0.5;
        for row in 12..size[0] - 12 {
            for column in 12..size[1] - 12 {
                let expected = (stored(row, size[0], 40) * 20.0 + stored(column, size[1], 60) * 10.0) / 4095.0;
                let found = picture.pixels[row * size[1] + column];
                assert!((found - expected).abs() < 1e-4, "{case}, {row} {column}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn the_coarser_distance_is_taken_where_the_finer_needs_too_many_pixels() {
    let options = DecodeOptions { max_pixels: 40 * 60, ..DecodeOptions::default() };
    for (spacing, size) in [("0.4\\0.2", [40, 30]), ("0.2\\0.4", [20, 60])] {
        let bytes = ramp(Some(spacing), None, None).bytes();
        let picture = decode_bytes(&bytes, &options).unwrap();
        assert_eq!([picture.height, picture.width], size, "{spacing}");
        assert_eq!(dicom_square_dimensions(&bytes, &options).unwrap(), size, "{spacing}");
        assert_eq!(picture.pixel_spacing_mm, Some([0.4; 2]), "{spacing}");
    }
}
