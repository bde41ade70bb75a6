//! Autoencoder.
pub mod loss;
