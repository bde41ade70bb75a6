//! Noise schedules: how much noise each timestep of the training process carries, and at which noise levels a sampler
//! stops on its way down.
//!
//! [`ScheduleConfig`] is what a recipe says; [`Schedule`] is that resolved to a table, in the noise level `sigma` of
//! one of the two paths (see the crate's head for the convention). All of it is host arithmetic in f64: a schedule
//! for a sampler is a plain `Vec<f64>` that descends and ends in 0.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};

/// Number of timesteps that a network of a rectified flow is told for pure noise; the convention of Stable Diffusion 3.
const FLOW_TIMESTEPS: f64 = 1000.0;

/// Above this largest `sigma` a schedule is sampled on the straight path. Stable Diffusion's schedule ends at 14.6 and
/// published ones that are meant for additive samplers at 80 to 160; a schedule far above that (cosine: 20,000) gives
/// second-order samplers a first step across several decades, in which additive noise is the wrong coordinate.
const LARGEST_ADDITIVE_SIGMA: f64 = 200.0;

/// Exponent of Karras et al. 2022 (equation 5) that decides how densely small noise levels are visited.
const KARRAS_RHO: f64 = 7.0;

/// How a noisy latent is mixed: `noisy = signal(sigma) * clean + sigma * noise`.
///
/// On both paths the probability-flow equation reads `d noisy / d sigma = (noisy - denoised) / sigma`: along the
/// straight path the derivative is `noise - clean`, and `noisy - denoised = sigma * (noise - clean)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// `signal = 1`: noise is added to the unchanged image; `sigma` in `0..infinity` (variance exploding).
    Additive,
    /// `signal = 1 - sigma`: the straight line from image to noise; `sigma` in `0..=1` (rectified flow).
    Straight,
}

impl Path {
    /// The factor of the clean image at noise level `sigma`.
    pub fn signal(self, sigma: f64) -> f64 {
        match self {
            Path::Additive => 1.0,
            Path::Straight => 1.0 - sigma,
        }
    }

    /// `signal * clean + sigma * noise`.
    ///
    /// # Shapes
    /// - `clean`, `noise`, result: `[batch, height, width, channels]`
    pub fn noisy(self, clean: Tensor<4>, noise: Tensor<4>, sigma: f64) -> Tensor<4> {
        clean.mul_scalar(self.signal(sigma)) + noise.mul_scalar(sigma)
    }

    /// The level on this path with the signal-to-noise ratio of `signal_root` to `noise_root`.
    fn level(self, signal_root: f64, noise_root: f64) -> f64 {
        match self {
            Path::Additive => noise_root / signal_root,
            Path::Straight => noise_root / (signal_root + noise_root),
        }
    }
}

/// Stable Diffusion's noise schedule: `beta` rises linearly in its square root (Rombach et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledLinear {
    /// Variance added at the first timestep, in `0..1`. Default 0.00085 (Stable Diffusion 1).
    pub beta_start: f64,
    /// Variance added at the last timestep, in `beta_start..1`. Default 0.012 (Stable Diffusion 1).
    pub beta_end: f64,
    /// Number of timesteps of the training process, at least 2. Default 1000.
    pub num_timesteps: usize,
    /// Rescale so that the last timestep holds no signal at all (Lin et al. 2023, algorithm 1). Default false.
    pub zero_terminal_snr: bool,
}

impl Default for ScaledLinear {
    fn default() -> Self {
        Self { beta_start: 0.00085, beta_end: 0.012, num_timesteps: 1000, zero_terminal_snr: false }
    }
}

/// The cosine schedule of Nichol and Dhariwal 2021 (equation 17), every `beta` at most 0.999.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Keeps the first betas from vanishing; above 0. Default 0.008 (the paper's).
    pub offset: f64,
    /// Number of timesteps of the training process, at least 2. Default 1000.
    pub num_timesteps: usize,
    /// Rescale so that the last timestep holds no signal at all (Lin et al. 2023, algorithm 1). Default false.
    pub zero_terminal_snr: bool,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { offset: 0.008, num_timesteps: 1000, zero_terminal_snr: false }
    }
}

