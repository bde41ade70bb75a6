//! Borders cut off and text painted over, as settings of a dataset.

use radiograph::{Mask, Radiograph, fit_square, fit_square_mask};

use super::*;

/// Side of the phantom, and its margins.
pub(super) const INNER: usize = 160;
pub(super) const TOP: usize = 20;
pub(super) const LEFT: usize = 20;
const HEIGHT: usize = TOP + INNER;
const WIDTH: usize = LEFT + INNER;

/// A phantom in black margins at the top and left, with a white marker in its upper left corner.
pub(super) fn framed() -> Radiograph {
    let phantom = Phantom::from_seed(5, 0).render(INNER).radiograph;
    let level = |at: usize| {
        let (row, column) = (at / WIDTH, at % WIDTH);
        if row < TOP || column < LEFT {
            return 0;
        }
        let (row, column) = (row - TOP, column - LEFT);
        let is_marker = (6..20).contains(&row) && (8..12).contains(&column);
        if is_marker { 255 } else { (40.0 + 180.0 * phantom.pixels[row * INNER + column]) as u8 }
    };
    let pixels = (0..HEIGHT * WIDTH).map(|at| f32::from(level(at)) / 255.0).collect();
    Radiograph::from_pixels(pixels, HEIGHT, WIDTH).unwrap()
}

/// Writes it with a mask of half its resolution, inside in the lower half of the phantom.
fn write_framed(source: &Path) {
    fs::create_dir_all(source).unwrap();
    let levels = radiograph::to_u8(&framed().pixels);
    write_png_u8(&source.join("image.png"), &levels, HEIGHT, WIDTH).unwrap();
    let inside = |at: usize| at / (WIDTH / 2) >= (TOP + INNER / 2) / 2 && at % (WIDTH / 2) >= LEFT / 2;
    let mask: Vec<u8> = (0..HEIGHT / 2 * (WIDTH / 2)).map(|at| 255 * u8::from(inside(at))).collect();
    write_png_u8(&source.join("mask.png"), &mask, HEIGHT / 2, WIDTH / 2).unwrap();
    fs::write(source.join("table.csv"), "path,lung_mask\nimage.png,mask.png\n").unwrap();
}

#[test]
fn borders_are_cut_off_images_and_masks_alike() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write_framed(&source);
    let made = |name: &str, crop_borders: bool| {
        let out = dir.path().join(name);
        let config = PrepareConfig { preset: "csv".into(), crop_borders, ..config(&source.join("table.csv"), &out) };
        let summary = run(&config, &Silent).unwrap();
        assert_eq!(summary.num_cropped, crop_borders.then_some(1));
        (Dataset::open(&out).unwrap(), rows(&out).remove(0))
    };
    let ((whole, row), (cropped, cropped_row)) = (made("whole", false), made("cropped", true));
    assert!(!whole.info().preparation.contains_key("crop_borders"));
    assert_eq!(cropped.info().preparation["crop_borders"].as_bool(), Some(true));
    // The same picture, whatever becomes of it.
    assert_eq!((&row.pixel_hash, row.perceptual_hash), (&cropped_row.pixel_hash, cropped_row.perceptual_hash));
    let inner = framed().cropped([TOP, LEFT, INNER, INNER]);
    assert_eq!(cropped.image(0).unwrap(), fit_square(&inner, SIZE, radiograph::Fit::Pad));
    assert_ne!(whole.image(0).unwrap(), cropped.image(0).unwrap());
    let lower = Mask {
        pixels: (0..INNER * INNER).map(|at| u8::from(at / INNER >= INNER / 2)).collect(),
        height: INNER,
        width: INNER,
    };
    assert_eq!(cropped.mask(0).unwrap().unwrap(), fit_square_mask(&lower, SIZE, radiograph::Fit::Pad));
}

