//! Reference statistics: mean and covariance of real images' features in a file, for whoever may not have the images.
//!
//! They are enough for the Fréchet distance and for nothing else. A safetensors file holds `mean` `[dim]` and `covariance`
//! `[dim, dim]` in f64 and, in its header, the fingerprints of dataset and feature network, the preprocessing, the split
//! and the numbers of images; no names and no paths. What was made of other images, or seen by another network or in
//! another way, is refused.
//!
//! A name that ends in `.npz` is a file of pytorch-fid instead: a NumPy archive with `mu` `[dim]` and `sigma` `[dim, dim]`
//! in f64 and nothing else. It does not say what it is of, so only the length of the features can be checked, and it has
//! no floor.

use crate::features::FeatureNetwork;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use dataset::NumpyArray;
use files::outputs;
use files::{TensorFile, TensorToWrite};
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
    /// What they are of and the floor; absent in a file of pytorch-fid, which does not say.
    pub known: Option<(Origin, Floor)>,
    /// Of a number of images that a file of pytorch-fid does not say either: there the count means nothing.
    pub moments: Moments,
}

impl ReferenceStatistics {
    /// Whether a path is a file of statistics, of either format.
    pub fn is_one(path: &Path) -> bool {
        path.is_file() && (is_npz(path) || is_own(path))
    }

    /// # Errors
    /// A file that is damaged, of another format or of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        if is_npz(path) { read_npz(path) } else { Self::read_own(path) }
    }

    fn read_own(path: &Path) -> Result<Self> {
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
        Ok(Self { known: Some((origin, floor)), moments })
    }

    /// Those of a file, where it is there; a file that is of something else, or does not say of what, is an error, so that
    /// it is neither used nor overwritten.
    ///
    /// # Errors
    /// As [`read`](Self::read), and statistics of another or an unknown origin.
    pub fn read_if_there(path: &Path, origin: &Origin) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let found = Self::read(path)?;
        let shown = path.display();
        let Some((theirs, _)) = &found.known else {
            bail!(
                "the file is there already, and an .npz does not say of which images and network it is; give another \
                 name or delete the file: {shown}"
            );
        };
        if let Some(difference) = theirs.difference(origin) {
            bail!("the statistics are of something else: {difference}; give another name or delete the file: {shown}");
        }
        Ok(Some(found))
    }

    /// In the form that the name of the file asks for.
    ///
    /// # Errors
    /// A disk that is full, a folder that is missing; statistics of an unknown origin in the form that names it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let dim = self.moments.dim();
        let (mean, covariance) = (self.moments.mean()?, self.moments.covariance()?);
        if is_npz(path) {
            let mu = NumpyArray { shape: vec![dim], values: mean };
            let sigma = NumpyArray { shape: vec![dim, dim], values: covariance };
            return Ok(dataset::write_npz(path, &[("mu", &mu), ("sigma", &sigma)])?);
        }
        let (origin, floor) = self.known.as_ref().context("the statistics do not say what they are of")?;
        let tensor = |shape: Vec<usize>, values: Vec<f64>| TensorToWrite {
            dtype: Dtype::F64,
            shape,
            bytes: values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>().into(),
        };
        let tensors = [("mean", tensor(vec![dim], mean)), ("covariance", tensor(vec![dim, dim], covariance))];
        let (origin, floor) = (serde_json::to_string(origin)?, serde_json::to_string(floor)?);
        let count = self.moments.count().to_string();
        let metadata = [
            ("format", FORMAT),
            ("origin", origin.as_str()),
            ("floor", floor.as_str()),
            ("num_images", count.as_str()),
        ];
        outputs::make_folder(outputs::folder_of(path))?;
        files::write_tensors(path, &tensors, &metadata)?;
        Ok(())
    }

    /// Refuses another network than the one that made them, or, where they do not say which that was, one whose features
    /// have another length.
    ///
    /// # Errors
    /// Another network or preprocessing, or another length; weights that cannot be read.
    pub fn check_network(&self, network: &FeatureNetwork, path: &Path, device: &Device) -> Result<()> {
        let shown = path.display();
        let Some((origin, _)) = &self.known else {
            let (theirs, ours) = (self.moments.dim(), network.load(device)?.dim());
            ensure!(
                theirs == ours,
                "the statistics are of {theirs} features, the network gives {ours}; give `--features` the network that \
                 made them: {shown}"
            );
            return Ok(());
        };
        let here = Origin {
            features: network.fingerprint().to_owned(),
            preprocessing: network.preprocessing().to_owned(),
            ..origin.clone()
        };
        match origin.difference(&here) {
            None => Ok(()),
            Some(difference) => bail!(
                "the statistics were made by another network: {difference}; give `--features` the very weights that \
                 made them: {shown}"
            ),
        }
    }
}

/// Whether a name asks for the form of pytorch-fid.
fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// Whether a file has this program's own form.
fn is_own(path: &Path) -> bool {
    TensorFile::open(path).is_ok_and(|file| header(&file, "format") == Some(FORMAT))
}

