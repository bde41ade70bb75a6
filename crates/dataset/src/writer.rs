//! Writing a dataset so that a kill at any moment loses at most the shard in flight.
//!
//! A finished shard is its image file, its mask file and `partial/rows-NNNNN.parquet`, written in this order: the rows
//! are the mark that the shard counts. [`DatasetWriter::finish`] joins the rows into `manifest.parquet`, writes
//! `dataset.toml`, which makes the folder a dataset, and removes `partial`. A last shard that is not full is taken back
//! when the dataset is continued, so that whatever comes next fills it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use files::{FolderLock, is_temporary, sweep, write_file};

use crate::dataset::dataset_fingerprint;
use crate::joined::{JoinedSplits, SplitOrigin, join_near_duplicates};
use crate::layout::{DatasetSettings, KEPT, PARTIAL, SETTINGS, first_difference, rows_path, to_toml, unwritable};
use crate::manifest::{ManifestReader, ManifestWriter, ROWS_PER_GROUP};
use crate::shard_writer::{Finishing, PendingShard};
use crate::{Counts, DATASET_VERSION, Dataset, DatasetInfo, Error, ManifestRow, Result, find_leaks};

/// Rows in a group of a part's manifest, at least: what is known of each group takes as much memory as some 50 rows.
const MIN_ROWS_PER_GROUP: usize = 250;

/// Rows in one group of each part, at most: hundreds of parts are read side by side.
const ROWS_OF_ALL_PARTS: usize = 2 * ROWS_PER_GROUP;

/// Writes a dataset image by image; holds the rows and masks of two shards in memory at most.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    settings: DatasetSettings,
    /// Images in the shards before the pending one.
    num_committed: usize,
    /// Images of the pending shard that are on disk too.
    num_taken_back: usize,
    /// Images that the dataset had when it was reopened; 0 where it was not.
    num_kept: usize,
    shard: PendingShard,
    /// The shard before. Stands before the lock, which must not be given back while it is at work.
    finishing: Finishing,
    _lock: FolderLock,
}

