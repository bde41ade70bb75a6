//! Position embeddings for images of another size: the learned grid, resampled.
//!
//! Resampling is linear and separable, so its weights are computed on the host and applied as two matrix products,
//! which run on any device and carry gradients back to the learned grid.

use super::{
    Architecture,
    resample::{Filter, cubic, windows},
};
use burn::tensor::{Device, Tensor, TensorData};

/// The two kinds of bicubic resampling that transformers uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// PyTorch's `interpolate(mode="bicubic")`: Keys' cubic with a = -0.75 on four samples, edges repeated.
    Bicubic,
    /// With `antialias=True`: a = -0.5, widened when reducing, cut off and renormalised at the edges.
    AntialiasedBicubic,
}

impl Interpolation {
    /// `Dinov2WithRegistersModel` is the one that antialiases.
    pub(super) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Vit | Architecture::Dinov2 => Self::Bicubic,
            Architecture::Dinov2WithRegisters => Self::AntialiasedBicubic,
        }
    }

    /// Row-major `[num_outputs, num_inputs]` weights along one axis, pixel centres at half-integers
    /// (`align_corners=False`).
    fn weights(self, num_inputs: usize, num_outputs: usize) -> Vec<f32> {
        let mut weights = vec![0.0; num_outputs * num_inputs];
        match self {
            Self::AntialiasedBicubic => {
                let rows = weights.chunks_exact_mut(num_inputs);
                for (row, window) in rows.zip(windows(num_inputs, num_outputs, Filter::Bicubic)) {
                    for (slot, weight) in row[window.start..].iter_mut().zip(window.weights) {
                        *slot = weight as f32;
                    }
                }
            }
            Self::Bicubic => {
                let scale = num_inputs as f64 / num_outputs as f64;
                for (output, row) in weights.chunks_exact_mut(num_inputs).enumerate() {
                    let centre = (output as f64 + 0.5) * scale - 0.5;
                    let before = centre.floor();
                    for neighbour in -1..=2 {
                        let position = before + f64::from(neighbour);
                        let input = position.clamp(0.0, (num_inputs - 1) as f64) as usize;
                        row[input] += cubic(centre - position, -0.75) as f32;
                    }
                }
            }
        }
        weights
    }

    fn matrix(self, num_inputs: usize, num_outputs: usize, device: &Device) -> Tensor<2> {
        let weights = self.weights(num_inputs, num_outputs);
        Tensor::from_data(TensorData::new(weights, [num_outputs, num_inputs]), device)
    }
}

/// Resamples a square grid of embeddings.
///
/// # Shapes
/// `[1, grid * grid, dim]` to `[1, rows * columns, dim]`
pub(super) fn interpolate(embeddings: Tensor<3>, [rows, columns]: [usize; 2], kind: Interpolation) -> Tensor<3> {
    let [_, num_positions, dim] = embeddings.dims();
    let grid_size = num_positions.isqrt();
    let device = embeddings.device();
    let by_row = embeddings.reshape([grid_size, grid_size * dim]);
    let resized = kind.matrix(grid_size, rows, &device).matmul(by_row); // [rows, grid * dim]
    let by_column = resized.reshape([rows, grid_size, dim]);
    let columns_matrix = kind.matrix(grid_size, columns, &device).unsqueeze_dim::<3>(0).repeat_dim(0, rows);
    columns_matrix.matmul(by_column).reshape([1, rows * columns, dim])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_identity_and_rows_sum_to_one() {
        for kind in [Interpolation::Bicubic, Interpolation::AntialiasedBicubic] {
            let same = kind.weights(4, 4);
            assert!((0..16).all(|i| (same[i] - f32::from(u8::from(i % 5 == 0))).abs() < 1e-6), "{same:?}");
            for (num_inputs, num_outputs) in [(4, 9), (9, 4), (1, 3), (3, 1)] {
                for row in kind.weights(num_inputs, num_outputs).chunks_exact(num_inputs) {
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
