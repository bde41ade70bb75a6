//! The blocks of Inception-v3 (Szegedy et al. 2016, figures 5 to 7 and 10): branches beside one another, joined in the
//! channels. Fields are named like the keys of torchvision's `Inception3`.
//!
//! Batch normalisation is folded into the convolutions when a file is read. Where a branch averages and then convolves with
//! a 1x1 kernel, both are exchanged, which changes nothing but rounding: a mean of pixels inside the image keeps what is
//! the same in all of them, the bias.

use crate::layers::Conv2d;
use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::relu},
};
use kernels::{Conv2dOptions, PoolOptions};

/// A convolution and a ReLU.
#[derive(Module, Debug)]
pub(super) struct ConvRelu {
    conv: Conv2d,
}

impl ConvRelu {
    /// Keeps the size; the kernel has odd `[height, width]`.
    pub(super) fn same(channels_in: usize, channels_out: usize, kernel: [usize; 2], device: &Device) -> Self {
        let options = Conv2dOptions::same_rectangle(kernel);
        Self { conv: Conv2d::rectangular(channels_in, channels_out, kernel, options, device) }
    }

    /// A 1x1 convolution.
    pub(super) fn point(channels_in: usize, channels_out: usize, device: &Device) -> Self {
        Self::same(channels_in, channels_out, [1, 1], device)
    }

    /// 3x3 without padding.
    pub(super) fn inside(channels_in: usize, channels_out: usize, stride: usize, device: &Device) -> Self {
        Self { conv: Conv2d::new(channels_in, channels_out, 3, Conv2dOptions::strided(stride, 0), device) }
    }

    /// # Shapes
    /// `[batch, height, width, channels_in]` to `[batch, height_out, width_out, channels_out]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        relu(self.conv.forward(images))
    }

    /// 3x3 means of what goes in, then this 1x1 convolution.
    fn forward_averaged(&self, images: Tensor<4>) -> Tensor<4> {
        relu(kernels::average_pool2d(self.conv.forward(images), PoolOptions::same(3)))
    }
}

/// Runs layers one after the other.
fn chain<const N: usize>(layers: [&ConvRelu; N], images: Tensor<4>) -> Tensor<4> {
    layers.into_iter().fold(images, |images, layer| layer.forward(images))
}

/// The blocks at the largest size, `Mixed_5b` to `Mixed_5d`.
#[derive(Module, Debug)]
pub(super) struct BlockA {
    branch1x1: ConvRelu,
    branch5x5_1: ConvRelu,
    branch5x5_2: ConvRelu,
    branch3x3dbl_1: ConvRelu,
    branch3x3dbl_2: ConvRelu,
    branch3x3dbl_3: ConvRelu,
    branch_pool: ConvRelu,
}

impl BlockA {
    pub(super) fn new(channels: usize, pool_channels: usize, device: &Device) -> Self {
        Self {
            branch1x1: ConvRelu::point(channels, 64, device),
            branch5x5_1: ConvRelu::point(channels, 48, device),
            branch5x5_2: ConvRelu::same(48, 64, [5, 5], device),
            branch3x3dbl_1: ConvRelu::point(channels, 64, device),
            branch3x3dbl_2: ConvRelu::same(64, 96, [3, 3], device),
            branch3x3dbl_3: ConvRelu::same(96, 96, [3, 3], device),
            branch_pool: ConvRelu::point(channels, pool_channels, device),
        }
    }

    /// `[batch, height, width, channels]` to `[batch, height, width, 224 + pool_channels]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            self.branch1x1.forward(images.clone()),
            chain([&self.branch5x5_1, &self.branch5x5_2], images.clone()),
            chain([&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3], images.clone()),
            self.branch_pool.forward_averaged(images),
        ];
        Tensor::cat(branches, 3)
    }
}

/// `Mixed_6a`, which halves the size.
#[derive(Module, Debug)]
pub(super) struct BlockB {
    branch3x3: ConvRelu,
    branch3x3dbl_1: ConvRelu,
    branch3x3dbl_2: ConvRelu,
    branch3x3dbl_3: ConvRelu,
}

impl BlockB {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self {
            branch3x3: ConvRelu::inside(channels, 384, 2, device),
            branch3x3dbl_1: ConvRelu::point(channels, 64, device),
            branch3x3dbl_2: ConvRelu::same(64, 96, [3, 3], device),
            branch3x3dbl_3: ConvRelu::inside(96, 96, 2, device),
        }
    }

    /// `[batch, height, width, channels]` to `[batch, (height - 1) / 2, (width - 1) / 2, 480 + channels]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            self.branch3x3.forward(images.clone()),
            chain([&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3], images.clone()),
            kernels::max_pool2d(images, PoolOptions::inside(3, 2)),
        ];
        Tensor::cat(branches, 3)
    }
}

/// The blocks at the middle size, `Mixed_6b` to `Mixed_6e`: 7x7 convolutions as 1x7 and 7x1.
#[derive(Module, Debug)]
pub(super) struct BlockC {
    branch1x1: ConvRelu,
    branch7x7_1: ConvRelu,
    branch7x7_2: ConvRelu,
    branch7x7_3: ConvRelu,
    branch7x7dbl_1: ConvRelu,
    branch7x7dbl_2: ConvRelu,
    branch7x7dbl_3: ConvRelu,
    branch7x7dbl_4: ConvRelu,
    branch7x7dbl_5: ConvRelu,
    branch_pool: ConvRelu,
}

