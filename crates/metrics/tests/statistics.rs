//! Tests, intervals and effect sizes against scipy, scikit-learn and statsmodels (`golden/statistics/generate.py` wrote
//! the numbers) and against what must hold for any input.

use metrics::{
    Areas, Error, NullDistribution, Share, area_under_curve, areas_of_labels, bootstrap_interval,
    bootstrap_interval_of_mean, corrected_t_test, holm, mean_area, paired_cohens_d, rank_biserial,
    wilcoxon_signed_rank,
};
use random::Purpose;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/statistics/statistics.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn flags(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|value| value.as_bool().unwrap()).collect()
}

/// Relative, so that small p-values count.
#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1e-300), "{found} is not {expected}");
}

#[track_caller]
fn assert_all_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).for_each(|(found, expected)| assert_close(*found, *expected));
}

/// Independent uniform numbers in -1..1, other ones for another start.
fn noise(count: usize, start: u64) -> Vec<f64> {
    let uniforms = random::uniforms(start, 0, Purpose::Other(0), count);
    uniforms.into_iter().map(|uniform| 2.0 * uniform - 1.0).collect()
}

#[test]
fn delong_is_that_of_all_pairs() {
    let golden = golden();
    let scores: Vec<Vec<f64>> = golden["scores"].as_array().unwrap().iter().map(numbers).collect();
    let scores: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
    let areas = Areas::of(&scores, &flags(&golden["positive"])).unwrap();
    assert_all_close(&areas.areas, &numbers(&golden["areas"]));
    assert_all_close(&areas.covariance, &numbers(&golden["covariance"]));
    for (index, (first, second)) in [(0, 1), (0, 2), (1, 2)].into_iter().enumerate() {
        let test = areas.test(first, second).unwrap();
        assert_close(test.z, number(&golden["delong_z"][index]));
        assert_close(test.p_value, number(&golden["delong_p"][index]));
        assert_close(test.difference / test.standard_error, test.z);
        assert_close(areas.test(second, first).unwrap().z, -test.z);
    }
    let interval = areas.interval(1, 0.9).unwrap();
    assert_close(interval.low, number(&golden["delong_low"]));
    assert_close(interval.high, number(&golden["delong_high"]));
}

#[test]
fn delong_agrees_with_the_bootstrap() {
    let positive: Vec<bool> = (0..300).map(|index| index % 3 == 0).collect();
    let scores: Vec<f64> =
        noise(300, 5).iter().zip(&positive).map(|(noise, positive)| noise + f64::from(u8::from(*positive))).collect();
    let found = Areas::of(&[&scores], &positive).unwrap().interval(0, 0.95).unwrap();
    let area = |positions: &[usize]| {
        let drawn = |index: &usize| (scores[*index], positive[*index]);
        let (scores, positive): (Vec<f64>, Vec<bool>) = positions.iter().map(drawn).unzip();
        area_under_curve(&scores, &positive).ok()
    };
    let drawn = bootstrap_interval(300, 4000, 0.95, 3, area).unwrap();
    let width = drawn.high - drawn.low;
    assert!((found.high - found.low - width).abs() < 0.05 * width, "{found:?} {drawn:?}");
    assert!((found.low - drawn.low).abs() < 0.1 * width, "{found:?} {drawn:?}");
}

#[test]
fn delong_knows_its_extremes() {
    let positive = [true, true, false, false];
    let (right, wrong, level) = ([4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], [7.0; 4]);
    let areas = Areas::of(&[&right, &wrong, &level, &right], &positive).unwrap();
    assert_eq!(areas.areas, [1.0, 0.0, 0.5, 1.0]);
    let same = areas.test(0, 3).unwrap();
    assert_eq!((same.difference, same.z, same.p_value), (0.0, 0.0, 1.0));
    assert!(matches!(areas.test(0, 1), Err(Error::NoSpread { .. })));
    assert!(matches!(areas.test(0, 4), Err(Error::OutOfRange { .. })));
    assert!(matches!(areas.interval(0, 1.0), Err(Error::OutOfRange { .. })));
    assert_eq!(areas.interval(0, 0.95).unwrap().low, 1.0);
    assert!(matches!(Areas::of(&[], &positive), Err(Error::TooFew { .. })));
    assert!(matches!(Areas::of(&[&right], &[true; 4]), Err(Error::OneClass { .. })));
    assert!(matches!(Areas::of(&[&right], &[true, false, false, false]), Err(Error::TooFew { .. })));
    assert!(matches!(Areas::of(&[&right[..3]], &positive), Err(Error::SizeMismatch { .. })));
    assert!(matches!(Areas::of(&[&[f64::NAN; 4]], &positive), Err(Error::NotFinite { .. })));
}

/// Whether a case is of a class, case after case.
fn one_hot(classes: &[usize], num_classes: usize) -> Vec<bool> {
    classes.iter().flat_map(|class| (0..num_classes).map(move |other| other == *class)).collect()
}