impl DatasetWriter {
    /// Begins a dataset in the folder `dir`, which is made where it is missing, or continues the one that was begun
    /// there. A folder `private` may exist already; nothing else may.
    ///
    /// # Errors
    /// [`Error::AlreadyFinished`], [`Error::Occupied`], [`Error::OtherSettings`], [`Error::Damaged`],
    /// [`Error::Setting`], [`Error::File`].
    pub fn create_or_resume(dir: impl AsRef<Path>, settings: DatasetSettings) -> Result<Self> {
        let dir = dir.as_ref();
        let positive = [("image_size", settings.image_size), ("shard_size", settings.shard_size)];
        for (setting, value) in positive {
            if value == 0 {
                return Err(Error::Setting { setting, value: "0".into(), reason: "it must be at least 1" });
            }
        }
        if i64::try_from(settings.seed).is_err() {
            let (value, reason) = (settings.seed.to_string(), "TOML has signed integers; give one below 2^63");
            return Err(Error::Setting { setting: "seed", value, reason });
        }
        let partial = dir.join(PARTIAL);
        if dir.join("dataset.toml").exists() {
            return Err(Error::AlreadyFinished { path: dir.to_path_buf() });
        }
        if !partial.join(SETTINGS).is_file() {
            refuse_occupied(dir)?;
            fs::create_dir_all(&partial).map_err(Error::io("make the folder", &partial))?;
        }
        let lock = FolderLock::acquire(&partial)?;
        sweep(dir)?;
        check_or_write_settings(dir, &partial.join(SETTINGS), &settings)?;
        let (mut num_shards, mut num_committed) = (0, 0);
        while rows_path(dir, num_shards).is_file() {
            num_committed += ManifestReader::open(rows_path(dir, num_shards))?.num_rows();
            num_shards += 1;
        }
        let num_kept = read_number(&partial.join(KEPT))?;
        let (image_size, shard_size) = (settings.image_size, settings.shard_size);
        let mut num_taken_back = 0;
        let shard = if num_committed < num_shards * shard_size {
            // What comes next fills the last shard.
            num_shards -= 1;
            let shard = PendingShard::take_back(dir, num_shards, image_size, shard_size)?;
            num_taken_back = shard.rows().len();
            num_committed -= num_taken_back;
            shard
        } else {
            PendingShard::new(dir, num_shards, image_size, shard_size)
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            settings,
            num_committed,
            num_taken_back,
            num_kept,
            shard,
            finishing: Finishing::default(),
            _lock: lock,
        })
    }

    /// The number of images that are safe on disk: those to skip when continuing.
    pub fn num_committed(&self) -> usize {
        self.num_committed + self.num_taken_back
    }

    /// The number of images that were there when the finished dataset was reopened to add others; 0 for a new one.
    pub fn num_kept(&self) -> usize {
        self.num_kept
    }

    /// The rows of the images that are safe on disk, streamed in order.
    pub fn committed_rows(&self) -> impl Iterator<Item = Result<ManifestRow>> + use<> {
        self.stream_rows(None)
    }

    /// As [`DatasetWriter::committed_rows`], with some columns alone; see [`ManifestReader::open_columns`].
    pub fn committed_columns(
        &self,
        columns: &'static [&'static str],
    ) -> impl Iterator<Item = Result<ManifestRow>> + use<> {
        self.stream_rows(Some(columns))
    }

    fn stream_rows(
        &self,
        columns: Option<&'static [&'static str]>,
    ) -> impl Iterator<Item = Result<ManifestRow>> + use<> {
        let taken_back = self.shard.rows()[..self.num_taken_back].to_vec();
        let dir = self.dir.clone();
        let on_disk = (0..self.shard.number()).flat_map(move |shard| {
            let (rows, failure) = match ManifestReader::open_with(&rows_path(&dir, shard), columns) {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(error))),
            };
            rows.into_iter().flatten().chain(failure)
        });
        on_disk.chain(taken_back.into_iter().map(Ok))
    }

    /// The number of images so far, those of the shard in flight included.
    pub fn len(&self) -> usize {
        self.num_committed + self.shard.rows().len()
    }

    /// Whether there are no images so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an image; writes the shard when it is full. `row.mask` is set from `mask`.
    ///
    /// # Shapes
    /// - image: u8 `[size, size]`
    /// - mask: u8, 0 or 1, `[size, size]`
    ///
    /// # Errors
    /// [`Error::Size`] (nothing is added then); [`Error::File`], also of images that were added before: what is on disk is
    /// whole, and this writer of no further use.
    pub fn push(&mut self, mut row: ManifestRow, image: &[u8], mask: Option<&[u8]>) -> Result<()> {
        let expected = self.settings.image_size * self.settings.image_size;
        for (what, pixels) in [("the image", Some(image)), ("the mask", mask)] {
            if let Some(found) = pixels.map(<[u8]>::len).filter(|&found| found != expected) {
                return Err(Error::Size { what: format!("{what} of {}", row.source_file), expected, found });
            }
        }
        row.mask = mask.is_some();
        self.shard.push(row, image, mask)?;
        if self.shard.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes the last shard, joins the manifest, checks the splits and makes the folder a dataset.
    ///
    /// # Errors
    /// [`Error::Leak`] where a patient or an image is on both sides of a split, [`Error::File`], [`Error::Damaged`].
    pub fn finish(mut self) -> Result<Dataset> {
        self.flush_all()?;
        self.complete(&JoinedSplits::default(), ROWS_PER_GROUP)
    }

    /// As [`DatasetWriter::finish`], for one of `num_parts` datasets that will be read side by side, to be joined. Its
    /// manifest is made so that reading all of them takes little memory.
    ///
    /// # Errors
    /// Those of [`DatasetWriter::finish`].
    pub fn finish_part(mut self, num_parts: usize) -> Result<Dataset> {
        self.flush_all()?;
        let rows_per_group = (ROWS_OF_ALL_PARTS / num_parts.max(1)).clamp(MIN_ROWS_PER_GROUP, ROWS_PER_GROUP);
        self.complete(&JoinedSplits::default(), rows_per_group)
    }

    /// As [`DatasetWriter::finish`], after patients with near duplicates were put on one side of the split; see
    /// [`join_near_duplicates`] for what `origin` of a source file decides. Images that were there when the dataset was reopened stay
    /// where they are. A kill in between changes nothing: what is on disk keeps the splits it was written with until the
    /// manifest is there.
    ///
    /// # Errors
    /// Those of [`DatasetWriter::finish`].
    pub fn finish_joined(mut self, origin: impl Fn(&str) -> SplitOrigin) -> Result<(Dataset, JoinedSplits)> {
        self.flush_all()?;
        let origin = |number: usize, source_file: &str| {
            if number < self.num_kept { SplitOrigin::Given } else { origin(source_file) }
        };
        let joined = join_near_duplicates(|columns| Ok(self.committed_columns(columns)), origin)?;
        Ok((self.complete(&joined, ROWS_PER_GROUP)?, joined))
    }

    fn complete(self, joined: &JoinedSplits, rows_per_group: usize) -> Result<Dataset> {
        let rows = |columns| Ok(self.committed_columns(columns).map(|row| row.map(|row| joined.apply(row))));
        find_leaks(rows)?.check()?;
        let manifest = self.dir.join("manifest.parquet");
        let mut info = self.empty_info();
        let mut labels = BTreeSet::new();
        let mut writer = ManifestWriter::create_grouped(&manifest, rows_per_group)?;
        for row in self.committed_rows() {
            let row = joined.apply(row?);
            info.num_images += 1;
            info.num_masks += usize::from(row.mask);
            info.counts.add(row.split);
            for label in &row.labels {
                if !labels.contains(label) {
                    labels.insert(label.clone());
                }
            }
            if let Some(collection) = &row.collection {
                *info.collections.entry(collection.clone()).or_insert(0) += 1;
            }
            writer.push(row)?;
        }
        writer.finish()?;
        info.labels = labels.into_iter().collect();
        info.fingerprint = dataset_fingerprint(&manifest, info.image_size, &info.preparation)?;
        write_file(self.dir.join("dataset.toml"), to_toml(&info, &self.dir)?.as_bytes())?;
        let Self { dir, _lock, .. } = self;
        // Windows does not remove a folder with an open file in it.
        drop(_lock);
        let partial = dir.join(PARTIAL);
        fs::remove_dir_all(&partial).map_err(Error::io("remove the folder", &partial))?;
        Dataset::open(dir)
    }

    /// Sees to it that all images are on disk.
    fn flush_all(&mut self) -> Result<()> {
        if !self.shard.rows().is_empty() {
            self.flush()?;
        }
        self.finishing.wait()
    }

    /// Hands the pending shard on to be finished, when the one before is.
    fn flush(&mut self) -> Result<()> {
        let next = self.shard.next();
        let shard = mem::replace(&mut self.shard, next);
        self.num_committed += shard.rows().len();
        self.num_taken_back = 0;
        self.finishing.wait()?;
        self.finishing = Finishing::begin(shard)?;
        Ok(())
    }

    fn empty_info(&self) -> DatasetInfo {
        let settings = &self.settings;
        DatasetInfo {
            version: DATASET_VERSION,
            image_size: settings.image_size,
            num_images: 0,
            num_masks: 0,
            shard_size: settings.shard_size,
            fingerprint: String::new(),
            seed: settings.seed,
            salt_fingerprint: settings.salt_fingerprint.clone(),
            labels: Vec::new(),
            counts: Counts::default(),
            collections: BTreeMap::new(),
            preparation: settings.preparation.clone(),
        }
    }
}

