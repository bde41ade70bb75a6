//! The scheduler configurations that a model folder carries, against what diffusers makes of them.
//!
//! `golden/scheduler_configs/configs.json` holds the text for each case, which must be what is written today;
//! `generate.py` there loads each into the class that it names, runs it, and wrote the numbers. To renew them:
//!
//! ```text
//! DINO_DIFFUSION_KEEP=tests/golden/scheduler_configs cargo test -p dino-diffusion-diffusion --test golden_scheduler_configs
//! python tests/golden/scheduler_configs/generate.py
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion::diffusers::SchedulerConfig;
use diffusion::schedule::{Cosine, RectifiedFlow, ScaledLinear};
use diffusion::{Preconditioning, Prediction, Sampler, ScheduleConfig, StepSpacing};
use safetensors::SafeTensors;

/// Divides every number of timesteps here, as diffusers' DDIM and DDPM want it.
const NUM_STEPS: usize = 20;

/// Largest difference over largest value, where the numbers should be the same.
const TOLERANCE: f32 = 1e-4;

/// And where they need only be near: a first-order step of 20 stands for one of second order, for example.
const NEAR: f32 = 0.3;

const SPACINGS: [StepSpacing; 4] =
    [StepSpacing::Trailing, StepSpacing::Leading { steps_offset: 1 }, StepSpacing::Linspace, StepSpacing::Karras];

struct Case {
    schedule: ScheduleConfig,
    prediction: Prediction,
    sampler: Sampler,
    spacing: StepSpacing,
}

impl Case {
    fn config(&self) -> SchedulerConfig {
        SchedulerConfig::new(&self.schedule, self.prediction, self.sampler, self.spacing).unwrap()
    }
}

/// Every schedule with every prediction, sampler and spacing that go together.
fn cases() -> BTreeMap<String, Case> {
    let (linear, cosine) = (ScheduleConfig::ScaledLinear, ScheduleConfig::Cosine);
    let schedules = [
        ("stable_diffusion", linear(ScaledLinear::default())),
        ("linear_zero", linear(ScaledLinear { zero_terminal_snr: true, ..ScaledLinear::default() })),
        (
            "linear_short",
            linear(ScaledLinear { beta_start: 0.002, beta_end: 0.1, num_timesteps: 200, zero_terminal_snr: false }),
        ),
        ("cosine", cosine(Cosine::default())),
        ("cosine_zero", cosine(Cosine { zero_terminal_snr: true, ..Cosine::default() })),
        ("cosine_offset", cosine(Cosine { offset: 0.05, num_timesteps: 40, zero_terminal_snr: false })),
        ("flow", ScheduleConfig::RectifiedFlow(RectifiedFlow::default())),
        ("flow_shifted", ScheduleConfig::RectifiedFlow(RectifiedFlow { shift: 3.0 })),
    ];
    let mut cases = BTreeMap::new();
    for (name, schedule) in schedules {
        for prediction in [Prediction::Noise, Prediction::Velocity, Prediction::Flow] {
            let resolved = schedule.resolve().unwrap();
            let Ok(preconditioning) = Preconditioning::new(resolved, prediction) else { continue };
            for sampler in Sampler::ALL {
                for spacing in SPACINGS {
                    if preconditioning.schedule().sigmas(NUM_STEPS, spacing).is_err() {
                        continue;
                    }
                    let spaced = match spacing {
                        StepSpacing::Trailing => "trailing",
                        StepSpacing::Leading { .. } => "leading",
                        StepSpacing::Linspace => "linspace",
                        StepSpacing::Karras => "karras",
                    };
                    let schedule = schedule.clone();
                    cases.insert(
                        format!("{name}-{prediction}-{}-{spaced}", sampler.name()),
                        Case { schedule, prediction, sampler, spacing },
                    );
                }
            }
        }
    }
    cases
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scheduler_configs"))
}

/// The formula of `network` in the generator.
fn network(input: Tensor<4>, timesteps: Tensor<1>) -> Tensor<4> {
    let time = timesteps.reshape([-1, 1, 1, 1]).div_scalar(1000.0);
    (input.clone() * 1.3 + time.clone() * 0.8).sin() * 0.6 + input.flip([2]).tanh() * (time * 2.0).cos() * 0.4
}

#[test]
fn what_is_written_is_what_diffusers_was_shown() {
    let configs: Vec<String> = cases()
        .into_iter()
        .map(|(name, case)| format!("{name:?}: {}", serde_json::to_string(&case.config()).unwrap()))
        .collect();
    let text = format!("{{\n{}\n}}\n", configs.join(",\n"));
    if let Some(kept) = std::env::var_os("DINO_DIFFUSION_KEEP") {
        std::fs::write(Path::new(&kept).join("configs.json"), &text).unwrap();
    }
    assert!(configs.len() > 100, "{} cases", configs.len());
    assert_eq!(text, std::fs::read_to_string(folder().join("configs.json")).unwrap());
}

#[test]
fn diffusers_samples_by_them_as_this_program_does() {
    let bytes = std::fs::read(folder().join("numbers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let device = Device::flex();
    let read = |name: &str| -> TensorData {
        let tensor = file.tensor(name).unwrap();
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        TensorData::new(values, tensor.shape().to_vec())
    };
    let noise: Tensor<4> = Tensor::from_data(read("noise"), &device);
    let step_noise: Tensor<5> = Tensor::from_data(read("step_noise"), &device);
    let (mut same, mut near, mut wrong) = (0, 0, Vec::new());
    for (name, Case { schedule, prediction, sampler, spacing }) in cases() {
        let difference = SchedulerConfig::new(&schedule, prediction, sampler, spacing).unwrap().difference;
        let preconditioning = Preconditioning::new(schedule.resolve().unwrap(), prediction).unwrap();
        let schedule = preconditioning.schedule();
        let sigmas = schedule.sigmas(NUM_STEPS, spacing).unwrap();
        let initial = schedule.initial(noise.clone(), sigmas[0]);
        let mut denoise = |noisy: Tensor<4>, sigma: f64| preconditioning.denoise(noisy, sigma, network);
        let mut draw = |step: usize| step_noise.clone().narrow(0, step, 1).squeeze_dim(0);
        let found = sampler.sample(schedule.path(), &mut denoise, initial, &sigmas, &mut draw, &mut |_| {});
        let error_to = |expected: TensorData| -> f32 {
            let expected: Tensor<4> = Tensor::from_data(expected, &device);
            let largest: f32 = expected.clone().abs().max().into_scalar();
            (found.clone() - expected).abs().max().into_scalar::<f32>() / largest
        };
        let error = error_to(read(&format!("{name}.final")));
        match difference {
            None if error < TOLERANCE => same += 1,
            // Noise of other steps makes other images.
            Some(_) if error < NEAR || sampler == Sampler::Ddpm => near += 1,
            _ => wrong.push(format!("{name}: {error}, difference {difference:?}")),
        }
        // Of a flow, also where the pipeline is given the noise levels.
        let given = format!("{name}.given");
        if file.tensor(&given).is_ok() {
            let error = error_to(read(&given));
            if error >= TOLERANCE {
                wrong.push(format!("{given}: {error}"));
            }
        }
    }
    assert!(same >= 90, "{same} are the same, {near} near");
    assert!(wrong.is_empty(), "{same} are the same, {near} near, but:\n{}", wrong.join("\n"));
}
