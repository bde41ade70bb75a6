//! Where results go: asked for before the work that makes them, so that hours of work do not end at a name.

use std::path::Path;

use crate::{Error, Result, check_writable, is_temporary};

/// Refuses a folder that cannot be made or written into. Nothing is left behind.
///
/// # Errors
/// A file of this name, a place where nothing may be written.
pub fn check_folder(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() {
        return Err(Error::place("the folder for the results has no name; give one with `--out`", folder));
    }
    if folder.exists() && !folder.is_dir() {
        return Err(Error::place("a file has the name of the folder for the results; choose another folder", folder));
    }
    check_writable(folder)
}

/// The same for a folder that must be new or empty.
///
/// # Errors
/// Those of [`check_folder`], and what is there already.
pub fn check_new_folder(folder: &Path) -> Result<()> {
    check_folder(folder)?;
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(Error::io("read the folder", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Locks and what a kill left are nobody's; `partial` is where a dataset begins, before it says what it is.
        if name != ".lock" && name != "partial" && !is_temporary(&path) {
            let reason = format!("the folder holds other files, for example `{name}`; choose a new or empty folder");
            return Err(Error::place(reason, folder));
        }
    }
    Ok(())
}

/// Refuses a file that cannot be written; see [`write_file`]. Nothing is left behind.
///
/// # Errors
/// A folder of this name, a place where nothing may be written.
pub fn check_file(file: &Path) -> Result<()> {
    if file.file_name().is_none() || file.is_dir() {
        return Err(Error::place("the result is a file, and this is a folder; give the name of a file", file));
    }
    check_writable(folder_of(file))
}

/// Writes a file into a folder that is made where it is missing.
///
/// # Errors
/// A disk that is full or refuses.
pub fn write_file(file: &Path, bytes: &[u8]) -> Result<()> {
    make_folder(folder_of(file))?;
    crate::write_file(file, bytes)
}

/// Makes a folder, with those above it.
///
/// # Errors
/// A disk that is full or refuses.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))
}

/// The folder that a file lies in; the current one for a bare name.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_where_nothing_can_be_written_are_refused_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        for good in ["new", "new/deeper", ""] {
            check_folder(&at(good)).unwrap();
            check_file(&at("new").join(good).join("x.json")).unwrap();
        }
        for bad in ["file", "file/deeper"] {
            let error = check_folder(&at(bad)).unwrap_err().to_string();
            assert!(error.contains("is a file") || error.contains("a file has the name"), "{error}");
        }
        assert!(check_file(dir.path()).unwrap_err().to_string().contains("give the name of a file"));
        assert!(check_file(&at("file/x.json")).is_err());
        assert!(check_new_folder(dir.path()).unwrap_err().to_string().contains("`file`"));
        check_new_folder(&at("new")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
