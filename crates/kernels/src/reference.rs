//! Every operation composed of Burn's own tensor functions: slow on a CPU, right on any backend, differentiable by
//! Burn's autodiff. This is the definition of each operation; faster code must agree with it, gradients included.

use burn::tensor::{
    Tensor, activation,
    module::{avg_pool2d as burn_avg_pool2d, conv2d as burn_conv2d, interpolate, max_pool2d as burn_max_pool2d},
    ops::{AvgPoolOptions, ConvOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions},
};

/// Stride and zero padding of a square-strided 2-d convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between output pixels, the same on both axes.
    pub stride: usize,
    /// Zeros before the first and after the last row (top, bottom), then the same for columns (left, right).
    /// Both ends differ in the down-sampling convolution of the Stable Diffusion autoencoder, which pads (0, 1); rows and
    /// columns differ in the 1x7 and 7x1 convolutions of Inception.
    pub padding: [(usize, usize); 2],
}

impl Conv2dOptions {
    /// Stride 1 and as much padding as keeps the size for an odd `kernel_size`.
    pub fn same(kernel_size: usize) -> Self {
        Self::same_rectangle([kernel_size, kernel_size])
    }

    /// Stride 1 and as much padding as keeps the size for a kernel of odd `[height, width]`.
    pub fn same_rectangle(kernel: [usize; 2]) -> Self {
        Self { stride: 1, padding: kernel.map(|size| (size / 2, size / 2)) }
    }

    /// The given stride with the same padding on all sides.
    pub fn strided(stride: usize, padding: usize) -> Self {
        Self::padded(stride, (padding, padding))
    }

    /// The given stride with the same padding before and after rows as before and after columns.
    pub fn padded(stride: usize, padding: (usize, usize)) -> Self {
        Self { stride, padding: [padding; 2] }
    }
}

/// 2-d convolution (cross-correlation, as in every deep-learning library).
///
/// # Shapes
/// - images: `[batch, height, width, channels_in]`
/// - weight: `[kernel_height, kernel_width, channels_in, channels_out]`
/// - bias: `[channels_out]`
/// - output: `[batch, height_out, width_out, channels_out]`
pub fn conv2d(images: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Tensor<4> {
    let [batch, height, width, channels_in] = images.dims();
    let [kernel_height, kernel_width, _, channels_out] = weight.dims();
    let Conv2dOptions { stride, padding: [(top, bottom), (left, right)] } = options;
    let unpadded = options.padding == [(0, 0); 2];
    if unpadded && stride == kernel_height && stride == kernel_width && height % stride == 0 && width % stride == 0 {
        // Patches do not overlap: a 1x1 convolution or a patch embedding is one matrix product.
        let (rows, columns) = (height / stride, width / stride);
        let patches = if stride == 1 {
            images.reshape([batch * height * width, channels_in])
        } else {
            images
                .reshape([batch, rows, stride, columns, stride * channels_in])
                .swap_dims(2, 3) // [batch, rows, columns, stride, stride * channels_in]
                .reshape([batch * rows * columns, stride * stride * channels_in])
        };
        let output = patches.matmul(weight.reshape([stride * stride * channels_in, channels_out]));
        let output = output.reshape([batch, rows, columns, channels_out]);
        return match bias {
            Some(bias) => output + bias.reshape([1, 1, 1, channels_out]),
            None => output,
        };
    }
    let is_symmetric = top == bottom && left == right;
    let images = if is_symmetric {
        images
    } else {
        // Burn's backends disagree in speed on asymmetric padding; explicit zeros are right everywhere.
        let device = images.device();
        let padded = Tensor::<4>::zeros([batch, top + height + bottom, left + width + right, channels_in], &device);
        padded.slice_assign([0..batch, top..top + height, left..left + width, 0..channels_in], images)
    };
    let symmetric = if is_symmetric { [top, left] } else { [0, 0] };
    let options = ConvOptions::new([stride, stride], symmetric, [1, 1], 1);
    let output = burn_conv2d(images.permute([0, 3, 1, 2]), weight.permute([3, 2, 0, 1]), bias, options);
    output.permute([0, 2, 3, 1])
}

/// `input · weight + bias` over the last axis.
///
/// # Shapes
/// - input: `[.., in]`, weight: `[in, out]`, bias: `[out]`, output: `[.., out]`
pub fn linear<const D: usize>(input: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut dims = input.dims();
    let [dim_in, dim_out] = weight.dims();
    let rows = dims.iter().product::<usize>() / dim_in;
    let output = input.reshape([rows, dim_in]).matmul(weight);
    let output = match bias {
        Some(bias) => output + bias.reshape([1, dim_out]),
        None => output,
    };
    dims[D - 1] = dim_out;
    output.reshape(dims)
}

/// Group normalisation (Wu & He 2018) over the last axis' `num_groups` groups and all pixels, with biased variance.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, weight and bias: `[channels]`
pub fn group_norm(images: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, num_groups: usize, epsilon: f64) -> Tensor<4> {
    let [batch, height, width, channels] = images.dims();
    let grouped = images.reshape([batch, height * width, num_groups, channels / num_groups]);
    let mean = grouped.clone().mean_dim(3).mean_dim(1); // [batch, 1, groups, 1]
    let centred = grouped - mean;
    let variance = centred.clone().square().mean_dim(3).mean_dim(1);
    let normalised = centred * (variance + epsilon).sqrt().recip();
    normalised.reshape([batch, height, width, channels]) * weight.reshape([1, 1, 1, channels])
        + bias.reshape([1, 1, 1, channels])
}

/// [`group_norm`] followed by [`silu`].
pub fn group_norm_silu(
    images: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    num_groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    silu(group_norm(images, weight, bias, num_groups, epsilon))
}

/// [`linear`] on two tensors side by side in the last axis.
///
/// # Shapes
/// - first: `[.., in_first]`, second: `[.., in_second]`
/// - weight: `[in_first + in_second, out]`, bias: `[out]`, output: `[.., out]`
pub fn linear_joined<const D: usize>(
    first: Tensor<D>,
    second: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<D> {
    linear(Tensor::cat(vec![first, second], D - 1), weight, Some(bias))
}

/// [`group_norm_silu`] on two images side by side in the channels.
///
/// # Shapes
/// - first, second: `[batch, height, width, channels_first]` and `[.., channels_second]`
/// - weight and bias: `[channels_first + channels_second]`, output: `[batch, height, width, channels of both]`
pub fn group_norm_silu_joined(
    first: Tensor<4>,
    second: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    num_groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    group_norm_silu(Tensor::cat(vec![first, second], 3), weight, bias, num_groups, epsilon)
}

/// Layer normalisation (Ba et al. 2016) over the last axis, with biased variance.
///
/// # Shapes
/// - input: `[.., dim]`, weight and bias: `[dim]`
pub fn layer_norm<const D: usize>(input: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let dims = input.dims();
    let dim = dims[D - 1];
    let rows = dims.iter().product::<usize>() / dim;
    let rows_by_dim = input.reshape([rows, dim]);
    let centred = rows_by_dim.clone() - rows_by_dim.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let normalised = centred * (variance + epsilon).sqrt().recip();
    (normalised * weight.reshape([1, dim]) + bias.reshape([1, dim])).reshape(dims)
}

/// `x · sigmoid(x)`, also called swish.
pub fn silu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    activation::silu(input)
}

/// Exact Gaussian error linear unit, `x · Φ(x)` (not the tanh approximation).
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    activation::gelu(input)
}

