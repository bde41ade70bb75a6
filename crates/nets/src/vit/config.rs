//! The shape of an encoder, read from and written to the `config.json` of Hugging Face transformers.

use super::model::Vit;
use crate::error::Error;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The families of vision transformers that transformers calls `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `vit`: Dosovitskiy et al. 2021; the encoder of DINO (Caron et al. 2021).
    Vit,
    /// `dinov2`: Oquab et al. 2023; adds LayerScale, and SwiGLU in its largest size.
    Dinov2,
    /// `dinov2_with_registers`: Darcet et al. 2024; adds tokens that belong to no patch.
    Dinov2WithRegisters,
}

impl Architecture {
    /// The value of `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Vit => "vit",
            Self::Dinov2 => "dinov2",
            Self::Dinov2WithRegisters => "dinov2_with_registers",
        }
    }
}

/// Everything that determines the parameters and the output of a [`Vit`].
///
/// Serialises as a transformers `config.json`; reading refuses unknown fields, and fields that would change the output
/// in a way that is not implemented, by name. Dropout and stochastic depth act in training only and are not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct VitConfig {
    /// Family.
    pub architecture: Architecture,
    /// Length of a token.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub num_hidden_layers: usize,
    /// Attention heads per block; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers; a multiple of `hidden_size` for DINOv2, whose files state `mlp_ratio`. With
    /// SwiGLU the real width is [`VitConfig::mlp_width`].
    pub intermediate_size: usize,
    /// Added to the variance in layer normalisations.
    pub layer_norm_eps: f64,
    /// Side in pixels of the square images that the position embeddings were made for.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// What LayerScale starts from in a fresh network (DINOv2 only).
    pub layerscale_value: f64,
    /// Gated feed-forward layers (DINOv2 only).
    pub use_swiglu_ffn: bool,
    /// Whether the weights hold a mask token: always with registers, as stated in DINOv2, never in ViT. It takes part
    /// in masked pre-training only, not in the output.
    pub use_mask_token: bool,
    /// Tokens between class token and patches; 0 without registers.
    pub num_register_tokens: usize,
}

/// Fields of published files that have no influence on the output tokens in inference.
const WITHOUT_EFFECT: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "_out_features",
    "_out_indices",
    "apply_layernorm",
    "architectures",
    "attention_probs_dropout_prob",
    "chunk_size_feed_forward",
    "drop_path_rate",
    "dtype",
    "encoder_stride",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "num_labels",
    "out_features",
    "out_indices",
    "output_attentions",
    "output_hidden_states",
    "pooler_act",
    "pooler_output_size",
    "problem_type",
    "reshape_hidden_states",
    "return_dict",
    "stage_names",
    "torch_dtype",
    "transformers_version",
    "use_return_dict",
];

/// Largest size accepted for any dimension, so that a damaged file is refused rather than exhausting the memory.
const LARGEST: u64 = 1 << 15;

impl VitConfig {
    /// ViT-Ti: 192 wide, 12 blocks, 3 heads; 5.5 M parameters with patches of 16 pixels at 224.
    pub fn tiny(patch_size: usize, image_size: usize) -> Self {
        Self::vit(192, 3, patch_size, image_size)
    }

    /// ViT-S: 384 wide, 12 blocks, 6 heads; 21.7 M parameters with patches of 16 pixels at 224.
    pub fn small(patch_size: usize, image_size: usize) -> Self {
        Self::vit(384, 6, patch_size, image_size)
    }

    /// ViT-B: 768 wide, 12 blocks, 12 heads; 85.8 M parameters with patches of 16 pixels at 224.
    pub fn base(patch_size: usize, image_size: usize) -> Self {
        Self::vit(768, 12, patch_size, image_size)
    }

    fn vit(hidden_size: usize, num_attention_heads: usize, patch_size: usize, image_size: usize) -> Self {
        Self {
            architecture: Architecture::Vit,
            hidden_size,
            num_hidden_layers: 12,
            num_attention_heads,
            intermediate_size: 4 * hidden_size,
            layer_norm_eps: 1e-6, // as in DINO's code
            image_size,
            patch_size,
            qkv_bias: true,
            layerscale_value: 1.0,
            use_swiglu_ffn: false,
            use_mask_token: false,
            num_register_tokens: 0,
        }
    }

    /// Whether the blocks scale what they add to the tokens.
    pub fn has_layer_scale(&self) -> bool {
        self.architecture != Architecture::Vit
    }

