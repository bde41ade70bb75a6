//! Temporary names: how they are made, held, recognised, and swept away.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Error, Result};

const PREFIX: &str = ".tmp-";

/// Bytes of the target's name that a temporary name repeats at most: file systems allow 255 in all.
const MAX_NAME: usize = 180;

/// Where no lock tells whether the owner lives, a file that nobody has changed for so long is a leftover.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes what killed processes left behind in `dir` and in all folders inside it: files and folders with a temporary
/// name that no living process holds. Symbolic links are not followed. Everything else stays.
///
/// # Errors
/// [`Error::Io`]; a folder that does not exist is no error.
pub fn sweep(dir: impl AsRef<Path>) -> Result<()> {
    sweep_folder(dir.as_ref(), true)
}

/// Whether the name is that of an unfinished write: `.tmp-NAME-PROCESS-COUNT`.
pub fn is_temporary(path: &Path) -> bool {
    let is_number = |part: Option<&str>| {
        part.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().rsplitn(3, '-');
        is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some()
    })
}

/// Makes a file with a temporary name beside `target` that is this process's alone. As long as the handle is open, no
/// sweep touches the file.
pub(crate) fn new_file(target: &Path) -> io::Result<(File, PathBuf)> {
    sweep_once(parent(target));
    loop {
        let path = next_name(target);
        let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        if hold(&file) && path.exists() {
            return Ok((file, path));
        }
        // A sweep came between making the file and locking it.
    }
}

/// As [`new_file`], a folder. `None` where the system has no handles of folders.
pub(crate) fn new_folder(target: &Path) -> io::Result<(Option<File>, PathBuf)> {
    sweep_once(parent(target));
    loop {
        let path = next_name(target);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            result => result?,
        }
        let handle = File::open(&path).ok();
        if handle.as_ref().is_none_or(hold) && path.exists() {
            return Ok((handle, path));
        }
    }
}

/// A name in the same folder that no other write in this process has.
pub(crate) fn next_name(target: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    target.with_file_name(format!("{PREFIX}{name}-{}-{count}", std::process::id()))
}

/// The folder that a path lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Locks a temporary file or folder for the life of the handle; false where a sweep has just taken it. File systems
/// without locks grant it; on Windows, whose locks would keep the process itself from writing, none is taken.
pub(crate) fn hold(file: &File) -> bool {
    cfg!(windows) || !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Sweeps a folder, but not those inside it, before this process's first write into it. What cannot be removed is left:
/// it must not keep anybody from writing.
fn sweep_once(dir: &Path) {
    static SWEPT: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if swept.get_or_insert_default().insert(dir.to_path_buf()) {
        // Others wait for the sweep to end, which is short.
        let _ = sweep_folder(dir, false);
    }
}

fn sweep_folder(dir: &Path, inner: bool) -> Result<()> {
    let unreadable = Error::io("read the folder", dir);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.map_err(unreadable)?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("read the folder", dir))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io("read the folder", dir))?);
        if is_temporary(&path) && (kind.is_file() || kind.is_dir()) {
            remove_if_abandoned(&path, kind.is_dir()).map_err(Error::io("remove the leftover", &path))?;
        } else if inner && kind.is_dir() {
            sweep_folder(&path, inner)?;
        }
    }
    Ok(())
}

fn remove_if_abandoned(path: &Path, is_dir: bool) -> io::Result<()> {
    // Held while it is removed, so that a new owner of the name sees that it was taken away.
    let handle = OpenOptions::new().read(true).write(!is_dir).open(path).ok();
    let is_abandoned = match handle.as_ref().filter(|_| cfg!(not(windows))).map(File::try_lock) {
        Some(Ok(())) => true,
        Some(Err(TryLockError::WouldBlock)) => false,
        Some(Err(TryLockError::Error(_))) | None => fs::symlink_metadata(path).is_ok_and(|found| is_old(&found)),
    };
    if !is_abandoned {
        return Ok(());
    }
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        // Its owner, or another sweep, was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn is_old(found: &Metadata) -> bool {
    found.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > ABANDONED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AtomicFile, AtomicFolder};
    use std::io::Write as _;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_whole_temporary_names_are_recognised() {
        let target = Path::new("folder/step-1");
        assert!(is_temporary(&next_name(target)), "{:?}", next_name(target));
        let long = "x".repeat(254) + "ü";
        assert!(next_name(Path::new(&long)).as_os_str().len() < 255);
        for name in [".tmp-x-1-2", ".tmp-images-00009.safetensors-1-1", ".tmp---1-1"] {
            assert!(is_temporary(Path::new(name)), "{name}");
        }
        for name in ["x", ".tmp", ".tmp-", ".tmp-x", ".tmp-1-2", ".tmp-x-1", ".tmp-x-1-", ".tmp-x-a-1", "a.tmp-x-1-2"] {
            assert!(!is_temporary(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn leftovers_at_any_depth_are_swept_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at(".tmp-x-1-2"), "half").unwrap();
        fs::create_dir_all(at(".tmp-folder-1-2/inner")).unwrap();
        fs::create_dir_all(at("png/deeper")).unwrap();
        fs::write(at("png/deeper/.tmp-a.png-1-2"), "half").unwrap();
        fs::write(at("png/.tmp-notes"), "a user's").unwrap();
        fs::write(at("keep"), "whole").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["keep", "png"]);
        assert_eq!(names(&at("png")), [".tmp-notes", "deeper"]);
        assert_eq!(names(&at("png/deeper")), [""; 0]);
        sweep(at("missing")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_somebody_is_writing_is_not_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(dir.path().join("a.bin")).unwrap();
        file.write_all(b"whole").unwrap();
        let folder = AtomicFolder::create(dir.path().join("b")).unwrap();
        fs::write(folder.path().join("inner"), "x").unwrap();
        sweep(dir.path()).unwrap();
        file.commit().unwrap();
        folder.commit().unwrap();
        assert_eq!(names(dir.path()), ["a.bin", "b"]);
        assert_eq!(names(&dir.path().join("b")), ["inner"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_with_a_temporary_name_are_left_alone_and_not_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join(".tmp-x-1-2"), "half").unwrap();
        for name in ["link", ".tmp-link-1-2"] {
            std::os::unix::fs::symlink(other.path(), dir.path().join(name)).unwrap();
        }
        sweep(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".tmp-link-1-2", "link"]);
        assert_eq!(names(other.path()), [".tmp-x-1-2"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_first_write_into_a_folder_removes_its_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".tmp-gone.png-1-2"), "half").unwrap();
        crate::write_file(dir.path().join("here.png"), b"whole").unwrap();
        assert_eq!(names(dir.path()), ["here.png"]);
    }

    /// Threads that write and threads that sweep one folder: no write may fail.
    #[cfg(unix)]
    #[test]
    fn sweeps_and_writes_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    for number in 0..100 {
                        let path = dir.join(format!("{thread}-{number}"));
                        crate::write_file(&path, path.to_string_lossy().as_bytes()).unwrap();
                        let folder = AtomicFolder::create(dir.join(format!("f{thread}-{number}"))).unwrap();
                        folder.commit().unwrap();
                    }
                });
                scope.spawn(move || (0..200).for_each(|_| sweep(dir).unwrap()));
            }
        });
        assert_eq!(names(dir.path()).len(), 800);
    }
}
