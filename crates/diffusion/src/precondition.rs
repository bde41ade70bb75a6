//! From a network that predicts noise, velocity or flow to one call, `denoise(noisy, sigma) -> denoised`, and from
//! clean latents to what such a network is trained on.
//!
//! This is the only place that knows prediction types. A network sees `input = signal * clean + spread * noise` with
//! the roots of *its own* process (variance preserving: `signal^2 + spread^2 = 1`; rectified flow:
//! `signal + spread = 1`), whatever path the samplers walk; the two differ by one factor.

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};
use random::Purpose;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::loss::LossWeighting;
use crate::schedule::{Path, Schedule};

/// What a network's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise that was mixed in (Ho et al. 2020); Stable Diffusion 1, diffusers' `epsilon`.
    Noise,
    /// `signal * noise - spread * clean` (Salimans and Ho 2022); Stable Diffusion 2, diffusers' `v_prediction`.
    Velocity,
    /// `noise - clean`, the velocity of a rectified flow (Liu et al. 2022); Stable Diffusion 3.
    Flow,
}

impl fmt::Display for Prediction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Prediction::Noise => "noise",
            Prediction::Velocity => "velocity",
            Prediction::Flow => "flow",
        })
    }
}

/// How training times are drawn from `0..1`, where 0 is clean and 1 is the noisiest. In a file: `"uniform"`, or
/// `{ logit_normal = { mean = 0.0, std = 1.0 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TimeDistribution {
    /// Every time alike. The default, and what variance-preserving processes are trained with.
    #[default]
    Uniform,
    /// The logistic function of a normal number (Esser et al. 2024, equation 19), which prefers the middle, where
    /// a flow is hardest. A time shift by `s` is `mean = ln(s)`.
    LogitNormal {
        /// Mean of the normal number; above 0 prefers noise. Default 0.
        #[serde(default)]
        mean: f64,
        /// Its standard deviation, above 0. Default 1, the paper's best.
        #[serde(default = "one")]
        std: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl TimeDistribution {
    /// The time for one training example, a function of `seed` and `index` alone; strictly between 0 and 1.
    pub fn draw(&self, seed: u64, index: u64) -> f64 {
        match *self {
            TimeDistribution::Uniform => random::uniform(seed, index, Purpose::TrainingTime),
            TimeDistribution::LogitNormal { mean, std } => {
                let logit = mean + std * random::normal_f64(seed, index, Purpose::TrainingTime);
                // Keeps the ends out: beyond +-36 the logistic function rounds to 0 or 1.
                1.0 / (1.0 + libm::exp(-logit.clamp(-36.0, 36.0)))
            }
        }
    }

    /// Refuses a standard deviation or mean that draws nothing usable.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn validate(&self) -> Result<(), Error> {
        match *self {
            TimeDistribution::Uniform => Ok(()),
            TimeDistribution::LogitNormal { mean, std } => {
                check("time_distribution.mean", mean, mean.abs() <= 10.0, "between -10 and 10")?;
                check("time_distribution.std", std, std > 0.0 && std <= 10.0, "above 0 and at most 10")
            }
        }
    }
}

/// How a network is wrapped at one noise level: `denoised = skip * noisy + output_scale * network(input_scale * noisy,
/// timestep)`. The names follow Karras et al. 2022, equation 7.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Factor that brings a noisy latent of the path to the scale of the network's own process.
    pub input_scale: f64,
    /// What the network is told, `0..=1000`; may be fractional.
    pub timestep: f64,
    /// Share of the noisy latent in the denoised one.
    pub skip: f64,
    /// Factor of the network's output in the denoised latent.
    pub output_scale: f64,
}

/// One step's worth of training data for a network, all on the device of the clean latents.
#[derive(Debug, Clone)]
pub struct TrainingBatch {
    /// What the network sees, `[batch, height, width, channels]`.
    pub input: Tensor<4>,
    /// What it should say, `[batch, height, width, channels]`.
    pub target: Tensor<4>,
    /// What it is told, `[batch]`, each in `0..=1000`.
    pub timesteps: Tensor<1>,
    /// Weight of each example's squared error, `[batch]`.
    pub weights: Tensor<1>,
}

/// A schedule and the meaning of a network's output: all it takes to use or train that network.
#[derive(Debug, Clone, PartialEq)]
pub struct Preconditioning {
    schedule: Schedule,
    prediction: Prediction,
}

/// The roots of a network's own process at one noise level, `input = signal * clean + spread * noise`, and the factor
/// `input_scale` from the path's noisy latent to that input.
#[derive(Debug, Clone, Copy)]
struct Roots {
    signal: f64,
    spread: f64,
    input_scale: f64,
}

impl Preconditioning {
    /// Joins a schedule and a prediction type.
    ///
    /// # Errors
    /// [`Error::PredictionMismatch`]: noise and velocity go with variance-preserving schedules, flow with rectified
    /// flow; and noise cannot be turned into an image at a timestep that holds no signal.
    pub fn new(schedule: Schedule, prediction: Prediction) -> Result<Self, Error> {
        let mismatch = |schedule, remedy| Err(Error::PredictionMismatch { prediction, schedule, remedy });
        let ends_in_pure_noise = schedule.path().signal(schedule.sigma_max()) == 0.0;
        match (schedule.is_flow(), prediction) {
            (true, Prediction::Noise | Prediction::Velocity) => mismatch("rectified flow", "'flow'"),
            (false, Prediction::Flow) => mismatch("a variance-preserving schedule", "'noise' or 'velocity'"),
            (false, Prediction::Noise) if ends_in_pure_noise => mismatch("zero terminal signal-to-noise", "'velocity'"),
            _ => Ok(Self { schedule, prediction }),
        }
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The meaning of the network's output.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn roots(&self, sigma: f64) -> Roots {
        let signal = self.schedule.path().signal(sigma);
        // The straight path is the flow's own process; a variance-preserving one has unit length.
        let input_scale = if self.schedule.is_flow() { 1.0 } else { 1.0 / signal.hypot(sigma) };
        Roots { signal: signal * input_scale, spread: sigma * input_scale, input_scale }
    }

