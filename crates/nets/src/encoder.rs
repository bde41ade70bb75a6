//! The encoder whose embeddings condition a generator, whatever its kind: what the stages know of it.
//!
//! A new kind is a module of its own, a variant of [`EncoderConfig`] and [`Encoder`], an entry of `KINDS`, and an arm in
//! each `match` below; `docs/developers/adding-an-encoder.md` goes through it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use burn::tensor::Device;
//! use nets::encoder::Encoder;
//!
//! let device = Device::flex();
//! let encoder = Encoder::load("encoders/dinov2-base".as_ref(), &device)?;
//! let pictures = vec![0u8; 2 * 128 * 128]; // two grey pictures of 128 x 128
//! let images = encoder.preprocessing().apply(&pictures, 128, 128, &device)?;
//! let embeddings = encoder.forward(images).class_token(); // [2, 768]
//! # Ok(())
//! # }
//! ```

use crate::error::Error;
use crate::vit::{Architecture, Vit, VitConfig};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fs, path::Path};

pub use crate::vit::{Filter, Preprocessing, Resize, VitOutput as Tokens};

/// The shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub enum EncoderConfig {
    /// A vision transformer: ViT, DINOv2, DINOv2 with registers.
    Vit(VitConfig),
}

/// Shapes that pre-training offers: the three sizes of DINO's vision transformers and their predecessors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// 192 wide, 3 heads: 5.5 million parameters.
    Tiny,
    /// 384 wide, 6 heads: 21.7 million.
    Small,
    /// 768 wide, 12 heads: 85.8 million.
    Base,
}

impl EncoderConfig {
    /// An encoder of this shape for square images; both sizes in pixels.
    pub fn of_size(size: Size, patch_size: usize, image_size: usize) -> Self {
        match size {
            Size::Tiny => Self::Vit(VitConfig::tiny(patch_size, image_size)),
            Size::Small => Self::Vit(VitConfig::small(patch_size, image_size)),
            Size::Base => Self::Vit(VitConfig::base(patch_size, image_size)),
        }
    }

    /// The same with so many blocks.
    #[must_use]
    pub fn with_num_layers(self, num_layers: usize) -> Self {
        match self {
            Self::Vit(config) => Self::Vit(VitConfig { num_hidden_layers: num_layers, ..config }),
        }
    }

    /// An encoder of this shape whose weights are zeros (normalisation: ones), ready for [`crate::init::randomise`] or
    /// [`crate::load_weights`].
    pub fn init(&self, device: &Device) -> Encoder {
        match self {
            Self::Vit(config) => Encoder::Vit(config.init(device)),
        }
    }

    /// Refuses a shape that no network can have.
    ///
    /// # Errors
    /// The first such setting, by name and value.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Vit(config) => config.validate(),
        }
    }

    /// Length of a token.
    pub fn dim(&self) -> usize {
        match self {
            Self::Vit(config) => config.hidden_size,
        }
    }

    /// Tokens that say something about the image as a whole: the class token and registers.
    pub fn num_global_tokens(&self) -> usize {
        match self {
            Self::Vit(config) => 1 + config.num_register_tokens,
        }
    }

    /// The smallest side in pixels of an image that it takes.
    pub fn patch_size(&self) -> usize {
        match self {
            Self::Vit(config) => config.patch_size,
        }
    }

    /// Whether weights of the other fit into this one.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Vit(own), Self::Vit(other)) => {
                VitConfig { layer_norm_eps: other.layer_norm_eps, ..own.clone() } == *other
            }
        }
    }

    /// The shape in a few words.
    pub fn summary(&self) -> String {
        match self {
            Self::Vit(vit) => format!(
                "`{}`, {} wide, {} layers, {} heads, patches of {} px",
                vit.architecture.model_type(),
                vit.hidden_size,
                vit.num_hidden_layers,
                vit.num_attention_heads,
                vit.patch_size
            ),
        }
    }
}

/// How a kind of encoder lies on disk.
struct Kind {
    /// Values of `model_type` in its `config.json`.
    model_types: &'static [&'static str],
    load: fn(&Path, &Device) -> Result<Encoder, Error>,
}

