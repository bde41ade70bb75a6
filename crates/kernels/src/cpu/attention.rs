//! Multi-head attention without a score matrix: a block of queries at a time meets all keys, one task per image and
//! head. Its gradients are in `attention_backward`.

use super::activation::for_each_vector;
use super::math::exp;
use super::matrix::{MatrixView, Panels, apart, pack_panel, run_product};
use super::memory::{Scratch, Shared, filled_by};
use super::simd::Simd;
use super::simd_dispatch;
use super::tile::TileProduct;
use rayon::prelude::*;

/// Extents; all token tensors are `[batch, tokens, heads * head_dim]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    pub batch: usize,
    pub query_tokens: usize,
    pub key_tokens: usize,
    pub num_heads: usize,
    pub head_dim: usize,
}

impl Attention {
    /// Values per token, all heads.
    pub(crate) fn dim(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Factor on the scores.
    pub(crate) fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    pub(crate) fn check(&self, query: &[f32], key: &[f32], value: &[f32]) {
        assert_eq!(query.len(), self.batch * self.query_tokens * self.dim());
        assert_eq!(key.len(), self.batch * self.key_tokens * self.dim());
        assert_eq!(value.len(), key.len());
    }

    /// Offset of a head's first value in a token tensor with `tokens` tokens per image.
    pub(crate) fn head_start(&self, task: usize, tokens: usize) -> usize {
        task / self.num_heads * tokens * self.dim() + task % self.num_heads * self.head_dim
    }
}

/// The right side of a product of one head, packed into panels.
pub(crate) struct Packed {
    values: Scratch,
    depth: usize,
    panels: Panels,
}

impl Packed {
    pub(crate) fn new(matrix: MatrixView, depth: usize, columns: usize) -> Self {
        let panels = Panels::new(columns);
        let mut values = Scratch::take(depth * panels.padded_columns());
        for panel in 0..panels.count() {
            let target = values.as_mut_ptr().wrapping_add(depth * panels.panel(panel).0);
            // SAFETY: panels stand one behind the other in a buffer for all of them.
            unsafe { pack_panel(matrix, 0, depth, panels, panel, target) };
        }
        Self { values, depth, panels }
    }

    /// `left · self`, or added to the output; `transposed` says that `left` is stored `[depth, rows]`.
    ///
    /// # Safety
    /// `left` covers the product's extents; the output has whole vectors for all columns.
    pub(crate) unsafe fn multiply(
        &self,
        rows: usize,
        left: (*const f32, usize),
        transposed: bool,
        output: (*mut f32, usize),
        accumulate: bool,
    ) {
        for panel in 0..self.panels.count() {
            let (column, _, vectors) = self.panels.panel(panel);
            // SAFETY: the caller's promise; the panels are this packing's own.
            unsafe {
                run_product(TileProduct {
                    rows,
                    depth: self.depth,
                    left: left.0,
                    left_stride: left.1,
                    transposed,
                    right: self.values.as_slice().as_ptr().wrapping_add(self.depth * column),
                    right_stride: vectors * super::lanes(),
                    output: output.0.wrapping_add(column),
                    output_stride: output.1,
                    vectors,
                    accumulate,
                    bias: std::ptr::null(),
                });
            }
        }
    }
}

/// Replaces a row of scores by `e^(scale · (score - largest))` and returns their sum.
#[inline(always)]
unsafe fn exponentials<S: Simd>(len: usize, scale: f32, scores: *mut f32) -> f32 {
    // SAFETY: the scores cover `len` values.
    unsafe {
        let whole = len / S::LANES * S::LANES;
        let mut largest = S::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(S::LANES) {
            largest = S::max(largest, S::load(scores.wrapping_add(i)));
        }
        let mut top = if whole > 0 { S::largest(largest) } else { f32::NEG_INFINITY };
        for i in whole..len {
            top = top.max(*scores.wrapping_add(i));
        }
        let (top, factor) = (S::splat(top), S::splat(scale));
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            let power = exp::<S>(S::mul(S::sub(S::load(scores.wrapping_add(i)), top), factor));
            S::store(scores.wrapping_add(i), power);
            sum = S::add(sum, power);
        }
        let mut total = if whole > 0 { S::sum(sum) } else { 0.0 };
        if whole < len {
            let power = exp::<S>(S::mul(S::sub(S::load_partial(scores.wrapping_add(whole), len - whole), top), factor));
            S::store_partial(scores.wrapping_add(whole), power, len - whole);
            for i in whole..len {
                total += *scores.wrapping_add(i);
            }
        }
        total
    }
}

