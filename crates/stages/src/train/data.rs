//! Batches for training: which image comes when, and what is drawn for it. All of it is a function of the recipe's seed
//! and the number of the image in the run.

use crate::encoded::EncodedDataset;
use crate::encoded::{ChannelStats, Condition, Latents};
use crate::model::ModelInfo;
use crate::recipe::{ConditionTokens, Recipe};
use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use dataset::{Dataset, Split};
use messages::Progress;
use nets::backbone::Interface;
use random::Purpose;
use training::TrainingOrder;

/// Training images on which means and standard deviations are measured: enough for four digits.
const NUM_MEASURED: usize = 20_000;

/// One part of an optimiser step.
pub struct Batch {
    /// Names of the images, for error messages.
    pub ids: Vec<String>,
    /// Clean.
    pub latents: Latents,
    /// Before any is dropped.
    pub condition: Condition,
    /// 1 where the condition is kept, 0 where it is dropped.
    pub keep: Vec<f32>,
    /// Standard normal, of the latents' shape.
    pub noise: Tensor<4>,
    /// In 0..1.
    pub times: Vec<f64>,
}

/// The training split of a dataset, encoded.
pub struct TrainingData {
    order: TrainingOrder,
    ids: Vec<String>,
    encoded: EncodedDataset,
    settings: Recipe,
    latent_shape: [usize; 3],
    condition_shape: [usize; 2],
    latent_scale: ChannelStats,
    embedding_scale: ChannelStats,
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
pub fn fitted(recipe: &Recipe, encoded: &EncodedDataset) -> Result<Recipe> {
    let mut recipe = recipe.clone();
    if recipe.data.fit_network {
        let [_, _, channels] = encoded.latent_shape()?;
        let condition_dim = encoded.embeddings.shape()[1];
        recipe.network =
            recipe.network.with_interface(Interface { in_channels: channels, out_channels: channels, condition_dim });
    }
    Ok(recipe)
}

/// Refuses encodings that the recipe's network does not fit, before the run has a folder.
///
/// # Errors
/// Latents or embeddings of another width than the network's.
pub fn check_encodings(encoded: &EncodedDataset, recipe: &Recipe) -> Result<()> {
    let [_, _, channels] = encoded.latent_shape()?;
    let Interface { in_channels, out_channels, condition_dim } = recipe.network.interface();
    let [in_name, out_name, dim_name] = recipe.network.interface_names();
    ensure!(
        channels == in_channels && channels == out_channels,
        "the autoencoder has {channels} latent channels, the recipe's network {in_channels} in and {out_channels} out; \
         set `network.{in_name}` and `network.{out_name}` to {channels}, or use another autoencoder"
    );
    let [_, dim] = encoded.embeddings.shape();
    ensure!(
        dim == condition_dim,
        "the encoder's embeddings have {dim} dimensions, the recipe's network expects {condition_dim}; \
         set `network.{dim_name}` to {dim}, or use another encoder"
    );
    Ok(())
}

impl TrainingData {
    /// Opens the encodings and measures their scale.
    ///
    /// # Errors
    /// Encodings that are not numbers, or cannot be read.
    pub fn open(dataset: &Dataset, encoded: &EncodedDataset, recipe: &Recipe, progress: &dyn Progress) -> Result<Self> {
        let order = TrainingOrder::new(dataset, recipe.seed)?;
        let ids = dataset.rows_at(order.rows())?.into_iter().map(|row| row.id).collect();
        let [stored_tokens, dim] = encoded.embeddings.shape();
        let num_tokens = match recipe.condition.tokens {
            ConditionTokens::Class => 1,
            ConditionTokens::ClassAndRegisters => stored_tokens,
        };
        let mut data = Self {
            order,
            ids,
            latent_shape: encoded.latent_shape()?,
            // Readers of its own, since sample grids have others.
            encoded: encoded.reopened(dataset)?,
            settings: recipe.clone(),
            condition_shape: [num_tokens, dim],
            latent_scale: ChannelStats::default(),
            embedding_scale: ChannelStats::default(),
        };
        data.measure(progress)?;
        Ok(data)
    }

