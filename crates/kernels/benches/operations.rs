//! Times of single operations, this crate's code against the reference on the same backend: forward, and forward with
//! backward. Run with `cargo bench -p dino-diffusion-kernels`, optionally with a word that must occur in the name.
#![allow(clippy::print_stdout)] // a benchmark prints its table

use burn::tensor::{Device, Distribution, Tensor};
use kernels::{AdamWStep, AdamWTensors, Conv2dOptions, reference};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: kernels::CachingAllocator = kernels::CachingAllocator::new();

/// Median milliseconds of at least 5 runs, within about a second.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.6 && times.len() < 100) {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

struct Table {
    filter: Option<String>,
}

impl Table {
    fn row(&self, name: &str, fast: impl FnMut(), slow: impl FnMut()) {
        if self.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            return;
        }
        let (fast, slow) = (median(fast), median(slow));
        println!("{name:<44} {slow:>10.3} {fast:>10.3} {:>7.2}", slow / fast);
    }

    /// Forward, and forward with backward for all inputs.
    fn operation<const A: usize, const B: usize, const C: usize, const O: usize>(
        &self,
        name: &str,
        dims: ([usize; A], [usize; B], [usize; C]),
        fast: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>,
        slow: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>,
    ) {
        let device = Device::flex();
        let (a, b, c) = (random(dims.0, &device), random(dims.1, &device), random(dims.2, &device));
        let forward = |f: &dyn Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>| {
            std::hint::black_box(f(a.clone(), b.clone(), c.clone()));
        };
        self.row(&format!("{name} forward"), || forward(&fast), || forward(&slow));
        let device = Device::flex().autodiff();
        let a = random(dims.0, &device).require_grad();
        let (b, c) = (random(dims.1, &device).require_grad(), random(dims.2, &device).require_grad());
        let both = |f: &dyn Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>| {
            let gradients = f(a.clone(), b.clone(), c.clone()).sum().backward();
            std::hint::black_box((a.grad(&gradients), b.grad(&gradients), c.grad(&gradients)));
        };
        self.row(&format!("{name} forward + backward"), || both(&fast), || both(&slow));
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let table = Table { filter };
    println!("{:<44} {:>10} {:>10} {:>7}   ({:?})", "operation", "reference", "ours ms", "ratio", kernels::cpu_level());
    for (batch, channels_in, channels_out, side, stride) in [
        (32, 128, 128, 16, 1),
        (32, 256, 256, 8, 1),
        (32, 256, 256, 4, 1),
        (32, 128, 128, 16, 2),
        (32, 4, 128, 16, 1),
        (32, 128, 4, 16, 1),
        (1, 128, 128, 16, 1),
        (4, 320, 320, 32, 1),
    ] {
        let options = Conv2dOptions::strided(stride, 1);
        table.operation(
            &format!("conv 3x3/{stride} {batch} x {channels_in}>{channels_out} x {side}²"),
            ([batch, side, side, channels_in], [3, 3, channels_in, channels_out], [channels_out]),
            |x, w, b| kernels::conv2d(x, w, Some(b), options),
            |x, w, b| reference::conv2d(x, w, Some(b), options),
        );
    }
    for (rows, dim_in, dim_out) in [(8192, 128, 128), (2048, 256, 512), (32, 128, 512)] {
        table.operation(
            &format!("linear {rows} x {dim_in}>{dim_out}"),
            ([rows, dim_in], [dim_in, dim_out], [dim_out]),
            |x, w, b| kernels::linear(x, w, Some(b)),
            |x, w, b| reference::linear(x, w, Some(b)),
        );
    }
    for (batch, queries, keys, dim, heads) in
        [(32, 256, 256, 128, 4), (32, 64, 64, 256, 8), (32, 256, 10, 128, 4), (4, 1024, 1024, 320, 8)]
    {
        table.operation(
            &format!("attention {batch} x {queries}:{keys} x {dim}, {heads} heads"),
            ([batch, queries, dim], [batch, keys, dim], [batch, keys, dim]),
            |q, k, v| kernels::attention(q, k, v, heads),
            |q, k, v| reference::attention(q, k, v, heads),
        );
    }
    for (batch, side, channels) in [(32, 16, 128), (32, 8, 256), (1, 256, 128)] {
        table.operation(
            &format!("group norm + silu {batch} x {side}² x {channels}"),
            ([batch, side, side, channels], [channels], [channels]),
            |x, w, b| kernels::group_norm_silu(x, w, b, 32, 1e-5),
            |x, w, b| reference::group_norm_silu(x, w, b, 32, 1e-5),
        );
    }
    table.operation(
        "layer norm 8192 x 128",
        ([8192, 128], [128], [128]),
        |x, w, b| kernels::layer_norm(x, w, b, 1e-5),
        |x, w, b| reference::layer_norm(x, w, b, 1e-5),
    );
    let dims = ([32, 256, 128], [1], [1]);
    table.operation("silu 1M", dims, |x, _, _| kernels::silu(x), |x, _, _| reference::silu(x));
    table.operation("gelu 1M", dims, |x, _, _| kernels::gelu(x), |x, _, _| reference::gelu(x));
    table.operation("geglu 1M", dims, |x, _, _| kernels::geglu(x), |x, _, _| reference::geglu(x));
    let dims = ([32, 8, 8, 256], [1], [1]);
    table.operation(
        "upsample 32 x 8² x 256",
        dims,
        |x, _, _| kernels::upsample_nearest(x, 2),
        |x, _, _| reference::upsample_nearest(x, 2),
    );
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
    // 26 tensors of 589,824 values: 15 million, as large as a 3x3 convolution of 256 channels each.
    let device = Device::flex();
    let dims = [9, 256, 256];
    let gradient = random(dims, &device);
    let fresh = || -> Vec<Option<AdamWTensors<3>>> {
        let tensors = |_| AdamWTensors {
            weights: random(dims, &device),
            first_moment: random(dims, &device),
            second_moment: random(dims, &device).abs(),
            average: random(dims, &device),
        };
        (0..26).map(tensors).map(Some).collect()
    };
    let mut mine = fresh();
    let mut theirs = fresh();
    table.row(
        "adamw + average 15M",
        || {
            for slot in &mut mine {
                let tensors = slot.take().expect("filled above");
                *slot = Some(kernels::adamw_step(tensors, gradient.clone(), &settings));
            }
        },
        || {
            for slot in &mut theirs {
                let tensors = slot.take().expect("filled above");
                *slot = Some(reference::adamw_step(tensors, gradient.clone(), &settings));
            }
        },
    );
}
