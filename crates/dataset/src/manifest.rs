//! `manifest.parquet`: one row per image, in the order of the images.
//!
//! Written in row groups and read in pieces of them, so that a million rows need no more memory than ten thousand. Parquet, because
//! pandas, DuckDB and everything else opens it: the manifest is also what people analyse.

mod pending;

use std::fmt;
use std::fs::File;
use std::mem;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};

use crate::PixelHash;
use crate::parquet_columns::ColumnsReader;
use crate::{Error, Result};
use files::AtomicFile;
use files::tensors::REMAKE;
use pending::Pending;

/// Rows that are written at a time: a few megabytes.
pub(crate) const ROWS_PER_GROUP: usize = 10_000;

/// Rows that are read at a time.
const ROWS_PER_READ: usize = 500;

/// Columns that had other names in versions 1 and 2, each before its name of today.
const FORMER_NAMES: [(&str, &str); 1] = [("sha256", "pixel_hash")];

const SCHEMA: &str = "
message manifest {
  required binary id (STRING);
  required binary source_file (STRING);
  required binary pixel_hash (STRING);
  required binary patient (STRING);
  optional binary view (STRING);
  required binary split (STRING);
  required group labels (LIST) { repeated group list { required binary element (STRING); } }
  required boolean mask;
  optional binary collection (STRING);
  optional binary licence (STRING);
  optional binary strategy (STRING);
  required group source_ids (LIST) { repeated group list { required binary element (STRING); } }
  optional double fraction;
  optional int64 seed (INTEGER(64, false));
  optional double guidance_scale;
  optional binary model_fingerprint (STRING);
  required group labels_negative (LIST) { repeated group list { required binary element (STRING); } }
  required group labels_uncertain (LIST) { repeated group list { required binary element (STRING); } }
  optional int64 perceptual_hash (INTEGER(64, false));
  optional double row_spacing_mm;
  optional double column_spacing_mm;
}";

/// The part of a dataset that an image serves in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Networks learn from these.
    Train,
    /// Settings are chosen on these.
    Val,
    /// Results are reported on these.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name in manifests: `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;

    /// Accepts the names in use: `train`/`training`, `val`/`valid`/`validation`/`validate`/`dev`,
    /// `test`/`testing`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Self::Train),
            "val" | "valid" | "validation" | "validate" | "dev" => Ok(Self::Val),
            "test" | "testing" => Ok(Self::Test),
            _ => Err(Error::Setting {
                setting: "split",
                value: format!("{text:?}"),
                reason: "it must be train, val or test",
            }),
        }
    }
}

/// How a synthetic image came about.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Provenance {
    /// `reconstruction`, `interpolation`, ...
    pub strategy: String,
    /// The ids of the real images whose embeddings were the condition, in order; empty for unconditional ones.
    pub source_ids: Vec<String>,
    /// How far from the first source to the second, `0..=1`; only for interpolations.
    pub fraction: Option<f64>,
    /// The seed of the image's noise.
    pub seed: Option<u64>,
    /// Classifier-free guidance, 1 = off.
    pub guidance_scale: Option<f64>,
    /// The fingerprint of the model that drew the image.
    pub model_fingerprint: Option<String>,
}

/// What the manifest says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestRow {
    /// Unique within the dataset; provenance refers to it.
    pub id: String,
    /// The file the image came from, relative to the source folder it was found in, with `/` between folders.
    pub source_file: String,
    /// What the decoded pixels are, see [`crate::pixels_hash`]; a SHA-256 in datasets of versions 1 and 2.
    pub pixel_hash: PixelHash,
    /// The salted hash of the patient's identifier, see [`crate::PatientSalt`].
    pub patient: String,
    /// The view: `PA`, `AP`, `LL`, ...
    pub view: Option<String>,
    /// The part of the dataset.
    pub split: Split,
    /// The labels that the image has, in the order of the source; empty where unknown.
    ///
    /// A label has one of four states. It is in this list (positive), in `labels_negative` (the source says that it is
    /// absent), in `labels_uncertain` (the source says that it may be there), or in none of the three: unknown, which
    /// is not the same as absent. The three lists have no label in common. Whoever asks for presence alone reads this
    /// one, as in version 1 of the format, which had no others: there, everything that is not listed is unknown.
    pub labels: Vec<String>,
    /// The labels that the source says are absent.
    pub labels_negative: Vec<String>,
    /// The labels that the source says may be there.
    pub labels_uncertain: Vec<String>,
    /// Whether the image has a mask.
    pub mask: bool,
    /// The collection that the image is from.
    pub collection: Option<String>,
    /// The licence of the image.
    pub licence: Option<String>,
    /// What the image looks like, in 64 bits that differ little between near duplicates (see [`crate::NearIndex`]); none
    /// for flat images and in datasets that older releases prepared.
    pub perceptual_hash: Option<u64>,
    /// Distance between the centres of neighbouring rows and columns of the stored image, in millimetres; none where
    /// the source does not say.
    pub pixel_spacing_mm: Option<[f64; 2]>,
    /// For synthetic images: how it came about.
    pub provenance: Option<Provenance>,
}

