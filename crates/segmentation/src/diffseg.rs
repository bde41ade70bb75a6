//! DiffSeg's merging of attention maps into segments (Tian et al. 2023, "Diffuse, Attend, and Segment", section 3.3).

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::aggregate::AttentionMaps;
use crate::error::{Error, check_range};
use crate::soft::SoftMaps;

/// Attention below this counts as this in the logarithm. A softmax in f32 underflows to 0, and one such value would
/// make a distance infinite; a uniform map of 64 x 64 tokens has 2.4e-4 everywhere.
const FLOOR: f32 = 1e-12;

/// Settings of the merging.
///
/// Maps `p` and `q` are as far apart as `D(p, q) = (KL(p || q) + KL(q || p)) / 2`. Anchors lie evenly on the grid. In
/// the first pass each anchor becomes the mean of all maps nearer than `threshold`; in each further pass the first
/// proposal that is not matched yet becomes the mean of all proposals nearer than `threshold` (matched ones too, as in
/// the authors' program) and these count as matched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiffSeg {
    /// Anchors along each side, `M`: published is 16 on a grid of 64 x 64. At least 1 and at most the shorter side.
    pub anchors: usize,
    /// The distance `tau` below which maps are one segment, above 0. Published: 0.9 to 1.1 on photographs; Jimenez-Perez
    /// et al. 2024 found 0.05 and 0.5 on chest X-rays.
    pub threshold: f32,
    /// Passes, the first included, at least 1. Published: 3.
    pub iterations: usize,
}

impl Default for DiffSeg {
    fn default() -> Self {
        Self { anchors: 16, threshold: 0.5, iterations: 3 }
    }
}

impl DiffSeg {
    /// The segments' proposals: maps over the grid that sum to 1 each. The label of a pixel is the proposal that is
    /// largest there ([`SoftMaps::label_map`]).
    ///
    /// Of all distances only products of matrices are computed: `2 D(p, q) = p . log p - p . log q + q . log q -
    /// q . log p`. They run on `device` in f32; the greedy choice runs on the host.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a setting outside its range, [`Error::Device`].
    pub fn segment(&self, maps: &AttentionMaps, device: &Device) -> Result<SoftMaps, Error> {
        let grid = maps.grid();
        let (anchors, side) = (self.anchors, grid.height.min(grid.width));
        let expected = "at least 1 and at most the shorter side of the grid";
        check_range("anchors", anchors as f64, (1..=side).contains(&anchors), expected)?;
        let positive = self.threshold > 0.0 && self.threshold.is_finite();
        check_range("threshold", f64::from(self.threshold), positive, "above 0 and finite")?;
        check_range("iterations", self.iterations as f64, self.iterations > 0, "at least 1")?;

        let tokens = grid.tokens();
        // [tokens, tokens]
        let all = matrix(maps.values().to_vec(), [tokens, tokens], device);
        let positions = anchor_positions(anchors, grid.height)
            .flat_map(|row| anchor_positions(anchors, grid.width).map(move |column| row * grid.width + column));
        let positions: Vec<i64> = positions.map(|position| position as i64).collect();
        let num_anchors = positions.len();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(positions.clone(), [num_anchors]), device);
        let near = self.near(&all.clone().select(0, indices), &all)?;
        let groups: Vec<Vec<usize>> = near
            .chunks_exact(tokens)
            .zip(&positions)
            // An anchor is at distance 0 of itself, whatever rounding made of that.
            .map(|(near, &anchor)| (0..tokens).filter(|&token| near[token] || token as i64 == anchor).collect())
            .collect();
        // [num_anchors, tokens]
        let mut proposals = means(&all, &groups, tokens, device);
        drop(all);
        let mut count = num_anchors;
        for _pass in 1..self.iterations {
            let near = self.near(&proposals, &proposals)?;
            let groups = greedy(&near, count);
            proposals = means(&proposals, &groups, count, device);
            count = groups.len();
        }
        SoftMaps::new(host(proposals)?, grid)
    }

    /// Whether each row of `left` is nearer than the threshold to each row of `right`.
    ///
    /// # Shapes
    /// - `left`: `[m, tokens]`, `right`: `[n, tokens]`, result: `m * n`
    fn near(&self, left: &Tensor<2>, right: &Tensor<2>) -> Result<Vec<bool>, Error> {
        let distances = distances(left, right);
        Ok(host(distances)?.into_iter().map(|distance| distance < self.threshold).collect())
    }
}

