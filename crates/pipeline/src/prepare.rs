//! Preparing: files and folders of images become a dataset.
//!
//! Images are decoded in parallel and written in the order of the source, so the result does not depend on the number
//! of threads, and a run that is killed continues where it stopped. What cannot be used is skipped and listed. In
//! memory are one batch of decoded images, one shard of small ones, and 16 bytes for each image seen (to find
//! duplicates); for public collections also the tables that are joined, and 16 bytes for each file. At the end, when
//! the images are on disk, near duplicates take some 300 bytes for each image and patient.
//!
//! Splits are drawn by patient; patients whose images look alike are put on one side when all are known. Splits that a
//! source prescribes stay, and near duplicates across them are reported.
//!
//! Patient identifiers are hashed with a salt that lies in `private/patient-salt` of the dataset. It is needed to
//! continue an unfinished preparation and to give the same patient the same hash in another dataset (`salt_file`); for
//! nothing else. Delete it, or do not pass it on with the dataset, and the hashes can no longer be traced to
//! identifiers by trying them out.

mod decode;
mod exclude;
mod joining;
mod settings;
mod sources;
mod splits;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dataset::{Counts, Dataset, DatasetWriter, JoinedSplits, ManifestRow, PatientSalt, SplitPlan, pixel_key};
use radiograph::DecodeOptions;
use serde::{Deserialize, Serialize};

use crate::Skipped;
use crate::inspect::{Shared, across_splits};
use crate::presets::{Columns, SourceItem};
use crate::progress::Progress;
use decode::{Decoded, decode_all};
use exclude::Exclusions;
use joining::{Origins, tell_of_moves, warn_of_near_duplicates};
use settings::settings;
use sources::Sources;
use splits::GivenSplits;

/// Images decoded between two writes: enough to keep all threads busy, few enough to fit anywhere once reduced.
const BATCH: usize = 256;

/// The list of what was skipped, in the dataset's folder.
const SKIPPED_FILE: &str = "skipped.jsonl";

/// How a rectangle becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// All of the picture, centred on black.
    #[default]
    Pad,
    /// The central square; the ends of the longer side are lost.
    CentreCrop,
    /// All of the picture, squashed. Only for collections that were squashed already.
    Stretch,
}

impl From<Fit> for radiograph::Fit {
    fn from(fit: Fit) -> Self {
        match fit {
            Fit::Pad => Self::Pad,
            Fit::CentreCrop => Self::CentreCrop,
            Fit::Stretch => Self::Stretch,
        }
    }
}

/// A folder with the preset that reads it, where sources are of several kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionSource {
    /// A name from [`crate::presets::names`].
    pub preset: String,
    /// The file or folder.
    pub folder: PathBuf,
}

