//! How far apart two sets of features are as two normal distributions: the Fréchet distance, and how sure it is.
//!
//! With `A = F_a F_a^T` and `B = F_b F_b^T`, the root that the distance asks for has the trace of the singular values of
//! `F_a^T F_b`, whatever the factors are. So a set of fewer images than features needs no matrix as large as features
//! squared: its centred rows are a factor. Else the factor is Cholesky's, at a third of a matrix product.
//!
//! Both sets are prepared at the same time, each on one thread, so that the figure does not depend on their number.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::distribution::normal_quantile;
use crate::error::{Error, check_enough, check_share, check_size};
use crate::moments::{Moments, gram};
use crate::resample::Interval;
use crate::rows::Rows;

/// Images whose changes are computed at once.
const BLOCK_ROWS: usize = 256;

/// Fréchet distance of two sets as if both were normal distributions (Dowson and Landau 1982; Heusel et al. 2017,
/// "FID"): `|mean_a - mean_b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2))`. At least 0 and symmetric.
///
/// Eigenvalues within rounding of 0 count as 0, so that sets with fewer images than features are fine (their distance is
/// biased upwards, as everybody's is).
///
/// # Errors
/// [`Error::SizeMismatch`], [`Error::TooFew`] with fewer than two images, [`Error::NoConvergence`].
pub fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64, Error> {
    check_size("dim of the second set's features", b.dim(), a.dim())?;
    let (a, b) = rayon::join(|| Normal::of(a), || Normal::of(b));
    let (a, b) = (a?, b?);
    let (product, _transposed) = smaller_first(&a, &b);
    let squares = gram(product.as_ref()).self_adjoint_eigenvalues(Side::Lower).map_err(a.no_convergence())?;
    Ok(a.distance(&b, roots_above_rounding(&squares).iter().sum()))
}

/// A Fréchet distance and how it varies between sets of the same sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrechetEstimate {
    /// [`frechet_distance`].
    pub distance: f64,
    /// The distance, and to both sides as many standard errors as a normal variable needs for the confidence; not below
    /// 0. It says nothing of the bias, that is of what the distance would be with more images.
    pub interval: Interval,
}

/// [`frechet_distance`] with an interval by the infinitesimal jackknife (Jaeckel 1972; Efron 1982): the standard error
/// follows from the derivative of the distance by the weight of each image. With `T` the matrix that carries `A` to `B`
/// (`T A T = B`), an image `z` beside its set's mean changes the distance by
/// `2 (mean_a - mean_b) . z + n / (n - 1) (z^T z - z^T T z)`, less the mean of that over the `n` images of its set.
///
/// That is one decomposition instead of one for each replicate of a bootstrap.
///
/// # Errors
/// As [`frechet_distance`]; [`Error::OutOfRange`] for a confidence outside 0 to 1, both excluded.
pub fn frechet_estimate(a: Rows<'_>, b: Rows<'_>, confidence: f64) -> Result<FrechetEstimate, Error> {
    estimate(a, || Moments::of(b).and_then(|moments| Normal::of(&moments)), Some(b), confidence)
}

/// As [`frechet_estimate`] to a set of which only the moments are known and taken for exact.
///
/// # Errors
/// As [`frechet_estimate`].
pub fn frechet_estimate_to(a: Rows<'_>, b: &Moments, confidence: f64) -> Result<FrechetEstimate, Error> {
    check_size("dim of the second set's features", b.dim(), a.dim())?;
    estimate(a, || Normal::of(b), None, confidence)
}

