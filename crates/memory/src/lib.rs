//! A global allocator that keeps large blocks for reuse.
//!
//! A training step allocates the same large tensors again and again. Giving each back to the operating system means
//! that its pages are cleared and mapped anew the next time, which costs more than much of the arithmetic done on them.
//! Blocks of [`SMALLEST`] bytes and more are kept in lists by size instead, up to a limit; smaller ones go straight to
//! the system's allocator. Whoever is done with a phase whose sizes will not come back, such as reading weights, gives
//! its blocks up with [`release_unused`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Smallest block that is kept, in bytes.
pub const SMALLEST: usize = 64 << 10;

/// Default limit on the bytes that are kept unused.
pub const DEFAULT_LIMIT: usize = 3 << 30;

/// Sizes are rounded up to eighths of a power of two: at most 12.5 % are lost.
const STEPS: usize = 8;

/// From 2^16 to 2^40 bytes.
const NUM_CLASSES: usize = STEPS * 25;

/// Blocks of one size that are kept; a deep network holds many tensors of one size at a time.
const BLOCKS_PER_CLASS: usize = 128;

/// From this size on, blocks are aligned to huge pages and ask for them: one page fault instead of 512.
const HUGE_PAGE: usize = 2 << 20;

/// Unused blocks of one size.
#[derive(Clone, Copy)]
struct Class {
    blocks: [usize; BLOCKS_PER_CLASS],
    count: usize,
}

struct State {
    classes: [Class; NUM_CLASSES],
    /// Bytes in all lists.
    kept: usize,
    /// The class that gives up blocks next when the limit is reached.
    next_victim: usize,
}

/// The allocator; install it in a binary with
/// ```no_run
/// #[global_allocator]
/// static ALLOCATOR: memory::CachingAllocator = memory::CachingAllocator;
/// # fn main() {}
/// ```
pub struct CachingAllocator;

/// What the binary's allocator keeps; empty where another one is installed.
static POOL: Pool = Pool::new();

/// Limits the bytes that [`CachingAllocator`] keeps unused, at first [`DEFAULT_LIMIT`]; 0 keeps nothing from now on.
pub fn limit_unused(bytes: usize) {
    POOL.set_limit(bytes);
}

/// Gives unused memory back to the system until at most `keep` bytes of it remain. Small blocks that were freed go back
/// too where `keep` is 0, as far as the system's allocator can tell.
pub fn release_unused(keep: usize) {
    POOL.lock().shrink_to(keep);
    if keep == 0 {
        trim_system();
    }
}

