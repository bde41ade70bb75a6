//! How far apart two sets of features are: as two normal distributions (Fréchet) or as two clouds of points (kernel).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::distribution::normal_quantile;
use crate::error::{Error, check_enough, check_finite, check_share, check_size};
use crate::resample::{Interval, draw, percentile_interval};
use crate::rows::Rows;

/// Rows that are summed at once; fixed, so that a sum does not depend on the portions in which rows arrive.
const BLOCK_ROWS: usize = 256;

/// Mean and covariance of features, gathered row by row in memory that does not grow with their number.
#[derive(Debug, Clone)]
pub struct Moments {
    dim: usize,
    /// Number of rows summed up in `mean` and `scatter`.
    count: usize,
    mean: Vec<f64>,
    /// Sum over rows of the outer product of their difference from the mean, `[dim, dim]`.
    scatter: Mat<f64>,
    /// Rows that do not yet fill a block.
    pending: Vec<f64>,
}

impl Moments {
    /// No rows yet, of length `dim`.
    ///
    /// # Errors
    /// [`Error::TooFew`] for `dim` 0.
    pub fn new(dim: usize) -> Result<Self, Error> {
        check_enough("dim of the features", dim, 1)?;
        Ok(Self { dim, count: 0, mean: vec![0.0; dim], scatter: Mat::zeros(dim, dim), pending: Vec::new() })
    }

    /// The moments of a whole table.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn of(rows: Rows<'_>) -> Result<Self, Error> {
        let mut moments = Self::new(rows.dim())?;
        for index in 0..rows.len() {
            moments.push(rows.row(index))?;
        }
        Ok(moments)
    }

    /// Adds the features of one image.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] or [`Error::NotFinite`]; the row is then not added.
    pub fn push(&mut self, row: &[f64]) -> Result<(), Error> {
        check_size("length of the row", row.len(), self.dim)?;
        check_finite("the row of features", row)?;
        self.pending.extend_from_slice(row);
        if self.pending.len() == BLOCK_ROWS * self.dim {
            self.sum_pending();
        }
        Ok(())
    }

    /// Adds all rows of another set.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] when the features are of another length.
    pub fn merge(&mut self, other: &Moments) -> Result<(), Error> {
        check_size("dim of the features", other.dim, self.dim)?;
        self.sum_pending();
        let mut other = other.clone();
        other.sum_pending();
        self.absorb(other.count, &other.mean, &other.scatter);
        Ok(())
    }

    /// Number of rows so far.
    pub fn count(&self) -> usize {
        self.count + self.pending.len() / self.dim
    }

    /// Length of each row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Mean over rows, `[dim]`.
    ///
    /// # Errors
    /// [`Error::TooFew`] without rows.
    pub fn mean(&self) -> Result<Vec<f64>, Error> {
        check_enough("number of images", self.count(), 1)?;
        let mut all = self.clone();
        all.sum_pending();
        Ok(all.mean)
    }

    /// Unbiased covariance, `[dim * dim]`, row after row.
    ///
    /// # Errors
    /// [`Error::TooFew`] with fewer than two rows.
    pub fn covariance(&self) -> Result<Vec<f64>, Error> {
        let (_mean, covariance) = self.mean_and_covariance()?;
        Ok((0..self.dim * self.dim).map(|index| covariance[(index / self.dim, index % self.dim)]).collect())
    }

    pub(crate) fn mean_and_covariance(&self) -> Result<(Vec<f64>, Mat<f64>), Error> {
        check_enough("number of images", self.count(), 2)?;
        let mut all = self.clone();
        all.sum_pending();
        let divisor = (all.count - 1) as f64;
        Ok((all.mean, Mat::from_fn(self.dim, self.dim, |row, column| all.scatter[(row, column)] / divisor)))
    }

    fn sum_pending(&mut self) {
        let rows = self.pending.len() / self.dim;
        if rows == 0 {
            return;
        }
        let mut block = std::mem::take(&mut self.pending);
        let mut mean = vec![0.0; self.dim];
        for row in block.chunks_exact(self.dim) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
        }
        mean.iter_mut().for_each(|mean| *mean /= rows as f64);
        for row in block.chunks_exact_mut(self.dim) {
            row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        }
        let centred = MatRef::from_row_major_slice(&block, rows, self.dim);
        let mut scatter = Mat::zeros(self.dim, self.dim);
        matmul(&mut scatter, Accum::Replace, centred.transpose(), centred, 1.0, Par::Seq);
        self.absorb(rows, &mean, &scatter);
        block.clear();
        self.pending = block;
    }

    /// Joins two sets by their moments (Chan, Golub and LeVeque 1979), which loses no digits however many there are.
    fn absorb(&mut self, count: usize, mean: &[f64], scatter: &Mat<f64>) {
        if count == 0 {
            return;
        }
        let (before, added) = (self.count as f64, count as f64);
        let total = before + added;
        let difference: Vec<f64> = mean.iter().zip(&self.mean).map(|(added, mean)| added - mean).collect();
        let weight = before * added / total;
        for column in 0..self.dim {
            for row in 0..self.dim {
                self.scatter[(row, column)] += scatter[(row, column)] + weight * difference[row] * difference[column];
            }
        }
        self.mean.iter_mut().zip(&difference).for_each(|(mean, difference)| *mean += difference * added / total);
        self.count += count;
    }
}