    /// Patches along one side of an image of `image_size`.
    pub fn grid_size(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Width between the two feed-forward layers: two thirds of `intermediate_size`, rounded up to a multiple of 8,
    /// with SwiGLU.
    pub fn mlp_width(&self) -> usize {
        if self.use_swiglu_ffn { (self.intermediate_size * 2 / 3).div_ceil(8) * 8 } else { self.intermediate_size }
    }

    /// Checks that the numbers make a network.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ];
        for (field, size) in sizes {
            if size == 0 || size as u64 > LARGEST {
                return Err(Error::field(field, size, format!("must be in 1..={LARGEST}")));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let problem = format!("must divide `hidden_size` = {}", self.hidden_size);
            return Err(Error::field("num_attention_heads", self.num_attention_heads, problem));
        }
        if self.patch_size > self.image_size {
            let problem = format!("must not exceed `image_size` = {}", self.image_size);
            return Err(Error::field("patch_size", self.patch_size, problem));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return Err(Error::field("layer_norm_eps", self.layer_norm_eps, "must be between 0 and 1"));
        }
        if !self.layerscale_value.is_finite() {
            return Err(Error::field("layerscale_value", self.layerscale_value, "must be a finite number"));
        }
        let has_registers = self.architecture == Architecture::Dinov2WithRegisters;
        // A network with registers may have none: transformers accepts 0.
        if self.num_register_tokens as u64 > LARGEST || (self.num_register_tokens > 0 && !has_registers) {
            let problem = format!("does not fit `model_type` {}", self.architecture.model_type());
            return Err(Error::field("num_register_tokens", self.num_register_tokens, problem));
        }
        let fits_mask_token = match self.architecture {
            Architecture::Vit => !self.use_mask_token,
            Architecture::Dinov2 => true,
            Architecture::Dinov2WithRegisters => self.use_mask_token,
        };
        if !fits_mask_token {
            let problem = format!("does not fit `model_type` {}", self.architecture.model_type());
            return Err(Error::field("use_mask_token", self.use_mask_token, problem));
        }
        if self.architecture == Architecture::Vit && self.use_swiglu_ffn {
            return Err(Error::field("use_swiglu_ffn", true, "does not fit `model_type` vit"));
        }
        if self.has_layer_scale() && !self.intermediate_size.is_multiple_of(self.hidden_size) {
            let problem = format!("must be a multiple of `hidden_size` = {} (`mlp_ratio` is whole)", self.hidden_size);
            return Err(Error::field("intermediate_size", self.intermediate_size, problem));
        }
        Ok(())
    }

    /// A network of zeros and ones in this shape; [`crate::init::randomise`] with `TruncatedNormal(0.02)` makes it
    /// trainable. Preprocessing is [`super::Preprocessing::of_size`] of `image_size`.
    pub fn init(&self, device: &Device) -> Vit {
        Vit::new(self, device)
    }
}

impl TryFrom<Map<String, Value>> for VitConfig {
    type Error = Error;

