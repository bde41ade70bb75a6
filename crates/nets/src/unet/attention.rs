//! The spatial transformer of a UNet: self-attention between pixels, cross-attention to the condition, feed-forward.
//!
//! Rombach et al. 2022 (arXiv 2112.10752), appendix E.2.1. Fields are named like checkpoint keys.

use super::{AttentionMap, Observation, config::Level};
use crate::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

/// Fixed in diffusers' `Transformer2DModel`, whatever `norm_eps` says.
const GROUP_NORM_EPSILON: f64 = 1e-6;
const LAYER_NORM_EPSILON: f64 = 1e-5;

/// What every block of one forward pass receives beside the image, and who looks on.
pub(super) struct Conditioning<'a> {
    /// SiLU of the time embedding, `[batch, time_dim]`: each residual block begins with it, so it is taken once.
    pub time: Tensor<2>,
    /// `[batch, tokens, cross_attention_dim]`
    pub condition: Tensor<3>,
    /// `None` where nobody asked: a map is a whole matrix of scores.
    pub observer: Option<&'a mut dyn FnMut(Observation)>,
}

/// Settings that all transformers of a network share.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerOptions {
    pub norm_num_groups: usize,
    pub condition_dim: usize,
    pub use_linear_projection: bool,
}

/// Normalised pixels as tokens through [`TransformerBlock`]s, added to the image.
#[derive(Module, Debug)]
pub struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
    /// Its place in the network, as in checkpoint keys.
    #[module(skip)]
    name: String,
}

impl Transformer {
    pub(super) fn new(name: String, level: &Level, options: TransformerOptions, device: &Device) -> Self {
        let TransformerOptions { norm_num_groups, condition_dim, use_linear_projection } = options;
        let channels = level.channels;
        let projection = || match use_linear_projection {
            true => Projection::Linear(Linear::new(channels, channels, device)),
            false => Projection::Conv2d(Conv2d::same(channels, channels, 1, device)),
        };
        let block = |_| TransformerBlock::new(level, condition_dim, device);
        Self {
            norm: GroupNorm::new(norm_num_groups, channels, GROUP_NORM_EPSILON, device),
            proj_in: projection(),
            transformer_blocks: (0..level.num_transformer_layers).map(block).collect(),
            proj_out: projection(),
            name,
        }
    }

    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub(super) fn forward(&self, images: Tensor<4>, conditioning: &mut Conditioning<'_>) -> Tensor<4> {
        let [batch, height, width, channels] = images.dims();
        let normalised = self.proj_in.forward(self.norm.forward(images.clone()));
        let mut tokens = normalised.reshape([batch, height * width, channels]);
        for (index, block) in self.transformer_blocks.iter().enumerate() {
            let (output, maps) = block.forward(tokens, conditioning);
            tokens = output;
            if let (Some(maps), Some(observe)) = (maps, &mut conditioning.observer) {
                let block_name = format!("{}.transformer_blocks.{index}", self.name);
                observe(Observation::Attention(AttentionMap { height, width, maps, block_name }));
            }
        }
        self.proj_out.forward(tokens.reshape([batch, height, width, channels])) + images
    }
}

/// The same computation in two layouts of weights: a 1x1 convolution is a linear layer.
#[derive(Module, Debug)]
pub enum Projection {
    /// Stable Diffusion 1.
    Conv2d(Conv2d),
    /// Stable Diffusion 2.
    Linear(Linear),
}

impl Projection {
    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv2d(layer) => layer.forward(images),
            Self::Linear(layer) => layer.forward(images),
        }
    }
}

/// Pre-normalised attention to the image, attention to the condition, and feed-forward, each added to its input.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
    only_cross_attention: bool,
}

