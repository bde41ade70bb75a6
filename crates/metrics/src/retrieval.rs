//! Nearest neighbours by cosine similarity: is an embedding's own image found again, is a generated image a copy?

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use crate::distance::dot;
use crate::error::{Error, check_enough, check_size};
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

/// One over each row's norm, 0 where that is 0.
fn scales(rows: Rows<'_>) -> Vec<f64> {
    (0..rows.len())
        .map(|index| {
            let norm = dot(rows.row(index), rows.row(index)).sqrt();
            if norm > 0.0 { 1.0 / norm } else { 0.0 }
        })
        .collect()
}
