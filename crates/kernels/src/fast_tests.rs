//! Each operation against the reference: values and every gradient, at each level of the processor.

use super::*;
use crate::cpu::testing::{at_each_level, noise};
use burn::tensor::{Device, TensorData};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn random<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = noise(dims.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, dims), device)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec::<f32>().unwrap()
}

/// Largest difference against the largest reference value.
fn assert_close<const D: usize>(got: &Tensor<D>, wanted: &Tensor<D>, tolerance: f32, what: &str) {
    assert_eq!(got.dims(), wanted.dims(), "{what}");
    let (got, wanted) = (values(got), values(wanted));
    let largest = wanted.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let error = (got - wanted).abs() / largest;
        assert!(error <= tolerance, "{what}: value {i} is {got}, not {wanted} (relative to {largest}: {error:e})");
    }
}

/// Runs both sides on the same random inputs and compares outputs and the gradients of all three.
pub(super) fn compare<const A: usize, const B: usize, const C: usize, const O: usize>(
    dims: ([usize; A], [usize; B], [usize; C]),
    tolerance: f32,
    what: &str,
    fast: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>,
    slow: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<O>,
) {
    let device = Device::flex().autodiff();
    let inputs = || {
        let a = random(dims.0, 1, &device).require_grad();
        (a, random(dims.1, 2, &device).require_grad(), random(dims.2, 3, &device).require_grad())
    };
    let (a, b, c) = inputs();
    let wanted = slow(a.clone(), b.clone(), c.clone());
    let direction = random(wanted.dims(), 4, &device);
    let wanted_gradients = (wanted.clone() * direction.clone()).sum().backward();
    let (x, y, z) = inputs();
    let got = fast(x.clone(), y.clone(), z.clone());
    let gradients = (got.clone() * direction).sum().backward();
    assert_close(&got.inner(), &wanted.inner(), tolerance, &format!("{what} value"));
    let pairs = (a.grad(&wanted_gradients), x.grad(&gradients));
    if let (Some(wanted), got) = pairs {
        assert_close(&got.unwrap(), &wanted, tolerance, &format!("{what} first gradient"));
    }
    let pairs = (b.grad(&wanted_gradients), y.grad(&gradients));
    if let (Some(wanted), got) = pairs {
        assert_close(&got.unwrap(), &wanted, tolerance, &format!("{what} second gradient"));
    }
    let pairs = (c.grad(&wanted_gradients), z.grad(&gradients));
    if let (Some(wanted), got) = pairs {
        assert_close(&got.unwrap(), &wanted, tolerance, &format!("{what} third gradient"));
    }
}

#[test]
fn convolutions() {
    // batch, height, width, in, out, kernel, stride, padding
    let cases = [
        (1, 8, 8, 32, 32, 3, 1, (1, 1)),   // Winograd, one image
        (3, 13, 5, 32, 64, 3, 1, (1, 1)),  // Winograd, tiles that overhang
        (9, 20, 17, 16, 32, 3, 1, (1, 1)), // Winograd, several blocks, input gradient direct at 512 bits
        (40, 4, 4, 288, 32, 3, 1, (1, 1)), // Winograd by panels
        (2, 7, 5, 3, 5, 3, 1, (1, 1)),
        (2, 2, 2, 32, 32, 3, 1, (1, 1)),
        (2, 9, 8, 17, 33, 3, 2, (1, 1)),
        (2, 9, 8, 32, 64, 3, 2, (0, 1)),
        (3, 5, 6, 40, 24, 1, 1, (0, 0)),
        (2, 8, 12, 3, 40, 4, 4, (0, 0)),
        (1, 6, 7, 4, 2, 5, 1, (2, 2)),
        (3, 9, 7, 1, 20, 3, 1, (1, 1)), // few input channels
        (2, 5, 6, 3, 64, 3, 1, (1, 1)),
        (3, 9, 7, 20, 1, 3, 1, (1, 1)), // few output channels
        (2, 5, 6, 64, 3, 3, 1, (1, 1)),
        (2, 1, 3, 16, 4, 3, 1, (1, 1)), // a single row
        (2, 4, 1, 4, 16, 3, 1, (1, 1)), // a single column
    ];
    at_each_level(|level| {
        for (batch, height, width, channels_in, channels_out, kernel, stride, padding) in cases {
            let options = Conv2dOptions::padded(stride, padding);
            let dims =
                ([batch, height, width, channels_in], [kernel, kernel, channels_in, channels_out], [channels_out]);
            let what = format!("{level:?} {dims:?} {options:?}");
            compare(
                dims,
                3e-5,
                &what,
                |x, w, b| conv2d(x, w, Some(b), options),
                |x, w, b| reference::conv2d(x, w, Some(b), options),
            );
            compare(
                dims,
                3e-5,
                &format!("{what} without bias"),
                |x, w, _| conv2d(x, w, None, options),
                |x, w, _| reference::conv2d(x, w, None, options),
            );
        }
    });
}

