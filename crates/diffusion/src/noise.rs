//! Noise for batches of latents, by `random`'s numbers.

use burn::tensor::{Device, Tensor, TensorData};
use random::Purpose;

/// Standard normal noise for a batch: image `i` gets the numbers of `indices[i]`, whoever its neighbours are.
///
/// # Shapes
/// - `shape`: `[height, width, channels]`
/// - result: `[indices.len(), height, width, channels]`
pub fn normal_batch(seed: u64, indices: &[u64], purpose: Purpose, shape: [usize; 3], device: &Device) -> Tensor<4> {
    let [height, width, channels] = shape;
    let len = height * width * channels;
    let values: Vec<f32> = indices.iter().flat_map(|index| random::normal(seed, *index, purpose, len)).collect();
    Tensor::from_data(TensorData::new(values, [indices.len(), height, width, channels]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_its_images_one_by_one() {
        let device = Device::flex();
        let shape = [2, 3, 5];
        let batch = normal_batch(9, &[4, 7, 4], Purpose::InitialNoise, shape, &device);
        for (row, index) in [4, 7, 4].into_iter().enumerate() {
            let alone = normal_batch(9, &[index], Purpose::InitialNoise, shape, &device);
            batch.clone().narrow(0, row, 1).into_data().assert_eq(&alone.into_data(), true);
        }
    }
}