#[test]
fn areas_of_labels_and_classes_are_those_of_sklearn() {
    let golden = golden();
    let (scores, truth) = (numbers(&golden["label_scores"]), flags(&golden["label_truth"]));
    let found = areas_of_labels(&scores, &truth, 4).unwrap();
    let areas: Vec<f64> = found.iter().map(|area| area.clone().unwrap()).collect();
    assert_all_close(&areas, &numbers(&golden["label_areas"]));
    assert_close(mean_area(&found).unwrap(), number(&golden["label_macro"]));

    let classes: Vec<usize> = numbers(&golden["classes"]).into_iter().map(|class| class as usize).collect();
    let found = areas_of_labels(&numbers(&golden["class_scores"]), &one_hot(&classes, 3), 3).unwrap();
    let areas: Vec<f64> = found.iter().map(|area| area.clone().unwrap()).collect();
    assert_all_close(&areas, &numbers(&golden["class_areas"]));
    assert_close(mean_area(&found).unwrap(), number(&golden["class_macro"]));
}

#[test]
fn a_label_of_one_class_is_named_and_stops_no_other() {
    let scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    let found = areas_of_labels(&scores, &[true, false, true, false, false, false], 2).unwrap();
    assert_eq!(found[0], Ok(0.0));
    let sentence =
        "label 1: all 3 cases are negative; leave that label out or take cases with and without it into the set";
    assert_eq!(found[1].clone().unwrap_err().to_string(), sentence);
    assert_eq!(mean_area(&found).unwrap_err().to_string(), sentence);
    let found = areas_of_labels(&scores, &one_hot(&[0, 1], 3), 3).unwrap();
    assert!(found[0].is_ok() && found[1].is_ok());
    assert_eq!(found[2], Err(Error::LabelOfOneClass { label: 2, count: 2, class: "negative" }));
    assert!(matches!(areas_of_labels(&scores, &[true; 6], 4), Err(Error::SizeMismatch { .. })));
    assert!(matches!(areas_of_labels(&scores, &[true; 6], 0), Err(Error::TooFew { .. })));
    assert!(matches!(areas_of_labels(&[f64::NAN], &[true], 1), Err(Error::NotFinite { .. })));
    assert!(matches!(mean_area(&[]), Err(Error::TooFew { .. })));
}

#[test]
fn signed_ranks_are_those_of_scipy() {
    let golden = golden();
    let mut nulls = Vec::new();
    for case in golden["signed_rank"].as_array().unwrap() {
        let differences = numbers(&case["differences"]);
        let found = wilcoxon_signed_rank(&differences).unwrap();
        assert_close(found.rank_sum_above, number(&case["above"]));
        assert_close(found.rank_sum_below, number(&case["below"]));
        assert_close(found.p_value, number(&case["p"]));
        assert_close(rank_biserial(&differences).unwrap(), number(&case["biserial"]));
        nulls.push(found.null);
        let turned: Vec<f64> = differences.iter().map(|difference| -difference).collect();
        assert_eq!(wilcoxon_signed_rank(&turned).unwrap().p_value, found.p_value);
    }
    // Both ways to a p-value were taken.
    assert!(nulls.contains(&NullDistribution::Exact) && nulls.contains(&NullDistribution::Normal));
}

#[test]
fn the_exact_and_the_normal_signed_ranks_meet() {
    // 25 different sizes are tried exactly; one twice of them is not, and hardly changes the sum.
    let sign = |index: i32| if index % 3 == 0 { -1.0 } else { 1.0 };
    let exact: Vec<f64> = (1..=25).map(|index| sign(index) * f64::from(index)).collect();
    let mut tied = exact.clone();
    tied[24] = 24.0;
    let (exact, tied) = (wilcoxon_signed_rank(&exact).unwrap(), wilcoxon_signed_rank(&tied).unwrap());
    assert_eq!((exact.null, tied.null), (NullDistribution::Exact, NullDistribution::Normal));
    assert!((exact.p_value - tied.p_value).abs() < 0.01, "{exact:?} {tied:?}");
    assert!(matches!(wilcoxon_signed_rank(&[]), Err(Error::TooFew { .. })));
    assert!(matches!(wilcoxon_signed_rank(&[0.0; 9]), Err(Error::NoSpread { .. })));
    assert!(matches!(wilcoxon_signed_rank(&[1.0, f64::NAN]), Err(Error::NotFinite { position: 1, .. })));
    assert!(matches!(rank_biserial(&[0.0]), Err(Error::NoSpread { .. })));
    assert_eq!(rank_biserial(&[2.0, 0.0, 1.0]).unwrap(), 1.0);
    // Of one difference each sign is as likely as the other.
    assert_eq!(wilcoxon_signed_rank(&[3.0]).unwrap().p_value, 1.0);
}