/// Fréchet distance of two sets as if both were normal distributions (Dowson and Landau 1982; Heusel et al. 2017,
/// "FID"): `|mean_a - mean_b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2))`. At least 0 and symmetric.
///
/// The root is taken through the eigenvalues of symmetric matrices, those within rounding of 0 counting as 0, so that
/// sets with fewer images than features are fine (their distance is biased upwards, as everybody's is).
///
/// # Errors
/// [`Error::SizeMismatch`], [`Error::TooFew`] with fewer than two images, [`Error::NoConvergence`].
pub fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64, Error> {
    check_size("dim of the second set's features", b.dim, a.dim)?;
    let ((mean_a, covariance_a), (mean_b, covariance_b)) = (a.mean_and_covariance()?, b.mean_and_covariance()?);
    let dim = a.dim;
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |matrix: &Mat<f64>| (0..dim).map(|index| matrix[(index, index)]).sum::<f64>();
    let traces = trace(&covariance_a) + trace(&covariance_b);

    let no_convergence = |_error| Error::NoConvergence { dim };
    let eigen = covariance_a.self_adjoint_eigen(Side::Lower).map_err(no_convergence)?;
    let values: Vec<f64> = (0..dim).map(|index| eigen.S().column_vector()[index]).collect();
    let roots = roots_above_rounding(&values);
    // `half = A^(1/2)` up to a rotation, which changes no eigenvalue: columns of U times the roots.
    let half = Mat::from_fn(dim, dim, |row, column| eigen.U()[(row, column)] * roots[column]);
    let mut product = Mat::zeros(dim, dim);
    matmul(&mut product, Accum::Replace, &covariance_b, &half, 1.0, Par::Seq);
    let mut inner = Mat::zeros(dim, dim);
    matmul(&mut inner, Accum::Replace, half.transpose(), &product, 1.0, Par::Seq);
    let symmetric = Mat::from_fn(dim, dim, |row, column| 0.5 * (inner[(row, column)] + inner[(column, row)]));
    let values = symmetric.self_adjoint_eigenvalues(Side::Lower).map_err(no_convergence)?;
    let overlap: f64 = roots_above_rounding(&values).iter().sum();
    Ok((means + traces - 2.0 * overlap).max(0.0))
}

/// Square roots of the eigenvalues of a matrix without negative ones, where what is within rounding of 0 is 0: the root
/// would blow such an error of 1e-16 up to 1e-8.
fn roots_above_rounding(values: &[f64]) -> Vec<f64> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    let threshold = largest * values.len() as f64 * f64::EPSILON;
    values.iter().map(|value| if *value > threshold { value.sqrt() } else { 0.0 }).collect()
}

