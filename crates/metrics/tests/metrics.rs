//! Every measure against scipy and scikit-learn (`golden/metrics/generate.py` wrote the numbers) and against what must
//! hold for any input.

use metrics::{
    Error, Intensity, LogisticRegression, Moments, PrincipalComponents, Rows, area_under_curve, bootstrap_interval,
    dice, frechet_distance, intensity, kernel_distance, nearest_neighbours, peak_signal_to_noise,
    structural_similarity,
};
use serde_json::Value;

struct Golden(Value);

impl Golden {
    fn open() -> Self {
        Self(serde_json::from_str(include_str!("golden/metrics/metrics.json")).unwrap())
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.0[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }

    fn flags(&self, name: &str) -> Vec<bool> {
        flags(&self.0[name])
    }
}

fn flags(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|value| value.as_bool().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
}

fn moments(values: &[f64], dim: usize) -> Moments {
    Moments::of(Rows::new(values, dim).unwrap()).unwrap()
}

/// Numbers without pattern, from the fractional parts of multiples of irrational numbers.
fn numbers(count: usize, start: f64) -> Vec<f64> {
    (0..count).map(|index| ((start + index as f64) * 12.9898).sin() * 43_758.545).map(f64::fract).collect()
}

#[test]
fn distances_are_those_of_scipy_and_sklearn() {
    let golden = Golden::open();
    let (a, b) = (golden.numbers("features_a"), golden.numbers("features_b"));
    let dim = golden.number("dim") as usize;
    let moments_b = moments(&b, dim);
    for (found, expected) in moments_b.covariance().unwrap().into_iter().zip(golden.numbers("covariance_b")) {
        assert_close(found, expected);
    }
    assert_close(frechet_distance(&moments(&a, dim), &moments_b).unwrap(), golden.number("frechet"));
    assert_close(frechet_distance(&moments_b, &moments(&a, dim)).unwrap(), golden.number("frechet"));
    let (a, b) = (Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap());
    assert_close(kernel_distance(a, b).unwrap(), golden.number("kernel"));
}

#[test]
fn probes_are_those_of_sklearn() {
    let golden = Golden::open();
    let (a, b) = (golden.numbers("features_a"), golden.numbers("features_b"));
    let dim = golden.number("dim") as usize;
    let (a, b) = (Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap());
    let probe = LogisticRegression::fit(a, &golden.flags("probe_labels"), 0.7).unwrap();
    for (found, expected) in probe.scores(b).unwrap().into_iter().zip(golden.numbers("probe_scores")) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
    let components = PrincipalComponents::of(a, 3).unwrap().project(b).unwrap();
    assert_eq!(components.len(), 3 * b.len());
    for (found, expected) in components.into_iter().zip(golden.numbers("component_sizes")) {
        assert_close(found.abs(), expected);
    }
}

#[test]
fn neighbours_are_those_of_sklearn() {
    let golden = Golden::open();
    let (a, b) = (golden.numbers("features_a"), golden.numbers("features_b"));
    let dim = golden.number("dim") as usize;
    let found = nearest_neighbours(Rows::new(&b, dim).unwrap(), Rows::new(&a, dim).unwrap(), 3).unwrap();
    assert_eq!(found.len(), b.len() / dim);
    for (query, neighbours) in found.iter().enumerate() {
        assert_eq!(neighbours.len(), 3);
        for (rank, neighbour) in neighbours.iter().enumerate() {
            assert_eq!(neighbour.index as u64, golden.0["neighbour_indices"][query][rank].as_u64().unwrap());
            assert_close(neighbour.similarity, golden.0["neighbour_similarities"][query][rank].as_f64().unwrap());
        }
    }
}

#[test]
fn picture_measures_are_those_of_scipy_and_numpy() {
    let golden = Golden::open();
    let (picture, reference) = (golden.numbers("picture"), golden.numbers("reference"));
    let shape = [0, 1].map(|side| golden.numbers("shape")[side] as usize);
    let Intensity { brightness, contrast } = intensity(&picture).unwrap();
    assert_close(brightness, golden.number("brightness"));
    assert_close(contrast, golden.number("contrast"));
    let expected = golden.number("peak_signal_to_noise");
    assert_close(peak_signal_to_noise(&picture, &reference, 1.0).unwrap(), expected);
    let expected = golden.number("structural_similarity");
    assert_close(structural_similarity(&picture, &reference, shape, 1.0).unwrap(), expected);
}

#[test]
fn agreement_is_that_of_scipy_and_sklearn() {
    let golden = Golden::open();
    let found = area_under_curve(&golden.numbers("scores"), &golden.flags("labels")).unwrap();
    assert_close(found, golden.number("area_under_curve"));
    let masks = &golden.0["masks"];
    assert_close(dice(&flags(&masks[0]), &flags(&masks[1])).unwrap(), golden.number("dice"));
}

#[test]
fn the_distance_of_a_set_from_itself_is_zero_and_a_shift_adds_its_square() {
    let dim = 6;
    let values = numbers(50 * dim, 0.0);
    let set = moments(&values, dim);
    assert!(frechet_distance(&set, &set).unwrap() < 1e-12);
    let shifted: Vec<f64> = values.iter().map(|value| value + 3.0).collect();
    assert_close(frechet_distance(&set, &moments(&shifted, dim)).unwrap(), 9.0 * dim as f64);
    // Scaling by s leaves (s - 1)^2 times the trace, and moves the mean.
    let scaled: Vec<f64> = values.iter().map(|value| value * 3.0).collect();
    let trace: f64 = set.covariance().unwrap().iter().step_by(dim + 1).sum();
    let means: f64 = set.mean().unwrap().iter().map(|mean| (2.0 * mean).powi(2)).sum();
    assert_close(frechet_distance(&set, &moments(&scaled, dim)).unwrap(), 4.0 * trace + means);
}

#[test]
fn fewer_images_than_features_give_a_true_distance() {
    // Embeds 3 dimensions in 40, so 8 images have rank 3 of 40: the distance is that of the 3 dimensions.
    let (low, high) = (3, 40);
    let embed = |values: &[f64]| -> Vec<f64> {
        values
            .chunks(low)
            .flat_map(|row| (0..high).map(|column| row[column % low] * f64::from(u8::from(column < low))))
            .collect()
    };
    let (a, b) = (numbers(8 * low, 0.0), numbers(8 * low, 1000.0));
    let expected = frechet_distance(&moments(&a, low), &moments(&b, low)).unwrap();
    let found = frechet_distance(&moments(&embed(&a), high), &moments(&embed(&b), high)).unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    // Full features, rank 7 of 40: not below 0, not NaN, 0 from itself.
    let set = moments(&numbers(8 * high, 0.0), high);
    assert!(frechet_distance(&set, &set).unwrap() < 1e-6);
    assert!(frechet_distance(&set, &moments(&numbers(8 * high, 500.0), high)).unwrap() > 1.0);
}

#[test]
fn moments_do_not_depend_on_how_rows_arrive() {
    let dim = 5;
    let values: Vec<f64> = numbers(700 * dim, 0.0).iter().map(|value| 1e6 + value).collect();
    let whole = moments(&values, dim);
    assert_eq!(whole.count(), 700);
    // By the plain definition.
    let mean: Vec<f64> = (0..dim).map(|column| values.iter().skip(column).step_by(dim).sum::<f64>() / 700.0).collect();
    for (index, found) in whole.covariance().unwrap().into_iter().enumerate() {
        let (i, j) = (index / dim, index % dim);
        let expected = values.chunks(dim).map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>() / 699.0;
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }
    let mut merged = moments(&values[..300 * dim], dim);
    merged.merge(&moments(&values[300 * dim..], dim)).unwrap();
    assert_eq!(merged.count(), 700);
    for (found, expected) in merged.covariance().unwrap().into_iter().zip(whole.covariance().unwrap()) {
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }
}

#[test]
fn the_kernel_distance_spans_blocks_and_is_unbiased() {
    // More rows than a block holds; halves of one set are alike, so the distance is within noise of 0.
    let dim = 4;
    let (a, b) = (numbers(600 * dim, 0.0), numbers(520 * dim, 5000.0));
    let found = kernel_distance(Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap()).unwrap();
    assert!(found.abs() < 0.01, "{found}");
    let shifted: Vec<f64> = b.iter().map(|value| value + 0.5).collect();
    let found = kernel_distance(Rows::new(&a, dim).unwrap(), Rows::new(&shifted, dim).unwrap()).unwrap();
    assert!(found > 0.1, "{found}");
}

#[test]
fn every_row_is_its_own_nearest_neighbour() {
    let dim = 7;
    let values = numbers(150 * dim, 0.0);
    let rows = Rows::new(&values, dim).unwrap();
    for (index, neighbours) in nearest_neighbours(rows, rows, 1000).unwrap().into_iter().enumerate() {
        assert_eq!(neighbours.len(), 150);
        assert_eq!(neighbours[0].index, index);
        assert_close(neighbours[0].similarity, 1.0);
        assert!(neighbours.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
    }
    // Without a direction nothing is similar, and nothing is NaN.
    let zero = nearest_neighbours(Rows::new(&[0.0; 7], dim).unwrap(), rows, 1).unwrap();
    assert_eq!((zero[0][0].index, zero[0][0].similarity), (0, 0.0));
}

#[test]
fn scores_know_their_extremes() {
    let labels = [true, true, false, false];
    assert_eq!(area_under_curve(&[4.0, 3.0, 2.0, 1.0], &labels).unwrap(), 1.0);
    assert_eq!(area_under_curve(&[1.0, 2.0, 3.0, 4.0], &labels).unwrap(), 0.0);
    assert_eq!(area_under_curve(&[1.0; 4], &labels).unwrap(), 0.5);
    assert_eq!(area_under_curve(&[0.0, -0.0, 1.0, -1.0], &labels).unwrap(), 0.5);
    assert_eq!(dice(&[false; 3], &[false; 3]).unwrap(), 1.0);
    assert_eq!(dice(&[true, false], &[false, true]).unwrap(), 0.0);
    let picture = numbers(11 * 12, 0.0);
    assert_eq!(peak_signal_to_noise(&picture, &picture, 1.0).unwrap(), f64::INFINITY);
    assert_close(structural_similarity(&picture, &picture, [11, 12], 1.0).unwrap(), 1.0);
}

#[test]
fn the_bootstrap_interval_of_a_mean_is_the_normal_one() {
    let values = numbers(400, 0.0);
    let mean = |positions: &[usize]| Some(positions.iter().map(|index| values[*index]).sum::<f64>() / 400.0);
    let found = bootstrap_interval(400, 20_000, 0.95, 1, mean).unwrap();
    let Intensity { brightness, contrast } = intensity(&values).unwrap();
    let half = 1.96 * contrast / 400.0_f64.sqrt();
    assert!((found.low - (brightness - half)).abs() < 0.04 * half, "{found:?} {brightness} {half}");
    assert!((found.high - (brightness + half)).abs() < 0.04 * half, "{found:?} {brightness} {half}");
    assert_eq!(found, bootstrap_interval(400, 20_000, 0.95, 1, mean).unwrap());
    assert_ne!(found, bootstrap_interval(400, 20_000, 0.95, 2, mean).unwrap());
    assert!(matches!(bootstrap_interval(4, 100, 0.95, 1, |_positions| None), Err(Error::TooFew { .. })));
    assert!(matches!(bootstrap_interval(4, 100, 1.0, 1, mean), Err(Error::OutOfRange { .. })));
}

#[test]
fn input_without_a_measure_is_refused() {
    assert!(matches!(Rows::new(&[1.0, 2.0, 3.0], 2), Err(Error::SizeMismatch { .. })));
    assert!(matches!(Rows::new(&[1.0], 0), Err(Error::TooFew { .. })));
    assert!(matches!(Rows::new(&[1.0, f64::NAN], 2), Err(Error::NotFinite { position: 1, .. })));
    let (two, three) = (moments(&[1.0, 2.0, 3.0, 5.0], 2), moments(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0], 3));
    assert!(matches!(frechet_distance(&two, &three), Err(Error::SizeMismatch { .. })));
    assert!(matches!(frechet_distance(&two, &moments(&[1.0, 2.0], 2)), Err(Error::TooFew { found: 1, .. })));
    assert!(matches!(two.clone().push(&[1.0]), Err(Error::SizeMismatch { .. })));
    let one = Rows::new(&[1.0, 2.0], 2).unwrap();
    assert!(matches!(kernel_distance(one, one), Err(Error::TooFew { .. })));
    assert!(matches!(nearest_neighbours(one, Rows::new(&[], 2).unwrap(), 1), Err(Error::TooFew { .. })));
    assert!(matches!(nearest_neighbours(one, one, 0), Err(Error::TooFew { .. })));
    assert!(matches!(area_under_curve(&[1.0, 2.0], &[true, true]), Err(Error::OneClass { class: "positive", .. })));
    assert!(matches!(area_under_curve(&[], &[]), Err(Error::OneClass { .. })));
    assert!(matches!(dice(&[true], &[]), Err(Error::SizeMismatch { .. })));
    assert!(matches!(intensity(&[]), Err(Error::TooFew { .. })));
    assert!(matches!(peak_signal_to_noise(&[1.0], &[1.0], 0.0), Err(Error::OutOfRange { .. })));
    assert!(matches!(structural_similarity(&[0.0; 100], &[0.0; 100], [10, 10], 1.0), Err(Error::TooFew { .. })));
    let error = Rows::new(&[1.0, 2.0, 3.0], 2).unwrap_err().to_string();
    assert_eq!(error, "length of the last row is 1, expected 2; compare only what was made alike");
}
