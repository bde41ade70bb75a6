//! What several tests of networks against golden numbers need.

use burn::tensor::Tensor;

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap()
}

/// `max |a - b| / max |b|`
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = ours.iter().zip(theirs).fold(0f32, |largest, (a, b)| {
        assert!(a.is_finite());
        largest.max((a - b).abs())
    });
    difference / largest
}
