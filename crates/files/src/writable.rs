//! Whether a folder can be written, asked before the work whose result goes there.

use std::path::{Path, PathBuf};

use crate::{AtomicFile, Error, Result};

/// Refuses a folder that cannot be made or written into, by writing nothing into the nearest folder that exists.
/// Permissions alone do not tell: whether a disk can be written to shows when one tries. Nothing is left behind.
///
/// # Errors
/// [`Error::Io`]: a part of the path is a file, or nothing may be written there.
pub fn check_writable(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let mut place = PathBuf::from(folder);
    while !place.exists() {
        if !place.pop() || place.as_os_str().is_empty() {
            place = PathBuf::from(".");
        }
    }
    if !place.is_dir() {
        return Err(Error::io("write to the folder", folder)(std::io::ErrorKind::NotADirectory.into()));
    }
    AtomicFile::create(place.join("writable")).map(drop).map_err(|error| match error {
        Error::Io { source, .. } => Error::io("write to the folder", folder)(source),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_where_nothing_can_be_written_are_refused_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        for good in ["", "new", "new/deeper"] {
            check_writable(dir.path().join(good)).unwrap();
        }
        for bad in ["file", "file/deeper"] {
            let error = check_writable(dir.path().join(bad)).unwrap_err().to_string();
            assert!(error.contains("is a file") && error.ends_with(bad), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
