//! A borrowed table of features: one row for each image.

use faer::MatRef;

use crate::error::{Error, check_enough, check_finite};

/// `[num_rows, dim]` finite numbers, row after row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f64],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// A table of `values.len() / dim` rows.
    ///
    /// # Errors
    /// [`Error::TooFew`] for `dim` 0, [`Error::SizeMismatch`] for a last row that is not full, [`Error::NotFinite`].
    pub fn new(values: &'a [f64], dim: usize) -> Result<Self, Error> {
        check_enough("dim of the features", dim, 1)?;
        let remainder = values.len() % dim;
        if remainder != 0 {
            return Err(Error::SizeMismatch { what: "length of the last row", found: remainder, expected: dim });
        }
        check_finite("the table of features", values)?;
        Ok(Self { values, dim })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Length of each row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `index`, which must be below [`len`](Self::len).
    pub fn row(&self, index: usize) -> &'a [f64] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// Consecutive tables of at most `num_rows` rows.
    pub(crate) fn blocks(self, num_rows: usize) -> impl Iterator<Item = Rows<'a>> {
        self.values.chunks(num_rows * self.dim).map(move |values| Rows { values, dim: self.dim })
    }

    /// The rows from `first` on, which must be at most [`len`](Self::len).
    pub(crate) fn from(self, first: usize) -> Rows<'a> {
        Rows { values: &self.values[first * self.dim..], dim: self.dim }
    }

    /// The table as a matrix `[num_rows, dim]`.
    pub(crate) fn matrix(self) -> MatRef<'a, f64> {
        MatRef::from_row_major_slice(self.values, self.len(), self.dim)
    }
}
