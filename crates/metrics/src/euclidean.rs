//! Euclidean distances between rows of features: nearest rows, and how far apart rows of different groups are.
//!
//! Distances of whole blocks come from one matrix product, `|x|^2 + |y|^2 - 2 x . y`. That loses digits where rows are
//! close; so wherever a decision lies within the rounding, the distance is summed up anew from differences. Results are
//! those of plain differences, copies lie at distance 0, and memory grows with the number of references alone.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use crate::error::{Error, check_enough, check_finite, check_share, check_size};
use crate::kernel::dot;
use crate::resample::{Share, between, quantile_position};
use crate::rows::Rows;

/// Queries whose distances to all references are held at once.
const BLOCK_ROWS: usize = 64;

/// A reference and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearRow {
    /// Row of the reference.
    pub index: usize,
    /// Euclidean distance to the query.
    pub distance: f64,
}

/// For each query the `k` nearest references by Euclidean distance, nearest first; of equally near ones the earlier.
///
/// `allowed(query, reference)` says which pairs count: `|query, reference| query != reference` leaves out a row itself
/// where both tables are one, and a look at the patients leaves out whoever an image was made from. Where fewer than `k`
/// references are allowed, all of them. For cosine distance bring the rows to length 1 before.
///
/// # Errors
/// [`Error::SizeMismatch`] when the features are of different lengths, [`Error::TooFew`] for `k` 0 or no reference,
/// [`Error::NotFinite`] for rows whose squared length overflows.
pub fn nearest_rows(
    queries: Rows<'_>,
    references: Rows<'_>,
    k: usize,
    allowed: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Vec<NearRow>>, Error> {
    let nearest = nearest_squared(queries, references, k, allowed)?.into_iter();
    let distance = |(square, index): (f64, usize)| NearRow { index, distance: square.sqrt() };
    Ok(nearest.map(|near| near.into_iter().map(distance).collect()).collect())
}

/// As [`nearest_rows`], but squared distances and rows.
pub(crate) fn nearest_squared(
    queries: Rows<'_>,
    references: Rows<'_>,
    k: usize,
    allowed: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Vec<(f64, usize)>>, Error> {
    check_enough("number of references", references.len(), 1)?;
    check_enough("number of neighbours", k, 1)?;
    let mut all = Vec::with_capacity(queries.len());
    let (mut candidates, mut sorted) = (Vec::with_capacity(references.len()), Vec::with_capacity(references.len()));
    for_each_query(queries, references, |query, distances| {
        candidates.clear();
        let near = distances.squares.iter().copied().zip(0..).filter(|(_, index)| allowed(query, *index));
        candidates.extend(near);
        if k < candidates.len() {
            sorted.clear();
            sorted.extend(candidates.iter().map(|(square, _)| *square));
            let (_, kth, _) = sorted.select_nth_unstable_by(k - 1, f64::total_cmp);
            // Whoever is nearer than the k-th by differences is below this by products.
            let bound = *kth + 2.0 * distances.largest_rounding();
            candidates.retain(|(square, _)| *square <= bound);
        }
        let mut near: Vec<(f64, usize)> =
            candidates.iter().map(|(_, index)| (distances.by_differences(*index), *index)).collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(k);
        all.push(near);
    })?;
    Ok(all)
}

/// Squared distances from one query to all references.
pub(crate) struct Distances<'a> {
    /// By products: within [`rounding`](Self::rounding) of the truth, and so perhaps below 0.
    pub squares: &'a [f64],
    query: &'a [f64],
    references: Rows<'a>,
    square_of_query: f64,
    squares_of_references: &'a [f64],
    largest_reference: f64,
}

impl Distances<'_> {
    /// The squared distance to one reference, summed up from differences.
    pub fn by_differences(&self, reference: usize) -> f64 {
        squared_distance(self.query, self.references.row(reference))
    }

    /// Whether a reference lies within a squared radius that was summed up from differences.
    pub fn within(&self, reference: usize, squared_radius: f64) -> bool {
        let gap = self.squares[reference] - squared_radius;
        if gap.abs() > self.rounding(self.squares_of_references[reference]) {
            gap < 0.0
        } else {
            self.by_differences(reference) <= squared_radius
        }
    }

    /// A bound on the error of a squared distance by products: each of the three sums of `dim` products is off by at
    /// most `dim` times half the machine's epsilon times the sum of its terms' sizes (Higham 2002, section 3.1).
    fn rounding(&self, square_of_reference: f64) -> f64 {
        (self.query.len() + 4) as f64 * f64::EPSILON * (self.square_of_query + square_of_reference)
    }

    fn largest_rounding(&self) -> f64 {
        self.rounding(self.largest_reference)
    }
}

pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Calls `visit(query, distances)` for each query in turn.
pub(crate) fn for_each_query(
    queries: Rows<'_>,
    references: Rows<'_>,
    mut visit: impl FnMut(usize, Distances<'_>),
) -> Result<(), Error> {
    check_size("dim of the references", references.dim(), queries.dim())?;
    let squares_of_references = squared_lengths("the squared lengths of the references", references)?;
    let squares_of_queries = squared_lengths("the squared lengths of the queries", queries)?;
    let largest_reference = squares_of_references.iter().copied().fold(0.0, f64::max);
    let mut query = 0;
    for block in queries.blocks(BLOCK_ROWS) {
        let mut squares = Mat::zeros(references.len(), block.len());
        matmul(&mut squares, Accum::Replace, references.matrix(), block.matrix().transpose(), -2.0, Par::Seq);
        for row in 0..block.len() {
            let square_of_query = squares_of_queries[query];
            let column = squares.col_as_slice_mut(row);
            for (square, of_reference) in column.iter_mut().zip(&squares_of_references) {
                *square += square_of_query + of_reference;
            }
            let distances = Distances {
                squares: column,
                query: block.row(row),
                references,
                square_of_query,
                squares_of_references: &squares_of_references,
                largest_reference,
            };
            visit(query, distances);
            query += 1;
        }
    }
    Ok(())
}

/// `|x|^2` of each row, refused where sums of them could overflow.
fn squared_lengths(what: &'static str, rows: Rows<'_>) -> Result<Vec<f64>, Error> {
    let squares: Vec<f64> = (0..rows.len()).map(|index| dot(rows.row(index), rows.row(index))).collect();
    match squares.iter().position(|square| *square >= f64::MAX / 16.0) {
        Some(position) => Err(Error::NotFinite { what, position, value: f64::INFINITY }),
        None => Ok(squares),
    }
}

/// The distance below which a `share` of all pairs of rows from different groups lies, straight between neighbours:
/// with patients as groups and a share of 0.01, how near images of two patients come by chance.
///
/// Memory grows with `share` times the number of pairs: 16 MB for 10,000 rows and a share of 0.01.
///
/// # Errors
/// [`Error::SizeMismatch`] when there is not one group for each row, [`Error::TooFew`] without two groups,
/// [`Error::OutOfRange`] for a share outside 0 to 1, both excluded, [`Error::NotFinite`] as [`nearest_rows`].
pub fn distance_between_groups(rows: Rows<'_>, groups: &[usize], share: f64) -> Result<f64, Error> {
    check_size("number of groups of rows", groups.len(), rows.len())?;
    check_share("share", share)?;
    let mut sorted = groups.to_vec();
    sorted.sort_unstable();
    let pairs_of = |count: usize| count * count.saturating_sub(1) / 2;
    let within: usize = sorted.chunk_by(|a, b| a == b).map(|group| pairs_of(group.len())).sum();
    let num_pairs = pairs_of(rows.len()) - within;
    check_enough("number of pairs of rows from different groups", num_pairs, 1)?;
    let (lower, upper, weight) = quantile_position(num_pairs, share);

    // The smallest `upper + 1` so far and some more.
    let needed = upper + 1;
    let mut smallest: Vec<(f64, usize, usize)> = Vec::new();
    let by_square = |a: &(f64, usize, usize), b: &(f64, usize, usize)| a.0.total_cmp(&b.0);
    let mut bound = f64::INFINITY;
    let mut first = 0;
    for block in rows.blocks(BLOCK_ROWS) {
        for_each_query(block, rows.from(first), |query, distances| {
            let query = first + query;
            for (square, reference) in distances.squares.iter().zip(first..).skip(query + 1 - first) {
                if *square < bound && groups[reference] != groups[query] {
                    smallest.push((*square, query, reference));
                }
            }
            if smallest.len() >= 2 * needed + rows.len() {
                smallest.select_nth_unstable_by(needed - 1, by_square);
                smallest.truncate(needed);
                bound = smallest[needed - 1].0;
            }
        })?;
        first += block.len();
    }
    let mut distance_of_rank = |rank: usize| {
        let (_, (_, a, b), _) = smallest.select_nth_unstable_by(rank, by_square);
        squared_distance(rows.row(*a), rows.row(*b)).sqrt()
    };
    Ok(between(distance_of_rank(lower), distance_of_rank(upper), weight))
}

/// The share of distances below a threshold: of samples' distances to their nearest training row, how many are nearer
/// than chance brings different patients ([`distance_between_groups`]).
///
/// # Errors
/// [`Error::TooFew`] without a distance, [`Error::NotFinite`], [`Error::OutOfRange`] for a threshold that is NaN.
pub fn share_nearer_than(distances: &[f64], threshold: f64) -> Result<Share, Error> {
    check_finite("the distances", distances)?;
    if threshold.is_nan() {
        return Err(Error::OutOfRange { name: "threshold", value: threshold, expected: "a distance" });
    }
    Share::of(&distances.iter().map(|distance| *distance < threshold).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ties_are_decided_by_differences() {
        // Far from the origin products lose all digits of a distance of 1e-3.
        let far = 1e7;
        let references = [far + 3e-3, far, far + 1e-3, far, far, far + 2e-3, far, far + 1e-3];
        let references = Rows::new(&references, 2).unwrap();
        let query = [far, far];
        let found = nearest_rows(Rows::new(&query, 2).unwrap(), references, 3, |_, _| true).unwrap();
        let order: Vec<usize> = found[0].iter().map(|near| near.index).collect();
        // Rows 1 and 3 are equally near.
        assert_eq!(order, [1, 3, 2]);
        for_each_query(Rows::new(&query, 2).unwrap(), references, |_, distances| {
            let radius = distances.by_differences(2);
            let within: Vec<bool> = (0..4).map(|reference| distances.within(reference, radius)).collect();
            assert_eq!(within, [false, true, true, true]);
        })
        .unwrap();
    }

    #[test]
    fn pairs_that_are_not_allowed_do_not_count() {
        let rows = Rows::new(&[0.0, 1.0, 3.0, 7.0], 1).unwrap();
        let found = nearest_rows(rows, rows, 1, |query, reference| query != reference).unwrap();
        let found: Vec<(usize, f64)> = found.iter().map(|near| (near[0].index, near[0].distance)).collect();
        assert_eq!(found, [(1, 1.0), (0, 1.0), (1, 2.0), (2, 4.0)]);
        let none = nearest_rows(rows, rows, 2, |query, _| query == 0).unwrap();
        assert_eq!(none.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 0, 0]);
    }

    #[test]
    fn distances_between_groups_leave_out_pairs_within() {
        let rows = Rows::new(&[0.0, 0.1, 5.0, 5.3, 20.0], 1).unwrap();
        let groups = [7, 7, 2, 2, 4];
        // Across: 4.9, 5.0, 5.2, 5.3, 14.7, 15.0, 19.9, 20.0.
        let at = |share| distance_between_groups(rows, &groups, share).unwrap();
        assert!((at(0.5) - 0.5 * (5.3 + 14.7)).abs() < 1e-9);
        assert!((at(1.0 / 7.0) - 5.0).abs() < 1e-9);
        assert!(distance_between_groups(rows, &[1; 5], 0.5).is_err());
        assert!(distance_between_groups(rows, &[1; 4], 0.5).is_err());
        assert!(distance_between_groups(rows, &groups, 1.0).is_err());
        assert!(distance_between_groups(Rows::new(&[], 1).unwrap(), &[], 0.5).is_err());
        assert_eq!(share_nearer_than(&[1.0, 4.9, 5.0], 4.9).unwrap(), Share { count: 1, total: 3 });
        assert!(share_nearer_than(&[f64::NAN], 1.0).is_err());
        assert!(share_nearer_than(&[1.0], f64::NAN).is_err());
        assert!(share_nearer_than(&[], 1.0).is_err());
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let rows = Rows::new(&[1.0, 1e200], 1).unwrap();
        assert!(matches!(nearest_rows(rows, rows, 1, |_, _| true), Err(Error::NotFinite { position: 1, .. })));
    }
}
