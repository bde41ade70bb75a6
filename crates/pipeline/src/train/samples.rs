//! Sample grids during training: fixed validation images above, their reconstructions by the averaged weights below.

use crate::{
    encode::Frozen,
    model::{self, Denoiser, ModelInfo},
    recipe::Recipe,
    tensors::{bytes_from_pictures, from_host, pictures_from_images},
};
use anyhow::Result;
use burn::tensor::Device;
use dataset::{Dataset, Split};
use nets::autoencoder::Autoencoder;
use radiograph::{Border, Grid, RgbImage};
use std::path::PathBuf;

/// Variants drawn for each image.
const NUM_VARIANTS: usize = 2;

/// Standardised conditions of some images.
///
/// # Errors
/// Embeddings that cannot be read.
pub fn conditions(frozen: &Frozen, info: &ModelInfo, rows: &[usize]) -> Result<Vec<f32>> {
    let mut conditions = frozen.embeddings.gather(rows, info.condition_shape[0])?;
    info.embeddings.apply(&mut conditions);
    Ok(conditions)
}

/// The images to reconstruct, chosen once.
pub struct SampleGrid {
    autoencoder_dir: PathBuf,
    image_size: usize,
    pictures: Vec<Vec<u8>>,
    /// Standardised.
    conditions: Vec<f32>,
    seed: u64,
}

impl SampleGrid {
    /// Takes the first images of a fixed shuffle of the validation split, or of the training split where there is none.
    ///
    /// # Errors
    /// Images or encodings that cannot be read.
    pub fn new(dataset: &Dataset, frozen: &Frozen, info: &ModelInfo, recipe: &Recipe) -> Result<Self> {
        let mut rows = dataset.indices(Split::Val)?;
        if rows.is_empty() {
            rows = dataset.indices(Split::Train)?;
        }
        let chosen = random::choice(recipe.seed, u64::MAX, &rows, recipe.training.num_sample_images);
        let pictures = chosen.iter().map(|row| Ok(dataset.images(&[*row])?)).collect::<Result<Vec<_>>>()?;
        let conditions = conditions(frozen, info, &chosen)?;
        Ok(Self {
            autoencoder_dir: frozen.autoencoder.clone(),
            image_size: info.image_size,
            pictures,
            conditions,
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
            let condition = from_host(self.conditions.clone(), [batch, tokens, dim], device);
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
