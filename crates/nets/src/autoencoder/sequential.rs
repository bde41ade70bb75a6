//! A list of layers with the keys of PyTorch's `nn.Sequential`: a layer's name is its place in the list, and layers
//! without weights take a place too. TAESD and diffusers' `AutoencoderTiny` are nothing but two such lists.

use crate::layers::{Conv2d, GroupNorm};
use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::relu},
};
use kernels::Conv2dOptions;

/// Groups of the normalisation in the extra branch of a block.
const POOL_GROUPS: usize = 4;

/// One place in a [`Sequential`].
#[derive(Module, Debug)]
pub enum Layer {
    /// A convolution.
    Conv2d(Conv2d),
    /// A group normalisation.
    GroupNorm(GroupNorm),
    /// A residual block of TAESD.
    Block(Block),
    /// A layer without weights.
    Plain(Plain),
}

/// A layer without weights.
#[derive(Module, Debug)]
pub struct Plain {
    #[module(skip)]
    operation: Operation,
}

/// What a layer without weights does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Keeps a place in the list and passes its input on.
    Nothing,
    /// max(x, 0)
    Relu,
    /// Repeats every pixel this many times along both axes.
    Upsample(usize),
}

impl From<Operation> for Layer {
    fn from(operation: Operation) -> Self {
        Self::Plain(Plain { operation })
    }
}

impl Layer {
    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height_out, width_out, channels_out]`
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv2d(conv) => conv.forward(images),
            Self::GroupNorm(norm) => norm.forward(images),
            Self::Block(block) => block.forward(images),
            Self::Plain(plain) => match plain.operation {
                Operation::Nothing => images,
                Operation::Relu => relu(images),
                Operation::Upsample(factor) => kernels::upsample_nearest(images, factor),
            },
        }
    }
}

/// Runs layers one after the other; a doubling and the convolution behind it as one.
fn forward_all(mut layers: &[Layer], mut images: Tensor<4>) -> Tensor<4> {
    while let [layer, rest @ ..] = layers {
        (images, layers) = match (layer, rest) {
            (Layer::Plain(plain), [Layer::Conv2d(conv), rest @ ..])
                if plain.operation == Operation::Upsample(2) && conv.options == Conv2dOptions::same(3) =>
            {
                (conv.forward_doubled(images), rest)
            }
            _ => (layer.forward(images), rest),
        };
    }
    images
}

/// The residual block of TAESD: `relu(conv(x) + skip(x))`, where `conv` is three 3x3 convolutions with ReLU between.
///
/// Blocks at the lowest resolution of newer releases first add a branch that sees the whole image through its group
/// normalisation: `x = x + pool(x)`, `pool` = 1x1 convolution, GroupNorm(4), ReLU, 1x1 convolution.
#[derive(Module, Debug)]
pub struct Block {
    conv: Vec<Layer>,
    skip: Option<Conv2d>,
    pool: Option<Vec<Layer>>,
}

impl Block {
    /// `pool_channels`: width of the extra branch, a multiple of 4; `None` leaves it out.
    pub fn new(channels_in: usize, channels_out: usize, pool_channels: Option<usize>, device: &Device) -> Self {
        let conv = |channels_in| Layer::Conv2d(Conv2d::same(channels_in, channels_out, 3, device));
        let relu = || Layer::from(Operation::Relu);
        let point = |channels_in, channels_out| {
            Layer::Conv2d(Conv2d::same(channels_in, channels_out, 1, device).without_bias())
        };
        let pool = pool_channels.map(|width| {
            let norm = Layer::GroupNorm(GroupNorm::new(POOL_GROUPS, width, 1e-5, device));
            vec![point(channels_in, width), norm, relu(), point(width, channels_in)]
        });
        Self {
            conv: vec![conv(channels_in), relu(), conv(channels_out), relu(), conv(channels_out)],
            skip: (channels_in != channels_out)
                .then(|| Conv2d::same(channels_in, channels_out, 1, device).without_bias()),
            pool,
        }
    }

    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height, width, channels_out]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let images = match &self.pool {
            Some(pool) => images.clone() + forward_all(pool, images),
            None => images,
        };
        let skipped = match &self.skip {
            Some(skip) => skip.forward(images.clone()),
            None => images.clone(),
        };
        relu(forward_all(&self.conv, images) + skipped)
    }
}

/// Layers that run one after the other.
#[derive(Module, Debug)]
pub struct Sequential {
    /// In order of their run.
    pub layers: Vec<Layer>,
}

impl Sequential {
    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height_out, width_out, channels_out]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        forward_all(&self.layers, images)
    }
}

/// Builds a [`Sequential`] layer by layer; knows how many channels the next layer gets.
#[derive(Debug)]
pub struct SequentialBuilder<'a> {
    layers: Vec<Layer>,
    channels: usize,
    device: &'a Device,
}

impl<'a> SequentialBuilder<'a> {
    /// An empty list that takes `channels_in` channels.
    pub fn new(channels_in: usize, device: &'a Device) -> Self {
        Self { layers: Vec::new(), channels: channels_in, device }
    }

    /// Adds a 3x3 convolution that keeps the size.
    pub fn conv(&mut self, channels_out: usize, has_bias: bool) {
        self.conv_with(channels_out, has_bias, Conv2dOptions::same(3));
    }

    /// Adds a 3x3 convolution of stride 2 without bias.
    pub fn downsample(&mut self, channels_out: usize) {
        self.conv_with(channels_out, false, Conv2dOptions::strided(2, 1));
    }

    fn conv_with(&mut self, channels_out: usize, has_bias: bool, options: Conv2dOptions) {
        let conv = Conv2d::new(self.channels, channels_out, 3, options, self.device);
        self.layers.push(Layer::Conv2d(if has_bias { conv } else { conv.without_bias() }));
        self.channels = channels_out;
    }

    /// Adds a block, see [`Block::new`].
    pub fn block(&mut self, channels_out: usize, pool_channels: Option<usize>) {
        self.layers.push(Layer::Block(Block::new(self.channels, channels_out, pool_channels, self.device)));
        self.channels = channels_out;
    }

    /// Adds a layer without weights.
    pub fn plain(&mut self, operation: Operation) {
        self.layers.push(operation.into());
    }

    /// Channels that come out of the layers so far.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The finished list.
    pub fn build(self) -> Sequential {
        Sequential { layers: self.layers }
    }
}
