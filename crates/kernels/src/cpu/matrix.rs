//! Matrix products: packing of the right matrix into panels, and the loops around the register tile.
//!
//! Sums over `depth` are cut at fixed multiples of [`DEPTH_BLOCK`] and run in order, so an output depends on its row,
//! its column and nothing else. That is also why this is not left to a general library, whose blocking may change with
//! the number of rows.

use super::memory::{Scratch, Shared};
use super::packing::pack_panels;
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
    /// Real columns.
    pub columns: usize,
    /// Values per vector.
    pub lanes: usize,
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
    if matrix.column_stride == 1 {
        let source = &matrix.values[first_row * matrix.row_stride..];
        // SAFETY: the caller's promise.
        return unsafe { pack_panels(source, matrix.row_stride, depth, panels, panel..panel + 1, |_| target) };
    }
    let (first, real, vectors) = panels.panel(panel);
    let width = vectors * panels.lanes;
    // SAFETY: the caller's promise; the target may hold anything before.
    let target = unsafe { std::slice::from_raw_parts_mut(target, depth * width) };
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

/// What the sums of a product start with.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// One value per column, the same in all rows.
    Bias(&'a [f32]),
    /// What the output holds.
    Output,
}

/// A right matrix `[depth, columns]`, packed: per depth block, per panel, `[rows of the block, panel width]`.
pub(crate) struct PackedMatrix {
    values: Scratch,
    depth: usize,
    panels: Panels,
}

/// Lines of a right matrix that one task packs; divides [`DEPTH_BLOCK`].
const LINES: usize = 32;

impl PackedMatrix {
    /// The depth blocks: first index and length of each.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let depth = self.depth;
        (0..depth).step_by(DEPTH_BLOCK).map(move |first| (first, (depth - first).min(DEPTH_BLOCK)))
    }

    /// Start of a panel of the depth block that begins at `first`.
    pub(crate) fn panel(&self, first: usize, panel: usize) -> *const f32 {
        let rows = (self.depth - first).min(DEPTH_BLOCK);
        let offset = first * self.panels.padded_columns() + rows * self.panels.panel(panel).0;
        self.values.as_slice()[offset..].as_ptr()
    }

    /// Packs on all threads.
    pub(crate) fn pack(matrix: MatrixView, depth: usize, columns: usize) -> Self {
        let panels = Panels::new(columns);
        let mut values = Scratch::take(depth * panels.padded_columns());
        let shared = Shared::new(values.as_mut_slice());
        let num_blocks = depth.div_ceil(DEPTH_BLOCK);
        if matrix.column_stride == 1 {
            // Lines of the source are read whole, in the order of memory: panel by panel, each would be fetched anew.
            (0..depth.div_ceil(LINES)).into_par_iter().with_min_len(2).for_each(|task| {
                let line = task * LINES;
                let first = line / DEPTH_BLOCK * DEPTH_BLOCK;
                let block_rows = (depth - first).min(DEPTH_BLOCK);
                let target = |panel| {
                    let (column, _, vectors) = panels.panel(panel);
                    let start = first * panels.padded_columns() + block_rows * column;
                    shared.at(start + (line - first) * vectors * panels.lanes)
                };
                let (source, count) = (&matrix.values[line * matrix.row_stride..], (depth - line).min(LINES));
                // SAFETY: each line of each panel has its own place.
                unsafe { pack_panels(source, matrix.row_stride, count, panels, 0..panels.count(), target) };
            });
            return Self { values, depth, panels };
        }
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

    /// `output = start + left · self`, for row-major `left` and `output` with the given strides, on this thread.
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
        start: Start,
    ) {
        let panels = self.panels;
        let mut copy = collides(rows, left_stride).then(|| Scratch::take(rows * apart(DEPTH_BLOCK)));
        for (first, depth) in self.blocks() {
            let (mut left, mut left_stride) = (left.wrapping_add(first), left_stride);
            if let Some(copy) = &mut copy {
                let stride = apart(depth);
                for row in 0..rows {
                    let target = copy.as_mut_ptr().wrapping_add(row * stride);
                    // SAFETY: the caller's promise; the copy holds `rows` rows of a block.
                    unsafe { std::ptr::copy_nonoverlapping(left.wrapping_add(row * left_stride), target, depth) };
                }
                (left, left_stride) = (copy.as_mut_ptr(), stride);
            }
            for panel in 0..panels.count() {
                let (column, real, vectors) = panels.panel(panel);
                let job = TileProduct {
                    rows,
                    depth,
                    left,
                    left_stride,
                    transposed: false,
                    right: self.panel(first, panel),
                    right_stride: vectors * panels.lanes,
                    output: output.wrapping_add(column),
                    output_stride,
                    vectors,
                    accumulate: first > 0 || matches!(start, Start::Output),
                    bias: match start {
                        Start::Bias(bias) => bias[column..].as_ptr(),
                        _ => std::ptr::null(),
                    },
                };
                // SAFETY: the caller's promise; `real` columns of this panel exist in the output.
                unsafe { run_clipped(job, real, panels.lanes) };
            }
        }
    }
}

