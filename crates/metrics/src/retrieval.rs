//! Nearest neighbours by cosine similarity: is an embedding's own image found again, is a generated image a copy?

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use crate::error::{Error, check_enough, check_size};
use crate::kernel::dot;
use crate::rows::Rows;

/// Queries whose similarities to all references are held at once.
const BLOCK_ROWS: usize = 64;

/// A reference and how similar it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Row of the reference.
    pub index: usize,
    /// Cosine of the angle to the query, in -1..=1 up to rounding; 0 where either has norm 0.
    pub similarity: f64,
}

/// For each query the `k` most similar references, best first; of equal ones the earlier. All of them if there are
/// fewer than `k`.
///
/// # Errors
/// [`Error::SizeMismatch`] when the features are of different lengths, [`Error::TooFew`] for `k` 0 or no reference.
pub fn nearest_neighbours(queries: Rows<'_>, references: Rows<'_>, k: usize) -> Result<Vec<Vec<Neighbour>>, Error> {
    check_size("dim of the references", references.dim(), queries.dim())?;
    check_enough("number of references", references.len(), 1)?;
    check_enough("number of neighbours", k, 1)?;
    let k = k.min(references.len());
    let reference_scales = scales(references);
    let mut all = Vec::with_capacity(queries.len());
    for block in queries.blocks(BLOCK_ROWS) {
        let mut products = Mat::zeros(references.len(), block.len());
        matmul(&mut products, Accum::Replace, references.matrix(), block.matrix().transpose(), 1.0, Par::Seq);
        for (query, query_scale) in scales(block).into_iter().enumerate() {
            let mut neighbours: Vec<Neighbour> = reference_scales
                .iter()
                .enumerate()
                .map(|(index, scale)| Neighbour { index, similarity: products[(index, query)] * scale * query_scale })
                .collect();
            let best_first =
                |a: &Neighbour, b: &Neighbour| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index));
            if k < neighbours.len() {
                neighbours.select_nth_unstable_by(k, best_first);
                neighbours.truncate(k);
            }
            neighbours.sort_unstable_by(best_first);
            all.push(neighbours);
        }
    }
    Ok(all)
}

/// The class of each query: that of [`vote_shares`] with the most votes; of equal ones the first.
///
/// # Errors
/// As [`vote_shares`].
pub fn weighted_votes(
    queries: Rows<'_>,
    references: Rows<'_>,
    classes: &[usize],
    num_classes: usize,
    k: usize,
    temperature: f64,
) -> Result<Vec<usize>, Error> {
    let winner = |shares: &[f64]| {
        let most = shares.iter().copied().fold(0.0, f64::max);
        shares.iter().position(|share| *share == most).unwrap_or(0)
    };
    let shares = vote_shares(queries, references, classes, num_classes, k, temperature)?;
    Ok(shares.chunks_exact(num_classes.max(1)).map(winner).collect())
}

/// The votes of each query's `k` most similar references, weighted by `exp(similarity / temperature)` (Wu et al. 2018;
/// DINO takes `k` 20 and temperature 0.07), as shares of 1.
///
/// # Shapes
/// - `classes`: of each reference, below `num_classes`
/// - result: `[queries, num_classes]`
///
/// # Errors
/// As [`nearest_neighbours`]; [`Error::SizeMismatch`] where references and classes differ in number,
/// [`Error::OutOfRange`] for a class that is not below `num_classes` and a temperature that is not above 0.
pub fn vote_shares(
    queries: Rows<'_>,
    references: Rows<'_>,
    classes: &[usize],
    num_classes: usize,
    k: usize,
    temperature: f64,
) -> Result<Vec<f64>, Error> {
    check_size("number of classes of references", classes.len(), references.len())?;
    if let Some(class) = classes.iter().find(|class| **class >= num_classes) {
        let expected = "below the number of classes";
        return Err(Error::OutOfRange { name: "class", value: *class as f64, expected });
    }
    if temperature.is_nan() || temperature <= 0.0 {
        return Err(Error::OutOfRange { name: "temperature", value: temperature, expected: "above 0" });
    }
    let shares = |neighbours: Vec<Neighbour>| {
        // Relative to the best, so that no exponential overflows at low temperatures.
        let best = neighbours.first().map_or(0.0, |neighbour| neighbour.similarity);
        let mut votes = vec![0.0; num_classes];
        for Neighbour { index, similarity } in neighbours {
            votes[classes[index]] += ((similarity - best) / temperature).exp();
        }
        let all: f64 = votes.iter().sum();
        votes.into_iter().map(move |votes| votes / all)
    };
    Ok(nearest_neighbours(queries, references, k)?.into_iter().flat_map(shares).collect())
}

/// One over each row's norm, 0 where that is 0.
fn scales(rows: Rows<'_>) -> Vec<f64> {
    (0..rows.len())
        .map(|index| {
            let norm = dot(rows.row(index), rows.row(index)).sqrt();
            if norm > 0.0 { 1.0 / norm } else { 0.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_references_outvote_many_far_ones() {
        let references = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 0.0, 1.0];
        let (references, classes) = (Rows::new(&references, 2).unwrap(), [1, 0, 0, 0]);
        let query = [2.0, 0.1];
        let vote = |k, temperature| {
            weighted_votes(Rows::new(&query, 2).unwrap(), references, &classes, 2, k, temperature).unwrap()
        };
        assert_eq!(vote(4, 0.07), [1]);
        // Warm enough, every neighbour counts alike.
        assert_eq!(vote(4, 100.0), [0]);
        assert_eq!(vote(1, 100.0), [1]);
        assert_eq!(vote(4, 1e-6), [1]);
        let shares = vote_shares(Rows::new(&query, 2).unwrap(), references, &classes, 2, 4, 1e9).unwrap();
        assert!((shares[0] - 0.75).abs() < 1e-6 && (shares[1] - 0.25).abs() < 1e-6, "{shares:?}");
    }

    #[test]
    fn impossible_votes_are_refused() {
        let rows = Rows::new(&[1.0, 0.0], 2).unwrap();
        assert!(weighted_votes(rows, rows, &[2], 2, 1, 0.07).is_err());
        assert!(weighted_votes(rows, rows, &[0, 1], 2, 1, 0.07).is_err());
        assert!(weighted_votes(rows, rows, &[0], 2, 1, 0.0).is_err());
    }
}
