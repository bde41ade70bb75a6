//! The training loss: a weighted mean squared error that also says which images it came from.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};

/// How much an example counts, as a function of its noise level. In a file: `"uniform"`, or
/// `{ min_snr = { gamma = 5.0 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LossWeighting {
    /// Every example alike. The default.
    #[default]
    Uniform,
    /// The error of the denoised latent times `min(snr, gamma)` (Hang et al. 2023, "Efficient diffusion training via
    /// min-SNR weighting strategy").
    MinSnr {
        /// Above this signal-to-noise ratio examples count alike; above 0. Default 5, the paper's choice.
        #[serde(default = "five")]
        gamma: f64,
    },
}

fn five() -> f64 {
    5.0
}

impl LossWeighting {
    /// Refuses a `gamma` that weighs nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn validate(&self) -> Result<(), Error> {
        match *self {
            LossWeighting::Uniform => Ok(()),
            LossWeighting::MinSnr { gamma } => {
                check("loss_weighting.gamma", gamma, gamma > 0.0 && gamma.is_finite(), "a finite number above 0")
            }
        }
    }
}

/// What [`weighted_mean_squared_error`] gives.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The number to minimise, `[1]`: the mean over the batch of weight times squared error.
    pub mean: Tensor<1>,
    /// Unweighted mean squared error of each image, `[batch]`: for plots, and for naming images that gave NaN.
    pub per_sample: Tensor<1>,
}

/// Mean over each image of the squared difference, weighted per image and averaged over the batch.
///
/// # Shapes
/// - `output`, `target`: `[batch, height, width, channels]`
/// - `weights`: `[batch]`
pub fn weighted_mean_squared_error(output: Tensor<4>, target: Tensor<4>, weights: Tensor<1>) -> Loss {
    let [batch, height, width, channels] = output.dims();
    let squared = (output - target).powi_scalar(2).reshape([batch, height * width * channels]);
    let per_sample = squared.mean_dim(1).reshape([batch]); // [batch, 1] -> [batch]
    Loss { mean: (per_sample.clone() * weights).mean(), per_sample }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn each_image_counts_by_its_weight() {
        let device = Device::flex();
        let target = Tensor::<4>::zeros([2, 1, 1, 2], &device);
        let output = Tensor::<1>::from_floats([1.0, 3.0, 2.0, 2.0], &device).reshape([2, 1, 1, 2]);
        let weights = Tensor::<1>::from_floats([1.0, 0.5], &device);
        let Loss { mean, per_sample } = weighted_mean_squared_error(output, target, weights);
        assert_eq!(per_sample.into_data().try_to_vec::<f32>().unwrap(), [5.0, 4.0]);
        assert_eq!(mean.into_scalar::<f32>(), 3.5);
    }

    #[test]
    fn the_gradient_is_that_of_the_weighted_mean() {
        let device = Device::flex().autodiff();
        let output = Tensor::<4>::from_data([[[[1.0_f32]]], [[[2.0]]]], &device).require_grad();
        let target = Tensor::<4>::zeros([2, 1, 1, 1], &device);
        let weights = Tensor::<1>::from_floats([1.0, 0.25], &device);
        let gradients = weighted_mean_squared_error(output.clone(), target, weights).mean.backward();
        let gradient = output.grad(&gradients).unwrap();
        assert_eq!(gradient.into_data().try_to_vec::<f32>().unwrap(), [1.0, 0.5]);
    }

    #[test]
    fn a_gamma_that_weighs_nothing_is_refused() {
        assert!(LossWeighting::MinSnr { gamma: 5.0 }.validate().is_ok());
        assert!(LossWeighting::MinSnr { gamma: 0.0 }.validate().is_err());
        assert!(LossWeighting::MinSnr { gamma: f64::NAN }.validate().is_err());
    }
}
