//! Whether generated rows are copies of training rows. Three answers: [`data_copying`] against what held-out rows do,
//! [`authentic_rows`] against the training rows among themselves, and
//! [`share_nearer_than`](crate::share_nearer_than) against rows of different patients.

use crate::error::{Error, check_enough, check_size};
use crate::euclidean::nearest_squared;
use crate::partition::Partition;
use crate::ranks::exceedance;
use crate::rows::Rows;

/// The fewest generated rows with which a cell counts, as in the experiments of Meehan et al. (2020).
pub const FEWEST_GENERATED: usize = 20;

/// The test of Meehan et al. (2020), "A non-parametric test to detect data-copying in generative models".
#[derive(Debug, Clone, PartialEq)]
pub struct DataCopying {
    /// `C_T`: far below 0 where generated rows lie nearer to the training rows than held-out rows do (copies), far above
    /// where they lie farther (underfitting). In one cell standard normal without either, if rows are independent.
    pub statistic: f64,
    /// What it is made of, for each cell.
    pub cells: Vec<CellOfCopying>,
}

/// One cell of [`DataCopying`].
#[derive(Debug, Clone, PartialEq)]
pub struct CellOfCopying {
    /// Number of training rows.
    pub num_training: usize,
    /// Number of held-out rows.
    pub num_held_out: usize,
    /// Number of generated rows.
    pub num_generated: usize,
    /// Standardised Mann-Whitney statistic of the distances; none where a kind of rows is missing.
    pub z: Option<f64>,
}

/// `C_T = sum(share * z) / sum(share)` over the cells with at least `fewest_generated` generated rows, where `share` is
/// the cell's share of the held-out rows.
///
/// In a cell with `n` held-out and `m` generated rows, each at some distance from its nearest training row of that cell,
/// `z = (U - m n / 2) / sqrt(m n (m + n + 1) / 12)`, and `U` counts the pairs in which the generated row is the farther
/// one, ties half. The variance is not corrected for ties.
///
/// # Errors
/// [`Error::SizeMismatch`] for features of different lengths; [`Error::TooFew`] where a set is empty or no cell has
/// enough generated and any held-out rows; [`Error::NotFinite`] for rows whose squared length overflows.
pub fn data_copying(
    training: Rows<'_>,
    held_out: Rows<'_>,
    generated: Rows<'_>,
    partition: &Partition,
    fewest_generated: usize,
) -> Result<DataCopying, Error> {
    let sets = [training, held_out, generated];
    for (rows, what) in
        sets.iter().zip(["number of training rows", "number of held-out rows", "number of generated rows"])
    {
        check_enough(what, rows.len(), 1)?;
    }
    let parted: Vec<Vec<usize>> = sets.iter().map(|rows| partition.cells(*rows)).collect::<Result<_, _>>()?;
    let (mut cells, mut weighted, mut weights) = (Vec::new(), 0.0, 0.0);
    for cell in 0..partition.num_cells() {
        let members: Vec<Vec<f64>> =
            sets.iter().zip(&parted).map(|(rows, cells)| members(*rows, cells, cell)).collect();
        let dim = training.dim();
        let [num_training, num_held_out, num_generated] = [0, 1, 2].map(|set| members[set].len() / dim);
        let z = if num_training.min(num_held_out).min(num_generated) == 0 {
            None
        } else {
            let training = Rows::new(&members[0], dim)?;
            let distances = |set: usize| nearest(Rows::new(&members[set], dim)?, training);
            Some(standardised(exceedance(&distances(2)?, &distances(1)?), num_generated, num_held_out))
        };
        if let (Some(z), true) = (z, num_generated >= fewest_generated) {
            weighted += num_held_out as f64 * z;
            weights += num_held_out as f64;
        }
        cells.push(CellOfCopying { num_training, num_held_out, num_generated, z });
    }
    if weights == 0.0 {
        let most = cells.iter().filter(|cell| cell.z.is_some()).map(|cell| cell.num_generated).max().unwrap_or(0);
        let what = "number of generated rows in a cell with held-out and training rows";
        return Err(Error::TooFew { what, found: most, needed: fewest_generated.max(1) });
    }
    Ok(DataCopying { statistic: weighted / weights, cells })
}

fn members(rows: Rows<'_>, cells: &[usize], cell: usize) -> Vec<f64> {
    let inside = cells.iter().enumerate().filter(|(_, other)| **other == cell);
    inside.flat_map(|(index, _)| rows.row(index)).copied().collect()
}

/// Squared distance of each query to its nearest reference: ranks do not care for the root.
fn nearest(queries: Rows<'_>, references: Rows<'_>) -> Result<Vec<f64>, Error> {
    let nearest = nearest_squared(queries, references, 1, |_, _| true)?;
    Ok(nearest.into_iter().filter_map(|near| near.first().map(|(square, _)| *square)).collect())
}

/// How many standard deviations a share of pairs lies from one half when both sides are of one distribution.
fn standardised(share: f64, m: usize, n: usize) -> f64 {
    let (m, n) = (m as f64, n as f64);
    (share - 0.5) * m * n / (m * n * (m + n + 1.0) / 12.0).sqrt()
}

/// Whether each generated row is authentic (Alaa et al. 2022): farther from its nearest training row than
/// that one is from its own nearest other training row. AuthPct is 100 times their [`Share`](crate::Share).
///
/// Of training rows that are equally near the first one counts. Beside a training row that exists twice everything is
/// authentic but an exact copy: remove duplicates before.
///
/// # Errors
/// [`Error::SizeMismatch`] for features of different lengths; [`Error::TooFew`] with fewer than two training rows or no
/// generated one; [`Error::NotFinite`] for rows whose squared length overflows.
pub fn authentic_rows(training: Rows<'_>, generated: Rows<'_>) -> Result<Vec<bool>, Error> {
    check_size("dim of the generated rows", generated.dim(), training.dim())?;
    check_enough("number of training rows", training.len(), 2)?;
    check_enough("number of generated rows", generated.len(), 1)?;
    let among_training = nearest_squared(training, training, 1, |query, reference| query != reference)?;
    let of_generated = nearest_squared(generated, training, 1, |_, _| true)?;
    let authentic = of_generated.iter().flatten().map(|(square, training)| {
        among_training[*training].first().is_some_and(|(among_training, _)| square > among_training)
    });
    Ok(authentic.collect())
}