impl ManifestRow {
    /// An image of which no more is known than whose it is and where it serves: all else is empty, to be filled in.
    pub fn bare(patient: impl Into<String>, split: Split) -> Self {
        Self {
            id: String::new(),
            source_file: String::new(),
            pixel_hash: String::new(),
            patient: patient.into(),
            view: None,
            split,
            labels: Vec::new(),
            labels_negative: Vec::new(),
            labels_uncertain: Vec::new(),
            mask: false,
            collection: None,
            licence: None,
            perceptual_hash: None,
            pixel_spacing_mm: None,
            provenance: None,
        }
    }
}

/// Writes a manifest row by row.
#[derive(Debug)]
pub struct ManifestWriter {
    writer: SerializedFileWriter<AtomicFile>,
    rows_per_group: usize,
    pending: Pending,
    path: PathBuf,
}

impl ManifestWriter {
    /// Begins the manifest that will be at `path`; nothing is there before [`ManifestWriter::finish`].
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::create_grouped(path, ROWS_PER_GROUP)
    }

    /// As [`ManifestWriter::create`]; whoever reads the manifest has so many rows in memory at a time.
    pub(crate) fn create_grouped(path: impl AsRef<Path>, rows_per_group: usize) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = AtomicFile::create(&path)?;
        // The same rows give the same bytes, whichever release wrote them.
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("dino-diffusion".into())
            .build();
        let writer = parse_message_type(SCHEMA)
            .and_then(|schema| SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)))
            .map_err(|error| write_error(&path, error))?;
        Ok(Self { writer, rows_per_group, pending: Pending::default(), path })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn push(&mut self, row: ManifestRow) -> Result<()> {
        self.pending.push(row);
        if self.pending.len() < self.rows_per_group { Ok(()) } else { self.flush() }
    }

    /// Writes what is pending and gives the file its name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let Self { writer, path, .. } = self;
        // This writes the footer too.
        Ok(writer.into_inner().map_err(|error| write_error(&path, error))?.commit()?)
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending.len() == 0 {
            return Ok(());
        }
        mem::take(&mut self.pending).write(&mut self.writer).map_err(|error| write_error(&self.path, error))
    }
}

/// The operating system's errors, which Parquet wraps, keep their kind: a full disk is still a full disk.
fn write_error(path: &Path, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(inner) => std::io::Error::other(inner),
        },
        other => std::io::Error::other(other),
    };
    Error::io("write the file", path)(source)
}

/// Reads a manifest; an iterator over its rows that holds some hundreds at a time.
pub struct ManifestReader {
    reader: SerializedFileReader<File>,
    path: PathBuf,
    columns: Option<&'static [&'static str]>,
    next_group: usize,
    /// The row group that is being read.
    group: Option<ColumnsReader>,
    rows: std::vec::IntoIter<ManifestRow>,
    failed: bool,
}

impl fmt::Debug for ManifestReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ManifestReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ManifestReader {
    /// Opens the manifest at `path`.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Damaged`] for a file that is cut short or no Parquet file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), None)
    }

    /// As [`ManifestReader::open`], for rows with a few columns of the manifest alone, by the names of the fields (and
    /// `split`): all else is empty. Takes less time and memory.
    ///
    /// # Errors
    /// As [`ManifestReader::open`].
    pub fn open_columns(path: impl AsRef<Path>, columns: &'static [&'static str]) -> Result<Self> {
        Self::open_with(path.as_ref(), Some(columns))
    }

    pub(crate) fn open_with(path: &Path, columns: Option<&'static [&'static str]>) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read the manifest", path))?;
        let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, &error))?;
        let (path, rows) = (path.to_path_buf(), Vec::new().into_iter());
        Ok(Self { reader, path, columns, next_group: 0, group: None, rows, failed: false })
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.reader.metadata().file_metadata().num_rows().max(0) as usize
    }

    /// The rows at `indices` (numbered from 0), in the order of `indices`, which may repeat. Reads only the row groups
    /// that they are in.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Damaged`].
    pub fn rows_at(&self, indices: &[usize]) -> Result<Vec<ManifestRow>> {
        let len = self.num_rows();
        if let Some(&index) = indices.iter().find(|&&index| index >= len) {
            return Err(Error::NoSuchImage { index, len, path: self.path.clone() });
        }
        let mut order: Vec<usize> = (0..indices.len()).collect();
        order.sort_by_key(|&position| indices[position]);
        let mut found: Vec<(usize, ManifestRow)> = Vec::with_capacity(indices.len());
        let mut wanted = order.into_iter().peekable();
        let mut first = 0;
        for (group, metadata) in self.reader.metadata().row_groups().iter().enumerate() {
            let end = first + metadata.num_rows().max(0) as usize;
            if wanted.peek().is_some_and(|&position| indices[position] < end) {
                let mut columns = self.open_group(group)?;
                while wanted.peek().is_some_and(|&position| indices[position] < end) {
                    let rows = self.read(&mut columns)?;
                    let end = first + rows.len();
                    while let Some(position) = wanted.next_if(|&position| indices[position] < end) {
                        found.push((position, rows[indices[position] - first].clone()));
                    }
                    first = end;
                }
            }
            first = end;
        }
        found.sort_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    fn open_group(&self, group: usize) -> Result<ColumnsReader> {
        let opened = self
            .reader
            .get_row_group(group)
            .and_then(|group| ColumnsReader::open(&*group, self.columns, &FORMER_NAMES));
        opened.map_err(|error| damaged(&self.path, &error))
    }

    /// The next rows of a group, none at its end.
    fn read(&self, columns: &mut ColumnsReader) -> Result<Vec<ManifestRow>> {
        read_rows(columns).map_err(|error| damaged(&self.path, &error))
    }

    /// The next rows, of this group or the one after.
    fn read_on(&mut self) -> Result<Vec<ManifestRow>> {
        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                self.next_group += 1;
                self.open_group(self.next_group - 1)?
            }
        };
        let rows = self.read(&mut group)?;
        self.group = Some(group).filter(|_| !rows.is_empty());
        Ok(rows)
    }
}