/// Removes what a process that was killed at the very end left in the folder of a finished dataset. Does nothing while
/// somebody is at work there.
///
/// # Errors
/// [`Error::File`].
pub fn remove_remains(dataset: &Dataset) -> Result<()> {
    sweep(dataset.dir())?;
    let partial = dataset.dir().join(PARTIAL);
    if !partial.is_dir() {
        return Ok(());
    }
    let Ok(lock) = FolderLock::acquire(&partial) else { return Ok(()) };
    // Whoever adds images takes this file away under the same lock.
    if !dataset.dir().join("dataset.toml").is_file() {
        return Ok(());
    }
    drop(lock);
    fs::remove_dir_all(&partial).map_err(Error::io("remove the folder", &partial))
}

/// A new dataset goes into an empty folder: nobody's files are overwritten.
fn refuse_occupied(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !matches!(&*name, "private" | PARTIAL | ".lock") && !is_temporary(&path) {
            return Err(Error::Occupied { example: name.into_owned(), path: dir.to_path_buf() });
        }
    }
    Ok(())
}

fn check_or_write_settings(dir: &Path, path: &Path, settings: &DatasetSettings) -> Result<()> {
    let now = toml::Table::try_from(settings).map_err(|error| unwritable(dir, &error.to_string()))?;
    // As long as nothing is committed, a second try may choose other settings.
    if !path.is_file() || !rows_path(dir, 0).is_file() {
        return Ok(write_file(path, now.to_string().as_bytes())?);
    }
    let text = fs::read_to_string(path).map_err(Error::io("read the file", path))?;
    let remedy = "delete the folder and begin again";
    let was: toml::Table =
        toml::from_str(&text).map_err(|error| Error::damaged("settings file", remedy, path, error.message()))?;
    match first_difference(&was, &now) {
        None => Ok(()),
        Some((setting, was, now)) => {
            Err(Error::OtherSettings { what: "the dataset", setting, was, now, path: dir.to_path_buf() })
        }
    }
}

/// The number in a file, 0 where there is none.
fn read_number(path: &Path) -> Result<usize> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|error: std::num::ParseIntError| {
            Error::damaged("count of images", "delete the folder and begin again", path, error.to_string())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("read the file", path)(error)),
    }
}
