//! The register tile under every matrix product: up to `ROWS` rows by two vectors of accumulators that stay in
//! registers while the sum over `depth` runs.
//!
//! Each output is one chain of multiply-adds in the order of `depth`, whatever the tile's height: results do not depend
//! on how rows are split, which batch-independent and thread-independent results rest on.

use super::simd::Simd;

/// `output (+)= left · right` on one panel of `right` that is one or two vectors wide.
#[derive(Clone, Copy)]
pub(crate) struct TileProduct {
    /// Rows of `left` and `output`.
    pub rows: usize,
    /// Length of the sums.
    pub depth: usize,
    /// First element of the left matrix.
    pub left: *const f32,
    /// Step from one row to the next (from one `depth` index to the next if `transposed`); the other step is 1.
    pub left_stride: usize,
    /// Whether the left matrix is stored `[depth, rows]` instead of `[rows, depth]`.
    pub transposed: bool,
    /// First element of the panel, stored `[depth, vectors * LANES]`.
    pub right: *const f32,
    /// Step from one `depth` index of the panel to the next.
    pub right_stride: usize,
    /// First element of the output.
    pub output: *mut f32,
    /// Step from one output row to the next.
    pub output_stride: usize,
    /// Width of the panel in vectors: 1 or 2.
    pub vectors: usize,
    /// Whether to add to what `output` holds, else it is overwritten.
    pub accumulate: bool,
    /// What all rows start with where they do not accumulate: the panel's width of values, or null for zeros.
    pub bias: *const f32,
}

/// Runs a product by register tiles.
///
/// # Safety
/// The processor has the instructions of `S`, and the job's pointers cover its extents.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(job: &TileProduct) {
    // Even heights: 51 rows become 13 + 13 + 13 + 12, not 14 + 14 + 14 + 9, which keeps all tiles efficient.
    let num_tiles = job.rows.div_ceil(S::ROWS);
    let mut first = 0;
    for tile in 1..=num_tiles {
        let end = tile * job.rows / num_tiles;
        let left_step = if job.transposed { 1 } else { job.left_stride };
        // SAFETY: `first` is below `rows`, so both stay inside the matrices.
        unsafe {
            let mut part = *job;
            part.rows = end - first;
            part.left = job.left.wrapping_add(first * left_step);
            part.output = job.output.wrapping_add(first * job.output_stride);
            match (job.vectors, job.transposed) {
                (1, false) => by_height::<S, 1, false>(&part),
                (1, true) => by_height::<S, 1, true>(&part),
                (_, false) => by_height::<S, 2, false>(&part),
                (_, true) => by_height::<S, 2, true>(&part),
            }
        }
        first = end;
    }
}

#[inline(always)]
unsafe fn by_height<S: Simd, const VECTORS: usize, const TRANSPOSED: bool>(job: &TileProduct) {
    // SAFETY: passed through from `product`.
    unsafe {
        match job.rows {
            1 => tile::<S, 1, VECTORS, TRANSPOSED>(job),
            2 => tile::<S, 2, VECTORS, TRANSPOSED>(job),
            3 => tile::<S, 3, VECTORS, TRANSPOSED>(job),
            4 => tile::<S, 4, VECTORS, TRANSPOSED>(job),
            5 => tile::<S, 5, VECTORS, TRANSPOSED>(job),
            6 => tile::<S, 6, VECTORS, TRANSPOSED>(job),
            7 => tile::<S, 7, VECTORS, TRANSPOSED>(job),
            8 => tile::<S, 8, VECTORS, TRANSPOSED>(job),
            9 => tile::<S, 9, VECTORS, TRANSPOSED>(job),
            10 => tile::<S, 10, VECTORS, TRANSPOSED>(job),
            11 => tile::<S, 11, VECTORS, TRANSPOSED>(job),
            12 => tile::<S, 12, VECTORS, TRANSPOSED>(job),
            13 => tile::<S, 13, VECTORS, TRANSPOSED>(job),
            14 => tile::<S, 14, VECTORS, TRANSPOSED>(job),
            _ => {}
        }
    }
}

/// Repeats a block for each row number below `ROWS`, as a literal: accumulators indexed by a loop variable would be
/// kept in memory, which costs a factor of two.
macro_rules! for_each_row {
    ($rows:ident, $row:ident => $body:block) => {
        for_each_row!(@unroll $rows, $row, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@unroll $rows:ident, $row:ident, $body:block, $($index:literal)*) => {
        $( if $index < $rows { const $row: usize = $index; $body } )*
    };
}

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const TRANSPOSED: bool>(job: &TileProduct) {
    if ROWS > S::ROWS {
        return; // never asked for; keeps the compiler from building tiles that do not fit the registers
    }
    // SAFETY: the job covers `ROWS` rows, `depth` sums and `VECTORS` vectors of each matrix.
    unsafe {
        let zero = S::splat(0.0);
        let mut sums = [[zero; 2]; 14];
        if job.accumulate {
            for_each_row!(ROWS, ROW => {
                sums[ROW][0] = S::load(job.output.wrapping_add(ROW * job.output_stride));
                if VECTORS == 2 {
                    sums[ROW][1] = S::load(job.output.wrapping_add(ROW * job.output_stride + S::LANES));
                }
            });
        } else if !job.bias.is_null() {
            let bias_0 = S::load(job.bias);
            let bias_1 = if VECTORS == 2 { S::load(job.bias.wrapping_add(S::LANES)) } else { zero };
            for_each_row!(ROWS, ROW => {
                sums[ROW] = [bias_0, bias_1];
            });
        }
        let stride = job.left_stride;
        // One pointer for three rows: x86 addresses base, base + stride and base + 2 * stride without arithmetic.
        let mut bases = [job.left; 5];
        if !TRANSPOSED {
            for (group, base) in bases.iter_mut().enumerate() {
                *base = job.left.wrapping_add(3 * group * stride);
            }
        }
        let mut right = job.right;
        for _ in 0..job.depth {
            let right_0 = S::load(right);
            let right_1 = if VECTORS == 2 { S::load(right.wrapping_add(S::LANES)) } else { zero };
            for_each_row!(ROWS, ROW => {
                let left = if TRANSPOSED {
                    bases[0].wrapping_add(ROW)
                } else {
                    bases[ROW / 3].wrapping_add(ROW % 3 * stride)
                };
                let left = S::broadcast(left);
                sums[ROW][0] = S::mul_add(left, right_0, sums[ROW][0]);
                if VECTORS == 2 {
                    sums[ROW][1] = S::mul_add(left, right_1, sums[ROW][1]);
                }
            });
            if TRANSPOSED {
                bases[0] = bases[0].wrapping_add(stride);
            } else {
                bases[0] = bases[0].wrapping_add(1);
                bases[1] = bases[1].wrapping_add(1);
                bases[2] = bases[2].wrapping_add(1);
                bases[3] = bases[3].wrapping_add(1);
                bases[4] = bases[4].wrapping_add(1);
            }
            right = right.wrapping_add(job.right_stride);
        }
        for_each_row!(ROWS, ROW => {
            S::store(job.output.wrapping_add(ROW * job.output_stride), sums[ROW][0]);
            if VECTORS == 2 {
                S::store(job.output.wrapping_add(ROW * job.output_stride + S::LANES), sums[ROW][1]);
            }
        });
    }
}
