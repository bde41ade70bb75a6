//! How much of their space embeddings use: a network that learns without labels can collapse to one answer, or to few
//! directions, while its loss looks fine.

use faer::Side;

use crate::error::Error;
use crate::moments::Moments;

/// The effective rank of a covariance (Roy and Vetterli 2007): `exp(-sum p ln p)` over its eigenvalues divided by their
/// sum. From 1 (all embeddings on a line) to their dimension (alike in all directions); 0 where all are equal.
///
/// With fewer embeddings than dimensions it is at most their number less one: compare only like numbers.
///
/// # Errors
/// [`Error::TooFew`] with fewer than two rows, [`Error::NoConvergence`].
pub fn effective_rank(moments: &Moments) -> Result<f64, Error> {
    let (_mean, covariance) = moments.mean_and_covariance()?;
    let no_convergence = |_error| Error::NoConvergence { dim: moments.dim() };
    let values = covariance.self_adjoint_eigenvalues(Side::Lower).map_err(no_convergence)?;
    let largest = values.iter().copied().fold(0.0, f64::max);
    // What is within rounding of 0 is 0.
    let threshold = largest * values.len() as f64 * f64::EPSILON;
    let positive: Vec<f64> = values.into_iter().filter(|value| *value > threshold).collect();
    let sum: f64 = positive.iter().sum();
    if sum <= 0.0 {
        return Ok(0.0);
    }
    let entropy: f64 = positive.iter().map(|value| value / sum).map(|share| -share * share.ln()).sum();
    Ok(entropy.exp())
}

/// The root of the mean variance over dimensions.
///
/// Of embeddings brought to length 1, times the root of their dimension, it is near 1 where they spread over the sphere
/// and 0 where all are equal (Chen and He 2021, "SimSiam", section 4.1).
///
/// # Errors
/// [`Error::TooFew`] with fewer than two rows.
pub fn standard_deviation(moments: &Moments) -> Result<f64, Error> {
    let (_mean, covariance) = moments.mean_and_covariance()?;
    let dim = moments.dim();
    let sum: f64 = (0..dim).map(|index| covariance[(index, index)]).sum();
    Ok((sum / dim as f64).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Rows;

    fn moments(values: &[f64], dim: usize) -> Moments {
        Moments::of(Rows::new(values, dim).unwrap()).unwrap()
    }

    #[test]
    fn directions_are_counted() {
        // Plus and minus each axis: the covariance is a multiple of the unit matrix.
        let mut values = Vec::new();
        for axis in 0..5 {
            for sign in [-1.0, 1.0] {
                values.extend((0..5).map(|index| if index == axis { sign } else { 0.0 }));
            }
        }
        assert!((effective_rank(&moments(&values, 5)).unwrap() - 5.0).abs() < 1e-9);
        // Variance 0.2 * 10 / 9 in each dimension.
        assert!((standard_deviation(&moments(&values, 5)).unwrap() - (2.0f64 / 9.0).sqrt()).abs() < 1e-12);
        let line: Vec<f64> = (0..20).flat_map(|n| [f64::from(n), 2.0 * f64::from(n), -f64::from(n)]).collect();
        assert!((effective_rank(&moments(&line, 3)).unwrap() - 1.0).abs() < 1e-6);
        // Two directions with variances 3 to 1: exp of the entropy of (0.75, 0.25).
        let unequal = [3f64.sqrt(), 0.0, -(3f64.sqrt()), 0.0, 0.0, 1.0, 0.0, -1.0];
        let expected = (-(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln())).exp();
        assert!((effective_rank(&moments(&unequal, 2)).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn equal_embeddings_have_collapsed() {
        let equal = [0.5, -1.0, 0.5, -1.0, 0.5, -1.0];
        assert_eq!(effective_rank(&moments(&equal, 2)).unwrap(), 0.0);
        assert_eq!(standard_deviation(&moments(&equal, 2)).unwrap(), 0.0);
        assert!(effective_rank(&moments(&equal[..2], 2)).is_err());
    }
}
