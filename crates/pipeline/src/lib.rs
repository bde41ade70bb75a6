//! The stages: each a configuration and a `run` that reads some folders and writes one. This crate knows all the others
//! but the command line; it never prints, what it has to say goes through [`progress::Progress`].

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
mod outputs;
pub mod pretrain;
pub mod recipe;
pub mod report;
mod run;
pub mod segment;
mod sentence;
pub mod settings;
pub mod tensors;
pub mod train;
pub mod views;

pub use ingest::{Skipped, progress};
pub use run::{Begun, Inputs, begun};
pub use sentence::sentence;
