//! Networks whose inner activations serve as features of whole images, in the layouts in which they are published: what
//! Fréchet distances are computed in.
//!
//! - [`DenseNet`] (Huang et al. 2017): torchxrayvision's networks of chest radiographs (Cohen et al. 2022), 1,024 numbers.
//!   It can be trained, too: batch normalisation works with running statistics and with those of a batch.
//! - [`Inception`] (Szegedy et al. 2016) with the weights and the peculiarities of the original Fréchet inception distance
//!   (Heusel et al. 2017), 2,048 numbers.
//!
//! ```no_run
//! # fn main() -> Result<(), nets::Error> {
//! use burn::tensor::Device;
//! use nets::features::{DenseNet, xrv_input};
//!
//! let device = Device::flex();
//! let network = DenseNet::load("nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121.pt".as_ref(), &device)?;
//! let pictures = vec![0.5f32; 2 * 512 * 512]; // two grey pictures of 512 x 512
//! let features = network.forward_features(xrv_input(&pictures, [512, 512], &device)?); // [2, 1024]
//! # Ok(())
//! # }
//! ```

mod batch_norm;
mod checkpoint;
mod densenet;
mod inception;
mod inception_blocks;
mod names;
mod preprocess;

pub use batch_norm::{BatchNorm, BatchStatistics, MOMENTUM};
pub use densenet::{DenseNet, DenseNetConfig, DenseNetStatistics};
pub use inception::Inception;
pub use preprocess::{INCEPTION_SIZE, XRV_SIZE, inception_input, resize_bilinear, resize_smoothed, xrv_input};
