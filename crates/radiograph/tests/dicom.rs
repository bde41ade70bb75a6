//! DICOM decoding against pydicom, and against damage.

use std::path::{Path, PathBuf};

use radiograph::{
    DecodeError, DecodeOptions, DicomStructure, Radiograph, SourceFormat, decode_bytes, decode_file, dicom_dimensions,
    dicom_segmentation, is_dicom,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dicom")
}

struct Expected {
    name: String,
    height: usize,
    width: usize,
    pixels: Vec<f32>,
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(folder().join("expected.txt")).unwrap();
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(head) = lines.next() {
        let parts: Vec<&str> = head.split(' ').collect();
        let (height, width) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        let rows = lines.by_ref().take(height);
        let pixels = rows.flat_map(|row| row.split(' ').map(|value| value.parse().unwrap())).collect();
        all.push(Expected { name: parts[0].to_string(), height, width, pixels });
    }
    all
}

fn decode(name: &str) -> Radiograph {
    decode_file(folder().join(format!("{name}.dcm")), &DecodeOptions::default()).unwrap()
}

/// How far from pydicom a pixel may be, in brightness: nothing but the rounding of `f32`, except where the standard
/// leaves the rounding of a transform to the decoder.
fn tolerance(name: &str) -> f32 {
    let levels = match name {
        // The cosine transform: one grey level. In colour, one in each channel and one more by the conversion. With 12 bits
        // libjpeg-turbo was asked, whose transform is the same to the last bit.
        "jpeg_baseline" | "jpeg_extended_u8" => 1.0 / 255.0,
        "jpeg_baseline_ybr" => 2.0 / 255.0,
        // The irreversible wavelet: one stored value, stretched by the window.
        "j2k_lossy_u8" => 1.0 / 255.0,
        "j2k_lossy_u12" => 1.0 / 2399.0,
        // Where in its interval a quantised coefficient is put, is left open: two stored values.
        "htj2k_lossy_u8" => 2.0 / 255.0,
        "htj2k_lossy_u12" => 2.0 / 4095.0,
        // Transforms in floating point: one stored value.
        "jxl_lossy_u8" | "jxl_jpeg" => 1.0 / 255.0,
        "jxl_lossy_u12" => 1.0 / 4095.0,
        "jxl_lossy_u16" => 1.0 / 65535.0,
        _ => 0.0,
    };
    levels + 1e-5
}

#[test]
fn every_encoding_agrees_with_pydicom() {
    let all = expected();
    assert!(all.len() >= 66, "only {} fixtures", all.len());
    for Expected { name, height, width, pixels } in all {
        let picture = decode(&name);
        assert_eq!((picture.height, picture.width, picture.pixels.len()), (height, width, pixels.len()), "{name}");
        assert_eq!(picture.format, SourceFormat::Dicom);
        let tolerance = tolerance(&name);
        for (position, (found, expected)) in picture.pixels.iter().zip(&pixels).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "{name}, row {}, column {}: {found} instead of {expected}",
                position / width,
                position % width
            );
        }
    }
}

#[test]
fn monochrome1_is_the_inverse_of_monochrome2() {
    let (normal, inverse) = (decode("u12_window"), decode("monochrome1"));
    for (a, b) in normal.pixels.iter().zip(&inverse.pixels) {
        assert!((a + b - 1.0).abs() < 1e-6);
    }
}

#[test]
fn only_patient_view_and_spacing_are_exposed() {
    let picture = decode("u12_window");
    assert_eq!(picture.metadata.patient_id.as_deref(), Some("P-0042"));
    assert_eq!(picture.metadata.view.as_deref(), Some("PA"));
    assert_eq!(picture.pixel_spacing_mm, Some([0.143, 0.15]));
    assert_eq!(picture.stored_bits, 12);
    let shown = format!("{picture:?}");
    assert!(!shown.contains("P-0042") && !shown.contains("Painted"));
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.dcm"))).unwrap()
}

/// Replaces the value of the only element with this tag (explicit, little endian, short length) by one as long.
fn patched(name: &str, tag: [u8; 4], value: &[u8]) -> Vec<u8> {
    let mut bytes = fixture(name);
    let position = bytes.windows(4).rposition(|window| window == tag).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[position + 6], bytes[position + 7]]));
    assert_eq!(length, value.len());
    bytes[position + 8..position + 8 + length].copy_from_slice(value);
    bytes
}