/// Symmetric Kullback-Leibler divergence between all rows, `[m, n]`.
fn distances(left: &Tensor<2>, right: &Tensor<2>) -> Tensor<2> {
    let (log_left, log_right) = (logarithm(left), logarithm(right));
    // [m, 1] and [1, n]
    let own_left = (left.clone() * log_left.clone()).sum_dim(1);
    let own_right = (right.clone() * log_right.clone()).sum_dim(1).transpose();
    let crossed = left.clone().matmul(log_right.transpose()) + log_left.matmul(right.clone().transpose());
    (own_left + own_right - crossed) * 0.5
}

/// `log(tokens * map)`, clamped. The factor changes no distance and keeps the sums small, so that their difference
/// keeps its digits.
fn logarithm(maps: &Tensor<2>) -> Tensor<2> {
    let [_rows, tokens] = maps.dims();
    (maps.clone().clamp_min(FLOOR) * tokens as f32).log()
}

/// The mean of each group of rows, `[groups, tokens]`.
fn means(rows: &Tensor<2>, groups: &[Vec<usize>], num_rows: usize, device: &Device) -> Tensor<2> {
    let mut weights = vec![0.0; groups.len() * num_rows];
    for (weights, group) in weights.chunks_exact_mut(num_rows).zip(groups) {
        group.iter().for_each(|&member| weights[member] = 1.0 / group.len() as f32);
    }
    matrix(weights, [groups.len(), num_rows], device).matmul(rows.clone())
}

/// In order, each proposal that is not matched yet takes all proposals near it.
fn greedy(near: &[bool], count: usize) -> Vec<Vec<usize>> {
    let mut matched = vec![false; count];
    let mut groups = Vec::new();
    for first in 0..count {
        if !matched[first] {
            let row = &near[first * count..][..count];
            let group: Vec<usize> = (0..count).filter(|&other| other == first || row[other]).collect();
            group.iter().for_each(|&member| matched[member] = true);
            groups.push(group);
        }
    }
    groups
}

/// Centres of `anchors` equal parts of a side, rounded down: 1, 5, ..., 61 for 16 of 64, as published.
fn anchor_positions(anchors: usize, side: usize) -> impl Iterator<Item = usize> {
    (0..anchors).map(move |index| ((2 * index + 1) * side - anchors) / (2 * anchors))
}

pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

pub(crate) fn host(matrix: Tensor<2>) -> Result<Vec<f32>, Error> {
    let data = matrix.try_into_data().map_err(|error| Error::Device(error.to_string()))?;
    data.try_into_vec().map_err(|error| Error::Device(format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_the_published_ones_and_even_elsewhere() {
        let published: Vec<usize> = (0..16).map(|index| 1 + 4 * index).collect();
        assert_eq!(anchor_positions(16, 64).collect::<Vec<_>>(), published);
        assert_eq!(anchor_positions(5, 5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (anchors, side) in [(1, 7), (3, 20), (16, 20), (7, 9)] {
            let positions: Vec<usize> = anchor_positions(anchors, side).collect();
            assert!(positions.is_sorted_by(|a, b| a < b) && positions[anchors - 1] < side, "{positions:?}");
            let margins = (positions[0], side - 1 - positions[anchors - 1]);
            assert!(margins.0.abs_diff(margins.1) <= 1, "{positions:?} of {side}");
        }
    }

    #[test]
    fn a_matched_proposal_starts_no_group_but_joins_again() {
        let row = |flags: &str| flags.chars().map(|flag| flag == '1').collect::<Vec<_>>();
        let near = [row("1100"), row("1110"), row("0110"), row("0001")].concat();
        assert_eq!(greedy(&near, 4), [vec![0, 1], vec![1, 2], vec![3]]);
    }
}
