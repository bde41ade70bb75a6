//! From stored values to brightness where files leave a choice or contradict themselves: tables, windows, plain values.

mod common;

use common::{Dicom, item, sequence, words};
use radiograph::{DecodeOptions, Radiograph, Remark, decode_bytes};

const MODALITY_TABLE: [u16; 2] = [0x28, 0x3000];
const TABLE_OF_INTEREST: [u16; 2] = [0x28, 0x3010];

/// A sequence with one table.
fn table(sequence_tag: [u16; 2], descriptor: [u16; 3], data: &[u8]) -> Vec<u8> {
    let inner = [item([0x28, 0x3002], b"US", &words(&descriptor)), item([0x28, 0x3006], b"OW", data)].concat();
    sequence(sequence_tag, Some(&inner))
}

fn decode(file: &Dicom) -> Radiograph {
    decode_bytes(&file.bytes(), &DecodeOptions::default()).unwrap()
}

/// `stored` as 16 bits in one row.
fn image(stored: &[u16], bits: u16) -> Dicom {
    Dicom {
        columns: stored.len() as u16,
        bits_allocated: 16,
        bits_stored: bits,
        pixels: words(stored),
        ..Dicom::default()
    }
}

fn assert_close(found: &[f32], expected: &[f64], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{case}, pixel {at}: {found} instead of {expected}");
    }
}

/// The kind: number of entries x claimed bits x how far the entries go x packing x range of inputs.
#[test]
fn tables_of_interest_follow_their_entries_where_the_descriptor_contradicts_them() {
    let mut num_cases = 0;
    // Slope, intercept, and the first input: not signed, from a negative number on, and far above 32,767.
    for (signed, slope, intercept, first) in [
        (false, 1, 0, 0_i32),
        (false, 1, -1024, -1024),
        (true, 1, 0, -2048),
        (true, 1, 2048, 0),
        (false, 1, 60_000, 60_000),
    ] {
        for entries in [256_usize, 1024, 4096, 65_536] {
            for claimed in [8_u32, 10, 12, 16] {
                for filled in [6_u32, 8, 10, 12, 16] {
                    for is_packed in [false, true] {
                        if is_packed && filled > 8 {
                            continue;
                        }
                        num_cases += 1;
                        let greatest = (1_u32 << filled) - 1;
                        // A curve that rises, with steps, to the greatest value.
                        let entry = |index: usize| (index as u64 * u64::from(greatest) / (entries as u64 - 1)) as u16;
                        let values: Vec<u16> = (0..entries).map(entry).collect();
                        let data =
                            if is_packed { values.iter().map(|&value| value as u8).collect() } else { words(&values) };
                        let stored = [0_u16, 1, 5, 255, 256, 1000, 1023, 2047, 2048, 3000, 4095];
                        let mut file = image(&stored, 12);
                        file.is_signed = signed;
                        file.elements.push(item([0x28, 0x1052], b"DS", format!("{intercept}").as_bytes()));
                        file.elements.push(item([0x28, 0x1053], b"DS", format!("{slope}").as_bytes()));
                        file.elements.push(table(
                            TABLE_OF_INTEREST,
                            [entries as u16, first as u16, claimed as u16],
                            &data,
                        ));
                        let picture = decode(&file);
                        // By the standard's words, in other words.
                        let bits = if filled > claimed || claimed - filled >= 2 { filled } else { claimed };
                        let expected: Vec<f64> = stored
                            .iter()
                            .map(|&code| {
                                let value =
                                    if signed && code >= 2048 { i32::from(code) - 4096 } else { i32::from(code) };
                                let index = (value * slope + intercept - first).clamp(0, entries as i32 - 1);
                                f64::from(values[index as usize]) / (2_f64.powi(bits as i32) - 1.0)
                            })
                            .collect();
                        let case =
                            format!("{entries} x {claimed} bits, {filled} filled, packed {is_packed}, from {first}");
                        assert_close(&picture.pixels, &expected, &case);
                        let is_remarked = picture.metadata.remarks.contains(&Remark::TableBits);
                        assert_eq!(is_remarked, bits != claimed, "{case}");
                    }
                }
            }
        }
    }
    assert_eq!(num_cases, 5 * 4 * 4 * 7);
}

/// What a modality table puts out has no sign, whatever goes in.
#[test]
fn a_table_of_interest_behind_a_modality_table_has_unsigned_inputs() {
    let stored = [0_u16, 1, 2, 3];
    for is_signed in [false, true] {
        let mut file = image(&stored, 12);
        file.is_signed = is_signed;
        file.elements.push(table(MODALITY_TABLE, [4, 0, 16], &words(&[60_000, 60_001, 60_002, 60_003])));
        file.elements.push(table(TABLE_OF_INTEREST, [4, 60_000, 8], &words(&[0, 51, 102, 255])));
        assert_close(&decode(&file).pixels, &[0.0, 0.2, 0.4, 1.0], &format!("signed {is_signed}"));
    }
}

