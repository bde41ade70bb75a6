//! Classifier-free guidance (Ho and Salimans 2022): pushes a result towards its condition and away from what would
//! come out without one.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};

/// How strongly the condition is followed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guidance {
    /// 1 follows the condition as trained (guidance off, one network pass); above 1 exaggerates it (two passes in one
    /// call); 0 ignores it. At least 0. Default 1.
    pub scale: f64,
}

impl Default for Guidance {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Guidance {
    /// Guidance by `scale`.
    pub fn new(scale: f64) -> Self {
        Self { scale }
    }

    /// Refuses a scale that means nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn validate(&self) -> Result<(), Error> {
        check("guidance_scale", self.scale, self.scale >= 0.0 && self.scale.is_finite(), "a finite number, at least 0")
    }
}

/// A denoiser for the samplers from one that takes a condition: `without + scale * (with - without)`.
///
/// Both halves go through the network in one call on a doubled batch, first with the condition, then without. As
/// `denoised` is affine in the network's output, guiding one is guiding the other. With scale 1 the network is called
/// once on the plain batch.
///
/// # Shapes
/// - `condition`, `null_condition`: `[batch, tokens, dim]`
/// - `denoise`: `(noisy [n, height, width, channels], sigma, condition [n, tokens, dim]) -> denoised`, `n` being
///   `batch` or `2 * batch`
pub fn guided(
    guidance: Guidance,
    condition: Tensor<3>,
    null_condition: Tensor<3>,
    mut denoise: impl FnMut(Tensor<4>, f64, Tensor<3>) -> Tensor<4>,
) -> impl FnMut(Tensor<4>, f64) -> Tensor<4> {
    let both = Tensor::cat(vec![condition.clone(), null_condition], 0); // [2 * batch, tokens, dim]
    move |noisy, sigma| {
        if guidance.scale == 1.0 {
            return denoise(noisy, sigma, condition.clone());
        }
        let [batch, _height, _width, _channels] = noisy.dims();
        let denoised = denoise(Tensor::cat(vec![noisy.clone(), noisy], 0), sigma, both.clone());
        let with = denoised.clone().narrow(0, 0, batch);
        let without = denoised.narrow(0, batch, batch);
        without.clone() + (with - without).mul_scalar(guidance.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Denoised is the condition's single number, whatever the noise; counts images seen.
    fn run(guidance: Guidance, sigma: f64) -> (Vec<f32>, usize) {
        let device = Device::flex();
        let condition = Tensor::<3>::from_data([[[3.0_f32]], [[5.0]]], &device);
        let null_condition = Tensor::<3>::ones([2, 1, 1], &device);
        let mut seen = 0;
        let mut denoise = guided(guidance, condition, null_condition, |noisy, _sigma, condition| {
            seen += noisy.dims()[0];
            condition.reshape([-1, 1, 1, 1])
        });
        let denoised = denoise(Tensor::zeros([2, 1, 1, 1], &device), sigma).into_data().try_to_vec().unwrap();
        drop(denoise);
        (denoised, seen)
    }

    #[test]
    fn scale_moves_away_from_the_null_condition() {
        assert_eq!(run(Guidance::new(2.0), 1.0), (vec![5.0, 9.0], 4));
        assert_eq!(run(Guidance::new(0.0), 1.0), (vec![1.0, 1.0], 4));
    }

    #[test]
    fn scale_one_is_off_and_costs_one_pass() {
        assert_eq!(run(Guidance::new(1.0), 1.0), (vec![3.0, 5.0], 2));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        assert!(Guidance::new(7.5).validate().is_ok());
        assert!(Guidance::new(-1.0).validate().is_err());
    }
}