#[inline(always)]
unsafe fn exponential_rows_kernel<S: Simd>(
    rows: usize,
    len: usize,
    stride: usize,
    scale: f32,
    scores: *mut f32,
    totals: *mut f32,
) {
    // SAFETY: the scores cover `rows` rows of `len` values, the totals one value per row.
    unsafe {
        for row in 0..rows {
            *totals.wrapping_add(row) = exponentials::<S>(len, scale, scores.wrapping_add(row * stride));
        }
    }
}
simd_dispatch! {
    /// Per row, `e^(scale · (score - largest))` in place of the scores, and their sum.
    fn exponential_rows(
        rows: usize, len: usize, stride: usize, scale: f32, scores: *mut f32, totals: *mut f32,
    ) = exponential_rows_kernel
}

#[inline(always)]
unsafe fn softmax_rows_kernel<S: Simd>(rows: usize, len: usize, stride: usize, scale: f32, scores: *mut f32) {
    // SAFETY: the scores cover `rows` rows of `len` values.
    unsafe {
        for row in 0..rows {
            let scores = scores.wrapping_add(row * stride);
            let factor = S::splat(1.0 / exponentials::<S>(len, scale, scores));
            for_each_vector!(S, len, |i, load, store| {
                store!(scores, S::mul(load!(scores), factor));
            });
        }
    }
}
simd_dispatch! {
    /// `softmax(scale · scores)` per row, in place.
    pub(crate) fn softmax_rows(
        rows: usize, len: usize, stride: usize, scale: f32, scores: *mut f32,
    ) = softmax_rows_kernel
}

#[inline(always)]
unsafe fn divided_rows_kernel<S: Simd>(
    rows: usize,
    len: usize,
    totals: *const f32,
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    // SAFETY: both cover `rows` rows of `len` values, the totals one value per row.
    unsafe {
        for row in 0..rows {
            let factor = S::splat(1.0 / *totals.wrapping_add(row));
            let (source, target) = (source.wrapping_add(row * source_stride), target.wrapping_add(row * target_stride));
            for_each_vector!(S, len, |i, load, store| {
                store!(target, S::mul(load!(source), factor));
            });
        }
    }
}
simd_dispatch! {
    /// Copies rows, each divided by its total.
    fn divided_rows(
        rows: usize, len: usize, totals: *const f32, source: *const f32, source_stride: usize, target: *mut f32,
        target_stride: usize,
    ) = divided_rows_kernel
}

/// Queries of a block: two register tiles.
const QUERY_BLOCK: usize = 28;

