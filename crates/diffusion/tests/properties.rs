//! What must hold for every schedule, prediction type and sampler, whatever the numbers.

use burn::tensor::{Device, Tensor};
use diffusion::samplers::{ddim, ddim_inversion};
use diffusion::schedule::{Cosine, RectifiedFlow, ScaledLinear};
use diffusion::{
    Error, LossWeighting, Path, Preconditioning, Prediction, Sampler, Schedule, ScheduleConfig, StepSpacing,
    TimeDistribution, normal_batch,
};
use random::Purpose;

fn scaled_linear(zero_terminal_snr: bool) -> ScheduleConfig {
    ScheduleConfig::ScaledLinear(ScaledLinear { zero_terminal_snr, ..ScaledLinear::default() })
}

fn cosine(zero_terminal_snr: bool) -> ScheduleConfig {
    ScheduleConfig::Cosine(Cosine { zero_terminal_snr, ..Cosine::default() })
}

fn flow() -> ScheduleConfig {
    ScheduleConfig::RectifiedFlow(RectifiedFlow::default())
}

fn all_schedules() -> Vec<Schedule> {
    [scaled_linear(false), scaled_linear(true), cosine(false), cosine(true), flow()]
        .iter()
        .map(|config| config.resolve().unwrap())
        .collect()
}

/// Every schedule with every prediction type that goes with it.
fn all_preconditionings() -> Vec<Preconditioning> {
    let predictions = [Prediction::Noise, Prediction::Velocity, Prediction::Flow];
    let all: Vec<_> = all_schedules()
        .into_iter()
        .flat_map(|schedule| predictions.map(|prediction| Preconditioning::new(schedule.clone(), prediction)))
        .filter_map(Result::ok)
        .collect();
    assert_eq!(all.len(), 7);
    all
}

fn noise(index: u64) -> Tensor<4> {
    normal_batch(1, &[index, index + 1], Purpose::Other(0), [4, 4, 2], &Device::flex())
}

fn largest(tensor: Tensor<4>) -> f32 {
    tensor.abs().max().into_scalar()
}

