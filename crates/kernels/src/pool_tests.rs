//! What feature networks need beside convolutions, against the reference: pooling, a scale and shift with ReLU, and
//! kernels and padding that differ between rows and columns; values and gradients at each level of the processor.

use super::tests::compare;
use super::*;
use crate::cpu::testing::at_each_level;

#[test]
fn convolutions_of_oblong_kernels_and_padding() {
    // batch, height, width, in, out, kernel, stride, padding
    let cases = [
        (2, 9, 8, 32, 64, [1, 7], 1, [(0, 0), (3, 3)]),
        (1, 8, 9, 19, 33, [7, 1], 1, [(3, 3), (0, 0)]),
        (3, 5, 4, 32, 32, [1, 3], 1, [(0, 0), (1, 1)]),
        (1, 13, 11, 1, 16, [7, 7], 2, [(3, 3), (3, 3)]),
        (2, 9, 7, 3, 32, [3, 3], 2, [(0, 0), (0, 0)]),
        (2, 9, 10, 32, 32, [3, 3], 1, [(0, 0), (0, 0)]),
        (1, 6, 7, 16, 32, [5, 5], 1, [(2, 2), (2, 2)]),
        (2, 7, 6, 16, 32, [3, 3], 1, [(1, 1), (0, 1)]),
        (2, 7, 6, 5, 7, [2, 3], 2, [(0, 1), (2, 0)]),
    ];
    at_each_level(|level| {
        for (batch, height, width, channels_in, channels_out, kernel, stride, padding) in cases {
            let options = Conv2dOptions { stride, padding };
            let weight = [kernel[0], kernel[1], channels_in, channels_out];
            compare(
                ([batch, height, width, channels_in], weight, [channels_out]),
                3e-5,
                &format!("{level:?} {weight:?} {options:?}"),
                |x, w, b| conv2d(x, w, Some(b), options),
                |x, w, b| reference::conv2d(x, w, Some(b), options),
            );
        }
    });
    assert_eq!(Conv2dOptions::same_rectangle([1, 7]).padding, [(0, 0), (3, 3)]);
}

#[test]
fn pools() {
    let cases = [
        ([2, 9, 8, 20], PoolOptions::inside(3, 2)),
        ([3, 7, 7, 5], PoolOptions { size: 3, stride: 2, padding: 1 }),
        ([1, 5, 6, 33], PoolOptions::same(3)),
        ([2, 7, 9, 16], PoolOptions::inside(2, 2)), // the last row and column fill no window
        ([1, 1, 1, 4], PoolOptions::same(3)),
        ([2, 3, 3, 1], PoolOptions::inside(3, 1)),
    ];
    at_each_level(|level| {
        for (dims, options) in cases {
            let what = format!("{level:?} {dims:?} {options:?}");
            let unused = ([1], [1]);
            compare(
                (dims, unused.0, unused.1),
                2e-6,
                &format!("largest {what}"),
                |x, _, _| max_pool2d(x, options),
                |x, _, _| reference::max_pool2d(x, options),
            );
            compare(
                (dims, unused.0, unused.1),
                2e-6,
                &format!("mean {what}"),
                |x, _, _| average_pool2d(x, options),
                |x, _, _| reference::average_pool2d(x, options),
            );
        }
    });
}

#[test]
fn padding_counts_neither_as_a_value_nor_as_a_pixel() {
    let device = burn::tensor::Device::flex();
    let images = Tensor::<4>::full([1, 2, 2, 1], -3.0, &device);
    for pooled in [
        max_pool2d(images.clone(), PoolOptions::same(3)),
        average_pool2d(images.clone(), PoolOptions::same(3)),
        reference::max_pool2d(images.clone(), PoolOptions::same(3)),
        reference::average_pool2d(images, PoolOptions::same(3)),
    ] {
        assert_eq!(pooled.into_data().try_into_vec::<f32>().unwrap(), [-3.0; 4]);
    }
}

#[test]
fn scales_and_shifts() {
    at_each_level(|level| {
        for dims in [[2, 3, 3, 6], [1, 40, 33, 33], [3, 8, 7, 64], [1, 1, 1, 1]] {
            compare(
                (dims, [dims[3]], [dims[3]]),
                1e-5,
                &format!("{level:?} {dims:?}"),
                scale_shift_relu,
                reference::scale_shift_relu,
            );
        }
    });
}
