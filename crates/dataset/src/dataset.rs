//! A finished dataset, opened for reading.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::layout::{DatasetSettings, partial_len};
use crate::manifest::ManifestReader;
use crate::shards::{MAX_OPEN_FILES, MaskShard, OpenShards, images_path, masks_path, open_shard};
use crate::{Error, ManifestRow, Result, Split};
use files::tensors::{REMAKE, TensorFile};
use files::{first_digits, hash_file};

/// The version of the format that this release writes, and the newest that it reads; older ones are read too.
///
/// Version 2 added `labels_negative` and `labels_uncertain` to the manifest. Version 3 has the column `pixel_hash` in place
/// of `sha256`: BLAKE3, and of bytes where bytes are enough.
pub const DATASET_VERSION: u32 = 3;

/// The kind of [`crate::pixels_hash`].
pub const PIXEL_HASH_KIND: &str = "BLAKE3";

/// The number of images in each split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// In [`Split::Train`].
    pub train: usize,
    /// In [`Split::Val`].
    pub val: usize,
    /// In [`Split::Test`].
    pub test: usize,
}

impl Counts {
    /// The count of one split.
    pub fn get(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Val => self.val,
            Split::Test => self.test,
        }
    }

    pub(crate) fn add(&mut self, split: Split) {
        match split {
            Split::Train => self.train += 1,
            Split::Val => self.val += 1,
            Split::Test => self.test += 1,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "train {}, val {}, test {}", self.train, self.val, self.test)
    }
}

/// `dataset.toml`: what a dataset says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// The version of the format, at most [`DATASET_VERSION`].
    pub version: u32,
    /// Height and width of every image, in pixels.
    pub image_size: usize,
    /// The number of images.
    pub num_images: usize,
    /// The number of images that have a mask.
    pub num_masks: usize,
    /// Images per shard.
    pub shard_size: usize,
    /// Twelve hexadecimal digits that change with any row of the manifest, the image size or the preparation.
    pub fingerprint: String,
    /// The seed that splits were drawn with.
    pub seed: u64,
    /// The fingerprint of the salt that patient hashes were made with; absent for synthetic datasets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt_fingerprint: Option<String>,
    /// Every label that occurs, sorted: the position is the class number.
    pub labels: Vec<String>,
    /// The number of images per split.
    pub counts: Counts,
    /// The number of images per collection.
    #[serde(default)]
    pub collections: BTreeMap<String, usize>,
    /// The settings that the images were made with, as their maker recorded them.
    #[serde(default)]
    pub preparation: toml::Table,
}

impl DatasetInfo {
    /// The collection with the most images; `None` where images belong to none.
    pub fn largest_collection(&self) -> Option<&str> {
        self.collections.iter().max_by_key(|(_, count)| **count).map(|(name, _)| name.as_str())
    }

    /// The kind of the manifest's pixel hashes. Those of two kinds cannot be compared.
    pub fn pixel_hash_kind(&self) -> &'static str {
        if self.version < 3 { "SHA-256" } else { PIXEL_HASH_KIND }
    }

    /// What the dataset was begun with.
    pub fn settings(&self) -> DatasetSettings {
        DatasetSettings {
            image_size: self.image_size,
            shard_size: self.shard_size,
            seed: self.seed,
            salt_fingerprint: self.salt_fingerprint.clone(),
            preparation: self.preparation.clone(),
        }
    }
}

/// A finished dataset. Reading takes `&self` and may happen on several threads at once; images stay on disk until asked
/// for.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    info: DatasetInfo,
    images: OpenShards<TensorFile>,
    masks: OpenShards<Option<MaskShard>>,
}

/// Something unsound that [`Dataset::verify`] found.
#[derive(Debug)]
pub struct Problem(pub Error);

