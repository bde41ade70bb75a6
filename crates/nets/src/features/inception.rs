//! Inception-v3 as the Fréchet inception distance has it: the weights of `pt_inception-2015-12-05-6726825d.pth`, which
//! were converted from the TensorFlow graph of Heusel et al. (2017).
//!
//! It differs from torchvision's network in its 1,008 outputs, in means that leave padding out, and in `Mixed_7c`, whose
//! pooling branch takes the largest value. There is no auxiliary head.

use super::{
    checkpoint::{self, Kind, in_file as mismatch_in},
    inception_blocks::{BlockA, BlockB, BlockC, BlockD, BlockE, ConvRelu, Pooling},
    names::with_first_letter,
};
use crate::error::Error;
use crate::{
    checkpoint::{Checkpoint, HostTensor},
    layers::Linear,
    weights::{load_weights, weights_of},
};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use kernels::PoolOptions;
use std::path::Path;

/// Of every batch normalisation.
const EPSILON: f64 = 1e-3;
/// Classes of the published weights.
const NUM_CLASSES: usize = 1008;
/// Length of a feature.
const DIM: usize = 2048;

const KIND: Kind = Kind {
    network: "Inception-v3 of the Fréchet inception distance",
    marker: "Conv2d_1a_3x3.conv.weight",
    remedy: "give `pt_inception-2015-12-05-6726825d.pth` or a file with its layout",
    is_ignored: |name| name.starts_with("AuxLogits."),
};

/// The network. Its batch normalisations are part of its convolutions, so that it is for looking at images, not for
/// training.
#[derive(Module, Debug)]
pub struct Inception {
    conv2d_1a_3x3: ConvRelu,
    conv2d_2a_3x3: ConvRelu,
    conv2d_2b_3x3: ConvRelu,
    conv2d_3b_1x1: ConvRelu,
    conv2d_4a_3x3: ConvRelu,
    mixed_5b: BlockA,
    mixed_5c: BlockA,
    mixed_5d: BlockA,
    mixed_6a: BlockB,
    mixed_6b: BlockC,
    mixed_6c: BlockC,
    mixed_6d: BlockC,
    mixed_6e: BlockC,
    mixed_7a: BlockD,
    mixed_7b: BlockE,
    mixed_7c: BlockE,
    fc: Linear,
}

impl Inception {
    /// A network with zeros for weights; [`crate::init::randomise`] fills them.
    pub fn new(device: &Device) -> Self {
        Self::with_classes(NUM_CLASSES, device)
    }

    fn with_classes(num_classes: usize, device: &Device) -> Self {
        Self {
            conv2d_1a_3x3: ConvRelu::inside(3, 32, 2, device),
            conv2d_2a_3x3: ConvRelu::inside(32, 32, 1, device),
            conv2d_2b_3x3: ConvRelu::same(32, 64, [3, 3], device),
            conv2d_3b_1x1: ConvRelu::point(64, 80, device),
            conv2d_4a_3x3: ConvRelu::inside(80, 192, 1, device),
            mixed_5b: BlockA::new(192, 32, device),
            mixed_5c: BlockA::new(256, 64, device),
            mixed_5d: BlockA::new(288, 64, device),
            mixed_6a: BlockB::new(288, device),
            mixed_6b: BlockC::new(768, 128, device),
            mixed_6c: BlockC::new(768, 160, device),
            mixed_6d: BlockC::new(768, 160, device),
            mixed_6e: BlockC::new(768, 192, device),
            mixed_7a: BlockD::new(768, device),
            mixed_7b: BlockE::new(1280, Pooling::Average, device),
            mixed_7c: BlockE::new(DIM, Pooling::Largest, device),
            fc: Linear::new(DIM, num_classes, device),
        }
    }

