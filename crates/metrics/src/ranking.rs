//! Areas under the curve of several classifiers on the same cases, and of several labels: variances, tests and means.

use crate::agreement::area_under_curve;
use crate::distribution::{normal_quantile, normal_two_sided};
use crate::error::{Error, check_enough, check_finite, check_share, check_size};
use crate::ranks::Ranks;
use crate::resample::Interval;

/// Areas under the curve of some classifiers on the same cases, and how they vary together.
#[derive(Debug, Clone, PartialEq)]
pub struct Areas {
    /// One for each classifier, in 0..=1.
    pub areas: Vec<f64>,
    /// Their covariance, `[classifiers, classifiers]`, row after row.
    pub covariance: Vec<f64>,
}

/// Whether two areas differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AreaTest {
    /// The first area less the second.
    pub difference: f64,
    /// Of the difference.
    pub standard_error: f64,
    /// Their quotient; 0 where both are 0.
    pub z: f64,
    /// Two-sided, by the normal distribution.
    pub p_value: f64,
}

impl Areas {
    /// The nonparametric estimate of DeLong, DeLong and Clarke-Pearson (1988), by ranks as Sun and Xu (2014) do: in time
    /// `n log n` and not in time of all pairs.
    ///
    /// The share of negative cases below a positive one, and of positive cases above a negative one, are that case's
    /// components; the covariance is that of the positive cases' components over their number, plus the same of the
    /// negative ones.
    ///
    /// # Shapes
    /// - `scores`: of each classifier all cases
    ///
    /// # Errors
    /// [`Error::TooFew`] without a classifier or with fewer than two cases of a class, [`Error::SizeMismatch`],
    /// [`Error::NotFinite`], [`Error::OneClass`].
    pub fn of(scores: &[&[f64]], positive: &[bool]) -> Result<Self, Error> {
        check_enough("number of classifiers", scores.len(), 1)?;
        let num_positive = positive.iter().filter(|positive| **positive).count();
        let num_negative = positive.len() - num_positive;
        if num_positive == 0 || num_negative == 0 {
            let class = if num_positive == 0 { "negative" } else { "positive" };
            return Err(Error::OneClass { count: positive.len(), class });
        }
        check_enough("number of positive cases", num_positive, 2)?;
        check_enough("number of negative cases", num_negative, 2)?;
        // Of each classifier one component for each positive and for each negative case.
        let (mut of_positive, mut of_negative) = (Vec::new(), Vec::new());
        for scores in scores {
            check_size("number of labels", positive.len(), scores.len())?;
            check_finite("the scores", scores)?;
            of_positive.push(components(scores, positive, true));
            of_negative.push(components(scores, positive, false));
        }
        let areas: Vec<f64> = of_positive.iter().map(|components| mean(components)).collect();
        let covariances = |a: usize, b: usize| {
            covariance(&of_positive[a], &of_positive[b]) / num_positive as f64
                + covariance(&of_negative[a], &of_negative[b]) / num_negative as f64
        };
        let count = scores.len();
        let covariance = (0..count * count).map(|place| covariances(place / count, place % count)).collect();
        Ok(Self { areas, covariance })
    }

    /// The area of one classifier, and to both sides as many standard errors as a normal variable needs for the
    /// confidence, within 0..=1. An area of 0 or 1 has variance 0, so its interval is a point however few cases there
    /// are: do not read that as certainty.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a confidence outside 0 to 1, both excluded, and for a classifier that is not there.
    pub fn interval(&self, classifier: usize, confidence: f64) -> Result<Interval, Error> {
        check_share("confidence", confidence)?;
        self.check_classifier(classifier)?;
        let area = self.areas[classifier];
        let variance = self.covariance[classifier * self.areas.len() + classifier];
        let half = normal_quantile(0.5 * (1.0 + confidence)) * variance.max(0.0).sqrt();
        Ok(Interval { low: (area - half).max(0.0), high: (area + half).min(1.0) })
    }

