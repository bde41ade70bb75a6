//! The networks, in the public layouts of their origins, so that official weights drop in and ours load in Python.
//!
//! Fields are named like checkpoint keys; [`weights`] walks a module and converts between the layout of a file and the
//! layout in memory (channels-last, see `kernels`). Nothing here asks which device it runs on.

pub mod autoencoder;
pub mod backbone;
mod checkpoint;
pub mod classifier;
pub mod dino;
pub mod encoder;
mod error;
pub mod features;
pub mod init;
pub mod layers;
mod pickle;
pub mod unet;
pub mod vit;
pub mod weights;

pub use checkpoint::{Checkpoint, HostTensor};
pub use error::{Error, Result};
pub use weights::{load_weights, weights_of};
