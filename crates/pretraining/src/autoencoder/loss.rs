//! What an autoencoder is trained by: how far its pictures are from the originals in several senses, and how far its
//! latents are from what diffusion likes.
//!
//! Squared errors alone give the best signal-to-noise ratio and blurred ribs; the gradient and structural terms ask for
//! edges and local contrast, and the encoder's patch tokens for what the condition will be made of. All terms are
//! computed on pictures in 0..=1, so that their weights do not depend on how networks scale them.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use training::tensors::{self, from_host};

/// Weights of the terms; 0 leaves a term out and does not compute it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossRecipe {
    /// Mean absolute error of the pixels in 0..=1.
    pub absolute: f64,
    /// Mean squared error of the pixels in 0..=1.
    pub squared: f64,
    /// See [`gradient_difference`].
    pub gradient: f64,
    /// 1 - [`structural_similarity`].
    pub structural: f64,
    /// Mean squared difference of the encoder's patch tokens; without `--encoder` this term does not exist.
    pub perceptual: f64,
    /// See [`latent_moments`].
    pub latent_moments: f64,
}

impl Default for LossRecipe {
    fn default() -> Self {
        Self { absolute: 1.0, squared: 0.0, gradient: 0.5, structural: 0.1, perceptual: 0.01, latent_moments: 0.01 }
    }
}

impl LossRecipe {
    /// Names and weights.
    pub(super) fn weights(&self) -> [(&'static str, f64); 6] {
        [
            ("absolute", self.absolute),
            ("squared", self.squared),
            ("gradient", self.gradient),
            ("structural", self.structural),
            ("perceptual", self.perceptual),
            ("latent_moments", self.latent_moments),
        ]
    }
}

/// Mean absolute difference of the differences between neighbouring pixels, along rows and columns, the two added: the
/// gradient difference loss of Mathieu et al. (2016, equation 6, exponent 1) on signed differences, so that an edge of
/// the wrong direction counts too.
///
/// # Shapes
/// Two times `[batch, height, width, 1]`, both sides at least 2
pub fn gradient_difference(pictures: Tensor<4>, originals: Tensor<4>) -> Tensor<1> {
    // Differences are linear: those of the error are the differences of both.
    let error = pictures - originals;
    let [_, height, width, _] = error.dims();
    let along_columns = error.clone().narrow(1, 1, height - 1) - error.clone().narrow(1, 0, height - 1);
    let along_rows = error.clone().narrow(2, 1, width - 1) - error.narrow(2, 0, width - 1);
    tensors::mean(along_columns.abs()) + tensors::mean(along_rows.abs())
}

/// Half the width of the window of [`structural_similarity`], 11 pixels in all.
const WINDOW_RADIUS: usize = 5;
/// Standard deviation of that window, in pixels.
const WINDOW_SIGMA: f64 = 1.5;
/// The least side of an image that the window fits into.
pub const MIN_STRUCTURAL_SIZE: usize = 2 * WINDOW_RADIUS + 1;

/// Structural similarity, differentiable (Wang et al. 2004, equation 13 averaged over images and over all windows that
/// fit): windows of 11 x 11 pixels weighted by a normal function of deviation 1.5, constants 0.01 and 0.03 of a range
/// of 1. The `metrics` crate has the same in double precision, without gradients.
///
/// # Shapes
/// Two times `[batch, height, width, 1]` with values in 0..=1, both sides at least [`MIN_STRUCTURAL_SIZE`]
pub fn structural_similarity(pictures: Tensor<4>, originals: Tensor<4>) -> Tensor<1> {
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let [batch, height, width, _] = pictures.dims();
    let window = Window::new([height, width], &pictures.device());
    let x = pictures.reshape([batch, height, width]);
    let y = originals.reshape([batch, height, width]);
    // One pass for everything that depends on the pictures, and one for what does not and needs no gradient.
    let changing = window.smooth(Tensor::cat(vec![x.clone(), x.clone() * x.clone(), x * y.clone()], 0));
    let fixed = window.smooth(Tensor::cat(vec![y.clone(), y.clone() * y], 0));
    let part = |maps: &Tensor<3>, index: usize| maps.clone().narrow(0, index * batch, batch);
    let (mean_x, square_x, mixed) = (part(&changing, 0), part(&changing, 1), part(&changing, 2));
    let (mean_y, square_y) = (part(&fixed, 0), part(&fixed, 1));
    let (xx, yy, xy) = (mean_x.clone() * mean_x.clone(), mean_y.clone() * mean_y.clone(), mean_x * mean_y);
    let numerator = (xy.clone() * 2.0 + C1) * ((mixed - xy) * 2.0 + C2);
    let denominator = (xx.clone() + yy.clone() + C1) * (square_x - xx + square_y - yy + C2);
    tensors::mean(numerator / denominator)
}

/// The weighted mean over windows as two products with banded matrices, which the fast linear layer does.
struct Window {
    /// `[width, width - 10]`
    along_rows: Tensor<2>,
    /// `[height, height - 10]`
    along_columns: Tensor<2>,
}

impl Window {
    fn new([height, width]: [usize; 2], device: &Device) -> Self {
        let weights: Vec<f64> = (0..=2 * WINDOW_RADIUS)
            .map(|offset| (-0.5 * ((offset as f64 - WINDOW_RADIUS as f64) / WINDOW_SIGMA).powi(2)).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let band = |length: usize| {
            let narrow = length - 2 * WINDOW_RADIUS;
            let mut values = vec![0f32; length * narrow];
            for column in 0..narrow {
                for (offset, weight) in weights.iter().enumerate() {
                    values[(column + offset) * narrow + column] = (weight / total) as f32;
                }
            }
            from_host(values, [length, narrow], device)
        };
        Self { along_rows: band(width), along_columns: band(height) }
    }

    /// # Shapes
    /// `[maps, height, width]` to `[maps, width - 10, height - 10]`, turned: nobody minds
    fn smooth(&self, maps: Tensor<3>) -> Tensor<3> {
        let across = kernels::linear(maps, self.along_rows.clone(), None); // [maps, height, width - 10]
        kernels::linear(across.swap_dims(1, 2), self.along_columns.clone(), None)
    }
}

/// How far each latent channel is from mean 0 and standard deviation 1 over the batch: `mean² + (std - 1)²`, averaged
/// over channels. Keeps latents centred and bounded, and gives no channel more of the range than another, so that the
/// noise of diffusion hits them alike.
///
/// # Shapes
/// `[batch, height, width, channels]`
pub fn latent_moments(latents: Tensor<4>) -> Tensor<1> {
    let [batch, height, width, channels] = latents.dims();
    let rows: Tensor<2> = latents.reshape([batch * height * width, channels]);
    let mean = rows.clone().mean_dim(0); // [1, channels]
    let variance = (rows - mean.clone()).square().mean_dim(0);
    // Away from the root's infinite slope at 0.
    let std = (variance + 1e-6).sqrt();
    (mean.square() + (std - 1.0).square()).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nets::Checkpoint;
    use std::path::Path;

    fn golden() -> Checkpoint {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reconstruction_losses/expected.safetensors");
        Checkpoint::open(&path).unwrap()
    }

    fn tensor(golden: &Checkpoint, key: &str, device: &Device) -> Tensor<4> {
        let saved = golden.read(key).unwrap();
        from_host(saved.values, saved.shape.try_into().unwrap(), device)
    }

    /// Value and gradient of `loss` against those of PyTorch's autograd.
    fn agrees(name: &str, input: &str, loss: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<1>) {
        let golden = golden();
        let device = Device::flex().autodiff();
        let pictures = tensor(&golden, input, &device).require_grad();
        let value = loss(pictures.clone(), tensor(&golden, "originals", &device));
        let expected = golden.read(name).unwrap().values[0];
        let found = value.clone().into_scalar::<f32>();
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(0.1), "{name}: {found}, expected {expected}");
        let gradient = pictures.grad(&value.backward()).unwrap();
        let expected = tensor(&golden, &format!("{name}.gradient"), &gradient.device());
        let largest = expected.clone().abs().max().into_scalar::<f32>();
        let error = (gradient - expected).abs().max().into_scalar::<f32>() / largest;
        assert!(error < 1e-4, "{name}: gradients differ by {error} of the largest");
    }

