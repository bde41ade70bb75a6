//! Matrix products: packing of the right matrix into panels, and the loops around the register tile.
//!
//! Sums over `depth` are cut at fixed multiples of [`DEPTH_BLOCK`] and run in order, so an output depends on its row,
//! its column and nothing else. That is also why this is not left to a general library, whose blocking may change with
//! the number of rows.

use super::memory::{Scratch, Shared};
use super::simd::Simd;
use super::simd_dispatch;
use super::tile::TileProduct;
use rayon::prelude::*;

/// Longest sum in one sweep: a panel of that depth (64 KiB with 512-bit vectors) stays in the second-level cache.
pub(crate) const DEPTH_BLOCK: usize = 512;

/// A matrix in memory of which any step may be the unit one.
#[derive(Clone, Copy)]
pub(crate) struct MatrixView<'a> {
    pub values: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> MatrixView<'a> {
    /// Rows one after the other.
    pub(crate) fn row_major(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a row-major matrix with `rows` columns in memory.
    pub(crate) fn transposed(values: &'a [f32], rows: usize) -> Self {
        Self { values, row_stride: 1, column_stride: rows }
    }
}

/// How the columns of a right matrix are cut into panels of one or two vectors.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    columns: usize,
    lanes: usize,
}

impl Panels {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, lanes: super::lanes() }
    }

    pub(crate) fn count(self) -> usize {
        self.columns.div_ceil(2 * self.lanes)
    }

    /// Columns of all panels together, padding included.
    pub(crate) fn padded_columns(self) -> usize {
        self.columns.next_multiple_of(self.lanes)
    }

    /// First column, number of real columns, and width in vectors of a panel.
    pub(crate) fn panel(self, index: usize) -> (usize, usize, usize) {
        let first = index * 2 * self.lanes;
        let real = (self.columns - first).min(2 * self.lanes);
        (first, real, real.div_ceil(self.lanes))
    }
}

/// Copies `depth` rows from `first_row` on of one panel, zero-padded to whole vectors.
///
/// # Safety
/// `target` holds `depth * vectors * lanes` values; the rows and the panel lie inside the matrix.
pub(crate) unsafe fn pack_panel(
    matrix: MatrixView,
    first_row: usize,
    depth: usize,
    panels: Panels,
    panel: usize,
    target: *mut f32,
) {
    let (first, real, vectors) = panels.panel(panel);
    let width = vectors * panels.lanes;
    // SAFETY: the caller's promise; the target may hold anything before.
    let target = unsafe { std::slice::from_raw_parts_mut(target, depth * width) };
    if matrix.column_stride == 1 {
        for (row, line) in target.chunks_exact_mut(width).enumerate() {
            let start = (first_row + row) * matrix.row_stride + first;
            line[..real].copy_from_slice(&matrix.values[start..start + real]);
            line[real..].fill(0.0);
        }
        return;
    }
    if real < width {
        target.fill(0.0);
    }
    // Blocks of 16 rows: whole cache lines of the source are used before they are evicted.
    for block in (0..depth).step_by(16) {
        let end = (block + 16).min(depth);
        for column in 0..real {
            let start = (first + column) * matrix.column_stride + first_row * matrix.row_stride;
            if matrix.row_stride == 1 {
                for (row, &value) in (block..end).zip(&matrix.values[start + block..start + end]) {
                    target[row * width + column] = value;
                }
            } else {
                for row in block..end {
                    target[row * width + column] = matrix.values[start + row * matrix.row_stride];
                }
            }
        }
    }
}

/// A right matrix `[depth, columns]`, packed: per depth block, per panel, `[rows of the block, panel width]`.
pub(crate) struct PackedMatrix {
    values: Scratch,
    depth: usize,
    panels: Panels,
}