/// Rectified flow (Liu et al. 2022; Esser et al. 2024): the straight line between image and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RectifiedFlow {
    /// Time shift of the sampling steps, above 0: `t -> shift * t / (1 + (shift - 1) * t)` (Esser et al. 2024,
    /// equation 23). Above 1 more steps go to high noise, as large images want. Default 1, no shift. Training times
    /// are shifted by the mean of their distribution instead.
    pub shift: f64,
}

impl Default for RectifiedFlow {
    fn default() -> Self {
        Self { shift: 1.0 }
    }
}

/// The noise process of a network, as a recipe says it: `kind = "scaled_linear" | "cosine" | "rectified_flow"` and
/// that kind's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleConfig {
    /// See [`ScaledLinear`].
    ScaledLinear(ScaledLinear),
    /// See [`Cosine`].
    Cosine(Cosine),
    /// See [`RectifiedFlow`].
    RectifiedFlow(RectifiedFlow),
}

impl Default for ScheduleConfig {
    /// Rectified flow without shift, which learns fastest where compute is scarce.
    fn default() -> Self {
        ScheduleConfig::RectifiedFlow(RectifiedFlow::default())
    }
}

impl ScheduleConfig {
    /// Checks the settings and computes the table.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the setting that no process can have.
    pub fn resolve(&self) -> Result<Schedule, Error> {
        let (mut alphas_cumprod, zero_terminal_snr) = match self {
            ScheduleConfig::ScaledLinear(settings) => (cumulative(&settings.betas()?), settings.zero_terminal_snr),
            ScheduleConfig::Cosine(settings) => (cumulative(&settings.betas()?), settings.zero_terminal_snr),
            ScheduleConfig::RectifiedFlow(RectifiedFlow { shift }) => {
                check("schedule.shift", *shift, shift.is_finite() && *shift > 0.0, "a finite number above 0")?;
                return Ok(Schedule { path: Path::Straight, process: Process::Flow { shift: *shift } });
            }
        };
        if zero_terminal_snr {
            rescale_to_zero_terminal_snr(&mut alphas_cumprod);
        }
        let levels = |path: Path| -> Vec<f64> {
            alphas_cumprod.iter().map(|alpha| path.level(alpha.sqrt(), (1.0 - alpha).sqrt())).collect()
        };
        let additive = levels(Path::Additive);
        let moderate = additive.last().is_some_and(|largest| *largest <= LARGEST_ADDITIVE_SIGMA);
        let (path, table) =
            if moderate { (Path::Additive, additive) } else { (Path::Straight, levels(Path::Straight)) };
        Ok(Schedule { path, process: Process::VariancePreserving { table } })
    }
}

impl ScaledLinear {
    /// Variance added at each timestep, before any rescaling.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `beta_start`, `beta_end` or `num_timesteps` make no process.
    pub fn betas(&self) -> Result<Vec<f64>, Error> {
        let (start, end) = (self.beta_start, self.beta_end);
        check("schedule.beta_start", start, start > 0.0 && start < 1.0, "between 0 and 1")?;
        check("schedule.beta_end", end, end >= start && end < 1.0, "between beta_start and 1")?;
        check_num_timesteps(self.num_timesteps)?;
        let last = (self.num_timesteps - 1) as f64;
        let root = |step: usize| start.sqrt() + (end.sqrt() - start.sqrt()) * step as f64 / last;
        Ok((0..self.num_timesteps).map(|step| root(step).powi(2)).collect())
    }
}

