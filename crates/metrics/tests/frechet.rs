//! The Fréchet distance and its interval against numpy and scipy (`golden/frechet/generate.py` wrote the numbers) and
//! against what fresh samples say.

use metrics::{Error, Moments, Rows, frechet_distance, frechet_estimate, frechet_estimate_to};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

/// Of 95 %.
const QUANTILE: f64 = 1.959_963_984_540_054;

#[test]
fn distances_and_standard_errors_are_those_of_scipy() {
    let cases: Value = serde_json::from_str(include_str!("golden/frechet/frechet.json")).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let dim = case["dim"].as_u64().unwrap() as usize;
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let (a, b) = (Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap());
        let (moments_a, moments_b) = (Moments::of(a).unwrap(), Moments::of(b).unwrap());
        let expected = case["distance"].as_f64().unwrap();
        for found in [
            frechet_distance(&moments_a, &moments_b).unwrap(),
            frechet_distance(&moments_b, &moments_a).unwrap(),
            frechet_estimate(a, b, 0.95).unwrap().distance,
        ] {
            assert_close(found, expected, 1e-9, name);
        }
        // From the matrices alone, as they come from elsewhere.
        let read = |moments: &Moments| {
            let covariance = moments.covariance().unwrap();
            Moments::from_parts(moments.count(), moments.mean().unwrap(), &covariance).unwrap()
        };
        assert_close(frechet_distance(&read(&moments_a), &read(&moments_b)).unwrap(), expected, 1e-6, name);

        let variances = numbers(&case["variances"]);
        let error = |found: metrics::FrechetEstimate| (found.interval.high - found.distance) / QUANTILE;
        let both = error(frechet_estimate(a, b, 0.95).unwrap());
        assert_close(both.powi(2), variances[0] + variances[1], 1e-5, name);
        assert_close(error(frechet_estimate_to(a, &moments_b, 0.95).unwrap()).powi(2), variances[0], 1e-5, name);
        assert_close(error(frechet_estimate_to(b, &moments_a, 0.95).unwrap()).powi(2), variances[1], 1e-5, name);
        assert_close(error(frechet_estimate_to(a, &read(&moments_b), 0.95).unwrap()).powi(2), variances[0], 1e-4, name);
    }
}

#[test]
fn features_that_follow_from_one_another_change_nothing() {
    // Twice the same features: the distance doubles, as that of one copy times the root of 2.
    let dim = 4;
    let set = |start: f64| -> Vec<f64> { (0..60 * dim).map(|i| ((start + i as f64) * 12.9898).sin()).collect() };
    let twice = |values: &[f64]| -> Vec<f64> { values.chunks(dim).flat_map(|row| [row, row].concat()).collect() };
    let (a, b) = (set(0.0), set(777.0));
    let once = frechet_estimate(Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap(), 0.9).unwrap();
    let (a, b) = (twice(&a), twice(&b));
    let (a, b) = (Rows::new(&a, 2 * dim).unwrap(), Rows::new(&b, 2 * dim).unwrap());
    let found = frechet_estimate(a, b, 0.9).unwrap();
    assert_close(found.distance, 2.0 * once.distance, 1e-6, "distance");
    assert_close(found.interval.high, 2.0 * once.interval.high, 1e-6, "interval");
}

#[test]
fn moments_from_elsewhere_are_checked() {
    let from = |covariance: &[f64]| Moments::from_parts(9, vec![0.0, 1.0], covariance);
    assert_eq!(from(&[2.0, 0.5, 0.5, 1.0]).unwrap().covariance().unwrap(), [2.0, 0.5, 0.5, 1.0]);
    for wrong in [[2.0, 0.5, 0.4, 1.0], [2.0, 5.0, 5.0, 1.0], [-2.0, 0.0, 0.0, 1.0]] {
        let error = from(&wrong).unwrap_err();
        assert!(matches!(error, Error::NoCovariance { .. }) && error.to_string().contains("covariance"), "{error}");
    }
    assert!(matches!(from(&[1.0; 3]), Err(Error::SizeMismatch { .. })));
    assert!(matches!(from(&[f64::NAN; 4]), Err(Error::NotFinite { .. })));
    assert!(matches!(Moments::from_parts(1, vec![0.0], &[1.0]), Err(Error::TooFew { .. })));
}
