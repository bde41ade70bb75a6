//! Why a network could not be made, read, written or applied.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a network, its files or its pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("the file cannot be read or written ({source}): {}", path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file or folder.
        path: PathBuf,
    },
    /// The operating system refused, or a safetensors file is damaged.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A JSON file is not what it should be.
    #[error("the file does not hold what it should ({reason}); download or copy it again: {}", path.display())]
    Json {
        /// What the parser said.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// A PyTorch pickle could not be read.
    #[error(
        "the PyTorch checkpoint cannot be read ({reason}); where PyTorch can load it, save its state dict with `python \
         -c \"import sys, torch; m = torch.load(sys.argv[1], map_location='cpu', weights_only=False); \
         torch.save(getattr(m, 'state_dict', lambda: m)(), sys.argv[2])\" OLD.pt NEW.pt` and give the new file: {}",
        path.display()
    )]
    Pickle {
        /// Reported by the reader.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// Names or shapes differ from what the configuration asks for.
    #[error(
        "the weights do not fit the network that the configuration describes: {}; \
         check that `config.json` and the weights belong together",
        list(problems)
    )]
    Mismatch {
        /// One sentence part for each difference.
        problems: Vec<String>,
    },
    /// The number type of a tensor is not a float that is read.
    #[error("tensor `{key}` holds {dtype} values; f64, f32, f16 and bf16 are read, so convert the file first")]
    Dtype {
        /// Name of the tensor.
        key: String,
        /// Its type in the file.
        dtype: String,
    },
    /// One of the other errors, in this file or folder.
    #[error("{error}: {}", path.display())]
    InFile {
        /// What happened.
        #[source]
        error: Box<Error>,
        /// Where.
        path: PathBuf,
    },
    /// No network where one is expected.
    #[error("{reason}: {}", path.display())]
    NotFound {
        /// What was looked for, and what to give instead.
        reason: String,
        /// Where.
        path: PathBuf,
    },
    /// The files are of another network.
    #[error("the file holds {found}, so it is no {network}; {remedy}: {}", path.display())]
    OtherNetwork {
        /// What the file should be.
        network: &'static str,
        /// What is in it.
        found: String,
        /// What to give instead.
        remedy: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Tensors of a published network are missing, unknown or of other shapes.
    #[error("the file is no complete {network}: {}; download or save it again: {}", list(problems), path.display())]
    Incomplete {
        /// What the file should be.
        network: &'static str,
        /// One sentence part for each difference.
        problems: Vec<String>,
        /// Which file.
        path: PathBuf,
    },
    /// A field that is not known: it could change the result, so it is not passed over.
    #[error(
        "field `{field}` = {value} is not known to this program, and ignoring it could change the output; remove it if \
         it has no effect"
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
        field: String,
        /// Its value, as JSON.
        value: String,
        /// What is wrong with it and what would be right, as the end of a sentence.
        problem: String,
    },
    /// Settings that no network can have, or that describe another one.
    #[error("{0}")]
    Impossible(String),
    /// The statistics do not fit the latents.
    #[error(
        "the latent statistics are unusable: {reason}; there must be one finite mean and one positive standard \
         deviation for each latent channel"
    )]
    Statistics {
        /// What is wrong with them.
        reason: String,
    },
    /// A pixel that no picture can have.
    #[error(
        "pixel {position} has the brightness {value}; it must be a number in 0..=1, so repair or leave out that image"
    )]
    Brightness {
        /// Its place among all values, counted from 0.
        position: usize,
        /// What stands there.
        value: f32,
    },
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

impl Error {
    /// `.map_err(Error::io(path))`
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { source, path }
    }

    /// `.map_err(Error::json(path))`
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Json { reason: error.to_string(), path }
    }

    /// A field of a configuration; `problem` ends the sentence.
    pub(crate) fn field(field: &str, value: impl Display, problem: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), value: value.to_string(), problem: problem.into() }
    }

    /// An option of the autoencoder that has a value this code does not implement.
    pub(crate) fn option(option: &str, value: impl Debug, supported: &str) -> Self {
        Self::Impossible(format!("the autoencoder's option `{option}` is {value:?}, but only {supported} is supported"))
    }

    /// The error with the file or folder that it is about, where it does not name one.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::Mismatch { .. }
            | Self::Dtype { .. }
            | Self::UnknownField { .. }
            | Self::Field { .. }
            | Self::Impossible(_) => Self::InFile { error: Box::new(self), path: path.to_path_buf() },
            other => other,
        }
    }
}

/// The first few of many problems.
pub(crate) fn list(problems: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}
