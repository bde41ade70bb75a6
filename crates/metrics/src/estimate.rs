//! A figure with its interval, as results are written.

use serde::Serialize;

use crate::Interval;

/// Samples behind a bootstrap interval.
pub const REPLICATES: usize = 1000;
/// Of the intervals.
pub const CONFIDENCE: f64 = 0.95;

/// A figure and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Of 95 %; how it was made stands with the figure.
    pub interval: [f64; 2],
}

impl Estimate {
    /// A figure with this interval.
    pub fn new(value: f64, interval: Interval) -> Self {
        Self { value, interval: [interval.low, interval.high] }
    }
}
