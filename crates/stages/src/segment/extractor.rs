//! What is known about an image before it is cut: where the model's pixels look, what they are to the model, and what
//! the encoder's patches are.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use dataset::Dataset;
use diffusion::samplers::ddim_inversion;
use diffusion::{Preconditioning, Schedule};
use nets::autoencoder::Autoencoder;
use nets::backbone::Observation;
use nets::encoder::Encoder;
use random::Purpose;
use segmentation::{Aggregator, FeatureKinds, FeatureMap, Grid, ModelFeatures, PassCondition, PassSettings};

use crate::encode;
use crate::encoded::Condition;
use crate::model::Model;
use training::tensors::{from_host, images_from_bytes, to_host};

/// Refuses what a model cannot be shown.
///
/// # Errors
/// No timestep, or one that the model does not have; noise of two kinds.
pub fn check_pass(settings: &PassSettings, preconditioning: &Preconditioning) -> Result<()> {
    ensure!(!settings.timesteps.is_empty(), "there is no timestep to show images at; give for example 200");
    ensure!(
        settings.noise_draws == 0 || settings.inversion_steps == 0,
        "noise is either drawn or found by inversion; set `pass.noise_draws` or `pass.inversion_steps` to 0"
    );
    let last = preconditioning.schedule().num_timesteps() - 1;
    for timestep in &settings.timesteps {
        ensure!(
            (0.0..=last as f64).contains(timestep),
            "the timestep {timestep} is not one of the model's; give one of 0 to {last}"
        );
    }
    Ok(())
}

/// A model with what it takes to ask it.
pub struct FeatureExtractor<'a> {
    model: &'a Model,
    autoencoder: Autoencoder,
    encoder: Option<Encoder>,
    preconditioning: Preconditioning,
    settings: PassSettings,
    wanted: FeatureKinds,
    seed: u64,
}

impl<'a> FeatureExtractor<'a> {
    /// # Errors
    /// Settings out of range, networks that cannot be read.
    pub fn new(
        model: &'a Model,
        settings: &PassSettings,
        wanted: FeatureKinds,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let preconditioning = model.info.preconditioning()?;
        check_pass(settings, &preconditioning)?;
        let needs_encoder = wanted.patches || settings.condition == PassCondition::Own;
        let encoder = needs_encoder.then(|| Encoder::load(&model.folder.join("encoder"), device)).transpose()?;
        let autoencoder = model.autoencoder(device)?;
        Ok(Self { model, autoencoder, encoder, preconditioning, settings: settings.clone(), wanted, seed })
    }

    /// The evidence about some pictures.
    ///
    /// # Shapes
    /// - pictures: `batch * size * size` bytes
    /// - indices: `batch` numbers that key the noise, one for each image
    ///
    /// # Errors
    /// An image size that the networks do not divide, a device that failed.
    fn read(&self, pictures: &[u8], size: usize, indices: &[u64], device: &Device) -> Result<Vec<ModelFeatures>> {
        let mut all = vec![ModelFeatures::default(); indices.len()];
        if self.wanted.attention || self.wanted.features {
            self.pass(pictures, size, indices, &mut all, device)?;
        }
        if let (true, Some(encoder)) = (self.wanted.patches, &self.encoder) {
            let images = encoder.preprocessing().apply(pictures, size, size, device)?;
            let [_, height, width, _] = images.dims();
            let patch = encoder.config().patch_size();
            let grid = Grid::new(height / patch, width / patch)?;
            let tokens = encoder.forward(images).patch_tokens();
            let [_batch, count, dim] = tokens.dims();
            for (evidence, values) in all.iter_mut().zip(to_host(tokens)?.chunks_exact(count * dim)) {
                evidence.patches = Some(FeatureMap { values: values.to_vec(), dim, grid });
            }
        }
        Ok(all)
    }

