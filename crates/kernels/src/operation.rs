//! The operations as data: what is computed, its output's shape, and which kernel computes value and gradients.

use crate::cpu::activation::{self, Activation};
use crate::cpu::attention::{self, Attention};
use crate::cpu::direct::Shape;
use crate::cpu::group_norm::{self, GroupNorm};
use crate::cpu::pool::{self, Pool};
use crate::cpu::upsample::{self, Upsample};
use crate::cpu::{attention_backward, convolution, layer_norm, linear, scale_shift};
use crate::reference::{Conv2dOptions, PoolOptions};

/// An operation with its settings. Inputs come in the order of the public function of the same name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Inputs: images, weight, and the bias if there is one.
    Conv2d(Conv2dOptions),
    /// Inputs: images, the weight of a 3x3 kernel, and the bias if there is one.
    UpsampleConv2d,
    /// Inputs: input, weight, and the bias if there is one.
    Linear,
    /// Inputs: the first and the second half of the input, weight, bias.
    LinearJoined,
    /// Inputs: images, in one part or in two with their channels side by side; weight, bias.
    GroupNorm {
        /// Number of groups; divides the channels.
        num_groups: usize,
        /// Added to the variance.
        epsilon: f64,
        /// Whether SiLU follows.
        silu: bool,
    },
    /// Inputs: input, weight, bias.
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Input: any shape.
    Silu,
    /// Input: any shape.
    Gelu,
    /// Input: any shape.
    QuickGelu,
    /// Input: last axis holds values, then gates.
    Geglu,
    /// Inputs: query, key, value.
    Attention {
        /// Number of heads; divides the last axis.
        num_heads: usize,
    },
    /// Input: images.
    UpsampleNearest {
        /// Copies of a pixel along each axis.
        factor: usize,
    },
    /// Input: images.
    MaxPool(PoolOptions),
    /// Input: images.
    AveragePool(PoolOptions),
    /// Inputs: images, scale, shift.
    ScaleShiftRelu,
}

/// A contiguous tensor.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub values: &'a [f32],
    pub dims: &'a [usize],
}

impl Operation {
    /// Value: the output's numbers and shape.
    pub(crate) fn forward(self, inputs: &[View]) -> (Vec<f32>, Vec<usize>) {
        let first = inputs[0];
        let mut dims = first.dims.to_vec();
        let last = dims.len() - 1;
        let bias = inputs.get(2).map(|bias| bias.values);
        let values = match self {
            Self::Conv2d(options) => {
                let shape = convolution_shape(options, first.dims, inputs[1].dims);
                dims = vec![shape.batch, shape.height_out(), shape.width_out(), shape.channels_out];
                convolution::forward(&shape, first.values, inputs[1].values, bias)
            }
            Self::UpsampleConv2d => {
                let shape = doubled_shape(first.dims, inputs[1].dims);
                dims = vec![shape.batch, shape.height, shape.width, shape.channels_out];
                convolution::doubled_forward(&shape, first.values, inputs[1].values, bias)
            }
            Self::Linear => {
                let (dim_in, dim_out) = linear_dims(first.dims, inputs[1].dims);
                dims[last] = dim_out;
                linear::forward(first.values, inputs[1].values, bias, dim_in, dim_out)
            }
            Self::LinearJoined => {
                let [second, weight, bias] = [inputs[1], inputs[2], inputs[3]];
                check_joined(first.dims, second.dims, weight.dims);
                let dim_first = dims[last];
                dims[last] = weight.dims[1];
                linear::joined_forward(first.values, second.values, weight.values, bias.values, dim_first)
            }
            Self::GroupNorm { num_groups, epsilon, silu } => {
                let (parts, weight, bias) = group_norm_inputs(inputs);
                dims[last] = weight.len();
                let shape = group_norm_shape(&dims, num_groups, epsilon, silu);
                match *parts {
                    [images] => group_norm::forward(&shape, [images.values], weight, bias),
                    [first, second] => group_norm::forward(&shape, [first.values, second.values], weight, bias),
                    _ => unreachable!("the public functions pass one part or two"),
                }
            }
            Self::LayerNorm { epsilon } => {
                layer_norm::forward(first.values, inputs[1].values, inputs[2].values, epsilon as f32)
            }
            Self::Silu => activation::forward(Activation::Silu, first.values),
            Self::Gelu => activation::forward(Activation::Gelu, first.values),
            Self::QuickGelu => activation::forward(Activation::QuickGelu, first.values),
            Self::Geglu => {
                dims[last] /= 2;
                activation::geglu_forward(first.values, dims[last])
            }
            Self::Attention { num_heads } => {
                let shape = attention_shape(first.dims, inputs[1].dims, num_heads);
                attention::forward(&shape, first.values, inputs[1].values, inputs[2].values)
            }
            Self::UpsampleNearest { factor } => {
                let shape = upsample_shape(first.dims, factor);
                dims[1] *= factor;
                dims[2] *= factor;
                upsample::forward(&shape, first.values)
            }
            Self::MaxPool(options) | Self::AveragePool(options) => {
                let shape = Pool::new(options, first.dims);
                [dims[1], dims[2]] = shape.size_out();
                match self {
                    Self::MaxPool(_) => pool::max_forward(&shape, first.values),
                    _ => pool::average_forward(&shape, first.values),
                }
            }
            Self::ScaleShiftRelu => scale_shift::forward(first.values, inputs[1].values, inputs[2].values),
        };
        (values, dims)
    }

