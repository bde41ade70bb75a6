//! What must hold for any maps and features, what bad input leads to, and how long the merging takes.

use std::time::Instant;

use burn::tensor::Device;
use segmentation::{
    Affinity, Aggregator, AttentionMaps, DiffSeg, Error, Grid, Ncut, ObjectCut, SoftMaps, Walk, WalkGraph,
};

/// Numbers in 0..1 without pattern.
fn numbers(count: usize, start: f64) -> Vec<f32> {
    (0..count).map(|index| (((start + index as f64) * 12.9898).sin() * 43_758.545).fract().abs() as f32).collect()
}

/// Smooth maps with three regions, `[tokens, tokens]`: a token looks at its region and its neighbourhood.
fn attention(side: usize) -> Vec<f32> {
    let region = |token: usize| {
        let (row, column) = ((token / side) as f32 / side as f32, (token % side) as f32 / side as f32);
        let inside = |centre: f32| ((row - 0.5) / 0.4).powi(2) + ((column - centre) / 0.2).powi(2) < 1.0;
        if inside(0.27) { 1 } else { 2 * usize::from(inside(0.73)) }
    };
    let regions: Vec<usize> = (0..side * side).map(region).collect();
    let noise = numbers(side * side * 7, 1.0);
    let mut maps = vec![0.0; side.pow(4)];
    for (token, map) in maps.chunks_exact_mut(side * side).enumerate() {
        for (other, value) in map.iter_mut().enumerate() {
            let rows = (token / side).abs_diff(other / side) as f32 / side as f32;
            let columns = (token % side).abs_diff(other % side) as f32 / side as f32;
            let same = f32::from(u8::from(regions[token] == regions[other]));
            let jitter = noise[(token * 31 + other) % noise.len()];
            *value = (1.5 * same - 3.0 * (rows * rows + columns * columns) + 0.3 * jitter).exp();
        }
    }
    maps
}

fn maps(side: usize) -> AttentionMaps {
    AttentionMaps::new(attention(side), Grid::square(side).unwrap()).unwrap()
}