fn estimate(
    rows_a: Rows<'_>,
    normal_b: impl FnOnce() -> Result<Normal, Error> + Send,
    rows_b: Option<Rows<'_>>,
    confidence: f64,
) -> Result<FrechetEstimate, Error> {
    check_share("confidence", confidence)?;
    if let Some(rows) = rows_b {
        check_size("dim of the second set's features", rows.dim(), rows_a.dim())?;
    }
    let (a, b) = rayon::join(|| Moments::of(rows_a).and_then(|moments| Normal::of(&moments)), normal_b);
    let (a, b) = (a?, b?);
    let (product, transposed) = smaller_first(&a, &b);
    let eigen = gram(product.as_ref()).self_adjoint_eigen(Side::Lower).map_err(a.no_convergence())?;
    let squares: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
    let roots = roots_above_rounding(&squares);
    let distance = a.distance(&b, roots.iter().sum());

    // Singular vectors of the product: on the left those of its square, on the right what it makes of them.
    let (left, mut right) = (eigen.U(), Mat::zeros(product.ncols(), product.nrows()));
    matmul(&mut right, Accum::Replace, product.transpose(), left, 1.0, Par::Seq);
    for (column, root) in roots.iter().enumerate() {
        let scale = if *root > 0.0 { 1.0 / root } else { 0.0 };
        right.col_as_slice_mut(column).iter_mut().for_each(|value| *value *= scale);
    }
    let (vectors_a, vectors_b) = if transposed { (right.as_ref(), left) } else { (left, right.as_ref()) };
    let shift: Vec<f64> = a.mean.iter().zip(&b.mean).map(|(a, b)| a - b).collect();
    let back: Vec<f64> = shift.iter().map(|value| -value).collect();
    let (by_a, by_b) = rayon::join(
        || a.variance(rows_a, &shift, vectors_a, &roots),
        || rows_b.map_or(0.0, |rows| b.variance(rows, &back, vectors_b, &roots)),
    );
    let half = normal_quantile(0.5 * (1.0 + confidence)) * (by_a + by_b).sqrt();
    let interval = Interval { low: (distance - half).max(0.0), high: distance + half };
    Ok(FrechetEstimate { distance, interval })
}

/// `F_a^T F_b` or its transpose, whichever has fewer rows, and whether it is the transpose.
fn smaller_first(a: &Normal, b: &Normal) -> (Mat<f64>, bool) {
    let transposed = b.factor.ncols() < a.factor.ncols();
    let (first, second) = if transposed { (b, a) } else { (a, b) };
    let mut product = Mat::zeros(first.factor.ncols(), second.factor.ncols());
    match (&first.kind, &second.kind) {
        // Of two triangles in the same features, a third of the products.
        (Kind::Cholesky { varying, lower }, Kind::Cholesky { varying: others, lower: other }) if varying == others => {
            triangular::matmul(
                &mut product,
                BlockStructure::Rectangular,
                Accum::Replace,
                lower.transpose(),
                BlockStructure::TriangularUpper,
                other,
                BlockStructure::TriangularLower,
                1.0,
                Par::Seq,
            )
        }
        _ => matmul(&mut product, Accum::Replace, first.factor.transpose(), &second.factor, 1.0, Par::Seq),
    }
    (product, transposed)
}

/// Square roots of the eigenvalues of a matrix without negative ones, where what is within rounding of 0 is 0: the root
/// would blow such an error of 1e-16 up to 1e-8.
fn roots_above_rounding(values: &[f64]) -> Vec<f64> {
    let threshold = threshold(values);
    values.iter().map(|value| if *value > threshold { value.sqrt() } else { 0.0 }).collect()
}

/// Eigenvalues up to this are within rounding of 0.
fn threshold(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max) * values.len() as f64 * f64::EPSILON
}

/// A set as a normal distribution.
struct Normal {
    mean: Vec<f64>,
    /// Trace of the covariance.
    trace: f64,
    /// `F` with `F F^T` the covariance, `[dim, rank]`.
    factor: Mat<f64>,
    kind: Kind,
}

/// How a factor came about, which says how to find the `y` with `F y = z` for an image `z`.
enum Kind {
    /// Its columns are the centred rows over the root of their number less one.
    Rows,
    /// Cholesky's, of the features that vary.
    Cholesky {
        varying: Vec<usize>,
        /// The triangle of these features alone.
        lower: Mat<f64>,
    },
    /// Columns are eigenvectors times the roots of their eigenvalues, which are above rounding.
    Eigen,
}

