//! What frozen networks made of the images, kept so that training never runs them.
//!
//! `encodings/<name>-<fingerprint>/` holds `encodings.toml` and one safetensors file per image shard, whose tensors are
//! f16 with one row per image: `mean` and `std` of the latents `[n, height, width, channels]`, `embeddings`
//! `[n, tokens, dim]`, or whatever else the writer was told. The fingerprint of the network is in the folder's name, so
//! encodings of another network are other encodings.

use std::fs;
use std::path::{Path, PathBuf};

use files::{FolderLock, sweep, write_file};
use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::layout::{first_difference, to_toml};
use crate::shards::{MAX_OPEN_FILES, OpenShards, open_shard};
use crate::{Dataset, Error, Result};
use files::tensors::{REMAKE, TensorFile, TensorToWrite, write_tensors};

const ENCODINGS_VERSION: u32 = 1;

/// A tensor that every image has one row of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// The tensor's name: `mean`, `std`, `embeddings`, ...
    pub name: String,
    /// The shape of one row, without the leading number of images.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of a name and a row shape.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into() }
    }

    /// The number of values per image.
    pub fn row_len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// `encodings.toml`: what a set of encodings says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodingsInfo {
    /// The version of the format.
    pub version: u32,
    /// What was encoded how: `taef2`, `dinov2-base`, ...
    pub name: String,
    /// The fingerprint of the network, see [`files::fingerprint`].
    pub fingerprint: String,
    /// The fingerprint of the dataset whose images were encoded.
    pub dataset_fingerprint: String,
    /// The tensors of every shard.
    pub tensors: Vec<TensorSpec>,
}

/// Writes encodings shard by shard; a kill loses the shard in flight.
#[derive(Debug)]
pub struct EncodingsWriter<'d> {
    dataset: &'d Dataset,
    dir: PathBuf,
    info: EncodingsInfo,
    _lock: FolderLock,
}

impl Dataset {
    /// Begins encodings, or continues those that were begun. `name` may hold letters, digits, `-`, `_` and `.`.
    ///
    /// # Errors
    /// [`Error::OtherSettings`] where the same name and fingerprint were begun with other tensors or for another
    /// dataset, [`Error::Setting`], [`Error::Damaged`], [`Error::File`].
    pub fn write_encodings(
        &self,
        name: &str,
        fingerprint: &str,
        tensors: &[TensorSpec],
    ) -> Result<EncodingsWriter<'_>> {
        check_name("encodings name", name)?;
        check_name("fingerprint", fingerprint)?;
        let info = EncodingsInfo {
            version: ENCODINGS_VERSION,
            name: name.into(),
            fingerprint: fingerprint.into(),
            dataset_fingerprint: self.fingerprint().into(),
            tensors: tensors.to_vec(),
        };
        let dir = encodings_dir(self, name, fingerprint);
        fs::create_dir_all(&dir).map_err(Error::io("make the folder", &dir))?;
        let lock = FolderLock::acquire(&dir)?;
        sweep(self.dir())?;
        match read_info(&dir)? {
            None => write_file(dir.join("encodings.toml"), to_toml(&info, &dir)?.as_bytes())?,
            Some(was) if was == info => {}
            Some(was) => return Err(other_settings(&dir, &was, &info)),
        }
        Ok(EncodingsWriter { dataset: self, dir, info, _lock: lock })
    }

    /// Opens encodings that are complete.
    ///
    /// # Errors
    /// [`Error::NoEncodings`] where they are missing, unfinished or of another dataset, [`Error::Damaged`],
    /// [`Error::File`].
    pub fn encodings(&self, name: &str, fingerprint: &str) -> Result<EncodingsReader> {
        EncodingsReader::open(self, name, fingerprint)
    }

    /// The encodings that are there, complete or not, by name.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`].
    pub fn list_encodings(&self) -> Result<Vec<EncodingsInfo>> {
        let parent = self.dir().join("encodings");
        if !parent.is_dir() {
            return Ok(Vec::new());
        }
        let mut infos = Vec::new();
        for entry in fs::read_dir(&parent).map_err(Error::io("read the folder", &parent))? {
            infos.extend(read_info(&entry.map_err(Error::io("read the folder", &parent))?.path())?);
        }
        infos.sort_by(|a, b| (&a.name, &a.fingerprint).cmp(&(&b.name, &b.fingerprint)));
        Ok(infos)
    }
}

impl<'d> EncodingsWriter<'d> {
    /// The shards that are still to be written, ascending. [`Dataset::shard_range`] says which images they are.
    pub fn pending(&self) -> Vec<usize> {
        (0..self.dataset.num_shards()).filter(|&shard| !shard_path(&self.dir, shard).exists()).collect()
    }