/// Kernel distance (Binkowski et al. 2018, "KID"): the unbiased estimate of the squared maximum mean discrepancy with
/// the kernel `(x . y / dim + 1)^3`, over all pairs. Around 0 for equal distributions, and then as often negative.
///
/// # Errors
/// [`Error::SizeMismatch`] or [`Error::TooFew`] with fewer than two images.
pub fn kernel_distance(a: Rows<'_>, b: Rows<'_>) -> Result<f64, Error> {
    check_size("dim of the second set's features", b.dim(), a.dim())?;
    check_enough("number of images of the first set", a.len(), 2)?;
    check_enough("number of images of the second set", b.len(), 2)?;
    let (m, n) = (a.len() as f64, b.len() as f64);
    let within = |rows: Rows<'_>, count: f64| {
        let itself: f64 = (0..rows.len()).map(|index| kernel(dot(rows.row(index), rows.row(index)), rows.dim())).sum();
        (kernel_sum(rows, rows) - itself) / (count * (count - 1.0))
    };
    Ok(within(a, m) + within(b, n) - 2.0 * kernel_sum(a, b) / (m * n))
}

fn kernel(dot: f64, dim: usize) -> f64 {
    (dot / dim as f64 + 1.0).powi(3)
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Sum of the kernel over all pairs of rows, block by block.
fn kernel_sum(a: Rows<'_>, b: Rows<'_>) -> f64 {
    let mut sum = 0.0;
    for left in a.blocks(BLOCK_ROWS) {
        for right in b.blocks(BLOCK_ROWS) {
            let kernels = kernel_block(left, right);
            for column in 0..right.len() {
                sum += (0..left.len()).map(|row| kernels[(row, column)]).sum::<f64>();
            }
        }
    }
    sum
}

/// The kernel of each row of one table with each of another, `[left, right]`.
fn kernel_block(left: Rows<'_>, right: Rows<'_>) -> Mat<f64> {
    let mut kernels = Mat::zeros(left.len(), right.len());
    matmul(&mut kernels, Accum::Replace, left.matrix(), right.matrix().transpose(), 1.0, Par::Seq);
    for column in 0..right.len() {
        kernels.col_as_slice_mut(column).iter_mut().for_each(|value| *value = kernel(*value, left.dim()));
    }
    kernels
}

/// Percentile bootstrap interval of [`kernel_distance`]: rows of both sets are drawn with replacement, as by
/// [`bootstrap_interval_of_two`](crate::bootstrap_interval_of_two).
///
/// A pair of draws of one row is left out as a row's pair with itself is in the distance: a row is nearer to itself than
/// any other, and to count such pairs would move all replicates upwards. A replicate weighs row `i`, drawn `w_i` times,
/// by `w_i`, so that the kernel is evaluated once and not for each replicate. Memory: rows times replicates.
///
/// # Errors
/// As [`kernel_distance`] and [`bootstrap_interval_of_two`](crate::bootstrap_interval_of_two).
pub fn kernel_distance_interval(
    a: Rows<'_>,
    b: Rows<'_>,
    num_replicates: usize,
    confidence: f64,
    seed: u64,
) -> Result<Interval, Error> {
    check_size("dim of the second set's features", b.dim(), a.dim())?;
    check_enough("number of images of the first set", a.len(), 2)?;
    check_enough("number of images of the second set", b.len(), 2)?;
    check_enough("number of replicates", num_replicates, 2)?;
    check_share("confidence", confidence)?;
    let (weights_a, weights_b) =
        (draw_weights(a.len(), num_replicates, seed, 0), draw_weights(b.len(), num_replicates, seed, 1));
    let within = |rows: Rows<'_>, weights: &Mat<f64>| -> Vec<f64> {
        let itself: Vec<f64> =
            (0..rows.len()).map(|index| kernel(dot(rows.row(index), rows.row(index)), rows.dim())).collect();
        let sums = weighted_kernel_sums((rows, weights), (rows, weights));
        let without_itself = |(replicate, sum): (usize, f64)| {
            let weights = weights.col_as_slice(replicate);
            let own: f64 = weights.iter().zip(&itself).map(|(weight, kernel)| weight * weight * kernel).sum();
            let own_pairs: f64 = weights.iter().map(|weight| weight * weight).sum();
            let pairs = (rows.len() * rows.len()) as f64 - own_pairs;
            // Without a value where one row was drawn every time.
            if pairs > 0.0 { (sum - own) / pairs } else { f64::NAN }
        };
        sums.into_iter().enumerate().map(without_itself).collect()
    };
    let pairs = (a.len() * b.len()) as f64;
    let across = weighted_kernel_sums((a, &weights_a), (b, &weights_b));
    let (within_a, within_b) = (within(a, &weights_a), within(b, &weights_b));
    let terms = within_a.into_iter().zip(within_b).zip(across);
    percentile_interval(terms.map(|((a, b), across)| a + b - 2.0 * across / pairs).collect(), confidence)
}