#[test]
fn t_tests_are_those_of_scipy() {
    let golden = golden();
    for case in golden["t"].as_array().unwrap() {
        let differences = numbers(&case["differences"]);
        let found = corrected_t_test(&differences, number(&case["ratio"])).unwrap();
        assert_close(found.t, number(&case["t"]));
        assert_close(found.p_value, number(&case["p"]));
        assert_close(paired_cohens_d(&differences).unwrap(), number(&case["d"]));
        let confidence = number(&case["confidence"]);
        let interval = found.interval(confidence).unwrap();
        assert_close(interval.low, number(&case["low"]));
        assert_close(interval.high, number(&case["high"]));
    }
}

#[test]
fn a_t_test_agrees_with_its_interval() {
    let differences: Vec<f64> = noise(15, 2).iter().map(|value| value + 0.3).collect();
    for ratio in [0.0, 0.25, 1.0] {
        let test = corrected_t_test(&differences, ratio).unwrap();
        // At a confidence of 1 - p an end of the interval is 0.
        let interval = test.interval(1.0 - test.p_value).unwrap();
        assert!(interval.low.abs().min(interval.high.abs()) < 1e-8, "{interval:?}");
    }
    assert!(matches!(corrected_t_test(&[1.0], 0.25), Err(Error::TooFew { .. })));
    assert!(matches!(corrected_t_test(&[0.1; 5], 0.25), Err(Error::NoSpread { .. })));
    assert!(matches!(corrected_t_test(&[0.0; 5], 0.25), Err(Error::NoSpread { .. })));
    // Equal but for the rounding of the scores they are differences of.
    let rounded = [0.3 - 0.2, 0.2 - 0.1, 0.9 - 0.8];
    assert!(rounded[0] != rounded[1]);
    assert!(matches!(corrected_t_test(&rounded, 0.25), Err(Error::NoSpread { .. })));
    assert!(matches!(paired_cohens_d(&rounded), Err(Error::NoSpread { .. })));
    assert!(matches!(corrected_t_test(&[1.0, 2.0], -0.1), Err(Error::OutOfRange { .. })));
    assert!(matches!(corrected_t_test(&[1.0, 2.0], f64::NAN), Err(Error::OutOfRange { .. })));
    assert!(matches!(corrected_t_test(&[1.0, f64::INFINITY], 0.1), Err(Error::NotFinite { .. })));
    let test = corrected_t_test(&[1.0, 2.0], 0.0).unwrap();
    assert!(matches!(test.interval(0.0), Err(Error::OutOfRange { .. })));
}

#[test]
fn holm_is_that_of_statsmodels() {
    let golden = golden();
    let p_values = numbers(&golden["p_values"]);
    let adjusted = holm(&p_values).unwrap();
    assert_all_close(&adjusted, &numbers(&golden["holm"]));
    assert!(adjusted.iter().zip(&p_values).all(|(adjusted, p_value)| adjusted >= p_value && *adjusted <= 1.0));
    assert_eq!(holm(&[0.03]).unwrap(), [0.03]);
    assert!(holm(&[]).unwrap().is_empty());
    for value in [f64::NAN, -0.1, 1.1] {
        assert!(matches!(holm(&[0.5, value]), Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn intervals_of_shares_are_those_of_scipy() {
    for case in golden()["shares"].as_array().unwrap() {
        let case = numbers(case);
        let found = Share { count: case[0] as usize, total: case[1] as usize }.interval(case[2]).unwrap();
        assert!((found.low - case[3]).abs() < 1e-12 && (found.high - case[4]).abs() < 1e-12, "{found:?} {case:?}");
    }
    assert_eq!(Share::of(&[true, false, false, true]).unwrap().value(), 0.5);
    assert!(matches!(Share::of(&[]), Err(Error::TooFew { .. })));
    assert!(matches!(Share { count: 0, total: 0 }.interval(0.9), Err(Error::TooFew { .. })));
    assert!(matches!(Share { count: 0, total: 1 }.interval(f64::NAN), Err(Error::OutOfRange { .. })));
}

#[test]
fn the_interval_of_a_mean_is_as_wide_as_its_standard_error_says() {
    let values = noise(200, 0);
    let found = bootstrap_interval_of_mean(&values, 20_000, 0.95, 1).unwrap();
    let mean = values.iter().sum::<f64>() / 200.0;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 200.0;
    let expected = 2.0 * 1.96 * (variance / 200.0).sqrt();
    assert!((found.high - found.low - expected).abs() < 0.03 * expected, "{found:?} {expected}");
    assert!(matches!(bootstrap_interval_of_mean(&[f64::NAN], 50, 0.95, 1), Err(Error::NotFinite { .. })));
    assert!(matches!(bootstrap_interval_of_mean(&[], 50, 0.95, 1), Err(Error::TooFew { .. })));
    let one = bootstrap_interval_of_mean(&[2.0; 5], 50, 0.95, 1).unwrap();
    assert_eq!((one.low, one.high), (2.0, 2.0));
}