/// What to prepare, how, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareConfig {
    /// Files, folders, and zip or tar archives, which are read in place, in any mix.
    pub sources: Vec<PathBuf>,
    /// How to read them: a name from [`crate::presets::names`]. Default `folder`.
    pub preset: String,
    /// More sources, each with a preset of its own.
    pub collections: Vec<CollectionSource>,
    /// Take at most so many images of each collection, drawn by their names; none takes all.
    pub max_per_collection: Option<usize>,
    /// A table of collections, patients and images to leave out, or a dataset whose images and patients are left out.
    pub exclude: Option<PathBuf>,
    /// The columns of the preset `csv`.
    pub csv: Columns,
    /// Height and width of the images to make, in pixels. Default 256.
    pub image_size: usize,
    /// How a rectangle becomes a square. Default `pad`.
    pub fit: Fit,
    /// Stretch the values of PNG and JPEG images between their percentiles, as is done with DICOM images that have no
    /// window. Default false.
    pub stretch_plain_images: bool,
    /// Images with more pixels are skipped and listed, before memory is taken for them; files of more than 8 bytes for
    /// each of these pixels and 64 MiB likewise. Default 100,000,000.
    pub max_pixels: u64,
    /// How patients are shared out among the splits, where the source does not say.
    pub split: SplitPlan,
    /// Keep one of several images with the same pixels. Default true.
    pub deduplicate: bool,
    /// Put patients whose images look alike on one side of the split, where the split is drawn. Default true.
    pub join_near_duplicates: bool,
    /// The salt of the patient hashes; none draws one.
    pub salt_file: Option<PathBuf>,
    /// Images per shard. Default [`dataset::DEFAULT_SHARD_SIZE`].
    pub shard_size: usize,
    /// The dataset.
    pub out: PathBuf,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            preset: "folder".into(),
            collections: Vec::new(),
            max_per_collection: None,
            exclude: None,
            csv: Columns::default(),
            image_size: 256,
            fit: Fit::Pad,
            stretch_plain_images: false,
            max_pixels: DecodeOptions::default().max_pixels,
            split: SplitPlan::default(),
            deduplicate: true,
            join_near_duplicates: true,
            salt_file: None,
            shard_size: dataset::DEFAULT_SHARD_SIZE,
            out: PathBuf::new(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct PrepareSummary {
    /// The dataset.
    pub dataset: PathBuf,
    /// Images in the dataset.
    pub num_images: usize,
    /// Of these, images with a mask.
    pub num_masks: usize,
    /// Of these, images that were there already from an earlier session.
    pub num_continued: usize,
    /// Images in each split.
    pub counts: Counts,
    /// The labels that occur.
    pub labels: Vec<String>,
    /// Of what was skipped, images whose pixels were there already.
    pub num_duplicates: usize,
    /// Patients who went to another split than the one drawn for them, to be with images that look like theirs; none
    /// where the dataset was finished before.
    pub num_moved_patients: Option<usize>,
    /// Images that look like an earlier one in another split, by their ids.
    pub near_across_splits: Shared,
    /// Images that `exclude` left out, in this session.
    pub num_excluded: usize,
    /// Images decoded in a second, in this session; none where all was there.
    pub images_per_sec: Option<f64>,
    /// What was skipped, and why: files that are no images, rows without a file, duplicates.
    pub skipped: Vec<Skipped>,
    /// The file that lists the same, where anything was.
    pub skipped_file: Option<PathBuf>,
}

/// Prepares; continues what was begun, and does nothing where all is done.
///
/// # Errors
/// A source or preset that does not exist, a table without the columns it needs, given splits that put a patient on
/// both sides, no usable image at all, an output folder that holds something else, a disk that is full. Single images
/// are never errors: see [`PrepareSummary::skipped`].
pub fn run(config: &PrepareConfig, progress: &dyn Progress) -> Result<PrepareSummary> {
    check(config)?;
    // Names that do not exist come first: everything else is about files.
    Sources::new(config, &Exclusions::default())?;
    let exclusions = read_exclusions(config, progress)?;
    if let Some(finished) = already_finished(config, &exclusions)? {
        progress.say("the dataset is finished already; delete it to prepare it anew");
        warn_of_near_duplicates(&finished.near_across_splits, progress);
        return Ok(finished);
    }
    let sources = Sources::new(config, &exclusions)?;
    progress.begin("looking for images", 0, "images");
    let given = GivenSplits::collect(sources.choosing(sources.items()?), |amount| progress.advance(amount, ""));
    progress.end();
    let given = given?;
    exclusions.check_collections(&sources.collections())?;
    ensure!(
        given.num_items > 0,
        "the sources hold no images{}; give files or folders that do: {}",
        if sources.num_excluded() > 0 { " but those that are excluded" } else { "" },
        first_source(config).display()
    );

    let salt = open_salt(config)?;
    let mut session = Session::begin(config, &given, &exclusions, salt)?;
    progress.begin("preparing images", given.num_items, "images");
    let result = session.take_all(&sources, progress);
    progress.end();
    result?;
    if let Some(sentence) = exclusions.unmatched() {
        progress.say(&sentence);
    }
    session.finish(progress)
}

/// What `exclude` says. The patients of a dataset can be compared with the salt that is given or that an unfinished
/// dataset has; one that is yet to be drawn is like no other.
fn read_exclusions(config: &PrepareConfig, progress: &dyn Progress) -> Result<Exclusions> {
    let Some(path) = &config.exclude else { return Ok(Exclusions::default()) };
    let own = config.out.join("private/patient-salt");
    let salt = match &config.salt_file {
        Some(path) => PatientSalt::open(path)?,
        None if own.is_file() => PatientSalt::open(own)?,
        None => PatientSalt::random()?,
    };
    Exclusions::read(path, &salt, |sentence| progress.say(sentence))
}

fn first_source(config: &PrepareConfig) -> &Path {
    let more = || config.collections.first().map(|source| source.folder.as_path());
    config.sources.first().map(PathBuf::as_path).or_else(more).unwrap_or(Path::new(""))
}

/// Checks what does not need the disk.
fn check(config: &PrepareConfig) -> Result<()> {
    ensure!(
        !config.sources.is_empty() || !config.collections.is_empty(),
        "there is nothing to prepare; give files or folders"
    );
    ensure!(!config.out.as_os_str().is_empty(), "there is no place for the dataset; give `--out`");
    let size = config.image_size;
    ensure!((8..=4096).contains(&size), "the image size is {size}; it must be between 8 and 4096 pixels");
    ensure!(config.max_pixels > 0, "at most 0 pixels leaves no image; give `max_pixels` of 1 or more");
    ensure!(config.shard_size > 0, "the shard size is 0; it must be at least 1");
    ensure!(config.max_per_collection != Some(0), "at most 0 images of each collection leaves none; give 1 or more");
    config.split.check()?;
    Ok(())
}

/// The summary of a dataset that was finished with the same settings, `None` where there is none.
fn already_finished(config: &PrepareConfig, exclusions: &Exclusions) -> Result<Option<PrepareSummary>> {
    if !config.out.join("dataset.toml").is_file() {
        return Ok(None);
    }
    let dataset = Dataset::open(&config.out)?;
    let (info, wanted) = (dataset.info(), settings(config, exclusions, None)?);
    if (info.image_size, &info.preparation) != (wanted.image_size, &wanted.preparation) {
        bail!(
            "the folder holds a dataset that was prepared with other settings; choose another output folder, or delete \
             it: {}",
            config.out.display()
        );
    }
    let path = config.out.join(SKIPPED_FILE);
    let skipped = std::fs::read_to_string(&path).unwrap_or_default();
    let skipped: Vec<Skipped> = skipped.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Some(PrepareSummary { num_continued: dataset.len(), ..summary(&dataset, skipped)? }))
}

