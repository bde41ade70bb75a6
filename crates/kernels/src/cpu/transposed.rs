//! Matrix products whose left matrix is stored the other way round, `[depth, rows]`: the gradients of weights.

use super::matrix::{Panels, run_clipped};
use super::memory::{Scratch, Shared, filled_by};
use super::packing::{pack_panels, pack_strips};
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

impl Strips {
    /// Space for blocks of up to `rows` by [`TASK_DEPTH`].
    pub(crate) fn new(rows: usize) -> Self {
        let height = super::tile_rows();
        let values = Scratch::take(rows.div_ceil(height) * height * TASK_DEPTH);
        Self { values, height, rows: 0, depth: 0 }
    }

    /// Copies `rows` by `depth` values of a matrix whose lines of `stride` values hold all rows for one `depth` index;
    /// `left` begins with the block's first value.
    pub(crate) fn fill(&mut self, left: &[f32], stride: usize, rows: usize, depth: usize) {
        (self.rows, self.depth) = (rows, depth);
        pack_strips(left, stride, (rows, self.height), depth, self.values.as_mut_slice());
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

/// Extents of one task: its strips and panels of one block of the sums fit the second-level cache together, and each
/// value that is packed is used a few hundred times.
const TASK_ROWS: usize = 224;
pub(crate) const TASK_PANELS: usize = 8;
pub(crate) const TASK_DEPTH: usize = 256;

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
    const SHORTEST_SEGMENT: usize = 1024;
    let panels = Panels::new(columns);
    let (row_blocks, groups) = (rows.div_ceil(TASK_ROWS), panels.count().div_ceil(TASK_PANELS));
    let blocks = row_blocks * groups;
    let segments = (ENOUGH_TASKS / blocks).clamp(1, depth.div_ceil(SHORTEST_SEGMENT));
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
            let fill = |strips: &mut Strips, first: usize, count: usize| {
                strips.fill(&left[first * rows + job.rows.start..], rows, job.rows.len(), count);
            };
            let target = output.at(segment * rows * columns + job.rows.start * columns);
            // SAFETY: the segment lies inside both matrices; its block of its own copy of the sums is nobody else's.
            unsafe { job.run(panels, fill, right, target) };
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

/// What one task multiplies.
pub(crate) struct Segment {
    pub rows: Range<usize>,
    pub depth: Range<usize>,
    /// At most [`TASK_PANELS`].
    pub panels: Range<usize>,
}

impl Segment {
    /// Multiplies what `fill` makes of the left matrix (strips of this segment's rows from an index of the sums on, at
    /// most [`TASK_DEPTH`] of them) with the panels of `right`; `output` begins with the segment's first row.
    ///
    /// # Safety
    /// The ranges lie inside the matrices, `output` has all columns in each row, and this block of it is nobody else's.
    pub(crate) unsafe fn run(
        &self,
        panels: Panels,
        mut fill: impl FnMut(&mut Strips, usize, usize),
        right: &[f32],
        output: *mut f32,
    ) {
        let columns = panels.columns;
        let panel_space = TASK_DEPTH * 2 * panels.lanes;
        let mut strips = Strips::new(self.rows.len());
        let mut packed = Scratch::take(self.panels.len() * panel_space);
        let packed = Shared::new(packed.as_mut_slice());
        let place = |panel: usize| packed.at((panel - self.panels.start) * panel_space);
        for first in self.depth.clone().step_by(TASK_DEPTH) {
            let count = (self.depth.end - first).min(TASK_DEPTH);
            fill(&mut strips, first, count);
            let source = &right[first * columns..];
            // SAFETY: the scratch memory has space for each panel of this task.
            unsafe { pack_panels(source, columns, count, panels, self.panels.clone(), place) };
            for panel in self.panels.clone() {
                let (column, real, vectors) = panels.panel(panel);
                let target = (output.wrapping_add(column), columns);
                let accumulate = first > self.depth.start;
                // SAFETY: strips and panel are as deep as the block; the rest is the caller's promise.
                unsafe { strips.multiply(place(panel), (real, vectors), target, accumulate) };
            }
        }
    }
}
