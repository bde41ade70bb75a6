//! Preparing: files and folders of images become a dataset.
//!
//! Images are decoded in parallel and written in the order of the source, so the result does not depend on the number
//! of threads, and a run that is killed continues where it stopped. What cannot be used is skipped and listed. In
//! memory are one batch of decoded images, one shard of small ones, and 10 bytes for each image seen (to find
//! duplicates); for public collections also the tables that are joined, and 11 bytes for each image whose split they
//! prescribe. At the end, when the images are on disk and these are gone, as much again finds near duplicates and checks
//! the splits, one after the other.
//!
//! Several machines can each prepare a [`Part`], which [`merge`] joins to what a single run makes; a finished dataset
//! takes in what is new in its sources where [`PrepareConfig::add`] says so.
//!
//! Splits are drawn by patient; patients whose images look alike are put on one side when all are known. Splits that a
//! source prescribes stay, and near duplicates across them are reported.
//!
//! Patient identifiers are hashed with a salt that lies in `private/patient-salt` of the dataset. It is needed to
//! continue an unfinished preparation, to add images, and to give the same patient the same hash in another part or
//! dataset (`salt_file`); for nothing else. Delete it, or do not pass it on with the dataset, and the hashes can no
//! longer be traced to identifiers by trying them out.

mod committed;
mod decode;
mod ending;
mod exclude;
mod growing;
mod joining;
mod merge;
mod numbers;
mod part;
mod salt;
mod seen;
mod settings;
mod sources;
mod splits;

use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use dataset::{DatasetWriter, ManifestRow, PatientSalt, SplitPlan};
use radiograph::DecodeOptions;
use serde::{Deserialize, Serialize};

use crate::Skipped;
use crate::archive::FileSource;
use crate::presets::{Columns, SourceItem};
use crate::progress::Progress;
use committed::Committed;
use decode::{Decoded, decode_all};
pub use ending::PrepareSummary;
use ending::duplicate;
use exclude::Exclusions;
use growing::Kept;
use joining::Origins;
pub use merge::{MergeConfig, merge};
pub use part::Part;
use part::Share;
use salt::open_salt;
use seen::Seen;
use settings::settings;
use sources::Sources;
use splits::GivenSplits;

/// Images decoded between two writes: enough to keep all threads busy, few enough to fit anywhere once reduced.
const BATCH: usize = 256;

/// Files and rows that are gone through between two signs of progress.
const MAX_ITEMS: u64 = 100_000;

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
    /// Decode pictures whose compression allows it (JPEG of the usual kinds, JPEG 2000) to a half, a quarter or an eighth
    /// of their rows and columns, as long as they keep twice the resolution of the dataset. Quicker; pixels differ a little,
    /// and equal pixels are recognised among files of one format and datasets of one size only. Default false.
    pub reduced_decoding: bool,
    /// Cut off borders that show nothing: collimation margins and frames of scanners. Default false.
    pub crop_borders: bool,
    /// Paint over what looks like text in the corners, side markers included. No guarantee. Default false.
    pub mask_corner_text: bool,
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
    /// Prepare one of several shares only, to be joined by [`merge`]. Needs `salt_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Add to a finished dataset what is new in its sources. Default false.
    pub add: bool,
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
            reduced_decoding: false,
            crop_borders: false,
            mask_corner_text: false,
            max_pixels: DecodeOptions::default().max_pixels,
            split: SplitPlan::default(),
            deduplicate: true,
            join_near_duplicates: true,
            salt_file: None,
            shard_size: dataset::DEFAULT_SHARD_SIZE,
            part: None,
            add: false,
            out: PathBuf::new(),
        }
    }
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
    let exclusions = Exclusions::of(config, progress)?;
    let finished = growing::finished_dataset(config, &exclusions)?;
    if let Some(dataset) = finished.as_ref().filter(|_| !config.add) {
        progress.say("the dataset is finished already; add what is new in its sources by `add`, or delete it");
        return ending::unchanged(dataset, progress);
    }
    let sources = Sources::new(config, &exclusions)?;
    progress.begin("looking for images", 0, "images");
    let given = GivenSplits::collect(sources.choosing(sources.items()?), |amount| progress.advance(amount, ""));
    progress.end();
    let given = given?;
    exclusions.check_collections(&sources.collections())?;
    if let Some(dataset) = finished
        && !growing::has_news(&dataset, &sources)?
    {
        progress.say("the sources hold nothing new");
        return ending::unchanged(&dataset, progress);
    }
    kernels::release_unused_memory(0);
    ensure!(
        given.num_items > 0,
        "the sources hold no images{}; give files or folders that do: {}",
        if sources.num_excluded() > 0 { " but those that are excluded" } else { "" },
        first_source(config).display()
    );

    let salt = open_salt(config)?;
    let mut session = Session::begin(config, given, &exclusions, salt)?;
    progress.begin("preparing images", session.given.num_items, "images");
    let result = session.take_all(&sources, progress);
    progress.end();
    result?;
    // A part has not seen all images.
    if let Some(sentence) = exclusions.unmatched().filter(|_| config.part.is_none()) {
        progress.say(&sentence);
    }
    session.finish(&sources, progress)
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
    ensure!(
        config.part.is_none() || config.salt_file.is_some(),
        "parts must hash patients with the same key; put 32 random characters into a file that nobody else can read, \
         and give it to every part by `--salt-file`"
    );
    ensure!(config.part.is_none() || !config.add, "`add` adds to a whole dataset; leave `part` out");
    Ok(())
}

