//! A small residual network for classification, trained from scratch on few images.
//!
//! Pre-activation blocks (He et al. 2016, "Identity mappings in deep residual networks") with group normalisation
//! (Wu and He 2018) and SiLU: nothing in it depends on the rest of a batch, so small batches and mixtures of real and
//! synthetic images train like any other.

use crate::layers::{Conv2d, GroupNorm, Linear};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use kernels::Conv2dOptions;

/// Groups of the normalisation; divides the channels of every stage.
pub const NUM_GROUPS: usize = 8;
const EPSILON: f64 = 1e-5;

/// The network.
#[derive(Module, Debug)]
pub struct ResidualClassifier {
    conv_in: Conv2d,
    stages: Vec<Stage>,
    norm: GroupNorm,
    head: Linear,
}

/// Blocks of one resolution.
#[derive(Module, Debug)]
struct Stage {
    down: Option<Conv2d>,
    blocks: Vec<Block>,
}

/// `x + conv(silu(norm(conv(silu(norm(x))))))`
#[derive(Module, Debug)]
struct Block {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
}

impl ResidualClassifier {
    /// Weights of 0, to be filled by [`crate::init::randomise`]. The first stage works at half the image's size, each
    /// later one at half the size of the one before; each begins with a convolution of stride 2.
    ///
    /// # Shapes
    /// - channels: of each stage, each divisible by [`NUM_GROUPS`]
    pub fn new(channels: &[usize], blocks_per_stage: usize, num_outputs: usize, device: &Device) -> Self {
        let halving = Conv2dOptions::strided(2, 1);
        let first = channels.first().copied().unwrap_or(NUM_GROUPS);
        let mut width = first;
        let stages = channels.iter().enumerate().map(|(number, &own)| {
            let down = (number > 0).then(|| Conv2d::new(width, own, 3, halving, device));
            width = own;
            Stage { down, blocks: (0..blocks_per_stage).map(|_| Block::new(own, device)).collect() }
        });
        let stages = stages.collect();
        Self {
            conv_in: Conv2d::new(1, first, 3, halving, device),
            stages,
            norm: GroupNorm::new(NUM_GROUPS, width, EPSILON, device),
            head: Linear::new(width, num_outputs, device),
        }
    }

    /// # Shapes
    /// grey images `[batch, height, width, 1]` in -1..=1 to logits `[batch, num_outputs]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut hidden = self.conv_in.forward(images);
        for stage in &self.stages {
            if let Some(down) = &stage.down {
                hidden = down.forward(hidden);
            }
            for block in &stage.blocks {
                hidden = block.forward(hidden);
            }
        }
        let hidden = self.norm.forward_silu(hidden);
        let [batch, height, width, channels] = hidden.dims();
        let pooled = hidden.reshape([batch, height * width, channels]).mean_dim(1).reshape([batch, channels]);
        self.head.forward(pooled)
    }
}

impl Block {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::new(NUM_GROUPS, channels, EPSILON, device),
            conv1: Conv2d::same(channels, channels, 3, device),
            norm2: GroupNorm::new(NUM_GROUPS, channels, EPSILON, device),
            conv2: Conv2d::same(channels, channels, 3, device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let hidden = self.conv1.forward(self.norm1.forward_silu(images.clone()));
        images + self.conv2.forward(self.norm2.forward_silu(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Initialisation, randomise};

    /// What an image gives depends neither on its neighbours in the batch nor on their number.
    #[test]
    fn an_image_is_judged_by_itself() {
        let device = Device::flex();
        let network = ResidualClassifier::new(&[16, 32], 1, 3, &device);
        let network = randomise(network, Initialisation::FanInUniform, 1);
        let images = Tensor::<4>::random([4, 16, 16, 1], burn::tensor::Distribution::Uniform(-1.0, 1.0), &device);
        let together = network.forward(images.clone()).into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(together.len(), 12);
        assert!(together.iter().any(|logit| *logit != together[0]));
        for (image, expected) in together.chunks_exact(3).enumerate() {
            let alone = network.forward(images.clone().narrow(0, image, 1)).into_data();
            assert_eq!(alone.try_into_vec::<f32>().unwrap(), expected);
        }
    }
}
