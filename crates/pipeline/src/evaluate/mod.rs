//! Evaluation: what images are worth that came out of a network, as figures with their number of images and, where
//! there is one, a floor to read them by.

pub mod autoencoder;
pub mod conditioning;
pub mod encoder;
pub mod fidelity;

/// Samples behind a bootstrap interval.
const REPLICATES: usize = 1000;
/// Of the intervals.
const CONFIDENCE: f64 = 0.95;
