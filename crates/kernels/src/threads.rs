//! The threads that the kernels work on.

use std::num::NonZeroUsize;

/// Starts the threads that kernels, and everything else that uses rayon's global pool, share in this process: as many as
/// asked for, or one for each processor. The thread that calls this is one of them. Then nothing is handed over between
/// it and the others: that takes as long as a small operation, and the scheduler often leaves two of them on one
/// processor for it. To be called once, before any kernel.
///
/// # Errors
/// The threads were started before, or the system refuses them.
pub fn start_threads(threads: Option<NonZeroUsize>) -> Result<(), rayon::ThreadPoolBuildError> {
    // Rayon understands 0 as one for each processor.
    let threads = threads.map_or(0, NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()
}
