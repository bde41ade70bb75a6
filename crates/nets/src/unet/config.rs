//! What a UNet is made of: the settings of diffusers' `UNet2DConditionModel`, read from and written to its `config.json`.
//!
//! Three types for three moments: the file ([`UNetConfig::from_json`] refuses what would silently change the network),
//! the settings ([`UNetConfig`]), and the checked plan of every level ([`Plan`]) that the network is built from.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The `_class_name` of diffusers' UNet.
const CLASS_NAME: &str = "UNet2DConditionModel";

/// One value for all levels of the network, or a list with one for each, finest level first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrEach<T> {
    /// The same everywhere.
    One(T),
    /// One for each level.
    Each(Vec<T>),
}

impl<T: Copy> OneOrEach<T> {
    fn resolve(&self, key: &str, num_levels: usize) -> Result<Vec<T>, Error> {
        match self {
            Self::One(value) => Ok(vec![*value; num_levels]),
            Self::Each(values) if values.len() == num_levels => Ok(values.clone()),
            Self::Each(values) => Err(Error::Impossible(format!(
                "`{key}` has {} entries for {num_levels} levels of `block_out_channels`; give one number or \
                 {num_levels} of them",
                values.len()
            ))),
        }
    }
}

/// A level of the contracting half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks, each followed by a transformer.
    CrossAttnDownBlock2D,
    /// Residual blocks only.
    DownBlock2D,
}

/// A level of the expanding half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks, each followed by a transformer.
    CrossAttnUpBlock2D,
    /// Residual blocks only.
    UpBlock2D,
}

/// What stands between the two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// Residual block, transformer, residual block.
    UNetMidBlock2DCrossAttn,
}

/// The activation of residual blocks and time embedding (transformers always use GEGLU).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x · sigmoid(x)`
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

/// Settings of a UNet, named as in diffusers. `Default` is Stable Diffusion 1.5.
///
/// ```
/// use nets::unet::UNetConfig;
///
/// let config = UNetConfig { block_out_channels: vec![320, 640], ..UNetConfig::default() };
/// assert!(config.validate().is_err(), "there are still four block types");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Height and width of the latents that the network was made for; only kept for diffusers' pipelines.
    pub sample_size: Option<OneOrEach<usize>>,
    /// Channels of the noisy latents.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Whether the input is mapped from 0..=1 to -1..=1 first.
    pub center_input_sample: bool,
    /// Whether the time embedding starts with the cosines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the spacing of the time embedding; 1 makes the lowest exactly 1e-4.
    pub freq_shift: usize,
    /// Kinds of the levels of the contracting half, finest first.
    pub down_block_types: Vec<DownBlockType>,
    /// What stands between the halves.
    pub mid_block_type: MidBlockType,
    /// Kinds of the levels of the expanding half, coarsest first.
    pub up_block_types: Vec<UpBlockType>,
    /// Whether the first attention of a transformer looks at the condition instead of the image (never in the middle).
    pub only_cross_attention: OneOrEach<bool>,
    /// Channels of the levels, finest first; each level but the last halves height and width.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the contracting half; the expanding half has one more.
    pub layers_per_block: OneOrEach<usize>,
    /// Zeros around the image before a halving convolution; 0 pads one row below and one column to the right.
    pub downsample_padding: usize,
    /// The middle's residual blocks divide their output by this.
    pub mid_block_scale_factor: f64,
    /// Activation.
    pub act_fn: Activation,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Epsilon of the group normalisations outside transformers (theirs is 1e-6).
    pub norm_eps: f64,
    /// Length of a condition token.
    pub cross_attention_dim: usize,
    /// Attention blocks in a row in each transformer.
    pub transformer_layers_per_block: OneOrEach<usize>,
    /// The **number of attention heads**, in spite of its name: diffusers keeps the mistake of its first version.
    pub attention_head_dim: OneOrEach<usize>,
    /// Whether transformers enter and leave by linear layers (Stable Diffusion 2) instead of 1x1 convolutions.
    pub use_linear_projection: bool,
    /// Whether attention scores are computed in f32, as they always are here; kept for diffusers.
    pub upcast_attention: bool,
    /// Odd kernel size of the first convolution.
    pub conv_in_kernel: usize,
    /// Odd kernel size of the last convolution.
    pub conv_out_kernel: usize,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use DownBlockType::{CrossAttnDownBlock2D, DownBlock2D};
        use UpBlockType::{CrossAttnUpBlock2D, UpBlock2D};
        Self {
            sample_size: Some(OneOrEach::One(64)),
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0,
            down_block_types: vec![CrossAttnDownBlock2D, CrossAttnDownBlock2D, CrossAttnDownBlock2D, DownBlock2D],
            mid_block_type: MidBlockType::UNetMidBlock2DCrossAttn,
            up_block_types: vec![UpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D],
            only_cross_attention: OneOrEach::One(false),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: OneOrEach::One(2),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            act_fn: Activation::Silu,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 768,
            transformer_layers_per_block: OneOrEach::One(1),
            attention_head_dim: OneOrEach::One(8),
            use_linear_projection: false,
            upcast_attention: false,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
        }
    }
}