/// All kinds. The first one reads files that name none of them: bare state dicts, and what is refused.
const KINDS: [Kind; 1] = [Kind {
    model_types: &["vit", "dinov2", "dinov2_with_registers"],
    load: |path, device| Ok(Encoder::Vit(Vit::load(path, device)?)),
}];

/// Turns an image into tokens.
#[derive(Module, Debug)]
pub enum Encoder {
    /// See [`EncoderConfig::Vit`].
    Vit(Vit),
}

impl Encoder {
    /// Reads an encoder: a folder with `config.json`, weights and optionally `preprocessor_config.json`, or a bare state
    /// dict of the original DINO or DINOv2 code; see [`Vit::load`].
    ///
    /// # Errors
    /// Fields and tensors that are missing, unknown, unsupported or mis-shaped, by name.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let config = fs::read(path.join("config.json")).unwrap_or_default();
        let config: Value = serde_json::from_slice(&config).unwrap_or_default();
        let named = |kind: &&Kind| config["model_type"].as_str().is_some_and(|name| kind.model_types.contains(&name));
        let kind = KINDS.iter().find(named).unwrap_or(&KINDS[0]);
        (kind.load)(path, device)
    }

    /// Whether a `config.json` with this `model_type` describes an encoder that can be read.
    pub fn is_model_type(name: &str) -> bool {
        KINDS.iter().any(|kind| kind.model_types.contains(&name))
    }

    /// Writes a folder that [`Encoder::load`] and the libraries of its origin read; weights in f32, or in f16 where
    /// `half` is set: half the size, and embeddings that differ in the fourth digit.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn save(&self, folder: &Path, half: bool) -> Result<(), Error> {
        match self {
            Self::Vit(network) if half => network.save_half(folder),
            Self::Vit(network) => network.save(folder),
        }
    }

    /// Its shape.
    pub fn config(&self) -> EncoderConfig {
        match self {
            Self::Vit(network) => EncoderConfig::Vit(network.config().clone()),
        }
    }

    /// Length of a token.
    pub fn dim(&self) -> usize {
        self.config().dim()
    }

    /// How pictures become the images that [`Encoder::forward`] takes.
    pub fn preprocessing(&self) -> &Preprocessing {
        match self {
            Self::Vit(network) => network.preprocessing(),
        }
    }

    /// The same network with other preprocessing.
    #[must_use]
    pub fn with_preprocessing(self, preprocessing: Preprocessing) -> Self {
        match self {
            Self::Vit(network) => Self::Vit(network.with_preprocessing(preprocessing)),
        }
    }

    /// The same network for square images of another size, a multiple of the patch size, for good.
    #[must_use]
    pub fn for_image_size(self, image_size: usize) -> Self {
        match self {
            Self::Vit(network) => Self::Vit(network.for_image_size(image_size)),
        }
    }

    /// The same network with its position embeddings multiplied by a number; an encoder without any stays as it is.
    #[must_use]
    pub fn with_scaled_positions(self, factor: f64) -> Self {
        match self {
            Self::Vit(network) => Self::Vit(network.with_scaled_positions(factor)),
        }
    }

    /// Runs the network on images normalised by [`Encoder::preprocessing`].
    ///
    /// # Shapes
    /// `[batch, height, width, 3]`, height and width at least [`EncoderConfig::patch_size`]
    pub fn forward(&self, images: Tensor<4>) -> Tokens {
        match self {
            Self::Vit(network) => network.forward(images),
        }
    }

    /// What people want to know of it: name and value, line by line.
    pub fn description(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Vit(network) => {
                let config = network.config();
                let name = match config.architecture {
                    Architecture::Vit => "vision transformer (ViT, DINO)",
                    Architecture::Dinov2 => "vision transformer (DINOv2)",
                    Architecture::Dinov2WithRegisters => "vision transformer (DINOv2 with registers)",
                };
                let shape = format!(
                    "{} blocks, {} heads, tokens of {}, patches of {} px at {} px, {} registers",
                    config.num_hidden_layers,
                    config.num_attention_heads,
                    config.hidden_size,
                    config.patch_size,
                    config.image_size,
                    config.num_register_tokens
                );
                vec![("network", name.to_owned()), ("shape", shape)]
            }
        }
    }
}
