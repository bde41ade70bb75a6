//! Reading and writing encoders: folders of transformers, and bare state dicts.

use super::{
    Architecture, Preprocessing, Vit, VitConfig,
    names::{belongs_to_encoder, infer_config, is_original, to_field_names, to_file_names},
};
use crate::error::Error;
use crate::{
    checkpoint::{Checkpoint, HostTensor},
    pickle::{is_pickle, open_pickle},
    weights::{load_weights, weights_of},
};
use burn::tensor::Device;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names under which weights lie in a folder, in order of preference.
const WEIGHT_FILES: &[&str] =
    &["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

impl Vit {
    /// Reads an encoder: a folder with `config.json`, weights and optionally `preprocessor_config.json`, or a bare state
    /// dict of the original DINO or DINOv2 code (`.safetensors`, `.pth`, `.pt`, `.bin`), whose configuration follows
    /// from its shapes. Weights may have the names of transformers or of the original code; heads, poolers and, in a
    /// checkpoint of a whole training, everything but the teacher are left aside.
    ///
    /// Preprocessing that is not stated is [`Preprocessing::of_size`] of `image_size`, at most 224.
    ///
    /// # Errors
    /// [`Error`]: unknown and unsupported fields and missing, unknown and mis-shaped tensors are named.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let weights_path = if path.is_dir() { find_weights(path)? } else { path.to_path_buf() };
        let folder = if path.is_dir() { Some(path) } else { None };
        let checkpoint = open_weights(&weights_path)?;
        let original = is_original(&checkpoint);
        let mut checkpoint = to_field_names(checkpoint)?;
        let config_path = folder.map(|folder| folder.join("config.json")).filter(|path| path.exists());
        let config = match config_path {
            Some(path) => read_json(&path)?,
            None if original => infer_config(&checkpoint).map_err(|error| error.at(&weights_path))?,
            None => {
                return Err(Error::Io {
                    source: std::io::Error::new(
                        std::io::ErrorKind::NotFound,
                        "weights with these names need a `config.json` in their folder, and the folder as argument",
                    ),
                    path: weights_path.with_file_name("config.json"),
                });
            }
        };
        settle_mask_token(&mut checkpoint, &config);
        settle_registers(&mut checkpoint);
        let preprocessing_path =
            folder.map(|folder| folder.join("preprocessor_config.json")).filter(|path| path.exists());
        let preprocessing = match preprocessing_path {
            Some(path) => read_json(&path)?,
            None => Preprocessing::of_size(config.image_size.min(224)),
        };
        Ok(load_weights(config.init(device), &checkpoint)?.with_preprocessing(preprocessing))
    }

    /// Writes `config.json`, `model.safetensors` (f32) and `preprocessor_config.json`, each atomically, so that
    /// transformers' `AutoModel` and `AutoImageProcessor` load the folder. A pooler, which takes no part in the output
    /// tokens, is not written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] and [`Error::Json`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, false)
    }

    /// [`Vit::save`] with weights in half precision (f16): half the size, and embeddings that differ in the fourth digit.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] and [`Error::Json`].
    pub fn save_half(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, true)
    }

    fn save_as(&self, folder: &Path, half: bool) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut weights = to_file_names(weights_of(self), self.config());
        if self.config().architecture == Architecture::Dinov2WithRegisters && self.config().num_register_tokens == 0 {
            let none = HostTensor { shape: vec![1, 0, self.config().hidden_size], values: Vec::new() };
            weights.insert(REGISTERS, none);
        }
        weights.save(&folder.join("model.safetensors"), half, None)?;
        write_json(&folder.join("preprocessor_config.json"), self.preprocessing())?;
        // Last: a folder with a configuration is complete.
        write_json(&folder.join("config.json"), self.config())
    }
}

fn open_weights(path: &Path) -> Result<Checkpoint, Error> {
    if is_pickle(path) { Ok(open_pickle(path, belongs_to_encoder)?) } else { Ok(Checkpoint::open(path)?) }
}

/// The weights in a folder: one of the usual names, else the only file that can be one.
fn find_weights(folder: &Path) -> Result<PathBuf, Error> {
    if let Some(usual) = WEIGHT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        return Ok(usual);
    }
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let known = ["safetensors", "pth", "pt", "bin"];
            path.is_file() && path.extension().is_some_and(|extension| known.iter().any(|known| extension == *known))
        })
        .collect();
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(no_weights(&WEIGHT_FILES.join(", "), folder)),
        (Some(_), Some(_)) => Err(no_weights("several files could be meant; name one", folder)),
    }
}

fn no_weights(looked_for: &str, folder: &Path) -> Error {
    let reason = format!(
        "there are no weights ({looked_for}); give a folder with `config.json` and `model.safetensors`, or a state dict"
    );
    Error::NotFound { reason, path: folder.into() }
}

/// The mask token has no influence on the output: where a file lacks it, it starts at zero as in transformers, and a
/// `ViTModel` that was trained with one drops it.
fn settle_mask_token(checkpoint: &mut Checkpoint, config: &VitConfig) {
    const KEY: &str = "embeddings.mask_token";
    if config.architecture == Architecture::Vit {
        checkpoint.remove(KEY);
    } else if config.use_mask_token && checkpoint.shape(KEY).is_none() {
        let zeros = HostTensor { shape: vec![1, config.hidden_size], values: vec![0.0; config.hidden_size] };
        checkpoint.insert(KEY, zeros);
    }
}

const REGISTERS: &str = "embeddings.register_tokens";

/// transformers keeps an empty tensor where a network has no register.
fn settle_registers(checkpoint: &mut Checkpoint) {
    if checkpoint.shape(REGISTERS).is_some_and(|shape| shape.contains(&0)) {
        checkpoint.remove(REGISTERS);
    }
}

/// Reads a configuration; errors name the file.
pub(super) fn read_json<T>(path: &Path) -> Result<T, Error>
where
    T: DeserializeOwned + TryFrom<Map<String, Value>, Error = Error>,
{
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let fields: Map<String, Value> = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
    T::try_from(fields).map_err(|error| error.at(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::json(path))?;
    text.push(b'\n');
    Ok(files::write_file(path, &text)?)
}

impl Preprocessing {
    /// Reads a `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`Error`] naming fields that are unknown or not supported, and the file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        read_json(path)
    }
}

impl VitConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error`] naming fields that are unknown or not supported, and the file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        read_json(path)
    }
}