/// `x · sigmoid(1.702 x)`, the approximation that CLIP-like transformers were trained with.
pub fn quick_gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    activation::sigmoid(input.clone() * 1.702) * input
}

/// Gated GELU (Shazeer 2020): the last axis holds values, then gates; output `values · gelu(gates)`.
///
/// # Shapes
/// - input: `[batch, tokens, 2 * dim]`, output: `[batch, tokens, dim]`
pub fn geglu(input: Tensor<3>) -> Tensor<3> {
    let [_, _, twice_dim] = input.dims();
    let values = input.clone().narrow(2, 0, twice_dim / 2);
    let gates = input.narrow(2, twice_dim / 2, twice_dim / 2);
    values * gelu(gates)
}

/// What [`attention_with_maps`] returns.
#[derive(Debug, Clone)]
pub struct AttentionOutput {
    /// `[batch, query_tokens, heads * head_dim]`
    pub output: Tensor<3>,
    /// Softmax of the scores, averaged over the heads: `[batch, query_tokens, key_tokens]`; each row sums to 1.
    pub maps: Tensor<3>,
}

/// Multi-head scaled dot-product attention, scale `1 / sqrt(head_dim)`, on already projected tokens.
///
/// # Shapes
/// - query: `[batch, query_tokens, heads * head_dim]`
/// - key, value: `[batch, key_tokens, heads * head_dim]`
/// - output: `[batch, query_tokens, heads * head_dim]`
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, num_heads: usize) -> Tensor<3> {
    attend(query, key, value, num_heads).0
}

/// [`attention`] that also returns where each query looks, averaged over heads.
pub fn attention_with_maps(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, num_heads: usize) -> AttentionOutput {
    let (output, probabilities) = attend(query, key, value, num_heads);
    let [batch, _, query_tokens, key_tokens] = probabilities.dims();
    let maps = probabilities.mean_dim(1).reshape([batch, query_tokens, key_tokens]);
    AttentionOutput { output, maps }
}

fn attend(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, num_heads: usize) -> (Tensor<3>, Tensor<4>) {
    let [batch, query_tokens, dim] = query.dims();
    let head_dim = dim / num_heads;
    let split = |tokens: Tensor<3>| {
        let [batch, num_tokens, _] = tokens.dims();
        tokens.reshape([batch, num_tokens, num_heads, head_dim]).swap_dims(1, 2) // [batch, heads, tokens, head_dim]
    };
    let scale = 1.0 / (head_dim as f64).sqrt();
    let scores = (split(query) * scale).matmul(split(key).swap_dims(2, 3));
    let probabilities = activation::softmax(scores, 3);
    let output = probabilities.clone().matmul(split(value)); // [batch, heads, query_tokens, head_dim]
    (output.swap_dims(1, 2).reshape([batch, query_tokens, dim]), probabilities)
}