#[test]
fn convolutions_of_doubled_images() {
    at_each_level(|level| {
        for (batch, height, width, channels_in, channels_out) in
            [(1, 1, 1, 3, 5), (2, 3, 5, 32, 32), (9, 8, 9, 16, 32), (1, 4, 4, 64, 32), (30, 2, 2, 288, 64)]
        {
            let weight = [3, 3, channels_in, channels_out];
            compare(
                ([batch, height, width, channels_in], weight, [channels_out]),
                3e-5,
                &format!("{level:?} {batch} {height} {width} {weight:?}"),
                |x, w, b| upsample_conv2d(x, w, Some(b)),
                |x, w, b| reference::upsample_conv2d(x, w, Some(b)),
            );
        }
    });
}

#[test]
fn norms() {
    at_each_level(|level| {
        for (dims, groups) in [([1, 3, 3, 6], 3), ([3, 8, 7, 40], 8), ([2, 40, 33, 33], 11), ([2, 1, 1, 64], 32)] {
            let channels = dims[3];
            let what = format!("{level:?} group norm {dims:?}");
            compare(
                (dims, [channels], [channels]),
                2e-5,
                &what,
                |x, w, b| group_norm(x + 3.0, w, b, groups, 1e-5),
                |x, w, b| reference::group_norm(x + 3.0, w, b, groups, 1e-5),
            );
            compare(
                (dims, [channels], [channels]),
                2e-5,
                &format!("{what} with silu"),
                |x, w, b| group_norm_silu(x, w, b, groups, 1e-5),
                |x, w, b| reference::group_norm_silu(x, w, b, groups, 1e-5),
            );
        }
        for dims in [[1, 1, 5], [3, 50, 37], [2, 7, 64]] {
            compare(
                (dims, [dims[2]], [dims[2]]),
                2e-5,
                &format!("{level:?} layer norm {dims:?}"),
                |x, w, b| layer_norm(x, w, b, 1e-6),
                |x, w, b| reference::layer_norm(x, w, b, 1e-6),
            );
        }
    });
}

#[test]
fn joined_inputs() {
    at_each_level(|level| {
        // Groups that end at the border, that reach across it, and halves that do not fill vectors.
        for (dims, second, groups) in [([3, 8, 7, 64], 32, 4), ([2, 5, 4, 24], 12, 4), ([1, 40, 33, 37], 19, 8)] {
            let [batch, height, width, first] = dims;
            let channels = first + second;
            let both = [batch, height, width, channels];
            let halves = |x: Tensor<4>| (x.clone().narrow(3, 0, first), x.narrow(3, first, second));
            compare(
                (both, [channels], [channels]),
                2e-5,
                &format!("{level:?} joined group norm {dims:?} {second}"),
                |x, w, b| {
                    let (first, second) = halves(x);
                    group_norm_silu_joined(first, second, w, b, groups, 1e-5)
                },
                |x, w, b| reference::group_norm_silu(x, w, b, groups, 1e-5),
            );
            compare(
                (both, [channels, 45], [45]),
                1e-5,
                &format!("{level:?} joined linear {dims:?} {second}"),
                |x, w, b| {
                    let (first, second) = halves(x);
                    linear_joined(first, second, w, b)
                },
                |x, w, b| reference::linear(x, w, Some(b)),
            );
        }
    });
}