impl PackedMatrix {
    /// Packs on all threads.
    pub(crate) fn pack(matrix: MatrixView, depth: usize, columns: usize) -> Self {
        let panels = Panels::new(columns);
        let mut values = Scratch::take(depth * panels.padded_columns());
        let shared = Shared::new(values.as_mut_slice());
        let num_blocks = depth.div_ceil(DEPTH_BLOCK);
        (0..num_blocks * panels.count()).into_par_iter().with_min_len(4).for_each(|task| {
            let (block, panel) = (task / panels.count(), task % panels.count());
            let first = block * DEPTH_BLOCK;
            let rows = (depth - first).min(DEPTH_BLOCK);
            let offset = first * panels.padded_columns() + rows * panels.panel(panel).0;
            // SAFETY: each task has its own place; the extents are those of the matrix.
            unsafe { pack_panel(matrix, first, rows, panels, panel, shared.at(offset)) };
        });
        Self { values, depth, panels }
    }

    /// `output += left · self` (or `=`), for row-major `left` and `output` with the given strides, on this thread.
    ///
    /// # Safety
    /// `left` covers `rows` by `depth`, `output` covers `rows` by `columns`, and nobody else uses the output meanwhile.
    pub(crate) unsafe fn multiply(
        &self,
        rows: usize,
        left: *const f32,
        left_stride: usize,
        output: *mut f32,
        output_stride: usize,
        accumulate: bool,
    ) {
        let panels = self.panels;
        let packed = self.values.as_slice().as_ptr();
        for first in (0..self.depth).step_by(DEPTH_BLOCK) {
            let depth = (self.depth - first).min(DEPTH_BLOCK);
            for panel in 0..panels.count() {
                let (column, real, vectors) = panels.panel(panel);
                let job = TileProduct {
                    rows,
                    depth,
                    left: left.wrapping_add(first),
                    left_stride,
                    transposed: false,
                    right: packed.wrapping_add(first * panels.padded_columns() + depth * column),
                    right_stride: vectors * panels.lanes,
                    output: output.wrapping_add(column),
                    output_stride,
                    vectors,
                    accumulate: accumulate || first > 0,
                };
                // SAFETY: the caller's promise; `real` columns of this panel exist in the output.
                unsafe { run_clipped(job, real, panels.lanes) };
            }
        }
    }
}

/// Runs a product whose panel may be wider than what remains of the output: those columns go through scratch memory.
///
/// # Safety
/// As for [`run_product`], but the output needs only `real` columns.
pub(crate) unsafe fn run_clipped(job: TileProduct, real: usize, lanes: usize) {
    let width = job.vectors * lanes;
    // SAFETY: either the panel fits the output, or the product goes to a buffer that it fits.
    unsafe {
        if real == width {
            return run_product(job);
        }
        let mut buffer = Scratch::take(job.rows * width);
        let copy = |from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize| {
            for row in 0..job.rows {
                std::ptr::copy_nonoverlapping(
                    from.wrapping_add(row * from_stride),
                    to.wrapping_add(row * to_stride),
                    real,
                );
            }
        };
        if job.accumulate {
            buffer.as_mut_slice().fill(0.0);
            copy(job.output, job.output_stride, buffer.as_mut_ptr(), width);
        }
        run_product(TileProduct { output: buffer.as_mut_ptr(), output_stride: width, ..job });
        copy(buffer.as_mut_ptr(), width, job.output, job.output_stride);
    }
}

#[inline(always)]
unsafe fn product_kernel<S: Simd>(job: TileProduct) {
    // SAFETY: the caller's promise and the dispatched instructions.
    unsafe { S::product(&job) }
}

simd_dispatch! {
    /// Runs one product at the level in use.
    ///
    /// # Safety
    /// The pointers of the job cover its extents; nobody else uses the output meanwhile.
    pub(crate) fn run_product(job: TileProduct) = product_kernel
}

/// Rows of a row-major product that one task computes: small enough to share out, large enough to use a panel often.
pub(crate) const ROW_BLOCK: usize = 112;

