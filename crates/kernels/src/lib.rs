//! The operations that the networks are made of, on channels-last tensors.
//!
//! Image-like tensors are `[batch, height, width, channels]`, token tensors `[batch, tokens, dim]`, convolution weights
//! `[kernel_height, kernel_width, channels_in, channels_out]` and linear weights `[in, out]`. [`mod@reference`] composes
//! every operation of Burn's own, which works on any backend and is the definition that faster code is tested against.
//! The functions at the top of this crate are what `nets` calls: single-precision tensors on the CPU backend, with or
//! without autodiff, go to this crate's vector code with its own gradients, all others to [`mod@reference`].
//!
//! Results of the vector code depend neither on the number of threads nor, for one image, on the rest of its batch.

mod cpu;
mod extension;
mod operation;
pub mod reference;
mod threads;

pub use cpu::convolution::CONVOLUTION_VARIABLE;
pub use cpu::{CpuLevel, LEVEL_VARIABLE, cpu_level};
pub use operation::Operation;
pub use reference::{AdamWStep, AdamWTensors, AttentionOutput, Conv2dOptions, PoolOptions};
pub use threads::start_threads;

mod fast;
pub use fast::{
    adamw_step, attention, attention_with_maps, average_pool2d, conv2d, geglu, gelu, group_norm, group_norm_silu,
    group_norm_silu_joined, layer_norm, linear, linear_joined, max_pool2d, quick_gelu, scale_shift_relu, silu,
    sum_of_squares, upsample_conv2d, upsample_nearest,
};