#[test]
fn activations() {
    at_each_level(|level| {
        let dims = ([2, 3, 46], [1], [1]);
        let what = format!("{level:?}");
        let tolerance = 2e-6;
        compare(dims, tolerance, &what, |x, _, _| silu(x * 8.0), |x, _, _| reference::silu(x * 8.0));
        compare(dims, tolerance, &what, |x, _, _| gelu(x * 6.0), |x, _, _| reference::gelu(x * 6.0));
        compare(dims, tolerance, &what, |x, _, _| quick_gelu(x * 6.0), |x, _, _| reference::quick_gelu(x * 6.0));
        compare(dims, tolerance, &what, |x, _, _| geglu(x * 6.0), |x, _, _| reference::geglu(x * 6.0));
    });
}

#[test]
fn a_nan_stays_a_nan() {
    at_each_level(|level| {
        let input = Tensor::<1>::from_data(TensorData::new(vec![f32::NAN, 1.0], [2]), &Device::flex());
        for (name, output) in [("silu", silu(input.clone())), ("gelu", gelu(input))] {
            let output = values(&output);
            assert!(output[0].is_nan() && !output[1].is_nan(), "{level:?} {name}: {output:?}");
        }
    });
}

#[test]
fn linear_layers() {
    at_each_level(|level| {
        for (rows, dim_in, dim_out) in [(1, 3, 5), (130, 40, 72), (600, 17, 33)] {
            compare(
                ([2, rows, dim_in], [dim_in, dim_out], [dim_out]),
                1e-5,
                &format!("{level:?} linear {rows} {dim_in} {dim_out}"),
                |x, w, b| linear(x, w, Some(b)),
                |x, w, b| reference::linear(x, w, Some(b)),
            );
        }
    });
}

#[test]
fn attention_of_all_kinds() {
    at_each_level(|level| {
        for (batch, queries, keys, heads, head_dim) in
            [(1, 1, 1, 1, 4), (2, 64, 64, 2, 32), (2, 130, 10, 3, 40), (1, 61, 77, 2, 17), (1, 300, 290, 1, 80)]
        {
            let dim = heads * head_dim;
            compare(
                ([batch, queries, dim], [batch, keys, dim], [batch, keys, dim]),
                1e-5,
                &format!("{level:?} attention {batch} {queries} {keys} {heads} {head_dim}"),
                |q, k, v| attention(q * 3.0, k, v, heads),
                |q, k, v| reference::attention(q * 3.0, k, v, heads),
            );
        }
    });
}

#[test]
fn attention_maps() {
    at_each_level(|level| {
        let device = Device::flex();
        for (batch, queries, keys, heads, head_dim) in [(1, 1, 1, 1, 4), (2, 61, 77, 3, 17), (3, 130, 130, 2, 32)] {
            let dim = heads * head_dim;
            let query = random([batch, queries, dim], 1, &device) * 3.0;
            let (key, value) = (random([batch, keys, dim], 2, &device), random([batch, keys, dim], 3, &device));
            let got = attention_with_maps(query.clone(), key.clone(), value.clone(), heads);
            let wanted = reference::attention_with_maps(query, key, value, heads);
            assert_close(&got.maps, &wanted.maps, 1e-5, &format!("{level:?} maps {batch} {queries} {keys}"));
            assert_close(&got.output, &wanted.output, 1e-5, &format!("{level:?} output"));
        }
    });
}

