//! Reference statistics: mean and covariance of real images' features in a file, for whoever may not have the images.
//!
//! They are enough for the Fréchet distance and for nothing else. A safetensors file holds `mean` `[dim]` and `covariance`
//! `[dim, dim]` in f64 and, in its header, the fingerprints of dataset and feature network, the preprocessing, the split
//! and the numbers of images; no names and no paths. What was made of other images, or seen by another network or in
//! another way, is refused.

use crate::features::FeatureNetwork;
use crate::outputs;
use anyhow::{Context, Result, bail, ensure};
use dataset::{TensorFile, TensorToWrite};
use metrics::Moments;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What `format` in the header says.
const FORMAT: &str = "dino-diffusion reference statistics";
/// What helps where a file is not what it should be, whoever made it so.
const MAKE_AGAIN: &str = "write them again with `evaluate fidelity --statistics`, or copy the file again from there";
/// Of the format.
const VERSION: u32 = 1;

/// What the statistics are of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    /// Of this format.
    pub version: u32,
    /// Fingerprint of the feature network.
    pub features: String,
    /// The way from a picture to the network's input.
    pub preprocessing: String,
    /// Fingerprint of the dataset.
    pub dataset: String,
    /// Which of its images.
    pub split: String,
    /// Their side in pixels.
    pub image_size: usize,
}

impl Origin {
    pub fn new(network: &FeatureNetwork, dataset: &dataset::Dataset, split: dataset::Split) -> Self {
        Self {
            version: VERSION,
            features: network.fingerprint().to_owned(),
            preprocessing: network.preprocessing().to_owned(),
            dataset: dataset.fingerprint().to_owned(),
            split: split.to_string(),
            image_size: dataset.image_size(),
        }
    }

    /// What is not the same in another one, in words.
    fn difference(&self, other: &Self) -> Option<String> {
        let fields = [
            ("feature network", &self.features, &other.features),
            ("preprocessing", &self.preprocessing, &other.preprocessing),
            ("dataset", &self.dataset, &other.dataset),
            ("split", &self.split, &other.split),
        ];
        let found = fields.into_iter().find(|(_, own, other)| own != other);
        found.map(|(name, own, other)| format!("the {name} is `{own}` there and `{other}` here"))
    }
}

/// The floor that came with the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Held-out real images that were compared with the reference.
    pub num_images: usize,
    /// Their Fréchet distance to it.
    pub frechet_distance: f64,
}

/// A file of reference statistics.
#[derive(Debug, Clone)]
pub(super) struct ReferenceStatistics {
    pub origin: Origin,
    pub floor: Floor,
    pub moments: Moments,
}

impl ReferenceStatistics {
    /// Whether a path is a file of this format.
    pub fn is_one(path: &Path) -> bool {
        path.is_file() && TensorFile::open(path).is_ok_and(|file| header(&file, "format") == Some(FORMAT))
    }

    /// # Errors
    /// A file that is damaged, of another format or of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let shown = path.display();
        ensure!(
            header(&file, "format") == Some(FORMAT),
            "the file holds no reference statistics; give one that `evaluate fidelity --statistics` wrote, or a name \
             that is free: {shown}"
        );
        let entry = |key: &str| {
            header(&file, key).with_context(|| format!("the statistics lack `{key}`; {MAKE_AGAIN}: {shown}"))
        };
        let damaged = || format!("the statistics are damaged; {MAKE_AGAIN}: {shown}");
        let origin: Origin = serde_json::from_str(entry("origin")?).with_context(damaged)?;
        ensure!(
            origin.version <= VERSION,
            "the statistics have version {}, this program reads up to {VERSION}; use a newer program: {shown}",
            origin.version
        );
        let floor: Floor = serde_json::from_str(entry("floor")?).with_context(damaged)?;
        let count: usize = entry("num_images")?.parse().with_context(damaged)?;
        let numbers = |name: &str| -> Result<Vec<f64>> {
            let dtype = file.tensor(name).map(|(dtype, _)| dtype);
            ensure!(dtype == Some(Dtype::F64), "the statistics have no `{name}` in f64; {MAKE_AGAIN}: {shown}");
            Ok(file.read(name)?.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
        };
        let moments = Moments::from_parts(count, numbers("mean")?, &numbers("covariance")?).with_context(damaged)?;
        Ok(Self { origin, floor, moments })
    }

    /// Those of a file, where it is there; a file that is of something else is an error, so that it is neither used nor
    /// overwritten.
    ///
    /// # Errors
    /// As [`read`](Self::read), and statistics of another origin.
    pub fn read_if_there(path: &Path, origin: &Origin) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let found = Self::read(path)?;
        if let Some(difference) = found.origin.difference(origin) {
            bail!(
                "the statistics are of something else: {difference}; give another name or delete the file: {}",
                path.display()
            );
        }
        Ok(Some(found))
    }

    /// # Errors
    /// A disk that is full, a folder that is missing.
    pub fn write(&self, path: &Path) -> Result<()> {
        let dim = self.moments.dim();
        let tensor = |shape: Vec<usize>, values: Vec<f64>| TensorToWrite {
            dtype: Dtype::F64,
            shape,
            bytes: values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>().into(),
        };
        let tensors = [
            ("mean", tensor(vec![dim], self.moments.mean()?)),
            ("covariance", tensor(vec![dim, dim], self.moments.covariance()?)),
        ];
        let (origin, floor) = (serde_json::to_string(&self.origin)?, serde_json::to_string(&self.floor)?);
        let count = self.moments.count().to_string();
        let metadata = [
            ("format", FORMAT),
            ("origin", origin.as_str()),
            ("floor", floor.as_str()),
            ("num_images", count.as_str()),
        ];
        outputs::make_folder(outputs::folder_of(path))?;
        dataset::write_tensors(path, &tensors, &metadata)?;
        Ok(())
    }

    /// Refuses another network than the one that made them.
    ///
    /// # Errors
    /// Another network or preprocessing.
    pub fn check_network(&self, network: &FeatureNetwork, path: &Path) -> Result<()> {
        let here = Origin {
            features: network.fingerprint().to_owned(),
            preprocessing: network.preprocessing().to_owned(),
            ..self.origin.clone()
        };
        match self.origin.difference(&here) {
            None => Ok(()),
            Some(difference) => bail!(
                "the statistics were made by another network: {difference}; give `--features` the very weights that \
                 made them: {}",
                path.display()
            ),
        }
    }
}

fn header<'a>(file: &'a TensorFile, key: &str) -> Option<&'a str> {
    file.metadata().find(|(name, _)| *name == key).map(|(_, value)| value)
}