    fn try_from(fields: Map<String, Value>) -> Result<Self, Error> {
        let mut fields = Fields(fields);
        let model_type = fields.0.remove("model_type").unwrap_or(Value::Null);
        let architecture = match model_type.as_str() {
            Some("vit") => Architecture::Vit,
            Some("dinov2") => Architecture::Dinov2,
            Some("dinov2_with_registers") => Architecture::Dinov2WithRegisters,
            _ => {
                let problem = "is no supported encoder; `vit`, `dinov2` and `dinov2_with_registers` are";
                return Err(Error::field("model_type", model_type, problem));
            }
        };
        // What transformers takes for a field that a file leaves out.
        let is_vit = architecture == Architecture::Vit;
        let (epsilon, patch_size) = match architecture {
            Architecture::Vit => (1e-12, 16),
            Architecture::Dinov2 => (1e-6, 14),
            Architecture::Dinov2WithRegisters => (1e-6, 16),
        };
        let hidden_size = fields.size("hidden_size", 768)?;
        let intermediate_size = if is_vit {
            fields.size("intermediate_size", 3072)?
        } else {
            hidden_size.saturating_mul(fields.size("mlp_ratio", 4)?)
        };
        let config = Self {
            architecture,
            hidden_size,
            num_hidden_layers: fields.size("num_hidden_layers", 12)?,
            num_attention_heads: fields.size("num_attention_heads", 12)?,
            intermediate_size,
            layer_norm_eps: fields.number("layer_norm_eps", epsilon)?,
            image_size: fields.square("image_size", 224)?,
            patch_size: fields.square("patch_size", patch_size)?,
            qkv_bias: fields.flag("qkv_bias", true)?,
            layerscale_value: if is_vit { 1.0 } else { fields.number("layerscale_value", 1.0)? },
            use_swiglu_ffn: !is_vit && fields.flag("use_swiglu_ffn", false)?,
            use_mask_token: match architecture {
                Architecture::Vit => false,
                Architecture::Dinov2 => fields.flag("use_mask_token", true)?,
                Architecture::Dinov2WithRegisters => true,
            },
            num_register_tokens: match architecture {
                Architecture::Dinov2WithRegisters => fields.count("num_register_tokens", 4)?,
                _ => 0,
            },
        };
        let num_channels = fields.size("num_channels", 3)?;
        if num_channels != 3 {
            return Err(Error::field("num_channels", num_channels, "is not supported; encoders here take 3 channels"));
        }
        let activation = fields.0.remove("hidden_act").unwrap_or_else(|| "gelu".into());
        if activation != "gelu" {
            return Err(Error::field("hidden_act", activation, "is not supported; `gelu` is"));
        }
        fields.0.retain(|field, value| !value.is_null() && !WITHOUT_EFFECT.contains(&field.as_str()));
        if let Some((field, value)) = fields.0.into_iter().next() {
            return Err(Error::UnknownField { field, value: value.to_string() });
        }
        config.validate()?;
        Ok(config)
    }
}

impl From<VitConfig> for Map<String, Value> {
    fn from(config: VitConfig) -> Self {
        let class = match config.architecture {
            Architecture::Vit => "ViTModel",
            Architecture::Dinov2 => "Dinov2Model",
            Architecture::Dinov2WithRegisters => "Dinov2WithRegistersModel",
        };
        let mut fields = Map::new();
        let mut set = |field: &str, value: Value| fields.insert(field.into(), value);
        set("architectures", json!([class]));
        set("model_type", json!(config.architecture.model_type()));
        set("hidden_size", json!(config.hidden_size));
        set("num_hidden_layers", json!(config.num_hidden_layers));
        set("num_attention_heads", json!(config.num_attention_heads));
        set("hidden_act", json!("gelu"));
        set("layer_norm_eps", json!(config.layer_norm_eps));
        set("image_size", json!(config.image_size));
        set("patch_size", json!(config.patch_size));
        set("num_channels", json!(3));
        set("qkv_bias", json!(config.qkv_bias));
        if config.architecture == Architecture::Vit {
            set("intermediate_size", json!(config.intermediate_size));
        } else {
            set("mlp_ratio", json!(config.intermediate_size / config.hidden_size.max(1)));
            set("layerscale_value", json!(config.layerscale_value));
            set("use_swiglu_ffn", json!(config.use_swiglu_ffn));
        }
        match config.architecture {
            Architecture::Vit => {}
            Architecture::Dinov2 => drop(set("use_mask_token", json!(config.use_mask_token))),
            Architecture::Dinov2WithRegisters => drop(set("num_register_tokens", json!(config.num_register_tokens))),
        }
        fields
    }
}

/// The fields of a file that nobody has asked for yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn size(&mut self, field: &'static str, default: usize) -> Result<usize, Error> {
        match self.0.remove(field) {
            None => Ok(default),
            Some(value) => whole(&value)
                .ok_or_else(|| Error::field(field, value, format!("must be a whole number in 1..={LARGEST}"))),
        }
    }

    /// Also 0.
    fn count(&mut self, field: &'static str, default: usize) -> Result<usize, Error> {
        match self.0.get(field).and_then(Value::as_f64) {
            Some(0.0) => {
                self.0.remove(field);
                Ok(0)
            }
            _ => self.size(field, default).map_err(|error| match error {
                Error::Field { field, value, .. } => {
                    Error::field(&field, value, format!("must be a whole number in 0..={LARGEST}"))
                }
                other => other,
            }),
        }
    }

    /// One number, or the same number twice.
    fn square(&mut self, field: &'static str, default: usize) -> Result<usize, Error> {
        let Some(value) = self.0.remove(field) else { return Ok(default) };
        let side = match value.as_array().map(Vec::as_slice) {
            None => whole(&value),
            Some([height, width]) if height == width => whole(height),
            Some(_) => None,
        };
        side.ok_or_else(|| {
            Error::field(
                field,
                value,
                format!("is not supported; one whole number in 1..={LARGEST} is, for both sides"),
            )
        })
    }

    fn number(&mut self, field: &'static str, default: f64) -> Result<f64, Error> {
        match self.0.remove(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| Error::field(field, value, "must be a number")),
        }
    }

    fn flag(&mut self, field: &'static str, default: bool) -> Result<bool, Error> {
        match self.0.remove(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| Error::field(field, value, "must be true or false")),
        }
    }
}

/// Also accepts `4.0`, which some files write for `mlp_ratio`.
fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number >= 1.0 && number <= LARGEST as f64).then_some(number as usize)
}
