//! Evaluation: what images are worth that came out of a network, as figures with their number of images and, where
//! there is one, a floor to read them by.

pub mod autoencoder;
pub mod conditioning;
pub mod encoder;
pub mod fidelity;
pub mod memorisation;

use metrics::Interval;
use serde::Serialize;

/// Samples behind a bootstrap interval.
const REPLICATES: usize = 1000;
/// Of the intervals.
const CONFIDENCE: f64 = 0.95;

/// A figure and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Of 95 %; how it was made stands with the figure.
    pub interval: [f64; 2],
}

impl Estimate {
    fn new(value: f64, interval: Interval) -> Self {
        Self { value, interval: [interval.low, interval.high] }
    }
}
