//! Burn's own reductions and products, as far as training, generation and segmentation use them: their bits must depend
//! neither on the number of threads nor on when each thread is done. Burn sums the values of a whole tensor in an order
//! that changes as soon as there are more than four million of them, so [`super::sum_of_squares`] and
//! `pipeline::tensors::mean` go other ways; this is the check of all else, on sizes beyond every threshold of Burn's.

use crate::cpu::testing::noise;
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, TensorData};

fn values<const D: usize>(dims: [usize; D], seed: u64) -> Tensor<D> {
    Tensor::from_data(TensorData::new(noise(dims.iter().product(), seed), dims), &Device::flex())
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    tensor.try_into_vec_as::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Runs `operation` some times on one, two and three threads.
fn always_the_same<const D: usize>(name: &str, operation: impl Fn() -> Tensor<D> + Sync) {
    let mut first = None;
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for _ in 0..4 {
            let found = pool.install(|| bits(operation()));
            assert!(first.get_or_insert_with(|| found.clone()) == &found, "{name} with {threads} threads");
        }
    }
}

#[test]
fn reductions_along_an_axis_do_not_depend_on_threads() {
    let large = values([5, 1 << 20], 1);
    let middle = values([9, 700, 750], 2);
    always_the_same("sum along the last axis", || large.clone().sum_dim(1));
    always_the_same("sum along the first axis", || large.clone().sum_dim(0));
    always_the_same("mean along the middle axis", || middle.clone().mean_dim(1));
    always_the_same("mean along the first axis of a transposed tensor", || middle.clone().swap_dims(0, 2).mean_dim(0));
    always_the_same("greatest along the last axis", || large.clone().max_dim(1));
    always_the_same("softmax", || softmax(middle.clone(), 2));
    always_the_same("logarithm of the softmax", || log_softmax(middle.clone(), 1));
    always_the_same("sum of few values", || values([1 << 22], 3).narrow(0, 0, (1 << 22) - 1).sum());
}

#[test]
fn products_and_gradients_of_broadcasts_do_not_depend_on_threads() {
    let (left, right) = (values([700, 900], 1), values([900, 800], 2));
    always_the_same("product", || left.clone().matmul(right.clone()));
    always_the_same("product with a transposed matrix", || left.clone().matmul(left.clone().transpose()));
    let few = values([3, 4000], 3);
    always_the_same("narrow product", || few.clone().matmul(values([4000, 2000], 4)));
    let batches = (values([12, 150, 200], 5), values([12, 200, 170], 6));
    always_the_same("batched product", || batches.0.clone().matmul(batches.1.clone()));
    // The gradient of what is broadcast is a sum over the axes along which it was.
    always_the_same("gradient of a bias", || {
        let device = Device::flex().autodiff();
        let bias = Tensor::<2>::ones([1, 900], &device).require_grad();
        let input = Tensor::<2>::from_inner(values([6000, 900], 7));
        let gradients = ((input + bias.clone()).square().mean_dim(1)).sum().backward();
        bias.grad(&gradients).unwrap()
    });
}
