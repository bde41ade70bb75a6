//! The lock of a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// The right to write into a folder, held until dropped (or the process ends, however it ends).
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of the existing folder `dir`, by way of a file `.lock` inside it. File systems without locks
    /// (some network mounts) grant it to everybody.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it, [`Error::Io`].
    pub fn acquire(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let path = dir.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("write to the folder", dir))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_path_buf() }),
            Err(TryLockError::Error(_)) | Ok(()) => Ok(Self { _file: file }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(dir.path()).unwrap();
        assert!(matches!(FolderLock::acquire(dir.path()), Err(Error::Locked { .. })));
        drop(lock);
        FolderLock::acquire(dir.path()).unwrap();
    }
}