#[test]
fn text_is_painted_over_and_the_hash_is_that_of_the_picture() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write_framed(&source);
    let made = |name: &str, mask_corner_text: bool| {
        let out = dir.path().join(name);
        let config = PrepareConfig {
            preset: "csv".into(),
            mask_corner_text,
            crop_borders: true,
            ..config(&source.join("table.csv"), &out)
        };
        let summary = run(&config, &Silent).unwrap();
        assert_eq!(summary.num_text_masked, mask_corner_text.then_some(1));
        (Dataset::open(&out).unwrap().image(0).unwrap(), rows(&out).remove(0))
    };
    let ((shown, row), (masked, masked_row)) = (made("shown", false), made("masked", true));
    assert_eq!(row.pixel_hash, masked_row.pixel_hash);
    // The marker covers the pixel at (12, 10) of 160, which is at (1, 1) of 24.
    let at = SIZE + 1;
    assert!(shown[at] > masked[at] + 40, "{} and {}", shown[at], masked[at]);
    assert_eq!(shown[SIZE * SIZE / 2..], masked[SIZE * SIZE / 2..]);
    let error = error(&PrepareConfig {
        preset: "csv".into(),
        crop_borders: true,
        add: true,
        ..config(&source.join("table.csv"), &dir.path().join("masked"))
    });
    assert!(error.contains("other settings"), "{error}");
}

#[test]
fn millimetres_stay_right_where_borders_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    // The fixture's header, with 0.143 and 0.15 mm between rows and columns, on 120 x 90 pixels with 30 dark rows.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../radiograph/tests/golden/dicom/u12_window.dcm");
    let mut file = fs::read(fixture).unwrap();
    let place = |file: &[u8], tag: [u8; 4]| file.windows(4).rposition(|window| window == tag).unwrap();
    for (tag, value) in [([0x28, 0, 0x10, 0], 120_u16), ([0x28, 0, 0x11, 0], 90)] {
        let at = place(&file, tag) + 8;
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    file.truncate(place(&file, [0xe0, 0x7f, 0x10, 0]) + 8);
    file.extend((120 * 90 * 2_u32).to_le_bytes());
    let stored =
        (0..120 * 90_u32).map(|at| if at < 30 * 90 { 0 } else { 1000 + (at / 90 * 37 + at * 53) % 1600 } as u16);
    file.extend(stored.flat_map(u16::to_le_bytes));
    fs::write(source.join("image.dcm"), &file).unwrap();
    for (crop_borders, expected) in [(false, [0.143 * 5.0, 0.15 * 5.0]), (true, [0.143 * 3.75, 0.15 * 3.75])] {
        let out = dir.path().join(format!("{crop_borders}"));
        run(&PrepareConfig { crop_borders, ..config(&source, &out) }, &Silent).unwrap();
        let row = rows(&out).remove(0);
        let found = row.pixel_spacing_mm.unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    }
}

#[test]
fn borders_and_text_are_those_of_the_whole_picture_when_decoding_is_reduced() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    // A border of 8 of 512 rows, of which a single one is left in a picture of an eighth.
    let (down, columns) = (64, 48);
    let grey = |at: usize| if at < columns { 0 } else { (60 + at * 31 % 140) as u8 };
    let greys: Vec<u8> = (0..down * columns).map(grey).collect();
    fs::write(source.join("image.jpg"), jpeg_of_blocks(&greys, columns)).unwrap();
    let made = |reduced_decoding: bool, crop_borders: bool| {
        let out = dir.path().join(format!("{reduced_decoding}-{crop_borders}"));
        let config = PrepareConfig { reduced_decoding, crop_borders, ..config(&source, &out) };
        let summary = run(&config, &Silent).unwrap();
        assert_eq!(summary.num_cropped, crop_borders.then_some(1));
        (Dataset::open(&out).unwrap().image(0).unwrap(), rows(&out).remove(0).pixel_hash)
    };
    let (cropped, hash) = made(false, true);
    let whole = Radiograph::from_pixels(
        (0..down * 8 * columns * 8)
            .map(|at| f32::from(greys[at / (columns * 8) / 8 * columns + at % (columns * 8) / 8]) / 255.0)
            .collect(),
        down * 8,
        columns * 8,
    );
    let inside = whole.unwrap().cropped([8, 0, down * 8 - 8, columns * 8]);
    assert_eq!(cropped, fit_square(&inside, SIZE, radiograph::Fit::Pad));
    assert_eq!(made(true, true), (cropped, hash.clone()));
    // Without the border to look for, it is reduced, unless it is searched for text.
    assert_ne!(made(true, false).1, hash);
    let out = dir.path().join("text");
    run(&PrepareConfig { reduced_decoding: true, mask_corner_text: true, ..config(&source, &out) }, &Silent).unwrap();
    assert_eq!(rows(&out).remove(0).pixel_hash, hash);
}
