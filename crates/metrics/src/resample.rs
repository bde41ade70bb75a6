//! How sure a number is: bootstrap intervals, the interval of a share, and limits that new values seldom exceed.

use crate::distribution::{beta_quantile, normal_quantile};
use crate::error::{Error, check_enough, check_finite, check_share};
use random::Purpose;

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
    check_share("confidence", confidence)?;
    let mut positions = vec![0; num_items];
    let values = (0..num_replicates as u64)
        .filter_map(|replicate| {
            random::draw_positions(seed, replicate, Purpose::Bootstrap(0), &mut positions);
            statistic(&positions)
        })
        .collect();
    percentile_interval(values, confidence)
}

/// [`bootstrap_interval`] of a mean.
///
/// # Errors
/// As [`bootstrap_interval`], and [`Error::NotFinite`].
pub fn bootstrap_interval_of_mean(
    values: &[f64],
    num_replicates: usize,
    confidence: f64,
    seed: u64,
) -> Result<Interval, Error> {
    check_finite("the values", values)?;
    bootstrap_interval(values.len(), num_replicates, confidence, seed, |positions| {
        Some(positions.iter().map(|position| values[*position]).sum::<f64>() / values.len() as f64)
    })
}

/// How many of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Number that counts.
    pub count: usize,
    /// Number of all, at least 1.
    pub total: usize,
}

impl Share {
    /// The share of those that are true.
    ///
    /// # Errors
    /// [`Error::TooFew`] without any.
    pub fn of(flags: &[bool]) -> Result<Self, Error> {
        check_enough("number of items", flags.len(), 1)?;
        Ok(Self { count: flags.iter().filter(|flag| **flag).count(), total: flags.len() })
    }

    /// In 0..=1.
    pub fn value(self) -> f64 {
        self.count as f64 / self.total as f64
    }

    /// The score interval (Wilson 1927), which unlike a bootstrap has a width where nobody or everybody counts. It takes
    /// the items for independent: several images of one patient make it too narrow.
    ///
    /// # Errors
    /// [`Error::TooFew`] of nothing, [`Error::OutOfRange`] for a confidence outside 0 to 1, both excluded.
    pub fn interval(self, confidence: f64) -> Result<Interval, Error> {
        check_enough("number of items", self.total, 1)?;
        check_share("confidence", confidence)?;
        let (share, total) = (self.value(), self.total as f64);
        let z = normal_quantile(0.5 * (1.0 + confidence));
        let scale = 1.0 + z * z / total;
        let centre = (share + z * z / (2.0 * total)) / scale;
        let half = z / scale * (share * (1.0 - share) / total + (z / (2.0 * total)).powi(2)).sqrt();
        // Exactly 0 and 1 at the extremes, where rounding would leave a trace.
        let low = if self.count == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.count == self.total { 1.0 } else { (centre + half).min(1.0) };
        Ok(Interval { low, high })
    }
}

/// A value that new ones of the same kind seldom exceed, and how often they do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The limit itself: one of the values that it was chosen from.
    pub value: f64,
    /// Share of new values above it that is to be expected.
    pub exceeded: f64,
    /// Where this share lies for the values at hand, with the confidence asked for.
    pub interval: Interval,
}

impl Limit {
    /// The lowest of some values above which at most `share` of new ones are to be expected; their largest where they are
    /// too few for that.
    ///
    /// Above the `k`-th largest of `n` values there lies a share of all others like them that is beta-distributed with
    /// the shapes `k` and `n + 1 - k`, whatever their own distribution (Wilks 1941), with the mean `k / (n + 1)`. The
    /// share of the `n` themselves, `(k - 1) / n`, would promise too much, since the limit was chosen on them.
    ///
    /// # Errors
    /// [`Error::TooFew`] without values, [`Error::NotFinite`], [`Error::OutOfRange`] for a share or a confidence outside
    /// 0 to 1, of which a share may be 0.
    pub fn of(values: &[f64], share: f64, confidence: f64) -> Result<Self, Error> {
        check_enough("number of values", values.len(), 1)?;
        check_finite("the values", values)?;
        check_share("confidence", confidence)?;
        if !(0.0..1.0).contains(&share) {
            return Err(Error::OutOfRange { name: "share", value: share, expected: "at least 0 and below 1" });
        }
        let mut falling = values.to_vec();
        falling.sort_by(|left, right| right.total_cmp(left));
        // Just below a whole number the product may be rounded down from it.
        let rank = ((share * (values.len() + 1) as f64 + 1e-9) as usize).clamp(1, values.len());
        let shapes = [rank as f64, (values.len() + 1 - rank) as f64];
        let tail = 0.5 * (1.0 - confidence);
        let interval = Interval { low: beta_quantile(tail, shapes)?, high: beta_quantile(1.0 - tail, shapes)? };
        Ok(Self { value: falling[rank - 1], exceeded: shapes[0] / (values.len() + 1) as f64, interval })
    }
}