#[test]
fn palettes_follow_their_entries_too() {
    for (claimed, greatest, is_packed, bits) in [
        (16, 65_535, false, 16),
        (16, 255, false, 8),
        (8, 255, true, 8),
        (16, 4095, false, 12),
        (8, 4095, false, 12),
        (16, 255, true, 8),
    ] {
        let values: Vec<u16> = (0..16_u32).map(|index| (index * greatest / 15) as u16).collect();
        let data = if is_packed { values.iter().map(|&value| value as u8).collect() } else { words(&values) };
        let stored: Vec<u16> = (0..16).collect();
        let mut file = image(&stored, 8);
        file.photometric = "PALETTE COLOR";
        for color in 1..=3 {
            file.elements.push(item([0x28, 0x1100 + color], b"US", &words(&[16, 0, claimed])));
        }
        for color in 1..=3 {
            file.elements.push(item([0x28, 0x1200 + color], b"OW", &data));
        }
        let picture = decode(&file);
        let expected: Vec<f64> = values.iter().map(|&value| f64::from(value) / (2_f64.powi(bits) - 1.0)).collect();
        let case = format!("{claimed} bits claimed, up to {greatest}");
        assert_close(&picture.pixels, &expected, &case);
        assert_eq!(picture.metadata.remarks.contains(&Remark::TableBits), bits != i32::from(claimed), "{case}");
    }
}

/// The ways in which a table is none.
fn hollow(tag: [u16; 2]) -> Vec<(&'static str, Vec<u8>)> {
    let descriptor = item([0x28, 0x3002], b"US", &words(&[4, 0, 12]));
    let data = item([0x28, 0x3006], b"OW", &words(&[0, 1, 2, 3]));
    let empty_descriptor = item([0x28, 0x3002], b"US", b"");
    let empty_data = item([0x28, 0x3006], b"OW", b"");
    vec![
        ("no item", sequence(tag, None)),
        ("an item without elements", sequence(tag, Some(b""))),
        ("no descriptor", sequence(tag, Some(&data))),
        ("no data", sequence(tag, Some(&descriptor))),
        ("an empty descriptor", sequence(tag, Some(&[empty_descriptor.clone(), data].concat()))),
        ("empty data", sequence(tag, Some(&[descriptor, empty_data.clone()].concat()))),
        ("both empty", sequence(tag, Some(&[empty_descriptor, empty_data].concat()))),
    ]
}

#[test]
fn empty_tables_are_passed_over_and_said_once() {
    let stored = [0_u16, 1000, 2000, 4095];
    let windowed = |elements: Vec<Vec<u8>>| {
        let mut file = image(&stored, 12);
        file.elements = elements;
        file.with_window("2048", "4096")
    };
    let expected = decode(&windowed(vec![])).pixels;
    let without_window = decode(&image(&stored, 12)).pixels;
    for (name, voi) in hollow(TABLE_OF_INTEREST) {
        let picture = decode(&windowed(vec![voi.clone()]));
        assert_eq!(
            (picture.pixels, &picture.metadata.remarks[..]),
            (expected.clone(), &[Remark::TableUnusable][..]),
            "{name}"
        );
        let mut file = image(&stored, 12);
        file.elements.push(voi.clone());
        assert_eq!(decode(&file).pixels, without_window, "{name}");
        for (modality_name, modality) in hollow(MODALITY_TABLE) {
            let picture = decode(&windowed(vec![modality, voi.clone()]));
            assert_eq!(picture.pixels, expected, "{modality_name}, {name}");
            assert_eq!(picture.metadata.remarks, [Remark::TableUnusable], "{modality_name}, {name}");
        }
    }
}

#[test]
fn a_damaged_table_of_interest_is_passed_over_and_a_damaged_modality_table_refused() {
    let stored = [0_u16, 1000, 2000, 4095];
    let expected = decode(&image(&stored, 12).with_window("2048", "4096")).pixels;
    for (descriptor, entries) in [([4096, 0, 12], 4095_usize), ([0, 0, 16], 4096), ([4, 0, 17], 4), ([4, 0, 0], 4)] {
        let data = words(&vec![7; entries]);
        let mut file = image(&stored, 12).with_window("2048", "4096");
        file.elements.push(table(TABLE_OF_INTEREST, descriptor, &data));
        let picture = decode(&file);
        assert_eq!((picture.pixels, &picture.metadata.remarks[..]), (expected.clone(), &[Remark::TableUnusable][..]));
        let mut file = image(&stored, 12).with_window("2048", "4096");
        file.elements.push(table(MODALITY_TABLE, descriptor, &data));
        let error = decode_bytes(&file.bytes(), &DecodeOptions::default()).unwrap_err().to_string();
        assert!(error.contains("look-up table"), "{error}");
    }
}