impl TransformerBlock {
    fn new(level: &Level, condition_dim: usize, device: &Device) -> Self {
        let Level { channels: dim, num_heads, only_cross_attention, .. } = *level;
        let first_dim = if only_cross_attention { condition_dim } else { dim };
        let norm = || LayerNorm::new(dim, LAYER_NORM_EPSILON, device);
        Self {
            norm1: norm(),
            attn1: Attention::new(dim, first_dim, num_heads, device),
            norm2: norm(),
            attn2: Attention::new(dim, condition_dim, num_heads, device),
            norm3: norm(),
            ff: FeedForward::new(dim, device),
            only_cross_attention,
        }
    }

    /// Also returns where each pixel looks among the pixels, `[batch, tokens, tokens]`, where that is wanted and the
    /// block has such an attention.
    ///
    /// # Shapes
    /// `[batch, tokens, dim]`, kept
    fn forward(&self, tokens: Tensor<3>, conditioning: &Conditioning<'_>) -> (Tensor<3>, Option<Tensor<3>>) {
        let condition = &conditioning.condition;
        let normalised = self.norm1.forward(tokens.clone());
        let (attended, maps) = if self.only_cross_attention {
            (self.attn1.forward(normalised, condition.clone()), None)
        } else if conditioning.observer.is_some() {
            let (attended, maps) = self.attn1.forward_with_maps(normalised);
            (attended, Some(maps))
        } else {
            (self.attn1.forward(normalised.clone(), normalised), None)
        };
        let tokens = tokens + attended;
        let attended = self.attn2.forward(self.norm2.forward(tokens.clone()), condition.clone());
        let tokens = tokens + attended;
        let output = self.ff.forward(self.norm3.forward(tokens.clone())) + tokens;
        (output, maps)
    }
}

/// Multi-head attention whose projections into queries, keys and values have no bias.
#[derive(Module, Debug)]
pub struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// One layer; a list because checkpoints call it `to_out.0` (its `to_out.1` is a dropout).
    to_out: [Linear; 1],
    num_heads: usize,
}

impl Attention {
    fn new(query_dim: usize, key_dim: usize, num_heads: usize, device: &Device) -> Self {
        let linear = |dim_in| Linear::new(dim_in, query_dim, device);
        Self {
            to_q: linear(query_dim).without_bias(),
            to_k: linear(key_dim).without_bias(),
            to_v: linear(key_dim).without_bias(),
            to_out: [linear(query_dim)],
            num_heads,
        }
    }

    /// # Shapes
    /// - queries: `[batch, tokens, query_dim]`, kept
    /// - keys: `[batch, key_tokens, key_dim]`
    fn forward(&self, queries: Tensor<3>, keys: Tensor<3>) -> Tensor<3> {
        let (key, value) = (self.to_k.forward(keys.clone()), self.to_v.forward(keys));
        self.to_out[0].forward(kernels::attention(self.to_q.forward(queries), key, value, self.num_heads))
    }

    /// Self-attention; also returns its softmax averaged over heads, `[batch, tokens, tokens]`.
    fn forward_with_maps(&self, tokens: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let query = self.to_q.forward(tokens.clone());
        let (key, value) = (self.to_k.forward(tokens.clone()), self.to_v.forward(tokens));
        let attended = kernels::attention_with_maps(query, key, value, self.num_heads);
        (self.to_out[0].forward(attended.output), attended.maps)
    }
}

/// Linear layer, gated GELU of four times the width, linear layer.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `net.1` is a dropout without parameters, kept empty so that the last layer is called `net.2`.
    net: (GatedProjection, Option<Linear>, Linear),
}

/// The layer before a gated GELU: values, then gates.
#[derive(Module, Debug)]
pub struct GatedProjection {
    proj: Linear,
}

impl FeedForward {
    fn new(dim: usize, device: &Device) -> Self {
        let inner_dim = 4 * dim;
        let proj = Linear::new(dim, 2 * inner_dim, device);
        Self { net: (GatedProjection { proj }, None, Linear::new(inner_dim, dim, device)) }
    }

    /// # Shapes
    /// `[batch, tokens, dim]`, kept
    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let (gated, _, last) = &self.net;
        last.forward(kernels::geglu(gated.proj.forward(tokens)))
    }
}
