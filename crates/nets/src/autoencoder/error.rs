//! What can be wrong with the folder of an autoencoder.

use crate::weights::WeightsError;
use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

/// Why an autoencoder could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum AutoencoderError {
    /// Nothing in the folder looks like an autoencoder.
    #[error(
        "the folder holds no autoencoder: give one with the `config.json` and `diffusion_pytorch_model.safetensors` (or `.bin`) \
         of diffusers, or with `encoder.safetensors` and `decoder.safetensors` of TAESD: {}",
        path.display()
    )]
    NotFound {
        /// Which folder.
        path: PathBuf,
    },
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
    Write(#[from] files::Error),
    /// A JSON file is not what it should be.
    #[error("the file does not hold what it should ({reason}); download or copy it again: {}", path.display())]
    Json {
        /// What the parser said.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// The configuration asks for what this code does not have.
    #[error("{unsupported}: {}", path.display())]
    Unsupported {
        /// Which option.
        unsupported: Unsupported,
        /// Which file.
        path: PathBuf,
    },
    /// A configuration made in memory asks for what this code does not have.
    #[error(transparent)]
    Configuration(#[from] Unsupported),
    /// The weights file cannot be read or written.
    #[error(transparent)]
    File(WeightsError),
    /// The weights do not fit.
    #[error("{source}: {}", path.display())]
    Mismatch {
        /// Which tensors.
        source: WeightsError,
        /// Which folder.
        path: PathBuf,
    },
    /// A pair of TAESD files has a structure that is not TAESD's.
    #[error("the files are not those of a TAESD network: {reason}; download or copy them again: {}", path.display())]
    Structure {
        /// What does not fit.
        reason: String,
        /// Which folder.
        path: PathBuf,
    },
    /// The statistics do not fit the latents.
    #[error(
        "the latent statistics are unusable: {reason}; there must be one finite mean and one positive standard \
         deviation for each latent channel"
    )]
    Statistics {
        /// What is wrong with them.
        reason: String,
    },
}

impl AutoencoderError {
    /// Names the folder where `source` does not.
    pub(super) fn weights(source: WeightsError, folder: &Path) -> Self {
        match source {
            source @ (WeightsError::Mismatch { .. } | WeightsError::Dtype { .. }) => {
                Self::Mismatch { source, path: folder.into() }
            }
            other => Self::File(other),
        }
    }
}

/// An option of a configuration that has a value this code does not implement.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the autoencoder's option `{option}` is {value}, but only {supported} is supported")]
pub struct Unsupported {
    option: String,
    value: String,
    supported: String,
}

impl Unsupported {
    pub(super) fn new(option: &str, value: impl Debug, supported: &str) -> Self {
        Self { option: option.into(), value: format!("{value:?}"), supported: supported.into() }
    }
}

pub(super) fn require(option: &str, value: &str, supported: &[&str]) -> Result<(), Unsupported> {
    if supported.contains(&value) {
        return Ok(());
    }
    let supported: Vec<_> = supported.iter().map(|value| format!("`{value}`")).collect();
    Err(Unsupported::new(option, value, &supported.join(" or ")))
}

pub(super) fn positive(option: &str, value: usize) -> Result<(), Unsupported> {
    if value > 0 { Ok(()) } else { Err(Unsupported::new(option, value, "a positive number")) }
}

pub(super) fn scaling(option: &str, value: f64) -> Result<(), Unsupported> {
    let usable = value.is_finite() && value > 0.0;
    if usable { Ok(()) } else { Err(Unsupported::new(option, value, "a positive finite number")) }
}
