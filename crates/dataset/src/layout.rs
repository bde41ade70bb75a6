//! Where the files of a dataset lie and what it was begun with: what readers and writers both know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::ManifestReader;
use crate::shards::DEFAULT_SHARD_SIZE;

pub(crate) const PARTIAL: &str = "partial";
pub(crate) const SETTINGS: &str = "settings.toml";

/// In `partial`: how many images the dataset had when it was reopened, in digits.
pub(crate) const KEPT: &str = "kept";

/// What a dataset is begun with; a resumed one must have the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSettings {
    /// Height and width of every image, in pixels.
    pub image_size: usize,
    /// Images per shard.
    pub shard_size: usize,
    /// The seed that splits are drawn with.
    pub seed: u64,
    /// The fingerprint of the salt of the patient hashes, if there is one.
    pub salt_fingerprint: Option<String>,
    /// Whatever else makes the images what they are, for the record and for the fingerprint.
    pub preparation: toml::Table,
}

impl DatasetSettings {
    /// Settings for images of a size, with shards of [`DEFAULT_SHARD_SIZE`], seed 0, no salt and an empty record.
    pub fn new(image_size: usize) -> Self {
        Self {
            image_size,
            shard_size: DEFAULT_SHARD_SIZE,
            seed: 0,
            salt_fingerprint: None,
            preparation: toml::Table::new(),
        }
    }

    /// The first setting, by dotted name, in which `other` differs, with the value here and the value there.
    pub fn first_difference(&self, other: &Self) -> Option<(String, String, String)> {
        // What cannot be written as TOML cannot have come from a dataset.
        let table = |settings: &Self| toml::Table::try_from(settings).unwrap_or_default();
        first_difference(&table(self), &table(other))
    }
}

/// The number of images of an unfinished dataset, `None` where none was begun.
pub(crate) fn partial_len(dir: &Path) -> Option<usize> {
    dir.join(PARTIAL).join(SETTINGS).is_file().then(|| {
        (0..)
            .map(|shard| rows_path(dir, shard))
            .take_while(|path| path.is_file())
            .filter_map(|path| ManifestReader::open(path).ok())
            .map(|reader| reader.num_rows())
            .sum()
    })
}

pub(crate) fn rows_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(PARTIAL).join(format!("rows-{shard:05}.parquet"))
}

/// The first setting, by dotted name, that two tables do not share, with both values.
pub(crate) fn first_difference(was: &toml::Table, now: &toml::Table) -> Option<(String, String, String)> {
    let show = |value: Option<&toml::Value>| value.map_or("nothing".into(), ToString::to_string);
    let keys: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    keys.into_iter().find_map(|key| match (was.get(key), now.get(key)) {
        (Some(toml::Value::Table(was)), Some(toml::Value::Table(now))) => {
            first_difference(was, now).map(|(inner, was, now)| (format!("{key}.{inner}"), was, now))
        }
        (was, now) if was == now => None,
        (was, now) => Some((key.clone(), show(was), show(now))),
    })
}

pub(crate) fn to_toml(value: &impl Serialize, path: &Path) -> Result<String> {
    toml::to_string(value).map_err(|error| unwritable(path, &error.to_string()))
}

pub(crate) fn unwritable(path: &Path, detail: &str) -> Error {
    Error::io("write the settings", path)(std::io::Error::other(detail.to_owned()))
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove the file", path)(error)),
        _ => Ok(()),
    }
}
