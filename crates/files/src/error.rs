//! What the operating system refuses, as sentences with the remedy, path last.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action}: {}: {}", describe(action, source), path.display())]
    Io {
        /// What was attempted, as a verb phrase: `write the file`.
        action: &'static str,
        /// The operating system's reason.
        source: io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// Results cannot go to the place that was given.
    #[error("{reason}: {}", path.display())]
    Place {
        /// Why not, and what to give instead.
        reason: String,
        /// The file or folder.
        path: PathBuf,
    },
    /// A file that is damaged, cut short or of the wrong kind.
    #[error("the {what} is damaged, cut short or not what it should be ({detail}); {remedy}: {}", path.display())]
    Damaged {
        /// What the file is: `safetensors file`, ...
        what: &'static str,
        /// What was found.
        detail: String,
        /// What to do, as an imperative.
        remedy: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Data of the wrong size was handed over.
    #[error("{what} has {found} values, expected {expected}")]
    Size {
        /// What was handed over.
        what: String,
        /// The number of values required.
        expected: usize,
        /// The number of values given.
        found: usize,
    },
    /// A list of what is finished has a line that cannot be read.
    #[error(
        "line {line} of what is finished is damaged ({source}); delete the line to have that repeated: {}",
        path.display()
    )]
    DamagedLine {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
        /// The list.
        path: PathBuf,
    },
    /// A record cannot be written as JSON.
    #[error("the record cannot be written as JSON ({source}): {}", path.display())]
    Record {
        /// Why.
        source: serde_json::Error,
        /// The list.
        path: PathBuf,
    },
    /// Another process writes into the same folder.
    #[error("another process is writing here; wait for it, or choose another folder: {}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl Error {
    /// A damaged file, what was found in it, and the remedy.
    pub fn damaged(what: &'static str, remedy: &'static str, path: &Path, detail: impl ToString) -> Self {
        Self::Damaged { what, detail: detail.to_string(), remedy, path: path.to_path_buf() }
    }

    pub(crate) fn place(reason: impl Into<String>, path: &Path) -> Self {
        Self::Place { reason: reason.into(), path: path.into() }
    }

    /// Makes the operating system's reason a sentence: `.map_err(Error::io("write the file", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, source, path }
    }
}

/// The operating system's reason with the remedy, for the reasons that have one.
fn describe(action: &str, error: &io::Error) -> String {
    use io::ErrorKind;
    let reads = action.starts_with("read") || action.starts_with("open");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full; free space and run the command again, what was written before is kept".into()
        }
        ErrorKind::PermissionDenied if reads => "permission is denied; change its permissions".into(),
        ErrorKind::PermissionDenied => {
            "permission is denied; choose a folder you may write to, or change its permissions".into()
        }
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only; choose another folder".into(),
        ErrorKind::NotFound => "it does not exist; check the path".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder; check the path".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_sentence_with_a_remedy_and_the_path_last() {
        let error = Error::io("write the file", Path::new("/data/x"))(io::Error::from(io::ErrorKind::StorageFull));
        let text = error.to_string();
        assert!(text.starts_with("cannot write the file: the disk is full; free space"), "{text}");
        assert!(text.ends_with(": /data/x"), "{text}");
    }
}
