//! Tails and quantiles of the normal and Student's distribution, of standard location and scale, and of the beta
//! distribution.

use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};
use statrs::function::erf::erfc;

use crate::error::Error;

/// How often a standard normal variable is at least as far from 0 as `z`.
pub(crate) fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() * std::f64::consts::FRAC_1_SQRT_2)
}

/// The value below which a standard normal variable lies with `probability`, which must be in 0..=1.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// How often Student's variable of `degrees` of freedom is at least as far from 0 as `t`.
pub(crate) fn student_two_sided(t: f64, degrees: f64) -> Result<f64, Error> {
    Ok((2.0 * student(degrees)?.sf(t.abs())).min(1.0))
}

/// The value below which Student's variable lies with `probability`, which must be in 0..=1.
pub(crate) fn student_quantile(probability: f64, degrees: f64) -> Result<f64, Error> {
    Ok(student(degrees)?.inverse_cdf(probability))
}

/// The value below which a beta variable of these shapes lies with `probability`, which must be in 0..=1.
pub(crate) fn beta_quantile(probability: f64, shapes: [f64; 2]) -> Result<f64, Error> {
    let refused = |_| Error::OutOfRange { name: "shape", value: shapes[0].min(shapes[1]), expected: "above 0" };
    Ok(Beta::new(shapes[0], shapes[1]).map_err(refused)?.inverse_cdf(probability))
}

fn student(degrees: f64) -> Result<StudentsT, Error> {
    let refused = |_| Error::OutOfRange { name: "degrees of freedom", value: degrees, expected: "above 0" };
    StudentsT::new(0.0, 1.0, degrees).map_err(refused)
}
