//! Samplers: from a noisy latent at the first noise level to a clean one at the last, 0.
//!
//! Each is a function of a denoiser, a latent and the noise levels; none knows a network. A denoiser is
//! `(noisy [batch, height, width, channels], sigma) -> denoised`. Progress is a callback. `ddim` and `euler` are the
//! same update, and the only difference between samplers of those names elsewhere lies in which
//! timesteps they visit; here that is the noise levels' affair.

use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::schedule::Path;

/// A denoiser: `(noisy, sigma) -> denoised`, with the condition already inside.
pub type Denoise<'a> = dyn FnMut(Tensor<4>, f64) -> Tensor<4> + 'a;

/// Standard normal noise for the step with the given index, of the latent's shape.
pub type StepNoise<'a> = dyn FnMut(usize) -> Tensor<4> + 'a;

/// Told once in each step, as soon as its first denoised latent is known.
pub type Progress<'a> = dyn FnMut(Step<'_>) + 'a;

/// How far sampling has come.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The step under way, `0..num_steps`.
    pub index: usize,
    /// Number of steps in all.
    pub num_steps: usize,
    /// Noise level that this step starts from.
    pub sigma: f64,
    /// The denoised latent found there: a preview of the result.
    pub denoised: &'a Tensor<4>,
}

/// The samplers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// See [`ddpm`]: ancestral, adds noise at each step.
    Ddpm,
    /// See [`ddim`]: first order, deterministic.
    Ddim,
    /// See [`euler`]: first order, deterministic. The default.
    #[default]
    Euler,
    /// See [`heun`]: second order, two denoiser calls for each step but the last.
    Heun,
    /// See [`dpmpp_2m`]: second order, one call for each step.
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
}

impl Sampler {
    /// All samplers.
    pub const ALL: [Sampler; 5] = [Sampler::Ddpm, Sampler::Ddim, Sampler::Euler, Sampler::Heun, Sampler::Dpmpp2m];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Sampler::Ddpm => "ddpm",
            Sampler::Ddim => "ddim",
            Sampler::Euler => "euler",
            Sampler::Heun => "heun",
            Sampler::Dpmpp2m => "dpmpp_2m",
        }
    }

    /// Samples: `noisy` is a latent at `sigmas[0]`, the result one at the last of `sigmas`. Only [`ddpm`] draws from
    /// `step_noise`.
    ///
    /// # Shapes
    /// - `noisy`, result: `[batch, height, width, channels]`
    /// - `sigmas`: descending, ends in 0
    pub fn sample(
        self,
        path: Path,
        denoise: &mut Denoise<'_>,
        noisy: Tensor<4>,
        sigmas: &[f64],
        step_noise: &mut StepNoise<'_>,
        progress: &mut Progress<'_>,
    ) -> Tensor<4> {
        match self {
            Sampler::Ddpm => ddpm(path, denoise, noisy, sigmas, step_noise, progress),
            Sampler::Ddim => ddim(denoise, noisy, sigmas, progress),
            Sampler::Euler => euler(denoise, noisy, sigmas, progress),
            Sampler::Heun => heun(denoise, noisy, sigmas, progress),
            Sampler::Dpmpp2m => dpmpp_2m(path, denoise, noisy, sigmas, progress),
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The consecutive pairs of noise levels with the step's index and the number of steps.
fn steps(sigmas: &[f64]) -> impl Iterator<Item = (usize, usize, f64, f64)> + '_ {
    let num_steps = sigmas.len().saturating_sub(1);
    sigmas.windows(2).enumerate().map(move |(index, pair)| (index, num_steps, pair[0], pair[1]))
}

/// `keep * noisy + (1 - keep) * denoised`: the exact solution while `denoised` stays what it is.
fn blend(noisy: Tensor<4>, denoised: Tensor<4>, keep: f64) -> Tensor<4> {
    noisy.mul_scalar(keep) + denoised.mul_scalar(1.0 - keep)
}

/// Ancestral sampling (Ho et al. 2020, equations 6 and 7): each step draws from the exact posterior of the noisy latent
/// given the one before and the denoised one. The variance is the posterior's, diffusers' `fixed_small`.
pub fn ddpm(
    path: Path,
    denoise: &mut Denoise<'_>,
    mut noisy: Tensor<4>,
    sigmas: &[f64],
    step_noise: &mut StepNoise<'_>,
    progress: &mut Progress<'_>,
) -> Tensor<4> {
    for (index, num_steps, sigma, next) in steps(sigmas) {
        let denoised = denoise(noisy.clone(), sigma);
        progress(Step { index, num_steps, sigma, denoised: &denoised });
        let (signal, signal_next) = (path.signal(sigma), path.signal(next));
        // Ratio of the two noise-to-signal variances.
        let ratio = (next * signal / (sigma * signal_next)).powi(2);
        let keep = (next / sigma).powi(2) * signal / signal_next;
        noisy = noisy.mul_scalar(keep) + denoised.mul_scalar(signal_next * (1.0 - ratio));
        // The last step ends at a noise level of 0: there is nothing to add.
        if next > 0.0 {
            noisy = noisy + step_noise(index).mul_scalar(next * (1.0 - ratio).sqrt());
        }
    }
    noisy
}

/// Deterministic DDIM (Song et al. 2021, equation 12 with eta 0): keeps the noise's direction and replaces its amount. In
/// the noise level `sigma`, that is [`euler`]'s step.
pub fn ddim(denoise: &mut Denoise<'_>, noisy: Tensor<4>, sigmas: &[f64], progress: &mut Progress<'_>) -> Tensor<4> {
    euler(denoise, noisy, sigmas, progress)
}

/// Deterministic DDIM run backwards (Song et al. 2021, section 5.4; Dhariwal and Nichol 2021, appendix F): carries a
/// clean latent up to the last of `sigmas`, from where [`ddim`] over the same levels leads back to it, but for an error
/// that vanishes with the length of the steps.
///
/// A step of [`ddim`] from `next` to `sigma` is undone exactly by `noisy + (next - sigma) * noise`, where `noise` is what
/// the network finds in the result. As is usual (Mokady et al. 2023), it is asked about the latent before the step
/// instead, told of the level after it; so it is never asked about the level 0, where there is no noise to find.
///
/// # Shapes
/// - `clean`, result: `[batch, height, width, channels]`
/// - `sigmas`: ascending, begins with 0
pub fn ddim_inversion(denoise: &mut Denoise<'_>, clean: Tensor<4>, sigmas: &[f64]) -> Tensor<4> {
    let mut noisy = clean;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let denoised = denoise(noisy.clone(), next);
        let noise = (noisy.clone() - denoised).div_scalar(next);
        noisy = noisy + noise.mul_scalar(next - sigma);
    }
    noisy
}