#[test]
fn windows_below_one_count_where_values_have_fractions() {
    let stored = [0_u16, 100, 200, 300, 400];
    let with = |slope: &str, width: &str, function: Option<&str>| {
        let mut file = image(&stored, 12);
        file.elements.push(item([0x28, 0x1052], b"DS", b"0"));
        file.elements.push(item([0x28, 0x1053], b"DS", slope.as_bytes()));
        if let Some(function) = function {
            file.elements.push(item([0x28, 0x1056], b"CS", function.as_bytes()));
        }
        decode(&file.with_window("0.2", width)).pixels
    };
    // LINEAR_EXACT: (value - center) / width + 1/2, values 0, 0.1, 0.2, 0.3, 0.4.
    for function in [None, Some("LINEAR"), Some("LINEAR_EXACT")] {
        assert_close(&with("0.001", "0.4", function), &[0.0, 0.25, 0.5, 0.75, 1.0], &format!("{function:?}"));
        assert_close(&with("0.001", "0.2", function), &[0.0, 0.0, 0.5, 1.0, 1.0], &format!("{function:?}"));
    }
    // Of whole numbers a width below 1 is no window.
    let percentiles = decode(&image(&stored, 12)).pixels;
    assert_eq!(with("1", "0.4", None), percentiles);
    assert_eq!(with("0.001", "0", None), percentiles);
    assert_eq!(with("0.001", "-0.4", None), percentiles);
    assert_close(&with("1", "0.4", Some("LINEAR_EXACT")), &[0.0, 1.0, 1.0, 1.0, 1.0], "a step");
}

/// Eight bits and fewer are what they are, as in a PNG; more are stretched between percentiles.
#[test]
fn few_bits_without_a_window_are_taken_as_they_are() {
    let stretched = DecodeOptions { stretch_plain_images: true, percentiles: [0.0, 100.0], ..DecodeOptions::default() };
    for bits in 1..=16_u16 {
        let top = (1_u32 << bits) - 1;
        let (low, high) = (top / 4, top - top / 4);
        let stored = [low as u16, high as u16, low as u16, ((low + high) / 2) as u16];
        for (is_signed, slope, intercept) in
            [(false, "1", "0"), (true, "1", "0"), (false, "2", "-7"), (false, "-1", "0"), (false, "1", "1000")]
        {
            for photometric in ["MONOCHROME2", "MONOCHROME1"] {
                let mut file = image(&stored, bits);
                (file.is_signed, file.photometric) = (is_signed, photometric);
                file.elements.push(item([0x28, 0x1052], b"DS", intercept.as_bytes()));
                file.elements.push(item([0x28, 0x1053], b"DS", slope.as_bytes()));
                let value = |code: u16| {
                    let code = if is_signed && u32::from(code) > top / 2 {
                        i64::from(code) - i64::from(top) - 1
                    } else {
                        code.into()
                    };
                    code as f64 * slope.parse::<f64>().unwrap()
                };
                let range = |values: &[u16]| {
                    let values = values.iter().map(|&code| value(code));
                    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [v.min(low), v.max(high)])
                };
                let expected = |[least, most]: [f64; 2]| -> Vec<f64> {
                    let level = |code: &u16| if most > least { (value(*code) - least) / (most - least) } else { 0.5 };
                    let inverted = photometric == "MONOCHROME1";
                    stored.iter().map(|code| if inverted { 1.0 - level(code) } else { level(code) }).collect()
                };
                let all: Vec<u16> = (0..=top as u16).collect();
                let case = format!("{bits} bits, signed {is_signed}, slope {slope}, {photometric}");
                if bits <= 8 {
                    assert_close(&decode(&file).pixels, &expected(range(&all)), &case);
                }
                // With the setting all are stretched; with more bits they are anyhow.
                let found = decode_bytes(&file.bytes(), &stretched).unwrap().pixels;
                assert_close(&found, &expected(range(&stored)), &case);
                let without = DecodeOptions { stretch_plain_images: false, ..stretched.clone() };
                if bits > 8 {
                    assert_eq!(decode_bytes(&file.bytes(), &without).unwrap().pixels, found, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_window_beside_the_values_is_left_out_where_stretching_is_asked_for() {
    let stored: Vec<u16> = (0..400).map(|at| 500 + at).collect();
    let outside = image(&stored, 12).with_window("30000", "10");
    assert!(decode(&outside).pixels.iter().all(|&pixel| pixel == 0.0));
    let stretch = DecodeOptions { stretch_plain_images: true, ..DecodeOptions::default() };
    let expected = decode(&image(&stored, 12)).pixels;
    assert_eq!(decode_bytes(&outside.bytes(), &stretch).unwrap().pixels, expected);
    // A window that shows something stays.
    let window = image(&stored, 12).with_window("700", "300");
    assert_eq!(decode_bytes(&window.bytes(), &stretch).unwrap().pixels, decode(&window).pixels);
}

#[test]
fn images_for_processing_are_remarked_on() {
    for (intent, expected) in
        [("FOR PROCESSING", vec![Remark::ForProcessing]), ("FOR PRESENTATION", vec![]), ("", vec![])]
    {
        let mut file = image(&[0, 1, 2, 3], 12);
        file.elements.push(item([8, 0x68], b"CS", intent.as_bytes()));
        assert_eq!(decode(&file).metadata.remarks, expected, "{intent}");
    }
}
