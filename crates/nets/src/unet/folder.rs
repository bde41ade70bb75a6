//! Model folders in diffusers' layout: `config.json` beside weights.

use super::{ConfigError, UNet, UNetConfig};
use crate::weights::{Checkpoint, DIFFUSERS_WEIGHTS, WeightsError, load_weights, weights_of};
use burn::tensor::Device;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const CONFIG_NAME: &str = "config.json";
const WEIGHTS_NAME: &str = DIFFUSERS_WEIGHTS[0];

/// Why a UNet folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UNetError {
    /// The settings cannot be used.
    #[error("{source}: {}", path.display())]
    Config {
        /// Which setting and why.
        source: ConfigError,
        /// The `config.json`.
        path: PathBuf,
    },
    /// The tensors do not fit the settings, or hold numbers of a type that is not read.
    #[error("{source}: {}", path.display())]
    Tensors {
        /// Which tensors and why.
        source: WeightsError,
        /// The folder.
        path: PathBuf,
    },
    /// The weights file cannot be read or written, or is damaged.
    #[error(transparent)]
    WeightsFile(WeightsError),
    /// There is no `config.json`, neither here nor in the subfolder `unet`.
    #[error("there is no UNet: `{CONFIG_NAME}` or `unet/{CONFIG_NAME}` is missing; give a folder saved by diffusers or by this program: {}", path.display())]
    NoConfig {
        /// The folder that was given.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("a file of the UNet cannot be read or written ({source}): {}", path.display())]
    Io {
        /// Why.
        source: io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The operating system refused to write a file.
    #[error(transparent)]
    File(#[from] files::Error),
}

impl UNetError {
    fn of_weights(source: WeightsError, folder: &Path) -> Self {
        match source {
            // These name their file already.
            WeightsError::Io { .. } | WeightsError::File(_) | WeightsError::Format { .. } => Self::WeightsFile(source),
            _ => Self::Tensors { source, path: folder.into() },
        }
    }
}

impl UNetConfig {
    /// Reads `config.json` in `folder` or in its subfolder `unet`, and says which of the two it was.
    ///
    /// # Errors
    /// [`UNetError::NoConfig`], [`UNetError::Io`] and [`UNetError::Config`].
    pub fn load(folder: &Path) -> Result<(Self, PathBuf), UNetError> {
        // A whole pipeline has a `model_index.json` and the UNet below; its own `config.json` may be of something else.
        let subfolder = folder.join("unet");
        let is_pipeline = folder.join("model_index.json").is_file() || !folder.join(CONFIG_NAME).is_file();
        let folder = if is_pipeline && subfolder.join(CONFIG_NAME).is_file() { &subfolder } else { folder };
        let path = folder.join(CONFIG_NAME);
        if !path.is_file() {
            return Err(UNetError::NoConfig { path: folder.into() });
        }
        let text = fs::read_to_string(&path).map_err(|source| UNetError::Io { source, path: path.clone() })?;
        let config = Self::from_json(&text).map_err(|source| UNetError::Config { source, path })?;
        Ok((config, folder.into()))
    }
}

impl UNet {
    /// Reads a folder that diffusers or [`UNet::save`] wrote, or the subfolder `unet` of one; f32, f16 and bf16 files,
    /// whole or in shards, as safetensors or PyTorch pickles.
    ///
    /// # Errors
    /// [`UNetError`], naming each tensor that is missing, unknown or of another shape than the settings ask for.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, UNetError> {
        let (config, folder) = UNetConfig::load(folder)?;
        let config_error = |source| UNetError::Config { source, path: folder.join(CONFIG_NAME) };
        let weights_error = |source| UNetError::of_weights(source, &folder);
        let unet = config.init(device).map_err(config_error)?;
        let checkpoint = Checkpoint::open_in(&folder, &DIFFUSERS_WEIGHTS).map_err(weights_error)?;
        load_weights(unet, &checkpoint).map_err(weights_error)
    }

    /// Writes a folder that diffusers loads with `UNet2DConditionModel.from_pretrained`. Existing files are replaced
    /// only once their successors are complete on disk.
    ///
    /// # Errors
    /// [`UNetError`].
    pub fn save(&self, folder: &Path) -> Result<(), UNetError> {
        self.save_as(folder, false)
    }

    /// [`UNet::save`] with weights in half precision (f16): half the size, and outputs that differ in the fourth digit.
    ///
    /// # Errors
    /// [`UNetError`].
    pub fn save_half(&self, folder: &Path) -> Result<(), UNetError> {
        self.save_as(folder, true)
    }

    fn save_as(&self, folder: &Path, half: bool) -> Result<(), UNetError> {
        fs::create_dir_all(folder).map_err(|source| UNetError::Io { source, path: folder.into() })?;
        let config_path = folder.join(CONFIG_NAME);
        let text = self.config.to_json().map_err(|source| UNetError::Config { source, path: config_path.clone() })?;
        let weights_error = |source| UNetError::of_weights(source, folder);
        weights_of(self).save(&folder.join(WEIGHTS_NAME), half, None).map_err(weights_error)?;
        // Last: a folder with a configuration is complete.
        Ok(files::write_file(&config_path, text.as_bytes())?)
    }
}