    /// Gradients of the inputs that are `wanted`, from the output's gradient.
    pub(crate) fn backward(self, inputs: &[View], gradient: &[f32], wanted: &[bool]) -> Vec<Option<Vec<f32>>> {
        let first = inputs[0].values;
        let weight = inputs.get(1).map_or(&[][..], |weight| weight.values);
        match self {
            Self::Conv2d(options) => {
                let shape = convolution_shape(options, inputs[0].dims, inputs[1].dims);
                weighted_gradients(
                    wanted,
                    || convolution::input_gradient(&shape, weight, gradient),
                    || convolution::weight_gradient(&shape, first, gradient),
                    || convolution::bias_gradient(&shape, gradient),
                )
            }
            Self::UpsampleConv2d => {
                let shape = doubled_shape(inputs[0].dims, inputs[1].dims);
                weighted_gradients(
                    wanted,
                    || convolution::doubled_input_gradient(&shape, weight, gradient),
                    || convolution::doubled_weight_gradient(&shape, first, gradient),
                    || convolution::bias_gradient(&shape, gradient),
                )
            }
            Self::Linear => {
                let (dim_in, dim_out) = linear_dims(inputs[0].dims, inputs[1].dims);
                weighted_gradients(
                    wanted,
                    || linear::input_gradient(weight, gradient, dim_in, dim_out),
                    || linear::weight_gradient(first, gradient, dim_in, dim_out),
                    || linear::bias_gradient(gradient, dim_out),
                )
            }
            Self::LinearJoined => {
                let (weight, dim_out) = (inputs[2].values, inputs[2].dims[1]);
                linear::joined_backward(first, inputs[1].values, weight, dim_out, gradient).map(Some).into()
            }
            Self::GroupNorm { num_groups, epsilon, silu } => {
                let (parts, weight, bias) = group_norm_inputs(inputs);
                let mut dims = parts[0].dims.to_vec();
                dims[3] = weight.len();
                let shape = group_norm_shape(&dims, num_groups, epsilon, silu);
                let (mut gradients, [weight, bias]) = match *parts {
                    [images] => {
                        let (parts, weight, bias) =
                            group_norm::backward(&shape, [images.values], weight, bias, gradient);
                        (Vec::from(parts), [weight, bias])
                    }
                    [first, second] => {
                        let parts = [first.values, second.values];
                        let (parts, weight, bias) = group_norm::backward(&shape, parts, weight, bias, gradient);
                        (Vec::from(parts), [weight, bias])
                    }
                    _ => unreachable!("the public functions pass one part or two"),
                };
                gradients.extend([weight, bias]);
                gradients.into_iter().map(Some).collect()
            }
            Self::LayerNorm { epsilon } => {
                let (input, weight, bias) = layer_norm::backward(first, weight, epsilon as f32, gradient);
                vec![Some(input), Some(weight), Some(bias)]
            }
            Self::Silu => vec![Some(activation::backward(Activation::Silu, first, gradient))],
            Self::Gelu => vec![Some(activation::backward(Activation::Gelu, first, gradient))],
            Self::QuickGelu => vec![Some(activation::backward(Activation::QuickGelu, first, gradient))],
            Self::Geglu => {
                let dim = inputs[0].dims[inputs[0].dims.len() - 1] / 2;
                vec![Some(activation::geglu_backward(first, gradient, dim))]
            }
            Self::Attention { num_heads } => {
                let shape = attention_shape(inputs[0].dims, inputs[1].dims, num_heads);
                let (query, key, value) =
                    attention_backward::backward(&shape, first, weight, inputs[2].values, gradient);
                vec![Some(query), Some(key), Some(value)]
            }
            Self::UpsampleNearest { factor } => {
                vec![Some(upsample::backward(&upsample_shape(inputs[0].dims, factor), gradient))]
            }
            Self::MaxPool(options) => {
                vec![Some(pool::max_backward(&Pool::new(options, inputs[0].dims), first, gradient))]
            }
            Self::AveragePool(options) => {
                vec![Some(pool::average_backward(&Pool::new(options, inputs[0].dims), gradient))]
            }
            Self::ScaleShiftRelu => scale_shift::backward(first, weight, inputs[2].values, gradient).map(Some).into(),
        }
    }
}