/// `left · right (+ bias)` for row-major `left` of `[rows, depth]`, into row-major `output` of `[rows, columns]`.
///
/// # Safety
/// `output` covers `rows * columns` values, which may be uninitialised.
pub(crate) unsafe fn multiply(
    rows: usize,
    depth: usize,
    columns: usize,
    left: &[f32],
    right: MatrixView,
    bias: Option<&[f32]>,
    output: Shared,
) {
    assert!(bias.is_none_or(|bias| bias.len() == columns));
    let begin = |target: *mut f32, count: usize| {
        for row in 0..count {
            if let Some(bias) = bias {
                // SAFETY: the row is part of the output, and no longer than the bias.
                unsafe { std::ptr::copy_nonoverlapping(bias.as_ptr(), target.wrapping_add(row * columns), columns) };
            }
        }
        bias.is_some()
    };
    // SAFETY: the caller's promise.
    unsafe { multiply_onto(rows, depth, columns, left, right, output, begin) }
}

/// `output += left · right` for row-major matrices.
pub(crate) fn add_product(
    rows: usize,
    depth: usize,
    columns: usize,
    left: &[f32],
    right: MatrixView,
    output: &mut [f32],
) {
    assert!(output.len() >= rows * columns);
    // SAFETY: the output is large enough, and holds values.
    unsafe { multiply_onto(rows, depth, columns, left, right, Shared::new(output), |_, _| true) }
}

/// A product onto what `begin` leaves in a block of rows, given its start and height; where it answers `false`, the
/// block is overwritten.
///
/// # Safety
/// `output` covers `rows * columns` values, initialised where `begin` answers `true`.
unsafe fn multiply_onto(
    rows: usize,
    depth: usize,
    columns: usize,
    left: &[f32],
    right: MatrixView,
    output: Shared,
    begin: impl Fn(*mut f32, usize) -> bool + Sync,
) {
    assert!(left.len() >= rows * depth);
    let packed = PackedMatrix::pack(right, depth, columns);
    (0..rows.div_ceil(ROW_BLOCK)).into_par_iter().for_each(|block| {
        let first = block * ROW_BLOCK;
        let count = (rows - first).min(ROW_BLOCK);
        let target = output.at(first * columns);
        let accumulate = begin(target, count);
        let left = left.as_ptr().wrapping_add(first * depth);
        // SAFETY: each block has rows of its own, inside both matrices.
        unsafe { packed.multiply(count, left, depth, target, columns, accumulate) };
    });
}

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

    /// `block (+)= strips · panel` for a packed panel of `real` columns out of `vectors` whole ones.
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
            };
            // SAFETY: the caller's promise; the strip holds its rows for every index.
            unsafe { run_clipped(job, real, lanes) };
        }
    }
}

/// `leftᵀ · right` for row-major `left` of `[depth, rows]` and `right` of `[depth, columns]`: the gradient of a weight
/// matrix.
pub(crate) fn multiply_transposed(rows: usize, depth: usize, columns: usize, left: &[f32], right: &[f32]) -> Vec<f32> {
    assert!(left.len() >= rows * depth && right.len() >= columns * depth);
    let panels = Panels::new(columns);
    let row_blocks = rows.div_ceil(ROW_BLOCK).max(1);
    // A block of rows is packed once for a few panels, as long as there are enough tasks for many threads.
    const ENOUGH_TASKS: usize = 16;
    let groups = (ENOUGH_TASKS.div_ceil(row_blocks)).max(panels.count().div_ceil(8)).min(panels.count());
    let right = MatrixView::row_major(right, columns);
    let fill = |output: Shared| {
        (0..row_blocks * groups).into_par_iter().for_each(|task| {
            let (block, group) = (task / groups, task % groups);
            let first_row = block * rows / row_blocks;
            let block_rows = (block + 1) * rows / row_blocks - first_row;
            let mut strips = Strips::new(block_rows);
            let mut packed = Scratch::take(DEPTH_BLOCK * 2 * panels.lanes);
            for first in (0..depth).step_by(DEPTH_BLOCK) {
                let count = (depth - first).min(DEPTH_BLOCK);
                strips.fill(&left[first * rows + first_row..], rows, block_rows, count);
                for panel in group * panels.count() / groups..(group + 1) * panels.count() / groups {
                    let (column, real, vectors) = panels.panel(panel);
                    let target = output.at(first_row * columns + column);
                    // SAFETY: the packed panel is as large as the block; a block of a panel is this task's own.
                    unsafe {
                        pack_panel(right, first, count, panels, panel, packed.as_mut_ptr());
                        strips.multiply(packed.as_mut_ptr(), (real, vectors), (target, columns), first > 0);
                    }
                }
            }
        });
    };
    // SAFETY: the tasks together write every block of rows of every panel.
    unsafe { super::memory::filled_by(rows * columns, fill) }
}