/// [`upsample_nearest`] by 2, then a 3x3 [`conv2d`] that keeps the size.
///
/// # Shapes
/// - images: `[batch, height, width, channels_in]`, weight: `[3, 3, channels_in, channels_out]`
/// - output: `[batch, 2 * height, 2 * width, channels_out]`
pub fn upsample_conv2d(images: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    conv2d(upsample_nearest(images, 2), weight, bias, Conv2dOptions::same(3))
}

/// Repeats each pixel `factor` times along height and width.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, factor * height, factor * width, channels]`
pub fn upsample_nearest(images: Tensor<4>, factor: usize) -> Tensor<4> {
    let [_, height, width, _] = images.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([height * factor, width * factor]);
    interpolate(images.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// Windows of a pooling; they are square, and padding belongs to no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Side of a window.
    pub size: usize,
    /// Step between windows, the same on both axes.
    pub stride: usize,
    /// How far windows reach beyond each border; at most half of `size`. What lies there is never looked at.
    pub padding: usize,
}

impl PoolOptions {
    /// Windows of `size` that lie inside the image, `stride` apart.
    pub fn inside(size: usize, stride: usize) -> Self {
        Self { size, stride, padding: 0 }
    }

    /// Windows around every pixel, for an odd `size`.
    pub fn same(size: usize) -> Self {
        Self { size, stride: 1, padding: size / 2 }
    }
}

/// Largest value of each window.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, height_out, width_out, channels]`
pub fn max_pool2d(images: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    let PoolOptions { size, stride, padding } = options;
    let options = MaxPoolOptions::new([size, size]).with_stride([stride, stride]).with_padding([padding; 2]);
    burn_max_pool2d(images.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// Mean of the pixels of each window that lie inside the image.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, height_out, width_out, channels]`
pub fn average_pool2d(images: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    let PoolOptions { size, stride, padding } = options;
    let options = AvgPoolOptions::new([size, size])
        .with_stride([stride, stride])
        .with_padding([padding; 2])
        .with_count_include_pad(false);
    burn_avg_pool2d(images.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// `max(images · scale + shift, 0)`, scale and shift for each channel: a batch normalisation with fixed statistics, and
/// the ReLU behind it.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, scale and shift: `[channels]`
pub fn scale_shift_relu(images: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    let row = |values: Tensor<1>| {
        let [channels] = values.dims();
        values.reshape([1, 1, 1, channels])
    };
    activation::relu(images * row(scale) + row(shift))
}

/// Settings of one AdamW update (Loshchilov & Hutter 2019, algorithm 2) joined with an exponential moving average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; multiplied by the learning rate.
    pub weight_decay: f64,
    /// Number of this update, counted from 1, for the bias correction.
    pub step: u64,
    /// Decay of the moving average of the weights: `average = decay · average + (1 - decay) · weights`.
    pub ema_decay: f64,
    /// Factor on the gradient (clipping), applied before everything else.
    pub gradient_scale: f64,
}

/// The tensors of one parameter that an AdamW update reads and replaces; all have one shape.
#[derive(Debug, Clone)]
pub struct AdamWTensors<const D: usize> {
    /// The weights.
    pub weights: Tensor<D>,
    /// Running mean of the gradients.
    pub first_moment: Tensor<D>,
    /// Running mean of the squared gradients.
    pub second_moment: Tensor<D>,
    /// Moving average of the weights.
    pub average: Tensor<D>,
}

/// The square of the Euclidean length of all values together.
///
/// # Shapes
/// - output: `[1]`
pub fn sum_of_squares<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    values.square().sum()
}

/// One AdamW update and the moving average of the weights.
pub fn adamw_step<const D: usize>(
    tensors: AdamWTensors<D>,
    gradient: Tensor<D>,
    settings: &AdamWStep,
) -> AdamWTensors<D> {
    let AdamWTensors { weights, first_moment, second_moment, average } = tensors;
    let AdamWStep { learning_rate, beta_1, beta_2, epsilon, weight_decay, step, ema_decay, gradient_scale } = *settings;
    let gradient = gradient * gradient_scale;
    let first_moment = first_moment * beta_1 + gradient.clone() * (1.0 - beta_1);
    let second_moment = second_moment * beta_2 + gradient.square() * (1.0 - beta_2);
    let correction_1 = 1.0 - beta_1.powf(step as f64);
    let correction_2 = 1.0 - beta_2.powf(step as f64);
    let root = second_moment.clone().sqrt() * (1.0 / correction_2.sqrt()) + epsilon;
    let weights = weights * (1.0 - learning_rate * weight_decay)
        - first_moment.clone().div(root) * (learning_rate / correction_1);
    let average = average * ema_decay + weights.clone() * (1.0 - ema_decay);
    AdamWTensors { weights, first_moment, second_moment, average }
}