/// The wanted gradients of input, weight and, where there is one, bias.
fn weighted_gradients(
    wanted: &[bool],
    input: impl FnOnce() -> Vec<f32>,
    weight: impl FnOnce() -> Vec<f32>,
    bias: impl FnOnce() -> Vec<f32>,
) -> Vec<Option<Vec<f32>>> {
    let mut gradients = vec![wanted[0].then(input), wanted[1].then(weight)];
    if let Some(wanted) = wanted.get(2) {
        gradients.push(wanted.then(bias));
    }
    gradients
}

fn convolution_shape(options: Conv2dOptions, images: &[usize], weight: &[usize]) -> Shape {
    assert_eq!(images[3], weight[2], "images and weight must agree in input channels");
    Shape {
        batch: images[0],
        height: images[1],
        width: images[2],
        channels_in: images[3],
        channels_out: weight[3],
        kernel_height: weight[0],
        kernel_width: weight[1],
        stride: options.stride,
        padding: options.padding,
    }
}

/// Of a 3x3 convolution that keeps the size of doubled images.
fn doubled_shape(images: &[usize], weight: &[usize]) -> Shape {
    assert_eq!((weight[0], weight[1]), (3, 3), "the kernel must be 3x3");
    convolution_shape(Conv2dOptions::same(3), &[images[0], 2 * images[1], 2 * images[2], images[3]], weight)
}

fn linear_dims(input: &[usize], weight: &[usize]) -> (usize, usize) {
    assert_eq!(input[input.len() - 1], weight[0], "the last axis must be the weight's first");
    (weight[0], weight[1])
}

/// Both halves have the same rows, and the weight a line for each of their columns.
fn check_joined(first: &[usize], second: &[usize], weight: &[usize]) {
    let last = first.len() - 1;
    assert_eq!(first[..last], second[..last], "both halves must agree in all axes but the last");
    assert_eq!(first[last] + second[last], weight[0], "the halves' last axes must add up to the weight's first");
}

/// The parts of the images, weight and bias.
fn group_norm_inputs<'a>(inputs: &'a [View<'a>]) -> (&'a [View<'a>], &'a [f32], &'a [f32]) {
    let (parts, affine) = inputs.split_at(inputs.len() - 2);
    assert!(parts.iter().all(|part| part.dims[..3] == parts[0].dims[..3]), "parts must agree in all axes but the last");
    (parts, affine[0].values, affine[1].values)
}

fn group_norm_shape(images: &[usize], num_groups: usize, epsilon: f64, silu: bool) -> GroupNorm {
    let pixels = images[1] * images[2];
    GroupNorm { batch: images[0], pixels, channels: images[3], num_groups, epsilon: epsilon as f32, silu }
}

pub(crate) fn attention_shape(query: &[usize], key: &[usize], num_heads: usize) -> Attention {
    assert_eq!((query[0], query[2]), (key[0], key[2]), "query and key must agree in batch and dim");
    assert_eq!(query[2] % num_heads, 0, "heads must divide the dim");
    Attention { batch: query[0], query_tokens: query[1], key_tokens: key[1], num_heads, head_dim: query[2] / num_heads }
}

fn upsample_shape(images: &[usize], factor: usize) -> Upsample {
    Upsample { width: images[2], channels: images[3], factor }
}