impl Cosine {
    /// Variance added at each timestep, before any rescaling.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `offset` or `num_timesteps` make no process.
    pub fn betas(&self) -> Result<Vec<f64>, Error> {
        check("schedule.offset", self.offset, self.offset > 0.0 && self.offset < 1.0, "between 0 and 1")?;
        check_num_timesteps(self.num_timesteps)?;
        let signal = |step: usize| {
            let time = step as f64 / self.num_timesteps as f64;
            ((time + self.offset) / (1.0 + self.offset) * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        Ok((0..self.num_timesteps).map(|step| (1.0 - signal(step + 1) / signal(step)).min(0.999)).collect())
    }
}

fn check_num_timesteps(num_timesteps: usize) -> Result<(), Error> {
    check("schedule.num_timesteps", num_timesteps as f64, (2..=1_000_000).contains(&num_timesteps), "2 to 1000000")
}

/// Share of the signal's variance left after each timestep: the running product of `1 - beta`.
fn cumulative(betas: &[f64]) -> Vec<f64> {
    betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

/// Lin et al. 2023, algorithm 1: shifts and scales the square roots so that the last is 0 and the first is unchanged.
fn rescale_to_zero_terminal_snr(alphas_cumprod: &mut [f64]) {
    let (Some(first), Some(last)) = (alphas_cumprod.first().copied(), alphas_cumprod.last().copied()) else { return };
    let (first, last) = (first.sqrt(), last.sqrt());
    for alpha in alphas_cumprod {
        *alpha = ((alpha.sqrt() - last) * first / (first - last)).powi(2);
    }
}

/// Which timesteps a sampler visits. All but Karras are those of the diffusers library by the same names. In a file:
/// `"trailing"`, or `{ leading = { steps_offset = 1 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepSpacing {
    /// Equal strides down from the last timestep, which is always visited (Lin et al. 2023, table 2). The default.
    #[default]
    Trailing,
    /// Equal strides up from `steps_offset`; the last timestep is not visited. Stable Diffusion 1 uses offset 1.
    Leading {
        /// Added to every timestep.
        #[serde(default)]
        steps_offset: usize,
    },
    /// From the last timestep to the first, both visited; timesteps between may be fractional.
    Linspace,
    /// From the largest noise level to the smallest, equally spaced in `sigma^(1/7)` (Karras et al. 2022, equation 5).
    Karras,
}

/// A noise process with its table computed: the map between `sigma` and the timesteps that the network is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    path: Path,
    process: Process,
}

#[derive(Debug, Clone, PartialEq)]
enum Process {
    /// `table[timestep]` is the noise level on the schedule's path, ascending.
    VariancePreserving {
        table: Vec<f64>,
    },
    Flow {
        shift: f64,
    },
}

impl Schedule {
    /// The path whose `sigma` this schedule speaks.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Whether the process is a rectified flow (else it is variance preserving).
    pub fn is_flow(&self) -> bool {
        matches!(self.process, Process::Flow { .. })
    }

    /// The largest noise level.
    pub fn sigma_max(&self) -> f64 {
        match &self.process {
            Process::VariancePreserving { table } => table.last().copied().unwrap_or(1.0),
            Process::Flow { .. } => 1.0,
        }
    }

    /// Number of timesteps of the training process (1000 for a flow, whose times are continuous).
    pub fn num_timesteps(&self) -> usize {
        match &self.process {
            Process::VariancePreserving { table } => table.len(),
            Process::Flow { .. } => FLOW_TIMESTEPS as usize,
        }
    }

    /// The noise level at a timestep, which may be fractional (linear between neighbours) and is clamped to the
    /// schedule's range, `0..=num_timesteps - 1` or, for a flow, `0..=1000`.
    pub fn sigma_at(&self, timestep: f64) -> f64 {
        match &self.process {
            Process::VariancePreserving { table } => {
                let position = timestep.clamp(0.0, (table.len() - 1) as f64);
                let below = position.floor() as usize;
                let above = (below + 1).min(table.len() - 1);
                table[below] + (table[above] - table[below]) * (position - below as f64)
            }
            Process::Flow { .. } => (timestep / FLOW_TIMESTEPS).clamp(0.0, 1.0),
        }
    }

    /// The timestep at a noise level: the inverse of [`sigma_at`](Self::sigma_at), clamped likewise.
    pub fn timestep_at(&self, sigma: f64) -> f64 {
        match &self.process {
            Process::VariancePreserving { table } => {
                let above = table.partition_point(|level| *level < sigma);
                if above == 0 {
                    return 0.0;
                }
                if above == table.len() {
                    return (table.len() - 1) as f64;
                }
                let below = above - 1;
                below as f64 + (sigma - table[below]) / (table[above] - table[below])
            }
            Process::Flow { .. } => (sigma * FLOW_TIMESTEPS).clamp(0.0, FLOW_TIMESTEPS),
        }
    }

