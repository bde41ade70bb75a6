//! Packing: copies of row-major blocks in the order in which the register tile reads them.

use super::matrix::Panels;
use super::simd::Simd;
use super::simd_dispatch;
use std::ops::Range;

/// Lines of some values to copy, from one stride to another.
#[derive(Clone, Copy)]
struct Lines {
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
    count: usize,
    /// Values of a line that are copied.
    real: usize,
    /// Values of a line that are written, zeros behind the real ones.
    width: usize,
}

#[inline(always)]
unsafe fn copy_kernel<S: Simd>(lines: Lines) {
    // SAFETY: the caller's promise.
    unsafe {
        if lines.real == 2 * S::LANES && lines.width == lines.real {
            copy_vectors::<S, 2>(lines);
        } else if lines.real == S::LANES && lines.width == lines.real {
            copy_vectors::<S, 1>(lines);
        } else {
            for line in 0..lines.count {
                let target = lines.target.wrapping_add(line * lines.target_stride);
                let source = lines.source.wrapping_add(line * lines.source_stride);
                std::ptr::copy_nonoverlapping(source, target, lines.real);
                std::ptr::write_bytes(target.wrapping_add(lines.real), 0, lines.width - lines.real);
            }
        }
    }
}

#[inline(always)]
unsafe fn copy_vectors<S: Simd, const VECTORS: usize>(lines: Lines) {
    for line in 0..lines.count {
        let target = lines.target.wrapping_add(line * lines.target_stride);
        let source = lines.source.wrapping_add(line * lines.source_stride);
        for vector in 0..VECTORS {
            // SAFETY: a line has that many whole vectors on both sides.
            unsafe {
                S::store(target.wrapping_add(vector * S::LANES), S::load(source.wrapping_add(vector * S::LANES)))
            };
        }
    }
}

simd_dispatch! {
    /// # Safety
    /// The lines lie inside source and target, which do not overlap; nobody else uses the target meanwhile.
    fn copy_lines(lines: Lines) = copy_kernel
}

/// Lines that are copied to one panel after the other: few enough to stay in the first-level cache, so that the source
/// is fetched once and in the order of memory.
const LINES: usize = 16;

/// Copies `depth` lines, `stride` values apart, to the panels in the range, each `[depth, panel width]` from where
/// `target` says on, padded with zeros. `source` begins with the first line's first column of all panels.
///
/// # Panics
/// If the source ends before the last line's last column of these panels.
///
/// # Safety
/// Each target has the space and is nobody else's.
pub(crate) unsafe fn pack_panels(
    source: &[f32],
    stride: usize,
    depth: usize,
    panels: Panels,
    range: Range<usize>,
    target: impl Fn(usize) -> *mut f32,
) {
    let end = range.clone().last().map_or(0, |panel| panels.panel(panel).0 + panels.panel(panel).1);
    assert!(depth == 0 || source.len() >= (depth - 1) * stride + end);
    for first in (0..depth).step_by(LINES) {
        for panel in range.clone() {
            let (column, real, vectors) = panels.panel(panel);
            let width = vectors * panels.lanes;
            let lines = Lines {
                source: source[first * stride + column..].as_ptr(),
                source_stride: stride,
                target: target(panel).wrapping_add(first * width),
                target_stride: width,
                count: (depth - first).min(LINES),
                real,
                width,
            };
            // SAFETY: the source's length was checked; the target is the caller's promise.
            unsafe { copy_lines(lines) };
        }
    }
}

/// Copies `depth` lines of `rows` values, `stride` values apart, into strips of `height` values: per strip
/// `[depth, height]`.
///
/// # Panics
/// If source or target are shorter than that.
pub(crate) fn pack_strips(
    source: &[f32],
    stride: usize,
    (rows, height): (usize, usize),
    depth: usize,
    target: &mut [f32],
) {
    let copied = height.next_multiple_of(super::lanes());
    assert!(depth == 0 || source.len() >= (depth - 1) * stride + rows);
    assert!(target.len() >= rows.div_ceil(height) * height * depth);
    for first in (0..depth).step_by(LINES) {
        let count = (depth - first).min(LINES);
        for (strip, row) in (0..rows).step_by(height).enumerate() {
            let start = first * stride + row;
            // Whole vectors: what is copied beyond a strip's line is overwritten by its next. Behind a strip's last line
            // stands another strip, and behind the source's last values nothing.
            let with_room = (source.len() - start).checked_sub(copied).map_or(0, |room| room / stride + 1);
            let whole = with_room.min(count).min(depth - 1 - first);
            let lines = Lines {
                source: source[start..].as_ptr(),
                source_stride: stride,
                target: target[(strip * depth + first) * height..].as_mut_ptr(),
                target_stride: height,
                count: whole,
                real: copied,
                width: copied,
            };
            let real = (rows - row).min(height);
            let rest = Lines {
                source: lines.source.wrapping_add(whole * stride),
                target: lines.target.wrapping_add(whole * height),
                count: count - whole,
                real,
                width: real,
                ..lines
            };
            // SAFETY: the lines counted as whole have a whole vector in the source, the others their values; the
            // target's length was checked.
            unsafe {
                copy_lines(lines);
                copy_lines(rest);
            }
        }
    }
}
