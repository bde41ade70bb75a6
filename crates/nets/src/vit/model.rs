//! The network itself. Fields are named like the keys of DINOv2 files, which all families share here; `names` maps
//! the other spellings.

use super::{
    Preprocessing, VitConfig,
    position::{Interpolation, interpolate},
};
use crate::layers::{Conv2d, LayerNorm, Linear};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use kernels::Conv2dOptions;

/// A vision transformer: images to one class token, register tokens where the architecture has them, and one token for
/// each patch.
#[derive(Module, Debug)]
pub struct Vit {
    pub(super) embeddings: Embeddings,
    pub(super) encoder: Encoder,
    layernorm: LayerNorm,
    #[module(skip)]
    config: VitConfig,
    #[module(skip)]
    preprocessing: Preprocessing,
}

/// Tokens after the last layer normalisation.
#[derive(Debug, Clone)]
pub struct VitOutput {
    /// `[batch, 1 + registers + patches, dim]`: class token, register tokens, patches row by row.
    pub tokens: Tensor<3>,
    /// How many of them are registers.
    pub num_register_tokens: usize,
}

impl VitOutput {
    /// What the network says about the image as a whole: `[batch, dim]`. Called the embedding of an image.
    pub fn class_token(&self) -> Tensor<2> {
        self.tokens.clone().narrow(1, 0, 1).squeeze_dim(1)
    }

    /// `[batch, registers, dim]`, or `None` where the architecture has none.
    pub fn register_tokens(&self) -> Option<Tensor<3>> {
        (self.num_register_tokens > 0).then(|| self.tokens.clone().narrow(1, 1, self.num_register_tokens))
    }

    /// `[batch, patches, dim]`, patches row by row.
    pub fn patch_tokens(&self) -> Tensor<3> {
        let first = 1 + self.num_register_tokens;
        let [_, num_tokens, _] = self.tokens.dims();
        self.tokens.clone().narrow(1, first, num_tokens - first)
    }

    /// What conditions a generator: the class token, and the registers where asked for. Patch tokens are never part of
    /// it, because they would tell the generator where everything is.
    ///
    /// # Shapes
    /// `[batch, 1, dim]`, or `[batch, 1 + registers, dim]` with registers
    pub fn global_tokens(&self, with_registers: bool) -> Tensor<3> {
        let num_tokens = if with_registers { 1 + self.num_register_tokens } else { 1 };
        self.tokens.clone().narrow(1, 0, num_tokens)
    }
}

impl Vit {
    pub(super) fn new(config: &VitConfig, device: &Device) -> Self {
        Self {
            embeddings: Embeddings::new(config, device),
            encoder: Encoder { layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, device)).collect() },
            layernorm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
            config: config.clone(),
            preprocessing: Preprocessing::of_size(config.image_size),
        }
    }

    /// The shape of the network.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// How pictures become the images that [`Vit::forward`] takes.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The same network with other preprocessing.
    pub fn with_preprocessing(mut self, preprocessing: Preprocessing) -> Self {
        self.preprocessing = preprocessing;
        self
    }

    /// The same network with its position embeddings resampled for square images of another size, for good: what
    /// [`Vit::forward`] does for each such image.
    ///
    /// # Shapes
    /// `image_size`: a multiple of the patch size
    pub fn for_image_size(mut self, image_size: usize) -> Self {
        let (old, new) = (self.config.grid_size(), image_size / self.config.patch_size);
        if old != new {
            let positions = self.embeddings.position_embeddings.val().detach();
            let patches = positions.clone().narrow(1, 1, old * old);
            let patches = interpolate(patches, [new, new], Interpolation::of(self.config.architecture));
            self.embeddings.position_embeddings = parameter(Tensor::cat(vec![positions.narrow(1, 0, 1), patches], 1));
        }
        self.config.image_size = image_size;
        self
    }

    /// The same network with every position embedding, the class token's too, multiplied by a number.
    pub fn with_scaled_positions(mut self, factor: f64) -> Self {
        let positions = self.embeddings.position_embeddings.val().detach() * factor;
        self.embeddings.position_embeddings = parameter(positions);
        self
    }

    /// Runs the network on images normalised by [`Vit::preprocessing`]. Images of another size than the configuration's
    /// get interpolated position embeddings; rows and columns beyond the last whole patch are not looked at. Both as in
    /// transformers (for `ViTModel`, with `interpolate_pos_encoding=True`).
    ///
    /// # Shapes
    /// `[batch, height, width, 3]`, height and width at least `patch_size`
    pub fn forward(&self, images: Tensor<4>) -> VitOutput {
        let mut tokens = self.embeddings.forward(images, &self.config);
        for layer in &self.encoder.layer {
            tokens = layer.forward(tokens);
        }
        VitOutput { tokens: self.layernorm.forward(tokens), num_register_tokens: self.config.num_register_tokens }
    }
}

