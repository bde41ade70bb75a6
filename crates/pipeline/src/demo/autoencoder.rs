//! A tiny autoencoder trained on the phantoms themselves: mean squared error of the pixels, AdamW, a moving average.

use std::path::Path;

use anyhow::Result;
use burn::tensor::{Device, Tensor};
use dataset::{Dataset, Split};
use diffusion::ema::Ema;
use diffusion::random::{self, Purpose};
use kernels::AdamWStep;
use nets::autoencoder::{Autoencoder, AutoencoderTinyConfig};
use nets::init::{Initialisation, randomise};

use super::DemoConfig;
use crate::progress::Progress;
use crate::tensors::{images_from_bytes, to_host};
use crate::train::optimiser::{GradientSet, Optimiser};

/// Of the latents, as `AutoencoderTinyConfig::demo` makes them.
pub(super) const LATENT_CHANNELS: usize = 4;

const BATCH_SIZE: usize = 16;
const LEARNING_RATE: f64 = 2e-3;
/// Images over which the learning rate rises; after that it falls along a half cosine to nothing.
const WARMUP_IMAGES: f64 = 320.0;
/// Standard deviation of the noise on the latents: it teaches the decoder to forgive what the generative model gets
/// slightly wrong, and spreads the latents out against it.
const LATENT_NOISE: f64 = 0.1;
/// Weight of the latents' mean square in the loss: keeps them near the size that diffusion expects.
const LATENT_WEIGHT: f64 = 1e-3;

/// Trains and writes the autoencoder, unless it is there.
pub(super) fn make(
    config: &DemoConfig,
    phantoms: &Path,
    folder: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<()> {
    if folder.join("config.json").is_file() {
        return Ok(());
    }
    let dataset = Dataset::open(phantoms)?;
    let rows = dataset.indices(Split::Train)?;
    let autodiff = device.clone().autodiff();
    let fresh = AutoencoderTinyConfig::demo().init(&autodiff)?;
    let mut autoencoder = randomise(fresh, Initialisation::FanInUniform, config.seed);
    let mut optimiser = Optimiser::new(&autoencoder);
    // Short enough for a run of a minute: the average covers its last tenth.
    let ema = Ema { half_life_images: config.autoencoder_images as f64 / 20.0, ramp_up_ratio: 0.1 };

    progress.begin("training the autoencoder", config.autoencoder_images, "images");
    let mut order = Vec::new();
    for first in (0..config.autoencoder_images).step_by(BATCH_SIZE) {
        let numbers: Vec<u64> = (first..first + BATCH_SIZE as u64).collect();
        let batch: Vec<usize> = numbers
            .iter()
            .map(|number| {
                let (epoch, place) = (number / rows.len() as u64, (number % rows.len() as u64) as usize);
                if place == 0 || order.is_empty() {
                    order = random::permutation(config.seed, epoch, rows.len());
                }
                rows[order[place]]
            })
            .collect();
        let images = images_from_bytes(&dataset.images(&batch)?, dataset.image_size(), &autodiff);
        let loss = Loss::of(&autoencoder, images, config.seed, &numbers);
        let mut gradients = GradientSet::default();
        gradients.accumulate(&autoencoder, loss.total.backward());
        let settings = step_settings(config, first, &ema);
        autoencoder = optimiser.step(autoencoder, gradients, settings);
        let note = if (first / BATCH_SIZE as u64).is_multiple_of(8) {
            format!("pixel error {:.4}", loss.pixels.into_scalar::<f32>().sqrt() / 2.0)
        } else {
            String::new()
        };
        progress.advance((config.autoencoder_images - first).min(BATCH_SIZE as u64), &note);
    }
    progress.end();

    // Written beside its place and moved there, so that a folder with this name is a finished network.
    let target = dataset::AtomicFolder::create(folder)?;
    optimiser.averaged(&autoencoder).save(target.path())?;
    target.commit()?;
    progress.say(&format!("the autoencoder's pixel error on unseen phantoms is {:.3} of full brightness", {
        error_on(&Autoencoder::load(folder, device)?, &dataset, device)?
    }));
    Ok(())
}

struct Loss {
    /// Mean square of the difference of images in -1..=1, without autodiff.
    pixels: Tensor<1>,
    total: Tensor<1>,
}

impl Loss {
    /// # Shapes
    /// - images: `[batch, height, width, 1]` in -1..=1
    fn of(autoencoder: &Autoencoder, images: Tensor<4>, seed: u64, numbers: &[u64]) -> Self {
        let latents = autoencoder.encode(images.clone()).mean;
        let [_, height, width, channels] = latents.dims();
        let shape = [height, width, channels];
        let noise = random::normal_batch(seed, numbers, Purpose::Augmentation, shape, &latents.device());
        let decoded = autoencoder.decode_unclamped(latents.clone() + noise * LATENT_NOISE);
        let pixels = (decoded - images).square().mean();
        let total = pixels.clone() + latents.square().mean() * LATENT_WEIGHT;
        Self { pixels: pixels.inner(), total }
    }
}

fn step_settings(config: &DemoConfig, images_seen: u64, ema: &Ema) -> AdamWStep {
    let images_seen = images_seen + BATCH_SIZE as u64;
    let warmup = (images_seen as f64 / WARMUP_IMAGES).min(1.0);
    let share = (images_seen as f64 / config.autoencoder_images as f64).min(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
    AdamWStep {
        learning_rate: LEARNING_RATE * warmup * cosine,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 0,
        ema_decay: ema.decay(images_seen, BATCH_SIZE),
        gradient_scale: 1.0,
    }
}

/// Root mean square error on validation images, in units of the full range of brightness.
fn error_on(autoencoder: &Autoencoder, dataset: &Dataset, device: &Device) -> Result<f64> {
    let rows: Vec<usize> = dataset.indices(Split::Val)?.into_iter().take(64).collect();
    let images = images_from_bytes(&dataset.images(&rows)?, dataset.image_size(), device);
    let decoded = autoencoder.decode(autoencoder.encode(images.clone()).mean);
    let squares = to_host(((decoded - images) * 0.5).square())?;
    Ok((squares.iter().map(|value| f64::from(*value)).sum::<f64>() / squares.len().max(1) as f64).sqrt())
}