fn read_npz(path: &Path) -> Result<ReferenceStatistics> {
    // A covariance stays the same whatever number of images it is said to be of; two are the fewest.
    const ANY_COUNT: usize = 2;
    let shown = path.display();
    let [mu, sigma] = dataset::read_npz(path, ["mu", "sigma"])?;
    let dim = mu.values.len();
    ensure!(
        mu.shape == [dim] && sigma.shape == [dim, dim],
        "`mu` has the shape {:?} and `sigma` {:?}; a mean has one axis, a covariance two of that length: {shown}",
        mu.shape,
        sigma.shape
    );
    let moments = Moments::from_parts(ANY_COUNT, mu.values, &sigma.values);
    let moments = moments.with_context(|| format!("the statistics are no mean and covariance: {shown}"))?;
    Ok(ReferenceStatistics { known: None, moments })
}

fn header<'a>(file: &'a TensorFile, key: &str) -> Option<&'a str> {
    file.metadata().find(|(name, _)| *name == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{Rows, frechet_estimate_to};
    use std::path::PathBuf;

    /// What pytorch-fid says of the two sets below (`tests/golden/statistics_npz/generate.py`).
    const DISTANCE: f64 = 0.6121573737988597;
    const DIM: usize = 6;

    /// The formula of `features` in the generator.
    fn features(rows: usize, shift: f64) -> Vec<f64> {
        let value = |row: usize, column: usize| {
            let whole = (row * row * 7 + row * (column + 3) * 13 + column * column * 29) % 101;
            whole as f64 / 101.0 + shift * column as f64 / 10.0
        };
        (0..rows * DIM).map(|at| value(at / DIM, at % DIM)).collect()
    }

    fn distance_to(path: &Path) -> f64 {
        let statistics = ReferenceStatistics::read(path).unwrap();
        assert!(statistics.known.is_none() && ReferenceStatistics::is_one(path));
        let synthetic = features(30, 1.0);
        frechet_estimate_to(Rows::new(&synthetic, DIM).unwrap(), &statistics.moments, 0.95).unwrap().distance
    }

    #[track_caller]
    fn assert_near(found: f64) {
        assert!((found - DISTANCE).abs() < 1e-9, "{found}, pytorch-fid says {DISTANCE}");
    }

    #[test]
    fn distances_are_those_of_pytorch_fid_by_its_file_and_by_ours() {
        assert_near(distance_to(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statistics_npz/pytorch_fid.npz").as_ref(),
        ));
        let temporary = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("DINO_DIFFUSION_KEEP").map(PathBuf::from);
        let path = kept.as_deref().unwrap_or(temporary.path()).join("own.npz");
        let reference = features(40, 0.0);
        let moments = Moments::of(Rows::new(&reference, DIM).unwrap()).unwrap();
        ReferenceStatistics { known: None, moments: moments.clone() }.write(&path).unwrap();
        assert_near(distance_to(&path));
        let own_form = ReferenceStatistics { known: None, moments }.write(&temporary.path().join("own.safetensors"));
        assert!(own_form.unwrap_err().to_string().contains("do not say what they are of"));
    }

    #[test]
    fn an_archive_of_something_else_is_refused_with_a_reason() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("odd.npz");
        let array = |shape: &[usize], values: &[f64]| NumpyArray { shape: shape.to_vec(), values: values.to_vec() };
        let identity = [1.0, 0.0, 0.0, 1.0];
        for (mu, sigma, reason) in [
            (array(&[3], &[0.0; 3]), array(&[2, 2], &identity), "a mean has one axis"),
            (array(&[1, 2], &[0.0; 2]), array(&[2, 2], &identity), "a mean has one axis"),
            (array(&[2], &[0.0; 2]), array(&[4], &identity), "a mean has one axis"),
            (array(&[0], &[]), array(&[0, 0], &[]), "no mean and covariance"),
            (array(&[2], &[f64::NAN, 0.0]), array(&[2, 2], &identity), "no mean and covariance"),
            (array(&[2], &[0.0; 2]), array(&[2, 2], &[1.0, 0.5, -0.5, 1.0]), "no mean and covariance"),
            (array(&[2], &[0.0; 2]), array(&[2, 2], &[-1.0, 0.0, 0.0, 1.0]), "no mean and covariance"),
        ] {
            dataset::write_npz(&path, &[("mu", &mu), ("sigma", &sigma)]).unwrap();
            let error = ReferenceStatistics::read(&path).unwrap_err().to_string();
            assert!(error.contains(reason) && error.ends_with("odd.npz"), "{error}");
        }
        std::fs::write(&path, "no archive").unwrap();
        let error = ReferenceStatistics::read(&path).unwrap_err().to_string();
        assert!(error.contains("NumPy archive is damaged") && error.contains("numpy.savez"), "{error}");
    }
}