#[test]
fn joined_maps_sum_to_one_whatever_the_grids() {
    let finest = Grid::new(12, 9).unwrap();
    let mut aggregator = Aggregator::new(finest);
    for (height, width) in [(12, 9), (7, 5), (1, 1), (6, 9)] {
        let tokens = height * width;
        aggregator.add(&numbers(tokens * tokens, tokens as f64), Grid::new(height, width).unwrap()).unwrap();
    }
    let maps = aggregator.finish().unwrap();
    for map in maps.values().chunks_exact(finest.tokens()) {
        assert!((map.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

/// The order in which resolutions come does not matter, and a second helping of the same changes nothing.
#[test]
fn aggregation_is_a_weighted_mean() {
    let (fine, coarse) = (Grid::square(6).unwrap(), Grid::square(3).unwrap());
    let (fine_maps, coarse_maps) = (numbers(36 * 36, 1.0), numbers(81, 2.0));
    let join = |parts: &[(&[f32], Grid)]| {
        let mut aggregator = Aggregator::new(fine);
        parts.iter().for_each(|(maps, grid)| aggregator.add(maps, *grid).unwrap());
        aggregator.finish().unwrap().into_values()
    };
    let both = join(&[(&fine_maps, fine), (&coarse_maps, coarse)]);
    let (only_fine, only_coarse) = (join(&[(&fine_maps, fine)]), join(&[(&coarse_maps, coarse)]));
    for (at, both) in both.iter().enumerate() {
        let expected = (2.0 * only_fine[at] + only_coarse[at]) / 3.0;
        assert!((both - expected).abs() < 1e-7, "weights are as 6 to 3");
    }
    let turned = join(&[(&coarse_maps, coarse), (&fine_maps, fine)]);
    assert!(both.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 1e-7));
}

#[test]
fn the_threshold_runs_from_every_anchor_to_one_segment() {
    let (maps, device) = (maps(8), Device::flex());
    let segments =
        |threshold: f32| DiffSeg { anchors: 8, threshold, iterations: 3 }.segment(&maps, &device).unwrap().len();
    assert_eq!(segments(1e-6), 64, "nothing is merged");
    assert_eq!(segments(1e3), 1, "everything is");
    assert!((2..64).contains(&segments(0.2)), "{}", segments(0.2));
}

/// Maps with zeros, as a softmax in f32 leaves them, have finite distances.
#[test]
fn zeros_in_maps_do_no_harm() {
    let mut values = vec![0.0; 256];
    for token in 0..16 {
        values[token * 16 + token] = 1.0;
    }
    let maps = AttentionMaps::new(values, Grid::square(4).unwrap()).unwrap();
    let found = DiffSeg { anchors: 4, threshold: 1.0, iterations: 3 }.segment(&maps, &Device::flex()).unwrap();
    assert_eq!(found.len(), 16);
    assert!(found.values().iter().all(|value| value.is_finite()));
    assert_eq!(found.label_map(4, 4), (0..16).collect::<Vec<u16>>());
}

#[test]
fn shares_of_all_segments_sum_to_one() {
    let found = DiffSeg { anchors: 8, threshold: 0.2, iterations: 3 }.segment(&maps(8), &Device::flex()).unwrap();
    let mut sum = vec![0.0; 20 * 30];
    for label in 0..found.len() as u16 {
        found.share(&[label], 20, 30).iter().zip(&mut sum).for_each(|(share, sum)| *sum += share);
    }
    assert!(sum.iter().all(|sum| (sum - 1.0).abs() < 1e-4));
    let labels = found.label_map(20, 30);
    let maps: Vec<Vec<f32>> = (0..found.len() as u16).map(|label| found.map(label, 20, 30).unwrap()).collect();
    for (pixel, label) in labels.into_iter().enumerate() {
        assert!(maps.iter().all(|map| map[pixel] <= maps[usize::from(label)][pixel]));
    }
}

/// Three groups that share nothing but a little: each method that cuts must find exactly these.
#[test]
fn separate_groups_are_found_by_every_cut() {
    let group = |token: usize| [0, 1, 1, 2, 0, 2][token % 6];
    let tokens = 240;
    let weak = numbers(tokens * tokens, 5.0);
    let values: Vec<f32> = (0..tokens * tokens)
        .map(|at| if group(at / tokens) == group(at % tokens) { 1.0 } else { 0.01 * weak[at] })
        .collect();
    // Groups in the order in which they begin.
    let expected: Vec<u16> = (0..tokens).map(group).collect();
    let affinity = Affinity::new(values.clone(), tokens).unwrap();
    let tree = Ncut { threshold: 0.95, min_tokens: 1 }.tree(&affinity).unwrap();
    assert_eq!(tree.labels(0.5), expected);
    assert_eq!(tree.labels(tree.automatic_threshold()), expected);
    let maps = AttentionMaps::new(values, Grid::new(12, 20).unwrap()).unwrap();
    for graph in [WalkGraph::Flow, WalkGraph::Similarity { alpha: 2.0 }] {
        let affinity = Walk { steps: 3, graph }.affinity(&maps, &Device::flex()).unwrap();
        let tree = Ncut { threshold: 1.0, min_tokens: 5 }.tree(&affinity).unwrap();
        assert_eq!(tree.labels(tree.automatic_threshold()), expected, "{graph:?}");
    }
}

/// The more steps walkers take, the less it tells where they began: cuts come nearer to the blind one's cost of 1.
#[test]
fn longer_walks_make_cuts_dearer() {
    let (maps, device) = (maps(12), Device::flex());
    let cost = |steps: usize| {
        let affinity = Walk { steps, graph: WalkGraph::Flow }.affinity(&maps, &device).unwrap();
        Ncut { threshold: 2.0, min_tokens: 60 }.tree(&affinity).unwrap().parts()[0].cost.unwrap()
    };
    let costs = [cost(1), cost(2), cost(5)];
    assert!(costs.is_sorted() && costs[2] < 1.001, "{costs:?}");
}

#[test]
fn an_image_without_structure_is_one_segment() {
    let (tokens, device) = (100, Device::flex());
    let affinity = Affinity::from_features(&vec![1.0; tokens * 4], tokens, 10.0, &device).unwrap();
    let tree = Ncut::default().tree(&affinity).unwrap();
    assert_eq!(tree.labels(0.5), vec![0; tokens]);
    assert_eq!(tree.automatic_threshold(), tree.threshold());
    let one = Affinity::from_features(&[1.0], 1, 10.0, &device).unwrap();
    assert_eq!(Ncut::default().tree(&one).unwrap().labels(1.0), [0]);
    let nothing = Affinity::new(vec![0.0; 9], 3).unwrap();
    assert_eq!(Ncut::default().tree(&nothing).unwrap().labels(0.5).len(), 3);
    let masks = ObjectCut::token_cut().masks(&vec![0.0; tokens * 4], 4, Grid::square(10).unwrap(), &device).unwrap();
    assert!(masks.iter().all(|mask| mask.inside.len() == tokens));
}

#[test]
fn bad_input_is_an_error_with_its_value() {
    let (grid, device) = (Grid::square(4).unwrap(), Device::flex());
    assert!(matches!(Grid::new(0, 3), Err(Error::OutOfRange { .. })));
    assert!(matches!(AttentionMaps::new(vec![1.0; 255], grid), Err(Error::Size { found: 255, expected: 256, .. })));
    let mut values = vec![1.0; 256];
    values[17] = f32::NAN;
    assert!(matches!(AttentionMaps::new(values.clone(), grid), Err(Error::Value { position: 17, .. })));
    values[16..32].fill(0.0);
    assert_eq!(AttentionMaps::new(values.clone(), grid), Err(Error::EmptyMap { token: 1 }));
    let mut aggregator = Aggregator::new(grid);
    assert_eq!(aggregator.add(&values, grid), Err(Error::EmptyMap { token: 1 }));
    assert_eq!(aggregator.finish(), Err(Error::Nothing));
    assert!(Aggregator::new(grid).add(&[1.0; 625], Grid::square(5).unwrap()).is_err(), "finer than the finest");
    for settings in [
        DiffSeg { anchors: 0, ..DiffSeg::default() },
        DiffSeg { anchors: 5, ..DiffSeg::default() },
        DiffSeg { anchors: 4, threshold: 0.0, iterations: 3 },
        DiffSeg { anchors: 4, threshold: f32::NAN, iterations: 3 },
        DiffSeg { anchors: 4, threshold: 1.0, iterations: 0 },
    ] {
        assert!(matches!(settings.segment(&maps(4), &device), Err(Error::OutOfRange { .. })), "{settings:?}");
    }
    assert!(Affinity::new(vec![1.0, -1.0, -1.0, 1.0], 2).is_err());
    assert!(Affinity::from_features(&[1.0; 4], 2, 0.0, &device).is_err());
    assert!(Affinity::from_features(&[1.0; 5], 2, 1.0, &device).is_err());
    assert!(Affinity::from_features(&[], 0, 1.0, &device).is_err());
    let affinity = Affinity::new(vec![1.0; 4], 2).unwrap();
    assert!(Ncut { threshold: -0.1, min_tokens: 1 }.tree(&affinity).is_err());
    assert!(Ncut { threshold: 0.1, min_tokens: 0 }.tree(&affinity).is_err());
    assert!(Walk { steps: 0, graph: WalkGraph::Flow }.affinity(&maps(4), &device).is_err());
    assert!(ObjectCut::token_cut().masks(&[1.0; 3], 3, Grid::square(1).unwrap(), &device).is_err());
    assert!(ObjectCut::token_cut().masks(&[1.0; 3], 3, grid, &device).is_err());
    assert!(SoftMaps::new(vec![], grid).is_err());
    assert!(SoftMaps::from_labels(&[0; 15], grid).is_err());
    assert!(SoftMaps::from_features(&[0; 16], &[], 0, grid).is_ok(), "features of no length are alike");
    assert!(SoftMaps::from_labels(&[0; 16], grid).unwrap().label_map(0, 5).is_empty());
}

/// Seconds for the merging and the label map of 512 x 512 pixels, on an otherwise idle machine with two cores.
#[test]
#[ignore = "measures time"]
fn merging_keeps_its_time() {
    for (side, limit) in [(16, 1.0), (32, 1.0), (64, 4.0)] {
        let (maps, device) = (maps(side), Device::flex());
        let begin = Instant::now();
        let found = DiffSeg { threshold: 0.1, ..DiffSeg::default() }.segment(&maps, &device).unwrap();
        let labels = found.label_map(512, 512);
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(labels.len(), 512 * 512);
        assert!(seconds < limit, "{side} x {side}: {seconds} s");
    }
}