    /// Writes a shard: for each tensor, in the order they were announced, the rows of all images of the shard.
    ///
    /// # Shapes
    /// - tensors: for each, f32 `[shard_range(shard).len(), ...row shape]`
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::NotFinite`] for a value beyond 16 bit or not a number, [`Error::File`].
    pub fn write_shard(&self, shard: usize, tensors: &[&[f32]]) -> Result<()> {
        let range = self.dataset.shard_range(shard);
        if tensors.len() != self.info.tensors.len() {
            let what = format!("shard {shard} of the encodings (in tensors)");
            return Err(Error::Size { what, expected: self.info.tensors.len(), found: tensors.len() });
        }
        let mut halves = Vec::with_capacity(tensors.len());
        for (spec, values) in self.info.tensors.iter().zip(tensors) {
            let expected = range.len() * spec.row_len();
            if values.len() != expected {
                let what = format!("tensor {:?} of shard {shard}", spec.name);
                return Err(Error::Size { what, expected, found: values.len() });
            }
            halves.push(to_f16_bytes(values).map_err(|position| {
                let image = position / spec.row_len();
                let (tensor, value) = (spec.name.clone(), values[position]);
                Error::NotFinite { tensor, index: range.start + image, image, value }
            })?);
        }
        let tensors: Vec<_> = (self.info.tensors.iter().zip(&halves))
            .map(|(spec, bytes)| {
                let shape = [&[range.len()], &spec.shape[..]].concat();
                (spec.name.as_str(), TensorToWrite { dtype: Dtype::F16, shape, bytes: bytes.into() })
            })
            .collect();
        Ok(write_tensors(shard_path(&self.dir, shard), &tensors, &[])?)
    }

    /// Opens the encodings, all shards of which must have been written.
    ///
    /// # Errors
    /// As [`Dataset::encodings`].
    pub fn finish(self) -> Result<EncodingsReader> {
        EncodingsReader::open(self.dataset, &self.info.name, &self.info.fingerprint)
    }
}

/// Reads encodings by image number. Reading takes `&self` and may happen on several threads at once.
#[derive(Debug)]
pub struct EncodingsReader {
    dir: PathBuf,
    info: EncodingsInfo,
    num_images: usize,
    shard_size: usize,
    shards: OpenShards<TensorFile>,
}

impl EncodingsReader {
    fn open(dataset: &Dataset, name: &str, fingerprint: &str) -> Result<Self> {
        let dir = encodings_dir(dataset, name, fingerprint);
        let missing = |detail: String| Error::NoEncodings {
            name: name.into(),
            fingerprint: fingerprint.into(),
            detail,
            path: dir.clone(),
        };
        let info = read_info(&dir)?.ok_or_else(|| missing("none were begun".into()))?;
        if info.dataset_fingerprint != dataset.fingerprint() {
            let (theirs, ours) = (&info.dataset_fingerprint, dataset.fingerprint());
            return Err(missing(format!("those here belong to dataset {theirs}, this is {ours}; delete them")));
        }
        let num_shards = dataset.num_shards();
        let absent = (0..num_shards).filter(|&shard| !shard_path(&dir, shard).exists()).count();
        if absent > 0 {
            return Err(missing(format!("{absent} of {num_shards} shards are missing")));
        }
        let (num_images, shard_size) = (dataset.len(), dataset.info().shard_size);
        Ok(Self { dir, info, num_images, shard_size, shards: OpenShards::new(MAX_OPEN_FILES) })
    }

    /// What the encodings say about themselves.
    pub fn info(&self) -> &EncodingsInfo {
        &self.info
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.num_images
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.num_images == 0
    }

    /// The shape of one row of a tensor, `None` where there is no such tensor.
    pub fn row_shape(&self, tensor: &str) -> Option<&[usize]> {
        self.info.tensors.iter().find(|spec| spec.name == tensor).map(|spec| spec.shape.as_slice())
    }

    /// The rows of a tensor for some images, in the order of `indices`, which may repeat.
    ///
    /// # Shapes
    /// - output: f32 `[indices.len(), ...row shape]`
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such tensor or a shard is unsound, [`Error::NoSuchImage`],
    /// [`Error::MissingShard`], [`Error::File`].
    pub fn gather(&self, tensor: &str, indices: &[usize]) -> Result<Vec<f32>> {
        let row_len = self.spec(tensor)?.row_len();
        let mut values = vec![0.0; indices.len() * row_len];
        self.gather_into(tensor, indices, &mut values)?;
        Ok(values)
    }

    /// As [`EncodingsReader::gather`], into values that are there already.
    ///
    /// # Errors
    /// [`Error::Size`] where `values` has another length; else as [`EncodingsReader::gather`].
    pub fn gather_into(&self, tensor: &str, indices: &[usize], values: &mut [f32]) -> Result<()> {
        let row_len = self.spec(tensor)?.row_len();
        let expected = indices.len() * row_len;
        if values.len() != expected {
            return Err(Error::Size { what: format!("the room for {tensor:?}"), expected, found: values.len() });
        }
        let mut bytes = Vec::new();
        let mut halves = Vec::new();
        let mut done = 0;
        while done < indices.len() {
            let index = indices[done];
            if index >= self.num_images {
                return Err(Error::NoSuchImage { index, len: self.num_images, path: self.dir.clone() });
            }
            let (shard, row) = (index / self.shard_size, index % self.shard_size);
            // Neighbours are read in one go: reading in order is then as quick as the disk.
            let room = (self.shard_size - row).min(self.num_images - index);
            let run = (1..room).take_while(|&ahead| indices.get(done + ahead) == Some(&(index + ahead))).count() + 1;
            bytes.resize(run * row_len * 2, 0);
            self.shards.get(shard, || self.open_shard(shard))?.read_rows(tensor, row, &mut bytes)?;
            halves.clear();
            halves.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)));
            halves.convert_to_f32_slice(&mut values[done * row_len..][..run * row_len]);
            done += run;
        }
        Ok(())
    }

    fn spec(&self, tensor: &str) -> Result<&TensorSpec> {
        self.info.tensors.iter().find(|spec| spec.name == tensor).ok_or_else(|| {
            let names: Vec<_> = self.info.tensors.iter().map(|spec| spec.name.as_str()).collect();
            let detail = format!("there is no tensor {tensor:?}, only {names:?}");
            Error::damaged("set of encodings", "make it again with `encode`", &self.dir, detail)
        })
    }

    fn open_shard(&self, shard: usize) -> Result<TensorFile> {
        let file = open_shard("encodings shard", &shard_path(&self.dir, shard))?;
        let rows = self.shard_size.min(self.num_images - shard * self.shard_size);
        for spec in &self.info.tensors {
            file.expect("encodings shard", &spec.name, Dtype::F16, &[&[rows], &spec.shape[..]].concat())?;
        }
        Ok(file)
    }
}

/// Little-endian f16, or the position of the first value that is not finite in it.
fn to_f16_bytes(values: &[f32]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(values.len() * 2);
    let mut halves = [f16::ZERO; 4096];
    for (chunk_index, chunk) in values.chunks(halves.len()).enumerate() {
        let halves = &mut halves[..chunk.len()];
        halves.convert_from_f32_slice(chunk);
        if let Some(position) = halves.iter().position(|half| !half.is_finite()) {
            return Err(chunk_index * 4096 + position);
        }
        bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    }
    Ok(bytes)
}

fn encodings_dir(dataset: &Dataset, name: &str, fingerprint: &str) -> PathBuf {
    dataset.dir().join("encodings").join(format!("{name}-{fingerprint}"))
}

fn shard_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("{shard:05}.safetensors"))
}

/// Reads `encodings.toml`, `None` where there is none.
fn read_info(dir: &Path) -> Result<Option<EncodingsInfo>> {
    let path = dir.join("encodings.toml");
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read the file", &path))?;
    let info: EncodingsInfo =
        toml::from_str(&text).map_err(|error| Error::damaged("encodings.toml", REMAKE, &path, error.message()))?;
    if info.version > ENCODINGS_VERSION {
        let (found, supported) = (info.version, ENCODINGS_VERSION);
        return Err(Error::NewerVersion { what: "encodings", found, supported, path });
    }
    Ok(Some(info))
}

fn other_settings(dir: &Path, was: &EncodingsInfo, now: &EncodingsInfo) -> Error {
    let table = |info: &EncodingsInfo| toml::Table::try_from(info).unwrap_or_default();
    let (setting, was, now) = first_difference(&table(was), &table(now)).unwrap_or_default();
    Error::OtherSettings { what: "the set of encodings", setting, was, now, path: dir.to_path_buf() }
}

/// Names become parts of paths.
fn check_name(setting: &'static str, name: &str) -> Result<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(sound) {
        return Ok(());
    }
    let reason = "use letters, digits, `-`, `_` and `.`, and do not begin with `.`";
    Err(Error::Setting { setting, value: format!("{name:?}"), reason })
}
