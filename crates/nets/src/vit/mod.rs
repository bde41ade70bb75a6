//! Vision transformers that turn an image into the embedding that conditions a generator: DINO, DINOv2, and DINOv2 with
//! registers.
//!
//! Papers: "An Image is Worth 16x16 Words" (Dosovitskiy et al. 2021), "Emerging Properties in Self-Supervised Vision
//! Transformers" (Caron et al. 2021), "DINOv2" (Oquab et al. 2023), "Vision Transformers Need Registers" (Darcet et al.
//! 2024). Public weights load unchanged, in the layouts of transformers (`ViTModel`, `Dinov2Model`,
//! `Dinov2WithRegistersModel`) and of the original code; what [`Vit::save`] writes loads in transformers and gives the
//! same output. Output and interpolation of position embeddings follow transformers.
//!
//! ```no_run
//! # fn main() -> Result<(), nets::Error> {
//! use burn::tensor::Device;
//! use nets::vit::Vit;
//!
//! let device = Device::flex();
//! let encoder = Vit::load("encoders/dinov2-base".as_ref(), &device)?;
//! let pictures = vec![0u8; 2 * 128 * 128]; // two grey pictures of 128 x 128
//! let images = encoder.preprocessing().apply(&pictures, 128, 128, &device)?;
//! let embeddings = encoder.forward(images).class_token(); // [2, 768]
//! # Ok(())
//! # }
//! ```

mod config;
mod files;
mod model;
mod names;
mod position;
mod preprocess;
mod resample;

pub use config::{Architecture, VitConfig};
pub use model::{Vit, VitOutput};
pub use preprocess::{Preprocessing, Resize};
pub use resample::Filter;
