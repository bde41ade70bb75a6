//! The settings that are tried: every method on a few passes, on the trained network and on one with random weights.

use super::SegmentationConfig;
use super::search::Candidate;
use segmentation::{Method, PassCondition, PassSettings, SegmenterSettings};

const NUM_PARTS: [usize; 3] = [32, 64, 128];
/// Beside the default.
const MORE_ROUNDS: usize = 32;
/// From what a small network with diffuse attention needs to what is published for Stable Diffusion.
const MERGE_DISTANCES: [f32; 10] = [0.001, 0.003, 0.005, 0.007, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0];
const NOISE_DRAWS: usize = 4;
/// A fifth of what is usual for editing (50): the latents are to be looked at and not to be sampled back.
const INVERSION_STEPS: usize = 10;
const CUT_COSTS: [f64; 4] = [0.3, 0.5, 0.7, 0.9];
const CUT_ALPHA: f32 = 10.0;
const WALKS: [usize; 2] = [1, 4];
const PATCH_SIMILARITIES: [f32; 3] = [0.2, 0.4, 0.6];
const OBJECTS: usize = 3;

/// All settings: of the trained model (0) and of the same network with random weights (1).
pub(super) fn candidates(config: &SegmentationConfig) -> Vec<Candidate> {
    let passes: Vec<PassSettings> = config
        .timesteps
        .iter()
        .map(|timestep| PassSettings { timesteps: vec![*timestep], ..PassSettings::default() })
        .collect();
    let settings = |method, pass: &PassSettings| SegmenterSettings { method, pass: pass.clone(), ..Default::default() };
    let parts = NUM_PARTS.map(|num_parts| Method::Parts { num_parts });
    let merges = MERGE_DISTANCES.map(|threshold| Method::Diffseg { threshold });
    let cuts = CUT_COSTS.map(|threshold| Method::NormalisedCut { alpha: CUT_ALPHA, threshold });
    let walks = WALKS.map(|steps| Method::RandomWalk { steps });
    let objects = PATCH_SIMILARITIES.map(|threshold| Method::TokenCut { threshold, objects: OBJECTS });
    let mut all = Vec::new();
    for pass in &passes {
        let of_model = parts.iter().chain(&merges).chain(&cuts).chain(&walks);
        all.extend(of_model.map(|method| (method.name().to_owned(), 0, settings(*method, pass))));
        // Rounds change the unsupervised choice of parts alone.
        all.extend(parts.iter().map(|method| {
            let more = SegmenterSettings { rounds: MORE_ROUNDS, ..settings(*method, pass) };
            (method.name().to_owned(), 0, more)
        }));
        let of_random = parts.iter().chain(&merges);
        all.extend(
            of_random.map(|method| (format!("{} on random weights", method.name()), 1, settings(*method, pass))),
        );
    }
    for pass in averaged(config) {
        let of_model = parts.iter().chain(&merges);
        all.extend(of_model.map(|method| (method.name().to_owned(), 0, settings(*method, &pass))));
    }
    if let Some(pass) = passes.first() {
        let controls = objects.into_iter().chain([Method::Otsu]);
        all.extend(controls.map(|method| (method.name().to_owned(), 0, settings(method, pass))));
    }
    all.into_iter().map(|(family, model, settings)| Candidate { family, model, settings }).collect()
}

/// Passes that average over timesteps, over draws of noise, that know the image's own embedding, and those to inverted
/// latents: options that are kept where they help.
fn averaged(config: &SegmentationConfig) -> Vec<PassSettings> {
    let middle = config.timesteps.get(config.timesteps.len() / 2).copied();
    let several = PassSettings { timesteps: config.timesteps.clone(), ..PassSettings::default() };
    let noisy = middle.map(|timestep| PassSettings {
        timesteps: vec![timestep],
        noise_draws: NOISE_DRAWS,
        ..PassSettings::default()
    });
    let own = middle.map(|timestep| PassSettings {
        timesteps: vec![timestep],
        condition: PassCondition::Own,
        ..PassSettings::default()
    });
    let inverted = config.timesteps.iter().map(|timestep| PassSettings {
        timesteps: vec![*timestep],
        inversion_steps: INVERSION_STEPS,
        ..PassSettings::default()
    });
    (config.timesteps.len() > 1).then_some(several).into_iter().chain(noisy).chain(own).chain(inverted).collect()
}