fn message(bytes: &[u8]) -> String {
    decode_bytes(bytes, &DecodeOptions::default()).unwrap_err().to_string()
}

#[test]
fn a_window_of_no_width_falls_back_to_percentiles() {
    // WindowWidth 2400 becomes 0: what remains is the picture without a window.
    let bytes = patched("monochrome1", [0x28, 0, 0x51, 0x10], b"0   ");
    let picture = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
    assert_eq!(picture.pixels, decode("monochrome1_no_window").pixels);
}

#[test]
fn unsupported_files_say_why() {
    let rows = patched("u8", [0x28, 0, 0x10, 0], &20_000_u16.to_le_bytes());
    let rows_and_columns = {
        let position = rows.windows(4).rposition(|window| window == [0x28, 0, 0x11, 0]).unwrap();
        let mut bytes = rows.clone();
        bytes[position + 8..position + 10].copy_from_slice(&20_000_u16.to_le_bytes());
        bytes
    };
    assert!(matches!(
        decode_bytes(&rows_and_columns, &DecodeOptions::default()),
        Err(DecodeError::TooLarge { width: 20_000, height: 20_000, max_pixels: 100_000_000 })
    ));
    assert!(message(&rows).contains("234 bytes of pixel data instead of 360000"), "{}", message(&rows));

    let palette = patched("u8", [0x28, 0, 4, 0], b"PALETTE COLO");
    assert!(message(&palette).contains("photometric interpretation PALETTE COLO"), "{}", message(&palette));

    let bits = patched("u8", [0x28, 0, 0, 1], &32_u16.to_le_bytes());
    assert!(message(&bits).contains("8 bits stored in 32 allocated"), "{}", message(&bits));

    // Nobody's syntax in place of RLE.
    let mut foreign = fixture("rle_u8");
    let position = foreign.windows(19).position(|window| window == b"1.2.840.10008.1.2.5").unwrap();
    foreign[position..position + 19].copy_from_slice(b"1.2.840.10008.9.9.9");
    assert!(message(&foreign).contains("transfer syntax 1.2.840.10008.9.9.9 is unknown"), "{}", message(&foreign));

    let mut film = fixture("u8");
    let position = film.windows(4).rposition(|window| window == [0x28, 0, 0x10, 0]).unwrap();
    film.splice(position..position, *b"\x28\0\x08\0IS\x02\x0012");
    assert!(message(&film).contains("it has 12 frames"), "{}", message(&film));

    let mut report = fixture("u8");
    let position = report.windows(4).rposition(|window| window == [0xe0, 0x7f, 0x10, 0]).unwrap();
    report.truncate(position);
    assert!(message(&report).contains("the DICOM file has no PixelData (7FE0,0010)"), "{}", message(&report));
}

#[test]
fn syntaxes_that_are_not_read_are_named_with_a_remedy() {
    let found = message(&fixture("refused_multi_frame"));
    assert!(found.contains("it has 3 frames") && found.contains("export one frame per file"), "{found}");
    // A film of MPEG-2: known by name, not decoded.
    let mut film = fixture("htj2k_u8");
    let position = film.windows(23).position(|window| window == b"1.2.840.10008.1.2.4.201").unwrap();
    film[position..position + 23].copy_from_slice(b"1.2.840.10008.1.2.4.100");
    let film = message(&film);
    assert!(film.contains("(1.2.840.10008.1.2.4.100)") && film.contains("explicit little endian first"), "{film}");
    // A palette whose blue table is cut off, and one that has no tables at all.
    let short = patched("palette_u16", [0x28, 0, 3, 0x11], &[0xff, 0xff, 5, 0, 16, 0]);
    assert!(message(&short).contains("a look-up table of 65535 entries has 480 bytes"), "{}", message(&short));
    let without = {
        let mut bytes = fixture("u8");
        let position = bytes.windows(11).position(|window| window == b"MONOCHROME2").unwrap();
        bytes.splice(position..position + 12, *b"PALETTE COLOR ");
        bytes[position - 2] = 14;
        bytes
    };
    assert!(message(&without).contains("tables of its three colours"), "{}", message(&without));
}

