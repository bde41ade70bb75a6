//! Masks against scipy.ndimage and scikit-image (`golden/segmentation/generate.py` wrote the numbers) and against what
//! must hold for any masks.

use metrics::Error;
use metrics::segmentation::{
    BinaryMask, Connectivity, Spacing, SurfaceAgreement, connected_components, distance_transform, fill_holes,
    otsu_threshold_u8, overlap, surface_agreement,
};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/segmentation/segmentation.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    numbers(value).into_iter().map(|value| value as u8).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[test]
fn overlaps_and_distances_are_those_of_scipy() {
    for pair in golden()["pairs"].as_array().unwrap() {
        let (height, width) = (size(&pair["height"]), size(&pair["width"]));
        let (a, b) = (bytes(&pair["a"]), bytes(&pair["b"]));
        let (a, b) = (BinaryMask::new(&a, height, width).unwrap(), BinaryMask::new(&b, height, width).unwrap());
        let [row, column] = numbers(&pair["spacing"])[..] else { panic!("two spacings") };
        let spacing = Spacing { row, column };
        let overlap = overlap(a, b).unwrap();
        assert_close(overlap.dice, pair["dice"].as_f64().unwrap());
        assert_close(overlap.intersection_over_union, pair["iou"].as_f64().unwrap());
        let transform = distance_transform(a, spacing).unwrap().unwrap();
        for (found, expected) in transform.into_iter().zip(numbers(&pair["transform"])) {
            assert_close(found, expected);
        }
        for (a, b) in [(a, b), (b, a)] {
            let SurfaceAgreement::Distances(found) = surface_agreement(a, b, spacing).unwrap() else {
                panic!("both masks have pixels")
            };
            assert_close(found.hausdorff, pair["hausdorff"].as_f64().unwrap());
            assert_close(found.hausdorff_95, pair["hausdorff_95"].as_f64().unwrap());
            assert_close(found.average, pair["average"].as_f64().unwrap());
        }
    }
}

#[test]
fn pieces_and_holes_are_those_of_scipy() {
    let golden = golden();
    for pair in golden["pairs"].as_array().unwrap() {
        let a = bytes(&pair["a"]);
        let mask = BinaryMask::new(&a, size(&pair["height"]), size(&pair["width"])).unwrap();
        for (connectivity, name) in [(Connectivity::Four, "four"), (Connectivity::Eight, "eight")] {
            let found = connected_components(mask, connectivity);
            let expected: Vec<u32> = numbers(&pair[name]).into_iter().map(|label| label as u32).collect();
            assert_eq!(found.labels, expected, "{name}");
            let all: Vec<u32> = (1..=found.areas.len() as u32).collect();
            assert_eq!(found.mask_of(&all), a, "all pieces together");
            assert_eq!(found.areas.iter().sum::<usize>(), mask.area());
        }
        assert_eq!(fill_holes(mask), bytes(&pair["filled"]));
    }
    let ring = &golden["ring"];
    let mask = bytes(&ring["mask"]);
    let mask = BinaryMask::new(&mask, size(&ring["height"]), size(&ring["width"])).unwrap();
    assert_eq!(fill_holes(mask), bytes(&ring["filled"]));
}

#[test]
fn thresholds_are_those_of_scikit_image() {
    let golden = golden();
    let grey = bytes(&golden["grey"]);
    assert_eq!(otsu_threshold_u8(&grey), Some(golden["otsu_u8"].as_u64().unwrap() as u8));
}

/// The transform against every pair of pixels.
#[test]
fn distances_are_the_least_of_all() {
    let (height, width) = (13, 17);
    let spacing = Spacing { row: 1.3, column: 0.6 };
    for sparse in [2, 7, 40, 220] {
        let values: Vec<u8> = (0..height * width).map(|at| u8::from((at * 7919 + 13) % sparse == 0)).collect();
        let mask = BinaryMask::new(&values, height, width).unwrap();
        let found = distance_transform(mask, spacing).unwrap().unwrap();
        for (at, found) in found.iter().enumerate() {
            let away = |to: usize| {
                let rows = (at / width).abs_diff(to / width) as f64 * spacing.row;
                rows.hypot((at % width).abs_diff(to % width) as f64 * spacing.column)
            };
            let to = (0..values.len()).filter(|&to| values[to] != 0);
            assert_close(*found, to.map(away).fold(f64::INFINITY, f64::min));
        }
    }
}

