//! Writes that a kill, a crash or a full disk cannot leave half done: the one way in which this workspace puts files
//! and folders on the disk.
//!
//! Everything is written under a temporary name in the same folder, flushed to the disk, renamed, and the folder's own
//! entry flushed: whoever looks sees the old state or the new one.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`write_file`], [`AtomicFile`] | one file |
//! | [`AtomicFolder`] | a folder with everything in it |
//! | [`sweep`] | removes what killed processes left behind |
//! | [`FolderLock`] | the right to write into a folder |
//! | [`outputs`], [`check_writable`] | places for results, asked about before the work |
//! | [`DoneList`] | what a stage has finished, line by line |
//!
//! Two more things that many crates need stand here: [`tensors`], the one reader and writer of safetensors files, and
//! [`fingerprint()`], names for content.
//!
//! There is one rule for temporary names, `.tmp-NAME-PROCESS-COUNT`. The file or folder is locked as long as its
//! process lives, so a leftover can be told from the work of another process: it has such a name and nobody holds it.
//! The first write into a folder removes the leftovers in it; a command that owns a folder sweeps all of it when it
//! begins.
//!
//! Two kinds of files are not written this way, because they grow line by line: logs (`metrics.jsonl`, `cells.jsonl`,
//! `segments.jsonl`) and TensorBoard's events. Their readers leave out a last line or record that was cut short.

mod atomic;
mod done_list;
mod error;
mod fingerprint;
mod lock;
pub mod outputs;
mod temporary;
pub mod tensors;
mod writable;

pub use atomic::{AtomicFile, AtomicFolder, write_file};
pub use done_list::{Damaged, DoneList};
pub use error::{Error, Result};
pub use fingerprint::{FINGERPRINT_LEN, fingerprint, fingerprint_bytes, first_digits, hash_file, hex};
pub use lock::FolderLock;
pub use temporary::{is_temporary, sweep};
pub use tensors::{TensorFile, TensorToWrite, write_tensors};
pub use writable::check_writable;
