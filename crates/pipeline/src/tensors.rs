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

/// Values from the host, row-major.
pub fn from_host<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_through_a_tensor() {
        let bytes: Vec<u8> = (0..=255).collect();
        let images = images_from_bytes(&bytes, 16, &Device::flex());
        assert_eq!(images.dims(), [1, 16, 16, 1]);
        assert_eq!(bytes_from_pictures(&pictures_from_images(images).unwrap()), bytes);
    }
}
