//! Batch normalisation (Ioffe and Szegedy 2015), with running statistics and with those of a batch.
//!
//! Running statistics are parameters that take no gradient, so that they are read, written and averaged like weights, and
//! an optimiser passes them over. Training does not change the layer: it gives the statistics of the batch, which
//! [`BatchNorm::update`] then mixes into the running ones, so that a step that is thrown away leaves no trace.

use crate::layers::Conv2d;
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

/// How much of a batch's statistics enters the running ones, as PyTorch has it.
pub const MOMENTUM: f64 = 0.1;

/// Batch normalisation with a scale and a shift per channel.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    /// `[channels]`; takes no gradient.
    pub running_mean: Param<Tensor<1>>,
    /// `[channels]`; takes no gradient.
    pub running_var: Param<Tensor<1>>,
    epsilon: f64,
}

/// Mean and unbiased variance of each channel over a batch, outside autodiff.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// `[channels]`
    pub mean: Tensor<1>,
    /// `[channels]`
    pub variance: Tensor<1>,
}

impl BatchStatistics {
    /// # Shapes
    /// - images: `[batch, height, width, channels]`
    fn of(images: Tensor<4>) -> Self {
        let images = outside_autodiff(images);
        let [batch, height, width, channels] = images.dims();
        let count = batch * height * width;
        let rows = images.reshape([count, channels]);
        let mean = rows.clone().mean_dim(0); // [1, channels]
        let squares = (rows - mean.clone()).square().sum_dim(0);
        let variance = squares / (count.max(2) - 1) as f64;
        Self { mean: mean.reshape([channels]), variance: variance.reshape([channels]) }
    }
}

fn outside_autodiff<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

impl BatchNorm {
    /// Scale 1, shift 0, and statistics of a standard normal input.
    pub fn new(channels: usize, epsilon: f64, device: &Device) -> Self {
        let (ones, zeros) = (|| Tensor::ones([channels], device), || Tensor::zeros([channels], device));
        Self {
            weight: Param::from_tensor(ones()),
            bias: Param::from_tensor(zeros()),
            running_mean: Param::from_tensor(zeros()).set_require_grad(false),
            running_var: Param::from_tensor(ones()).set_require_grad(false),
            epsilon,
        }
    }

    /// With running statistics the layer is `images * scale + shift`: both, `[channels]`.
    pub fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }

    /// Normalises by the running statistics, then ReLU.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub fn forward_relu(&self, images: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.scale_and_shift();
        kernels::scale_shift_relu(images, scale, shift)
    }

    /// A convolution without bias, then this layer by its running statistics, as one convolution.
    ///
    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height_out, width_out, channels]`
    pub fn forward_behind(&self, conv: &Conv2d, images: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.scale_and_shift();
        let [channels] = scale.dims();
        let weight = conv.weight.val() * scale.reshape([1, 1, 1, channels]);
        kernels::conv2d(images, weight, Some(shift), conv.options)
    }

    /// Normalises by the statistics of the batch, with biased variance, and gives them.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]`, kept
    pub fn forward_train(&self, images: Tensor<4>) -> (Tensor<4>, BatchStatistics) {
        let statistics = BatchStatistics::of(images.clone());
        let dims = images.dims();
        let [batch, height, width, channels] = dims;
        // A group norm of one image of all pixels with a group for each channel.
        let joined = images.reshape([1, batch * height, width, channels]);
        let normal = kernels::group_norm(joined, self.weight.val(), self.bias.val(), channels, self.epsilon);
        (normal.reshape(dims), statistics)
    }

    /// Mixes the statistics of a batch into the running ones: `running = (1 - momentum) * running + momentum * batch`.
    pub fn update(&mut self, statistics: &BatchStatistics, momentum: f64) {
        let mix = |param: &Param<Tensor<1>>, batch: &Tensor<1>| {
            param.clone().map(|running| {
                let is_autodiff = running.is_autodiff();
                let mixed = outside_autodiff(running) * (1.0 - momentum) + batch.clone() * momentum;
                if is_autodiff { Tensor::from_inner(mixed) } else { mixed }
            })
        };
        self.running_mean = mix(&self.running_mean, &statistics.mean);
        self.running_var = mix(&self.running_var, &statistics.variance);
    }
}
