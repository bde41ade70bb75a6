//! DenseNet (Huang et al. 2017, "Densely Connected Convolutional Networks"): every layer sees what all layers before it
//! in its block have found.
//!
//! Fields are named like the keys of torchvision's `DenseNet`, which torchxrayvision shares; see `names` for the lists.
//! What is done in another order than there, without a difference beyond rounding: a transition averages before its 1x1
//! convolution, which then sees a quarter of the pixels; with running statistics, a normalisation behind a convolution is
//! part of it.

use super::{
    BatchNorm, BatchStatistics,
    checkpoint::{self, Kind, in_file as mismatch_in},
    names::{from_dense_field, to_dense_field},
};
use crate::error::Error;
use crate::{
    checkpoint::Checkpoint,
    layers::{Conv2d, Linear},
    weights::{load_weights, weights_of},
};
use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::relu},
};
use kernels::{Conv2dOptions, PoolOptions};
use std::path::Path;

/// Of every batch normalisation.
const EPSILON: f64 = 1e-5;

const KIND: Kind = Kind {
    network: "DenseNet",
    marker: "features.conv0.weight",
    remedy: "give a file of torchxrayvision's DenseNet or one with the layout of torchvision's `DenseNet`",
    // Thresholds of torchxrayvision's outputs, which play no part in features.
    is_ignored: |name| name == "op_threshs",
};

/// The shape of a [`DenseNet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseNetConfig {
    /// Channels that each layer adds.
    pub growth_rate: usize,
    /// Layers in each block; each block works at half the size of the one before.
    pub block_config: Vec<usize>,
    /// Channels of the first convolution.
    pub num_init_features: usize,
    /// Width of a layer's 1x1 convolution, in growth rates.
    pub bn_size: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Outputs of the classifier.
    pub num_classes: usize,
}

impl Default for DenseNetConfig {
    /// DenseNet-121 as in torchxrayvision: grey images, 18 findings.
    fn default() -> Self {
        Self {
            growth_rate: 32,
            block_config: vec![6, 12, 24, 16],
            num_init_features: 64,
            bn_size: 4,
            in_channels: 1,
            num_classes: 18,
        }
    }
}

impl DenseNetConfig {
    /// A network with zeros for weights; [`crate::init::randomise`] fills them.
    pub fn init(&self, device: &Device) -> DenseNet {
        let first = Conv2dOptions::strided(2, 3);
        let mut channels = self.num_init_features;
        let (mut denseblock, mut transition) = (Vec::new(), Vec::new());
        for (index, num_layers) in self.block_config.iter().enumerate() {
            if index > 0 {
                transition.push(Transition {
                    norm: BatchNorm::new(channels, EPSILON, device),
                    conv: Conv2d::same(channels, channels / 2, 1, device).without_bias(),
                });
                channels /= 2;
            }
            let layer = |place: usize| DenseLayer::new(channels + place * self.growth_rate, self, device);
            denseblock.push(DenseBlock { denselayer: (0..*num_layers).map(layer).collect() });
            channels += num_layers * self.growth_rate;
        }
        let features = Features {
            conv0: Conv2d::new(self.in_channels, self.num_init_features, 7, first, device).without_bias(),
            norm0: BatchNorm::new(self.num_init_features, EPSILON, device),
            denseblock,
            transition,
            norm5: BatchNorm::new(channels, EPSILON, device),
        };
        DenseNet { features, classifier: Linear::new(channels, self.num_classes, device), config: self.clone() }
    }

