//! The public operations: the vector code where it can run, the reference elsewhere.

use crate::extension::{KernelBackend, UntrackedBackend};
use crate::operation::Operation;
use crate::reference::{self, AdamWStep, AdamWTensors, AttentionOutput, Conv2dOptions, PoolOptions};
use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Tensor};

/// Whether a tensor is in single precision on the CPU backend, with or without autodiff.
fn is_fast<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    let is_cpu = match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)] // there are others as soon as a GPU feature is on
        _ => false,
    };
    is_cpu && tensor.dtype() == DType::F32
}

fn run_1<const D: usize>(operation: Operation, first: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::run_1(operation, first.into_dispatch()))
}

fn run_weighted<const D: usize, const W: usize>(
    operation: Operation,
    input: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::run_3(operation, input, weight, bias.into_dispatch()),
        None => Dispatch::run_2(operation, input, weight),
    })
}

fn run_joined<const D: usize, const W: usize>(
    operation: Operation,
    first: Tensor<D>,
    second: Tensor<D>,
    weight: Tensor<W>,
    bias: Tensor<1>,
) -> Tensor<D> {
    let (first, second, weight) = (first.into_dispatch(), second.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::run_4(operation, first, second, weight, bias.into_dispatch()))
}

/// [`reference::conv2d`], by Winograd's algorithm where it fits and as a matrix product elsewhere.
///
/// # Shapes
/// - images: `[batch, height, width, channels_in]`
/// - weight: `[kernel_height, kernel_width, channels_in, channels_out]`
/// - bias: `[channels_out]`
/// - output: `[batch, height_out, width_out, channels_out]`
pub fn conv2d(images: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Tensor<4> {
    if !is_fast(&images) {
        return reference::conv2d(images, weight, bias, options);
    }
    run_weighted(Operation::Conv2d(options), images, weight, bias)
}

/// [`reference::upsample_conv2d`]: each pixel repeated two by two, then a 3x3 convolution that keeps the size, without
/// the large images in between.
///
/// # Shapes
/// - images: `[batch, height, width, channels_in]`
/// - weight: `[3, 3, channels_in, channels_out]`
/// - bias: `[channels_out]`
/// - output: `[batch, 2 * height, 2 * width, channels_out]`
pub fn upsample_conv2d(images: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    if !is_fast(&images) {
        return reference::upsample_conv2d(images, weight, bias);
    }
    run_weighted(Operation::UpsampleConv2d, images, weight, bias)
}

/// [`reference::linear`]: `input · weight + bias` over the last axis.
///
/// # Shapes
/// - input: `[.., in]`, weight: `[in, out]`, bias: `[out]`, output: `[.., out]`
pub fn linear<const D: usize>(input: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    if !is_fast(&input) {
        return reference::linear(input, weight, bias);
    }
    run_weighted(Operation::Linear, input, weight, bias)
}

/// [`reference::group_norm`] over the last axis' `num_groups` groups and all pixels, with biased variance.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, weight and bias: `[channels]`
pub fn group_norm(images: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, num_groups: usize, epsilon: f64) -> Tensor<4> {
    if !is_fast(&images) {
        return reference::group_norm(images, weight, bias, num_groups, epsilon);
    }
    run_weighted(Operation::GroupNorm { num_groups, epsilon, silu: false }, images, weight, Some(bias))
}

/// [`group_norm`] followed by [`silu`], in one pass.
pub fn group_norm_silu(
    images: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    num_groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    if !is_fast(&images) {
        return reference::group_norm_silu(images, weight, bias, num_groups, epsilon);
    }
    run_weighted(Operation::GroupNorm { num_groups, epsilon, silu: true }, images, weight, Some(bias))
}

/// [`reference::linear_joined`]: [`linear`] on two tensors side by side in the last axis, which are never joined.
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
    if !is_fast(&first) {
        return reference::linear_joined(first, second, weight, bias);
    }
    run_joined(Operation::LinearJoined, first, second, weight, bias)
}

/// [`reference::group_norm_silu_joined`]: [`group_norm_silu`] on two images side by side in the channels, which are
/// joined in the output alone.
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
    if !is_fast(&first) {
        return reference::group_norm_silu_joined(first, second, weight, bias, num_groups, epsilon);
    }
    run_joined(Operation::GroupNorm { num_groups, epsilon, silu: true }, first, second, weight, bias)
}

/// [`reference::layer_norm`] over the last axis, with biased variance.
///
/// # Shapes
/// - input: `[.., dim]`, weight and bias: `[dim]`
pub fn layer_norm<const D: usize>(input: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<D> {
    if !is_fast(&input) {
        return reference::layer_norm(input, weight, bias, epsilon);
    }
    run_weighted(Operation::LayerNorm { epsilon }, input, weight, Some(bias))
}

/// `x · sigmoid(x)`, also called swish.
pub fn silu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if is_fast(&input) { run_1(Operation::Silu, input) } else { reference::silu(input) }
}

/// Exact Gaussian error linear unit, `x · Φ(x)` (not the tanh approximation).
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if is_fast(&input) { run_1(Operation::Gelu, input) } else { reference::gelu(input) }
}