#[test]
fn every_truncation_is_a_sentence() {
    for name in [
        "u8",
        "u12_window",
        "implicit",
        "big_endian",
        "voi_lut",
        "rle_u8",
        "jpeg_lossless_u8",
        "jls_u8",
        "j2k_u8",
        "htj2k_u8",
        "jxl_u8",
    ] {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            match decode_bytes(&bytes[..length], &DecodeOptions::default()) {
                Ok(_) => panic!("{name} cut to {length} of {} bytes decodes", bytes.len()),
                Err(error) => assert!(!error.to_string().contains("gave up"), "{name} cut to {length}: {error}"),
            }
        }
    }
}

/// Every byte of every fixture changed in turn: an image or a sentence, never a panic or a runaway allocation.
#[test]
fn every_damaged_byte_is_survived() {
    for Expected { name, .. } in expected() {
        let bytes = fixture(&name);
        for position in 132..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0xff;
            match decode_bytes(&damaged, &DecodeOptions::default()) {
                Ok(picture) => {
                    assert_eq!(picture.pixels.len(), picture.height * picture.width);
                    assert!(picture.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)), "{name}, byte {position}");
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.len() > 20, "{name}, byte {position}: {text}");
                    assert!(!text.contains("gave up"), "{name}, byte {position}: {text}");
                }
            }
        }
    }
}

#[test]
fn files_without_preamble_are_recognised() {
    let bytes = fixture("implicit");
    let whole = decode("implicit");
    for start in [128, 132] {
        assert_eq!(decode_bytes(&bytes[start..], &DecodeOptions::default()).unwrap(), whole, "from byte {start}");
    }
    // Without the file meta group, too: the bare data set begins with (0008,0016).
    let start = bytes.windows(4).position(|window| window == [8, 0, 0x16, 0]).unwrap();
    assert_eq!(decode_bytes(&bytes[start..], &DecodeOptions::default()).unwrap(), whole);
}

#[test]
fn deep_nesting_costs_no_stack() {
    // A private sequence of undefined length, nested 200,000 times, in front of everything else.
    let bytes = fixture("implicit");
    let start = bytes.windows(4).position(|window| window == [8, 0, 0x16, 0]).unwrap();
    let mut nested = bytes[..start].to_vec();
    for _ in 0..200_000 {
        nested.extend(b"\x08\0\x15\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff");
    }
    assert!(message(&nested).contains("sequence"), "{}", message(&nested));
}

/// What pydicom and highdicom make of such a file is checked by `golden/dicom/check_segmentation.py`.
#[test]
fn masks_become_a_segmentation_object_of_their_image() {
    let source = std::fs::read(folder().join("u12_study.dcm")).unwrap();
    let picture = decode_bytes(&source, &DecodeOptions::default()).unwrap();
    let pixels = picture.height * picture.width;
    let right: Vec<u8> = (0..pixels).map(|at| u8::from(at % picture.width < picture.width / 3)).collect();
    let left: Vec<u8> = (0..pixels).map(|at| u8::from(at % picture.width >= 2 * picture.width / 3)).collect();
    let lung =
        |label, modifier, mask| DicomStructure { label, code: ("39607008", "Lung"), modifier: Some(modifier), mask };
    let structures =
        [lung("Right lung", ("24028007", "Right"), &right), lung("Left lung", ("7771000", "Left"), &left[..])];
    let made = dicom_segmentation(&source, &structures, "Lungs, without labels", 7).unwrap();
    assert!(is_dicom(&made) && dicom_dimensions(&source).unwrap() == [picture.height, picture.width]);
    if let Some(folder) = std::env::var_os("DINO_DIFFUSION_KEEP") {
        std::fs::write(Path::new(&folder).join("segmentation.dcm"), &made).unwrap();
    }
    // Two frames of one bit are no picture for the decoder, which says so instead of drawing something.
    assert!(decode_bytes(&made, &DecodeOptions::default()).is_err());
    let has = |text: &str| made.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("2.25.28") && has("Right lung") && has("SEG"), "identifiers follow from the number");
    let wrong = [lung("Right lung", ("24028007", "Right"), &right[1..])];
    assert!(dicom_segmentation(&source, &wrong, "", 7).unwrap_err().to_string().contains("a mask of"));
    let bare = std::fs::read(folder().join("u8.dcm")).unwrap();
    let error = dicom_segmentation(&bare, &structures, "", 7).unwrap_err().to_string();
    assert!(error.contains("SeriesInstanceUID"), "{error}");
    assert!(dicom_segmentation(b"no image at all", &structures, "", 7).is_err());
}
