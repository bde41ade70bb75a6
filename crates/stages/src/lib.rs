//! The stages: each a configuration and a `run` that reads some folders and writes one. Nothing here prints; what a stage
//! has to say goes through [`messages::Progress`].

pub mod assets;
pub mod device;
pub mod embed;
pub mod encode;
pub mod encoded;
pub mod generate;
pub mod inspect;
pub mod model;
pub mod recipe;
pub mod segment;
pub mod train;
pub mod views;