    /// The test of DeLong, DeLong and Clarke-Pearson (1988) that two correlated areas are equal. Two classifiers that
    /// rank all cases alike have the difference 0 and `p_value` 1.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a classifier that is not there, [`Error::NoSpread`] for areas that differ without any
    /// variance, as 1 and 0 do.
    pub fn test(&self, first: usize, second: usize) -> Result<AreaTest, Error> {
        self.check_classifier(first)?;
        self.check_classifier(second)?;
        let covariance = |a: usize, b: usize| self.covariance[a * self.areas.len() + b];
        let difference = self.areas[first] - self.areas[second];
        let variances = covariance(first, first) + covariance(second, second);
        let variance = variances - 2.0 * covariance(first, second);
        // What is within rounding of 0 is 0.
        let without_variance = variance <= 1e-14 * variances;
        if without_variance && difference.abs() > 1e-14 {
            return Err(Error::NoSpread { what: "the differences of the cases' components", value: difference });
        }
        if without_variance {
            return Ok(AreaTest { difference, standard_error: 0.0, z: 0.0, p_value: 1.0 });
        }
        let standard_error = variance.sqrt();
        let z = difference / standard_error;
        Ok(AreaTest { difference, standard_error, z, p_value: normal_two_sided(z) })
    }

    fn check_classifier(&self, classifier: usize) -> Result<(), Error> {
        if classifier < self.areas.len() {
            return Ok(());
        }
        let expected = "below the number of classifiers";
        Err(Error::OutOfRange { name: "classifier", value: classifier as f64, expected })
    }
}

/// For each case of one class the share of the other class's cases on its far side: below a positive case, above a
/// negative one, ties half. It is the case's rank among all less its rank among its own class, which counts the other
/// class's cases below it.
fn components(scores: &[f64], positive: &[bool], of_positive: bool) -> Vec<f64> {
    let of_class = |case: &usize| positive[*case] == of_positive;
    let cases: Vec<usize> = (0..scores.len()).filter(of_class).collect();
    let own: Vec<f64> = cases.iter().map(|case| scores[*case]).collect();
    let (among_all, among_own) = (Ranks::of(scores).values, Ranks::of(&own).values);
    let num_others = (scores.len() - cases.len()) as f64;
    let below = cases.iter().zip(among_own).map(|(case, own)| (among_all[*case] - own) / num_others);
    below.map(|share| if of_positive { share } else { 1.0 - share }).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>() / (a.len() - 1) as f64
}

/// The area of each label of cases that can have several at once. A label that all cases or none have is an error of its
/// own and does not stop the others.
///
/// # Shapes
/// - `scores`, `truth`: `[cases, num_labels]`, case after case
///
/// # Errors
/// [`Error::TooFew`] without a label or case, [`Error::SizeMismatch`], [`Error::NotFinite`] where the scores are not
/// as described; [`Error::LabelOfOneClass`] within.
pub fn areas_of_labels(scores: &[f64], truth: &[bool], num_labels: usize) -> Result<Vec<Result<f64, Error>>, Error> {
    check_enough("number of labels", num_labels, 1)?;
    check_enough("number of scores", scores.len(), 1)?;
    check_size("number of true labels", truth.len(), scores.len())?;
    check_size("number of scores of the last case", scores.len() % num_labels, 0)?;
    check_finite("the scores", scores)?;
    let column = |label: usize| {
        let of_label: Vec<f64> = scores.iter().skip(label).step_by(num_labels).copied().collect();
        let positive: Vec<bool> = truth.iter().skip(label).step_by(num_labels).copied().collect();
        area_under_curve(&of_label, &positive).map_err(|error| match error {
            Error::OneClass { count, class } => Error::LabelOfOneClass { label, count, class },
            other => other,
        })
    };
    Ok((0..num_labels).map(column).collect())
}

/// The mean over labels or classes ("macro"), each counting alike.
///
/// # Errors
/// That of the first label without an area: to leave some out silently would compare means of different labels.
/// [`Error::TooFew`] without any.
pub fn mean_area(areas: &[Result<f64, Error>]) -> Result<f64, Error> {
    check_enough("number of labels", areas.len(), 1)?;
    let sum = areas.iter().cloned().sum::<Result<f64, Error>>()?;
    Ok(sum / areas.len() as f64)
}
