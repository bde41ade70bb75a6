//! What can be wrong with the settings of a diffusion process. Each sentence says the value and the remedy.

use crate::precondition::Prediction;

/// A setting that no diffusion process can have, or two that do not go together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number lies outside its range.
    #[error("{name} is {value}; it must be {expected}")]
    OutOfRange {
        /// The setting's name as in a recipe.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// The prediction type does not fit the schedule.
    #[error("prediction '{prediction}' does not go with {schedule}; use {remedy}")]
    PredictionMismatch {
        /// The prediction type asked for.
        prediction: Prediction,
        /// The schedule in words.
        schedule: &'static str,
        /// What goes with this schedule.
        remedy: &'static str,
    },
    /// The schedule cannot be walked with this number of steps.
    #[error("num_steps is {num_steps}; {reason}")]
    NumSteps {
        /// The number of steps asked for.
        num_steps: usize,
        /// Why it is impossible, and what is possible.
        reason: &'static str,
    },
    /// The spacing of steps does not fit the schedule.
    #[error("step spacing '{spacing}' does not go with {schedule}; use {remedy}")]
    SpacingMismatch {
        /// The spacing's name.
        spacing: &'static str,
        /// The schedule in words.
        schedule: &'static str,
        /// What goes with this schedule.
        remedy: &'static str,
    },
    /// Two embeddings, or embeddings and fractions, differ in shape.
    #[error("{what} differ in shape: {left:?} and {right:?}; give both the same number of images, tokens and channels")]
    ShapeMismatch {
        /// What was compared.
        what: &'static str,
        /// The first shape.
        left: Vec<usize>,
        /// The second shape.
        right: Vec<usize>,
    },
    /// Two modules that should be copies of each other are not.
    #[error(
        "the averaged and the current weights differ: {averaged} and {current} parameters; start the average as a copy of the network"
    )]
    WeightsMismatch {
        /// Number of parameters of the average, or size of the first one that differs.
        averaged: usize,
        /// The same of the current weights.
        current: usize,
    },
}

/// `Ok` when `value` is within range, else [`Error::OutOfRange`].
pub(crate) fn check(name: &'static str, value: f64, within: bool, expected: &'static str) -> Result<(), Error> {
    if within { Ok(()) } else { Err(Error::OutOfRange { name, value, expected }) }
}
