//! Pre-training: networks made from the user's own images, for where nothing can be downloaded.
//!
//! The loop is that of [`training`]; each network is a [`training::Trainable`] that it drives.

pub mod autoencoder;
pub mod encoder;

use anyhow::{Result, ensure};
use dataset::Dataset;
use serde::{Deserialize, Serialize};
use training::{Clock, run};

/// Length of a run, and what is written on its way. All in images seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Length of the run.
    pub total_images: u64,
    /// Between two lines of metrics.
    pub log_every_images: u64,
    /// Between two looks at validation images; 0 never looks.
    pub evaluate_every_images: u64,
    /// Between two checkpoints.
    pub checkpoint_every_images: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep_checkpoints: usize,
}

impl Length {
    /// For the training loop; pictures are drawn with each evaluation.
    pub(crate) fn clock(&self) -> Clock {
        Clock {
            total_images: self.total_images,
            log_every_images: self.log_every_images,
            evaluate_every_images: self.evaluate_every_images,
            draw_every_images: self.evaluate_every_images,
            checkpoint_every_images: self.checkpoint_every_images,
            keep_checkpoints: self.keep_checkpoints,
        }
    }

    /// Refuses lengths of 0.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("total_images", self.total_images),
            ("log_every_images", self.log_every_images),
            ("checkpoint_every_images", self.checkpoint_every_images),
        ] {
            ensure!(value > 0, "training.{name} is 0; it must be above 0");
        }
        Ok(())
    }
}

/// A run of pre-training belongs to its dataset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    dataset: String,
}

impl Identity {
    pub(crate) fn new(dataset: &Dataset) -> Self {
        Self { dataset: dataset.fingerprint().to_owned() }
    }
}

impl run::Identity for Identity {
    fn describe(&self) -> String {
        format!("dataset {}", self.dataset)
    }
}
