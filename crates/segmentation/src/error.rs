//! Why an image cannot be cut into segments. Each sentence says the value and the remedy.

/// Input or a setting that no segmentation can be made with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something has another number of values than the grid asks for.
    #[error("{what} has {found} values, expected {expected}; give it and its grid from the same network pass")]
    Size {
        /// What has the wrong size.
        what: &'static str,
        /// Values found.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// A setting lies outside its range.
    #[error("{name} is {value}; it must be {expected}")]
    OutOfRange {
        /// The setting's name.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// A value cannot be one of an attention map, a feature or an affinity.
    #[error("{what} holds {value} at position {position}; it must be {expected}, so check the network that made it")]
    Value {
        /// Where it was found.
        what: &'static str,
        /// Its position, counted from 0.
        position: usize,
        /// The value.
        value: f32,
        /// What is possible, in words.
        expected: &'static str,
    },
    /// A map without any attention cannot be normalised.
    #[error("the attention map of token {token} sums to 0; give maps after the softmax")]
    EmptyMap {
        /// The token whose map it is.
        token: usize,
    },
    /// Nothing was given.
    #[error("no attention map was added; add at least one resolution")]
    Nothing,
    /// The device that ran the products did not give its result back.
    #[error("the device did not return the result ({0}); choose a smaller grid or another device")]
    Device(String),
    /// The eigenvectors of a small matrix could not be computed.
    #[error("the eigenvectors of a {size} x {size} matrix did not converge; check the affinity for extreme values")]
    NoConvergence {
        /// Rows of the matrix.
        size: usize,
    },
}

pub(crate) fn check_range(name: &'static str, value: f64, within: bool, expected: &'static str) -> Result<(), Error> {
    if within { Ok(()) } else { Err(Error::OutOfRange { name, value, expected }) }
}

pub(crate) fn check_size(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Size { what, found, expected }) }
}

/// Refuses NaN and infinity.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), Error> {
    check_values(what, values, |value| value.is_finite(), "finite")
}

/// Refuses NaN, infinity and negative values.
pub(crate) fn check_not_negative(what: &'static str, values: &[f32]) -> Result<(), Error> {
    check_values(what, values, |value| value.is_finite() && value >= 0.0, "finite and at least 0")
}

fn check_values(
    what: &'static str,
    values: &[f32],
    possible: impl Fn(f32) -> bool,
    expected: &'static str,
) -> Result<(), Error> {
    match values.iter().position(|&value| !possible(value)) {
        Some(position) => Err(Error::Value { what, position, value: values[position], expected }),
        None => Ok(()),
    }
}
