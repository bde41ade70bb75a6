//! Linear layers: row-major matrix products with the bias added in the registers' first load.

use super::matrix::{MatrixView, add_product, column_sums, multiply, multiply_transposed};
use super::memory::filled_by;

/// `input · weight + bias` on rows of `dim_in` values.
pub(crate) fn forward(input: &[f32], weight: &[f32], bias: Option<&[f32]>, dim_in: usize, dim_out: usize) -> Vec<f32> {
    let rows = input.len() / dim_in;
    let weight = MatrixView::row_major(weight, dim_out);
    // SAFETY: `multiply` writes all of its output.
    unsafe { filled_by(rows * dim_out, |output| multiply(rows, dim_in, dim_out, input, weight, bias, output)) }
}

/// `[first second] · weight + bias` on rows that stand in two matrices side by side.
pub(crate) fn joined_forward(
    first: &[f32],
    second: &[f32],
    weight: &[f32],
    bias: &[f32],
    dim_first: usize,
) -> Vec<f32> {
    let dim_out = bias.len();
    let rows = first.len() / dim_first;
    let (upper, lower) = weight.split_at(dim_first * dim_out);
    let mut output = forward(first, upper, Some(bias), dim_first, dim_out);
    let lower = MatrixView::row_major(lower, dim_out);
    add_product(rows, second.len() / rows.max(1), dim_out, second, lower, &mut output);
    output
}

/// Gradients of both halves of the input, the weight and the bias of [`joined_forward`].
pub(crate) fn joined_backward(
    first: &[f32],
    second: &[f32],
    weight: &[f32],
    dim_out: usize,
    gradient: &[f32],
) -> [Vec<f32>; 4] {
    let rows = (gradient.len() / dim_out).max(1);
    let dims = [first.len() / rows, second.len() / rows];
    let (upper, lower) = weight.split_at(dims[0] * dim_out);
    let mut weight_gradient_of_both = weight_gradient(first, gradient, dims[0], dim_out);
    weight_gradient_of_both.extend(weight_gradient(second, gradient, dims[1], dim_out));
    [
        input_gradient(upper, gradient, dims[0], dim_out),
        input_gradient(lower, gradient, dims[1], dim_out),
        weight_gradient_of_both,
        bias_gradient(gradient, dim_out),
    ]
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