/// Values of a cache line.
const LINE: usize = 16;

/// Whether rows so far apart share few sets of the first-level cache: all of a register tile's rows are read in turn, and
/// with a distance of 2 KiB or a multiple they would drive one another out before their lines are used up.
pub(crate) fn collides(rows: usize, stride: usize) -> bool {
    const FEWEST_ROWS: usize = 7;
    rows >= FEWEST_ROWS && stride.is_multiple_of(32 * LINE)
}

/// A distance of rows, at least `len`, with which they spread over all sets of the first-level cache: an odd number of
/// lines.
pub(crate) fn apart(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
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
        buffer.as_mut_slice().fill(0.0);
        if job.accumulate {
            copy(job.output, job.output_stride, buffer.as_mut_ptr(), width);
        } else if !job.bias.is_null() {
            copy(job.bias, 0, buffer.as_mut_ptr(), width);
        }
        let (output, bias) = (buffer.as_mut_ptr(), std::ptr::null());
        run_product(TileProduct { output, output_stride: width, accumulate: true, bias, ..job });
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
    let start = bias.map_or(Start::Zero, Start::Bias);
    // SAFETY: the caller's promise.
    unsafe { multiply_onto(rows, depth, columns, left, right, output, start) }
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
    unsafe { multiply_onto(rows, depth, columns, left, right, Shared::new(output), Start::Output) }
}

/// # Safety
/// `output` covers `rows * columns` values, initialised where the sums start with them.
unsafe fn multiply_onto(
    rows: usize,
    depth: usize,
    columns: usize,
    left: &[f32],
    right: MatrixView,
    output: Shared,
    start: Start,
) {
    assert!(left.len() >= rows * depth);
    let packed = PackedMatrix::pack(right, depth, columns);
    (0..rows.div_ceil(ROW_BLOCK)).into_par_iter().for_each(|block| {
        let first = block * ROW_BLOCK;
        let count = (rows - first).min(ROW_BLOCK);
        let target = output.at(first * columns);
        let left = left.as_ptr().wrapping_add(first * depth);
        // SAFETY: each block has rows of its own, inside both matrices.
        unsafe { packed.multiply(count, left, depth, target, columns, start) };
    });
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
    use crate::cpu::transposed::multiply_transposed;

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
        // The second is a depth at which rows are copied apart.
        at_each_level(|level| {
            rows_are_independent(level, 700);
            rows_are_independent(level, 1024);
        });
    }

    fn rows_are_independent(level: crate::cpu::CpuLevel, depth: usize) {
        let (rows, columns) = (97, 70);
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
    }

    #[test]
    fn distances_of_rows_are_odd_numbers_of_lines() {
        for (len, expected) in [(1, 16), (16, 16), (17, 48), (1024, 1040), (1040, 1040)] {
            assert_eq!(apart(len), expected);
            assert!(!collides(14, apart(len)));
        }
        assert!(collides(14, 1024) && collides(14, 3072) && !collides(14, 768) && !collides(2, 1024));
    }
}