impl BlockC {
    pub(super) fn new(channels: usize, width: usize, device: &Device) -> Self {
        let (row, column) = ([1, 7], [7, 1]);
        Self {
            branch1x1: ConvRelu::point(channels, 192, device),
            branch7x7_1: ConvRelu::point(channels, width, device),
            branch7x7_2: ConvRelu::same(width, width, row, device),
            branch7x7_3: ConvRelu::same(width, 192, column, device),
            branch7x7dbl_1: ConvRelu::point(channels, width, device),
            branch7x7dbl_2: ConvRelu::same(width, width, column, device),
            branch7x7dbl_3: ConvRelu::same(width, width, row, device),
            branch7x7dbl_4: ConvRelu::same(width, width, column, device),
            branch7x7dbl_5: ConvRelu::same(width, 192, row, device),
            branch_pool: ConvRelu::point(channels, 192, device),
        }
    }

    /// `[batch, height, width, channels]` to `[batch, height, width, 768]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let double = [
            &self.branch7x7dbl_1,
            &self.branch7x7dbl_2,
            &self.branch7x7dbl_3,
            &self.branch7x7dbl_4,
            &self.branch7x7dbl_5,
        ];
        let branches = vec![
            self.branch1x1.forward(images.clone()),
            chain([&self.branch7x7_1, &self.branch7x7_2, &self.branch7x7_3], images.clone()),
            chain(double, images.clone()),
            self.branch_pool.forward_averaged(images),
        ];
        Tensor::cat(branches, 3)
    }
}

/// `Mixed_7a`, which halves the size.
#[derive(Module, Debug)]
pub(super) struct BlockD {
    branch3x3_1: ConvRelu,
    branch3x3_2: ConvRelu,
    branch7x7x3_1: ConvRelu,
    branch7x7x3_2: ConvRelu,
    branch7x7x3_3: ConvRelu,
    branch7x7x3_4: ConvRelu,
}

impl BlockD {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self {
            branch3x3_1: ConvRelu::point(channels, 192, device),
            branch3x3_2: ConvRelu::inside(192, 320, 2, device),
            branch7x7x3_1: ConvRelu::point(channels, 192, device),
            branch7x7x3_2: ConvRelu::same(192, 192, [1, 7], device),
            branch7x7x3_3: ConvRelu::same(192, 192, [7, 1], device),
            branch7x7x3_4: ConvRelu::inside(192, 192, 2, device),
        }
    }

    /// `[batch, height, width, channels]` to `[batch, (height - 1) / 2, (width - 1) / 2, 512 + channels]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let seven = [&self.branch7x7x3_1, &self.branch7x7x3_2, &self.branch7x7x3_3, &self.branch7x7x3_4];
        let branches = vec![
            chain([&self.branch3x3_1, &self.branch3x3_2], images.clone()),
            chain(seven, images.clone()),
            kernels::max_pool2d(images, PoolOptions::inside(3, 2)),
        ];
        Tensor::cat(branches, 3)
    }
}

/// What the branch without other convolutions of a [`BlockE`] does first, in 3x3 windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Average,
    /// A slip in the graph that the Fréchet inception distance was defined with, and part of its definition since.
    Largest,
}

/// The blocks at the smallest size, `Mixed_7b` and `Mixed_7c`.
#[derive(Module, Debug)]
pub(super) struct BlockE {
    branch1x1: ConvRelu,
    branch3x3_1: ConvRelu,
    branch3x3_2a: ConvRelu,
    branch3x3_2b: ConvRelu,
    branch3x3dbl_1: ConvRelu,
    branch3x3dbl_2: ConvRelu,
    branch3x3dbl_3a: ConvRelu,
    branch3x3dbl_3b: ConvRelu,
    branch_pool: ConvRelu,
    #[module(skip)]
    pooling: Pooling,
}

impl BlockE {
    pub(super) fn new(channels: usize, pooling: Pooling, device: &Device) -> Self {
        let (row, column) = ([1, 3], [3, 1]);
        Self {
            branch1x1: ConvRelu::point(channels, 320, device),
            branch3x3_1: ConvRelu::point(channels, 384, device),
            branch3x3_2a: ConvRelu::same(384, 384, row, device),
            branch3x3_2b: ConvRelu::same(384, 384, column, device),
            branch3x3dbl_1: ConvRelu::point(channels, 448, device),
            branch3x3dbl_2: ConvRelu::same(448, 384, [3, 3], device),
            branch3x3dbl_3a: ConvRelu::same(384, 384, row, device),
            branch3x3dbl_3b: ConvRelu::same(384, 384, column, device),
            branch_pool: ConvRelu::point(channels, 192, device),
            pooling,
        }
    }

    /// `[batch, height, width, channels]` to `[batch, height, width, 2048]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let single = self.branch3x3_1.forward(images.clone());
        let double = chain([&self.branch3x3dbl_1, &self.branch3x3dbl_2], images.clone());
        let branches = vec![
            self.branch1x1.forward(images.clone()),
            self.branch3x3_2a.forward(single.clone()),
            self.branch3x3_2b.forward(single),
            self.branch3x3dbl_3a.forward(double.clone()),
            self.branch3x3dbl_3b.forward(double),
            match self.pooling {
                Pooling::Average => self.branch_pool.forward_averaged(images),
                Pooling::Largest => self.branch_pool.forward(kernels::max_pool2d(images, PoolOptions::same(3))),
            },
        ];
        Tensor::cat(branches, 3)
    }
}
