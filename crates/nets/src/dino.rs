//! What DINO trains: a vision transformer with a projection head (Caron et al. 2021, "Emerging Properties in
//! Self-Supervised Vision Transformers", section 3.1 and appendix C). After training the head is thrown away.

use crate::{
    encoder::{Encoder, EncoderConfig},
    init::{Initialisation, randomise},
    layers::Linear,
};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// Shape of the projection head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoHeadConfig {
    /// Layers before the last one, at least 1. Default 3, as the paper.
    pub num_layers: usize,
    /// Width between them. Default 2048, as the paper.
    pub hidden_dim: usize,
    /// Length of the vectors that are compared with the prototypes. Default 256, as the paper.
    pub bottleneck_dim: usize,
    /// Number of prototypes: the "classes" that student and teacher agree on. Default 65,536, as the paper; a few
    /// thousand do for some thousand images.
    pub output_dim: usize,
    /// Standardise each hidden unit over the batch before its GELU: batch normalisation without scale, shift or running
    /// averages (the paper's code offers `use_bn_in_head`). A fresh encoder gives all radiographs nearly the same
    /// embedding, and what tells them apart is too little for the teacher to be sure of anything; this makes it much.
    /// Default false, as the paper.
    pub batch_norm: bool,
}

impl Default for DinoHeadConfig {
    fn default() -> Self {
        Self { num_layers: 3, hidden_dim: 2048, bottleneck_dim: 256, output_dim: 65_536, batch_norm: false }
    }
}

/// An encoder with its head: the student, and with averaged weights the teacher.
#[derive(Module, Debug)]
pub struct DinoNetwork {
    /// What remains after training.
    pub encoder: Encoder,
    /// What the loss looks at.
    pub head: DinoHead,
}

impl DinoNetwork {
    /// A fresh network: truncated normal weights of deviation 0.02, as in DINO's code; the prototypes uniform.
    pub fn new(encoder: &EncoderConfig, head: &DinoHeadConfig, seed: u64, device: &Device) -> Self {
        let network = Self { encoder: encoder.init(device), head: DinoHead::new(encoder.dim(), head, device) };
        let mut network = randomise(network, Initialisation::TruncatedNormal(0.02), seed);
        // Only their directions count; their length decides how fast they turn.
        network.head.last_layer = randomise(network.head.last_layer, Initialisation::FanInUniform, seed);
        network
    }

    /// Class tokens of images of one size.
    ///
    /// # Shapes
    /// `[batch, height, width, 3]` to `[batch, dim]`
    pub fn embed(&self, images: Tensor<4>) -> Tensor<2> {
        self.encoder.forward(images).class_token()
    }
}

/// A multi-layer perceptron with GELU, normalisation to length 1, and a layer of prototypes of length 1: its outputs are
/// cosines.
#[derive(Module, Debug)]
pub struct DinoHead {
    mlp: Vec<Linear>,
    /// Directions of the prototypes; their lengths are fixed at 1, which the paper found more stable.
    last_layer: Linear,
    #[module(skip)]
    batch_norm: bool,
}

impl DinoHead {
    /// The part of parameters' names that tells the prototypes from the rest.
    pub const LAST_LAYER: &'static str = "head.last_layer.";

    /// A head of zeros for embeddings of length `dim`.
    pub fn new(dim: usize, config: &DinoHeadConfig, device: &Device) -> Self {
        let DinoHeadConfig { num_layers, hidden_dim, bottleneck_dim, output_dim, batch_norm } = *config;
        let mlp = (0..num_layers)
            .map(|layer| {
                let dim_in = if layer == 0 { dim } else { hidden_dim };
                let dim_out = if layer + 1 == num_layers { bottleneck_dim } else { hidden_dim };
                Linear::new(dim_in, dim_out, device)
            })
            .collect();
        Self { mlp, last_layer: Linear::new(bottleneck_dim, output_dim, device).without_bias(), batch_norm }
    }

    /// Cosines of each embedding with each prototype.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch, output_dim]`, in -1..=1
    pub fn forward(&self, embeddings: Tensor<2>) -> Tensor<2> {
        let mut hidden = embeddings;
        for (index, layer) in self.mlp.iter().enumerate() {
            let input = match (index, self.batch_norm) {
                (0, _) => hidden,
                (_, true) => kernels::gelu(standardised_over_batch(hidden)),
                (_, false) => kernels::gelu(hidden),
            };
            hidden = layer.forward(input);
        }
        let bottleneck = unit_length(hidden, 1);
        kernels::linear(bottleneck, unit_length(self.last_layer.weight.val(), 0), None)
    }
}

/// Each column brought to mean 0 and standard deviation 1; one that is constant becomes 0.
fn standardised_over_batch(rows: Tensor<2>) -> Tensor<2> {
    /// That of PyTorch's batch normalisation.
    const EPSILON: f64 = 1e-5;
    let centred = rows.clone() - rows.mean_dim(0);
    let variance = centred.clone().square().mean_dim(0);
    centred / (variance + EPSILON).sqrt()
}

/// Vectors along an axis divided by their length; one of length 0 stays 0.
pub fn unit_length(vectors: Tensor<2>, axis: usize) -> Tensor<2> {
    // Far below any length that occurs, so it changes no digit; it keeps the gradient of the root finite.
    const SMALLEST_SQUARE: f64 = 1e-24;
    let squares = vectors.clone().square().sum_dim(axis) + SMALLEST_SQUARE;
    vectors / squares.sqrt()
}
