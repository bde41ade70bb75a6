//! Files of an autoencoder's folder: `config.json`, the weights, and the latent statistics.

use super::statistics::LatentStatistics;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::DIFFUSERS_WEIGHTS as WEIGHTS;
use crate::error::Error;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

pub(super) const CONFIG: &str = "config.json";
const STATISTICS: &str = "latent_statistics.json";

/// Reads a JSON object.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&text).map_err(Error::json(path))
}

/// Reads a configuration; options that are absent or null keep their defaults, and unknown ones are refused.
pub(super) fn parse_config<C: Default + Serialize + DeserializeOwned>(
    object: Map<String, Value>,
    ignored: &[&str],
    path: &Path,
) -> Result<C, Error> {
    let json = |error: serde_json::Error| Error::Json { reason: error.to_string(), path: path.to_path_buf() };
    let known = serde_json::to_value(C::default()).map_err(json)?;
    let mut given = Map::new();
    for (name, value) in object {
        // Names with an underscore are diffusers' notes to itself: class, version, origin.
        if name.starts_with('_') || ignored.contains(&name.as_str()) || value.is_null() {
            continue;
        }
        if known.get(&name).is_none() {
            let unsupported = Error::option(&name, format_args!("{value}"), "an autoencoder without this option");
            return Err(unsupported.at(path));
        }
        given.insert(name, value);
    }
    serde_json::from_value(Value::Object(given)).map_err(json)
}

/// Opens the weights beside a `config.json`.
pub(super) fn open_weights(folder: &Path) -> Result<Checkpoint, Error> {
    Checkpoint::open_in(folder, &WEIGHTS).map_err(|error| error.at(folder))
}

/// Writes weights, then configuration, as diffusers does.
pub(super) fn save_diffusers<C: Serialize>(
    weights: &Checkpoint,
    config: &C,
    class: &str,
    half: bool,
    folder: &Path,
) -> Result<(), Error> {
    save_weights(weights, half, &folder.join(WEIGHTS[0]))?;
    let path = folder.join(CONFIG);
    let json = |error: serde_json::Error| Error::Json { reason: error.to_string(), path: path.clone() };
    let mut value = serde_json::to_value(config).map_err(json)?;
    if let Value::Object(object) = &mut value {
        object.insert("_class_name".into(), class.into());
    }
    write_json(&value, &path)
}

/// Writes a weights file, f32 or f16; what was there before stays until the new one is complete.
pub(super) fn save_weights(checkpoint: &Checkpoint, half: bool, path: &Path) -> Result<(), Error> {
    checkpoint.save(path, half, None)
}

/// The statistics in `folder`, where there are any.
pub(super) fn read_statistics(folder: &Path) -> Result<Option<LatentStatistics>, Error> {
    let path = folder.join(STATISTICS);
    if !path.is_file() {
        return Ok(None);
    }
    let object = read_object(&path)?;
    serde_json::from_value(Value::Object(object)).map(Some).map_err(Error::json(&path))
}

/// Writes statistics into `folder`.
pub(super) fn save_statistics(statistics: &LatentStatistics, folder: &Path) -> Result<(), Error> {
    let path = folder.join(STATISTICS);
    let value = serde_json::to_value(statistics).map_err(Error::json(&path))?;
    write_json(&value, &path)
}

/// Takes away statistics that an earlier autoencoder left in `folder`.
pub(super) fn remove_statistics(folder: &Path) -> Result<(), Error> {
    let path = folder.join(STATISTICS);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { source, path }),
        _ => Ok(()),
    }
}

fn write_json(value: &Value, path: &Path) -> Result<(), Error> {
    Ok(files::write_file(path, format!("{value:#}\n").as_bytes())?)
}