/// The range that holds the middle `confidence` of replicates; NaN does not count.
pub(crate) fn percentile_interval(mut values: Vec<f64>, confidence: f64) -> Result<Interval, Error> {
    values.retain(|value| !value.is_nan());
    check_enough("number of replicates with a value", values.len(), 2)?;
    values.sort_by(f64::total_cmp);
    let tail = 0.5 * (1.0 - confidence);
    Ok(Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
}

/// The value below which a share (0..=1) of ascending values lies, straight between neighbours; there must be one.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let (lower, upper, weight) = quantile_position(sorted.len(), share);
    between(sorted[lower], sorted[upper], weight)
}

/// The two ranks, counted from 0, between which the quantile of `count` sorted values lies, and the upper one's weight.
pub(crate) fn quantile_position(count: usize, share: f64) -> (usize, usize, f64) {
    let position = share * (count - 1) as f64;
    (position.floor() as usize, position.ceil() as usize, position - position.floor())
}

/// Straight between two values, which may be infinite where they are equal.
pub(crate) fn between(lower: f64, upper: f64, weight: f64) -> f64 {
    if weight == 0.0 || lower == upper { lower } else { lower + (upper - lower) * weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_exceeded_as_often_as_it_says() {
        // Uniform values, of which the share above a limit is known.
        let uniform = |seed: u64| random::uniforms(seed, 0, Purpose::Other(0), 60);
        let limits: Vec<Limit> = (0..2000).map(|seed| Limit::of(&uniform(seed), 0.05, 0.9).unwrap()).collect();
        let mean = limits.iter().map(|limit| 1.0 - limit.value).sum::<f64>() / limits.len() as f64;
        assert!(limits.iter().all(|limit| (limit.exceeded - 3.0 / 61.0).abs() < 1e-12));
        assert!((mean - 3.0 / 61.0).abs() < 0.003, "{mean}");
        let inside = |limit: &&Limit| (limit.interval.low..=limit.interval.high).contains(&(1.0 - limit.value));
        let share = limits.iter().filter(inside).count() as f64 / limits.len() as f64;
        assert!((share - 0.9).abs() < 0.03, "{share}");
    }

    #[test]
    fn the_interval_of_a_limit_is_that_of_the_beta_distribution() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let limit = Limit::of(&values, 0.002, 0.95).unwrap();
        assert_eq!((limit.value, limit.exceeded), (998.0, 2.0 / 1001.0));
        // scipy.stats.beta.ppf([0.025, 0.975], 2, 999)
        for (found, expected) in
            [(limit.interval.low, 0.00024230111687723185), (limit.interval.high, 0.005558924279826672)]
        {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
        }
        // Too few values for the share: nothing lies above the limit, and what is to be expected says so.
        let few = Limit::of(&values[..9], 0.002, 0.95).unwrap();
        assert_eq!((few.value, few.exceeded), (8.0, 0.1));
        assert!((few.interval.high - (1.0 - 0.025_f64.powf(1.0 / 9.0))).abs() < 1e-9, "{few:?}");
        assert_eq!(Limit::of(&[0.5, 0.9, 0.9], 0.5, 0.95).unwrap().value, 0.9);
        assert_eq!(Limit::of(&values[..9], 0.3, 0.95).unwrap().value, 6.0, "0.3 of 10 are 3");
        for (values, share) in [(&values[..0], 0.1), (&values[..], 1.0), (&values[..], f64::NAN), (&[f64::NAN], 0.1)] {
            assert!(Limit::of(values, share, 0.95).is_err());
        }
    }
}