/// A parameter of these values. A tensor that was computed keeps the memory of how, even detached, and cannot be trained.
fn parameter(values: Tensor<3>) -> Param<Tensor<3>> {
    let device = values.device();
    Param::from_tensor(Tensor::from_data(values.into_data(), &device))
}

/// Images to tokens.
#[derive(Module, Debug)]
pub(super) struct Embeddings {
    /// `[1, 1, dim]`
    cls_token: Param<Tensor<3>>,
    /// `[1, dim]`; kept so that files are complete, used in masked pre-training only
    mask_token: Option<Param<Tensor<2>>>,
    /// `[1, registers, dim]`
    register_tokens: Option<Param<Tensor<3>>>,
    /// `[1, 1 + patches, dim]`: for the class token, then for a square grid of patches row by row
    position_embeddings: Param<Tensor<3>>,
    patch_embeddings: PatchEmbeddings,
}

#[derive(Module, Debug)]
struct PatchEmbeddings {
    projection: Conv2d,
}

impl Embeddings {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let VitConfig { hidden_size: dim, patch_size, num_register_tokens, .. } = *config;
        let num_patches = config.grid_size() * config.grid_size();
        let projection = Conv2d::new(3, dim, patch_size, Conv2dOptions::strided(patch_size, 0), device);
        let zeros = |num_tokens| Param::from_tensor(Tensor::zeros([1, num_tokens, dim], device));
        Self {
            cls_token: zeros(1),
            mask_token: config.use_mask_token.then(|| Param::from_tensor(Tensor::zeros([1, dim], device))),
            register_tokens: (num_register_tokens > 0).then(|| zeros(num_register_tokens)),
            position_embeddings: zeros(1 + num_patches),
            patch_embeddings: PatchEmbeddings { projection },
        }
    }

    fn forward(&self, images: Tensor<4>, config: &VitConfig) -> Tensor<3> {
        let [batch, height, width, _] = images.dims();
        let patch_size = config.patch_size;
        let (rows, columns) = (height / patch_size, width / patch_size);
        let images = images.narrow(1, 0, rows * patch_size).narrow(2, 0, columns * patch_size);
        let patches = self.patch_embeddings.projection.forward(images); // [batch, rows, columns, dim]
        let dim = config.hidden_size;
        let patches = patches.reshape([batch, rows * columns, dim]);

        let positions = self.position_embeddings.val(); // [1, 1 + grid * grid, dim]
        let grid_size = config.grid_size();
        let class_position = positions.clone().narrow(1, 0, 1);
        let patch_positions = positions.narrow(1, 1, grid_size * grid_size);
        let patch_positions = if rows * columns == grid_size * grid_size && height == width {
            patch_positions
        } else {
            interpolate(patch_positions, [rows, columns], Interpolation::of(config.architecture))
        };

        let class_token = (self.cls_token.val() + class_position).repeat_dim(0, batch);
        let mut tokens = vec![class_token];
        // Registers come after the positions are added: they have none.
        tokens.extend(self.register_tokens.as_ref().map(|registers| registers.val().repeat_dim(0, batch)));
        tokens.push(patches + patch_positions);
        Tensor::cat(tokens, 1)
    }
}