/// Settings of diffusers that this network does not have, each with the value that means "absent".
///
/// `mid_block_only_cross_attention` is missing on purpose: `UNetMidBlock2DCrossAttn` ignores it.
fn absent_settings() -> Map<String, Value> {
    let table = json!({
        "dropout": 0.0,
        "reverse_transformer_layers_per_block": null,
        "encoder_hid_dim": null,
        "encoder_hid_dim_type": null,
        "num_attention_heads": null,
        "dual_cross_attention": false,
        "class_embed_type": null,
        "addition_embed_type": null,
        "addition_time_embed_dim": null,
        "num_class_embeds": null,
        "resnet_time_scale_shift": "default",
        "resnet_skip_time_act": false,
        "resnet_out_scale_factor": 1.0,
        "time_embedding_type": "positional",
        "time_embedding_dim": null,
        "time_embedding_act_fn": null,
        "timestep_post_act": null,
        "time_cond_proj_dim": null,
        "projection_class_embeddings_input_dim": null,
        "attention_type": "default",
        "class_embeddings_concat": false,
        "cross_attention_norm": null,
        "addition_embed_type_num_heads": 64,
    });
    match table {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn same_value(left: &Value, right: &Value) -> bool {
    // 1 and 1.0 are the same setting.
    left == right || (left.as_f64().is_some() && left.as_f64() == right.as_f64())
}

impl UNetConfig {
    /// Reads diffusers' `config.json`. A setting that the file leaves out has diffusers' default.
    ///
    /// # Errors
    /// [`Error`] for wrong syntax, another class of network, and every setting that is not supported, by name.
    /// Whether the settings fit together is what [`UNetConfig::validate`] tells.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json_error = |error: serde_json::Error| {
            Error::Impossible(format!(
                "the UNet configuration cannot be read ({error}); compare it with the `config.json` of a diffusers UNet"
            ))
        };
        let mut settings: Map<String, Value> = serde_json::from_str(text).map_err(json_error)?;
        if let Some(found) = settings.get("_class_name").filter(|found| *found != CLASS_NAME) {
            return Err(Error::Impossible(format!(
                "the configuration describes a `{}`, but a `{CLASS_NAME}` is needed; choose the `unet` folder",
                found.as_str().unwrap_or("?")
            )));
        }
        settings.retain(|key, _| !key.starts_with('_') && key != "mid_block_only_cross_attention");
        for (key, absent) in absent_settings() {
            if let Some(value) = settings.remove(&key).filter(|value| !same_value(value, &absent)) {
                return Err(Error::Impossible(format!(
                    "the UNet setting `{key}` is {value}, but only {absent} is supported; use a Stable Diffusion 1 or 2 \
                     UNet"
                )));
            }
        }
        // The one setting where diffusers' default differs from Stable Diffusion 1.5.
        settings.entry("cross_attention_dim").or_insert(json!(1280));
        serde_json::from_value(Value::Object(settings)).map_err(json_error)
    }

    /// The text of a `config.json` that diffusers reads.
    ///
    /// # Errors
    /// [`Error::Impossible`] where a number is not finite.
    pub fn to_json(&self) -> Result<String, Error> {
        let json_error = |error: serde_json::Error| {
            Error::Impossible(format!(
                "the UNet configuration cannot be read ({error}); compare it with the `config.json` of a diffusers UNet"
            ))
        };
        let mut settings = serde_json::to_value(self).map_err(json_error)?;
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("_class_name".into(), json!(CLASS_NAME));
        }
        serde_json::to_string_pretty(&settings).map_err(json_error)
    }

    /// Says whether a network of these settings can be built.
    ///
    /// # Errors
    /// [`Error::Impossible`] with the first contradiction found.
    pub fn validate(&self) -> Result<(), Error> {
        self.plan().map(drop)
    }

    /// Checks everything and spells out each level.
    pub(super) fn plan(&self) -> Result<Plan, Error> {
        let impossible = |reason: String| Err(Error::Impossible(reason));
        let num_levels = self.block_out_channels.len();
        for (key, found) in
            [("down_block_types", self.down_block_types.len()), ("up_block_types", self.up_block_types.len())]
        {
            if found != num_levels || num_levels == 0 {
                return impossible(format!(
                    "`{key}` has {found} entries and `block_out_channels` {num_levels}; give as many of each, at least 1"
                ));
            }
        }
        let layers = self.layers_per_block.resolve("layers_per_block", num_levels)?;
        let heads = self.attention_head_dim.resolve("attention_head_dim", num_levels)?;
        let transformer_layers =
            self.transformer_layers_per_block.resolve("transformer_layers_per_block", num_levels)?;
        let only_cross = self.only_cross_attention.resolve("only_cross_attention", num_levels)?;
        let counts = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("cross_attention_dim", self.cross_attention_dim),
        ];
        let each = |key: &'static str, values: &[usize]| values.iter().map(|&value| (key, value)).collect::<Vec<_>>();
        let counts = counts
            .into_iter()
            .chain(each("block_out_channels", &self.block_out_channels))
            .chain(each("layers_per_block", &layers))
            .chain(each("attention_head_dim", &heads))
            .chain(each("transformer_layers_per_block", &transformer_layers));
        if let Some((key, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return impossible(format!("`{key}` is 0; it must be at least 1"));
        }
        for (key, kernel) in [("conv_in_kernel", self.conv_in_kernel), ("conv_out_kernel", self.conv_out_kernel)] {
            if kernel % 2 == 0 {
                return impossible(format!("`{key}` is {kernel}; it must be odd to keep the size of the image"));
            }
        }
        if self.downsample_padding > 1 {
            return impossible(format!("`downsample_padding` is {}; it must be 0 or 1", self.downsample_padding));
        }
        for (key, value) in [("norm_eps", self.norm_eps), ("mid_block_scale_factor", self.mid_block_scale_factor)] {
            if !(value.is_finite() && value > 0.0) {
                return impossible(format!("`{key}` is {value}; it must be a positive number"));
            }
        }
        let time_dim = self.block_out_channels[0];
        if time_dim % 2 == 1 || self.freq_shift >= time_dim / 2 {
            return impossible(format!(
                "the time embedding has {time_dim} numbers, the first of `block_out_channels`, and `freq_shift` is {}; \
                 the former must be even and the latter less than half of it",
                self.freq_shift
            ));
        }
        let mut levels = Vec::with_capacity(num_levels);
        for level in 0..num_levels {
            let channels = self.block_out_channels[level];
            let groups = self.norm_num_groups;
            if !channels.is_multiple_of(groups) {
                return impossible(format!(
                    "{channels} in `block_out_channels` is not divisible by {groups}, the `norm_num_groups`"
                ));
            }
            let down_attention = self.down_block_types[level] == DownBlockType::CrossAttnDownBlock2D;
            let up_attention = self.up_block_types[num_levels - 1 - level] == UpBlockType::CrossAttnUpBlock2D;
            let middle_attention = level + 1 == num_levels;
            let num_heads = heads[level];
            if (down_attention || up_attention || middle_attention) && !channels.is_multiple_of(num_heads) {
                return impossible(format!(
                    "{channels} in `block_out_channels` is not divisible by {num_heads} attention heads \
                     (`attention_head_dim`, which counts heads)"
                ));
            }
            levels.push(Level {
                channels,
                num_layers: layers[level],
                num_heads,
                num_transformer_layers: transformer_layers[level],
                only_cross_attention: only_cross[level],
                down_attention,
                up_attention,
            });
        }
        Ok(Plan { levels, time_dim: 4 * time_dim })
    }
}

/// A checked configuration, level by level, finest first.
#[derive(Debug)]
pub(super) struct Plan {
    pub levels: Vec<Level>,
    /// Length of the time embedding that residual blocks receive.
    pub time_dim: usize,
}

/// Both halves of one resolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub channels: usize,
    /// Residual blocks on the way down.
    pub num_layers: usize,
    pub num_heads: usize,
    pub num_transformer_layers: usize,
    pub only_cross_attention: bool,
    pub down_attention: bool,
    pub up_attention: bool,
}
