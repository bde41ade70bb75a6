//! Why a measure has no value. Each sentence says what was found and the remedy.

/// Input that has no distance, score or interval.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two things that must be of one size are not.
    #[error("{what} is {found}, expected {expected}; compare only what was made alike")]
    SizeMismatch {
        /// What has the wrong size.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size it should have.
        expected: usize,
    },
    /// There are too few items for the measure to be defined.
    #[error("{what} is {found}; at least {needed} are needed")]
    TooFew {
        /// What there is too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what} holds the value {value} at position {position}; remove or repair that item")]
    NotFinite {
        /// Where it was found.
        what: &'static str,
        /// Its position, counted from 0.
        position: usize,
        /// The value.
        value: f64,
    },
    /// A matrix that no set of features has for its covariance.
    #[error(
        "the matrix is no covariance: {found} in row {row}, column {column}, both counted from 0, is not what symmetry and \
         the variances allow; make or copy it again"
    )]
    NoCovariance {
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// What stands there.
        found: f64,
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
    /// A score needs both positive and negative cases.
    #[error("all {count} cases are {class}; a score that ranks positive above negative cases needs both")]
    OneClass {
        /// Number of cases.
        count: usize,
        /// Which class they are all of.
        class: &'static str,
    },
    /// As [`Error::OneClass`], for one label of several.
    #[error(
        "label {label}: all {count} cases are {class}; leave that label out or take cases with and without it into the set"
    )]
    LabelOfOneClass {
        /// The label's or class's position, counted from 0.
        label: usize,
        /// Number of cases.
        count: usize,
        /// Which class they are all of.
        class: &'static str,
    },
    /// Values that do not vary say nothing about how sure their mean is.
    #[error("{what} are all {value}; without spread there is no test: compare on more cases or report the value alone")]
    NoSpread {
        /// What does not vary.
        what: &'static str,
        /// The value of all.
        value: f64,
    },
    /// The eigenvalues of a covariance could not be computed.
    #[error("the eigenvalues of a {dim} x {dim} covariance did not converge; check the features for extreme values")]
    NoConvergence {
        /// Size of the covariance.
        dim: usize,
    },
}

/// Refuses NaN and infinity.
pub(crate) fn check_finite(what: &'static str, values: &[f64]) -> Result<(), Error> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(position) => Err(Error::NotFinite { what, position, value: values[position] }),
        None => Ok(()),
    }
}

/// Refuses two sizes that differ.
pub(crate) fn check_size(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::SizeMismatch { what, found, expected }) }
}

/// Refuses fewer than `needed`.
pub(crate) fn check_enough(what: &'static str, found: usize, needed: usize) -> Result<(), Error> {
    if found >= needed { Ok(()) } else { Err(Error::TooFew { what, found, needed }) }
}

/// Refuses a value that is not between 0 and 1, both excluded.
pub(crate) fn check_share(name: &'static str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(Error::OutOfRange { name, value, expected: "between 0 and 1" })
    }
}