    /// Reads a network from a state dict or a whole pickled module (`.pth`, `.pt`, `.bin`, `.safetensors`).
    ///
    /// # Errors
    /// [`Error`]: a file that cannot be read, is none of this network, or lacks tensors.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let to_file_name = |name: &str| with_first_letter(name, char::to_ascii_uppercase);
        let in_file = |error| mismatch_in(error, KIND.network, path, to_file_name);
        let checkpoint = fold_norms(checkpoint::open(path, &KIND)?).map_err(in_file)?;
        let num_classes = match checkpoint.shape("fc.weight") {
            Some(&[num_classes, _]) => num_classes,
            _ => NUM_CLASSES,
        };
        let checkpoint = checkpoint.rename(|name| Some(with_first_letter(name, char::to_ascii_lowercase)));
        load_weights(Self::with_classes(num_classes, device), &checkpoint).map_err(in_file)
    }

    /// All tensors with the names and layouts of the published file; each convolution's bias as that of a batch
    /// normalisation that changes nothing else.
    ///
    /// # Errors
    /// A device that failed.
    pub fn state_dict(&self) -> Result<Checkpoint, Error> {
        let folded = weights_of(self).rename(|name| Some(with_first_letter(name, char::to_ascii_uppercase)));
        let mut unfolded = folded.clone();
        for base in folded.keys().filter_map(|name| name.strip_suffix(".conv.bias")) {
            let bias = folded.read(&format!("{base}.conv.bias"))?;
            let constant =
                |value: f32| HostTensor { shape: bias.shape.clone(), values: vec![value; bias.values.len()] };
            unfolded.remove(&format!("{base}.conv.bias"));
            unfolded.insert(format!("{base}.bn.weight"), constant(1.0));
            unfolded.insert(format!("{base}.bn.running_mean"), constant(0.0));
            unfolded.insert(format!("{base}.bn.running_var"), constant((1.0 - EPSILON) as f32));
            unfolded.insert(format!("{base}.bn.bias"), bias);
        }
        Ok(unfolded)
    }

    /// Length of a feature.
    pub fn dim(&self) -> usize {
        DIM
    }

    /// Means over the pixels of the last map, on images that [`inception_input`](super::inception_input) made.
    ///
    /// # Shapes
    /// `[batch, height, width, 3]` with values in -1..=1, sides of at least 75, to `[batch, 2048]`
    pub fn forward_features(&self, images: Tensor<4>) -> Tensor<2> {
        let halved = |images| kernels::max_pool2d(images, PoolOptions::inside(3, 2));
        let images = self.conv2d_2a_3x3.forward(self.conv2d_1a_3x3.forward(images)); // [batch, 147, 147, 32] of 299
        let images = halved(self.conv2d_2b_3x3.forward(images)); // 73, 64 channels
        let images = halved(self.conv2d_4a_3x3.forward(self.conv2d_3b_1x1.forward(images))); // 35, 192
        let images = self.mixed_5d.forward(self.mixed_5c.forward(self.mixed_5b.forward(images))); // 35, 288
        let mut images = self.mixed_6a.forward(images); // 17, 768
        for block in [&self.mixed_6b, &self.mixed_6c, &self.mixed_6d, &self.mixed_6e] {
            images = block.forward(images);
        }
        let images = self.mixed_7b.forward(self.mixed_7a.forward(images)); // 8, 2048
        let images = self.mixed_7c.forward(images);
        let [batch, height, width, dim] = images.dims();
        images.reshape([batch, height * width, dim]).mean_dim(1).reshape([batch, dim])
    }

    /// Logits of the classes.
    ///
    /// # Shapes
    /// As [`Inception::forward_features`], to `[batch, 1008]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.fc.forward(self.forward_features(images))
    }
}

/// Folds each batch normalisation into the convolution before it, in double precision:
/// `weight * scale` and the bias `bn.bias - running_mean * scale`, with `scale = bn.weight / sqrt(running_var + epsilon)`.
fn fold_norms(checkpoint: Checkpoint) -> Result<Checkpoint, Error> {
    let mut folded = checkpoint.clone();
    for base in checkpoint.keys().filter_map(|name| name.strip_suffix(".bn.weight")) {
        let [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(|part| {
            let key = format!("{base}.bn.{part}");
            folded.remove(&key);
            checkpoint.read(&key)
        });
        let (weight, bias, mean, variance) = (weight?, bias?, mean?, variance?);
        let mut conv = checkpoint.read(&format!("{base}.conv.weight"))?;
        let channels = weight.values.len();
        let fits = |tensor: &HostTensor| tensor.values.len() == channels;
        if channels == 0 || conv.shape.first() != Some(&channels) || ![&bias, &mean, &variance].into_iter().all(fits) {
            let problem =
                format!("the tensors `{base}.bn.*` do not have as many values as `{base}.conv.weight` has outputs");
            return Err(Error::Mismatch { problems: vec![problem] });
        }
        let mut shifts = Vec::with_capacity(channels);
        let per_channel = conv.values.len() / channels;
        for (channel, values) in conv.values.chunks_exact_mut(per_channel).enumerate() {
            let scale = f64::from(weight.values[channel]) / (f64::from(variance.values[channel]) + EPSILON).sqrt();
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
            shifts.push((f64::from(bias.values[channel]) - f64::from(mean.values[channel]) * scale) as f32);
        }
        folded.insert(format!("{base}.conv.weight"), conv);
        folded.insert(format!("{base}.conv.bias"), HostTensor { shape: vec![channels], values: shifts });
    }
    Ok(folded)
}