/// The GNU allocator keeps what is freed below a block in use, in an arena for each thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim_system() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: only pages that no block is in are given back; the function may be called on any thread.
    unsafe { malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim_system() {}

/// Blocks that nobody uses at present.
struct Pool {
    state: Mutex<State>,
    limit: AtomicUsize,
}

impl Pool {
    const fn new() -> Self {
        let class = Class { blocks: [0; BLOCKS_PER_CLASS], count: 0 };
        let state = State { classes: [class; NUM_CLASSES], kept: 0, next_victim: 0 };
        Self { state: Mutex::new(state), limit: AtomicUsize::new(DEFAULT_LIMIT) }
    }

    fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        let mut state = self.lock();
        state.shrink_to(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    /// Frees blocks, class by class in turn, until at most `limit` bytes are kept.
    fn shrink_to(&mut self, limit: usize) {
        while self.kept > limit {
            let class = self.next_victim % NUM_CLASSES;
            let list = &mut self.classes[class];
            if list.count == 0 {
                self.next_victim = class + 1;
                continue;
            }
            list.count -= 1;
            let block = list.blocks[list.count] as *mut u8;
            self.kept -= size_of_class(class);
            // SAFETY: every block in this list was allocated with this layout and is in no other place.
            unsafe { System.dealloc(block, layout_of_class(class)) };
        }
    }
}

/// The class of a block of `size` bytes: the smallest that holds it.
fn class_of(size: usize) -> usize {
    let bits = (size - 1).ilog2() as usize; // 2^bits < size <= 2^(bits + 1), or size = 1
    let step = (1usize << bits) / STEPS;
    // 2^16 itself is the last of the class below, which no size uses; count from there.
    (bits + 1 - SMALLEST.ilog2() as usize) * STEPS + (size - (1 << bits)).div_ceil(step) - STEPS
}

fn size_of_class(class: usize) -> usize {
    let bits = class.div_ceil(STEPS) + SMALLEST.ilog2() as usize - 1;
    let steps = class + STEPS - (bits + 1 - SMALLEST.ilog2() as usize) * STEPS;
    (1 << bits) + steps * ((1usize << bits) / STEPS)
}

fn layout_of_class(class: usize) -> Layout {
    let size = size_of_class(class);
    let alignment = if size >= HUGE_PAGE { HUGE_PAGE } else { 64 };
    // SAFETY: the alignment is a power of two; sizes end far below the largest possible.
    unsafe { Layout::from_size_align_unchecked(size, alignment) }
}

/// Whether blocks of this layout are kept.
fn is_kept(layout: &Layout) -> bool {
    layout.size() >= SMALLEST && layout.align() <= 64 && layout.size() <= 1 << 40
}

#[cfg(target_os = "linux")]
fn ask_for_huge_pages(block: *mut u8, size: usize) {
    unsafe extern "C" {
        fn madvise(start: *mut u8, len: usize, advice: i32) -> i32;
    }
    const MADV_HUGEPAGE: i32 = 14;
    // SAFETY: advice on a block of our own; refusal changes nothing.
    unsafe { madvise(block, size, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_block: *mut u8, _size: usize) {}

impl Pool {
    /// A kept block of the class, if there is one.
    fn take(&self, class: usize) -> Option<*mut u8> {
        let mut state = self.lock();
        let list = &mut state.classes[class];
        list.count = list.count.checked_sub(1)?;
        let block = list.blocks[list.count] as *mut u8;
        state.kept -= size_of_class(class);
        Some(block)
    }
}

// SAFETY: as for the pool.
unsafe impl GlobalAlloc for CachingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed through, as in the functions below.
        unsafe { POOL.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { POOL.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { POOL.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { POOL.realloc(block, layout, new_size) }
    }
}

// SAFETY: blocks come from the system's allocator with the layout of their class, which holds the layout asked for; a
// block is either in use or in exactly one list.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_kept(&layout) {
            // SAFETY: passed through.
            return unsafe { System.alloc(layout) };
        }
        let class = class_of(layout.size());
        self.take(class).unwrap_or_else(|| {
            let layout = layout_of_class(class);
            // SAFETY: the size is not zero.
            let block = unsafe { System.alloc(layout) };
            if layout.size() >= HUGE_PAGE && !block.is_null() {
                ask_for_huge_pages(block, layout.size());
            }
            block
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_kept(&layout) {
            // SAFETY: passed through.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // Not left to the system: for blocks aligned beyond 16 bytes the standard library clears the pages itself, before
        // they could be asked to be huge.
        // SAFETY: the block, if there is one, holds at least `layout.size()` bytes and is this caller's own.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_kept(&layout) {
            // SAFETY: passed through.
            return unsafe { System.dealloc(block, layout) };
        }
        let class = class_of(layout.size());
        let limit = self.limit.load(Ordering::Relaxed);
        {
            let mut state = self.lock();
            let size = size_of_class(class);
            let list = &mut state.classes[class];
            if size <= limit && list.count < BLOCKS_PER_CLASS {
                list.blocks[list.count] = block as usize;
                list.count += 1;
                state.kept += size;
                state.shrink_to(limit);
                return;
            }
        }
        // SAFETY: the block was allocated with the layout of its class.
        unsafe { System.dealloc(block, layout_of_class(class)) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the new size is valid for the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !is_kept(&layout) && !is_kept(&new_layout) {
            // SAFETY: passed through.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        if is_kept(&layout) && is_kept(&new_layout) && class_of(layout.size()) == class_of(new_size) {
            return block;
        }
        // SAFETY: both blocks hold the bytes copied; the old one is given up.
        unsafe {
            let new_block = self.alloc(new_layout);
            if !new_block.is_null() {
                new_block.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new_block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).unwrap()
    }

    #[test]
    fn classes_hold_their_sizes_and_waste_little() {
        let mut last = 0;
        for size in (SMALLEST..8 << 20).step_by(4093).chain([SMALLEST, SMALLEST + 1, 1 << 20, (1 << 20) + 1, 1 << 40]) {
            let class = class_of(size);
            assert!(class < NUM_CLASSES);
            let held = size_of_class(class);
            assert!(held >= size && held <= size + size / STEPS + 1, "{size} -> {held}");
            assert_eq!(class_of(held), class);
            last = last.max(class);
        }
        assert_eq!(last, class_of(1 << 40));
    }

    #[test]
    fn blocks_come_back_and_zeroed_ones_are_zero() {
        let allocator = Pool::new();
        // SAFETY: each block is used within its layout and freed with it.
        unsafe {
            let first = allocator.alloc(layout(100_000));
            first.write_bytes(7, 100_000);
            allocator.dealloc(first, layout(100_000));
            assert!(allocator.lock().kept >= 100_000);
            let second = allocator.alloc_zeroed(layout(99_000)); // the same class
            assert_eq!(second, first);
            assert!(std::slice::from_raw_parts(second, 99_000).iter().all(|&byte| byte == 0));
            assert_eq!(allocator.lock().kept, 0);
            second.write(42);
            let third = allocator.realloc(second, layout(99_000), 5_000_000);
            assert_eq!(third.read(), 42);
            assert_eq!(third as usize % HUGE_PAGE, 0);
            let fourth = allocator.realloc(third, layout(5_000_000), 1000);
            assert_eq!(fourth.read(), 42);
            allocator.dealloc(fourth, layout(1000));
            allocator.set_limit(0);
            assert_eq!(allocator.lock().kept, 0);
        }
    }

    #[test]
    fn the_limit_holds_and_old_sizes_make_room() {
        let allocator = Pool::new();
        allocator.set_limit(1 << 20);
        // SAFETY: as above.
        unsafe {
            let many: Vec<_> = (0..32).map(|_| allocator.alloc(layout(70_000))).collect();
            for block in many {
                allocator.dealloc(block, layout(70_000));
                assert!(allocator.lock().kept <= 1 << 20);
            }
            let large = allocator.alloc(layout(900_000));
            allocator.dealloc(large, layout(900_000));
            assert!(allocator.lock().kept <= 1 << 20);
            let again = allocator.alloc(layout(900_000));
            assert_eq!(again, large, "the new size displaces the old one");
            allocator.dealloc(again, layout(900_000));
            allocator.set_limit(0);
        }
    }
}
