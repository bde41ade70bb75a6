//! Why a feature network could not be read or applied.

use crate::weights::{WeightsError, list};
use std::path::{Path, PathBuf};

/// What can be wrong with a feature network, its file or its pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The file could not be read.
    #[error(transparent)]
    Weights(WeightsError),
    /// The file is of another network.
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
    /// Tensors are missing, unknown or of other shapes.
    #[error("the file is no complete {network}: {}; download or save it again: {}", list(problems), path.display())]
    Mismatch {
        /// What the file should be.
        network: &'static str,
        /// One sentence part for each difference.
        problems: Vec<String>,
        /// Which file.
        path: PathBuf,
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

impl FeatureError {
    /// What went wrong while the tensors of a file were read; `to_file_name` gives a field's name in the file.
    pub(super) fn in_file(
        error: WeightsError,
        network: &'static str,
        path: &Path,
        to_file_name: impl Fn(&str) -> String,
    ) -> Self {
        match error {
            WeightsError::Mismatch { problems } => {
                // Names stand between backticks.
                let renamed = |problem: String| {
                    let parts = problem.split('`').enumerate();
                    let parts = parts.map(|(i, part)| if i % 2 == 1 { to_file_name(part) } else { part.to_owned() });
                    parts.collect::<Vec<_>>().join("`")
                };
                let problems = problems.into_iter().map(renamed).collect();
                Self::Mismatch { network, problems, path: path.into() }
            }
            error => Self::Weights(error),
        }
    }
}