    /// How to wrap the network at noise level `sigma` of the schedule's path.
    pub fn coefficients(&self, sigma: f64) -> Coefficients {
        let Roots { signal, spread, input_scale } = self.roots(sigma);
        // `clean` solved from `input` and from what the output means.
        let (skip_of_input, output_scale) = match self.prediction {
            Prediction::Noise => (1.0 / signal, -spread / signal),
            Prediction::Velocity => (signal, -spread),
            Prediction::Flow => (1.0, -spread),
        };
        let timestep = self.schedule.timestep_at(sigma);
        Coefficients { input_scale, timestep, skip: skip_of_input * input_scale, output_scale }
    }

    /// The denoised latent by one call of a network `(input, timesteps) -> output`.
    ///
    /// # Shapes
    /// - `noisy`, network input and output, result: `[batch, height, width, channels]`
    /// - timesteps: `[batch]`
    pub fn denoise(
        &self,
        noisy: Tensor<4>,
        sigma: f64,
        network: impl FnOnce(Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Tensor<4> {
        let [batch, _height, _width, _channels] = noisy.dims();
        let Coefficients { input_scale, timestep, skip, output_scale } = self.coefficients(sigma);
        let timesteps = from_host(vec![timestep; batch], &noisy.device());
        let output = network(noisy.clone().mul_scalar(input_scale), timesteps);
        noisy.mul_scalar(skip) + output.mul_scalar(output_scale)
    }

    /// What the network sees, should say and is told, and how much each example counts.
    ///
    /// `times` has one value in `0..1` per image, as [`TimeDistribution::draw`] gives them; a variance-preserving
    /// process takes the timestep `floor(time * num_timesteps)`, a flow takes the time itself.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when latents, noise and times do not belong together.
    ///
    /// # Shapes
    /// - `clean`, `noise`: `[batch, height, width, channels]`
    /// - `times`: `batch` values
    pub fn training_batch(
        &self,
        clean: Tensor<4>,
        noise: Tensor<4>,
        times: &[f64],
        weighting: LossWeighting,
    ) -> Result<TrainingBatch, Error> {
        let [batch, _height, _width, _channels] = clean.dims();
        if clean.dims() != noise.dims() {
            let (left, right) = (clean.dims().to_vec(), noise.dims().to_vec());
            return Err(Error::ShapeMismatch { what: "latents and noise", left, right });
        }
        if batch != times.len() {
            return Err(Error::ShapeMismatch {
                what: "latents and times",
                left: vec![batch],
                right: vec![times.len()],
            });
        }
        let device = clean.device();
        let timesteps: Vec<f64> = times.iter().map(|time| self.training_timestep(*time)).collect();
        let sigmas: Vec<f64> = timesteps.iter().map(|timestep| self.schedule.sigma_at(*timestep)).collect();
        let roots: Vec<Roots> = sigmas.iter().map(|sigma| self.roots(*sigma)).collect();
        let weights = roots.iter().map(|roots| self.loss_weight(*roots, weighting)).collect();
        let column =
            |value: fn(&Roots) -> f64| from_host(roots.iter().map(value).collect(), &device).reshape([batch, 1, 1, 1]);
        let (signal, spread) = (column(|roots| roots.signal), column(|roots| roots.spread));

        let input = clean.clone() * signal.clone() + noise.clone() * spread.clone();
        let target = match self.prediction {
            Prediction::Noise => noise,
            Prediction::Velocity => noise * signal - clean * spread,
            Prediction::Flow => noise - clean,
        };
        let (timesteps, weights) = (from_host(timesteps, &device), from_host(weights, &device));
        Ok(TrainingBatch { input, target, timesteps, weights })
    }

    fn training_timestep(&self, time: f64) -> f64 {
        let total = self.schedule.num_timesteps() as f64;
        if self.schedule.is_flow() { time * total } else { (time * total).floor().clamp(0.0, total - 1.0) }
    }

    /// The weight of a squared error of the output. An error of the output is an error of the denoised latent times
    /// `output_scale`, and min-SNR-gamma (Hang et al. 2023) weights the latter by `min(snr, gamma)`; so the weight is
    /// their product: `min(snr, gamma) / snr` for noise, `/ (snr + 1)` for velocity, `* time^2` for flow.
    fn loss_weight(&self, Roots { signal, spread, .. }: Roots, weighting: LossWeighting) -> f64 {
        let LossWeighting::MinSnr { gamma } = weighting else { return 1.0 };
        // `min(snr, gamma) * spread^2`, written so that neither end divides by 0.
        let weighted = (signal * signal).min(gamma * spread * spread);
        match self.prediction {
            Prediction::Noise => weighted / (signal * signal),
            Prediction::Velocity | Prediction::Flow => weighted,
        }
    }

    /// The path whose `sigma` the denoiser and the samplers speak.
    pub fn path(&self) -> Path {
        self.schedule.path()
    }
}

/// A vector on the device, in the device's float type.
pub(crate) fn from_host(values: Vec<f64>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}
