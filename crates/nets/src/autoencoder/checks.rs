//! Checks of options that a configuration may have.

use crate::error::{Error, Result};

pub(super) fn require(option: &str, value: &str, supported: &[&str]) -> Result<()> {
    if supported.contains(&value) {
        return Ok(());
    }
    let supported: Vec<_> = supported.iter().map(|value| format!("`{value}`")).collect();
    Err(Error::option(option, value, &supported.join(" or ")))
}

pub(super) fn positive(option: &str, value: usize) -> Result<()> {
    if value > 0 { Ok(()) } else { Err(Error::option(option, value, "a positive number")) }
}

pub(super) fn scaling(option: &str, value: f64) -> Result<()> {
    let usable = value.is_finite() && value > 0.0;
    if usable { Ok(()) } else { Err(Error::option(option, value, "a positive finite number")) }
}