/// The same shapes in every run.
fn reproducible() -> ProptestConfig {
    ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(reproducible())]

    #[test]
    fn convolutions_of_any_shape(
        batch in 1..4usize, height in 1..12usize, width in 1..12usize, channels_in in 1..70usize,
        channels_out in 1..70usize, kernel in prop::sample::select(vec![1, 3, 3, 3, 4]), stride in 1..3usize,
        padding in (0..2usize, 0..2usize), whole in any::<bool>(),
    ) {
        prop_assume!(height.min(width) + padding.0 + padding.1 >= kernel);
        // Half of the cases fill whole vectors, which Winograd's algorithm asks for.
        let round = |channels: usize| if whole { channels.div_ceil(32) * 32 } else { channels };
        let (channels_in, channels_out) = (round(channels_in), round(channels_out));
        let options = if whole { Conv2dOptions::same(kernel | 1) } else { Conv2dOptions::padded(stride, padding) };
        let kernel = if whole { kernel | 1 } else { kernel };
        let weight = [kernel, kernel, channels_in, channels_out];
        at_each_level(|level| compare(
            ([batch, height, width, channels_in], weight, [channels_out]),
            3e-5,
            &format!("{level:?} {options:?}"),
            |x, w, b| conv2d(x, w, Some(b), options),
            |x, w, b| reference::conv2d(x, w, Some(b), options),
        ));
    }

    #[test]
    fn attention_of_any_shape(
        batch in 1..4usize, queries in 1..90usize, keys in 1..90usize, heads in 1..4usize, head_dim in 1..45usize,
    ) {
        let dim = heads * head_dim;
        at_each_level(|level| compare(
            ([batch, queries, dim], [batch, keys, dim], [batch, keys, dim]),
            2e-5,
            &format!("{level:?}"),
            |q, k, v| attention(q * 2.0, k, v, heads),
            |q, k, v| reference::attention(q * 2.0, k, v, heads),
        ));
    }

    /// Groups of a few values are left out: their gradients cancel, what remains is rounding on both sides.
    #[test]
    fn norms_and_layers_of_any_shape(
        batch in 1..4usize, height in 1..9usize, width in 1..9usize, groups in 1..6usize, per_group in 6..20usize,
        dim_out in 1..70usize,
    ) {
        let channels = groups * per_group;
        let dims = [batch, height, width, channels];
        at_each_level(|level| {
            let what = format!("{level:?}");
            compare(
                (dims, [channels], [channels]),
                5e-5,
                &what,
                |x, w, b| group_norm_silu(x, w, b, groups, 1e-5),
                |x, w, b| reference::group_norm_silu(x, w, b, groups, 1e-5),
            );
            compare(
                (dims, [channels], [channels]),
                5e-5,
                &what,
                |x, w, b| layer_norm(x, w, b, 1e-5),
                |x, w, b| reference::layer_norm(x, w, b, 1e-5),
            );
            compare(
                (dims, [channels, dim_out], [dim_out]),
                1e-5,
                &what,
                |x, w, b| linear(x, w, Some(b)),
                |x, w, b| reference::linear(x, w, Some(b)),
            );
        });
    }
}

#[test]
fn enlargement() {
    at_each_level(|_| {
        for (dims, factor) in [([1, 1, 1, 3], 2), ([2, 5, 3, 17], 2), ([1, 2, 3, 4], 3)] {
            compare(
                (dims, [1], [1]),
                1e-6,
                "upsample",
                |x, _, _| upsample_nearest(x, factor),
                |x, _, _| reference::upsample_nearest(x, factor),
            );
        }
    });
}

#[test]
fn views_are_read_through_their_strides() {
    at_each_level(|_| {
        let device = Device::flex();
        let images = random([2, 32, 6, 8], 1, &device).permute([0, 2, 3, 1]);
        let weight = random([32, 32, 3, 3], 2, &device).permute([2, 3, 1, 0]);
        let wanted = reference::conv2d(images.clone(), weight.clone(), None, Conv2dOptions::same(3));
        assert_close(&conv2d(images, weight, None, Conv2dOptions::same(3)), &wanted, 3e-5, "permuted");
        let tokens = random([4, 10, 32], 3, &device).narrow(0, 1, 2);
        assert_close(&silu(tokens.clone()), &reference::silu(tokens), 1e-6, "narrowed");
    });
}

