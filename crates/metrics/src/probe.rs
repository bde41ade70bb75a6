//! How much simple classifiers read out of features: logistic regression on standardised features, and principal
//! components as a rival feature.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, Par, Side};

use crate::error::{Error, check_enough, check_size};
use crate::kernel::dot;
use crate::moments::Moments;
use crate::rows::Rows;

/// A linear classifier of two classes.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    /// One for each feature.
    pub weights: Vec<f64>,
    /// Added to the weighted sum.
    pub bias: f64,
}

/// Newton steps before giving up; a handful are enough for features of like scale.
const MOST_STEPS: usize = 100;

/// Rows whose part of the Hessian is summed at once.
const BLOCK_ROWS: usize = 256;

impl LogisticRegression {
    /// The minimum of `|w|^2 / 2 + strength * sum(log(1 + exp(-y (w x + b))))` with `y` of 1 and -1: scikit-learn's
    /// `LogisticRegression(C=strength)`, by Newton's method, which is exact to rounding. The bias is not penalised.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::OneClass`], [`Error::OutOfRange`] for a strength that is not above 0,
    /// [`Error::NoConvergence`].
    pub fn fit(rows: Rows<'_>, positive: &[bool], strength: f64) -> Result<Self, Error> {
        check_size("number of labels", positive.len(), rows.len())?;
        let num_positive = positive.iter().filter(|positive| **positive).count();
        if num_positive == 0 || num_positive == rows.len() {
            let class = if num_positive == 0 { "negative" } else { "positive" };
            return Err(Error::OneClass { count: rows.len(), class });
        }
        if !(strength > 0.0 && strength.is_finite()) {
            return Err(Error::OutOfRange { name: "strength", value: strength, expected: "above 0" });
        }
        let dim = rows.dim();
        let mut found = Self { weights: vec![0.0; dim], bias: 0.0 };
        let mut objective = found.objective(rows, positive, strength);
        for _ in 0..MOST_STEPS {
            let (gradient, hessian) = found.derivatives(rows, positive, strength);
            let largest = gradient.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            if largest <= 1e-9 * strength * rows.len() as f64 {
                return Ok(found);
            }
            let factor = hessian.llt(Side::Lower).map_err(|_| Error::NoConvergence { dim: dim + 1 })?;
            let step = factor.solve(Mat::from_fn(dim + 1, 1, |row, _| -gradient[row]));
            // Far from the minimum a whole step may overshoot.
            let mut length = 1.0;
            loop {
                let weights = (0..dim).map(|index| found.weights[index] + length * step[(index, 0)]).collect();
                let next = Self { weights, bias: found.bias + length * step[(dim, 0)] };
                let reached = next.objective(rows, positive, strength);
                if reached < objective {
                    (found, objective) = (next, reached);
                    break;
                }
                length /= 2.0;
                if length < 1e-6 {
                    return Ok(found); // rounding is all that is left
                }
            }
        }
        Err(Error::NoConvergence { dim: dim + 1 })
    }

    /// Logits, above 0 for the positive class.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] for rows of another length.
    pub fn scores(&self, rows: Rows<'_>) -> Result<Vec<f64>, Error> {
        check_size("dim of the features", rows.dim(), self.weights.len())?;
        Ok((0..rows.len()).map(|row| self.score(rows.row(row))).collect())
    }

    fn score(&self, row: &[f64]) -> f64 {
        dot(row, &self.weights) + self.bias
    }

    fn objective(&self, rows: Rows<'_>, positive: &[bool], strength: f64) -> f64 {
        let losses = positive.iter().enumerate().map(|(row, positive)| {
            let margin = if *positive { self.score(rows.row(row)) } else { -self.score(rows.row(row)) };
            // log(1 + exp(-margin)) without overflow
            (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
        });
        0.5 * dot(&self.weights, &self.weights) + strength * losses.sum::<f64>()
    }

    /// Gradient and Hessian of the objective; the bias comes last.
    fn derivatives(&self, rows: Rows<'_>, positive: &[bool], strength: f64) -> (Vec<f64>, Mat<f64>) {
        let dim = rows.dim();
        let mut gradient: Vec<f64> = self.weights.iter().copied().chain([0.0]).collect();
        let mut hessian = Mat::from_fn(dim + 1, dim + 1, |row, column| f64::from(row == column && row < dim));
        for (block, labels) in rows.blocks(BLOCK_ROWS).zip(positive.chunks(BLOCK_ROWS)) {
            let mut curvatures = Vec::with_capacity(labels.len());
            for (row, positive) in labels.iter().enumerate() {
                let values = block.row(row);
                let probability = 1.0 / (1.0 + (-self.score(values)).exp());
                let error = strength * (probability - f64::from(*positive));
                gradient.iter_mut().zip(values.iter().chain([&1.0])).for_each(|(sum, value)| *sum += error * value);
                curvatures.push((strength * probability * (1.0 - probability)).sqrt());
            }
            let scaled = Mat::from_fn(labels.len(), dim + 1, |row, column| {
                curvatures[row] * block.row(row).get(column).copied().unwrap_or(1.0)
            });
            matmul(&mut hessian, Accum::Add, scaled.transpose(), &scaled, 1.0, Par::Seq);
        }
        (gradient, hessian)
    }
}

/// Brings each dimension of features to mean 0 and standard deviation 1 over the rows it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardiser {
    mean: Vec<f64>,
    /// 1 / standard deviation; 0 for dimensions that do not vary.
    scale: Vec<f64>,
}

