//! PNG and JPEG decoding and resizing against Pillow, against damage, and on real radiographs where they are at hand.

use std::path::{Path, PathBuf};

use radiograph::{
    DecodeError, DecodeOptions, Fit, Mask, SourceFormat, decode_bytes, decode_file, encode_png_u8, fit_square,
    fit_square_mask, resize,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plain")
}

fn expected(wanted: &str) -> (usize, usize, Vec<f32>) {
    let text = std::fs::read_to_string(folder().join("expected.txt")).unwrap();
    let mut lines = text.lines();
    while let Some(head) = lines.next() {
        let parts: Vec<&str> = head.split(' ').collect();
        let (height, width): (usize, usize) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        let rows = lines.by_ref().take(height);
        let pixels = rows.flat_map(|row| row.split(' ').map(|value| value.parse().unwrap())).collect();
        if parts[0] == wanted {
            return (height, width, pixels);
        }
    }
    panic!("no block {wanted}");
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn pictures_agree_with_pillow() {
    // JPEG leaves the rounding of its transforms to the decoder: one level of 255, two where colours are reconstructed. Of
    // the usual kind in grey it is that of libjpeg-turbo, which Pillow has, to the last bit.
    for (name, levels) in [("grey.jpg", 0.0), ("progressive.jpg", 1.0), ("color.jpg", 2.0), ("color.png", 0.0)] {
        let (height, width, pixels) = expected(name);
        let picture = decode_file(folder().join(name), &DecodeOptions::default()).unwrap();
        assert_eq!((picture.height, picture.width, picture.stored_bits), (height, width, 8), "{name}");
        let difference = greatest_difference(&picture.pixels, &pixels);
        assert!(difference <= levels / 255.0 + 1e-5, "{name}: {} levels", difference * 255.0);
    }
}

/// Components may have a scan each, in any order: the same coefficients, so the same pixels.
#[test]
fn components_in_scans_of_their_own_are_the_same_picture() {
    for reduce_for in [None, Some((13, Fit::Pad))] {
        let options = DecodeOptions { reduce_for, ..Default::default() };
        let [one, several] = ["color.jpg", "scans.jpg"].map(|name| decode_file(folder().join(name), &options).unwrap());
        assert_eq!((one.height, one.width), (several.height, several.width));
        assert_eq!(one.pixels, several.pixels);
    }
}

/// Against the standard, but read by most programs: the scan names its components in another order than the picture.
#[test]
fn components_in_another_order_are_read() {
    let mut bytes = std::fs::read(folder().join("color.jpg")).unwrap();
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    // Names and tables of the second and third component.
    assert_eq!(bytes[scan + 7..scan + 11], [2, 0x11, 3, 0x11]);
    bytes.swap(scan + 7, scan + 9);
    let picture = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
    let (height, width, pixels) = expected("color.jpg");
    assert_eq!((picture.height, picture.width), (height, width));
    assert!(greatest_difference(&picture.pixels, &pixels) <= 2.0 / 255.0 + 1e-5);
}

#[test]
fn resizing_agrees_with_pillow() {
    let source = decode_file(folder().join("resize_source.png"), &DecodeOptions::default()).unwrap();
    let (height, width, pixels) = expected("resized");
    let resized = resize(&source.pixels, source.height, source.width, height, width).unwrap();
    let difference = greatest_difference(&resized, &pixels);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn cmyk_is_refused_with_its_reason() {
    let error = decode_file(folder().join("cmyk.jpg"), &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error.reason(), DecodeError::Unsupported { format: SourceFormat::Jpeg, .. }), "{error}");
    assert!(error.to_string().contains("save it as grey or RGB"), "{error}");
}

#[test]
fn content_decides_not_the_name() {
    let target = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (source, name, format) in [
        ("plain/grey.jpg", "a.png", SourceFormat::Jpeg),
        ("plain/color.png", "b.dcm", SourceFormat::Png),
        ("dicom/u8.dcm", "c.jpeg", SourceFormat::Dicom),
        ("plain/color.png", "no ending", SourceFormat::Png),
    ] {
        let path = target.path().join(name);
        std::fs::copy(golden.join(source), &path).unwrap();
        assert_eq!(decode_file(&path, &DecodeOptions::default()).unwrap().format, format, "{name}");
    }
}

#[test]
fn folders_and_empty_files_are_sentences() {
    let target = tempfile::tempdir().unwrap();
    let empty = target.path().join("empty.png");
    std::fs::write(&empty, []).unwrap();
    let message = decode_file(&empty, &DecodeOptions::default()).unwrap_err().to_string();
    assert_eq!(message, format!("the file is empty; copy it again from its source: {}", empty.display()));
    assert!(matches!(
        decode_file(target.path(), &DecodeOptions::default()).unwrap_err().reason(),
        DecodeError::Read(_)
    ));
}

#[test]
fn every_truncation_is_an_error() {
    for name in ["grey.jpg", "progressive.jpg", "color.jpg", "scans.jpg", "color.png"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        for length in 0..bytes.len() {
            let error = decode_bytes(&bytes[..length], &DecodeOptions::default());
            let error = error.expect_err(&format!("{name} cut to {length} of {} bytes", bytes.len()));
            assert!(!error.to_string().contains("gave up"), "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn every_damaged_byte_is_survived() {
    for name in ["grey.jpg", "progressive.jpg", "color.jpg", "scans.jpg", "cmyk.jpg", "color.png"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        for position in 0..bytes.len() {
            for change in [0x01, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] ^= change;
                match decode_bytes(&damaged, &DecodeOptions::default()) {
                    Ok(picture) => assert_eq!(picture.pixels.len(), picture.height * picture.width),
                    Err(error) => assert!(error.to_string().len() > 20, "{name}, byte {position}: {error}"),
                }
            }
        }
    }
}

/// Real radiographs beside the repository; skipped where they are not.
#[test]
fn real_radiographs_decode() {
    let collection = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cxr");
    let list = |folder: &str| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(collection.join(folder)) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.truncate(25);
        paths
    };
    for name in ["originals", "hannover", "nih", "kermany/NORMAL", "kermany/PNEUMONIA"] {
        for path in list(name) {
            let picture = decode_file(&path, &DecodeOptions::default()).unwrap();
            assert!((0.1..0.9).contains(&picture.mean()), "{}: mean {}", path.display(), picture.mean());
            let square = fit_square(&picture, 64, Fit::CentreCrop);
            let (darkest, brightest) = (square.iter().min().unwrap(), square.iter().max().unwrap());
            assert!(brightest - darkest > 80, "{}: {darkest}..{brightest}", path.display());
        }
    }
    for path in list("masks") {
        let mask = Mask::from_radiograph(&decode_file(&path, &DecodeOptions::default()).unwrap());
        let small = fit_square_mask(&mask, 56, Fit::Pad);
        let coverage = small.iter().filter(|&&pixel| pixel == 1).count() as f32 / small.len() as f32;
        assert!((coverage - mask.coverage()).abs() < 0.01 && coverage > 0.05, "{}: {coverage}", path.display());
    }
}

#[test]
fn a_limit_of_pixels_is_kept() {
    let bytes = encode_png_u8(&[7; 100], 10, 10).unwrap();
    let options = DecodeOptions { max_pixels: 99, ..Default::default() };
    assert!(matches!(
        decode_bytes(&bytes, &options),
        Err(DecodeError::TooLarge { width: 10, height: 10, max_pixels: 99 })
    ));
    let options = DecodeOptions { max_pixels: 100, ..Default::default() };
    assert!(decode_bytes(&bytes, &options).is_ok());
}

/// A picture of which less is needed is decoded to a half, a quarter or an eighth, with sides rounded up.
#[test]
fn reduced_decoding_keeps_twice_what_is_needed() {
    for name in ["grey.jpg", "color.jpg"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        // 37 x 53 pixels; the longer side counts where all of the picture is to be seen, else the shorter one.
        for (size, fit, reduction) in [
            (14, Fit::Pad, 1),
            (13, Fit::Pad, 2),
            (6, Fit::Pad, 4),
            (3, Fit::Pad, 8),
            (1, Fit::Pad, 8),
            (10, Fit::CentreCrop, 1),
            (9, Fit::CentreCrop, 2),
            (9, Fit::Stretch, 2),
        ] {
            let options = DecodeOptions { reduce_for: Some((size, fit)), ..Default::default() };
            let picture = decode_bytes(&bytes, &options).unwrap();
            let expected = (37_usize.div_ceil(reduction), 53_usize.div_ceil(reduction));
            assert_eq!((picture.height, picture.width), expected, "{name}, {size}, {fit:?}");
        }
    }
}

/// On real radiographs, reduced decoding gives nearly what full decoding does.
#[test]
fn reduced_decoding_comes_near_full_decoding() {
    let originals = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cxr/originals");
    let Ok(files) = std::fs::read_dir(originals) else { return };
    let (mut sum, mut num) = (0, 0);
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let square = |reduce_for| {
            let options = DecodeOptions { reduce_for, ..Default::default() };
            fit_square(&decode_bytes(&bytes, &options).unwrap(), 128, Fit::Pad)
        };
        let (full, reduced) = (square(None), square(Some((128, Fit::Pad))));
        sum += full.iter().zip(&reduced).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        num += full.len() as u64;
    }
    let mean = sum as f64 / num as f64;
    assert!(num == 0 || (0.01..0.5).contains(&mean), "{mean}");
}