#[test]
fn equal_masks_are_at_distance_zero_and_shifted_ones_at_the_shift() {
    let square = |left: usize| -> Vec<u8> {
        (0..400).map(|at| u8::from((5..15).contains(&(at / 20)) && (left..left + 8).contains(&(at % 20)))).collect()
    };
    let (a, b) = (square(3), square(7));
    let (a, b) = (BinaryMask::new(&a, 20, 20).unwrap(), BinaryMask::new(&b, 20, 20).unwrap());
    let spacing = Spacing { row: 1.0, column: 0.5 };
    let same = surface_agreement(a, a, spacing).unwrap();
    assert_eq!((same.hausdorff_95(), same.average()), (Some(0.0), Some(0.0)));
    let shifted = surface_agreement(a, b, spacing).unwrap();
    let SurfaceAgreement::Distances(distances) = shifted else { panic!("both have pixels") };
    assert_close(distances.hausdorff, 2.0);
    assert!(distances.average < distances.hausdorff_95 && distances.hausdorff_95 <= distances.hausdorff);
}

#[test]
fn empty_masks_have_a_rule() {
    let (empty, full) = ([0; 12], [9; 12]);
    let (empty, full) = (BinaryMask::new(&empty, 3, 4).unwrap(), BinaryMask::new(&full, 3, 4).unwrap());
    let spacing = Spacing::default();
    let both = surface_agreement(empty, empty, spacing).unwrap();
    assert_eq!((both, both.hausdorff_95(), both.average()), (SurfaceAgreement::BothEmpty, Some(0.0), Some(0.0)));
    for (a, b) in [(empty, full), (full, empty)] {
        let one = surface_agreement(a, b, spacing).unwrap();
        assert_eq!((one, one.hausdorff_95(), one.average()), (SurfaceAgreement::OneEmpty, None, None));
        assert_eq!(overlap(a, b).unwrap().dice, 0.0);
    }
    let agree = overlap(empty, empty).unwrap();
    assert_eq!((agree.dice, agree.intersection_over_union), (1.0, 1.0));
    assert_eq!(distance_transform(empty, spacing).unwrap(), None);
    assert_eq!(distance_transform(full, spacing).unwrap(), Some(vec![0.0; 12]));
    assert!(connected_components(empty, Connectivity::Eight).areas.is_empty());
    assert_eq!((fill_holes(empty), fill_holes(full)), (vec![0; 12], vec![1; 12]));
}

#[test]
fn pieces_come_by_area() {
    let mask = [1, 0, 1, 1, 0, 1, 1, 1];
    let components = connected_components(BinaryMask::new(&mask, 1, 8).unwrap(), Connectivity::Four);
    assert_eq!((components.areas.clone(), components.by_area()), (vec![1, 2, 3], vec![3, 2, 1]));
    assert_eq!(components.mask_of(&components.by_area()[..2]), [0, 0, 1, 1, 0, 1, 1, 1]);
}

#[test]
fn thresholds_of_flat_values() {
    assert_eq!(otsu_threshold_u8(&[]), None);
    assert_eq!(otsu_threshold_u8(&[7; 50]), None);
    assert_eq!(otsu_threshold_u8(&[3, 3, 200]), Some(3));
}

#[test]
fn bad_input_is_an_error() {
    assert!(matches!(BinaryMask::new(&[0; 5], 2, 3), Err(Error::SizeMismatch { found: 5, expected: 6, .. })));
    assert!(matches!(BinaryMask::new(&[], 0, 3), Err(Error::TooFew { .. })));
    let (tall, wide) = (BinaryMask::new(&[1; 6], 3, 2).unwrap(), BinaryMask::new(&[1; 6], 2, 3).unwrap());
    assert!(overlap(tall, wide).is_err());
    assert!(surface_agreement(tall, wide, Spacing::default()).is_err());
    for spacing in [Spacing { row: 0.0, column: 1.0 }, Spacing { row: 1.0, column: f64::NAN }] {
        assert!(matches!(surface_agreement(tall, tall, spacing), Err(Error::OutOfRange { .. })));
        assert!(matches!(distance_transform(tall, spacing), Err(Error::OutOfRange { .. })));
    }
}
