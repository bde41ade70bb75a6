//! Why an encoder could not be read, written or applied.

use crate::weights::WeightsError;
use std::path::PathBuf;

/// What can be wrong with an encoder, its files or its pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VitError {
    /// A file could not be read or written.
    #[error("the file cannot be read or written ({source}): {}", path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The operating system refused to write a file.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A configuration is no JSON object.
    #[error("this is not a JSON object ({reason}); download or copy the file again: {}", path.display())]
    Json {
        /// What the parser said.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// A field that is not known: it could change the result, so it is not passed over.
    #[error(
        "field `{field}` = {value} is not known to this program, and ignoring it could change the output; remove it if it has no effect"
    )]
    UnknownField {
        /// Its name.
        field: String,
        /// Its value, as JSON.
        value: String,
    },
    /// A known field with a value that is wrong or not supported.
    #[error("field `{field}` = {value} {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What is wrong with it and what would be right, as the end of a sentence.
        problem: String,
    },
    /// One of the errors above, in this file.
    #[error("{error}: {}", path.display())]
    InFile {
        /// What happened.
        #[source]
        error: Box<VitError>,
        /// Which file.
        path: PathBuf,
    },
    /// No weights where they are expected.
    #[error("there are no weights ({looked_for}); give a folder with `config.json` and `model.safetensors`, or a state dict: {}", path.display())]
    NoWeights {
        /// What was looked for, or what was found instead.
        looked_for: String,
        /// Where.
        path: PathBuf,
    },
    /// The weights do not fit or cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The number of pixels does not fit the size of the pictures.
    #[error("{num_values} values are not a whole number of {height} x {width} pictures, at least one pixel each")]
    Pictures {
        /// Values given.
        num_values: usize,
        /// Rows of each picture.
        height: usize,
        /// Columns of each picture.
        width: usize,
    },
}

impl VitError {
    pub(super) fn field(field: &'static str, value: impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self::Field { field, value: value.to_string(), problem: problem.into() }
    }
}