/// Euler's method on the probability-flow equation (Karras et al. 2022, algorithm 1 without the correction).
pub fn euler(
    denoise: &mut Denoise<'_>,
    mut noisy: Tensor<4>,
    sigmas: &[f64],
    progress: &mut Progress<'_>,
) -> Tensor<4> {
    for (index, num_steps, sigma, next) in steps(sigmas) {
        let denoised = denoise(noisy.clone(), sigma);
        progress(Step { index, num_steps, sigma, denoised: &denoised });
        let slope = (noisy.clone() - denoised).div_scalar(sigma);
        noisy = noisy + slope.mul_scalar(next - sigma);
    }
    noisy
}

/// Heun's method on the probability-flow equation (Karras et al. 2022, algorithm 1): the mean of the slopes at both
/// ends of a step. The last step, to 0, has no slope at its end and is Euler's.
pub fn heun(denoise: &mut Denoise<'_>, mut noisy: Tensor<4>, sigmas: &[f64], progress: &mut Progress<'_>) -> Tensor<4> {
    for (index, num_steps, sigma, next) in steps(sigmas) {
        let denoised = denoise(noisy.clone(), sigma);
        progress(Step { index, num_steps, sigma, denoised: &denoised });
        let slope = (noisy.clone() - denoised).div_scalar(sigma);
        let predicted = noisy.clone() + slope.clone().mul_scalar(next - sigma);
        noisy = if next > 0.0 {
            let denoised_next = denoise(predicted.clone(), next);
            let slope_next = (predicted - denoised_next).div_scalar(next);
            noisy + (slope + slope_next).mul_scalar(0.5 * (next - sigma))
        } else {
            predicted
        };
    }
    noisy
}

/// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): extrapolates `denoised` along the logarithm of the signal-to-noise
/// ratio from this step and the one before. The first step and the last, to 0, are of first order.
pub fn dpmpp_2m(
    path: Path,
    denoise: &mut Denoise<'_>,
    mut noisy: Tensor<4>,
    sigmas: &[f64],
    progress: &mut Progress<'_>,
) -> Tensor<4> {
    // Half the logarithm of the signal-to-noise ratio, lambda in the paper; -infinity at pure noise.
    let half_log_snr = |sigma: f64| (path.signal(sigma) / sigma).ln();
    let mut previous: Option<(Tensor<4>, f64)> = None;
    for (index, num_steps, sigma, next) in steps(sigmas) {
        let denoised = denoise(noisy.clone(), sigma);
        progress(Step { index, num_steps, sigma, denoised: &denoised });
        let stride = half_log_snr(next) - half_log_snr(sigma);
        // A step to a clean image, or one after a step from pure noise, is infinitely long: no extrapolation.
        let extrapolated = match previous.take() {
            Some((before, stride_before)) if stride.is_finite() && stride_before.is_finite() => {
                let weight = stride / (2.0 * stride_before);
                denoised.clone().mul_scalar(1.0 + weight) - before.mul_scalar(weight)
            }
            _ => denoised.clone(),
        };
        noisy = blend(noisy, extrapolated, next / sigma);
        previous = Some((denoised, stride));
    }
    noisy
}