#[test]
fn one_image_does_not_depend_on_its_batch() {
    at_each_level(|level| {
        let device = Device::flex();
        let check = |what: &str, together: Tensor<4>, alone: Tensor<4>| {
            assert_eq!(values(&together.narrow(0, 2, 1)), values(&alone), "{level:?} {what}");
        };
        for side in [4, 9, 16] {
            let images = random([11, side, side, 64], 1, &device);
            let one = images.clone().narrow(0, 2, 1);
            let weight = random([3, 3, 64, 64], 2, &device);
            let (scale, shift) = (random([64], 3, &device), random([64], 4, &device));
            for options in [Conv2dOptions::same(3), Conv2dOptions::strided(2, 1)] {
                let run = |x: Tensor<4>| conv2d(x, weight.clone(), Some(shift.clone()), options);
                check("convolution", run(images.clone()), run(one.clone()));
            }
            let run = |x: Tensor<4>| group_norm_silu(x, scale.clone(), shift.clone(), 32, 1e-5);
            check("group norm", run(images.clone()), run(one.clone()));
            let matrix = random([64, 40], 5, &device);
            let run = |x: Tensor<4>| linear(x, matrix.clone(), None);
            check("linear", run(images.clone()), run(one.clone()));
            let run = |x: Tensor<4>| {
                let [batch, height, width, dim] = x.dims();
                let tokens = x.reshape([batch, height * width, dim]);
                attention(tokens.clone(), tokens.clone(), tokens, 2).reshape([batch, height, width, dim])
            };
            check("attention", run(images.clone()), run(one));
        }
    });
}

#[test]
fn optimiser_steps() {
    at_each_level(|level| {
        let device = Device::flex();
        let settings = AdamWStep {
            learning_rate: 1e-2,
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step: 3,
            ema_decay: 0.995,
            gradient_scale: 0.5,
        };
        for len in [1, 37, 40_000] {
            let tensors = || AdamWTensors {
                weights: random([len], 1, &device),
                first_moment: random([len], 2, &device),
                second_moment: random([len], 3, &device).abs(),
                average: random([len], 4, &device),
            };
            let gradient = random([len], 5, &device);
            let kept = tensors();
            let got = adamw_step(kept.clone(), gradient.clone(), &settings);
            let got_alone = adamw_step(tensors(), gradient.clone(), &settings);
            let wanted = reference::adamw_step(tensors(), gradient, &settings);
            for got in [got, got_alone] {
                assert_close(&got.weights, &wanted.weights, 1e-6, &format!("{level:?} weights"));
                assert_close(&got.first_moment, &wanted.first_moment, 1e-6, "first moment");
                assert_close(&got.second_moment, &wanted.second_moment, 1e-6, "second moment");
                assert_close(&got.average, &wanted.average, 1e-6, "average");
            }
            // Tensors that somebody else still holds are not touched.
            assert_eq!(values(&kept.weights), values(&tensors().weights), "{level:?}");
        }
    });
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = || {
        let device = Device::flex().autodiff();
        let images = random([7, 18, 18, 64], 1, &device).require_grad();
        let weight = random([3, 3, 64, 64], 2, &device).require_grad();
        let (scale, shift) = (random([64], 3, &device).require_grad(), random([64], 4, &device).require_grad());
        let normal = group_norm_silu(images.clone(), scale.clone(), shift.clone(), 8, 1e-5);
        let same = conv2d(normal, weight.clone(), Some(shift.clone()), Conv2dOptions::same(3));
        let small = conv2d(same, weight.clone(), None, Conv2dOptions::strided(2, 1));
        let tokens = layer_norm(small.reshape([7, 81, 64]), scale.clone(), shift.clone(), 1e-5);
        let tokens = attention(tokens.clone(), tokens.clone(), tokens, 2);
        let output = gelu(linear(tokens, weight.clone().narrow(0, 0, 1).narrow(1, 0, 1).reshape([64, 64]), None));
        let gradients = output.clone().sum().backward();
        let mut all = values(&output.inner());
        all.extend(values(&images.grad(&gradients).unwrap()));
        all.extend(values(&weight.grad(&gradients).unwrap()));
        all.extend(values(&scale.grad(&gradients).unwrap()));
        all.extend(values(&shift.grad(&gradients).unwrap()));
        all
    };
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(run)
    };
    at_each_level(|level| {
        let one = with_threads(1);
        assert_eq!(with_threads(2), one, "{level:?}");
        assert_eq!(with_threads(5), one, "{level:?}");
    });
}
