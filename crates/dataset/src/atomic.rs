//! Writes that a kill, a crash or a full disk cannot leave half done.
//!
//! Everything is written under a temporary name in the same folder, flushed to the disk, renamed, and the folder's own
//! entry flushed: whoever looks sees the old state or the new one. Temporary names begin with `.tmp-`, so leftovers of
//! a kill are recognised, ignored by readers and removed by the next writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

const TEMPORARY_PREFIX: &str = ".tmp-";

/// Writes `bytes` to the file `path`, replacing it in one step.
///
/// # Errors
/// [`Error::Io`]; the former file, where there was one, is untouched then.
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write the file", path))?;
    file.commit()
}

/// A file under a temporary name, buffered; [`AtomicFile::commit`] gives it its own. Dropped without, it vanishes.
#[derive(Debug)]
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Begins the file that will be at `path`, whose folder must exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let target = path.as_ref().to_path_buf();
        let temporary = temporary_name(&target);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(Error::io("write the file", &target))?;
        Ok(Self { writer: Some(BufWriter::with_capacity(1 << 18, file)), temporary, target })
    }

    /// Writes over the first bytes, which must be there; to be called last.
    pub(crate) fn overwrite_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |writer| {
            writer.seek(SeekFrom::Start(0))?;
            writer.write_all(bytes)
        })
    }

    /// Flushes to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary file is removed then.
    pub fn commit(mut self) -> Result<()> {
        self.try_commit().map_err(Error::io("write the file", &self.target))
    }

    fn try_commit(&mut self) -> io::Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush()?;
            writer.get_ref().sync_all()?;
        }
        fs::rename(&self.temporary, &self.target)?;
        sync_parent(&self.target);
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the name is free or belongs to nobody: failing to remove it is what is hoped for.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A folder under a temporary name; [`AtomicFolder::commit`] gives it its own. Dropped without, it vanishes.
#[derive(Debug)]
pub struct AtomicFolder {
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFolder {
    /// Begins the folder that will be at `path`; missing parents are made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let target = path.as_ref().to_path_buf();
        let temporary = temporary_name(&target);
        fs::create_dir_all(&temporary).map_err(Error::io("make the folder", &target))?;
        Ok(Self { temporary, target })
    }

    /// Where to put the folder's files for now.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes every file inside to the disk and gives the folder its name; a folder that has the name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary folder is removed then.
    pub fn commit(self) -> Result<()> {
        self.try_commit().map_err(Error::io("write the folder", &self.target))
    }

    fn try_commit(&self) -> io::Result<()> {
        sync_tree(&self.temporary)?;
        // A folder cannot be renamed onto a full one. Between the two renames the name is missing, never half filled;
        // the old content waits under a temporary name.
        let displaced = temporary_name(&self.target);
        let had_former = match fs::rename(&self.target, &displaced) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            if had_former {
                let _ = fs::rename(&displaced, &self.target);
            }
            return Err(error);
        }
        sync_parent(&self.target);
        if had_former {
            fs::remove_dir_all(&displaced)?;
        }
        Ok(())
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Removes what killed writers left behind directly inside `dir`. Only for folders that this process holds the
/// [`FolderLock`] of.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_leftovers(dir: impl AsRef<Path>) -> Result<()> {
    let dir = dir.as_ref();
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        if is_temporary(&path) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("remove the leftover", &path))?;
        }
    }
    Ok(())
}

/// Whether the name is that of an unfinished write.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX))
}

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

/// A name in the same folder that no other write in this or another process has.
fn temporary_name(target: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{TEMPORARY_PREFIX}{name}-{}-{count}", std::process::id()))
}

/// Flushes all files below `dir`, so that a rename cannot reach the disk before they do.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            // Windows wants write access for a flush.
            OpenOptions::new().read(true).write(true).open(&path)?.sync_all()?;
        }
    }
    sync_dir(dir);
    Ok(())
}

fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    }
}

/// Best effort: some file systems, and Windows, do not flush folders; the rename itself has happened.
fn sync_dir(dir: &Path) {
    if let Ok(handle) = File::open(dir) {
        let _ = handle.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_abandoned_file_leaves_the_former_one_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        write_file(&path, b"first").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write_file(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(dir.path()), ["a.bin"]);
    }

    #[test]
    fn a_folder_appears_whole_and_replaces_its_former_self() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("step-1");
        for (name, content) in [("old", "1"), ("new", "2")] {
            let folder = AtomicFolder::create(&target).unwrap();
            fs::create_dir(folder.path().join("inner")).unwrap();
            fs::write(folder.path().join("inner").join(name), content).unwrap();
            let visible_before = target.exists();
            assert_eq!(visible_before, name == "new");
            folder.commit().unwrap();
        }
        assert_eq!(names(&target.join("inner")), ["new"]);
        assert_eq!(names(dir.path()), ["step-1"]);
    }

    #[test]
    fn leftovers_of_a_kill_are_removed_and_other_files_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".tmp-x-1-2"), "half").unwrap();
        fs::create_dir_all(dir.path().join(".tmp-folder-1-2/inner")).unwrap();
        fs::write(dir.path().join("keep"), "whole").unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["keep"]);
    }

    #[test]
    fn a_missing_folder_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_file(dir.path().join("no/such/file"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write the file: it does not exist; check the path"), "{error}");
    }

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(dir.path()).unwrap();
        assert!(matches!(FolderLock::acquire(dir.path()), Err(Error::Locked { .. })));
        drop(lock);
        FolderLock::acquire(dir.path()).unwrap();
    }
}
