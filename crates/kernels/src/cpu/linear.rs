//! Linear layers: row-major matrix products with the bias added in the registers' first load.

use super::matrix::{MatrixView, column_sums, multiply, multiply_transposed};
use super::memory::filled_by;

/// `input · weight + bias` on rows of `dim_in` values.
pub(crate) fn forward(input: &[f32], weight: &[f32], bias: Option<&[f32]>, dim_in: usize, dim_out: usize) -> Vec<f32> {
    let rows = input.len() / dim_in;
    let weight = MatrixView::row_major(weight, dim_out);
    // SAFETY: `multiply` writes all of its output.
    unsafe { filled_by(rows * dim_out, |output| multiply(rows, dim_in, dim_out, input, weight, bias, output)) }
}

/// Gradient of the input.
pub(crate) fn input_gradient(weight: &[f32], gradient: &[f32], dim_in: usize, dim_out: usize) -> Vec<f32> {
    let rows = gradient.len() / dim_out;
    let turned = MatrixView::transposed(weight, dim_out);
    // SAFETY: `multiply` writes all of its output.
    unsafe { filled_by(rows * dim_in, |output| multiply(rows, dim_out, dim_in, gradient, turned, None, output)) }
}

/// Gradient of the weight.
pub(crate) fn weight_gradient(input: &[f32], gradient: &[f32], dim_in: usize, dim_out: usize) -> Vec<f32> {
    multiply_transposed(dim_in, input.len() / dim_in, dim_out, input, gradient)
}

/// Gradient of the bias.
pub(crate) fn bias_gradient(gradient: &[f32], dim_out: usize) -> Vec<f32> {
    column_sums(gradient, dim_out)
}
