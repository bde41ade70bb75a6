//! Measures of generated images, embeddings and masks, in f64, on plain slices.
//!
//! No networks, no files, no threads: features come in as numbers, and every result is the same on every machine up to
//! rounding. [`distance`] compares sets of features (Fréchet and kernel distances), [`images`] compares pictures,
//! [`retrieval`] finds nearest neighbours and lets them vote, [`probe`] fits linear classifiers, [`spread`] says how much
//! of their space embeddings use, [`agreement`] scores masks and classifiers and says how sure a number is.

pub mod agreement;
pub mod distance;
mod error;
pub mod images;
pub mod probe;
pub mod retrieval;
mod rows;
pub mod segmentation;
pub mod spread;

pub use agreement::{Interval, area_under_curve, bootstrap_interval, dice};
pub use distance::{Moments, frechet_distance, kernel_distance};
pub use error::Error;
pub use images::{Intensity, intensity, peak_signal_to_noise, structural_similarity};
pub use probe::{LogisticRegression, PrincipalComponents};
pub use retrieval::{Neighbour, nearest_neighbours, vote_shares, weighted_votes};
pub use rows::Rows;
pub use spread::{effective_rank, standard_deviation};
