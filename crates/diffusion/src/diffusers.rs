//! A model's noise process and sampler as a `scheduler_config.json` of the diffusers library (0.42), so that its
//! pipelines sample as this program does.
//!
//! | here | scheduler | the same numbers |
//! | --- | --- | --- |
//! | `ddpm`, trailing or leading | `DDPMScheduler` | yes |
//! | `ddim`, trailing or leading | `DDIMScheduler` | yes |
//! | `ddim`, linspace or Karras: Euler's update is the same | `EulerDiscreteScheduler` | yes |
//! | `euler` | `EulerDiscreteScheduler` | yes |
//! | `heun` | `HeunDiscreteScheduler` | yes |
//! | `dpmpp_2m`, trailing | `DPMSolverMultistepScheduler` | yes |
//! | `dpmpp_2m`, leading | `DDIMScheduler` | near: of first order, at the same timesteps |
//! | `dpmpp_2m` otherwise | `DPMSolverMultistepScheduler` | near: it places its timesteps otherwise |
//! | `ddpm` otherwise | `DDPMScheduler`, trailing | in distribution: the noise of other steps |
//! | from pure noise or nearly so: `ddim`, `euler`, trailing | `DDIMScheduler` | yes |
//! | the same, another spacing or `heun` | `DDIMScheduler` | near: trailing, of first order |
//! | the same, `dpmpp_2m` and no signal at all | `DPMSolverMultistepScheduler` | near: it leaves a trace of signal |
//! | rectified flow, `ddim` or `euler`, linspace, without shift | `FlowMatchEulerDiscreteScheduler` | yes |
//! | `ddim` or `euler` otherwise | `FlowMatchEulerDiscreteScheduler` | with the noise levels as `sigmas`, else near |
//! | rectified flow, other samplers | `FlowMatchEulerDiscreteScheduler` | near: of first order, without noise |
//!
//! "Yes" holds for numbers of steps that divide the number of timesteps: diffusers' DDIM and DDPM round their stride
//! down. Where numbers are not the same, the file says why under `_difference`, which diffusers passes over.

use serde::Serialize;

use crate::precondition::Prediction;
use crate::samplers::Sampler;
use crate::schedule::{Cosine, Path, ScaledLinear, Schedule, ScheduleConfig, StepSpacing};
use crate::{Error, Preconditioning};

/// The offset that diffusers' `squaredcos_cap_v2` has (Nichol and Dhariwal 2021).
const COSINE_OFFSET: f64 = 0.008;

/// What `scheduler_config.json` holds. Each class refuses nothing and warns of what it does not know, so only what it
/// knows is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchedulerConfig {
    /// The class of diffusers that reads the file.
    #[serde(rename = "_class_name")]
    pub class_name: &'static str,
    #[serde(rename = "_diffusers_version")]
    version: &'static str,
    /// Why its numbers are not those of this program; absent where they are.
    #[serde(rename = "_difference", skip_serializing_if = "Option::is_none")]
    pub difference: Option<&'static str>,
    num_train_timesteps: usize,
    #[serde(flatten)]
    process: Option<DiscreteProcess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shift: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rescale_betas_zero_snr: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_sample: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_alpha_to_one: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variance_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_karras_sigmas: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    solver_order: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    solver_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    final_sigmas_type: Option<&'static str>,
}

/// What all schedulers of a variance-preserving process share.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct DiscreteProcess {
    #[serde(flatten)]
    betas: Betas,
    prediction_type: &'static str,
    timestep_spacing: &'static str,
    steps_offset: usize,
}

