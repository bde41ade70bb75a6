//! Every sampler against the scheduler of that name in diffusers, call by call: what the network is fed, what it is
//! told, and what comes out after 20 steps. `golden/samplers/generate.py` wrote the numbers.

use burn::tensor::{Device, Tensor, TensorData};
use diffusion::schedule::{Cosine, RectifiedFlow, ScaledLinear};
use diffusion::{Preconditioning, Prediction, Sampler, ScheduleConfig, StepSpacing};
use safetensors::SafeTensors;

const NUM_STEPS: usize = 20;

/// Largest difference over largest value.
const TOLERANCE: f32 = 1e-4;

struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn open() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/samplers/samplers.safetensors");
        Self { bytes: std::fs::read(path).expect("the golden numbers are part of the repository") }
    }

    fn read(&self, name: &str) -> TensorData {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        TensorData::new(values, tensor.shape().to_vec())
    }
}

/// The formula of `network` in the generator.
fn network(input: Tensor<4>, timesteps: Tensor<1>) -> Tensor<4> {
    let time = timesteps.reshape([-1, 1, 1, 1]).div_scalar(1000.0);
    (input.clone() * 1.3 + time.clone() * 0.8).sin() * 0.6 + input.flip([2]).tanh() * (time * 2.0).cos() * 0.4
}

fn relative_error(found: Tensor<4>, expected: Tensor<4>) -> f32 {
    let largest: f32 = expected.clone().abs().max().into_scalar();
    (found - expected).abs().max().into_scalar::<f32>() / largest
}

fn check(name: &str, sampler: Sampler, schedule: ScheduleConfig, prediction: Prediction, spacing: StepSpacing) {
    let (golden, device) = (Golden::open(), Device::flex());
    let preconditioning = Preconditioning::new(schedule.resolve().unwrap(), prediction).unwrap();
    let schedule = preconditioning.schedule();
    let sigmas = schedule.sigmas(NUM_STEPS, spacing).unwrap();
    let initial = schedule.initial(Tensor::from_data(golden.read("noise"), &device), sigmas[0]);
    let step_noise: Option<Tensor<5>> = matches!(sampler, Sampler::Ddpm)
        .then(|| Tensor::from_data(golden.read(&format!("{name}.step_noise")), &device));

    let (mut inputs, mut told) = (Vec::new(), Vec::new());
    let mut denoise = |noisy: Tensor<4>, sigma: f64| {
        preconditioning.denoise(noisy, sigma, |input, timesteps| {
            inputs.push(input.clone());
            told.push(timesteps.clone().narrow(0, 0, 1).into_scalar::<f32>());
            network(input, timesteps)
        })
    };
    let mut draw = |step: usize| match &step_noise {
        Some(noise) => noise.clone().narrow(0, step, 1).squeeze_dim(0),
        None => unreachable!("{name} draws no noise"),
    };
    let found = sampler.sample(schedule.path(), &mut denoise, initial, &sigmas, &mut draw, &mut |_| {});

    let expected_inputs: Tensor<5> = Tensor::from_data(golden.read(&format!("{name}.inputs")), &device);
    let expected_told: Vec<f32> = golden.read(&format!("{name}.timesteps")).try_into_vec().unwrap();
    assert_eq!(inputs.len(), expected_told.len(), "{name}: number of calls");
    assert_eq!(
        inputs.len(),
        if sampler == Sampler::Heun { 2 * NUM_STEPS - 1 } else { NUM_STEPS },
        "{name}: number of calls"
    );
    for (call, input) in inputs.into_iter().enumerate() {
        assert!(
            (told[call] - expected_told[call]).abs() < 0.05,
            "{name} call {call}: {} {}",
            told[call],
            expected_told[call]
        );
        let expected = expected_inputs.clone().narrow(0, call, 1).squeeze_dim(0);
        let error = relative_error(input, expected);
        assert!(error < TOLERANCE, "{name} call {call}: relative error {error}");
    }
    let error = relative_error(found, Tensor::from_data(golden.read(&format!("{name}.final")), &device));
    assert!(error < TOLERANCE, "{name} final: relative error {error}");
}

fn stable_diffusion() -> ScheduleConfig {
    ScheduleConfig::ScaledLinear(ScaledLinear::default())
}

const LEADING: StepSpacing = StepSpacing::Leading { steps_offset: 1 };

#[test]
fn ddim() {
    check("ddim_leading_noise", Sampler::Ddim, stable_diffusion(), Prediction::Noise, LEADING);
    check("ddim_leading_velocity", Sampler::Ddim, stable_diffusion(), Prediction::Velocity, LEADING);
    check("ddim_trailing_noise", Sampler::Ddim, stable_diffusion(), Prediction::Noise, StepSpacing::Trailing);
}

#[test]
fn ddim_where_the_process_ends_in_pure_noise() {
    let cosine = ScheduleConfig::Cosine(Cosine::default());
    check("ddim_cosine_velocity", Sampler::Ddim, cosine, Prediction::Velocity, StepSpacing::Trailing);
    let schedule = ScheduleConfig::ScaledLinear(ScaledLinear { zero_terminal_snr: true, ..ScaledLinear::default() });
    check("ddim_zero_terminal_velocity", Sampler::Ddim, schedule, Prediction::Velocity, StepSpacing::Trailing);
}

#[test]
fn ddpm() {
    check("ddpm_leading_noise", Sampler::Ddpm, stable_diffusion(), Prediction::Noise, LEADING);
    check("ddpm_trailing_velocity", Sampler::Ddpm, stable_diffusion(), Prediction::Velocity, StepSpacing::Trailing);
}

#[test]
fn euler() {
    check("euler_linspace_noise", Sampler::Euler, stable_diffusion(), Prediction::Noise, StepSpacing::Linspace);
    check("euler_leading_noise", Sampler::Euler, stable_diffusion(), Prediction::Noise, LEADING);
    check("euler_trailing_velocity", Sampler::Euler, stable_diffusion(), Prediction::Velocity, StepSpacing::Trailing);
    check("euler_karras_velocity", Sampler::Euler, stable_diffusion(), Prediction::Velocity, StepSpacing::Karras);
}

#[test]
fn heun() {
    check("heun_linspace_noise", Sampler::Heun, stable_diffusion(), Prediction::Noise, StepSpacing::Linspace);
    check("heun_trailing_velocity", Sampler::Heun, stable_diffusion(), Prediction::Velocity, StepSpacing::Trailing);
}

#[test]
fn dpmpp_2m() {
    let trailing = StepSpacing::Trailing;
    check("dpmpp_2m_trailing_noise", Sampler::Dpmpp2m, stable_diffusion(), Prediction::Noise, trailing);
    check("dpmpp_2m_trailing_velocity", Sampler::Dpmpp2m, stable_diffusion(), Prediction::Velocity, trailing);
    let cosine = ScheduleConfig::Cosine(Cosine::default());
    check("dpmpp_2m_cosine_velocity", Sampler::Dpmpp2m, cosine, Prediction::Velocity, trailing);
}

#[test]
fn flow() {
    let schedule = |shift| ScheduleConfig::RectifiedFlow(RectifiedFlow { shift });
    check("flow_linspace", Sampler::Euler, schedule(1.0), Prediction::Flow, StepSpacing::Linspace);
    check("flow_trailing_shifted", Sampler::Euler, schedule(3.0), Prediction::Flow, StepSpacing::Trailing);
}