/// Sum over the rows of a row-major matrix `[rows, columns]`, in blocks of rows that do not depend on the threads.
pub(crate) fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    const BLOCK: usize = 256;
    let partial: Vec<Vec<f32>> = values
        .par_chunks(BLOCK * columns.max(1))
        .map(|block| {
            let mut sums = vec![0f32; columns];
            for row in block.chunks_exact(columns) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    let mut total = vec![0f64; columns];
    for sums in partial {
        for (sum, value) in total.iter_mut().zip(sums) {
            *sum += value as f64;
        }
    }
    total.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::memory::filled_by;
    use crate::cpu::testing::{at_each_level, noise};

    #[test]
    fn products_agree_with_the_definition() {
        at_each_level(|level| {
            for (rows, depth, columns) in [(1, 1, 1), (3, 5, 7), (51, 33, 40), (130, 600, 65), (14, 16, 32)] {
                let (left, right) = (noise(rows * depth, 1), noise(depth * columns, 2));
                let bias = noise(columns, 3);
                let view = MatrixView::row_major(&right, columns);
                // SAFETY: multiply writes all of its output.
                let got = unsafe {
                    filled_by(rows * columns, |output| multiply(rows, depth, columns, &left, view, Some(&bias), output))
                };
                let turned: Vec<f32> = (0..depth * rows).map(|i| left[i % rows * depth + i / rows]).collect();
                let got_transposed = multiply_transposed(rows, depth, columns, &turned, &right);
                // The classical bound: half a unit of the last place per term, and one for the bias.
                let bound = 6e-8 * (depth + 2) as f64 + 1e-6;
                for row in 0..rows {
                    for column in 0..columns {
                        let sum: f64 =
                            (0..depth).map(|k| left[row * depth + k] as f64 * right[k * columns + column] as f64).sum();
                        let i = row * columns + column;
                        assert!((got[i] as f64 - bias[column] as f64 - sum).abs() < bound, "{level:?} {rows} {depth}");
                        assert!((got_transposed[i] as f64 - sum).abs() < bound, "{level:?} {rows} {depth} transposed");
                    }
                }
            }
        });
    }

    #[test]
    fn a_row_does_not_depend_on_the_other_rows() {
        at_each_level(|level| {
            let (rows, depth, columns) = (97, 700, 70);
            let (left, right) = (noise(rows * depth, 1), noise(depth * columns, 2));
            let view = MatrixView::row_major(&right, columns);
            let product = |left: &[f32], rows: usize| {
                // SAFETY: multiply writes all of its output.
                unsafe { filled_by(rows * columns, |output| multiply(rows, depth, columns, left, view, None, output)) }
            };
            let together = product(&left, rows);
            for row in [0, 13, 14, 50, 96] {
                let alone = product(&left[row * depth..(row + 1) * depth], 1);
                assert_eq!(alone, together[row * columns..(row + 1) * columns], "{level:?} row {row}");
            }
        });
    }
}
