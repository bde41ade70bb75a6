//! DICOMDIR files among the images: no images themselves, but they know which files a medium should have.

use std::collections::HashSet;
use std::path::Path;

use radiograph::dicom_directory;

use crate::archive::FileSource;

/// The name that the standard prescribes, in whatever case file systems make of it.
const NAME: &str = "DICOMDIR";

/// Directories of whole hospital archives have some hundred megabytes.
const MAX_BYTES: u64 = 1 << 30;

/// What a file is.
pub(super) enum Directory {
    /// No directory.
    None,
    /// A directory, and all that it names is there.
    Complete,
    /// A directory, with a sentence about what is not there.
    Lacks(String),
}

/// Looks at a file that is named like a directory. One that cannot be read as such is left to whoever decodes it.
pub(super) fn check(file: &FileSource) -> Directory {
    let is_named = |name: &str| name.eq_ignore_ascii_case(NAME);
    let has_name = match file {
        FileSource::Disk(path) => path.file_name().is_some_and(|name| is_named(&name.to_string_lossy())),
        FileSource::Member(archive, number) => archive.name(*number).rsplit('/').next().is_some_and(is_named),
    };
    if !has_name {
        return Directory::None;
    }
    let bytes = file.read_bytes(MAX_BYTES);
    let Some(named) = bytes.ok().and_then(|bytes| dicom_directory(&bytes).ok().flatten()) else {
        return Directory::None;
    };
    let missing: Vec<&String> = match file {
        FileSource::Disk(path) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            named.iter().filter(|name| !is_on_disk(folder, name)).collect()
        }
        FileSource::Member(archive, number) => {
            let own = archive.name(*number);
            let folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
            let there: HashSet<String> = archive.below(folder).map(|(_, name)| name.to_lowercase()).collect();
            named.iter().filter(|name| !there.contains(&name.to_lowercase())).collect()
        }
    };
    match missing.first() {
        None => Directory::Complete,
        Some(example) => Directory::Lacks(format!(
            "it names {} files, of which {} are not there (for example {example}); copy the medium again, or go on without",
            named.len(),
            missing.len()
        )),
    }
}

/// Media have names in capitals, which some systems show in lower case.
fn is_on_disk(folder: &Path, name: &str) -> bool {
    let is_inside = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_inside && (folder.join(name).is_file() || folder.join(name.to_lowercase()).is_file())
}
