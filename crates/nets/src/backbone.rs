//! The denoising network, whatever its kind: what the stages know of it.
//!
//! A new kind is a module of its own, a variant of [`BackboneConfig`] and [`Backbone`], an entry of `KINDS`, and an arm
//! in each `match` below; `docs/developers/adding-a-backbone.md` goes through it.

use crate::error::Error;
use crate::{
    init::{Initialisation, randomise},
    unet::{UNet, UNetConfig},
};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fs, path::Path};

pub use crate::unet::AttentionMap;

/// Settings of a denoising network: `network = { kind = "unet", .. }` in a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum BackboneConfig {
    /// diffusers' `UNet2DConditionModel`, in the names of its `config.json`.
    #[serde(rename = "unet")]
    UNet(UNetConfig),
}

impl BackboneConfig {
    /// Refuses settings that contradict one another.
    ///
    /// # Errors
    /// The first such setting, by name and value.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::UNet(config) => config.validate(),
        }
    }

    /// A network of these settings with PyTorch's default initial weights.
    ///
    /// # Errors
    /// Settings that contradict one another.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Backbone, Error> {
        let network = match self {
            Self::UNet(config) => Backbone::UNet(config.init(device)?),
        };
        Ok(randomise(network, Initialisation::FanInUniform, seed))
    }

    /// Channels of the noisy latents, channels of the prediction, and length of a condition token.
    pub fn interface(&self) -> Interface {
        match self {
            Self::UNet(config) => Interface {
                in_channels: config.in_channels,
                out_channels: config.out_channels,
                condition_dim: config.cross_attention_dim,
            },
        }
    }

    /// The same network for other latents and conditions.
    #[must_use]
    pub fn with_interface(mut self, interface: Interface) -> Self {
        match &mut self {
            Self::UNet(config) => {
                config.in_channels = interface.in_channels;
                config.out_channels = interface.out_channels;
                config.cross_attention_dim = interface.condition_dim;
            }
        }
        self
    }

    /// What the settings of the [`Interface`] are called in this kind of network, in its order.
    pub fn interface_names(&self) -> [&'static str; 3] {
        match self {
            Self::UNet(_) => ["in_channels", "out_channels", "cross_attention_dim"],
        }
    }
}

/// What a denoising network takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Channels of the noisy latents.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Length of a condition token.
    pub condition_dim: usize,
}

/// What a pass shows on its way, see [`Backbone::forward_observed`].
#[derive(Debug, Clone)]
pub enum Observation {
    /// The self-attention of a transformer block.
    Attention(AttentionMap),
    /// Features as fine as the network has them, before its last block: what tells tissues apart.
    Features(Tensor<4>),
}

/// How a kind of network lies on disk.
struct Kind {
    /// Its folder in a model.
    folder: &'static str,
    /// `_class_name` in its `config.json`.
    class: &'static str,
    load: fn(&Path, &Device) -> Result<Backbone, Error>,
}

/// All kinds. The first one reads folders whose configuration names none of them, so the error is its own.
const KINDS: [Kind; 1] = [Kind {
    folder: "unet",
    class: "UNet2DConditionModel",
    load: |folder, device| Ok(Backbone::UNet(UNet::load(folder, device)?)),
}];

/// Predicts the training target (noise, velocity or flow) from noisy latents, the time and a condition.
#[derive(Module, Debug)]
pub enum Backbone {
    /// See [`BackboneConfig::UNet`].
    UNet(UNet),
}

impl Backbone {
    /// The folders of a model that may hold a denoising network: one for each kind.
    pub fn folders() -> impl Iterator<Item = &'static str> + Clone {
        KINDS.iter().map(|kind| kind.folder)
    }

    /// Whether a `config.json` with this `_class_name` describes a denoising network that can be read.
    pub fn is_class(name: &str) -> bool {
        KINDS.iter().any(|kind| kind.class == name)
    }

    /// The folder of a model that this kind of network is written to.
    pub fn folder_name(&self) -> &'static str {
        match self {
            Self::UNet(_) => "unet",
        }
    }

    /// The settings it was built from.
    pub fn config(&self) -> BackboneConfig {
        match self {
            Self::UNet(network) => BackboneConfig::UNet(network.config().clone()),
        }
    }

    /// One prediction.
    ///
    /// # Shapes
    /// - noisy: `[batch, height, width, in_channels]`
    /// - timesteps: `[batch]`, fractions allowed
    /// - condition: `[batch, tokens, condition_dim]`
    /// - result: `[batch, height, width, out_channels]`
    pub fn forward(&self, noisy: Tensor<4>, timesteps: Tensor<1>, condition: Tensor<3>) -> Tensor<4> {
        match self {
            Self::UNet(network) => network.forward(noisy, timesteps, condition),
        }
    }

    /// [`Backbone::forward`] that shows self-attention and features to `observe` as they come about. What is not kept
    /// there is gone before the next block runs, so that no more than one map need be in memory.
    pub fn forward_observed(
        &self,
        noisy: Tensor<4>,
        timesteps: Tensor<1>,
        condition: Tensor<3>,
        observe: &mut dyn FnMut(Observation),
    ) -> Tensor<4> {
        match self {
            Self::UNet(network) => {
                // The block before the finest, whose result is as fine as the finest already.
                let block = network.config().block_out_channels.len().saturating_sub(2);
                network.forward_observed(noisy, timesteps, condition, &mut |observation| match observation {
                    crate::unet::Observation::Attention(map) => observe(Observation::Attention(map)),
                    crate::unet::Observation::UpBlock { index, features } if index == block => {
                        observe(Observation::Features(features));
                    }
                    crate::unet::Observation::UpBlock { .. } => {}
                })
            }
        }
    }

    /// Reads the network of a model's folder, or a folder of the network's own.
    ///
    /// # Errors
    /// A folder without a network, settings that are not supported, tensors that are missing, unknown or mis-shaped.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let config = fs::read(folder.join("config.json")).unwrap_or_default();
        let config: Value = serde_json::from_slice(&config).unwrap_or_default();
        let kind = KINDS.iter().find(|kind| config["_class_name"] == kind.class).unwrap_or(&KINDS[0]);
        (kind.load)(folder, device)
    }

    /// Writes a folder in the layout of the network's origin; weights in f32, or in f16 where `half` is set: half the
    /// size, and outputs that differ in the fourth digit.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn save(&self, folder: &Path, half: bool) -> Result<(), Error> {
        match self {
            Self::UNet(network) if half => network.save_half(folder),
            Self::UNet(network) => network.save(folder),
        }
    }

    /// What people want to know of it: name and value, line by line.
    pub fn description(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::UNet(network) => {
                let config = network.config();
                vec![
                    ("network", "denoising UNet (UNet2DConditionModel)".to_owned()),
                    ("channels", format!("{} in, {} out", config.in_channels, config.out_channels)),
                    ("levels", format!("{:?}", config.block_out_channels)),
                    ("condition", format!("tokens of {}", config.cross_attention_dim)),
                ]
            }
        }
    }
}