impl Normal {
    fn of(moments: &Moments) -> Result<Self, Error> {
        check_enough("number of images", moments.count(), 2)?;
        let dim = moments.dim();
        if let Some((rows, mean)) = moments.few_centred_rows() {
            let scale = 1.0 / ((moments.count() - 1) as f64).sqrt();
            let factor = Mat::from_fn(dim, moments.count(), |row, column| rows[column * dim + row] * scale);
            let trace = rows.iter().map(|value| (value * scale).powi(2)).sum();
            return Ok(Self { mean, trace, factor, kind: Kind::Rows });
        }
        let (mean, covariance) = moments.mean_and_covariance()?;
        let variances: Vec<f64> = (0..dim).map(|index| covariance[(index, index)]).collect();
        let trace = variances.iter().sum();
        let rounding = threshold(&variances);
        // A unit that is never active would stop Cholesky.
        let varying: Vec<usize> = (0..dim).filter(|index| variances[*index] > rounding).collect();
        let part =
            Mat::from_fn(varying.len(), varying.len(), |row, column| covariance[(varying[row], varying[column])]);
        if let Ok(cholesky) = part.llt(Side::Lower) {
            let lower = cholesky.L().to_owned();
            if (0..varying.len()).all(|index| lower[(index, index)].powi(2) > rounding) {
                let mut factor = Mat::zeros(dim, varying.len());
                for (column, _) in varying.iter().enumerate() {
                    for row in column..varying.len() {
                        factor[(varying[row], column)] = lower[(row, column)];
                    }
                }
                return Ok(Self { mean, trace, factor, kind: Kind::Cholesky { varying, lower } });
            }
        }
        // Features that follow from one another.
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_error| Error::NoConvergence { dim })?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let roots = roots_above_rounding(&values);
        let kept: Vec<usize> = (0..dim).filter(|index| roots[*index] > 0.0).collect();
        let factor = Mat::from_fn(dim, kept.len(), |row, column| eigen.U()[(row, kept[column])] * roots[kept[column]]);
        Ok(Self { mean, trace, factor, kind: Kind::Eigen })
    }

    fn no_convergence<E>(&self) -> impl FnOnce(E) -> Error + use<E> {
        let dim = self.mean.len();
        move |_error| Error::NoConvergence { dim }
    }

    /// Given the trace of the root.
    fn distance(&self, other: &Self, overlap: f64) -> f64 {
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        (means + self.trace + other.trace - 2.0 * overlap).max(0.0)
    }

    /// Squared standard error of the distance by the images of this set: `shift` is how far its mean lies from the
    /// other's, `vectors` are the singular vectors `[rank, number of roots]` on this set's side, `roots` the values.
    fn variance(&self, rows: Rows<'_>, shift: &[f64], vectors: MatRef<'_, f64>, roots: &[f64]) -> f64 {
        let (count, dim) = (rows.len(), rows.dim());
        let unbiased = count as f64 / (count - 1) as f64;
        let mut changes = Vec::with_capacity(count);
        for (number, block) in rows.blocks(BLOCK_ROWS).enumerate() {
            let centred = Mat::from_fn(dim, block.len(), |row, column| block.row(column)[row] - self.mean[row]);
            let seen = self.along(vectors, &centred, number * BLOCK_ROWS, count);
            for column in 0..block.len() {
                let image = centred.col_as_slice(column);
                let (moved, spread) = image.iter().zip(shift).fold((0.0, 0.0), |(moved, spread), (value, shift)| {
                    (moved + value * shift, spread + value * value)
                });
                let carried: f64 =
                    seen.col_as_slice(column).iter().zip(roots).map(|(seen, root)| root * seen * seen).sum();
                changes.push(2.0 * moved + unbiased * (spread - carried));
            }
        }
        let mean = changes.iter().sum::<f64>() / count as f64;
        changes.iter().map(|change| (change - mean).powi(2)).sum::<f64>() / (count * (count - 1)) as f64
    }

    /// Parts along the singular vectors of the `y` with `F y = z` for centred images, which are those from `first` on of
    /// `count`: `[number of vectors, images]`.
    fn along(&self, vectors: MatRef<'_, f64>, centred: &Mat<f64>, first: usize, count: usize) -> Mat<f64> {
        let num_images = centred.ncols();
        let solved = match &self.kind {
            Kind::Rows => {
                let scale = ((count - 1) as f64).sqrt();
                return Mat::from_fn(vectors.ncols(), num_images, |row, column| scale * vectors[(first + column, row)]);
            }
            Kind::Cholesky { varying, lower } => {
                let mut solved = Mat::from_fn(varying.len(), num_images, |row, column| centred[(varying[row], column)]);
                solve_lower_triangular_in_place(lower.as_ref(), solved.as_mut(), Par::Seq);
                solved
            }
            Kind::Eigen => {
                let mut solved = Mat::zeros(self.factor.ncols(), num_images);
                matmul(&mut solved, Accum::Replace, self.factor.transpose(), centred, 1.0, Par::Seq);
                for row in 0..self.factor.ncols() {
                    let square: f64 = self.factor.col_as_slice(row).iter().map(|value| value * value).sum();
                    (0..num_images).for_each(|column| solved[(row, column)] /= square);
                }
                solved
            }
        };
        let mut seen = Mat::zeros(vectors.ncols(), num_images);
        matmul(&mut seen, Accum::Replace, vectors.transpose(), &solved, 1.0, Par::Seq);
        seen
    }
}
