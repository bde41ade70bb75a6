//! Cells of a space: around the means of rows that lie together.

use crate::error::{Error, check_enough};
use crate::euclidean::{nearest_squared, squared_distance};
use crate::rows::Rows;
use random::Purpose;

/// Rounds after which the cells are taken as they are.
const MOST_ROUNDS: usize = 300;

/// Parts space by the nearest of some centres.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// One centre after the other, `[num_cells, dim]`.
    centres: Vec<f64>,
    dim: usize,
}

impl Partition {
    /// At most `num_cells` cells by k-means, from centres that are drawn far apart (Arthur and Vassilvitskii 2007,
    /// "k-means++"). Fewer where fewer rows differ.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no cell and for fewer rows than cells; [`Error::NotFinite`] for rows whose squared length
    /// overflows.
    pub fn of(rows: Rows<'_>, num_cells: usize, seed: u64) -> Result<Self, Error> {
        Self::in_rounds(rows, num_cells, MOST_ROUNDS, seed)
    }

    /// [`Partition::of`] in at most so many rounds: where many rows are parted, the last ones change little.
    ///
    /// # Errors
    /// As [`Partition::of`].
    pub fn in_rounds(rows: Rows<'_>, num_cells: usize, most_rounds: usize, seed: u64) -> Result<Self, Error> {
        check_enough("number of cells", num_cells, 1)?;
        check_enough("number of rows to part", rows.len(), num_cells)?;
        let mut centres: Vec<f64> = Vec::with_capacity(num_cells * rows.dim());
        let mut squares = vec![1.0; rows.len()];
        for draw in 0..num_cells as u64 {
            let sum: f64 = squares.iter().sum();
            if sum <= 0.0 {
                break; // every row is a centre
            }
            let mut left = random::uniform(seed, draw, Purpose::Centres) * sum;
            let drawn = squares.iter().position(|square| {
                left -= square;
                left < 0.0 && *square > 0.0
            });
            // Rounding can leave a little at the end: then the last row that may be drawn.
            let last = || squares.iter().rposition(|square| *square > 0.0).unwrap_or(0);
            let centre = rows.row(drawn.unwrap_or_else(last));
            centres.extend_from_slice(centre);
            for (index, square) in squares.iter_mut().enumerate() {
                let distance = squared_distance(rows.row(index), centre);
                *square = if draw == 0 { distance } else { square.min(distance) };
            }
        }
        Self::moved(rows, Rows::new(&centres, rows.dim())?, most_rounds)
    }

    /// Cells around given centres as they are.
    ///
    /// # Errors
    /// [`Error::TooFew`] without a centre.
    pub fn around(centres: Rows<'_>) -> Result<Self, Error> {
        check_enough("number of centres", centres.len(), 1)?;
        let all = (0..centres.len()).flat_map(|index| centres.row(index)).copied().collect();
        Ok(Self { centres: all, dim: centres.dim() })
    }

    /// k-means from given centres (Lloyd 1982): each moves to the mean of the rows that are nearest to it, until no row
    /// changes its cell. A centre that no row is nearest to is dropped.
    ///
    /// # Errors
    /// [`Error::TooFew`] without a centre or row, [`Error::SizeMismatch`] for another length,
    /// [`Error::NotFinite`] for rows whose squared length overflows.
    pub fn from_centres(rows: Rows<'_>, centres: Rows<'_>) -> Result<Self, Error> {
        Self::moved(rows, centres, MOST_ROUNDS)
    }

    fn moved(rows: Rows<'_>, centres: Rows<'_>, most_rounds: usize) -> Result<Self, Error> {
        check_enough("number of rows to part", rows.len(), 1)?;
        let dim = rows.dim();
        let mut partition = Self::around(centres)?;
        let mut cells = partition.cells(rows)?;
        for _ in 0..most_rounds {
            let num_cells = partition.num_cells();
            let (mut sums, mut counts) = (vec![0.0; num_cells * dim], vec![0usize; num_cells]);
            for (index, cell) in cells.iter().enumerate() {
                counts[*cell] += 1;
                let sum = &mut sums[cell * dim..(cell + 1) * dim];
                sum.iter_mut().zip(rows.row(index)).for_each(|(sum, value)| *sum += value);
            }
            let means = sums.chunks_exact(dim).zip(&counts).filter(|(_, count)| **count > 0);
            partition.centres = means
                .flat_map(|(sum, count)| sum.iter().map(|value| value / *count as f64).collect::<Vec<_>>())
                .collect();
            let moved = partition.cells(rows)?;
            let done = moved == cells && partition.num_cells() == num_cells;
            cells = moved;
            if done {
                break;
            }
        }
        Ok(partition)
    }

    /// Number of cells.
    pub fn num_cells(&self) -> usize {
        self.centres.len() / self.dim
    }

    /// The centres, `[num_cells, dim]`, row after row.
    pub fn centres(&self) -> &[f64] {
        &self.centres
    }

    /// The cell of each row: the nearest centre; of equally near ones the first.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] for rows of another length, [`Error::NotFinite`] for rows whose squared length overflows.
    pub fn cells(&self, rows: Rows<'_>) -> Result<Vec<usize>, Error> {
        let nearest = nearest_squared(rows, Rows::new(&self.centres, self.dim)?, 1, |_, _| true)?;
        Ok(nearest.into_iter().filter_map(|near| near.first().map(|(_, cell)| *cell)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_apart_are_cells() {
        let values: Vec<f64> = (0..60).flat_map(|n| [f64::from(n % 3) * 100.0, f64::from(n / 3)]).collect();
        let rows = Rows::new(&values, 2).unwrap();
        for seed in 0..10 {
            let partition = Partition::of(rows, 3, seed).unwrap();
            let cells = partition.cells(rows).unwrap();
            assert_eq!(partition.num_cells(), 3);
            assert!((0..60).all(|n| cells[n] == cells[n % 3]), "{cells:?}");
            assert_eq!(Partition::in_rounds(rows, 3, 2, seed).unwrap(), partition, "two rounds are enough here");
            assert!(cells[0] != cells[1] && cells[1] != cells[2] && cells[0] != cells[2]);
            assert!(partition.centres().chunks(2).all(|centre| (centre[1] - 9.5).abs() < 1e-9));
        }
    }

    #[test]
    fn there_are_no_more_cells_than_different_rows() {
        let rows = Rows::new(&[1.0, 1.0, 2.0, 2.0, 2.0], 1).unwrap();
        let partition = Partition::of(rows, 4, 1).unwrap();
        assert_eq!(partition.num_cells(), 2);
        assert!(Partition::of(rows, 6, 1).is_err());
        assert!(Partition::of(rows, 0, 1).is_err());
        // The second centre is nearest to nobody.
        let dropped = Partition::from_centres(rows, Rows::new(&[1.5, 90.0], 1).unwrap()).unwrap();
        assert_eq!(dropped.centres(), [1.6]);
        assert!(Partition::from_centres(rows, Rows::new(&[], 1).unwrap()).is_err());
        assert!(Partition::from_centres(rows, Rows::new(&[1.0, 2.0], 2).unwrap()).is_err());
    }
}
