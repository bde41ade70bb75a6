//! A file, and a folder, that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::temporary::{hold, new_file, new_folder, next_name, parent};
use crate::{Error, Result};

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
    /// Its handle holds the temporary name against sweeps.
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
        let (file, temporary) = new_file(&target).map_err(Error::io("write the file", &target))?;
        Ok(Self { writer: Some(BufWriter::with_capacity(1 << 18, file)), temporary, target })
    }

    /// Where the file lies for now, for a library that writes to paths alone. It may open and fill the file, but not
    /// replace it; nothing may be written through this value then.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Writes over the first bytes, which must be there; to be called last.
    ///
    /// # Errors
    /// The operating system's.
    pub fn overwrite_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writer = self.writer()?;
        writer.seek(SeekFrom::Start(0))?;
        writer.write_all(bytes)
    }

    /// Flushes to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary file is removed then.
    pub fn commit(mut self) -> Result<()> {
        self.try_commit().map_err(Error::io("write the file", &self.target))
    }

    fn try_commit(&mut self) -> io::Result<()> {
        let writer = self.writer()?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        if cfg!(windows) {
            // An open file cannot be renamed there.
            self.writer = None;
        }
        fs::rename(&self.temporary, &self.target)?;
        sync_dir(parent(&self.target))
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| ErrorKind::BrokenPipe.into())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the name is free: failing to remove it is what is hoped for.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A folder under a temporary name; [`AtomicFolder::commit`] gives it its own. Dropped without, it vanishes.
#[derive(Debug)]
pub struct AtomicFolder {
    /// Holds the temporary name against sweeps.
    _handle: Option<File>,
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
        let begun = fs::create_dir_all(parent(&target)).and_then(|()| new_folder(&target));
        let (_handle, temporary) = begun.map_err(Error::io("make the folder", &target))?;
        Ok(Self { _handle, temporary, target })
    }

    /// Where to put the folder's files for now.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes every file inside to the disk and gives the folder its name; a folder that has the name is replaced, in
    /// one step where the file system can.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary folder is removed then.
    pub fn commit(self) -> Result<()> {
        self.try_commit().map_err(Error::io("write the folder", &self.target))
    }

    fn try_commit(&self) -> io::Result<()> {
        sync_tree(&self.temporary)?;
        let former = replace_folder(&self.temporary, &self.target)?;
        sync_dir(parent(&self.target))?;
        match former.map(fs::remove_dir_all) {
            // Another process that swept was faster.
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Gives a folder the name `target`, and says where the one lies that had it.
fn replace_folder(folder: &Path, target: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(target).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        fs::rename(folder, target)?;
        return Ok(None);
    }
    if exchange(folder, target) {
        return Ok(Some(folder.to_path_buf()));
    }
    // A folder cannot be renamed onto a full one. Between the two renames the name is missing, never half filled; the
    // old content waits under a temporary name, held against sweeps.
    let handle = File::open(target).ok();
    let _ = handle.as_ref().is_none_or(hold);
    let displaced = next_name(target);
    fs::rename(target, &displaced)?;
    if let Err(error) = fs::rename(folder, target) {
        let _ = fs::rename(&displaced, target);
        return Err(error);
    }
    Ok(Some(displaced))
}

/// Swaps the names of two folders in one step; false where the system or the file system cannot.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn exchange(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn exchange(_one: &Path, _other: &Path) -> bool {
    false
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
    sync_dir(dir)
}

/// Flushes a folder's entries. Some file systems, and Windows, cannot; the rename itself has happened.
fn sync_dir(dir: &Path) -> io::Result<()> {
    use ErrorKind::{InvalidInput, IsADirectory, PermissionDenied, Unsupported};
    match File::open(dir).and_then(|handle| handle.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | IsADirectory | PermissionDenied | Unsupported) => Ok(()),
        result => result,
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
    fn a_library_may_fill_the_file_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = AtomicFile::create(dir.path().join("a.bin")).unwrap();
        fs::write(file.path(), b"whole").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["a.bin"]);
    }

    /// Results are to be readable like any other file, less the umask.
    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        write_file(dir.path().join("ours"), b"x").unwrap();
        fs::write(dir.path().join("other"), b"x").unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("ours"), mode("other"));
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

    #[cfg(target_os = "linux")]
    #[test]
    fn two_folders_swap_their_names_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        fs::create_dir_all(one.join("1")).unwrap();
        fs::create_dir_all(other.join("2")).unwrap();
        assert!(exchange(&one, &other));
        assert_eq!((names(&one), names(&other)), (vec!["2".to_owned()], vec!["1".to_owned()]));
        assert!(!exchange(&one, &dir.path().join("missing")));
    }

    #[test]
    fn a_missing_folder_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_file(dir.path().join("no/such/file"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write the file: it does not exist; check the path"), "{error}");
    }
}