impl Standardiser {
    /// Mean and deviation (of the population) of some rows; without any, nothing varies.
    pub fn of(rows: Rows<'_>) -> Self {
        let (dim, count) = (rows.dim(), rows.len() as f64);
        let (mut mean, mut square) = (vec![0.0; dim], vec![0.0; dim]);
        for row in (0..rows.len()).map(|row| rows.row(row)) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
        }
        for row in (0..rows.len()).map(|row| rows.row(row)) {
            let terms = row.iter().zip(&mean).map(|(value, mean)| (value - mean).powi(2) / count);
            square.iter_mut().zip(terms).for_each(|(square, term)| *square += term);
        }
        let scale = square.iter().map(|square| if *square > 0.0 { square.sqrt().recip() } else { 0.0 }).collect();
        Self { mean, scale }
    }

    /// Rows of the same length, standardised, row after row; constant dimensions become 0.
    pub fn apply(&self, values: &[f64]) -> Vec<f64> {
        let dim = self.mean.len();
        let of = |(place, value): (usize, &f64)| (value - self.mean[place % dim]) * self.scale[place % dim];
        values.iter().enumerate().map(of).collect()
    }
}

/// The directions of largest variance.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalComponents {
    mean: Vec<f64>,
    /// One unit vector after the other, `[count, dim]`.
    directions: Vec<f64>,
}

impl PrincipalComponents {
    /// The `count` first components of some rows, or all if there are fewer dimensions.
    ///
    /// # Errors
    /// [`Error::TooFew`] for `count` 0 and fewer than two rows, [`Error::NoConvergence`].
    pub fn of(rows: Rows<'_>, count: usize) -> Result<Self, Error> {
        check_enough("number of components", count, 1)?;
        let (mean, covariance) = Moments::of(rows)?.mean_and_covariance()?;
        let dim = rows.dim();
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_| Error::NoConvergence { dim })?;
        // Eigenvalues come in rising order.
        let chosen = (0..dim).rev().take(count);
        let directions = chosen.flat_map(|column| (0..dim).map(move |row| (row, column)));
        Ok(Self { mean, directions: directions.map(|place| eigen.U()[place]).collect() })
    }

    /// Coordinates of rows along the components, `[rows, count]`.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] for rows of another length.
    pub fn project(&self, rows: Rows<'_>) -> Result<Vec<f64>, Error> {
        check_size("dim of the features", rows.dim(), self.mean.len())?;
        let coordinates = (0..rows.len()).flat_map(|row| {
            let centred: Vec<f64> = rows.row(row).iter().zip(&self.mean).map(|(value, mean)| value - mean).collect();
            self.directions
                .chunks_exact(self.mean.len())
                .map(move |direction| dot(&centred, direction))
                .collect::<Vec<_>>()
        });
        Ok(coordinates.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_tasks_are_refused() {
        let rows = Rows::new(&[1.0, 2.0, 3.0], 1).unwrap();
        assert!(matches!(LogisticRegression::fit(rows, &[true, true, true], 1.0), Err(Error::OneClass { .. })));
        assert!(LogisticRegression::fit(rows, &[true, false], 1.0).is_err());
        assert!(LogisticRegression::fit(rows, &[true, false, true], 0.0).is_err());
        assert!(PrincipalComponents::of(rows, 0).is_err());
    }

    #[test]
    fn standardised_rows_have_mean_0_and_deviation_1_and_constants_become_0() {
        let values = [1.0, 7.0, 3.0, 7.0, 8.0, 7.0];
        let standardiser = Standardiser::of(Rows::new(&values, 2).unwrap());
        let found = standardiser.apply(&values);
        let first: Vec<f64> = found.iter().step_by(2).copied().collect();
        assert!(first.iter().sum::<f64>().abs() < 1e-12, "{first:?}");
        assert!((first.iter().map(|value| value * value).sum::<f64>() / 3.0 - 1.0).abs() < 1e-12, "{first:?}");
        assert_eq!([found[1], found[3], found[5]], [0.0; 3]);
        assert_eq!(standardiser.apply(&[4.0, 9.0]), [0.0, 0.0], "the mean of new rows is that of the old ones");
    }

    #[test]
    fn classes_that_a_line_parts_are_parted() {
        let values: Vec<f64> = (0..40).flat_map(|index| [f64::from(index), 5.0]).collect();
        let positive: Vec<bool> = (0..40).map(|index| index >= 17).collect();
        let rows = Rows::new(&values, 2).unwrap();
        let scores = LogisticRegression::fit(rows, &positive, 1e4).unwrap().scores(rows).unwrap();
        assert!(scores.iter().zip(&positive).all(|(score, positive)| (*score > 0.0) == *positive), "{scores:?}");
    }
}
