//! Diffusion without networks and without files: noise schedules, preconditioning, samplers, guidance, losses,
//! and averages of weights. Random numbers are those of the crate `random`.
//!
//! Network, preconditioning, loss and sampler are four things that meet in one call,
//! `denoise(noisy, sigma) -> denoised`. A [`Preconditioning`] turns a network of any prediction type into that call,
//! [`guided`] adds classifier-free guidance to it, and a [`Sampler`] integrates it from pure noise to a clean image
//! without knowing what is inside. Latents are `[batch, height, width, channels]` everywhere.
//!
//! # Convention of the noise level
//!
//! A noisy latent is `noisy = signal(sigma) * clean + sigma * noise` along one of two paths ([`Path`]):
//! *additive*, `signal = 1` and `sigma` in `0..infinity`, and *straight*, `signal = 1 - sigma` and `sigma` in
//! `0..=1`. On both, the probability-flow equation is the same, `d noisy / d sigma = (noisy - denoised) / sigma`, so
//! the samplers are shared. A variance-preserving process is a rescaling of either; [`Schedule`] picks the additive
//! path where the largest `sigma` is moderate (there every step equals the reference implementations') and the
//! straight one where it is huge or infinite (zero terminal signal-to-noise ratio), which needs no cut-off there.
//!
//! # Example
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use diffusion::{Guidance, Prediction, Preconditioning, Sampler, ScheduleConfig, StepSpacing, guided};
//! use random::Purpose;
//!
//! # fn main() -> Result<(), diffusion::Error> {
//! let device = Device::flex();
//! let preconditioning = Preconditioning::new(ScheduleConfig::default().resolve()?, Prediction::Flow)?;
//! let schedule = preconditioning.schedule();
//! let sigmas = schedule.sigmas(8, StepSpacing::Trailing)?;
//! let (seed, indices, shape) = (7, [0, 1], [4, 4, 3]);
//! let noise = diffusion::normal_batch(seed, &indices, Purpose::InitialNoise, shape, &device);
//! let initial = schedule.initial(noise, sigmas[0]);
//! let condition = Tensor::<3>::zeros([2, 1, 16], &device);
//! let null_condition = condition.clone();
//!
//! // Stands for a UNet: `(input, timesteps, condition) -> output`.
//! let network = |input: Tensor<4>, _timesteps: Tensor<1>, _condition: Tensor<3>| input * 0.5;
//! let mut denoise = guided(Guidance::new(1.5), condition, null_condition, |noisy, sigma, condition| {
//!     preconditioning.denoise(noisy, sigma, |input, timesteps| network(input, timesteps, condition))
//! });
//! let mut step_noise = |step: usize| {
//!     diffusion::normal_batch(seed, &indices, Purpose::StepNoise(step as u16), shape, &device)
//! };
//! let mut progress = |step: diffusion::Step<'_>| assert!(step.index < step.num_steps);
//! let latents =
//!     Sampler::Heun.sample(schedule.path(), &mut denoise, initial, &sigmas, &mut step_noise, &mut progress);
//! assert_eq!(latents.dims(), [2, 4, 4, 3]);
//! # Ok(())
//! # }
//! ```

pub mod diffusers;
pub mod ema;
mod error;
pub mod guidance;
pub mod interpolate;
pub mod loss;
mod noise;
pub mod precondition;
pub mod samplers;
pub mod schedule;

pub use error::Error;
pub use guidance::{Guidance, guided};
pub use loss::{LossWeighting, weighted_mean_squared_error};
pub use noise::normal_batch;
pub use precondition::{Preconditioning, Prediction, TimeDistribution, TrainingBatch};
pub use samplers::{Sampler, Step};
pub use schedule::{Path, Schedule, ScheduleConfig, StepSpacing};
