//! Buffers: outputs that are written once by many tasks, and scratch memory that is used again.

use std::cell::RefCell;
use std::marker::PhantomData;

/// A cache line of values: what scratch memory is made of, so that vectors never straddle two lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Scratch memory with unspecified contents, returned to its thread when dropped.
///
/// A thread may hold several at a time: a worker that waits for others can be given another task in between.
pub(crate) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

impl Scratch {
    /// Memory for `len` values, aligned to a cache line.
    pub(crate) fn take(len: usize) -> Self {
        let needed = len.div_ceil(16);
        let mut lines = FREE
            .with_borrow_mut(|free| {
                // The smallest that fits, else the largest, which then grows.
                let fitting = (0..free.len()).filter(|&i| free[i].len() >= needed).min_by_key(|&i| free[i].len());
                let chosen = fitting.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
                chosen.map(|i| free.swap_remove(i))
            })
            .unwrap_or_default();
        if lines.len() < needed {
            lines.clear(); // nothing worth copying
            lines.resize(needed, Line([0.0; 16]));
        }
        Self { lines, len }
    }

    /// First value; valid for the length asked for.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }

    /// The values, writable.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: the lines are initialised arrays of f32 and cover `len` values.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    /// The values.
    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // At most this many bytes stay with a thread; larger buffers go back to the allocator.
        const MOST_KEPT: usize = 12;
        // A thread that is ending has no list any more; then the memory is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < MOST_KEPT {
                free.push(lines);
            }
        });
    }
}

/// A buffer that tasks on several threads write to, each in places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: only pointers leave this type; whoever writes through them promises that no two tasks touch one place.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares a slice.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), lifetime: PhantomData }
    }

    /// Pointer to the value at `offset`.
    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.start.wrapping_add(offset)
    }
}

/// A vector of `len` values that `fill` writes completely, without zeroing the memory first.
///
/// # Safety
/// `fill` must write all `len` values.
pub(crate) unsafe fn filled_by(len: usize, fill: impl FnOnce(Shared<'_>)) -> Vec<f32> {
    // SAFETY: the caller's promise.
    let [values] = unsafe { all_filled_by([len], |[values]| fill(values)) };
    values
}

/// [`filled_by`] for several vectors at a time.
///
/// # Safety
/// `fill` must write all values of all vectors.
pub(crate) unsafe fn all_filled_by<const N: usize>(
    lens: [usize; N],
    fill: impl FnOnce([Shared<'_>; N]),
) -> [Vec<f32>; N] {
    let mut all = lens.map(Vec::<f32>::with_capacity);
    fill(
        all.each_mut()
            .map(|values| Shared { start: values.spare_capacity_mut().as_mut_ptr().cast(), lifetime: PhantomData }),
    );
    for (values, len) in all.iter_mut().zip(lens) {
        // SAFETY: the capacity is there and the caller promises that the values are.
        unsafe { values.set_len(len) };
    }
    all
}
