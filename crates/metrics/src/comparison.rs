//! Whether one method beats another on the same cases or folds, and by how much: paired tests, their correction for many
//! comparisons, effect sizes. Differences are always those of the first method less the second.

use crate::distribution::{normal_two_sided, student_quantile, student_two_sided};
use crate::error::{Error, check_enough, check_finite, check_share};
use crate::ranks::Ranks;
use crate::resample::Interval;

/// What the rank sum of [`wilcoxon_signed_rank`] was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullDistribution {
    /// All assignments of signs, each as likely as any other.
    Exact,
    /// The normal distribution.
    Normal,
}

/// Result of [`wilcoxon_signed_rank`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRankTest {
    /// Sum of the ranks of differences above 0.
    pub rank_sum_above: f64,
    /// Sum of the ranks of differences below 0.
    pub rank_sum_below: f64,
    /// Number of differences that are not 0.
    pub count: usize,
    /// What the smaller sum was compared with.
    pub null: NullDistribution,
    /// Two-sided.
    pub p_value: f64,
}

/// The most differences whose signs are all tried where no two are of one size.
const MOST_EXACT: usize = 25;

/// The most whose signs are all tried where some are of one size, as scipy does.
const MOST_EXACT_WITH_TIES: usize = 13;

/// The signed-rank test (Wilcoxon 1945) that differences lie symmetrically around 0.
///
/// Differences of 0 are dropped. Up to 25 others of different sizes, or 13 of any, are compared with all assignments of
/// signs to their ranks. More are compared with the normal distribution of mean `n (n + 1) / 4` and variance
/// `(n (n + 1) (2 n + 1) - sum(t^3 - t) / 2) / 24` over groups of `t` of one size, with the rank sum moved by 1/2 towards
/// the mean: scipy's `wilcoxon(correction=True)`, which however tries all signs up to 50 without ties.
///
/// # Errors
/// [`Error::TooFew`] without a difference, [`Error::NotFinite`], [`Error::NoSpread`] where all are 0.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Result<SignedRankTest, Error> {
    let (ranks, [above, below]) = signed_ranks(differences)?;
    let count = ranks.values.len();
    let exact = count <= if ranks.ties == 0.0 { MOST_EXACT } else { MOST_EXACT_WITH_TIES };
    let (null, p_value) = if exact {
        (NullDistribution::Exact, 2.0 * share_of_signs(&ranks.values, above.min(below)))
    } else {
        let n = count as f64;
        let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ranks.ties / 2.0) / 24.0;
        let distance = ((above - n * (n + 1.0) / 4.0).abs() - 0.5).max(0.0);
        (NullDistribution::Normal, normal_two_sided(distance / variance.sqrt()))
    };
    Ok(SignedRankTest { rank_sum_above: above, rank_sum_below: below, count, null, p_value: p_value.min(1.0) })
}

/// Ranks of the sizes of differences that are not 0, and their sums for those above and below 0.
fn signed_ranks(differences: &[f64]) -> Result<(Ranks, [f64; 2]), Error> {
    check_enough("number of differences", differences.len(), 1)?;
    check_finite("the differences", differences)?;
    let others: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    if others.is_empty() {
        return Err(Error::NoSpread { what: "the differences", value: 0.0 });
    }
    let ranks = Ranks::of(&others.iter().map(|difference| difference.abs()).collect::<Vec<_>>());
    let sum = |above: bool| {
        ranks.values.iter().zip(&others).filter(|(_, other)| (**other > 0.0) == above).map(|(rank, _)| rank).sum()
    };
    let sums = [sum(true), sum(false)];
    Ok((ranks, sums))
}

/// The share of all assignments of signs in which the ranks of one sign sum up to at most `rank_sum`.
fn share_of_signs(ranks: &[f64], rank_sum: f64) -> f64 {
    // Twice a rank that ties share is a whole number.
    let doubled = |rank: f64| (2.0 * rank).round() as usize;
    let mut ways = vec![0.0; ranks.iter().map(|rank| doubled(*rank)).sum::<usize>() + 1];
    ways[0] = 1.0;
    for rank in ranks {
        let rank = doubled(*rank);
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let at_most: f64 = ways.iter().take(doubled(rank_sum) + 1).sum();
    at_most / 2f64.powi(ranks.len() as i32)
}

/// Result of [`corrected_t_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampledTTest {
    /// Of the differences.
    pub mean: f64,
    /// Of the mean, corrected.
    pub standard_error: f64,
    /// Degrees of freedom, one less than there are differences.
    pub degrees: f64,
    /// Mean over standard error.
    pub t: f64,
    /// Two-sided.
    pub p_value: f64,
}