impl Iterator for ManifestReader {
    type Item = Result<ManifestRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            if self.failed || (self.group.is_none() && self.next_group == self.reader.num_row_groups()) {
                return None;
            }
            match self.read_on() {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

fn damaged(path: &Path, error: &ParquetError) -> Error {
    Error::damaged("manifest", REMAKE, path, error)
}

fn read_rows(columns: &mut ColumnsReader) -> Result<Vec<ManifestRow>, ParquetError> {
    let num_rows = columns.begin(ROWS_PER_READ);
    if num_rows == 0 {
        return Ok(Vec::new());
    }
    let mut id = columns.strings("id")?.into_iter();
    let mut source_file = columns.strings("source_file")?.into_iter();
    let mut pixel_hash = columns.strings("pixel_hash")?.into_iter();
    let mut patient = columns.strings("patient")?.into_iter();
    let mut view = columns.optional_strings("view")?.into_iter();
    let mut split = columns.strings("split")?.into_iter();
    let mut labels = columns.string_lists("labels")?.into_iter();
    let mut mask = columns.bools("mask")?.into_iter();
    let mut collection = columns.optional_strings("collection")?.into_iter();
    let mut licence = columns.optional_strings("licence")?.into_iter();
    let mut strategy = columns.optional_strings("strategy")?.into_iter();
    let mut source_ids = columns.string_lists("source_ids")?.into_iter();
    let mut fraction = columns.optional_doubles("fraction")?.into_iter();
    let mut seed = columns.optional_integers("seed")?.into_iter();
    let mut guidance_scale = columns.optional_doubles("guidance_scale")?.into_iter();
    let mut model_fingerprint = columns.optional_strings("model_fingerprint")?.into_iter();
    // Version 1 had only the labels that are there.
    let mut list =
        |name| if columns.has_list(name) { columns.string_lists(name) } else { Ok(vec![Vec::new(); num_rows]) };
    let mut labels_negative = list("labels_negative")?.into_iter();
    let mut labels_uncertain = list("labels_uncertain")?.into_iter();
    // Older releases had neither hashes nor spacings.
    let hashes = columns.has("perceptual_hash").then(|| columns.optional_integers("perceptual_hash")).transpose()?;
    let mut perceptual_hash = hashes.unwrap_or_else(|| vec![None; num_rows]).into_iter();
    let mut spacing = |name| if columns.has(name) { columns.optional_doubles(name) } else { Ok(vec![None; num_rows]) };
    let mut row_spacing = spacing("row_spacing_mm")?.into_iter();
    let mut column_spacing = spacing("column_spacing_mm")?.into_iter();
    // Every column has `num_rows` entries, else reading it has failed above.
    let mut row = || -> Option<Result<ManifestRow, ParquetError>> {
        let split = match split.next()?.parse() {
            Ok(split) => split,
            Err(error) => return Some(Err(ParquetError::General(format!("{error}")))),
        };
        let (source_ids, fraction) = (source_ids.next()?, fraction.next()?);
        let (seed, guidance_scale, model_fingerprint) =
            (seed.next()?, guidance_scale.next()?, model_fingerprint.next()?);
        Some(Ok(ManifestRow {
            id: id.next()?,
            source_file: source_file.next()?,
            pixel_hash: pixel_hash.next()?,
            patient: patient.next()?,
            view: view.next()?,
            split,
            labels: labels.next()?,
            labels_negative: labels_negative.next()?,
            labels_uncertain: labels_uncertain.next()?,
            mask: mask.next()?,
            collection: collection.next()?,
            licence: licence.next()?,
            perceptual_hash: perceptual_hash.next()?,
            pixel_spacing_mm: row_spacing.next()?.zip(column_spacing.next()?).map(<[f64; 2]>::from),
            provenance: strategy.next()?.map(|strategy| Provenance {
                strategy,
                source_ids,
                fraction,
                seed,
                guidance_scale,
                model_fingerprint,
            }),
        }))
    };
    (0..num_rows).map(|_| row().unwrap_or_else(|| Err(ParquetError::General("a column is too short".into())))).collect()
}

#[cfg(test)]
mod tests;
