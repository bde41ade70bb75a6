//! Which of the definitions in use the 95 % Hausdorff distance follows: MONAI's. `golden/hausdorff/generate.py` wrote
//! the numbers.

// Says which checks could not be made here.
#![allow(clippy::print_stderr)]

use std::path::Path;

use metrics::segmentation::{BinaryMask, Spacing, SurfaceAgreement, surface_agreement};
use serde_json::Value;

/// MONAI computes in f32.
const TOLERANCE: f64 = 1e-5;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/hausdorff/hausdorff.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn distance(a: &[u8], b: &[u8], [height, width]: [usize; 2], spacing: Spacing) -> f64 {
    let [a, b] = [a, b].map(|mask| BinaryMask::new(mask, height, width).unwrap());
    let SurfaceAgreement::Distances(found) = surface_agreement(a, b, spacing).unwrap() else {
        panic!("both masks have pixels")
    };
    found.hausdorff_95
}

#[track_caller]
fn assert_close(found: f64, expected: f64, name: &str) {
    assert!((found - expected).abs() <= TOLERANCE * expected.max(1.0), "{name}: {found} is not {expected}");
}

#[test]
fn the_distance_is_that_of_monai_and_not_of_the_others() {
    let golden = golden();
    let size = ["height", "width"].map(|side| golden[side].as_u64().unwrap() as usize);
    let mask = |value: &Value| -> Vec<u8> { value.as_str().unwrap().bytes().map(|digit| digit - b'0').collect() };
    let (mut unlike_medpy, mut unlike_surface_distance) = (0, 0);
    for pair in golden["pairs"].as_array().unwrap() {
        let (a, b) = (mask(&pair["a"]), mask(&pair["b"]));
        for expected in pair["distances"].as_array().unwrap() {
            let spacing = Spacing { row: number(&expected["spacing"][0]), column: number(&expected["spacing"][1]) };
            for (a, b) in [(&a, &b), (&b, &a)] {
                let found = distance(a, b, size, spacing);
                assert_close(found, number(&expected["monai"]), pair["name"].as_str().unwrap());
            }
            let unlike = |other: &str| i32::from((number(&expected[other]) - number(&expected["monai"])).abs() > 0.05);
            unlike_medpy += unlike("medpy");
            unlike_surface_distance += unlike("surface_distance");
        }
    }
    // Else the pairs could not say which definition it is.
    assert!(unlike_medpy >= 10 && unlike_surface_distance >= 10, "{unlike_medpy}, {unlike_surface_distance}");
}

/// Drawn lung masks, which are not part of the repository: of them it holds MONAI's distances alone.
#[test]
fn the_distance_of_real_masks_is_that_of_monai() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cxr/masks");
    if !folder.is_dir() {
        eprintln!("there are no real masks here: nothing is checked by them");
        return;
    }
    let read = |name: &Value| -> (Vec<u8>, [usize; 2]) {
        let file = std::fs::File::open(folder.join(name.as_str().unwrap())).unwrap();
        let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut mask = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut mask).unwrap();
        let size = [info.height as usize, info.width as usize];
        assert_eq!(mask.len(), size[0] * size[1], "one byte a pixel");
        (mask, size)
    };
    let golden = golden();
    let pairs = golden["real"].as_array().unwrap();
    assert_eq!(pairs.len(), 40);
    for pair in pairs {
        let ((a, size), (b, _)) = (read(&pair["a"]), read(&pair["b"]));
        let found = distance(&a, &b, size, Spacing::default());
        assert_close(found, number(&pair["monai"]), &format!("{} and {}", pair["a"], pair["b"]));
    }
}