/// How often each row is drawn in each replicate, `[rows, replicates]`.
fn draw_weights(num_rows: usize, num_replicates: usize, seed: u64, set: u64) -> Mat<f64> {
    let mut weights = Mat::zeros(num_rows, num_replicates);
    let mut positions = vec![0; num_rows];
    for replicate in 0..num_replicates {
        draw(seed, set, replicate as u64, &mut positions);
        let column = weights.col_as_slice_mut(replicate);
        positions.iter().for_each(|position| column[*position] += 1.0);
    }
    weights
}

/// For each replicate the sum of the kernel over all pairs of rows, weighted by both rows' weights.
fn weighted_kernel_sums(a: (Rows<'_>, &Mat<f64>), b: (Rows<'_>, &Mat<f64>)) -> Vec<f64> {
    let num_replicates = a.1.ncols();
    let mut sums = vec![0.0; num_replicates];
    let mut first_a = 0;
    for left in a.0.blocks(BLOCK_ROWS) {
        let mut weighted = Mat::zeros(left.len(), num_replicates);
        let mut first_b = 0;
        for right in b.0.blocks(BLOCK_ROWS) {
            let weights = b.1.as_ref().subrows(first_b, right.len());
            matmul(&mut weighted, Accum::Add, &kernel_block(left, right), weights, 1.0, Par::Seq);
            first_b += right.len();
        }
        for (replicate, sum) in sums.iter_mut().enumerate() {
            *sum += dot(&a.1.col_as_slice(replicate)[first_a..first_a + left.len()], weighted.col_as_slice(replicate));
        }
        first_a += left.len();
    }
    sums
}

/// Standard bootstrap interval of [`frechet_distance`]: the distance, and to both sides as many standard deviations of
/// its replicates as a normal variable needs for the confidence (Efron and Tibshirani 1993); not below 0.
///
/// Percentiles of the replicates would miss the distance itself: a sample drawn with replacement has fewer different
/// rows, and the fewer rows, the larger a Fréchet distance is. So this tells how the distance varies between sets of the
/// same size, and says nothing of what it would be with more images.
///
/// Each replicate costs as much as a distance with its moments, of 1,024 features about a second.
///
/// # Errors
/// As [`frechet_distance`] and [`bootstrap_interval_of_two`](crate::bootstrap_interval_of_two).
pub fn frechet_distance_interval(
    a: Rows<'_>,
    b: Rows<'_>,
    num_replicates: usize,
    confidence: f64,
    seed: u64,
) -> Result<Interval, Error> {
    check_enough("number of replicates", num_replicates, 2)?;
    check_share("confidence", confidence)?;
    let distance = frechet_distance(&Moments::of(a)?, &Moments::of(b)?)?;
    let drawn = |rows: Rows<'_>, set: u64, replicate: u64| -> Result<Moments, Error> {
        let mut positions = vec![0; rows.len()];
        draw(seed, set, replicate, &mut positions);
        let mut moments = Moments::new(rows.dim())?;
        positions.into_iter().try_for_each(|position| moments.push(rows.row(position)))?;
        Ok(moments)
    };
    let replicates: Vec<f64> = (0..num_replicates as u64)
        .map(|replicate| frechet_distance(&drawn(a, 0, replicate)?, &drawn(b, 1, replicate)?))
        .collect::<Result<_, _>>()?;
    let mean = replicates.iter().sum::<f64>() / num_replicates as f64;
    let squares: f64 = replicates.iter().map(|value| (value - mean).powi(2)).sum();
    let half = normal_quantile(0.5 * (1.0 + confidence)) * (squares / (num_replicates - 1) as f64).sqrt();
    Ok(Interval { low: (distance - half).max(0.0), high: distance + half })
}
