//! Sample grids during training: fixed validation images above, their reconstructions by the averaged weights below.

use crate::encoded::EncodedDataset;
use crate::model::{self, Denoiser, ModelInfo};
use crate::recipe::Recipe;
use anyhow::Result;
use burn::tensor::Device;
use dataset::{Dataset, Split};
use nets::autoencoder::Autoencoder;
use radiograph::{Border, Grid, RgbImage};
use std::path::PathBuf;
use training::tensors::{bytes_from_pictures, pictures_from_images};

/// Variants drawn for each image.
const NUM_VARIANTS: usize = 2;

/// The images to reconstruct, chosen once.
pub struct SampleGrid {
    autoencoder_dir: PathBuf,
    image_size: usize,
    pictures: Vec<Vec<u8>>,
    /// The encoder's embeddings of them.
    embeddings: Vec<f32>,
    seed: u64,
}

impl SampleGrid {
    /// Takes the first images of a fixed shuffle of the validation split, or of the training split where there is none.
    ///
    /// # Errors
    /// Images or encodings that cannot be read.
    pub fn new(dataset: &Dataset, encoded: &EncodedDataset, info: &ModelInfo, recipe: &Recipe) -> Result<Self> {
        let mut rows = dataset.indices(Split::Val)?;
        if rows.is_empty() {
            rows = dataset.indices(Split::Train)?;
        }
        let chosen = random::choice(recipe.seed, u64::MAX, &rows, recipe.training.num_sample_images);
        let pictures = chosen.iter().map(|row| Ok(dataset.images(&[*row])?)).collect::<Result<Vec<_>>>()?;
        let embeddings = encoded.embeddings.gather(&chosen, info.condition_shape[0])?;
        Ok(Self {
            autoencoder_dir: encoded.autoencoder.clone(),
            image_size: info.image_size,
            pictures,
            embeddings,
            seed: recipe.seed,
        })
    }

    /// Draws the grid.
    ///
    /// # Errors
    /// A device that failed, an autoencoder whose files are gone.
    pub fn draw(&self, averaged: &Denoiser, info: &ModelInfo, device: &Device) -> Result<RgbImage> {
        let batch = self.pictures.len();
        let [tokens, dim] = info.condition_shape;
        // Loaded for the occasion: a big autoencoder should not take memory from training.
        let autoencoder = Autoencoder::load(&self.autoencoder_dir, device)?;
        let mut grid = Grid::new(self.image_size).columns(batch);
        grid.start_row("source");
        for picture in &self.pictures {
            grid.push_grey(picture, self.image_size, self.image_size, "", Border::Source)?;
        }
        for variant in 0..NUM_VARIANTS {
            let condition = info.embedding_scale.condition(self.embeddings.clone(), [batch, tokens, dim], device);
            let indices: Vec<u64> = (0..batch).map(|image| (image * NUM_VARIANTS + variant) as u64).collect();
            let latents = model::sample(averaged, info, &info.sampling, condition, &indices, self.seed)?;
            let pictures = bytes_from_pictures(&pictures_from_images(autoencoder.decode(latents))?);
            grid.start_row(format!("{}", variant + 1));
            for picture in pictures.chunks_exact(self.image_size * self.image_size) {
                grid.push_grey(picture, self.image_size, self.image_size, "", Border::None)?;
            }
        }
        Ok(grid.render())
    }
}
