//! The layers every network is built of: parameters in the memory layout that `kernels` wants.
//!
//! Constructors give zeros and ones; [`crate::init::randomise`] or [`crate::weights::load_weights`] fill them.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use kernels::Conv2dOptions;

/// 2-d convolution; stored in files as `[out, in, height, width]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[kernel_height, kernel_width, channels_in, channels_out]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) options: Conv2dOptions,
}

impl Conv2d {
    /// A `kernel_size` × `kernel_size` convolution with bias.
    pub fn new(
        channels_in: usize,
        channels_out: usize,
        kernel_size: usize,
        options: Conv2dOptions,
        device: &Device,
    ) -> Self {
        Self::rectangular(channels_in, channels_out, [kernel_size, kernel_size], options, device)
    }

    /// A convolution with bias and a kernel of `[height, width]`.
    pub fn rectangular(
        channels_in: usize,
        channels_out: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
        device: &Device,
    ) -> Self {
        let weight = Tensor::zeros([kernel[0], kernel[1], channels_in, channels_out], device);
        let bias = Some(Param::from_tensor(Tensor::zeros([channels_out], device)));
        Self { weight: Param::from_tensor(weight), bias, options }
    }

    /// Stride 1, size kept.
    pub fn same(channels_in: usize, channels_out: usize, kernel_size: usize, device: &Device) -> Self {
        Self::new(channels_in, channels_out, kernel_size, Conv2dOptions::same(kernel_size), device)
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height_out, width_out, channels_out]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        kernels::conv2d(images, self.weight.val(), self.bias.as_ref().map(Param::val), self.options)
    }

    /// This layer, a 1x1 convolution with bias, on two images side by side in the channels, which are never joined.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` twice, as many channels together as the layer takes, to
    /// `[batch, height, width, channels_out]`
    pub fn forward_joined(&self, first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
        match (&self.bias, self.weight.dims()) {
            (Some(bias), [1, 1, channels_in, channels_out]) => {
                let weight = self.weight.val().reshape([channels_in, channels_out]);
                kernels::linear_joined(first, second, weight, bias.val())
            }
            _ => self.forward(Tensor::cat(vec![first, second], 3)),
        }
    }

    /// Each pixel repeated two by two, then this layer, which must be a 3x3 convolution that keeps the size.
    ///
    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, 2 * height, 2 * width, channels_out]`
    pub fn forward_doubled(&self, images: Tensor<4>) -> Tensor<4> {
        debug_assert_eq!(self.options, Conv2dOptions::same(3));
        kernels::upsample_conv2d(images, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// Fully connected layer; stored in files as `[out, in]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[in, out]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer with bias.
    pub fn new(dim_in: usize, dim_out: usize, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([dim_in, dim_out], device));
        Self { weight, bias: Some(Param::from_tensor(Tensor::zeros([dim_out], device))) }
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// # Shapes
    /// `[.., in]` to `[.., out]`
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        kernels::linear(input, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// Group normalisation with a scale and a shift per channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    num_groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// `channels` must be divisible by `num_groups`.
    pub fn new(num_groups: usize, channels: usize, epsilon: f64, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::ones([channels], device));
        Self { weight, bias: Param::from_tensor(Tensor::zeros([channels], device)), num_groups, epsilon }
    }

    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        kernels::group_norm(images, self.weight.val(), self.bias.val(), self.num_groups, self.epsilon)
    }

    /// [`GroupNorm::forward`], then SiLU.
    pub fn forward_silu(&self, images: Tensor<4>) -> Tensor<4> {
        kernels::group_norm_silu(images, self.weight.val(), self.bias.val(), self.num_groups, self.epsilon)
    }

    /// [`GroupNorm::forward_silu`] on two images side by side in the channels, joined in the output alone.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` twice, as many channels together as the layer takes, to
    /// `[batch, height, width, channels of both]`
    pub fn forward_silu_joined(&self, first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::group_norm_silu_joined(first, second, weight, bias, self.num_groups, self.epsilon)
    }
}

/// Layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[dim]`
    pub weight: Param<Tensor<1>>,
    /// `[dim]`
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Normalises vectors of length `dim`.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::ones([dim], device));
        Self { weight, bias: Param::from_tensor(Tensor::zeros([dim], device)), epsilon }
    }

    /// # Shapes
    /// `[.., dim]`, kept
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        kernels::layer_norm(input, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
