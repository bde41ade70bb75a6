//! Segmentation against plain NumPy and SciPy (`golden/segment/generate.py` wrote the numbers).

use burn::tensor::Device;
use safetensors::SafeTensors;
use segmentation::{Affinity, Aggregator, AttentionMaps, DiffSeg, Grid, Ncut, ObjectCut, SoftMaps, Walk, WalkGraph};

struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn open() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment/segment.safetensors");
        Self { bytes: std::fs::read(path).expect("the golden numbers are part of the repository") }
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn integers(&self, name: &str) -> Vec<i32> {
        self.words(name).into_iter().map(i32::from_le_bytes).collect()
    }
}

/// Largest difference over largest value.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max) / largest
}

struct Case {
    name: &'static str,
    grids: &'static [(usize, usize)],
    settings: DiffSeg,
    size: (usize, usize),
}

const CASES: [Case; 3] = [
    Case {
        name: "two",
        grids: &[(8, 8), (4, 4)],
        settings: DiffSeg { anchors: 4, threshold: 0.15, iterations: 3 },
        size: (37, 41),
    },
    Case {
        name: "one",
        grids: &[(16, 16)],
        settings: DiffSeg { anchors: 8, threshold: 0.30, iterations: 3 },
        size: (64, 64),
    },
    Case {
        name: "odd",
        grids: &[(9, 7), (5, 4)],
        settings: DiffSeg { anchors: 3, threshold: 0.12, iterations: 2 },
        size: (30, 25),
    },
];

fn joined(golden: &Golden, case: &Case) -> AttentionMaps {
    let (height, width) = case.grids[0];
    let mut aggregator = Aggregator::new(Grid::new(height, width).unwrap());
    for (index, &(height, width)) in case.grids.iter().enumerate() {
        let maps = golden.floats(&format!("{}.maps.{index}", case.name));
        aggregator.add(&maps, Grid::new(height, width).unwrap()).unwrap();
    }
    aggregator.finish().unwrap()
}

#[test]
fn aggregation_is_that_of_the_description() {
    let golden = Golden::open();
    for case in &CASES {
        let expected = if case.grids.len() == 1 { "maps.0" } else { "joined" };
        let expected = golden.floats(&format!("{}.{expected}", case.name));
        let error = relative_error(joined(&golden, case).values(), &expected);
        assert!(error < 1e-5, "{}: {error}", case.name);
    }
}

#[test]
fn diffseg_finds_the_same_proposals_and_labels() {
    let golden = Golden::open();
    for case in &CASES {
        let maps = joined(&golden, case);
        let found = case.settings.segment(&maps, &Device::flex()).unwrap();
        let error = relative_error(found.values(), &golden.floats(&format!("{}.proposals", case.name)));
        assert!(error < 1e-5, "{}: {error}", case.name);
        let labels = found.label_map(case.size.0, case.size.1);
        let expected = golden.integers(&format!("{}.labels", case.name));
        assert_eq!(labels.len(), expected.len());
        for (pixel, (label, expected)) in labels.iter().zip(expected).enumerate() {
            assert!(expected == -1 || i32::from(*label) == expected, "{} pixel {pixel}: {label} {expected}", case.name);
        }
    }
}

const CUT_GRID: Grid = Grid { height: 14, width: 12 };

#[test]
fn recursive_cuts_are_those_of_dense_eigenvectors() {
    let golden = Golden::open();
    let features = golden.floats("cut.features");
    let affinity = Affinity::from_features(&features, CUT_GRID.tokens(), 10.0, &Device::flex()).unwrap();
    let deep = Ncut { threshold: 1.0, min_tokens: 1 }.tree(&affinity).unwrap();
    for threshold in [0.2, 0.5] {
        let expected = golden.integers(&format!("cut.labels.{threshold}"));
        let tree = Ncut { threshold, min_tokens: 1 }.tree(&affinity).unwrap();
        // A tree with a higher threshold holds the one with a lower.
        for labels in [tree.labels(threshold), deep.labels(threshold)] {
            assert_eq!(labels.into_iter().map(i32::from).collect::<Vec<_>>(), expected, "threshold {threshold}");
        }
        let mut costs: Vec<f32> =
            tree.parts().iter().filter(|part| part.children.is_some()).map(|part| part.cost.unwrap() as f32).collect();
        costs.sort_by(f32::total_cmp);
        let error = relative_error(&costs, &golden.floats(&format!("cut.costs.{threshold}")));
        assert!(error < 1e-5, "threshold {threshold}: {error}");
    }
}

#[test]
fn a_cut_of_the_walk_costs_what_walkers_do() {
    let golden = Golden::open();
    let case = &CASES[1];
    let maps = joined(&golden, case);
    let tokens = maps.grid().tokens();
    let affinity = Walk { steps: 2, graph: WalkGraph::Flow }.affinity(&maps, &Device::flex()).unwrap();
    let degrees: Vec<f32> =
        affinity.values().chunks_exact(tokens).map(|row| row.iter().sum::<f32>() / tokens as f32).collect();
    let error = relative_error(&degrees, &golden.floats("walk.long_run"));
    assert!(error < 1e-4, "{error}");
    let tree = Ncut { threshold: 1.0, min_tokens: 1 }.tree(&affinity).unwrap();
    let cost = tree.parts()[0].cost.unwrap() as f32;
    let escapes: f32 = golden.floats("walk.leaving").iter().sum();
    assert!((cost - golden.floats("walk.cost")[0]).abs() < 1e-4, "{cost}");
    assert!((cost - escapes).abs() < 1e-4, "{cost} {escapes}");
}

#[test]
fn objects_in_patch_features_are_those_of_the_reference() {
    let golden = Golden::open();
    let features = golden.floats("objects.features");
    // MaskCut: three objects at most.
    let mask_cut = ObjectCut { threshold: 0.15, objects: 3, corners_are_background: true };
    for (name, settings) in [("token_cut", ObjectCut::token_cut()), ("mask_cut", mask_cut)] {
        let masks = settings.masks(&features, 10, CUT_GRID, &Device::flex()).unwrap();
        let found: Vec<i32> = masks.iter().flat_map(|mask| &mask.inside).map(|&inside| i32::from(inside)).collect();
        assert_eq!(found, golden.integers(&format!("objects.{name}")), "{name}");
    }
}

/// A field of features in two blocks, enlarged: the border follows the features, not the labels' grid.
#[test]
fn soft_maps_of_features_follow_the_features() {
    let grid = Grid::new(1, 4).unwrap();
    let (labels, features) = ([0, 0, 1, 1], [1.0, 0.0, 0.8, 0.6, 0.0, 1.0, 0.0, 1.0]);
    let by_label = SoftMaps::from_labels(&labels, grid).unwrap().label_map(1, 400);
    let by_feature = SoftMaps::from_features(&labels, &features, 2, grid).unwrap().label_map(1, 400);
    let border = |labels: &[u16]| labels.iter().filter(|&&label| label == 0).count();
    assert_eq!(border(&by_label), 200);
    assert_ne!(border(&by_feature), 200);
}
