//! Model folders in diffusers' layout: `config.json` beside weights.

use super::{UNet, UNetConfig};
use crate::checkpoint::{Checkpoint, DIFFUSERS_WEIGHTS};
use crate::error::Error;
use crate::weights::{load_weights, weights_of};
use burn::tensor::Device;
use std::{
    fs,
    path::{Path, PathBuf},
};

const CONFIG_NAME: &str = "config.json";
const WEIGHTS_NAME: &str = DIFFUSERS_WEIGHTS[0];

impl UNetConfig {
    /// Reads `config.json` in `folder` or in its subfolder `unet`, and says which of the two it was.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], and settings that are not supported, with the file.
    pub fn load(folder: &Path) -> Result<(Self, PathBuf), Error> {
        // A whole pipeline has a `model_index.json` and the UNet below; its own `config.json` may be of something else.
        let subfolder = folder.join("unet");
        let is_pipeline = folder.join("model_index.json").is_file() || !folder.join(CONFIG_NAME).is_file();
        let folder = if is_pipeline && subfolder.join(CONFIG_NAME).is_file() { &subfolder } else { folder };
        let path = folder.join(CONFIG_NAME);
        if !path.is_file() {
            let reason = format!(
                "there is no UNet: `{CONFIG_NAME}` or `unet/{CONFIG_NAME}` is missing; give a folder saved by diffusers \
                 or by this program"
            );
            return Err(Error::NotFound { reason, path: folder.into() });
        }
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config = Self::from_json(&text).map_err(|error| error.at(&path))?;
        Ok((config, folder.into()))
    }
}

impl UNet {
    /// Reads a folder that diffusers or [`UNet::save`] wrote, or the subfolder `unet` of one; f32, f16 and bf16 files,
    /// whole or in shards, as safetensors or PyTorch pickles.
    ///
    /// # Errors
    /// [`Error`], naming each tensor that is missing, unknown or of another shape than the settings ask for.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let (config, folder) = UNetConfig::load(folder)?;
        let config_error = |error: Error| error.at(&folder.join(CONFIG_NAME));
        let weights_error = |error: Error| error.at(&folder);
        let unet = config.init(device).map_err(config_error)?;
        let checkpoint = Checkpoint::open_in(&folder, &DIFFUSERS_WEIGHTS).map_err(weights_error)?;
        load_weights(unet, &checkpoint).map_err(weights_error)
    }

    /// Writes a folder that diffusers loads with `UNet2DConditionModel.from_pretrained`. Existing files are replaced
    /// only once their successors are complete on disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, false)
    }

    /// [`UNet::save`] with weights in half precision (f16): half the size, and outputs that differ in the fourth digit.
    ///
    /// # Errors
    /// [`Error`].
    pub fn save_half(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, true)
    }

    fn save_as(&self, folder: &Path, half: bool) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let config_path = folder.join(CONFIG_NAME);
        let text = self.config.to_json().map_err(|error| error.at(&config_path))?;
        let weights_error = |error: Error| error.at(folder);
        weights_of(self).save(&folder.join(WEIGHTS_NAME), half, None).map_err(weights_error)?;
        // Last: a folder with a configuration is complete.
        Ok(files::write_file(&config_path, text.as_bytes())?)
    }
}
