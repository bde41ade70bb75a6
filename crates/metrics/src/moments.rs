//! Mean and covariance of features, gathered row by row in memory that does not grow with their number.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par};

use crate::error::{Error, check_enough, check_finite, check_size};
use crate::rows::Rows;

/// Fewest rows that are summed at once. A block has a fixed size, so that a sum does not depend on the portions in which
/// rows arrive, and at least as many rows as columns: then the products outweigh the sums of whole matrices.
const BLOCK_ROWS: usize = 256;

/// How far a covariance may be from symmetric, and a correlation above 1, by rounding.
const SYMMETRY: f64 = 1e-6;

/// Mean and covariance of features, gathered row by row in memory that does not grow with their number.
#[derive(Debug, Clone)]
pub struct Moments {
    dim: usize,
    /// Number of rows summed up in `mean` and `scatter`.
    count: usize,
    mean: Vec<f64>,
    /// Sum over rows of the outer product of their difference from the mean, `[dim, dim]`; nothing before the first block.
    scatter: Option<Mat<f64>>,
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
        Ok(Self { dim, count: 0, mean: vec![0.0; dim], scatter: None, pending: Vec::new() })
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
        // Only what is more than a block is summed, so that few rows stay what they are.
        if self.pending.len() == BLOCK_ROWS.max(self.dim) * self.dim {
            self.sum_pending();
        }
        self.pending.extend_from_slice(row);
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
        if let Some(scatter) = &other.scatter {
            self.absorb(other.count, &other.mean, scatter);
        }
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

    /// The moments that a mean and an unbiased covariance were, from `count` rows.
    ///
    /// # Shapes
    /// - mean: `[dim]`, covariance: `[dim, dim]`
    ///
    /// # Errors
    /// [`Error::TooFew`] with fewer than two rows or no feature, [`Error::SizeMismatch`], [`Error::NotFinite`], and
    /// [`Error::NoCovariance`] for a matrix that is no covariance.
    pub fn from_parts(count: usize, mean: Vec<f64>, covariance: &[f64]) -> Result<Self, Error> {
        let dim = mean.len();
        check_enough("dim of the features", dim, 1)?;
        check_enough("number of images", count, 2)?;
        check_size("length of the covariance", covariance.len(), dim * dim)?;
        check_finite("the mean", &mean)?;
        check_finite("the covariance", covariance)?;
        for row in 0..dim {
            for column in 0..=row {
                let (found, mirrored) = (covariance[row * dim + column], covariance[column * dim + row]);
                let size = (covariance[row * (dim + 1)] * covariance[column * (dim + 1)]).max(0.0).sqrt();
                let is_negative = row == column && found < 0.0;
                if is_negative || (found - mirrored).abs() > SYMMETRY * size || found.abs() > (1.0 + SYMMETRY) * size {
                    return Err(Error::NoCovariance { row, column, found });
                }
            }
        }
        let scatter = Mat::from_fn(dim, dim, |row, column| covariance[row * dim + column] * (count - 1) as f64);
        Ok(Self { dim, count, mean, scatter: Some(scatter), pending: Vec::new() })
    }

    pub(crate) fn mean_and_covariance(&self) -> Result<(Vec<f64>, Mat<f64>), Error> {
        check_enough("number of images", self.count(), 2)?;
        let mut all = self.clone();
        all.sum_pending();
        let mut covariance = all.scatter.unwrap_or_else(|| Mat::zeros(self.dim, self.dim));
        let divisor = (all.count - 1) as f64;
        for column in 0..self.dim {
            covariance.col_as_slice_mut(column).iter_mut().for_each(|value| *value /= divisor);
        }
        Ok((all.mean, covariance))
    }

    /// All rows with their mean taken off, and the mean, where they are no more than columns and so all still here.
    pub(crate) fn few_centred_rows(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let all_here = self.count == 0 && (2..=self.dim).contains(&self.count());
        all_here.then(|| {
            let mut rows = self.pending.clone();
            let mean = centre(&mut rows, self.dim);
            (rows, mean)
        })
    }

    fn sum_pending(&mut self) {
        let rows = self.pending.len() / self.dim;
        if rows == 0 {
            return;
        }
        let mut block = std::mem::take(&mut self.pending);
        let mean = centre(&mut block, self.dim);
        let scatter = gram(MatRef::from_row_major_slice(&block, rows, self.dim).transpose());
        self.absorb(rows, &mean, &scatter);
        block.clear();
        self.pending = block;
    }

    /// Joins two sets by their moments (Chan, Golub and LeVeque 1979), which loses no digits however many there are.
    fn absorb(&mut self, count: usize, mean: &[f64], scatter: &Mat<f64>) {
        if count == 0 {
            return;
        }
        let Some(own) = &mut self.scatter else {
            (self.count, self.mean, self.scatter) = (count, mean.to_vec(), Some(scatter.clone()));
            return;
        };
        let (before, added) = (self.count as f64, count as f64);
        let total = before + added;
        let difference: Vec<f64> = mean.iter().zip(&self.mean).map(|(added, mean)| added - mean).collect();
        let weight = before * added / total;
        for column in 0..self.dim {
            let sums = own.col_as_slice_mut(column).iter_mut().zip(scatter.col_as_slice(column)).zip(&difference);
            sums.for_each(|((sum, added), row)| *sum += added + weight * row * difference[column]);
        }
        self.mean.iter_mut().zip(&difference).for_each(|(mean, difference)| *mean += difference * added / total);
        self.count += count;
    }
}

/// Takes the mean off all rows, and gives it.
pub(crate) fn centre(rows: &mut [f64], dim: usize) -> Vec<f64> {
    let count = (rows.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    for row in rows.chunks_exact_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
    mean
}

/// A matrix times its transpose, of which only one half is computed.
pub(crate) fn gram(matrix: MatRef<'_, f64>) -> Mat<f64> {
    let dim = matrix.nrows();
    let mut product = Mat::zeros(dim, dim);
    triangular::matmul(
        &mut product,
        BlockStructure::TriangularLower,
        Accum::Replace,
        matrix,
        BlockStructure::Rectangular,
        matrix.transpose(),
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
    for column in 0..dim {
        for row in column + 1..dim {
            product[(column, row)] = product[(row, column)];
        }
    }
    product
}