    /// Some images of a dataset and the evidence about them; their numbers key the noise.
    ///
    /// # Errors
    /// Damaged images, an image size that the networks do not divide, a device that failed.
    pub fn read_rows(
        &self,
        dataset: &Dataset,
        rows: &[usize],
        device: &Device,
    ) -> Result<(Vec<u8>, Vec<ModelFeatures>)> {
        let pictures = dataset.images(rows)?;
        let keys: Vec<u64> = rows.iter().map(|row| *row as u64).collect();
        let evidence = self.read(&pictures, dataset.image_size(), &keys, device)?;
        Ok((pictures, evidence))
    }

    fn pass(
        &self,
        pictures: &[u8],
        size: usize,
        indices: &[u64],
        all: &mut [ModelFeatures],
        device: &Device,
    ) -> Result<()> {
        encode::check_divisible(size, self.autoencoder.downsampling_factor())?;
        let latents = self.autoencoder.encode(images_from_bytes(pictures, size, device)).mean;
        let shape @ [batch, height, width, channels] = latents.dims();
        let clean = self.model.info.latent_scale.latents(to_host(latents)?, shape, device).into_tensor();
        let condition = self.condition(pictures, size, batch, device)?.into_tensor();
        let schedule = self.preconditioning.schedule();
        let mut sums = Sums { wanted: self.wanted, ..Sums::default() };
        for &timestep in &self.settings.timesteps {
            let timesteps = from_host(vec![timestep as f32; batch], [batch], device);
            for draw in 0..self.settings.noise_draws.max(1) {
                let sigma = schedule.sigma_at(timestep);
                let scale = self.preconditioning.coefficients(sigma).input_scale;
                let input = if self.settings.noise_draws > 0 {
                    let (purpose, shape) = (Purpose::StepNoise(draw as u16), [height, width, channels]);
                    let noise = diffusion::normal_batch(self.seed, indices, purpose, shape, device);
                    schedule.path().noisy(clean.clone(), noise, sigma).mul_scalar(scale)
                } else if self.settings.inversion_steps > 0 {
                    self.inverted(clean.clone(), timestep).mul_scalar(scale)
                } else {
                    clean.clone()
                };
                sums.add_pass(self.model, input, timesteps.clone(), condition.clone())?;
            }
        }
        sums.give(all, Grid::new(height, width)?)
    }

    /// The latents carried up to a timestep, in steps of equal numbers of timesteps.
    ///
    /// # Shapes
    /// - clean, result: `[batch, height, width, channels]`
    fn inverted(&self, clean: Tensor<4>, timestep: f64) -> Tensor<4> {
        let [batch, _height, _width, _channels] = clean.dims();
        let sigmas = inversion_levels(self.preconditioning.schedule(), timestep, self.settings.inversion_steps);
        let nothing = self.model.denoiser.null_conditions(batch).into_tensor();
        let mut denoise = |noisy: Tensor<4>, sigma: f64| {
            self.preconditioning.denoise(noisy, sigma, |input, timesteps| {
                self.model.denoiser.backbone.forward(input, timesteps, nothing.clone())
            })
        };
        ddim_inversion(&mut denoise, clean, &sigmas)
    }

    /// `[batch, tokens, dim]`
    fn condition(&self, pictures: &[u8], size: usize, batch: usize, device: &Device) -> Result<Condition> {
        let (PassCondition::Own, Some(encoder)) = (self.settings.condition, &self.encoder) else {
            return Ok(self.model.denoiser.null_conditions(batch));
        };
        let [tokens, dim] = self.model.info.condition_shape;
        let images = encoder.preprocessing().apply(pictures, size, size, device)?;
        let values = to_host(encoder.forward(images).global_tokens(true).narrow(1, 0, tokens))?;
        Ok(self.model.info.embedding_scale.condition(values, [batch, tokens, dim], device))
    }
}

/// Ascending noise levels from 0 to that of a timestep; of equal ones the first, which at timestep 0 may leave 0 alone.
fn inversion_levels(schedule: &Schedule, timestep: f64, num_steps: usize) -> Vec<f64> {
    let level = |step: usize| schedule.sigma_at(timestep * step as f64 / num_steps as f64);
    let mut sigmas: Vec<f64> = std::iter::once(0.0).chain((1..=num_steps).map(level)).collect();
    sigmas.dedup();
    sigmas
}