/// One call of [`run`] at work.
struct Session<'a> {
    config: &'a PrepareConfig,
    given: GivenSplits,
    exclusions: &'a Exclusions,
    salt: PatientSalt,
    writer: DatasetWriter,
    num_continued: usize,
    /// The images that are on disk already and were not met yet.
    committed: Committed,
    /// What a finished dataset had before images are added to it.
    kept: Kept,
    /// What is needed to join the parts, where this is one.
    share: Option<Share>,
    seen: Seen,
    origins: Origins,
    /// What was skipped, with its number.
    skipped: Vec<(u64, Skipped)>,
    /// Files and rows so far: the number of the next one.
    num_items: u64,
    num_decoded: usize,
    /// Of the images that were taken, those whose borders were cut off, and those in which text was painted over.
    num_changed: [usize; 2],
    /// Images that were left out after they were decoded.
    num_excluded: usize,
    started: Instant,
}

/// What is to be done about an image, in the order of the sources.
struct Task {
    number: u64,
    /// Its name, where an earlier session wrote it.
    there: Option<String>,
    /// Whether it is decoded: of those that are there, only to say again what is wrong with its mask.
    decode: bool,
}

impl<'a> Session<'a> {
    fn begin(
        config: &'a PrepareConfig,
        given: GivenSplits,
        exclusions: &'a Exclusions,
        salt: PatientSalt,
    ) -> Result<Self> {
        let settings = settings(config, exclusions, Some(salt.fingerprint()))?;
        let writer = growing::open_writer(config, settings)?;
        let (mut committed, mut seen) = (Committed::default(), Seen::new(config.deduplicate));
        let (mut share, mut kept) = (config.part.map(Share::new), Kept::new(config, &writer));
        let rows = writer.committed_columns(&["source_file", "pixel_hash", "patient", "split", "mask"]);
        for (index, row) in rows.enumerate() {
            let row = row?;
            committed.note(&row);
            seen.note(&row.pixel_hash);
            if let Some(share) = &mut share {
                share.expect(&row.source_file);
            }
            if index < writer.num_kept() {
                kept.note(&row);
            }
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
            kept,
            share,
            seen,
            origins: Origins::default(),
            skipped: Vec::new(),
            num_items: 0,
            num_decoded: 0,
            num_changed: [0; 2],
            num_excluded: 0,
            started,
        })
    }

    /// Decodes a batch of images while the batch before is hashed, judged and written.
    fn take_all(&mut self, sources: &Sources<'_>, progress: &dyn Progress) -> Result<()> {
        let mut items = sources.items()?;
        let (mut tasks, mut batch, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
        let mut num_waiting = 0;
        loop {
            let num_items = self.num_items;
            let (next_tasks, next_batch) = self.next_batch(&mut items);
            let num_items = self.num_items - num_items;
            let config = self.config;
            let waiting = (mem::replace(&mut tasks, next_tasks), batch, decoded);
            let (next_decoded, taken) =
                rayon::join(|| decode_all(&next_batch, config), || self.take_batch(waiting.0, waiting.1, waiting.2));
            taken?;
            (batch, decoded) = (next_batch, next_decoded);
            if num_waiting > 0 {
                let num_skipped = self.skipped.len();
                progress.advance(
                    num_waiting,
                    &if num_skipped == 0 { String::new() } else { format!("{num_skipped} skipped") },
                );
            }
            num_waiting = num_items;
            if num_items == 0 {
                return Ok(());
            }
        }
    }

    /// What comes next in the sources, with the images of it that are to be decoded.
    fn next_batch(
        &mut self,
        items: &mut impl Iterator<Item = Result<SourceItem, Skipped>>,
    ) -> (Vec<Task>, Vec<SourceItem>) {
        let (mut tasks, mut batch) = (Vec::new(), Vec::with_capacity(BATCH));
        let first = self.num_items;
        // Of a part, or of what is continued, few of many items are to be decoded.
        while batch.len() < BATCH
            && self.num_items - first < MAX_ITEMS
            && let Some(item) = items.next()
        {
            self.sort_out(item, &mut tasks, &mut batch);
        }
        (tasks, batch)
    }

    /// What is to be decoded: nothing where an image is not of this part, is there already, or is known to be of no use.
    fn sort_out(&mut self, item: Result<SourceItem, Skipped>, tasks: &mut Vec<Task>, batch: &mut Vec<SourceItem>) {
        let number = self.num_items;
        self.num_items += 1;
        if let Some(share) = &mut self.share
            && !share.list(item.as_ref(), &self.salt)
        {
            return;
        }
        let item = match item {
            Ok(item) => item,
            Err(skipped) => return self.skipped.push((number, skipped)),
        };
        self.origins.note(&item, &self.given);
        let Some(has_no_mask) = self.committed.take(&item.name) else {
            match self.kept.duplicate(&item.name) {
                Some(skipped) => self.skipped.push((number, skipped)),
                None => {
                    tasks.push(Task { number, there: None, decode: true });
                    batch.push(item);
                }
            }
            return;
        };
        let lacks_mask = has_no_mask && !item.mask.is_empty();
        if lacks_mask || self.share.is_some() {
            tasks.push(Task { number, there: Some(item.name.clone()), decode: lacks_mask });
        }
        if lacks_mask {
            batch.push(item);
        }
    }

    /// Takes a batch in the order of the sources.
    fn take_batch(
        &mut self,
        tasks: Vec<Task>,
        batch: Vec<SourceItem>,
        decoded: Vec<Result<Decoded, String>>,
    ) -> Result<()> {
        let mut decoded = batch.into_iter().zip(decoded);
        for Task { number, there, decode } in tasks {
            if let (Some(share), Some(name)) = (&mut self.share, &there) {
                share.add(number, name, self.origins.of_name(name))?;
            }
            let Some((item, decoded)) = decode.then(|| decoded.next()).flatten() else { continue };
            match decoded {
                Err(reason) => self.skipped.push((number, Skipped { item: item.name, reason })),
                Ok(decoded) if there.is_some() => {
                    self.num_decoded += 1;
                    self.note_mask_problem(number, &item.mask, decoded.mask_problem);
                }
                Ok(decoded) => self.take(number, item, decoded)?,
            }
        }
        Ok(())
    }

    /// Adds an image to the dataset, unless its pixels are there.
    fn take(&mut self, number: u64, item: SourceItem, decoded: Decoded) -> Result<()> {
        self.num_decoded += 1;
        // Nobody known to be the same patient: a patient of their own, the same wherever the same picture turns up.
        let patient = item.patient.or(decoded.patient).unwrap_or_else(|| format!("image {}", decoded.pixel_hash));
        let hashed = self.salt.hash(&patient);
        if self.exclusions.has_decoded(item.collection.as_deref(), &patient, &hashed, &decoded.pixel_hash) {
            self.num_excluded += 1;
            return Ok(());
        }
        let prescribed = item.split.or_else(|| self.given.of(&patient));
        if let Some(skipped) = self.kept.contradiction(&item.name, &hashed, prescribed) {
            self.skipped.push((number, skipped));
            return Ok(());
        }
        let id = match self.seen.id(&decoded.pixel_hash, self.writer.len()) {
            Ok(id) => id,
            Err(twin) => {
                self.skipped.push((number, duplicate(item.name, &twin)));
                return Ok(());
            }
        };
        self.note_mask_problem(number, &item.mask, decoded.mask_problem);
        self.num_changed[0] += usize::from(decoded.is_cropped);
        self.num_changed[1] += usize::from(decoded.has_masked_text);
        let split = prescribed.or_else(|| self.kept.split_of(&hashed)).unwrap_or_else(|| {
            let is_not_test = item.is_not_test || self.given.is_not_test(&patient);
            let plan = if is_not_test { splits::without_test(self.config.split) } else { self.config.split };
            plan.assign(&patient)
        });
        if let Some(share) = &mut self.share {
            share.add(number, &item.name, self.origins.of_name(&item.name))?;
        }
        let row = ManifestRow {
            id,
            source_file: item.name,
            pixel_hash: decoded.pixel_hash,
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

    fn note_mask_problem(&mut self, number: u64, mask: &[FileSource], problem: Option<String>) {
        if let Some(reason) = problem {
            let item = mask.first().map_or_else(String::new, |mask| mask.path().display().to_string());
            self.skipped.push((number, Skipped { item, reason }));
        }
    }

    fn finish(self, sources: &Sources<'_>, progress: &dyn Progress) -> Result<PrepareSummary> {
        let seconds = self.started.elapsed().as_secs_f64();
        let num_excluded = [sources.num_excluded(), self.num_excluded];
        let Self { config, writer, origins, skipped, share, num_items, num_continued, num_decoded, .. } = self;
        // What is needed from here on takes the place of these.
        drop((self.given, self.committed, self.kept, self.seen));
        kernels::release_unused_memory(0);
        let finished = match share {
            Some(share) => {
                let num_parts = share.num_parts();
                share.write(&config.out, num_items, num_excluded, &skipped)?;
                ending::finish_part(&config.out, writer, num_parts, skipped)?
            }
            None => {
                let origins = config.join_near_duplicates.then_some(&origins);
                ending::finish(&config.out, writer, skipped, origins, num_excluded.iter().sum(), progress)?
            }
        };
        Ok(PrepareSummary {
            num_continued,
            num_excluded: num_excluded.iter().sum(),
            num_cropped: config.crop_borders.then_some(self.num_changed[0]),
            num_text_masked: config.mask_corner_text.then_some(self.num_changed[1]),
            images_per_sec: (num_decoded > 0).then_some(num_decoded as f64 / seconds),
            ..finished
        })
    }
}

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod tests;