impl ResampledTTest {
    /// The range of mean differences that the test would not refuse at `1 - confidence`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a confidence outside 0 to 1, both excluded.
    pub fn interval(&self, confidence: f64) -> Result<Interval, Error> {
        check_share("confidence", confidence)?;
        let half = student_quantile(0.5 * (1.0 + confidence), self.degrees)? * self.standard_error;
        Ok(Interval { low: self.mean - half, high: self.mean + half })
    }
}

/// The corrected resampled t test (Nadeau and Bengio 2003) that differences over folds and repeats have the
/// mean 0: `t = mean / sqrt((1 / J + test_per_training) * variance)` over `J` differences, `J - 1` degrees of freedom.
///
/// Training sets of folds overlap, so differences are alike and the plain test finds too much. `test_per_training` is
/// the number of test cases over that of training cases: 0.25 in 5-fold cross-validation. For repeated cross-validation
/// the same holds (Bouckaert and Frank 2004). At 0 it is the plain paired t test, for independent differences.
///
/// # Errors
/// [`Error::TooFew`] with fewer than two differences, [`Error::NotFinite`], [`Error::OutOfRange`] for a
/// `test_per_training` below 0, [`Error::NoSpread`] for differences that are equal up to rounding.
pub fn corrected_t_test(differences: &[f64], test_per_training: f64) -> Result<ResampledTTest, Error> {
    if !(test_per_training >= 0.0 && test_per_training.is_finite()) {
        let (name, expected) = ("test_per_training", "a number from 0 on");
        return Err(Error::OutOfRange { name, value: test_per_training, expected });
    }
    let (mean, deviation) = mean_and_deviation(differences)?;
    let count = differences.len() as f64;
    let standard_error = (1.0 / count + test_per_training).sqrt() * deviation;
    let (degrees, t) = (count - 1.0, mean / standard_error);
    Ok(ResampledTTest { mean, standard_error, degrees, t, p_value: student_two_sided(t, degrees)? })
}

/// Mean and unbiased standard deviation, which is above 0.
fn mean_and_deviation(differences: &[f64]) -> Result<(f64, f64), Error> {
    check_enough("number of differences", differences.len(), 2)?;
    check_finite("the differences", differences)?;
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    // Differences of scores carry their rounding: 0.3 - 0.2 is not 0.2 - 0.1.
    if deviation <= 1e-12 * mean.abs() {
        return Err(Error::NoSpread { what: "the differences", value: mean });
    }
    Ok((mean, deviation))
}

/// Adjusted p-values of some tests (Holm 1979), in their order: each is refused at level `a` where its adjusted value is
/// at most `a`, and then any error among all has at most probability `a`. The `i`-th smallest of `m`, counted from 0, is
/// multiplied by `m - i`; none is below a smaller one's, or above 1.
///
/// # Errors
/// [`Error::OutOfRange`] for a value that is not in 0..=1.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, Error> {
    if let Some(value) = p_values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(Error::OutOfRange { name: "p-value", value: *value, expected: "in 0..=1" });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, test) in order.into_iter().enumerate() {
        largest = largest.max((p_values.len() - rank) as f64 * p_values[test]).min(1.0);
        adjusted[test] = largest;
    }
    Ok(adjusted)
}

/// Mean of the differences over their standard deviation (Cohen 1988, there `d_z`).
///
/// # Errors
/// [`Error::TooFew`] with fewer than two differences, [`Error::NotFinite`], [`Error::NoSpread`] for differences that
/// are equal up to rounding.
pub fn paired_cohens_d(differences: &[f64]) -> Result<f64, Error> {
    let (mean, deviation) = mean_and_deviation(differences)?;
    Ok(mean / deviation)
}

/// Matched-pairs rank-biserial correlation (Kerby 2014): the rank sum above 0 less that below, over both. From -1, where
/// every difference is below 0, to 1; differences of 0 are dropped.
///
/// # Errors
/// [`Error::TooFew`] without a difference, [`Error::NotFinite`], [`Error::NoSpread`] where all are 0.
pub fn rank_biserial(differences: &[f64]) -> Result<f64, Error> {
    let (_, [above, below]) = signed_ranks(differences)?;
    Ok((above - below) / (above + below))
}
