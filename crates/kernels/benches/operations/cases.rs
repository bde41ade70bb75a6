//! The operations by name and sizes, as `bench/reference.py` reads them too.

use burn::tensor::{Device, Distribution, Tensor};
use kernels::{AdamWStep, AdamWTensors, Conv2dOptions, reference};
use std::hint::black_box;

/// An operation with its sizes.
#[derive(Clone, Copy)]
pub enum Case {
    /// `conv KERNEL STRIDE BATCH CHANNELS_IN CHANNELS_OUT SIDE`
    Conv { kernel: usize, stride: usize, batch: usize, channels_in: usize, channels_out: usize, side: usize },
    /// `linear ROWS IN OUT`
    Linear { rows: usize, dim_in: usize, dim_out: usize },
    /// `attention BATCH QUERIES KEYS DIM HEADS`
    Attention { batch: usize, queries: usize, keys: usize, dim: usize, heads: usize },
    /// `group_norm_silu BATCH SIDE CHANNELS`, 32 groups
    GroupNormSilu { batch: usize, side: usize, channels: usize },
    /// `layer_norm ROWS DIM`
    LayerNorm { rows: usize, dim: usize },
    /// `silu VALUES`
    Silu { values: usize },
    /// `gelu VALUES`
    Gelu { values: usize },
    /// `geglu ROWS DIM`: from twice `DIM` to `DIM`
    Geglu { rows: usize, dim: usize },
    /// `upsample BATCH SIDE CHANNELS`: to twice the side
    Upsample { batch: usize, side: usize, channels: usize },
    /// `upsample_conv BATCH CHANNELS_IN CHANNELS_OUT SIDE`: from the side to twice as much, kernel 3
    UpsampleConv { batch: usize, channels_in: usize, channels_out: usize, side: usize },
    /// `adamw VALUES`: an update with the moving average, in tensors of 589,824 values
    Adamw { values: usize },
}

impl Case {
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let name = words.next()?;
        let numbers: Vec<usize> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(match (name, &numbers[..]) {
            ("conv", &[kernel, stride, batch, channels_in, channels_out, side]) => {
                Self::Conv { kernel, stride, batch, channels_in, channels_out, side }
            }
            ("linear", &[rows, dim_in, dim_out]) => Self::Linear { rows, dim_in, dim_out },
            ("attention", &[batch, queries, keys, dim, heads]) => Self::Attention { batch, queries, keys, dim, heads },
            ("group_norm_silu", &[batch, side, channels]) => Self::GroupNormSilu { batch, side, channels },
            ("layer_norm", &[rows, dim]) => Self::LayerNorm { rows, dim },
            ("silu", &[values]) => Self::Silu { values },
            ("gelu", &[values]) => Self::Gelu { values },
            ("geglu", &[rows, dim]) => Self::Geglu { rows, dim },
            ("upsample", &[batch, side, channels]) => Self::Upsample { batch, side, channels },
            ("upsample_conv", &[batch, channels_in, channels_out, side]) => {
                Self::UpsampleConv { batch, channels_in, channels_out, side }
            }
            ("adamw", &[values]) => Self::Adamw { values },
            _ => return None,
        })
    }

    /// The operation of this crate (`fast`) or of the reference as something to run, forward alone or with `both`
    /// directions and the gradients of all inputs.
    pub fn run(self, fast: bool, both: bool) -> Box<dyn FnMut()> {
        match self {
            Self::Conv { kernel, stride, batch, channels_in, channels_out, side } => {
                let options = Conv2dOptions::strided(stride, kernel / 2);
                let f = if fast { kernels::conv2d } else { reference::conv2d };
                let weight = [kernel, kernel, channels_in, channels_out];
                let dims = ([batch, side, side, channels_in], weight, [channels_out]);
                operation(dims, both, move |x, w, b| f(x, w, Some(b), options))
            }
            Self::Linear { rows, dim_in, dim_out } => {
                let f = if fast { kernels::linear::<2> } else { reference::linear::<2> };
                operation(([rows, dim_in], [dim_in, dim_out], [dim_out]), both, move |x, w, b| f(x, w, Some(b)))
            }
            Self::Attention { batch, queries, keys, dim, heads } => {
                let f = if fast { kernels::attention } else { reference::attention };
                let dims = ([batch, queries, dim], [batch, keys, dim], [batch, keys, dim]);
                operation(dims, both, move |q, k, v| f(q, k, v, heads))
            }
            Self::GroupNormSilu { batch, side, channels } => {
                let f = if fast { kernels::group_norm_silu } else { reference::group_norm_silu };
                let dims = ([batch, side, side, channels], [channels], [channels]);
                operation(dims, both, move |x, w, b| f(x, w, b, 32, 1e-5))
            }
            Self::LayerNorm { rows, dim } => {
                let f = if fast { kernels::layer_norm::<2> } else { reference::layer_norm::<2> };
                operation(([rows, dim], [dim], [dim]), both, move |x, w, b| f(x, w, b, 1e-5))
            }
            Self::Silu { values } => {
                let f = if fast { kernels::silu::<1> } else { reference::silu::<1> };
                unary([values], both, f)
            }
            Self::Gelu { values } => {
                let f = if fast { kernels::gelu::<1> } else { reference::gelu::<1> };
                unary([values], both, f)
            }
            Self::Geglu { rows, dim } => {
                let f = if fast { kernels::geglu } else { reference::geglu };
                unary([1, rows, 2 * dim], both, f)
            }
            Self::Upsample { batch, side, channels } => {
                let f = if fast { kernels::upsample_nearest } else { reference::upsample_nearest };
                unary([batch, side, side, channels], both, move |x| f(x, 2))
            }
            Self::UpsampleConv { batch, channels_in, channels_out, side } => {
                let f = if fast { kernels::upsample_conv2d } else { reference::upsample_conv2d };
                let dims = ([batch, side, side, channels_in], [3, 3, channels_in, channels_out], [channels_out]);
                operation(dims, both, move |x, w, b| f(x, w, Some(b)))
            }
            Self::Adamw { values } => adamw(values, fast),
        }
    }
}

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