/// Variances by the name of their schedule, or one by one where diffusers has no name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Betas {
    Linear { beta_schedule: &'static str, beta_start: f64, beta_end: f64 },
    Named { beta_schedule: &'static str },
    Listed { trained_betas: Vec<f64> },
}

impl SchedulerConfig {
    /// The scheduler of diffusers that does what `sampler` does at `spacing`, or what comes nearest.
    ///
    /// # Errors
    /// A schedule that no process can have, and one that does not go with the prediction.
    pub fn new(
        schedule: &ScheduleConfig,
        prediction: Prediction,
        sampler: Sampler,
        spacing: StepSpacing,
    ) -> Result<Self, Error> {
        let preconditioning = Preconditioning::new(schedule.resolve()?, prediction)?;
        let (betas, zero_terminal_snr) = match schedule {
            ScheduleConfig::RectifiedFlow(flow) => {
                return Ok(Self::flow(preconditioning.schedule(), flow.shift, sampler, spacing));
            }
            ScheduleConfig::ScaledLinear(ScaledLinear { beta_start, beta_end, zero_terminal_snr, .. }) => {
                let (beta_start, beta_end) = (*beta_start, *beta_end);
                (Betas::Linear { beta_schedule: "scaled_linear", beta_start, beta_end }, *zero_terminal_snr)
            }
            ScheduleConfig::Cosine(Cosine { offset: COSINE_OFFSET, zero_terminal_snr, .. }) => {
                (Betas::Named { beta_schedule: "squaredcos_cap_v2" }, *zero_terminal_snr)
            }
            ScheduleConfig::Cosine(cosine) => {
                (Betas::Listed { trained_betas: cosine.betas()? }, cosine.zero_terminal_snr)
            }
        };
        // A first step from pure noise wants the last timestep, which only this spacing visits in every scheduler.
        let from_pure_noise = preconditioning.path() == Path::Straight;
        let choice = Choice::of(sampler, spacing, from_pure_noise, zero_terminal_snr);
        let (timestep_spacing, steps_offset) = match choice.spacing {
            StepSpacing::Trailing => ("trailing", 0),
            StepSpacing::Leading { steps_offset } => ("leading", steps_offset),
            // Karras' noise levels go from the largest to the smallest, as these timesteps do.
            StepSpacing::Linspace | StepSpacing::Karras => ("linspace", 0),
        };
        let prediction_type = if prediction == Prediction::Noise { "epsilon" } else { "v_prediction" };
        let process = DiscreteProcess { betas, prediction_type, timestep_spacing, steps_offset };
        let karras = Some(choice.spacing == StepSpacing::Karras);
        let empty = Self::empty(choice.scheduler, preconditioning.schedule().num_timesteps(), choice.difference);
        let shared = Self { process: Some(process), ..empty };
        let rescale_betas_zero_snr = Some(zero_terminal_snr);
        Ok(match choice.scheduler {
            Scheduler::Ddpm => {
                Self { rescale_betas_zero_snr, clip_sample: Some(false), variance_type: Some("fixed_small"), ..shared }
            }
            Scheduler::Ddim => {
                Self { rescale_betas_zero_snr, clip_sample: Some(false), set_alpha_to_one: Some(true), ..shared }
            }
            Scheduler::Euler => Self { use_karras_sigmas: karras, final_sigmas_type: Some("zero"), ..shared },
            Scheduler::Heun => Self { use_karras_sigmas: karras, clip_sample: Some(false), ..shared },
            Scheduler::DpmSolver => Self {
                rescale_betas_zero_snr,
                use_karras_sigmas: karras,
                algorithm_type: Some("dpmsolver++"),
                solver_order: Some(2),
                solver_type: Some("midpoint"),
                final_sigmas_type: Some("zero"),
                ..shared
            },
            Scheduler::Flow => shared,
        })
    }

    fn flow(schedule: &Schedule, shift: f64, sampler: Sampler, spacing: StepSpacing) -> Self {
        let difference = match (sampler, spacing) {
            (Sampler::Ddim | Sampler::Euler, StepSpacing::Linspace) if shift == 1.0 => None,
            (Sampler::Ddim | Sampler::Euler, _) => {
                Some("other noise levels, unless they are given to the pipeline as `sigmas`, before the shift")
            }
            _ => Some("the scheduler is Euler's, of first order and without noise"),
        };
        Self { shift: Some(shift), ..Self::empty(Scheduler::Flow, schedule.num_timesteps(), difference) }
    }

    fn empty(scheduler: Scheduler, num_train_timesteps: usize, difference: Option<&'static str>) -> Self {
        Self {
            class_name: scheduler.class_name(),
            version: "0.42.0",
            difference,
            num_train_timesteps,
            process: None,
            shift: None,
            rescale_betas_zero_snr: None,
            clip_sample: None,
            set_alpha_to_one: None,
            variance_type: None,
            use_karras_sigmas: None,
            algorithm_type: None,
            solver_order: None,
            solver_type: None,
            final_sigmas_type: None,
        }
    }
}

/// The schedulers of diffusers that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheduler {
    Ddpm,
    Ddim,
    Euler,
    Heun,
    DpmSolver,
    Flow,
}