#[test]
fn every_beta_is_positive_and_below_one() {
    for betas in [ScaledLinear::default().betas().unwrap(), Cosine::default().betas().unwrap()] {
        assert_eq!(betas.len(), 1000);
        assert!(betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0));
        assert!(betas.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}

#[test]
fn noise_grows_with_the_timestep() {
    for schedule in all_schedules() {
        let levels: Vec<f64> = (0..schedule.num_timesteps()).map(|step| schedule.sigma_at(step as f64)).collect();
        assert!(levels.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", schedule.path());
    }
}

#[test]
fn the_terminal_signal_is_zero_when_asked_for() {
    for config in [scaled_linear(true), cosine(true)] {
        let schedule = config.resolve().unwrap();
        assert_eq!(schedule.path(), Path::Straight);
        assert_eq!(schedule.sigma_max(), 1.0);
        // Rescaling leaves the first level as it is.
        let ScheduleConfig::ScaledLinear(settings) = config else { continue };
        let beta = settings.betas().unwrap()[0];
        let expected = beta.sqrt() / (beta.sqrt() + (1.0 - beta).sqrt());
        assert!((schedule.sigma_at(0.0) - expected).abs() < 1e-12);
    }
    let plain = scaled_linear(false).resolve().unwrap();
    assert_eq!(plain.path(), Path::Additive);
    assert!((plain.sigma_max() - 14.6146).abs() < 1e-3, "Stable Diffusion 1 ends at sigma 14.6146");
}

#[test]
fn timestep_and_sigma_are_inverse() {
    for schedule in all_schedules() {
        for timestep in [0.0, 0.3, 1.0, 17.0, 321.5, 998.0, 998.75, 999.0] {
            let there_and_back = schedule.timestep_at(schedule.sigma_at(timestep));
            assert!((there_and_back - timestep).abs() < 1e-6, "{timestep} {there_and_back}");
        }
        assert_eq!(schedule.timestep_at(-1.0), 0.0);
        assert!(schedule.timestep_at(1e9) >= 999.0);
    }
}

#[test]
fn sigmas_descend_to_zero_for_any_number_of_steps() {
    let leading = StepSpacing::Leading { steps_offset: 1 };
    for schedule in all_schedules() {
        for spacing in [StepSpacing::Trailing, leading, StepSpacing::Linspace, StepSpacing::Karras] {
            for num_steps in [1, 2, 3, 7, 20, 50, 333, 999] {
                let Ok(sigmas) = schedule.sigmas(num_steps, spacing) else {
                    let ends_in_noise = schedule.sigma_max() == 1.0 && schedule.path() == Path::Straight;
                    assert!(ends_in_noise && matches!(spacing, StepSpacing::Karras | StepSpacing::Leading { .. }));
                    continue;
                };
                assert_eq!(sigmas.len(), num_steps + 1);
                assert_eq!(sigmas[num_steps], 0.0);
                assert!(sigmas.windows(2).all(|pair| pair[0] > pair[1]), "{spacing:?} {num_steps}");
                if !matches!(spacing, StepSpacing::Leading { .. }) {
                    assert!((sigmas[0] - schedule.sigma_max()).abs() < 1e-9 * sigmas[0], "{spacing:?} {num_steps}");
                }
            }
        }
    }
}

#[test]
fn impossible_walks_are_refused_with_a_remedy() {
    let schedule = scaled_linear(false).resolve().unwrap();
    for (num_steps, spacing) in [
        (0, StepSpacing::Trailing),
        (1001, StepSpacing::Trailing),
        (1000, StepSpacing::Leading { steps_offset: 1 }),
        (2, StepSpacing::Leading { steps_offset: usize::MAX }),
    ] {
        assert!(matches!(schedule.sigmas(num_steps, spacing), Err(Error::NumSteps { .. })), "{num_steps} {spacing:?}");
    }
    let error = flow().resolve().unwrap().sigmas(10, StepSpacing::Karras).unwrap_err();
    assert!(error.to_string().contains("use trailing"), "{error}");
}

#[test]
fn impossible_processes_are_refused() {
    for settings in [
        ScaledLinear { beta_start: 0.0, ..ScaledLinear::default() },
        ScaledLinear { beta_end: 0.0001, ..ScaledLinear::default() },
        ScaledLinear { beta_end: 1.0, ..ScaledLinear::default() },
        ScaledLinear { num_timesteps: 1, ..ScaledLinear::default() },
        ScaledLinear { beta_start: f64::NAN, ..ScaledLinear::default() },
    ] {
        assert!(matches!(ScheduleConfig::ScaledLinear(settings).resolve(), Err(Error::OutOfRange { .. })));
    }
    let offset = Cosine { offset: -0.1, ..Cosine::default() };
    assert!(ScheduleConfig::Cosine(offset).resolve().is_err());
    assert!(ScheduleConfig::RectifiedFlow(RectifiedFlow { shift: 0.0 }).resolve().is_err());

    let mismatch = |config: ScheduleConfig, prediction| {
        let error = Preconditioning::new(config.resolve().unwrap(), prediction).unwrap_err();
        assert!(matches!(error, Error::PredictionMismatch { .. }), "{error}");
    };
    mismatch(flow(), Prediction::Noise);
    mismatch(flow(), Prediction::Velocity);
    mismatch(scaled_linear(false), Prediction::Flow);
    mismatch(scaled_linear(true), Prediction::Noise);
}

#[test]
fn settings_survive_a_file_and_typing_errors_do_not() {
    for config in [scaled_linear(true), cosine(false), flow()] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ScheduleConfig>(&text).unwrap(), config);
    }
    let sparse: ScheduleConfig = serde_json::from_str(r#"{"kind": "scaled_linear"}"#).unwrap();
    assert_eq!(sparse, scaled_linear(false));
    assert!(serde_json::from_str::<ScheduleConfig>(r#"{"kind": "scaled_linear", "beta_strat": 0.1}"#).is_err());
    let time = |text| serde_json::from_str::<TimeDistribution>(text);
    assert_eq!(time(r#""uniform""#).unwrap(), TimeDistribution::Uniform);
    let expected = TimeDistribution::LogitNormal { mean: 0.5, std: 1.0 };
    assert_eq!(time(r#"{"logit_normal": {"mean": 0.5, "std": 1}}"#).unwrap(), expected);
    assert!(time(r#"{"logit_normal": {"mean": 0.5, "std": 1, "shift": 2}}"#).is_err());
    let spacing = |text| serde_json::from_str::<StepSpacing>(text);
    assert_eq!(spacing(r#"{"leading": {}}"#).unwrap(), StepSpacing::Leading { steps_offset: 0 });
    assert!(spacing(r#"{"leading": {"step_offset": 1}}"#).is_err());
    let weighting = |text| serde_json::from_str::<LossWeighting>(text);
    assert_eq!(weighting(r#"{"min_snr": {"gamma": 5}}"#).unwrap(), LossWeighting::MinSnr { gamma: 5.0 });
    assert_eq!(weighting(r#"{"min_snr": {}}"#).unwrap(), LossWeighting::MinSnr { gamma: 5.0 });
    assert!(weighting(r#"{"min_snr": {"gama": 5}}"#).is_err());
    for sampler in Sampler::ALL {
        assert_eq!(serde_json::to_string(&sampler).unwrap(), format!("\"{}\"", sampler.name()));
    }
    let error = serde_json::from_str::<Sampler>("\"plms\"").unwrap_err().to_string();
    assert!(error.contains("`plms`") && error.contains("dpmpp_2m"), "{error}");
}

/// What a perfect network says, solved from the roots of the network's process rather than from the library's own.
fn perfect_output(prediction: Prediction, clean: &Tensor<4>, noise: &Tensor<4>, signal: f64, spread: f64) -> Tensor<4> {
    match prediction {
        Prediction::Noise => noise.clone(),
        Prediction::Velocity => noise.clone() * signal - clean.clone() * spread,
        Prediction::Flow => noise.clone() - clean.clone(),
    }
}

#[test]
fn a_perfect_network_denoises_perfectly_at_every_level() {
    let (clean, noise) = (noise(0), noise(10));
    for preconditioning in all_preconditionings() {
        let (path, prediction) = (preconditioning.path(), preconditioning.prediction());
        let sigma_max = preconditioning.schedule().sigma_max();
        for share in [1e-3, 0.1, 0.5, 0.9, 1.0] {
            let sigma = share * sigma_max;
            let signal = path.signal(sigma);
            let length = if prediction == Prediction::Flow { 1.0 } else { signal.hypot(sigma) };
            let (signal, spread) = (signal / length, sigma / length);
            let noisy = path.noisy(clean.clone(), noise.clone(), sigma);
            let denoised = preconditioning.denoise(noisy, sigma, |input, _timesteps| {
                let expected = clean.clone() * signal + noise.clone() * spread;
                assert!(largest(input - expected) < 1e-5, "the network must see its own process");
                perfect_output(prediction, &clean, &noise, signal, spread)
            });
            // Noise is divided by the signal, so rounding grows as the signal fades.
            let tolerance = if prediction == Prediction::Noise { 2e-6 / signal } else { 1e-5 };
            let error = f64::from(largest(denoised - clean.clone()));
            assert!(error < tolerance, "{prediction} {path:?} sigma {sigma}: {error}");
        }
    }
}

#[test]
fn training_and_denoising_agree_on_input_target_and_timestep() {
    let (clean, noise) = (noise(0), noise(10));
    for preconditioning in all_preconditionings() {
        let times = [0.35, 0.8];
        let batch =
            preconditioning.training_batch(clean.clone(), noise.clone(), &times, LossWeighting::Uniform).unwrap();
        let told: Vec<f32> = batch.timesteps.clone().into_data().try_to_vec().unwrap();
        assert_eq!(told, [350.0, 800.0]);
        for (image, timestep) in told.iter().enumerate() {
            let one = |tensor: &Tensor<4>| tensor.clone().narrow(0, image, 1);
            let sigma = preconditioning.schedule().sigma_at(f64::from(*timestep));
            let noisy = preconditioning.path().noisy(one(&clean), one(&noise), sigma);
            let denoised = preconditioning.denoise(noisy, sigma, |input, timesteps| {
                assert!((timesteps.into_scalar::<f32>() - timestep).abs() < 1e-3);
                assert!(largest(input - one(&batch.input)) < 1e-5);
                one(&batch.target)
            });
            assert!(largest(denoised - one(&clean)) < 1e-4, "{}", preconditioning.prediction());
        }
    }
}

#[test]
fn training_refuses_parts_that_do_not_belong_together() {
    let preconditioning = Preconditioning::new(flow().resolve().unwrap(), Prediction::Flow).unwrap();
    let batch = |noise, times: &[f64]| {
        preconditioning.training_batch(self::noise(0), noise, times, LossWeighting::Uniform).map(|_| ())
    };
    assert_eq!(batch(noise(1), &[0.5, 0.5]), Ok(()));
    assert!(matches!(batch(noise(1), &[0.5]), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(batch(noise(1).narrow(3, 0, 1), &[0.5, 0.5]), Err(Error::ShapeMismatch { .. })));
}

#[test]
fn min_snr_weights_are_those_of_the_paper() {
    let gamma = 5.0;
    for preconditioning in all_preconditionings() {
        for time in [0.0005, 0.05, 0.3, 0.6, 0.95, 0.9995] {
            let batch = preconditioning
                .training_batch(noise(0), noise(10), &[time; 2], LossWeighting::MinSnr { gamma })
                .unwrap();
            let told: f64 = batch.timesteps.narrow(0, 0, 1).into_scalar();
            let found: f64 = batch.weights.narrow(0, 0, 1).into_scalar();
            let sigma = preconditioning.schedule().sigma_at(told);
            let snr = (preconditioning.path().signal(sigma) / sigma).powi(2);
            let expected = match preconditioning.prediction() {
                Prediction::Noise => snr.min(gamma) / snr,
                Prediction::Velocity => snr.min(gamma) / (snr + 1.0),
                Prediction::Flow => snr.min(gamma) * sigma * sigma,
            };
            assert!((found - expected).abs() < 1e-5 * expected.max(1e-3), "{found} {expected}");
        }
    }
}

#[test]
fn training_times_follow_their_distribution() {
    let draws = |distribution: TimeDistribution| -> Vec<f64> {
        let mut times: Vec<f64> = (0..20_000).map(|index| distribution.draw(1, index)).collect();
        assert!(times.iter().all(|time| *time > 0.0 && *time < 1.0));
        times.sort_by(f64::total_cmp);
        times
    };
    let uniform = draws(TimeDistribution::Uniform);
    assert!((uniform[10_000] - 0.5).abs() < 0.015 && (uniform[2000] - 0.1).abs() < 0.01);
    // Quantiles of the logistic function of a normal number: 50 % at the mean, 84.13 % one deviation above.
    let logistic = |value: f64| 1.0 / (1.0 + (-value).exp());
    let logit_normal = draws(TimeDistribution::LogitNormal { mean: 0.5, std: 0.8 });
    assert!((logit_normal[10_000] - logistic(0.5)).abs() < 0.01);
    assert!((logit_normal[16_827] - logistic(1.3)).abs() < 0.01);
    assert!(TimeDistribution::LogitNormal { mean: 0.0, std: 0.0 }.validate().is_err());
    assert!(TimeDistribution::LogitNormal { mean: 0.0, std: 1.0 }.validate().is_ok());
}

/// Mean and standard deviation of the clean images in the tests below.
const MEAN: f64 = 0.7;
const DEVIATION: f64 = 0.5;

/// The best denoiser for normal images: their posterior mean.
fn gaussian_denoiser(path: Path) -> impl FnMut(Tensor<4>, f64) -> Tensor<4> {
    move |noisy, sigma| {
        let signal = path.signal(sigma);
        let gain = signal * DEVIATION.powi(2) / ((signal * DEVIATION).powi(2) + sigma * sigma);
        (noisy - signal * MEAN) * gain + MEAN
    }
}

/// Where the probability-flow equation takes `noisy` on its way from `sigma` to `end`.
fn gaussian_solution(path: Path, noisy: Tensor<4>, sigma: f64, end: f64) -> Tensor<4> {
    let spread = |sigma: f64| (path.signal(sigma) * DEVIATION).hypot(sigma);
    (noisy - path.signal(sigma) * MEAN) * (spread(end) / spread(sigma)) + path.signal(end) * MEAN
}

fn sample(sampler: Sampler, schedule: &Schedule, num_steps: usize, indices: &[u64]) -> (Tensor<4>, Tensor<4>, f64) {
    let device = Device::flex();
    let draw = |purpose| normal_batch(3, indices, purpose, [8, 8, 4], &device);
    let sigmas = schedule.sigmas(num_steps, StepSpacing::Trailing).unwrap();
    let initial = schedule.initial(draw(Purpose::InitialNoise), sigmas[0]);
    let mut step_noise = |step: usize| draw(Purpose::StepNoise(step as u16));
    let mut told = 0;
    let mut progress = |step: diffusion::Step<'_>| {
        assert_eq!((step.index, step.num_steps, step.sigma), (told, num_steps, sigmas[told]));
        told += 1;
    };
    let mut denoise = gaussian_denoiser(schedule.path());
    let found = sampler.sample(schedule.path(), &mut denoise, initial.clone(), &sigmas, &mut step_noise, &mut progress);
    assert_eq!(told, num_steps);
    (found, initial, sigmas[0])
}

#[test]
fn every_sampler_recovers_a_gaussian_on_every_schedule() {
    let indices: Vec<u64> = (0..64).collect(); // 64 * 256 numbers: standard errors 0.004 and 0.003
    for schedule in all_schedules() {
        for sampler in Sampler::ALL {
            // An ancestral sampler takes the posterior for normal with a fixed variance, true of small steps only.
            let num_steps = if sampler == Sampler::Ddpm { 500 } else { 100 };
            let (found, _initial, _sigma) = sample(sampler, &schedule, num_steps, &indices);
            let mean: f64 = found.clone().mean().into_scalar();
            let deviation: f64 = (found - mean).powi_scalar(2).mean().sqrt().into_scalar();
            let path = schedule.path();
            assert!((mean - MEAN).abs() < 0.05, "{sampler} {path:?}: mean {mean}");
            assert!((deviation - DEVIATION).abs() < 0.02, "{sampler} {path:?}: deviation {deviation}");
        }
    }
}

#[test]
fn second_order_samplers_converge_faster() {
    // The last step, to 0, is of first order in every sampler; so these walks end before it.
    let additive = |share: f64| 10.0 * 0.01_f64.powf(share); // 10 to 0.1
    let straight = |share: f64| 0.95 - 0.85 * share;
    let walks: [(Path, &dyn Fn(f64) -> f64); 2] = [(Path::Additive, &additive), (Path::Straight, &straight)];
    for (path, level) in walks {
        let error = |sampler: Sampler, num_steps: usize| {
            let sigmas: Vec<f64> = (0..=num_steps).map(|step| level(step as f64 / num_steps as f64)).collect();
            let initial = noise(0) * sigmas[0];
            let mut denoise = gaussian_denoiser(path);
            let mut no_noise = |_step: usize| unreachable!("deterministic samplers draw no noise");
            let found = sampler.sample(path, &mut denoise, initial.clone(), &sigmas, &mut no_noise, &mut |_step| {});
            f64::from(largest(found - gaussian_solution(path, initial, sigmas[0], sigmas[num_steps])))
        };
        for sampler in [Sampler::Ddim, Sampler::Euler, Sampler::Heun, Sampler::Dpmpp2m] {
            let order = (error(sampler, 16) / error(sampler, 32)).log2();
            let expected = if matches!(sampler, Sampler::Ddim | Sampler::Euler) { 0.8..1.2 } else { 1.7..2.8 };
            assert!(expected.contains(&order), "{sampler} {path:?}: order {order}");
        }
        // At the same number of calls.
        let [heun, dpmpp_2m, euler] = [(Sampler::Heun, 32), (Sampler::Dpmpp2m, 64), (Sampler::Euler, 64)]
            .map(|(sampler, steps)| error(sampler, steps));
        assert!(heun < 0.5 * euler && dpmpp_2m < 0.5 * euler, "{path:?}: {heun} {dpmpp_2m} {euler}");
    }
}

/// Clean latents carried up these levels and sampled down again: the largest error, and the largest distance of the noisy
/// latents between from the exact solution.
fn there_and_back(path: Path, up: &[f64]) -> [f64; 2] {
    let clean = noise(0) * DEVIATION + MEAN;
    let down: Vec<f64> = up.iter().rev().copied().collect();
    let mut denoise = gaussian_denoiser(path);
    let noisy = ddim_inversion(&mut denoise, clean.clone(), up);
    let exact = gaussian_solution(path, clean.clone(), 0.0, down[0]);
    let back = ddim(&mut denoise, noisy.clone(), &down, &mut |_step| {});
    [largest(back - clean), largest(noisy - exact)].map(f64::from)
}

#[test]
fn what_is_inverted_is_sampled_back() {
    for (path, end) in [(Path::Additive, 2.0), (Path::Straight, 0.7)] {
        let levels = |num_steps: usize| -> Vec<f64> {
            (0..=num_steps).map(|step| end * step as f64 / num_steps as f64).collect()
        };
        let [coarse, fine] = [64, 128].map(|num_steps| there_and_back(path, &levels(num_steps)));
        for (what, coarse, fine) in [("back", coarse[0], fine[0]), ("up", coarse[1], fine[1])] {
            // First order: half the step, half the error.
            let order = (coarse / fine).log2();
            assert!((0.9..1.1).contains(&order) && fine < 0.05, "{path:?}, {what}: order {order}, error {fine}");
        }
        // A single level leads nowhere.
        assert_eq!(there_and_back(path, &[0.0]), [0.0, 0.0]);
    }
    for schedule in all_schedules() {
        let level = |step: usize| if step == 0 { 0.0 } else { schedule.sigma_at(6.0 * step as f64) };
        let [back, _] = there_and_back(schedule.path(), &(0..=100).map(level).collect::<Vec<_>>());
        assert!(back < 0.06, "{:?}: error {back} of images with a deviation of {DEVIATION}", schedule.path());
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    for schedule in all_schedules() {
        for sampler in Sampler::ALL {
            let (batch, ..) = sample(sampler, &schedule, 6, &[5, 9, 2]);
            let (alone, ..) = sample(sampler, &schedule, 6, &[9]);
            batch.narrow(0, 1, 1).into_data().assert_eq(&alone.into_data(), true);
        }
    }
}