    #[test]
    fn terms_and_their_gradients_are_those_of_pytorch() {
        agrees("gradient_difference", "pictures", gradient_difference);
        agrees("structural_similarity", "pictures", structural_similarity);
        agrees("latent_moments", "latents", |latents, _| latent_moments(latents));
    }

    #[test]
    fn structural_similarity_is_that_of_the_metrics() {
        let golden = golden();
        let [pictures, originals] = ["pictures", "originals"].map(|key| golden.read(key).unwrap());
        let [batch, height, width, _] = <[usize; 4]>::try_from(pictures.shape.clone()).unwrap();
        let device = Device::flex();
        let found = structural_similarity(tensor(&golden, "pictures", &device), tensor(&golden, "originals", &device));
        let pixels = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let mean = pictures
            .values
            .chunks_exact(height * width)
            .zip(originals.values.chunks_exact(height * width))
            .map(|(picture, original)| {
                metrics::structural_similarity(&pixels(picture), &pixels(original), [height, width], 1.0).unwrap()
            })
            .sum::<f64>()
            / batch as f64;
        let found = f64::from(found.into_scalar::<f32>());
        assert!((found - mean).abs() < 1e-5, "{found}, in double precision {mean}");
    }

    #[test]
    fn equal_pictures_have_no_loss_and_standard_latents_neither() {
        let device = Device::flex();
        let pictures = tensor(&golden(), "pictures", &device);
        assert_eq!(gradient_difference(pictures.clone(), pictures.clone()).into_scalar::<f32>(), 0.0);
        let similarity = structural_similarity(pictures.clone(), pictures).into_scalar::<f32>();
        assert!((similarity - 1.0).abs() < 1e-6, "{similarity}");
        let alternating: Vec<f32> = (0..64).map(|n| if n / 2 % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let latents = from_host(alternating, [2, 4, 4, 2], &device);
        assert!(latent_moments(latents.clone()).into_scalar::<f32>() < 1e-6);
        let off = latent_moments(latents * 2.0 + 0.5).into_scalar::<f32>();
        assert!((off - 1.25).abs() < 1e-4, "mean 0.5 and deviation 2 cost 0.25 + 1, not {off}");
    }
}
