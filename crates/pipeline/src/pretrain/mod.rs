//! Pretraining.
pub mod autoencoder;