/// Sums over passes and blocks: one set of maps for each resolution, however many blocks it has.
#[derive(Default)]
struct Sums {
    wanted: FeatureKinds,
    passes: usize,
    /// `[batch, tokens, tokens]` each
    attention: Vec<(Grid, Vec<f32>)>,
    /// Grid, dim, `[batch, tokens, dim]`
    features: Option<(Grid, usize, Vec<f32>)>,
}

impl Sums {
    fn add_pass(&mut self, model: &Model, input: Tensor<4>, timesteps: Tensor<1>, condition: Tensor<3>) -> Result<()> {
        let mut outcome = Ok(());
        model.denoiser.backbone.forward_observed(input, timesteps, condition, &mut |observation| {
            if outcome.is_ok() {
                outcome = self.add(observation);
            }
        });
        self.passes += 1;
        outcome
    }

    fn add(&mut self, observation: Observation) -> Result<()> {
        let plus = |sum: &mut Vec<f32>, values: Vec<f32>| sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
        match observation {
            Observation::Attention(map) if self.wanted.attention => {
                let grid = Grid::new(map.height, map.width)?;
                let values = to_host(map.maps)?;
                match self.attention.iter_mut().find(|(known, _)| *known == grid) {
                    Some((_, sum)) => plus(sum, values),
                    None => self.attention.push((grid, values)),
                }
            }
            Observation::Features(features) if self.wanted.features => {
                let [_batch, height, width, dim] = features.dims();
                let values = to_host(features)?;
                match &mut self.features {
                    Some((_, _, sum)) => plus(sum, values),
                    None => self.features = Some((Grid::new(height, width)?, dim, values)),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// # Errors
    /// A network without self-attention, maps that are not numbers.
    fn give(self, all: &mut [ModelFeatures], finest: Grid) -> Result<()> {
        if self.wanted.attention {
            ensure!(!self.attention.is_empty(), "the model's network has no self-attention; choose another method");
            for (image, evidence) in all.iter_mut().enumerate() {
                let mut aggregator = Aggregator::new(finest);
                for (grid, sum) in &self.attention {
                    let len = grid.tokens() * grid.tokens();
                    // Sums serve as means: each map is divided by its own sum when it is added.
                    aggregator.add(&sum[image * len..][..len], *grid)?;
                }
                evidence.attention = Some(aggregator.finish()?);
            }
        }
        if let Some((grid, dim, sum)) = self.features {
            let scale = 1.0 / self.passes.max(1) as f32;
            for (evidence, values) in all.iter_mut().zip(sum.chunks_exact(grid.tokens() * dim)) {
                let values = values.iter().map(|value| value * scale).collect();
                evidence.features = Some(FeatureMap { values, dim, grid });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffusion::ScheduleConfig;
    use diffusion::schedule::{RectifiedFlow, ScaledLinear};

    #[test]
    fn inversion_climbs_from_nothing_to_the_timestep() {
        let scaled_linear = ScheduleConfig::ScaledLinear(ScaledLinear::default()).resolve().unwrap();
        let flow = ScheduleConfig::RectifiedFlow(RectifiedFlow::default()).resolve().unwrap();
        for schedule in [&scaled_linear, &flow] {
            let levels = inversion_levels(schedule, 400.0, 10);
            assert_eq!((levels.len(), levels[0], levels[10]), (11, 0.0, schedule.sigma_at(400.0)));
            assert!(levels.windows(2).all(|pair| pair[0] < pair[1]), "{levels:?}");
        }
        assert_eq!(inversion_levels(&scaled_linear, 0.0, 10), [0.0, scaled_linear.sigma_at(0.0)]);
        assert_eq!(inversion_levels(&flow, 0.0, 10), [0.0]);
    }
}