/// `x · sigmoid(1.702 x)`, the approximation that CLIP-like transformers were trained with.
pub fn quick_gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if is_fast(&input) { run_1(Operation::QuickGelu, input) } else { reference::quick_gelu(input) }
}

/// Gated GELU (Shazeer 2020): the last axis holds values, then gates; output `values · gelu(gates)`.
///
/// # Shapes
/// - input: `[batch, tokens, 2 * dim]`, output: `[batch, tokens, dim]`
pub fn geglu(input: Tensor<3>) -> Tensor<3> {
    if is_fast(&input) { run_1(Operation::Geglu, input) } else { reference::geglu(input) }
}

/// Multi-head scaled dot-product attention, scale `1 / sqrt(head_dim)`, on already projected tokens, in blocks of
/// queries: the matrix of all scores never exists.
///
/// # Shapes
/// - query: `[batch, query_tokens, heads * head_dim]`
/// - key, value: `[batch, key_tokens, heads * head_dim]`
/// - output: `[batch, query_tokens, heads * head_dim]`
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, num_heads: usize) -> Tensor<3> {
    if !is_fast(&query) {
        return reference::attention(query, key, value, num_heads);
    }
    let operation = Operation::Attention { num_heads };
    let (query, key, value) = (query.into_dispatch(), key.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::run_3(operation, query, key, value))
}

/// [`attention`] that also returns where each query looks, averaged over heads; the maps alone take up memory.
pub fn attention_with_maps(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, num_heads: usize) -> AttentionOutput {
    if !is_fast(&query) || query.device().is_autodiff() {
        return reference::attention_with_maps(query, key, value, num_heads);
    }
    let maps = Dispatch::attention_maps(num_heads, query.clone().into_dispatch(), key.clone().into_dispatch());
    AttentionOutput { output: attention(query, key, value, num_heads), maps: Tensor::from_dispatch(maps) }
}

/// Repeats each pixel `factor` times along height and width.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, factor * height, factor * width, channels]`
pub fn upsample_nearest(images: Tensor<4>, factor: usize) -> Tensor<4> {
    if is_fast(&images) {
        run_1(Operation::UpsampleNearest { factor }, images)
    } else {
        reference::upsample_nearest(images, factor)
    }
}

/// [`reference::max_pool2d`]: the largest value of each window.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, height_out, width_out, channels]`
pub fn max_pool2d(images: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    if is_fast(&images) { run_1(Operation::MaxPool(options), images) } else { reference::max_pool2d(images, options) }
}

/// [`reference::average_pool2d`]: the mean of the pixels of each window that lie inside the image.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, output: `[batch, height_out, width_out, channels]`
pub fn average_pool2d(images: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    if is_fast(&images) {
        run_1(Operation::AveragePool(options), images)
    } else {
        reference::average_pool2d(images, options)
    }
}

/// [`reference::scale_shift_relu`]: `max(images · scale + shift, 0)` in one pass.
///
/// # Shapes
/// - images: `[batch, height, width, channels]`, scale and shift: `[channels]`
pub fn scale_shift_relu(images: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    if !is_fast(&images) {
        return reference::scale_shift_relu(images, scale, shift);
    }
    run_weighted(Operation::ScaleShiftRelu, images, scale, Some(shift))
}

/// One AdamW update and the moving average of the weights. In place, in one pass over memory, where nobody else holds
/// the tensors; pass them by value and keep no copies.
pub fn adamw_step<const D: usize>(
    tensors: AdamWTensors<D>,
    gradient: Tensor<D>,
    settings: &AdamWStep,
) -> AdamWTensors<D> {
    let AdamWTensors { weights, first_moment, second_moment, average } = tensors;
    let all = [&weights, &first_moment, &second_moment, &average, &gradient];
    if !all.into_iter().all(|tensor| is_fast(tensor) && !tensor.device().is_autodiff()) {
        let tensors = AdamWTensors { weights, first_moment, second_moment, average };
        return reference::adamw_step(tensors, gradient, settings);
    }
    let state = [weights, first_moment, second_moment, average].map(Tensor::into_dispatch);
    let [weights, first_moment, second_moment, average] = state;
    let (weights, first_moment, second_moment, average) =
        Dispatch::adamw(*settings, gradient.into_dispatch(), weights, first_moment, second_moment, average);
    AdamWTensors {
        weights: Tensor::from_dispatch(weights),
        first_moment: Tensor::from_dispatch(first_moment),
        second_moment: Tensor::from_dispatch(second_moment),
        average: Tensor::from_dispatch(average),
    }
}

/// [`reference::sum_of_squares`] of values outside autodiff. On the CPU it is worked out in double precision and has the
/// same bits whatever the number of threads.
///
/// # Shapes
/// - output: `[1]`, in double precision on the CPU
pub fn sum_of_squares<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    if !is_fast(&values) || values.device().is_autodiff() {
        return reference::sum_of_squares(values);
    }
    Tensor::from_dispatch(Dispatch::sum_of_squares(values.into_dispatch()))
}

#[cfg(test)]
#[path = "burn_tests.rs"]
mod burn_tests;
#[cfg(test)]
#[path = "pool_tests.rs"]
mod pool_tests;
#[cfg(test)]
#[path = "fast_tests.rs"]
mod tests;