    /// What the shapes in a file say, whose tensors have the names of fields.
    fn infer(checkpoint: &Checkpoint) -> Result<Self, String> {
        let conv = |key: String| match checkpoint.shape(&key) {
            Some(&[channels_out, channels_in, _, _]) if channels_out > 0 && channels_in > 0 => {
                Ok([channels_out, channels_in])
            }
            Some(shape) => Err(format!("tensor `{}` has shape {shape:?}, expected four axes", from_dense_field(&key))),
            None => Err(format!("tensor `{}` is missing", from_dense_field(&key))),
        };
        let layer = |block: usize, layer: usize| format!("features.denseblock.{block}.denselayer.{layer}.conv2.weight");
        let [num_init_features, in_channels] = conv("features.conv0.weight".into())?;
        let [growth_rate, width] = conv(layer(0, 0))?;
        let num_layers = |block| (0..).take_while(|place| checkpoint.shape(&layer(block, *place)).is_some()).count();
        let block_config = (0..).map(num_layers).take_while(|count| *count > 0).collect();
        let num_classes = match checkpoint.shape("classifier.weight") {
            Some(&[num_classes, _]) => num_classes,
            _ => return Err("tensor `classifier.weight` is missing or not a matrix".into()),
        };
        let bn_size = width / growth_rate;
        Ok(Self { growth_rate, block_config, num_init_features, bn_size, in_channels, num_classes })
    }
}

/// The network; one channel or more to features and logits.
#[derive(Module, Debug)]
pub struct DenseNet {
    features: Features,
    classifier: Linear,
    #[module(skip)]
    config: DenseNetConfig,
}

/// Statistics of a batch in every normalisation of a network, see [`DenseNet::update`].
#[derive(Debug, Clone)]
pub struct DenseNetStatistics(Vec<BatchStatistics>);

#[derive(Module, Debug)]
struct Features {
    conv0: Conv2d,
    norm0: BatchNorm,
    denseblock: Vec<DenseBlock>,
    transition: Vec<Transition>,
    norm5: BatchNorm,
}

#[derive(Module, Debug)]
struct DenseBlock {
    denselayer: Vec<DenseLayer>,
}

#[derive(Module, Debug)]
struct DenseLayer {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

#[derive(Module, Debug)]
struct Transition {
    norm: BatchNorm,
    conv: Conv2d,
}

/// Which statistics normalise.
enum Mode<'a> {
    /// The running ones.
    Running,
    /// Those of the batch, which are noted down in the order of the layers.
    Batch(&'a mut Vec<BatchStatistics>),
}

impl Mode<'_> {
    /// Normalisation and ReLU.
    fn norm_relu(&mut self, norm: &BatchNorm, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Running => norm.forward_relu(images),
            Self::Batch(noted) => {
                let (images, statistics) = norm.forward_train(images);
                noted.push(statistics);
                relu(images)
            }
        }
    }

    /// Convolution, normalisation and ReLU.
    fn conv_norm_relu(&mut self, conv: &Conv2d, norm: &BatchNorm, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Running => relu(norm.forward_behind(conv, images)),
            Self::Batch(_) => self.norm_relu(norm, conv.forward(images)),
        }
    }
}

impl DenseLayer {
    fn new(channels: usize, config: &DenseNetConfig, device: &Device) -> Self {
        let width = config.bn_size * config.growth_rate;
        Self {
            norm1: BatchNorm::new(channels, EPSILON, device),
            conv1: Conv2d::same(channels, width, 1, device).without_bias(),
            norm2: BatchNorm::new(width, EPSILON, device),
            conv2: Conv2d::same(width, config.growth_rate, 3, device).without_bias(),
        }
    }

    /// `[batch, height, width, channels]` to `[batch, height, width, growth_rate]`
    fn forward(&self, images: Tensor<4>, mode: &mut Mode) -> Tensor<4> {
        let images = mode.norm_relu(&self.norm1, images);
        let images = mode.conv_norm_relu(&self.conv1, &self.norm2, images);
        self.conv2.forward(images)
    }
}