    fn measure(&mut self, progress: &dyn Progress) -> Result<()> {
        let all = self.order.rows();
        let shuffled = random::permutation(self.settings.seed, u64::MAX, all.len());
        let mut rows: Vec<usize> = shuffled.into_iter().take(NUM_MEASURED).map(|position| all[position]).collect();
        // In order, so that the disk reads forward.
        rows.sort_unstable();
        let mut latents = Moments::new(self.latent_shape[2]);
        let mut embeddings = Moments::new(self.condition_shape[1]);
        progress.begin("measuring encodings", rows.len() as u64, "images");
        for chunk in rows.chunks(256) {
            if self.settings.data.standardise_latents {
                let values = self.encoded.latents.gather("mean", chunk)?;
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
            self.latent_scale = latents.stats();
        }
        if self.settings.condition.standardise {
            self.embedding_scale = embeddings.stats();
        }
        Ok(())
    }

    /// One value that is no number would spoil the scale of all images, and with it every loss.
    fn check_finite(&self, what: &str, values: &[f32], rows: &[usize]) -> Result<()> {
        let broken: Vec<&str> = values
            .chunks_exact(values.len() / rows.len())
            .zip(rows)
            .filter(|(values, _)| !values.iter().all(|value| value.is_finite()))
            .filter_map(|(_, row)| Some(self.ids[self.order.rows().binary_search(row).ok()?].as_str()))
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
        self.encoded.embeddings.gather(rows, self.condition_shape[0])
    }

    /// What a model trained on these data has to remember of them.
    ///
    /// # Errors
    /// Networks whose files are gone.
    pub fn model_info(&self, encoded: &EncodedDataset, recipe: &Recipe) -> Result<ModelInfo> {
        Ok(ModelInfo {
            version: crate::model::MODEL_VERSION,
            image_size: recipe.data.image_size,
            latent_shape: self.latent_shape,
            condition_shape: self.condition_shape,
            condition_tokens: recipe.condition.tokens,
            prediction: recipe.diffusion.prediction,
            schedule: recipe.diffusion.schedule.clone(),
            sampling: recipe.sampling.clone(),
            latent_scale: self.latent_scale.clone(),
            embedding_scale: self.embedding_scale.clone(),
            autoencoder_fingerprint: encoded.latents.info().fingerprint.clone(),
            encoder_fingerprint: encoded.embeddings.fingerprint().to_owned(),
            images_seen: 0,
        })
    }

    /// The images numbered `first..first + batch_size` in the run.
    ///
    /// # Errors
    /// A shard that cannot be read.
    pub fn batch(&mut self, first: u64, batch_size: usize, device: &Device) -> Result<Batch> {
        let numbers: Vec<u64> = (first..first + batch_size as u64).collect();
        let positions: Vec<usize> = numbers.iter().map(|number| self.order.position(*number)).collect();
        let rows: Vec<usize> = positions.iter().map(|position| self.order.rows()[*position]).collect();
        let [height, width, channels] = self.latent_shape;
        let len = height * width * channels;
        let seed = self.settings.seed;
        let mut latents = self.encoded.latents.gather("mean", &rows)?;
        if self.settings.data.sample_latents && self.encoded.latents.row_shape("std").is_some() {
            let stds = self.encoded.latents.gather("std", &rows)?;
            for (index, number) in numbers.iter().enumerate() {
                let noise = random::normal(seed, *number, Purpose::LatentSample, len);
                let range = index * len..(index + 1) * len;
                for ((latent, std), noise) in latents[range.clone()].iter_mut().zip(&stds[range]).zip(noise) {
                    *latent += std * noise;
                }
            }
        }
        let condition = self.embeddings(&rows)?;
        let [tokens, dim] = self.condition_shape;
        let dropout = self.settings.condition.dropout;
        let times = self.settings.diffusion.time_distribution;
        Ok(Batch {
            ids: positions.iter().map(|position| self.ids[*position].clone()).collect(),
            latents: self.latent_scale.latents(latents, [batch_size, height, width, channels], device),
            condition: self.embedding_scale.condition(condition, [batch_size, tokens, dim], device),
            keep: numbers.iter().map(|n| f32::from(!random::drops_condition(seed, *n, dropout))).collect(),
            noise: diffusion::normal_batch(seed, &numbers, Purpose::TrainingNoise, self.latent_shape, device),
            times: numbers.iter().map(|number| times.draw(seed, *number)).collect(),
        })
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

    fn stats(&self) -> ChannelStats {
        let count = self.count.max(1) as f64;
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / count).collect();
        // A channel that never changes keeps its scale.
        let std = |(square, mean): (&f64, &f64)| {
            let deviation = (square / count - mean * mean).max(0.0).sqrt();
            if deviation > 1e-6 { deviation as f32 } else { 1.0 }
        };
        let std = self.squares.iter().zip(&mean).map(std).collect();
        ChannelStats { mean: mean.into_iter().map(|mean| mean as f32).collect(), std }
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
        let scale = moments.stats();
        assert_eq!(scale.mean, [49.5, 7.0]);
        assert_eq!(scale.std[1], 1.0);
        scale.normalize(&mut values);
        let first: Vec<f32> = values.iter().step_by(2).copied().collect();
        let square = first.iter().map(|value| value * value).sum::<f32>() / 100.0;
        assert!((square - 1.0).abs() < 1e-4, "variance is {square}");
    }
}
