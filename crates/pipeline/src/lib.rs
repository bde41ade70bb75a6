//! The stages: each a configuration and a `run` that reads some folders and writes one. This is the only crate that
//! knows the others; it never prints, what it has to say goes through [`progress::Progress`].

pub mod archive;
pub mod assets;
mod chart;
pub mod demo;
pub mod device;
mod done_list;
pub mod embed;
pub mod encode;
pub mod evaluate;
pub mod features;
pub mod generate;
pub mod inspect;
pub mod model;
pub mod prepare;
pub mod presets;
pub mod pretrain;
pub mod progress;
pub mod recipe;
pub mod report;
mod run;
pub mod segment;
pub mod settings;
pub mod tensors;
pub mod train;
pub mod views;

use serde::{Deserialize, Serialize};

/// Something that a stage passed over, and why. The stage goes on; the program ends with status 1 and lists these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file or row.
    pub item: String,
    /// A sentence.
    pub reason: String,
}
