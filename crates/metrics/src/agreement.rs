//! How well masks and classifiers agree with the truth.

use crate::error::{Error, check_finite, check_size};
use crate::ranks::Ranks;

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
    let ranks = Ranks::of(scores).values;
    let rank_sum: f64 = ranks.iter().zip(positive).filter(|(_, positive)| **positive).map(|(rank, _)| rank).sum();
    let (positives, negatives) = (num_positive as f64, (count - num_positive) as f64);
    Ok((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}