/// What a dataset says of itself; nothing of the session that made it.
fn summary(dataset: &Dataset, skipped: Vec<Skipped>) -> Result<PrepareSummary> {
    let info = dataset.info();
    Ok(PrepareSummary {
        dataset: dataset.dir().to_path_buf(),
        num_images: info.num_images,
        num_masks: info.num_masks,
        num_continued: 0,
        counts: info.counts,
        labels: info.labels.clone(),
        num_duplicates: skipped.iter().filter(|skipped| skipped.reason.starts_with(DUPLICATE)).count(),
        num_moved_patients: None,
        near_across_splits: across_splits(dataset)?,
        num_excluded: 0,
        images_per_sec: None,
        skipped_file: (!skipped.is_empty()).then(|| dataset.dir().join(SKIPPED_FILE)),
        skipped,
    })
}

/// How the reason of a duplicate begins.
const DUPLICATE: &str = "it has the same pixels as";

/// The salt that was given, or the dataset's own.
fn open_salt(config: &PrepareConfig) -> Result<PatientSalt> {
    if let Some(path) = &config.salt_file {
        return Ok(PatientSalt::open(path)?);
    }
    // A folder that holds something else is refused before anything is put into it.
    let out = &config.out;
    let occupied = out.is_dir() && !Dataset::is_dataset(out) && holds_other_files(out)?;
    ensure!(!occupied, "the output folder holds other files; choose an empty or a new folder: {}", out.display());
    Ok(PatientSalt::open_or_create(out.join("private/patient-salt"))?)
}

fn holds_other_files(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("the folder cannot be read: {}", dir.display()))?;
    let known = |name: &str| matches!(name, "private" | "partial" | SKIPPED_FILE) || name.starts_with('.');
    Ok(entries.flatten().any(|entry| !known(&entry.file_name().to_string_lossy())))
}

/// One call of [`run`] at work.
struct Session<'a> {
    config: &'a PrepareConfig,
    given: &'a GivenSplits,
    exclusions: &'a Exclusions,
    salt: PatientSalt,
    writer: DatasetWriter,
    num_continued: usize,
    /// Names of the images that are on disk already, hashed.
    committed: HashSet<u64>,
    /// The first half of the pixel hash of every image.
    seen: HashSet<[u8; 16]>,
    origins: Origins,
    skipped: Vec<Skipped>,
    num_decoded: usize,
    num_excluded: usize,
    started: Instant,
}

impl<'a> Session<'a> {
    fn begin(
        config: &'a PrepareConfig,
        given: &'a GivenSplits,
        exclusions: &'a Exclusions,
        salt: PatientSalt,
    ) -> Result<Self> {
        let settings = settings(config, exclusions, Some(salt.fingerprint()))?;
        let writer = DatasetWriter::create_or_resume(&config.out, settings)?;
        let (mut committed, mut seen) = (HashSet::new(), HashSet::new());
        for row in writer.committed_rows() {
            let row = row?;
            committed.insert(splits::short_hash(&row.source_file));
            seen.insert(pixel_key(&row.sha256));
        }
        let num_continued = writer.num_committed();
        let started = Instant::now();
        Ok(Self {
            config,
            given,
            exclusions,
            salt,
            writer,
            num_continued,
            committed,
            seen,
            origins: Origins::default(),
            skipped: Vec::new(),
            num_decoded: 0,
            num_excluded: 0,
            started,
        })
    }

