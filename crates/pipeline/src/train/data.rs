//! Batches for training: which image comes when, and what is drawn for it. All of it is a function of the recipe's seed
//! and the number of the image in the run.

use crate::{
    encode::Frozen,
    model::{ModelInfo, Standardisation},
    progress::Progress,
    recipe::{ConditionTokens, Recipe},
    tensors::from_host,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use dataset::{Dataset, EncodingsReader, Split};
use random::Purpose;

/// Training images on which means and standard deviations are measured: enough for four digits.
const NUM_MEASURED: usize = 20_000;

/// One part of an optimiser step.
pub struct Batch {
    /// Names of the images, for error messages.
    pub ids: Vec<String>,
    /// Standardised, `[batch, height, width, channels]`
    pub latents: Tensor<4>,
    /// Standardised, `[batch, tokens, dim]`
    pub condition: Tensor<3>,
    /// 1 where the condition is kept, 0 where it is dropped.
    pub keep: Vec<f32>,
    /// Standard normal, of the latents' shape.
    pub noise: Tensor<4>,
    /// In 0..1.
    pub times: Vec<f64>,
}

/// The training split of a dataset, encoded.
pub struct TrainingData {
    rows: Vec<usize>,
    ids: Vec<String>,
    frozen: EncodedImages,
    settings: Recipe,
    latent_shape: [usize; 3],
    condition_shape: [usize; 2],
    latent_scale: Standardisation,
    embedding_scale: Standardisation,
    /// The epoch whose order is at hand, and that order.
    order: Option<(u64, Vec<usize>)>,
}

/// Readers of its own, since the sample grid has others.
struct EncodedImages {
    latents: EncodingsReader,
    embeddings: EncodingsReader,
    stored_tokens: usize,
}

/// Refuses a dataset whose splits lack the images that the recipe wants.
///
/// # Errors
/// No training image; too few images to measure fidelity on the way.
pub fn check_splits(dataset: &Dataset, recipe: &Recipe) -> Result<()> {
    let (learnt, held_out) = (dataset.indices(Split::Train)?.len(), dataset.indices(Split::Val)?.len());
    ensure!(
        learnt > 0,
        "the dataset has no image in the split `train`; prepare it with another `--split`: {}",
        dataset.dir().display()
    );
    let training = &recipe.training;
    ensure!(
        training.fidelity_every_images == 0 || (held_out >= 2 && learnt >= 2 && training.num_fidelity_images >= 2),
        "fidelity during training needs two images at least: there are {held_out} validation images, {learnt} training \
         images, and `training.num_fidelity_images` is {}; set `training.fidelity_every_images=0` to do without",
        training.num_fidelity_images
    );
    Ok(())
}

/// The recipe with a network for these encodings, where it asks for that.
///
/// # Errors
/// Encodings that hold no latents.
pub fn fitted(recipe: &Recipe, frozen: &Frozen) -> Result<Recipe> {
    let mut recipe = recipe.clone();
    if recipe.data.fit_network {
        let [_, _, channels] = latent_shape(frozen)?;
        recipe.unet.in_channels = channels;
        recipe.unet.out_channels = channels;
        recipe.unet.cross_attention_dim = frozen.embeddings.shape()[1];
    }
    Ok(recipe)
}

/// `[height, width, channels]`
fn latent_shape(frozen: &Frozen) -> Result<[usize; 3]> {
    let shape = frozen.latents.row_shape("mean").and_then(|shape| shape.try_into().ok());
    shape.context("the encodings hold no latents; run `encode` again")
}

/// Refuses encodings that the recipe's network does not fit, before the run has a folder.
///
/// # Errors
/// Latents or embeddings of another width than the network's.
pub fn check_encodings(frozen: &Frozen, recipe: &Recipe) -> Result<()> {
    let [_, _, channels] = latent_shape(frozen)?;
    let unet = &recipe.unet;
    ensure!(
        channels == unet.in_channels && channels == unet.out_channels,
        "the autoencoder has {channels} latent channels, the recipe's network {} in and {} out; \
         set `unet.in_channels` and `unet.out_channels` to {channels}, or use another autoencoder",
        unet.in_channels,
        unet.out_channels
    );
    let [_, dim] = frozen.embeddings.shape();
    ensure!(
        dim == unet.cross_attention_dim,
        "the encoder's embeddings have {dim} dimensions, the recipe's network expects {}; \
         set `unet.cross_attention_dim` to {dim}, or use another encoder",
        unet.cross_attention_dim
    );
    Ok(())
}

impl TrainingData {
    /// Opens the encodings and measures their scale.
    ///
    /// # Errors
    /// Encodings that are not numbers, or cannot be read.
    pub fn open(dataset: &Dataset, frozen: &Frozen, recipe: &Recipe, progress: &dyn Progress) -> Result<Self> {
        let rows = dataset.indices(Split::Train)?;
        let ids = dataset.rows_at(&rows)?.into_iter().map(|row| row.id).collect();
        let latent_shape = latent_shape(frozen)?;
        let [height, width, channels] = latent_shape;
        let [stored_tokens, dim] = frozen.embeddings.shape();
        let num_tokens = match recipe.condition.tokens {
            ConditionTokens::Class => 1,
            ConditionTokens::ClassAndRegisters => stored_tokens,
        };
        let reopen = |reader: &EncodingsReader| dataset.encodings(&reader.info().name, &reader.info().fingerprint);
        let encoded = EncodedImages {
            latents: reopen(&frozen.latents)?,
            embeddings: reopen(frozen.embeddings.reader())?,
            stored_tokens,
        };
        let mut data = Self {
            rows,
            ids,
            frozen: encoded,
            settings: recipe.clone(),
            latent_shape: [height, width, channels],
            condition_shape: [num_tokens, dim],
            latent_scale: Standardisation::default(),
            embedding_scale: Standardisation::default(),
            order: None,
        };
        data.measure(progress)?;
        Ok(data)
    }

    fn measure(&mut self, progress: &dyn Progress) -> Result<()> {
        let order = random::permutation(self.settings.seed, u64::MAX, self.rows.len());
        let mut rows: Vec<usize> = order.into_iter().take(NUM_MEASURED).map(|position| self.rows[position]).collect();
        // In order, so that the disk reads forward.
        rows.sort_unstable();
        let mut latents = Moments::new(self.latent_shape[2]);
        let mut embeddings = Moments::new(self.condition_shape[1]);
        progress.begin("measuring encodings", rows.len() as u64, "images");
        for chunk in rows.chunks(256) {
            if self.settings.data.standardise_latents {
                let values = self.frozen.latents.gather("mean", chunk)?;
                self.check_finite("latents", &values, chunk)?;
                latents.add(&values);
            }
            if self.settings.condition.standardise {
                let values = self.embeddings(chunk)?;
                self.check_finite("embeddings", &values, chunk)?;
                embeddings.add(&values);
            }
            progress.advance(chunk.len() as u64, "");
        }
        progress.end();
        if self.settings.data.standardise_latents {
            self.latent_scale = latents.standardisation();
        }
        if self.settings.condition.standardise {
            self.embedding_scale = embeddings.standardisation();
        }
        Ok(())
    }

    /// One value that is no number would spoil the scale of all images, and with it every loss.
    fn check_finite(&self, what: &str, values: &[f32], rows: &[usize]) -> Result<()> {
        let broken: Vec<&str> = values
            .chunks_exact(values.len() / rows.len())
            .zip(rows)
            .filter(|(values, _)| !values.iter().all(|value| value.is_finite()))
            .filter_map(|(_, row)| Some(self.ids[self.rows.binary_search(row).ok()?].as_str()))
            .collect();
        ensure!(
            broken.is_empty(),
            "the {what} of {} are not numbers; look at these images, and remove the folder `encodings` of the dataset \
             and run `encode` again",
            broken.join(", ")
        );
        Ok(())
    }

    fn embeddings(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let [num_tokens, dim] = self.condition_shape;
        let values = self.frozen.embeddings.gather("embeddings", rows)?;
        let stored = self.frozen.stored_tokens * dim;
        Ok(values.chunks_exact(stored).flat_map(|row| row[..num_tokens * dim].iter().copied()).collect())
    }

    /// What a model trained on these data has to remember of them.
    ///
    /// # Errors
    /// Networks whose files are gone.
    pub fn model_info(&self, frozen: &Frozen, recipe: &Recipe) -> Result<ModelInfo> {
        Ok(ModelInfo {
            version: crate::model::MODEL_VERSION,
            image_size: recipe.data.image_size,
            latent_shape: self.latent_shape,
            condition_shape: self.condition_shape,
            condition_tokens: recipe.condition.tokens,
            prediction: recipe.diffusion.prediction,
            schedule: recipe.diffusion.schedule.clone(),
            sampling: recipe.sampling.clone(),
            latents: self.latent_scale.clone(),
            embeddings: self.embedding_scale.clone(),
            autoencoder: frozen.latents.info().fingerprint.clone(),
            encoder: frozen.embeddings.fingerprint().to_owned(),
            images_seen: 0,
        })
    }

    /// The images numbered `first..first + batch_size` in the run.
    ///
    /// # Errors
    /// A shard that cannot be read.
    pub fn batch(&mut self, first: u64, batch_size: usize, device: &Device) -> Result<Batch> {
        let numbers: Vec<u64> = (first..first + batch_size as u64).collect();
        let positions: Vec<usize> = numbers.iter().map(|number| self.position(*number)).collect();
        let rows: Vec<usize> = positions.iter().map(|position| self.rows[*position]).collect();
        let [height, width, channels] = self.latent_shape;
        let len = height * width * channels;
        let seed = self.settings.seed;
        let mut latents = self.frozen.latents.gather("mean", &rows)?;
        if self.settings.data.sample_latents && self.frozen.latents.row_shape("std").is_some() {
            let stds = self.frozen.latents.gather("std", &rows)?;
            for (index, number) in numbers.iter().enumerate() {
                let noise = random::normal(seed, *number, Purpose::LatentSample, len);
                let range = index * len..(index + 1) * len;
                for ((latent, std), noise) in latents[range.clone()].iter_mut().zip(&stds[range]).zip(noise) {
                    *latent += std * noise;
                }
            }
        }
        self.latent_scale.apply(&mut latents);
        let mut condition = self.embeddings(&rows)?;
        self.embedding_scale.apply(&mut condition);
        let [tokens, dim] = self.condition_shape;
        let dropout = self.settings.condition.dropout;
        let times = self.settings.diffusion.time_distribution;
        Ok(Batch {
            ids: positions.iter().map(|position| self.ids[*position].clone()).collect(),
            latents: from_host(latents, [batch_size, height, width, channels], device),
            condition: from_host(condition, [batch_size, tokens, dim], device),
            keep: numbers.iter().map(|n| f32::from(!random::drops_condition(seed, *n, dropout))).collect(),
            noise: diffusion::normal_batch(seed, &numbers, Purpose::TrainingNoise, self.latent_shape, device),
            times: numbers.iter().map(|number| times.draw(seed, *number)).collect(),
        })
    }

    /// Which training image has this number in the run: each once in every epoch, in a fresh order.
    fn position(&mut self, number: u64) -> usize {
        let len = self.rows.len() as u64;
        let (epoch, place) = (number / len, (number % len) as usize);
        match &self.order {
            Some((known, order)) if *known == epoch => order[place],
            _ => {
                let order = random::permutation(self.settings.seed, epoch, self.rows.len());
                let position = order[place];
                self.order = Some((epoch, order));
                position
            }
        }
    }
}

/// Sums for mean and standard deviation of each channel.
struct Moments {
    sums: Vec<f64>,
    squares: Vec<f64>,
    count: u64,
}

impl Moments {
    fn new(channels: usize) -> Self {
        Self { sums: vec![0.0; channels], squares: vec![0.0; channels], count: 0 }
    }

    fn add(&mut self, values: &[f32]) {
        for row in values.chunks_exact(self.sums.len()) {
            for ((value, sum), square) in row.iter().zip(&mut self.sums).zip(&mut self.squares) {
                *sum += f64::from(*value);
                *square += f64::from(*value).powi(2);
            }
            self.count += 1;
        }
    }

    fn standardisation(&self) -> Standardisation {
        let count = self.count.max(1) as f64;
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / count).collect();
        // A channel that never changes keeps its scale.
        let std = |(square, mean): (&f64, &f64)| {
            let deviation = (square / count - mean * mean).max(0.0).sqrt();
            if deviation > 1e-6 { deviation as f32 } else { 1.0 }
        };
        let std = self.squares.iter().zip(&mean).map(std).collect();
        Standardisation { mean: mean.into_iter().map(|mean| mean as f32).collect(), std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_standardise_each_channel_and_leave_constants() {
        let mut values: Vec<f32> = (0..100).flat_map(|n| [n as f32, 7.0]).collect();
        let mut moments = Moments::new(2);
        moments.add(&values);
        let scale = moments.standardisation();
        assert_eq!(scale.mean, [49.5, 7.0]);
        assert_eq!(scale.std[1], 1.0);
        scale.apply(&mut values);
        let first: Vec<f32> = values.iter().step_by(2).copied().collect();
        let square = first.iter().map(|value| value * value).sum::<f32>() / 100.0;
        assert!((square - 1.0).abs() < 1e-4, "variance is {square}");
    }
}