impl Dataset {
    /// Opens the dataset in the folder `dir`.
    ///
    /// Checks `dataset.toml`, and that the manifest and every image shard exist; what is in them is checked when it is
    /// read, or all at once by [`Dataset::verify`].
    ///
    /// # Errors
    /// [`Error::NotADataset`], [`Error::Unfinished`], [`Error::NewerVersion`], [`Error::MissingShard`],
    /// [`Error::Damaged`], [`Error::File`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir.as_ref(), MAX_OPEN_FILES)
    }

    /// As [`Dataset::open`], for reading from the first image to the last: keeps one shard open instead of many, so that
    /// hundreds of datasets can be read side by side.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_in_order(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir.as_ref(), 1)
    }

    fn open_with(dir: &Path, max_open: usize) -> Result<Self> {
        let info = read_info(dir)?;
        let (images, masks) = (OpenShards::new(max_open), OpenShards::new(max_open));
        let dataset = Self { dir: dir.to_path_buf(), info, images, masks };
        let manifest = dataset.manifest_path();
        if !manifest.exists() {
            let reason = "it has no manifest.parquet".into();
            return Err(Error::NotADataset { reason, path: dir.to_path_buf() });
        }
        let num_rows = ManifestReader::open(&manifest)?.num_rows();
        if num_rows != dataset.len() {
            let detail = format!("{num_rows} rows, dataset.toml announces {}", dataset.len());
            return Err(Error::damaged("manifest", REMAKE, &manifest, detail));
        }
        for shard in 0..dataset.num_shards() {
            let path = images_path(dir, shard);
            if !path.exists() {
                return Err(Error::MissingShard { what: "image shard", path });
            }
        }
        Ok(dataset)
    }

    /// Whether the folder looks like a dataset, finished or not, of whatever version.
    pub fn is_dataset(dir: impl AsRef<Path>) -> bool {
        dir.as_ref().join("dataset.toml").is_file() || partial_len(dir.as_ref()).is_some()
    }

    /// The dataset's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the dataset says about itself.
    pub fn info(&self) -> &DatasetInfo {
        &self.info
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.info.num_images
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width of every image, in pixels.
    pub fn image_size(&self) -> usize {
        self.info.image_size
    }

    /// Twelve hexadecimal digits that tell datasets apart: training refuses to resume on another one.
    pub fn fingerprint(&self) -> &str {
        &self.info.fingerprint
    }

    /// The number of shards.
    pub fn num_shards(&self) -> usize {
        self.len().div_ceil(self.info.shard_size)
    }

    /// The images of a shard.
    pub fn shard_range(&self, shard: usize) -> Range<usize> {
        let first = (shard * self.info.shard_size).min(self.len());
        first..(first + self.info.shard_size).min(self.len())
    }

    /// Shard and row of an image.
    pub(crate) fn locate(&self, index: usize) -> Result<(usize, usize)> {
        if index < self.len() {
            Ok((index / self.info.shard_size, index % self.info.shard_size))
        } else {
            Err(Error::NoSuchImage { index, len: self.len(), path: self.dir.clone() })
        }
    }

    /// The rows of the manifest, streamed in order.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`]; also from the iterator.
    pub fn rows(&self) -> Result<ManifestReader> {
        ManifestReader::open(self.manifest_path())
    }

    /// As [`Dataset::rows`], with some columns alone, which is quicker; see [`ManifestReader::open_columns`].
    ///
    /// # Errors
    /// As [`Dataset::rows`].
    pub fn columns(&self, columns: &'static [&'static str]) -> Result<ManifestReader> {
        ManifestReader::open_columns(self.manifest_path(), columns)
    }

    /// The rows of some images, in the order of `indices`, which may repeat.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Damaged`], [`Error::File`].
    pub fn rows_at(&self, indices: &[usize]) -> Result<Vec<ManifestRow>> {
        self.rows()?.rows_at(indices)
    }

    /// The numbers of the images in a split, ascending.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`].
    pub fn indices(&self, split: Split) -> Result<Vec<usize>> {
        self.indices_where(|row| row.split == split)
    }

    /// The numbers of the images whose rows satisfy a condition, ascending.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`].
    pub fn indices_where(&self, condition: impl Fn(&ManifestRow) -> bool) -> Result<Vec<usize>> {
        let mut indices = Vec::new();
        for (index, row) in self.rows()?.enumerate() {
            if condition(&row?) {
                indices.push(index);
            }
        }
        Ok(indices)
    }

    /// The number of the image that has each id.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`].
    pub fn numbers_by_id(&self) -> Result<HashMap<String, usize>> {
        self.rows()?.enumerate().map(|(index, row)| Ok((row?.id, index))).collect()
    }

    /// One image.
    ///
    /// # Shapes
    /// - output: u8 `[size, size]`
    ///
    /// # Errors
    /// As [`Dataset::images`].
    pub fn image(&self, index: usize) -> Result<Vec<u8>> {
        self.images(&[index])
    }

    /// Images, in the order of `indices`, which may repeat.
    ///
    /// # Shapes
    /// - output: u8 `[indices.len(), size, size]`
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::MissingShard`], [`Error::Damaged`], [`Error::File`].
    pub fn images(&self, indices: &[usize]) -> Result<Vec<u8>> {
        let area = self.image_size() * self.image_size();
        let mut images = vec![0; indices.len() * area];
        for (&index, image) in indices.iter().zip(images.chunks_exact_mut(area.max(1))) {
            let (shard, row) = self.locate(index)?;
            self.images.get(shard, || self.open_images(shard))?.read_rows("images", row, image)?;
        }
        Ok(images)
    }

    /// The mask of an image, `None` where it has none.
    ///
    /// # Shapes
    /// - output: u8, 0 or 1, `[size, size]`
    ///
    /// # Errors
    /// As [`Dataset::images`].
    pub fn mask(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let (shard, row) = self.locate(index)?;
        let masks = self.masks.get(shard, || self.open_masks(shard))?;
        let mut mask = vec![0; self.image_size() * self.image_size()];
        match masks.as_ref() {
            Some(masks) => Ok(masks.read(row, &mut mask)?.then_some(mask)),
            None => Ok(None),
        }
    }

    /// Reads everything and reports what is unsound: the manifest's hash, every shard's size, masks without rows,
    /// splits with leaks. Empty when the dataset is sound.
    pub fn verify(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |result: Result<()>| problems.extend(result.err().map(Problem));
        let manifest = self.manifest_path();
        note(dataset_fingerprint(&manifest, self.image_size(), &self.info.preparation).and_then(|found| {
            if found == self.info.fingerprint {
                return Ok(());
            }
            let detail = format!("its fingerprint is {found}, dataset.toml says {}", self.info.fingerprint);
            Err(Error::damaged("manifest", REMAKE, &manifest, detail))
        }));
        note(crate::find_leaks(|columns| self.columns(columns)).and_then(|leaks| leaks.check()));
        for shard in 0..self.num_shards() {
            note(self.open_images(shard).map(drop));
            note(self.verify_masks(shard));
        }
        problems
    }

    fn verify_masks(&self, shard: usize) -> Result<()> {
        let range = self.shard_range(shard);
        let rows = self.rows_at(&range.collect::<Vec<_>>())?;
        let announced: Vec<u32> = (0..).zip(&rows).filter(|(_, row)| row.mask).map(|(row, _)| row).collect();
        let masks = self.open_masks(shard)?;
        let found = masks.as_ref().map_or(&[][..], MaskShard::rows);
        let path = masks_path(&self.dir, shard);
        match masks {
            None if !announced.is_empty() => Err(Error::MissingShard { what: "mask shard", path }),
            _ if announced != found => {
                let detail = format!("{} masks, the manifest announces {}", found.len(), announced.len());
                Err(Error::damaged("mask shard", REMAKE, &path, detail))
            }
            _ => Ok(()),
        }
    }

    fn open_images(&self, shard: usize) -> Result<TensorFile> {
        let file = open_shard("image shard", &images_path(&self.dir, shard))?;
        let size = self.image_size();
        file.expect("image shard", "images", Dtype::U8, &[self.shard_range(shard).len(), size, size])?;
        Ok(file)
    }

    fn open_masks(&self, shard: usize) -> Result<Option<MaskShard>> {
        let path = masks_path(&self.dir, shard);
        path.exists().then(|| MaskShard::open(&path, self.image_size())).transpose()
    }

    fn manifest_path(&self) -> PathBuf {
        self.dir.join("manifest.parquet")
    }
}

/// Reads `dataset.toml`, telling a folder that is no dataset from one that is unfinished or too new.
fn read_info(dir: &Path) -> Result<DatasetInfo> {
    let path = dir.join("dataset.toml");
    if !dir.is_dir() {
        let reason = if dir.exists() { "it is a file" } else { "it does not exist" };
        return Err(Error::NotADataset { reason: reason.into(), path: dir.to_path_buf() });
    }
    if !path.is_file() {
        return Err(match partial_len(dir) {
            Some(num_images) => Error::Unfinished { num_images, path: dir.to_path_buf() },
            None => Error::NotADataset { reason: "it has no dataset.toml".into(), path: dir.to_path_buf() },
        });
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read the file", &path))?;
    let damaged = |detail: String| Error::damaged("dataset.toml", REMAKE, &path, detail);
    let table: toml::Table = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
    // The version comes first: a newer format may lack what this release requires.
    let version = table.get("version").and_then(toml::Value::as_integer).and_then(|version| version.try_into().ok());
    match version {
        Some(found) if found > DATASET_VERSION => {
            Err(Error::NewerVersion { what: "dataset", found, supported: DATASET_VERSION, path })
        }
        _ => {
            let info: DatasetInfo =
                table.try_into().map_err(|error: toml::de::Error| damaged(error.message().to_owned()))?;
            if info.shard_size == 0 || info.image_size == 0 {
                return Err(damaged("shard_size and image_size must be at least 1".into()));
            }
            Ok(info)
        }
    }
}

/// The fingerprint of a dataset from its manifest, image size and preparation.
pub(crate) fn dataset_fingerprint(manifest: &Path, image_size: usize, preparation: &toml::Table) -> Result<String> {
    let mut hasher = Sha256::new_with_prefix(b"dino-diffusion dataset\0");
    hasher.update((image_size as u64).to_le_bytes());
    hasher.update(preparation.to_string().as_bytes());
    hash_file(&mut hasher, manifest)?;
    Ok(first_digits(hasher))
}
