//! A tiny autoencoder trained on the phantoms themselves, as `pretrain autoencoder` does it.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;

use super::DemoConfig;
use messages::Progress;
use pretraining::autoencoder::{self, AutoencoderRecipe, PretrainAutoencoderConfig};

/// The recipe of that name, of the demonstration's length.
pub(super) fn recipe(config: &DemoConfig) -> Result<AutoencoderRecipe> {
    let mut recipe: AutoencoderRecipe = settings::resolve("autoencoder-demo-64", &[])?;
    recipe.seed = config.seed;
    recipe.image_size = config.recipe.data.image_size;
    recipe.training.total_images = config.autoencoder_images;
    // The average covers the last tenth.
    recipe.ema.half_life_images = config.autoencoder_images as f64 / 20.0;
    Ok(recipe)
}

/// Trains the autoencoder, unless it is there.
pub(super) fn make(
    config: &DemoConfig,
    phantoms: &Path,
    folder: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<()> {
    // Written last, so it stands for the whole.
    if folder.join("evaluation/autoencoder.json").is_file() {
        return Ok(());
    }
    let config = PretrainAutoencoderConfig {
        dataset: phantoms.to_path_buf(),
        recipe: recipe(config)?,
        out: folder.to_path_buf(),
        encoder: None,
        features: None,
        resume: folder.join("recipe.toml").is_file(),
        max_minutes: None,
    };
    let quality = autoencoder::run(&config, device, progress)?.evaluation.quality;
    progress.say(&format!(
        "unseen phantoms come back from the autoencoder with a signal-to-noise ratio of {:.1} dB",
        quality.peak_signal_to_noise
    ));
    Ok(())
}
