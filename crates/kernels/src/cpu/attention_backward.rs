//! Gradients of attention. Probabilities are computed again a block of queries at a time instead of being kept from the
//! forward pass (Dao et al. 2022).

use super::activation::for_each_vector;
use super::attention::{Attention, Packed, softmax_rows};
use super::matrix::{MatrixView, Panels, apart};
use super::memory::{Scratch, filled_by};
use super::simd::Simd;
use super::simd_dispatch;
use rayon::prelude::*;

#[inline(always)]
unsafe fn score_gradients_kernel<S: Simd>(
    rows: usize,
    len: usize,
    stride: usize,
    scale: f32,
    probabilities: *const f32,
    slopes: *mut f32,
) {
    // SAFETY: both cover `rows` rows of `len` values.
    unsafe {
        for row in 0..rows {
            let (probabilities, slopes) = (probabilities.wrapping_add(row * stride), slopes.wrapping_add(row * stride));
            let mut sum = S::splat(0.0);
            for_each_vector!(S, len, |i, load, _store| {
                sum = S::mul_add(load!(probabilities), load!(slopes), sum);
            });
            let mean = S::splat(S::sum(sum));
            let scale = S::splat(scale);
            for_each_vector!(S, len, |i, load, store| {
                let centred = S::sub(load!(slopes), mean);
                store!(slopes, S::mul(S::mul(load!(probabilities), centred), scale));
            });
        }
    }
}
simd_dispatch! {
    /// Softmax backward: turns gradients of rows of probabilities into those of the scores, times `scale`.
    fn score_gradients(
        rows: usize, len: usize, stride: usize, scale: f32, probabilities: *const f32, slopes: *mut f32,
    ) = score_gradients_kernel
}

/// Queries of a block: four register tiles, long enough sums for the gradients of keys and values.
const QUERY_BLOCK: usize = 56;

/// Gradients of query, key and value.
pub(crate) fn backward(
    shape: &Attention,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    shape.check(query, key, value);
    assert_eq!(query.len(), gradient.len());
    let (mut keys_out, mut values_out) = (Vec::new(), Vec::new());
    // SAFETY: the tasks of `run` together write every head of all three outputs.
    let query_out = unsafe {
        filled_by(query.len(), |query_out| {
            keys_out = filled_by(key.len(), |key_out| {
                values_out = filled_by(value.len(), |value_out| {
                    let tasks = 0..shape.batch * shape.num_heads;
                    tasks.into_par_iter().for_each(|task| {
                        let head = Head { shape, query, key, value, gradient, task };
                        head.backward(
                            |offset| query_out.at(offset),
                            |offset| key_out.at(offset),
                            |offset| value_out.at(offset),
                        );
                    });
                });
            });
        })
    };
    (query_out, keys_out, values_out)
}

/// One image's head: a task.
struct Head<'a> {
    shape: &'a Attention,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    gradient: &'a [f32],
    task: usize,
}

impl Head<'_> {
    /// Writes the three gradients of this head, addressed by their offset in the whole tensors.
    ///
    /// # Safety
    /// The targets are whole tensors, and this head's values are this task's own.
    unsafe fn backward(
        &self,
        query_out: impl Fn(usize) -> *mut f32,
        key_out: impl Fn(usize) -> *mut f32,
        value_out: impl Fn(usize) -> *mut f32,
    ) {
        let &Attention { query_tokens, key_tokens, head_dim, .. } = self.shape;
        let (dim, scale) = (self.shape.dim(), self.shape.scale());
        let query_start = self.shape.head_start(self.task, query_tokens);
        let key_start = self.shape.head_start(self.task, key_tokens);
        let rows_of = |values, start| strided(values, start, dim, 1);
        let columns_of = |values, start| strided(values, start, 1, dim);
        let turned_keys = Packed::new(columns_of(self.key, key_start), head_dim, key_tokens);
        let turned_values = Packed::new(columns_of(self.value, key_start), head_dim, key_tokens);
        let keys = Packed::new(rows_of(self.key, key_start), key_tokens, head_dim);
        let padded_keys = apart(Panels::new(key_tokens).padded_columns());
        let padded_dim = Panels::new(head_dim).padded_columns();
        let mut scores = Scratch::take(QUERY_BLOCK * padded_keys);
        let mut slopes = Scratch::take(QUERY_BLOCK * padded_keys);
        let mut query_sums = Scratch::take(QUERY_BLOCK * padded_dim);
        let mut key_sums = Scratch::take(key_tokens * padded_dim);
        let mut value_sums = Scratch::take(key_tokens * padded_dim);
        let (scores, slopes) = (scores.as_mut_ptr(), slopes.as_mut_ptr());
        let (query_sums, key_sums) = (query_sums.as_mut_ptr(), key_sums.as_mut_ptr());
        let value_sums = value_sums.as_mut_ptr();
        let num_blocks = query_tokens.div_ceil(QUERY_BLOCK);
        for block in 0..num_blocks {
            let first = block * query_tokens / num_blocks;
            let rows = (block + 1) * query_tokens / num_blocks - first;
            let start = query_start + first * dim;
            let (queries, gradients) = (self.query[start..].as_ptr(), self.gradient[start..].as_ptr());
            // SAFETY: block and head lie inside the tensors; scratch has whole vectors per row.
            unsafe {
                turned_keys.multiply(rows, (queries, dim), false, (scores, padded_keys), false);
                turned_values.multiply(rows, (gradients, dim), false, (slopes, padded_keys), false);
                softmax_rows(rows, key_tokens, padded_keys, scale, scores);
                score_gradients(rows, key_tokens, padded_keys, scale, scores, slopes);
                keys.multiply(rows, (slopes, padded_keys), false, (query_sums, padded_dim), false);
                for row in 0..rows {
                    let target = query_out(start + row * dim);
                    std::ptr::copy_nonoverlapping(query_sums.wrapping_add(row * padded_dim), target, head_dim);
                }
                let accumulate = block > 0;
                let queries = Packed::new(rows_of(self.query, start), rows, head_dim);
                queries.multiply(key_tokens, (slopes, padded_keys), true, (key_sums, padded_dim), accumulate);
                let gradients = Packed::new(rows_of(self.gradient, start), rows, head_dim);
                gradients.multiply(key_tokens, (scores, padded_keys), true, (value_sums, padded_dim), accumulate);
            }
        }
        for row in 0..key_tokens {
            let offset = key_start + row * dim;
            // SAFETY: this head's keys and values are this task's own.
            unsafe {
                std::ptr::copy_nonoverlapping(key_sums.wrapping_add(row * padded_dim), key_out(offset), head_dim);
                std::ptr::copy_nonoverlapping(value_sums.wrapping_add(row * padded_dim), value_out(offset), head_dim);
            }
        }
    }
}

/// A head's part of a token tensor as a matrix.
fn strided(values: &[f32], start: usize, row_stride: usize, column_stride: usize) -> MatrixView<'_> {
    MatrixView { values: &values[start..], row_stride, column_stride }
}
