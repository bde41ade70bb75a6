//! Matrix products whose left matrix is stored the other way round, `[depth, rows]`: the gradients of weights.

use super::matrix::{DEPTH_BLOCK, MatrixView, PackedMatrix, Panels, ROW_BLOCK, run_clipped};
use super::memory::{Scratch, Shared, filled_by};
use super::tile::TileProduct;
use rayon::prelude::*;

/// A block of a left matrix that is stored `[depth, rows]`, cut into strips as high as a register tile:
/// per strip `[depth, strip]`.
///
/// Read in place, each step of a sum would touch another cache line, and tiles side by side would fetch it again.
pub(crate) struct Strips {
    values: Scratch,
    height: usize,
    rows: usize,
    depth: usize,
}

/// Values that one copy of a strip's line moves, at least as many as a strip is high: a constant, for one load and store.
const COPIED: usize = 16;

impl Strips {
    /// Space for blocks of up to `rows` by [`DEPTH_BLOCK`].
    pub(crate) fn new(rows: usize) -> Self {
        let height = super::tile_rows();
        let values = Scratch::take(rows.div_ceil(height) * height * DEPTH_BLOCK + COPIED);
        Self { values, height, rows: 0, depth: 0 }
    }

    /// Copies `rows` by `depth` values of a matrix whose lines of `stride` values hold all rows for one `depth` index;
    /// `left` begins with the block's first value.
    pub(crate) fn fill(&mut self, left: &[f32], stride: usize, rows: usize, depth: usize) {
        (self.rows, self.depth) = (rows, depth);
        let target = self.values.as_mut_slice();
        for (strip, first) in (0..rows).step_by(self.height).enumerate() {
            let strip = &mut target[strip * self.height * depth..];
            for index in 0..depth {
                let source = &left[index * stride + first..];
                let line = &mut strip[index * self.height..];
                // What is copied beyond the strip is overwritten by its next line, or never read.
                match (source.first_chunk::<COPIED>(), line.first_chunk_mut::<COPIED>()) {
                    (Some(source), Some(line)) => *line = *source,
                    _ => {
                        let count = (rows - first).min(self.height);
                        line[..count].copy_from_slice(&source[..count]);
                    }
                }
            }
        }
    }

    /// `output (+)= strips · right` in the columns of one panel, for the depth block of `right` that begins at `first`;
    /// the output begins with the strips' first row.
    ///
    /// # Safety
    /// The block is as deep as the strips; the output covers their rows and is nobody else's in the panel's columns.
    pub(crate) unsafe fn multiply(
        &self,
        right: &PackedMatrix,
        first: usize,
        panel: usize,
        (output, output_stride): (*mut f32, usize),
        accumulate: bool,
    ) {
        let lanes = super::lanes();
        let (column, real, vectors) = right.panels.panel(panel);
        let (output, panel) = (output.wrapping_add(column), right.panel(first, panel));
        for first in (0..self.rows).step_by(self.height) {
            let job = TileProduct {
                rows: (self.rows - first).min(self.height),
                depth: self.depth,
                left: self.values.as_slice().as_ptr().wrapping_add(first * self.depth),
                left_stride: self.height,
                transposed: true,
                right: panel,
                right_stride: vectors * lanes,
                output: output.wrapping_add(first * output_stride),
                output_stride,
                vectors,
                accumulate,
            };
            // SAFETY: the caller's promise; the strip holds its rows for every index.
            unsafe { run_clipped(job, real, lanes) };
        }
    }
}

/// Cuts a long sum into chunks, first index and length, each of so many depth blocks that the packed right matrix of
/// `columns` fits a bounded buffer.
pub(crate) fn depth_chunks(depth: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    const MOST_VALUES: usize = 2 << 20;
    let chunk = (MOST_VALUES / (DEPTH_BLOCK * columns.max(1))).max(1) * DEPTH_BLOCK;
    (0..depth).step_by(chunk).map(move |start| (start, (depth - start).min(chunk)))
}

/// `leftᵀ · right` for row-major `left` of `[depth, rows]` and `right` of `[depth, columns]`: the gradient of a weight
/// matrix.
pub(crate) fn multiply_transposed(rows: usize, depth: usize, columns: usize, left: &[f32], right: &[f32]) -> Vec<f32> {
    assert!(left.len() >= rows * depth && right.len() >= columns * depth);
    if depth == 0 {
        return vec![0.0; rows * columns];
    }
    let panels = Panels::new(columns);
    let row_blocks = rows.div_ceil(ROW_BLOCK).max(1);
    // A block of rows is packed once for a few panels, as long as there are enough tasks for many threads.
    const ENOUGH_TASKS: usize = 16;
    let groups = (ENOUGH_TASKS.div_ceil(row_blocks)).max(panels.count().div_ceil(8)).min(panels.count());
    let fill = |output: Shared| {
        for (start, len) in depth_chunks(depth, columns) {
            let right = MatrixView::row_major(&right[start * columns..], columns);
            let packed = PackedMatrix::pack(right, len, columns);
            (0..row_blocks * groups).into_par_iter().for_each(|task| {
                let (block, group) = (task / groups, task % groups);
                let first_row = block * rows / row_blocks;
                let block_rows = (block + 1) * rows / row_blocks - first_row;
                let mut strips = Strips::new(block_rows);
                for (first, count) in packed.blocks() {
                    let left = &left[(start + first) * rows + first_row..];
                    strips.fill(left, rows, block_rows, count);
                    for panel in group * panels.count() / groups..(group + 1) * panels.count() / groups {
                        let target = (output.at(first_row * columns), columns);
                        // SAFETY: the strips are as deep as the panel; this block of it is this task's own.
                        unsafe { strips.multiply(&packed, first, panel, target, start + first > 0) };
                    }
                }
            });
        }
    };
    // SAFETY: the tasks together write every block of rows of every panel.
    unsafe { filled_by(rows * columns, fill) }
}