/// `softmax(query · keyᵀ · scale) · value` per head.
pub(crate) fn forward(shape: &Attention, query: &[f32], key: &[f32], value: &[f32]) -> Vec<f32> {
    shape.check(query, key, value);
    let &Attention { batch, query_tokens, key_tokens, num_heads, head_dim } = shape;
    let dim = shape.dim();
    // SAFETY: each task writes its head's values of all its image's queries.
    unsafe {
        filled_by(query.len(), |output| {
            (0..batch * num_heads).into_par_iter().for_each(|task| {
                let query_start = shape.head_start(task, query_tokens);
                let key_start = shape.head_start(task, key_tokens);
                let keys = MatrixView { values: &key[key_start..], row_stride: 1, column_stride: dim };
                let keys = Packed::new(keys, head_dim, key_tokens);
                let values = MatrixView { values: &value[key_start..], row_stride: dim, column_stride: 1 };
                let values = Packed::new(values, key_tokens, head_dim);
                let padded_keys = apart(Panels::new(key_tokens).padded_columns());
                let padded_dim = Panels::new(head_dim).padded_columns();
                let mut scores = Scratch::take(QUERY_BLOCK * padded_keys);
                let mut sums = Scratch::take(QUERY_BLOCK * padded_dim);
                let (scores, sums) = (scores.as_mut_ptr(), sums.as_mut_ptr());
                let num_blocks = query_tokens.div_ceil(QUERY_BLOCK);
                for block in 0..num_blocks {
                    let first = block * query_tokens / num_blocks;
                    let rows = (block + 1) * query_tokens / num_blocks - first;
                    let start = query_start + first * dim;
                    keys.multiply(rows, (query[start..].as_ptr(), dim), false, (scores, padded_keys), false);
                    let mut totals = [0f32; QUERY_BLOCK];
                    exponential_rows(rows, key_tokens, padded_keys, shape.scale(), scores, totals.as_mut_ptr());
                    values.multiply(rows, (scores, padded_keys), false, (sums, padded_dim), false);
                    divided_rows(rows, head_dim, totals.as_ptr(), sums, padded_dim, output.at(start), dim);
                }
            });
        })
    }
}

/// `softmax(query · keyᵀ · scale)` averaged over heads, `[batch, query_tokens, key_tokens]`.
pub(crate) fn maps(shape: &Attention, query: &[f32], key: &[f32]) -> Vec<f32> {
    shape.check(query, key, key);
    let &Attention { batch, query_tokens, key_tokens, num_heads, head_dim } = shape;
    let dim = shape.dim();
    let padded_keys = apart(Panels::new(key_tokens).padded_columns());
    let num_blocks = query_tokens.div_ceil(QUERY_BLOCK);
    let share = 1.0 / num_heads as f32;
    let mut output = vec![0f32; batch * query_tokens * key_tokens];
    for (image, map) in output.chunks_exact_mut((query_tokens * key_tokens).max(1)).enumerate() {
        let heads = (image * num_heads..(image + 1) * num_heads).into_par_iter();
        let packed: Vec<Packed> = heads
            .map(|head| {
                let values = &key[shape.head_start(head, key_tokens)..];
                Packed::new(MatrixView { values, row_stride: 1, column_stride: dim }, head_dim, key_tokens)
            })
            .collect();
        let map = Shared::new(map);
        (0..num_blocks).into_par_iter().for_each(|block| {
            let first = block * query_tokens / num_blocks;
            let rows = (block + 1) * query_tokens / num_blocks - first;
            let mut scores = Scratch::take(QUERY_BLOCK * padded_keys);
            // SAFETY: the rows of a block are nobody else's, and lie one behind the other.
            let target = unsafe { std::slice::from_raw_parts_mut(map.at(first * key_tokens), rows * key_tokens) };
            for (head, keys) in packed.iter().enumerate() {
                let start = shape.head_start(image * num_heads + head, query_tokens) + first * dim;
                let pointer = scores.as_mut_ptr();
                // SAFETY: block and head lie inside the queries; the scores have whole vectors per row.
                unsafe {
                    keys.multiply(rows, (query[start..].as_ptr(), dim), false, (pointer, padded_keys), false);
                    softmax_rows(rows, key_tokens, padded_keys, shape.scale(), pointer);
                }
                let lines = scores.as_slice().chunks_exact(padded_keys);
                for (target, line) in target.chunks_exact_mut(key_tokens).zip(lines) {
                    for (sum, probability) in target.iter_mut().zip(line) {
                        *sum += probability * share;
                    }
                }
            }
        });
    }
    output
}
