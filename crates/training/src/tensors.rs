//! The one place where pictures become tensors and tensors become pictures.

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};

/// Grey pictures as network input.
///
/// # Shapes
/// - pictures: `batch * size * size` bytes, row-major
/// - result: `[batch, size, size, 1]` in -1..=1
pub fn images_from_bytes(pictures: &[u8], size: usize, device: &Device) -> Tensor<4> {
    let batch = pictures.len() / (size * size);
    let values: Vec<f32> = pictures.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [batch, size, size, 1]), device)
}

/// Network output as grey pictures, clamped; several channels are averaged.
///
/// # Shapes
/// - images: `[batch, height, width, channels]` in -1..=1
/// - result: `batch * height * width` values in 0..=1, row-major
///
/// # Errors
/// A device that failed to compute them.
pub fn pictures_from_images(images: Tensor<4>) -> Result<Vec<f32>> {
    let values = to_host(images.mean_dim(3))?;
    Ok(values.into_iter().map(|value| (0.5 * (value + 1.0)).clamp(0.0, 1.0)).collect())
}

/// Values in 0..=1 as bytes, rounded.
pub fn bytes_from_pictures(pictures: &[f32]) -> Vec<u8> {
    pictures.iter().map(|value| (value * 255.0).round().clamp(0.0, 255.0) as u8).collect()
}

/// A tensor's values on the host, row-major.
///
/// # Errors
/// A device that failed to compute them.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().context("the device failed to compute a tensor")
}

/// The mean of all values, with the same bits whatever the number of threads: Burn adds more than four million values
/// in an order that changes from run to run, so each image's mean comes first there.
///
/// # Shapes
/// - values: `[batch, ...]`
/// - result: `[1]`
pub fn mean<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    const ORDER_CHANGES_FROM: usize = 4 * 1024 * 1024;
    let num_values = values.shape().num_elements();
    if num_values < ORDER_CHANGES_FROM {
        return values.mean();
    }
    let batch = values.dims()[0];
    values.reshape([batch, num_values / batch]).mean_dim(1).mean()
}

/// Values from the host, row-major.
pub fn from_host<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more values than Burn adds in one order: its own mean differs from call to call on two threads.
    #[test]
    fn a_mean_of_many_values_is_the_same_whenever_it_is_taken() {
        let values: Vec<f32> = (0..24 * 512 * 512_u64).map(|index| ((index * 7919) % 65521) as f32 / 65521.0).collect();
        let exact = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        let images = from_host(values, [24, 512, 512, 1], &Device::flex());
        let first = mean(images.clone()).into_scalar::<f32>();
        assert!((f64::from(first) - exact).abs() < 1e-6, "{first} instead of {exact}");
        assert!((0..20).all(|_| mean(images.clone()).into_scalar::<f32>().to_bits() == first.to_bits()));
    }

    #[test]
    fn bytes_survive_the_way_through_a_tensor() {
        let bytes: Vec<u8> = (0..=255).collect();
        let images = images_from_bytes(&bytes, 16, &Device::flex());
        assert_eq!(images.dims(), [1, 16, 16, 1]);
        assert_eq!(bytes_from_pictures(&pictures_from_images(images).unwrap()), bytes);
    }
}