#[derive(Module, Debug)]
pub(super) struct Encoder {
    layer: Vec<Layer>,
}

/// One transformer block, normalising before attention and before the feed-forward layers.
#[derive(Module, Debug)]
struct Layer {
    norm1: LayerNorm,
    attention: AttentionBlock,
    layer_scale1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: Mlp,
    layer_scale2: Option<LayerScale>,
}

impl Layer {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let norm = || LayerNorm::new(config.hidden_size, config.layer_norm_eps, device);
        let layer_scale = || config.has_layer_scale().then(|| LayerScale::new(config, device));
        Self {
            norm1: norm(),
            attention: AttentionBlock::new(config, device),
            layer_scale1: layer_scale(),
            norm2: norm(),
            mlp: Mlp::new(config, device),
            layer_scale2: layer_scale(),
        }
    }

    /// # Shapes
    /// `[batch, tokens, dim]`, kept
    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let update = self.attention.forward(self.norm1.forward(tokens.clone()));
        let tokens = tokens + scale(&self.layer_scale1, update);
        let update = self.mlp.forward(self.norm2.forward(tokens.clone()));
        tokens + scale(&self.layer_scale2, update)
    }
}

fn scale(layer_scale: &Option<LayerScale>, update: Tensor<3>) -> Tensor<3> {
    match layer_scale {
        Some(layer_scale) => layer_scale.forward(update),
        None => update,
    }
}

/// A learned factor for each entry of a token (Touvron et al. 2021).
#[derive(Module, Debug)]
struct LayerScale {
    /// `[dim]`
    lambda1: Param<Tensor<1>>,
}

impl LayerScale {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let lambda1 = Tensor::ones([config.hidden_size], device) * config.layerscale_value;
        Self { lambda1: Param::from_tensor(lambda1) }
    }

    fn forward(&self, update: Tensor<3>) -> Tensor<3> {
        let lambda1 = self.lambda1.val();
        let [dim] = lambda1.dims();
        update * lambda1.reshape([1, 1, dim])
    }
}

#[derive(Module, Debug)]
struct AttentionBlock {
    attention: SelfAttention,
    output: Output,
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    num_heads: usize,
}

#[derive(Module, Debug)]
struct Output {
    dense: Linear,
}

impl AttentionBlock {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let dim = config.hidden_size;
        let projection = || {
            let linear = Linear::new(dim, dim, device);
            if config.qkv_bias { linear } else { linear.without_bias() }
        };
        Self {
            attention: SelfAttention {
                query: projection(),
                key: projection(),
                value: projection(),
                num_heads: config.num_attention_heads,
            },
            output: Output { dense: Linear::new(dim, dim, device) },
        }
    }

    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let SelfAttention { query, key, value, num_heads } = &self.attention;
        let (query, key, value) = (query.forward(tokens.clone()), key.forward(tokens.clone()), value.forward(tokens));
        self.output.dense.forward(kernels::attention(query, key, value, *num_heads))
    }
}

/// Two feed-forward layers with GELU between them, or, gated, with SwiGLU (Shazeer 2020): then `fc1` gives gates and
/// values side by side, and `fc2` gets `silu(gates) · values`.
#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    gated: bool,
}

impl Mlp {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let (dim, width, gated) = (config.hidden_size, config.mlp_width(), config.use_swiglu_ffn);
        let fc1 = Linear::new(dim, if gated { 2 * width } else { width }, device);
        Self { fc1, fc2: Linear::new(width, dim, device), gated }
    }

    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let hidden = self.fc1.forward(tokens);
        let hidden = if self.gated {
            let [_, _, twice_width] = hidden.dims();
            let width = twice_width / 2;
            kernels::silu(hidden.clone().narrow(2, 0, width)) * hidden.narrow(2, width, width)
        } else {
            kernels::gelu(hidden)
        };
        self.fc2.forward(hidden)
    }
}
