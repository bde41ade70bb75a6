//! Text drawn into the corners of pictures is gone after masking, and pictures without text stay as they are.

use std::path::{Path, PathBuf};

use font8x8::UnicodeFonts as _;
use radiograph::{DecodeOptions, Phantom, Radiograph, content_box, decode_file, mask_corner_text};

const TEXT: &str = "DOE^JANE 1960";

/// What stands out less is too faint to be told from tissue.
const FAINT: f32 = 0.25;

/// Where text is drawn and how: the first row and column, pixels for each of the font's, brightness.
#[derive(Clone, Copy, Debug)]
struct Place {
    top: usize,
    left: usize,
    scale: usize,
    level: f32,
}

/// The places of all pixels of the text's letters.
fn ink(place: Place) -> Vec<(usize, usize)> {
    let mut ink = Vec::new();
    for (number, character) in TEXT.chars().enumerate() {
        let glyph = font8x8::BASIC_FONTS.get(character).unwrap();
        for (row, bits) in glyph.iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                for pixel in 0..place.scale * place.scale {
                    let (down, right) = (pixel / place.scale, pixel % place.scale);
                    ink.push((
                        place.top + row * place.scale + down,
                        place.left + (number * 8 + column) * place.scale + right,
                    ));
                }
            }
        }
    }
    ink
}

/// A place in one of the four corners; none where the text would not fit into 42 % of the width and a tenth of the
/// height. White on what is dark, black on what is bright, unless a level is given.
fn in_corner(picture: &Radiograph, corner: usize, scale: usize, level: Option<f32>) -> Option<Place> {
    let (tall, wide) = (8 * scale, 8 * scale * TEXT.len());
    let margin = 2 + picture.height / 100;
    if wide * 100 > picture.width * 42 || (tall + margin) * 10 > picture.height {
        return None;
    }
    let top = if corner < 2 { margin } else { picture.height - margin - tall };
    let left = if corner.is_multiple_of(2) { margin } else { picture.width - margin - wide };
    let level = level.unwrap_or_else(|| level_on(picture, top, left, scale));
    Some(Place { top, left, scale, level })
}

/// A place with the middle of the text on the border of a corner's search region, towards the middle of the picture: at
/// 45 % of the width in the strips at top and bottom, at 30 % of the width above and below them (`is_inner`).
fn across_border(picture: &Radiograph, corner: usize, scale: usize, is_inner: bool) -> Option<Place> {
    let (tall, wide) = (8 * scale, 8 * scale * TEXT.len());
    let (depth, border) = if is_inner { (0.10, 0.30) } else { (0.01, 0.45) };
    let margin = 2 + (depth * picture.height as f64) as usize;
    // Longer ones would begin outside of the picture or reach the other corner; higher ones would leave the region below.
    if wide * 100 > picture.width * 58 || (tall + margin) * 100 > picture.height * if is_inner { 20 } else { 8 } {
        return None;
    }
    let middle = (border * picture.width as f64) as usize;
    let top = if corner < 2 { margin } else { picture.height - margin - tall };
    let left = if corner.is_multiple_of(2) { middle } else { picture.width - middle } - wide / 2;
    Some(Place { top, left, scale, level: level_on(picture, top, left, scale) })
}

/// White on what is dark, black on what is bright.
fn level_on(picture: &Radiograph, top: usize, left: usize, scale: usize) -> f32 {
    let (tall, wide) = (8 * scale, 8 * scale * TEXT.len());
    let rows = picture.pixels.chunks_exact(picture.width).skip(top).take(tall);
    let mut below: Vec<f32> = rows.flat_map(|row| &row[left..left + wide]).copied().collect();
    below.sort_unstable_by(f32::total_cmp);
    if below[below.len() / 2] < 0.55 { 1.0 } else { 0.0 }
}

fn with_text(picture: &Radiograph, place: Place) -> Radiograph {
    let mut drawn = picture.clone();
    for (row, column) in ink(place) {
        drawn.pixels[row * picture.width + column] = place.level;
    }
    drawn
}

/// How far the ink that was not painted over stands out of the picture without text, at most.
fn remaining_contrast(clean: &Radiograph, drawn: &Radiograph, masked: &Radiograph, place: Place) -> f32 {
    let pixels = ink(place).into_iter().map(|(row, column)| row * clean.width + column);
    let bare = pixels.filter(|&at| masked.pixels[at] == drawn.pixels[at]);
    bare.map(|at| (drawn.pixels[at] - clean.pixels[at]).abs()).fold(0.0, f32::max)
}

fn changed(before: &Radiograph, after: &Radiograph) -> f64 {
    let number = before.pixels.iter().zip(&after.pixels).filter(|(a, b)| a != b).count();
    number as f64 / before.pixels.len() as f64
}

/// What remains of a text after masking, by [`remaining_contrast`]; `None` where not each pixel of a letter can be seen,
/// for black on black is no text.
fn remaining_on_phantom(clean: &Radiograph, place: Place) -> Option<f32> {
    let drawn = with_text(clean, place);
    let is_seen =
        |(row, column): (usize, usize)| (clean.pixels[row * clean.width + column] - place.level).abs() > FAINT;
    if !ink(place).into_iter().all(is_seen) {
        return None;
    }
    let mut picture = drawn.clone();
    assert!(mask_corner_text(&mut picture) > 0, "{place:?}");
    let share = changed(&drawn, &picture);
    assert!(share < 0.08, "{place:?}: {share} of the picture was painted over");
    Some(remaining_contrast(clean, &drawn, &picture, place))
}

