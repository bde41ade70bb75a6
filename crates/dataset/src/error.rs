//! Everything that can go wrong on disk, as sentences with the value and the remedy, path last.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a dataset or run folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused, or another process writes into the same folder.
    #[error(transparent)]
    File(files::Error),
    /// The folder is no dataset.
    #[error("this is not a dataset ({reason}); give a folder that `prepare` or `generate` wrote: {}", path.display())]
    NotADataset {
        /// What is missing or odd.
        reason: String,
        /// The folder.
        path: PathBuf,
    },
    /// The folder is no run.
    #[error("this is not a run ({reason}); give a folder that `train` wrote: {}", path.display())]
    NotARun {
        /// What is missing or odd.
        reason: String,
        /// The folder.
        path: PathBuf,
    },
    /// A dataset whose preparation has not come to its end.
    #[error(
        "the dataset is unfinished ({num_images} images so far); run the command that was writing it again to \
         continue: {}", path.display()
    )]
    Unfinished {
        /// Images written so far.
        num_images: usize,
        /// The folder.
        path: PathBuf,
    },
    /// A finished dataset stands where one was to be written.
    #[error(
        "the folder holds a finished dataset already; choose another output folder, or delete it: {}", path.display()
    )]
    AlreadyFinished {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder holds something else.
    #[error(
        "the output folder holds other files (for example {example}); choose an empty or a new folder: {}",
        path.display()
    )]
    Occupied {
        /// One of the files.
        example: String,
        /// The folder.
        path: PathBuf,
    },
    /// Written by a later release.
    #[error(
        "the {what} has format version {found}, this program reads up to {supported}; update the program: {}",
        path.display()
    )]
    NewerVersion {
        /// `dataset` or `encodings`.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version understood.
        supported: u32,
        /// The file that says so.
        path: PathBuf,
    },
    /// A file that is damaged, cut short or of the wrong kind.
    #[error("the {what} is damaged, cut short or not what it should be ({detail}); {remedy}: {}", path.display())]
    Damaged {
        /// What the file is: `manifest`, `image shard`, ...
        what: &'static str,
        /// What was found.
        detail: String,
        /// What to do, as an imperative.
        remedy: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A shard that should be there is not.
    #[error("the {what} is missing; copy the folder again completely, or run the command that made it again: {}", path.display())]
    MissingShard {
        /// `image shard`, `mask shard` or `encodings shard`.
        what: &'static str,
        /// The file that should exist.
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
    /// An image number beyond the end.
    #[error("there is no image {index}; the dataset has {len}, numbered from 0: {}", path.display())]
    NoSuchImage {
        /// The number asked for.
        index: usize,
        /// The number of images.
        len: usize,
        /// The dataset.
        path: PathBuf,
    },
    /// Something was begun with other settings than those given now.
    #[error("{what} was begun with {setting} = {was}, now it is {now}; use the former, or another output folder: {}", path.display())]
    OtherSettings {
        /// What was begun: `the dataset`, `these encodings`.
        what: &'static str,
        /// The setting's name.
        setting: String,
        /// The value on disk.
        was: String,
        /// The value given now.
        now: String,
        /// The folder.
        path: PathBuf,
    },
    /// A value that f16 cannot hold.
    #[error(
        "the encoding {tensor:?} of image {image} (number {index}) is {value}, which is not a finite 16-bit number"
    )]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// The image's number in the dataset.
        index: usize,
        /// The image's number within its shard.
        image: usize,
        /// The offending value.
        value: f32,
    },
    /// Encodings asked for that are not there (yet).
    #[error("the dataset has no complete encodings {name}-{fingerprint} ({detail}); make them with `encode`: {}", path.display())]
    NoEncodings {
        /// The encodings' name.
        name: String,
        /// The network's fingerprint.
        fingerprint: String,
        /// What is missing.
        detail: String,
        /// The folder that should hold them.
        path: PathBuf,
    },
    /// The same patient or image on both sides of a split.
    #[error(
        "{num_patients} patients and {num_images} images are on more than one side of the split (for example {example}); \
         correct the given splits, or leave them out to have them drawn by patient"
    )]
    Leak {
        /// Patients in more than one split.
        num_patients: usize,
        /// Images, by content, in more than one split.
        num_images: usize,
        /// One offender.
        example: String,
    },
    /// A setting outside its range.
    #[error("{setting} = {value} is not possible: {reason}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// The value given.
        value: String,
        /// What is possible.
        reason: &'static str,
    },
}

impl From<files::Error> for Error {
    fn from(error: files::Error) -> Self {
        match error {
            files::Error::Damaged { what, detail, remedy, path } => Self::Damaged { what, detail, remedy, path },
            files::Error::Size { what, expected, found } => Self::Size { what, expected, found },
            other => Self::File(other),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let sentence = files::Error::io(action, path);
        move |source| Self::File(sentence(source))
    }

    pub(crate) fn damaged(what: &'static str, remedy: &'static str, path: &Path, detail: impl ToString) -> Self {
        Self::Damaged { what, detail: detail.to_string(), remedy, path: path.to_path_buf() }
    }
}
