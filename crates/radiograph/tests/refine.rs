//! The guided filter against NumPy (`golden/refine/make.py` wrote the numbers) and against what must hold for any mask.

use radiograph::{RefineError, guided_filter};

fn block(wanted: &str) -> Vec<f32> {
    let mut lines = include_str!("golden/refine/expected.txt").lines();
    while let Some(head) = lines.next() {
        let parts: Vec<&str> = head.split(' ').collect();
        let rows = lines.by_ref().take(parts[1].parse().unwrap());
        let values = rows.flat_map(|row| row.split(' ').map(|value| value.parse().unwrap())).collect();
        if parts[0] == wanted {
            return values;
        }
    }
    panic!("no block {wanted}");
}

const SIZE: (usize, usize) = (19, 26);

#[test]
fn the_filter_is_that_of_the_paper() {
    let found = guided_filter(&block("guide"), &block("mask"), SIZE.0, SIZE.1, 3, 0.01).unwrap();
    for (pixel, (found, expected)) in found.iter().zip(block("refined")).enumerate() {
        assert!((found - expected).abs() < 1e-5, "pixel {pixel}: {found} {expected}");
    }
}

/// A constant mask stays, and so does any mask that is a straight function of the guide when epsilon is tiny.
#[test]
fn what_the_guide_explains_is_kept() {
    let guide = block("guide");
    let constant = vec![0.7; guide.len()];
    let straight: Vec<f32> = guide.iter().map(|value| 0.1 + 0.8 * value).collect();
    for radius in [1, 4, usize::MAX] {
        for mask in [&constant, &straight] {
            let found = guided_filter(&guide, mask, SIZE.0, SIZE.1, radius, 1e-9).unwrap();
            assert!(found.iter().zip(mask).all(|(found, mask)| (found - mask).abs() < 1e-3), "radius {radius}");
        }
    }
    assert_eq!(guided_filter(&guide, &straight, SIZE.0, SIZE.1, 0, 0.1).unwrap(), straight);
}

/// A border of the mask that is two pixels beside the picture's edge ends up on the edge.
#[test]
fn borders_move_to_edges() {
    let (height, width) = (24, 40);
    let at = |limit: usize| (0..height * width).map(|pixel| f32::from(u8::from(pixel % width < limit))).collect();
    let (guide, mask): (Vec<f32>, Vec<f32>) = (at(20), at(22));
    let found = guided_filter(&guide, &mask, height, width, 6, 1e-4).unwrap();
    let wrong = |mask: &[f32]| guide.iter().zip(mask).filter(|(guide, mask)| (**guide > 0.5) != (**mask > 0.5)).count();
    assert_eq!((wrong(&mask), wrong(&found)), (2 * height, 0));
}

#[test]
fn bad_input_is_an_error() {
    let plane = [0.5; 6];
    assert!(matches!(guided_filter(&plane, &plane[1..], 2, 3, 1, 0.1), Err(RefineError::Dimensions { values: 5, .. })));
    assert!(matches!(guided_filter(&plane, &plane, 2, 2, 1, 0.1), Err(RefineError::Dimensions { .. })));
    assert!(matches!(guided_filter(&plane, &plane, 2, 3, 1, 0.0), Err(RefineError::Epsilon { .. })));
    assert!(matches!(guided_filter(&plane, &plane, 2, 3, 1, f32::NAN), Err(RefineError::Epsilon { .. })));
    let mut bad = plane;
    bad[4] = f32::INFINITY;
    assert!(matches!(guided_filter(&bad, &plane, 2, 3, 1, 0.1), Err(RefineError::NotFinite { position: 4, .. })));
    assert_eq!(guided_filter(&[], &[], 0, 0, 1, 0.1), Ok(vec![]));
}
