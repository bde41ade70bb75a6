//! Matrix products whose left matrix is stored the other way round, `[depth, rows]`: the gradients of weights.

use super::matrix::{DEPTH_BLOCK, Panels, run_clipped};
use super::memory::{Scratch, Shared, filled_by};
use super::tile::TileProduct;
use rayon::prelude::*;
use std::ops::Range;

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

    /// `output (+)= strips · panel` for a packed panel of `real` columns in `vectors` whole vectors.
    ///
    /// # Safety
    /// The panel is as deep as the strips; the output covers their rows by `real` columns and is nobody else's.
    pub(crate) unsafe fn multiply(
        &self,
        panel: *const f32,
        (real, vectors): (usize, usize),
        (output, output_stride): (*mut f32, usize),
        accumulate: bool,
    ) {
        let lanes = super::lanes();
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
                bias: std::ptr::null(),
            };
            // SAFETY: the caller's promise; the strip holds its rows for every index.
            unsafe { run_clipped(job, real, lanes) };
        }
    }
}

/// Rows and panels of one task: its strips and its panels of one depth block fit the second-level cache together.
const TASK_ROWS: usize = 224;
const TASK_PANELS: usize = 4;

/// `leftᵀ · right` for row-major `left` of `[depth, rows]` and `right` of `[depth, columns]`: the gradient of a weight
/// matrix.
///
/// Each task packs what it multiplies, so that both matrices are read in the order of memory and little more than once.
/// Sums that are long against their number are cut into segments, by the shapes alone, and added in their order.
pub(crate) fn multiply_transposed(rows: usize, depth: usize, columns: usize, left: &[f32], right: &[f32]) -> Vec<f32> {
    assert!(left.len() >= rows * depth && right.len() >= columns * depth);
    if rows * columns * depth == 0 {
        return vec![0.0; rows * columns];
    }
    const ENOUGH_TASKS: usize = 16;
    let panels = Panels::new(columns);
    let (row_blocks, groups) = (rows.div_ceil(TASK_ROWS), panels.count().div_ceil(TASK_PANELS));
    let blocks = row_blocks * groups;
    let segments = (ENOUGH_TASKS / blocks).clamp(1, depth.div_ceil(2 * DEPTH_BLOCK));
    let fill = |output: Shared| {
        (0..segments * blocks).into_par_iter().for_each(|task| {
            let (segment, block) = (task / blocks, task % blocks);
            let rows_from = |block: usize| block * rows / row_blocks;
            let panels_from = |group: usize| group * panels.count() / groups;
            let (row_block, group) = (block / groups, block % groups);
            let job = Segment {
                rows: rows_from(row_block)..rows_from(row_block + 1),
                depth: segment * depth / segments..(segment + 1) * depth / segments,
                panels: panels_from(group)..panels_from(group + 1),
            };
            // SAFETY: the segment lies inside both matrices; its block of its own copy of the sums is nobody else's.
            unsafe { job.run(rows, panels, left, right, output.at(segment * rows * columns)) };
        });
    };
    // SAFETY: the tasks together write every block of rows of every panel, once for each segment.
    let mut sums = unsafe { filled_by(segments * rows * columns, fill) };
    if segments > 1 {
        let (first, others) = sums.split_at_mut(rows * columns);
        first.par_chunks_mut(4096).enumerate().for_each(|(chunk, target)| {
            for part in others.chunks_exact(rows * columns) {
                for (sum, value) in target.iter_mut().zip(&part[chunk * 4096..]) {
                    *sum += value;
                }
            }
        });
        sums.truncate(rows * columns);
        sums.shrink_to_fit();
    }
    sums
}

/// What one task of [`multiply_transposed`] multiplies.
struct Segment {
    rows: Range<usize>,
    depth: Range<usize>,
    panels: Range<usize>,
}

impl Segment {
    /// # Safety
    /// The ranges lie inside the matrices, `output` covers all rows by all columns, and this block of it is nobody else's.
    unsafe fn run(self, rows: usize, panels: Panels, left: &[f32], right: &[f32], output: *mut f32) {
        let columns = panels.columns;
        let mut strips = Strips::new(self.rows.len());
        let mut packed = Scratch::take(TASK_PANELS * DEPTH_BLOCK * 2 * panels.lanes);
        let panel_space = DEPTH_BLOCK * 2 * panels.lanes;
        for first in self.depth.clone().step_by(DEPTH_BLOCK) {
            let count = (self.depth.end - first).min(DEPTH_BLOCK);
            strips.fill(&left[first * rows + self.rows.start..], rows, self.rows.len(), count);
            let target = packed.as_mut_slice();
            for row in 0..count {
                let line = &right[(first + row) * columns..][..columns];
                for (place, panel) in self.panels.clone().enumerate() {
                    let (column, real, vectors) = panels.panel(panel);
                    let width = vectors * panels.lanes;
                    let target = &mut target[place * panel_space + row * width..][..width];
                    target[..real].copy_from_slice(&line[column..column + real]);
                    target[real..].fill(0.0);
                }
            }
            for (place, panel) in self.panels.clone().enumerate() {
                let (column, real, vectors) = panels.panel(panel);
                let packed = packed.as_slice()[place * panel_space..].as_ptr();
                let target = output.wrapping_add(self.rows.start * columns + column);
                let accumulate = first > self.depth.start;
                // SAFETY: strips and panel are as deep as the block; the rest is the caller's promise.
                unsafe { strips.multiply(packed, (real, vectors), (target, columns), accumulate) };
            }
        }
    }
}