    fn take_all(&mut self, sources: &Sources<'_>, progress: &dyn Progress) -> Result<()> {
        let mut items = sources.items()?;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            let mut num_items = 0;
            for item in items.by_ref().take(BATCH) {
                num_items += 1;
                if let Ok(item) = &item {
                    self.origins.note(item, self.given);
                }
                match item {
                    Ok(item) if self.committed.contains(&splits::short_hash(&item.name)) => {}
                    Ok(item) => batch.push(item),
                    Err(skipped) => self.skipped.push(skipped),
                }
            }
            if num_items == 0 {
                self.num_excluded += sources.num_excluded();
                return Ok(());
            }
            let decoded = decode_all(&batch, self.config);
            for (item, decoded) in batch.drain(..).zip(decoded) {
                match decoded {
                    Ok(decoded) => self.take(item, decoded)?,
                    Err(reason) => self.skipped.push(Skipped { item: item.name, reason }),
                }
            }
            let note = if self.skipped.is_empty() { String::new() } else { format!("{} skipped", self.skipped.len()) };
            progress.advance(num_items, &note);
        }
    }

    /// Adds an image to the dataset, unless its pixels are there.
    fn take(&mut self, item: SourceItem, decoded: Decoded) -> Result<()> {
        self.num_decoded += 1;
        // Nobody known to be the same patient: a patient of their own, the same wherever the same picture turns up.
        let patient = item.patient.or(decoded.patient).unwrap_or_else(|| format!("image {}", decoded.sha256));
        let hashed = self.salt.hash(&patient);
        if self.exclusions.has_decoded(item.collection.as_deref(), &patient, &hashed, &decoded.sha256) {
            self.num_excluded += 1;
            return Ok(());
        }
        let mut id = decoded.sha256[..16].to_owned();
        if !self.seen.insert(pixel_key(&decoded.sha256)) {
            if self.config.deduplicate {
                let reason = format!("{DUPLICATE} image {id}, which is kept");
                self.skipped.push(Skipped { item: item.name, reason });
                return Ok(());
            }
            id = format!("{id}-{}", self.writer.len());
        }
        if let Some(reason) = decoded.mask_problem {
            let item = item.mask.first().map_or_else(String::new, |mask| mask.path().display().to_string());
            self.skipped.push(Skipped { item, reason });
        }
        let split = item.split.or_else(|| self.given.of(&patient)).unwrap_or_else(|| {
            let is_not_test = item.is_not_test || self.given.is_not_test(&patient);
            let plan = if is_not_test { splits::without_test(self.config.split) } else { self.config.split };
            plan.assign(&patient)
        });
        let row = ManifestRow {
            id,
            source_file: item.name,
            sha256: decoded.sha256,
            patient: hashed,
            view: item.view.or(decoded.view).map(|view| view.to_uppercase()),
            split,
            labels: item.labels,
            labels_negative: item.labels_negative,
            labels_uncertain: item.labels_uncertain,
            mask: decoded.mask.is_some(),
            collection: item.collection,
            licence: item.licence,
            perceptual_hash: decoded.perceptual_hash,
            pixel_spacing_mm: decoded.pixel_spacing_mm,
            provenance: None,
        };
        Ok(self.writer.push(row, &decoded.image, decoded.mask.as_deref())?)
    }

    fn finish(self, progress: &dyn Progress) -> Result<PrepareSummary> {
        let Self { config, writer, origins, skipped, num_continued, num_decoded, num_excluded, started, .. } = self;
        let seconds = started.elapsed().as_secs_f64();
        let list = config.out.join(SKIPPED_FILE);
        if skipped.is_empty() {
            // A former session may have skipped what is sound by now.
            let _ = std::fs::remove_file(&list);
        } else {
            let mut lines = Vec::new();
            for skipped in &skipped {
                serde_json::to_writer(&mut lines, skipped)?;
                lines.push(b'\n');
            }
            dataset::write_file(&list, &lines)?;
        }
        if writer.is_empty() {
            ensure!(num_excluded == 0, "nothing is left: the exclude list leaves out {num_excluded} images; check it");
            let first = skipped.first().map_or_else(String::new, |first| format!("{}: {}", first.item, first.reason));
            bail!("none of the {} files can be used; the first: {first}", skipped.len());
        }
        let (dataset, joined) = if config.join_near_duplicates {
            writer.finish_joined(|row| origins.of(row))?
        } else {
            (writer.finish()?, JoinedSplits::default())
        };
        tell_of_moves(&joined, progress);
        let summary = PrepareSummary {
            num_continued,
            num_excluded,
            num_moved_patients: Some(joined.moves.len()),
            images_per_sec: (num_decoded > 0).then_some(num_decoded as f64 / seconds),
            ..summary(&dataset, skipped)?
        };
        warn_of_near_duplicates(&summary.near_across_splits, progress);
        Ok(summary)
    }
}

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod tests;