    /// The noise levels of a sampler with `num_steps` steps: `num_steps + 1` values, strictly descending, the last 0.
    ///
    /// # Errors
    /// [`Error::NumSteps`] or [`Error::SpacingMismatch`] when this schedule cannot be walked so.
    pub fn sigmas(&self, num_steps: usize, spacing: StepSpacing) -> Result<Vec<f64>, Error> {
        if num_steps == 0 {
            return Err(Error::NumSteps { num_steps, reason: "a sampler needs at least 1" });
        }
        if num_steps > self.num_timesteps() {
            let reason = "the process has fewer timesteps than that (1000 unless set otherwise)";
            return Err(Error::NumSteps { num_steps, reason });
        }
        let mut sigmas = match (&self.process, spacing) {
            (_, StepSpacing::Karras) => self.karras(num_steps)?,
            (Process::VariancePreserving { table }, _) => timesteps(table.len(), num_steps, spacing)?
                .into_iter()
                .map(|timestep| self.sigma_at(timestep))
                .collect::<Vec<_>>(),
            (Process::Flow { shift }, _) => flow_times(num_steps, spacing)?
                .into_iter()
                .map(|time| shift * time / (1.0 + (shift - 1.0) * time))
                .collect(),
        };
        sigmas.push(0.0);
        Ok(sigmas)
    }

    /// Noise levels equally spaced in `sigma^(1/rho)` of additive noise (Karras et al. 2022, equation 5).
    fn karras(&self, num_steps: usize) -> Result<Vec<f64>, Error> {
        let additive = |sigma: f64| sigma / self.path.signal(sigma);
        let (largest, smallest) = (additive(self.sigma_max()), additive(self.sigma_at(0.0)));
        if !largest.is_finite() || smallest <= 0.0 {
            return Err(Error::SpacingMismatch {
                spacing: "karras",
                schedule: "a process that ends in pure noise",
                remedy: "trailing",
            });
        }
        let (high, low) = (largest.powf(1.0 / KARRAS_RHO), smallest.powf(1.0 / KARRAS_RHO));
        let last = (num_steps - 1).max(1) as f64;
        let sigma = |step: usize| (high + (low - high) * step as f64 / last).powf(KARRAS_RHO);
        Ok((0..num_steps).map(|step| self.path.level(1.0, sigma(step))).collect())
    }

    /// The latent to start sampling from at the first noise level: noise scaled to the standard deviation that noisy
    /// latents have there when clean ones have mean 0 and standard deviation 1.
    ///
    /// # Shapes
    /// - `noise`, result: `[batch, height, width, channels]`
    pub fn initial(&self, noise: Tensor<4>, sigma: f64) -> Tensor<4> {
        noise.mul_scalar(self.path.signal(sigma).hypot(sigma))
    }
}

/// Descending timesteps of a discrete process of `total` timesteps, as diffusers spaces them.
fn timesteps(total: usize, num_steps: usize, spacing: StepSpacing) -> Result<Vec<f64>, Error> {
    let (n, last) = (num_steps as f64, (total - 1) as f64);
    let steps = 0..num_steps;
    Ok(match spacing {
        // Rounds half to even, as numpy does.
        StepSpacing::Trailing => {
            steps.map(|step| (total as f64 - step as f64 * total as f64 / n).round_ties_even() - 1.0).collect()
        }
        StepSpacing::Leading { steps_offset } => {
            let stride = total / num_steps;
            if ((num_steps - 1) * stride).saturating_add(steps_offset) >= total {
                let reason = "with this steps_offset the first step lies beyond the last timestep; lower either";
                return Err(Error::NumSteps { num_steps, reason });
            }
            steps.rev().map(|step| (step * stride + steps_offset) as f64).collect()
        }
        StepSpacing::Linspace | StepSpacing::Karras => {
            steps.map(|step| last * (1.0 - step as f64 / (n - 1.0).max(1.0))).collect()
        }
    })
}

/// Descending times of a rectified flow, before the shift.
fn flow_times(num_steps: usize, spacing: StepSpacing) -> Result<Vec<f64>, Error> {
    let (n, steps) = (num_steps as f64, 0..num_steps);
    let smallest = 1.0 / FLOW_TIMESTEPS;
    match spacing {
        StepSpacing::Trailing | StepSpacing::Karras => Ok(steps.map(|step| 1.0 - step as f64 / n).collect()),
        StepSpacing::Linspace => {
            Ok(steps.map(|step| 1.0 + (smallest - 1.0) * step as f64 / (n - 1.0).max(1.0)).collect())
        }
        StepSpacing::Leading { .. } => Err(Error::SpacingMismatch {
            spacing: "leading",
            schedule: "rectified flow, which must start at pure noise",
            remedy: "trailing",
        }),
    }
}