impl Scheduler {
    fn class_name(self) -> &'static str {
        match self {
            Self::Ddpm => "DDPMScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::Heun => "HeunDiscreteScheduler",
            Self::DpmSolver => "DPMSolverMultistepScheduler",
            Self::Flow => "FlowMatchEulerDiscreteScheduler",
        }
    }
}

/// Which scheduler, at which spacing, and what is then not the same.
struct Choice {
    scheduler: Scheduler,
    spacing: StepSpacing,
    difference: Option<&'static str>,
}

impl Choice {
    fn of(sampler: Sampler, spacing: StepSpacing, from_pure_noise: bool, zero_terminal_snr: bool) -> Self {
        use StepSpacing::{Leading, Trailing};
        const PLACES: Option<&str> = Some("timesteps are placed otherwise, and are whole numbers");
        const FROM_NOISE: Option<&str> = Some("timesteps are trailing, so that sampling begins at pure noise");
        let choice = |scheduler, spacing, difference| Self { scheduler, spacing, difference };
        // These two have whole timesteps, one stride apart.
        let strided = matches!(spacing, Trailing | Leading { .. });
        match sampler {
            Sampler::Ddpm | Sampler::Ddim | Sampler::Euler if zero_terminal_snr && spacing != Trailing => {
                let scheduler = if sampler == Sampler::Ddpm { Scheduler::Ddpm } else { Scheduler::Ddim };
                choice(scheduler, Trailing, FROM_NOISE)
            }
            Sampler::Ddpm if strided => choice(Scheduler::Ddpm, spacing, None),
            Sampler::Ddpm => choice(Scheduler::Ddpm, Trailing, PLACES),
            Sampler::Ddim if strided => choice(Scheduler::Ddim, spacing, None),
            // In additive noise of such size, f32 has no digits left for the image.
            Sampler::Ddim | Sampler::Euler if from_pure_noise && strided => choice(Scheduler::Ddim, spacing, None),
            Sampler::Ddim | Sampler::Euler if from_pure_noise => choice(Scheduler::Ddim, Trailing, PLACES),
            Sampler::Ddim | Sampler::Euler => choice(Scheduler::Euler, spacing, None),
            Sampler::Heun if from_pure_noise => {
                let spacing = if strided && !zero_terminal_snr { spacing } else { Trailing };
                choice(Scheduler::Ddim, spacing, Some("of first order: Heun's is not defined from pure noise there"))
            }
            Sampler::Heun => choice(Scheduler::Heun, spacing, None),
            Sampler::Dpmpp2m if zero_terminal_snr => {
                choice(Scheduler::DpmSolver, Trailing, Some("a trace of signal stays where there is pure noise here"))
            }
            Sampler::Dpmpp2m if matches!(spacing, Leading { .. }) => choice(
                Scheduler::Ddim,
                spacing,
                Some("of first order: the second-order solver there begins at less noise"),
            ),
            // From pure noise, Karras' first timesteps round to one, at which diffusers miscounts its steps and fails.
            Sampler::Dpmpp2m if from_pure_noise && spacing != Trailing => {
                choice(Scheduler::DpmSolver, Trailing, PLACES)
            }
            Sampler::Dpmpp2m => choice(Scheduler::DpmSolver, spacing, if spacing == Trailing { None } else { PLACES }),
        }
    }
}