fn operation<const A: usize, const B: usize, const C: usize, const O: usize>(
    dims: ([usize; A], [usize; B], [usize; C]),
    both: bool,
    f: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O> + 'static,
) -> Box<dyn FnMut()> {
    let device = if both { Device::flex().autodiff() } else { Device::flex() };
    let (a, b, c) = (random(dims.0, &device), random(dims.1, &device), random(dims.2, &device));
    if !both {
        return Box::new(move || {
            black_box(f(a.clone(), b.clone(), c.clone()));
        });
    }
    let (a, b, c) = (a.require_grad(), b.require_grad(), c.require_grad());
    Box::new(move || {
        let gradients = f(a.clone(), b.clone(), c.clone()).backward();
        black_box((a.grad(&gradients), b.grad(&gradients), c.grad(&gradients)));
    })
}

fn unary<const D: usize, const O: usize>(
    dims: [usize; D],
    both: bool,
    f: impl Fn(Tensor<D>) -> Tensor<O> + 'static,
) -> Box<dyn FnMut()> {
    operation((dims, [1], [1]), both, move |x, _: Tensor<1>, _: Tensor<1>| f(x))
}

fn adamw(values: usize, fast: bool) -> Box<dyn FnMut()> {
    let settings = AdamWStep {
        learning_rate: 1e-4,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
        step: 10,
        ema_decay: 0.999,
        gradient_scale: 1.0,
    };
    let device = Device::flex();
    // As large as a 3x3 convolution of 256 channels each.
    let dims = [9, 256, 256];
    let gradient = random(dims, &device);
    let tensors = |_| {
        Some(AdamWTensors {
            weights: random(dims, &device),
            first_moment: random(dims, &device),
            second_moment: random(dims, &device).abs(),
            average: random(dims, &device),
        })
    };
    let mut all: Vec<Option<AdamWTensors<3>>> = (0..values.div_ceil(9 * 256 * 256)).map(tensors).collect();
    let step = if fast { kernels::adamw_step } else { reference::adamw_step };
    Box::new(move || {
        for slot in &mut all {
            *slot = slot.take().map(|tensors| step(tensors, gradient.clone(), &settings));
        }
    })
}
