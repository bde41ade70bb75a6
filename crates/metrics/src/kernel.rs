//! How far apart two clouds of features are by a kernel.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use crate::error::{Error, check_enough, check_share, check_size};
use crate::resample::{Interval, percentile_interval};
use crate::rows::Rows;
use random::Purpose;

/// Rows that meet at once.
const BLOCK_ROWS: usize = 256;

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

/// Percentile bootstrap interval of [`kernel_distance`]: rows of both sets are drawn with replacement,
/// independently of one another.
///
/// A pair of draws of one row is left out as a row's pair with itself is in the distance: a row is nearer to itself than
/// any other, and to count such pairs would move all replicates upwards. A replicate weighs row `i`, drawn `w_i` times,
/// by `w_i`, so that the kernel is evaluated once and not for each replicate. Memory: rows times replicates.
///
/// # Errors
/// As [`kernel_distance`] and [`bootstrap_interval`](crate::bootstrap_interval).
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
fn draw_weights(num_rows: usize, num_replicates: usize, seed: u64, set: u16) -> Mat<f64> {
    let mut weights = Mat::zeros(num_rows, num_replicates);
    let mut positions = vec![0; num_rows];
    for replicate in 0..num_replicates {
        random::draw_positions(seed, replicate as u64, Purpose::Bootstrap(set), &mut positions);
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
