//! How well masks and classifiers agree with the truth, and how sure such a number is.

use crate::error::{Error, check_enough, check_finite, check_size};

/// Dice coefficient of two masks, `2 |both| / (|a| + |b|)` (Dice 1945), in 0..=1. Two empty masks agree: 1.
///
/// # Errors
/// [`Error::SizeMismatch`].
pub fn dice(a: &[bool], b: &[bool]) -> Result<f64, Error> {
    check_size("number of pixels of the second mask", b.len(), a.len())?;
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    let sizes = a.iter().chain(b).filter(|inside| **inside).count();
    Ok(if sizes == 0 { 1.0 } else { 2.0 * both as f64 / sizes as f64 })
}

/// Area under the receiver operating characteristic: how often a positive case scores above a negative one, ties
/// counting half (the Mann-Whitney statistic from ranks; Hanley and McNeil 1982). In 0..=1, 0.5 is chance.
///
/// # Errors
/// [`Error::SizeMismatch`], [`Error::NotFinite`], or [`Error::OneClass`] without both classes.
pub fn area_under_curve(scores: &[f64], positive: &[bool]) -> Result<f64, Error> {
    check_size("number of labels", positive.len(), scores.len())?;
    check_finite("the scores", scores)?;
    let count = scores.len();
    let num_positive = positive.iter().filter(|positive| **positive).count();
    if num_positive == 0 || num_positive == count {
        return Err(Error::OneClass { count, class: if num_positive == 0 { "negative" } else { "positive" } });
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut rank_sum = 0.0;
    let mut below = 0;
    // Cases of equal score share the mean of their ranks.
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let rank = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        rank_sum += rank * tied.iter().filter(|case| positive[**case]).count() as f64;
        below += tied.len();
    }
    let (positives, negatives) = (num_positive as f64, (count - num_positive) as f64);
    Ok((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// A range that holds the true value with the confidence it was made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Percentile bootstrap interval (Efron 1979): `statistic` of `num_replicates` samples of `num_items` positions, drawn
/// with replacement. A statistic that has no value on a sample (an AUC on one class) gives `None` and does not count.
///
/// Replicate `i` depends on `seed` and `i` alone.
///
/// # Errors
/// [`Error::TooFew`] with no item, fewer than two replicates or fewer than two that have a value;
/// [`Error::OutOfRange`] for a confidence outside 0 to 1, both excluded.
pub fn bootstrap_interval(
    num_items: usize,
    num_replicates: usize,
    confidence: f64,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Result<Interval, Error> {
    check_enough("number of items", num_items, 1)?;
    check_enough("number of replicates", num_replicates, 2)?;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::OutOfRange { name: "confidence", value: confidence, expected: "between 0 and 1" });
    }
    let mut positions = vec![0; num_items];
    let mut values: Vec<f64> = (0..num_replicates as u64)
        .filter_map(|replicate| {
            let key = mix(mix(seed).wrapping_add(replicate));
            for (draw, position) in positions.iter_mut().enumerate() {
                *position = below(mix(key.wrapping_add((draw as u64).wrapping_mul(GOLDEN))), num_items);
            }
            statistic(&positions).filter(|value| !value.is_nan())
        })
        .collect();
    check_enough("number of replicates with a value", values.len(), 2)?;
    values.sort_by(f64::total_cmp);
    let tail = 0.5 * (1.0 - confidence);
    Ok(Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
}

/// 2^64 divided by the golden ratio, made odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(GOLDEN);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A position in `0..len` from a random word, by the high half of their product; its bias is below `len / 2^64`.
fn below(word: u64, len: usize) -> usize {
    ((u128::from(word) * len as u128) >> 64) as usize
}

/// The value below which a share of sorted values lies, straight between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (lower, upper) = (position.floor() as usize, position.ceil() as usize);
    if lower == upper || sorted[lower] == sorted[upper] {
        return sorted[lower];
    }
    sorted[lower] + (sorted[upper] - sorted[lower]) * (position - lower as f64)
}
