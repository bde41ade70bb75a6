//! The operations that the networks are made of, on channels-last tensors.
//!
//! Image-like tensors are `[batch, height, width, channels]`, token tensors `[batch, tokens, dim]`, convolution weights
//! `[kernel_height, kernel_width, channels_in, channels_out]` and linear weights `[in, out]`. [`reference`] composes
//! every operation of Burn's own, which works on any backend and is the definition that faster code is tested against.
//! The functions at the top of this crate are what `nets` calls.

pub mod reference;

pub use reference::{
    AttentionOutput, Conv2dOptions, adamw_step, attention, attention_with_maps, conv2d, geglu, gelu, group_norm,
    group_norm_silu, layer_norm, linear, quick_gelu, silu, upsample_nearest,
};
pub use reference::{AdamWStep, AdamWTensors};