impl Features {
    /// `[batch, height, width, in_channels]` to `[batch, dim]`
    fn forward(&self, images: Tensor<4>, mut mode: Mode) -> Tensor<2> {
        let mode = &mut mode;
        let mut images = mode.conv_norm_relu(&self.conv0, &self.norm0, images);
        images = kernels::max_pool2d(images, PoolOptions { size: 3, stride: 2, padding: 1 });
        for (index, block) in self.denseblock.iter().enumerate() {
            if let Some(transition) = index.checked_sub(1).and_then(|before| self.transition.get(before)) {
                let normal = mode.norm_relu(&transition.norm, images);
                images = transition.conv.forward(kernels::average_pool2d(normal, PoolOptions::inside(2, 2)));
            }
            for layer in &block.denselayer {
                let added = layer.forward(images.clone(), mode);
                images = Tensor::cat(vec![images, added], 3);
            }
        }
        let images = mode.norm_relu(&self.norm5, images);
        let [batch, height, width, dim] = images.dims();
        images.reshape([batch, height * width, dim]).mean_dim(1).reshape([batch, dim])
    }

    /// Every normalisation, in the order in which images pass them.
    fn norms_mut(&mut self) -> Vec<&mut BatchNorm> {
        let mut norms = vec![&mut self.norm0];
        let mut transitions = self.transition.iter_mut();
        for (index, block) in self.denseblock.iter_mut().enumerate() {
            if index > 0 {
                norms.extend(transitions.next().map(|transition| &mut transition.norm));
            }
            norms.extend(block.denselayer.iter_mut().flat_map(|layer| [&mut layer.norm1, &mut layer.norm2]));
        }
        norms.push(&mut self.norm5);
        norms
    }
}

impl DenseNet {
    /// Reads a network from a state dict or a whole pickled module (`.safetensors`, `.pt`, `.pth`, `.bin`); its
    /// configuration follows from the shapes.
    ///
    /// # Errors
    /// [`Error`]: a file that cannot be read, is none of a DenseNet, or lacks tensors.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let checkpoint = checkpoint::open(path, &KIND)?.rename(|name| Some(to_dense_field(name)));
        let problem = |problem| Error::Incomplete { network: KIND.network, problems: vec![problem], path: path.into() };
        let config = DenseNetConfig::infer(&checkpoint).map_err(problem)?;
        load_weights(config.init(device), &checkpoint)
            .map_err(|error| mismatch_in(error, KIND.network, path, from_dense_field))
    }

    /// All tensors with the names and layouts of torchvision's `state_dict()`, which loads them.
    pub fn state_dict(&self) -> Checkpoint {
        weights_of(self).rename(|name| Some(from_dense_field(name)))
    }

    /// The shape of the network.
    pub fn config(&self) -> &DenseNetConfig {
        &self.config
    }

    /// Length of a feature.
    pub fn dim(&self) -> usize {
        self.classifier.weight.dims()[0]
    }

    /// Means over the pixels of the last map after its ReLU (torchxrayvision's `features2`), by running statistics.
    ///
    /// # Shapes
    /// `[batch, height, width, in_channels]` to `[batch, dim]`; sides of at least 2 for each block, and one more 2
    pub fn forward_features(&self, images: Tensor<4>) -> Tensor<2> {
        self.features.forward(images, Mode::Running)
    }

    /// Logits, by running statistics.
    ///
    /// # Shapes
    /// `[batch, height, width, in_channels]` to `[batch, num_classes]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.classifier.forward(self.forward_features(images))
    }

    /// Logits by the statistics of this batch, for training, and these statistics, for [`DenseNet::update`].
    ///
    /// # Shapes
    /// `[batch, height, width, in_channels]` to `[batch, num_classes]`
    pub fn forward_train(&self, images: Tensor<4>) -> (Tensor<2>, DenseNetStatistics) {
        let mut noted = Vec::new();
        let features = self.features.forward(images, Mode::Batch(&mut noted));
        (self.classifier.forward(features), DenseNetStatistics(noted))
    }

    /// The same network with the statistics of a batch mixed into its running ones; `momentum` is the batch's part, as
    /// in PyTorch, usually [`MOMENTUM`](super::MOMENTUM).
    pub fn update(mut self, statistics: &DenseNetStatistics, momentum: f64) -> Self {
        for (norm, statistics) in self.features.norms_mut().into_iter().zip(&statistics.0) {
            norm.update(statistics, momentum);
        }
        self
    }
}