#[test]
fn text_in_the_corners_of_phantoms_is_gone() {
    let mut num_drawn = 0;
    for seed in 0..4 {
        let clean = Phantom::from_seed(seed, 0).render(640).radiograph;
        for scale in [1, 2] {
            for corner in 0..4 {
                for level in [None, Some(1.0), Some(0.0)] {
                    let place = in_corner(&clean, corner, scale, level).unwrap();
                    let Some(left) = remaining_on_phantom(&clean, place) else { continue };
                    num_drawn += 1;
                    assert!(left <= FAINT, "phantom {seed}, {place:?}: {left} remains");
                }
            }
        }
    }
    assert!(num_drawn >= 20, "{num_drawn}");
}

#[test]
fn text_that_goes_on_beyond_a_corner_is_gone_to_its_end() {
    let (mut num_drawn, mut num_gone) = (0, 0);
    for seed in 0..4 {
        let clean = Phantom::from_seed(seed, 0).render(640).radiograph;
        for corner in 0..4 {
            for (scale, is_inner) in [(1, false), (1, true), (2, false), (2, true)] {
                let place = across_border(&clean, corner, scale, is_inner).unwrap();
                let Some(left) = remaining_on_phantom(&clean, place) else { continue };
                num_drawn += 1;
                num_gone += usize::from(left <= FAINT);
            }
        }
    }
    // A bone that a letter touches may end a line.
    assert!(num_drawn >= 20 && num_gone * 10 >= num_drawn * 9, "{num_gone} of {num_drawn} are gone");
}

#[test]
fn phantoms_without_text_are_unchanged() {
    const NUM: u64 = 60;
    let mut num_changed = 0;
    for seed in 0..NUM {
        let clean = Phantom::from_seed(seed, 0).render(512).radiograph;
        let mut picture = clean.clone();
        if mask_corner_text(&mut picture) == 0 {
            assert_eq!(picture, clean);
            continue;
        }
        // Where a clavicle crosses a rib, noise may make an edge as steep as a letter's.
        num_changed += 1;
        let share = changed(&clean, &picture);
        assert!(share < 0.01, "phantom {seed}: {share} of the picture was painted over");
    }
    // As many as 2 of 12; of 300 phantoms 31 are.
    assert!(num_changed * 6 <= NUM, "{num_changed} of {NUM} phantoms were changed");
}

/// Real images of the train split, in the manifest's order, by collection; the full-size ones apart.
fn real_images(folder: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let table = std::fs::read_to_string(folder.join("manifest.csv")).unwrap();
    let train = |collection: &str| {
        let rows = table.lines().filter(|line| line.contains(",train,") && line.starts_with(collection));
        rows.map(|line| folder.join(line.split(',').next().unwrap())).collect()
    };
    let mut originals: Vec<PathBuf> =
        std::fs::read_dir(folder.join("originals")).unwrap().map(|entry| entry.unwrap().path()).collect();
    originals.sort();
    let collections = ["kermany", "nih", "hannover"].map(|name| (name.to_owned(), train(name)));
    [vec![("originals".to_owned(), originals)], collections.to_vec()].concat()
}

/// Prints how many drawn texts are gone from real images, how many images without them are changed, and how many are
/// cropped. The folder is the one of the README's commands; another one is given by `CXR`.
#[test]
#[ignore = "measures on real images, some minutes; docs/ingest.md has the command"]
#[allow(clippy::print_stdout)]
fn figures_on_real_images() {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cxr");
    let folder = std::env::var_os("CXR").map_or(usual, PathBuf::from);
    for (collection, paths) in real_images(&folder) {
        let pictures = || paths.iter().map(|path| decode_file(path, &DecodeOptions::default()).unwrap());
        let (mut shares, mut crops) = (Vec::new(), Vec::new());
        for picture in pictures() {
            let mut masked = picture.clone();
            if mask_corner_text(&mut masked) > 0 {
                shares.push(changed(&picture, &masked));
            }
            let [_, _, height, width] = content_box(&picture);
            if (height, width) != (picture.height, picture.width) {
                crops.push(1.0 - (height * width) as f64 / picture.pixels.len() as f64);
            }
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let at = |share: f64| values.get((share * values.len() as f64) as usize).copied().unwrap_or(0.0) * 100.0;
            format!("{} of {}, median {:.2} %, p90 {:.2} %", values.len(), paths.len(), at(0.5), at(0.9))
        };
        println!("{collection}: painted over {}; cropped {}", median(&mut shares), median(&mut crops));
        for scale in [1, 2, 4] {
            let (mut inside, mut across) = ([0, 0], [0, 0]);
            for picture in pictures().take(100) {
                let is_gone = |place: Place| {
                    let with_text = with_text(&picture, place);
                    let mut masked = with_text.clone();
                    mask_corner_text(&mut masked);
                    remaining_contrast(&picture, &with_text, &masked, place) <= FAINT
                };
                for corner in 0..4 {
                    let borders = [false, true].map(|is_inner| across_border(&picture, corner, scale, is_inner));
                    if let Some(place) = in_corner(&picture, corner, scale, None) {
                        inside = [inside[0] + usize::from(is_gone(place)), inside[1] + 1];
                    }
                    for place in borders.into_iter().flatten() {
                        across = [across[0] + usize::from(is_gone(place)), across[1] + 1];
                    }
                }
            }
            let [gone, drawn] = inside;
            println!("  letters of {} px: {gone} of {drawn} texts gone", 8 * scale);
            let [gone, drawn] = across;
            println!("  the same across the border of a corner's region: {gone} of {drawn} texts gone");
        }
    }
}
