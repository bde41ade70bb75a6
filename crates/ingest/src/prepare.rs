//! Preparing: files and folders of images become a dataset.
//!
//! Images are decoded in parallel and written in the order of the source, so the result does not depend on the number
//! of threads, and a run that is killed continues where it stopped. What cannot be used is skipped and listed. In
//! memory are two batches of decoded images, the rows of two shards, and 10 bytes for each image seen (to find
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

mod changes;
mod committed;
mod decode;
mod ending;
mod exclude;
mod growing;
mod joining;
mod merge;
mod numbers;
mod part;
mod remarks;
mod salt;
mod seen;
mod session;
mod settings;
mod sources;
mod splits;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dataset::SplitPlan;
use radiograph::DecodeOptions;
use serde::{Deserialize, Serialize};

use crate::presets::Columns;
pub use ending::PrepareSummary;
use messages::Progress;
// For the fuzz targets, which read lists without preparing anything.
#[doc(hidden)]
pub use exclude::Exclusions;
pub use merge::{MergeConfig, merge};
pub use part::Part;
pub use radiograph::Fit;
pub use remarks::{Remarked, Remarks};
use salt::{check_places, open_salt};
use session::Session;
use sources::Sources;
use splits::GivenSplits;

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
    /// Stretch the values of PNG and JPEG images between their percentiles, as is done with DICOM images of more than 8 bits
    /// that have no window; and of DICOM images of up to 8 bits without a window, or whose window leaves nothing to see.
    /// Default false.
    pub stretch_plain_images: bool,
    /// Decode pictures whose compression allows it (JPEG of the usual kinds, JPEG 2000) to a half, a quarter or an eighth
    /// of their rows and columns, as long as they keep twice the resolution of the dataset. Quicker; pixels differ a little,
    /// and equal pixels are recognised among files of one format and datasets of one size only. Does nothing where
    /// `crop_borders` or `mask_corner_text` need the whole picture. Default false.
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
    // On a thread of the pool: what cannot be shared out is done while the others decode, and by no thread of its own.
    rayon::scope(|_| run_in_pool(config, progress))
}

fn run_in_pool(config: &PrepareConfig, progress: &dyn Progress) -> Result<PrepareSummary> {
    check(config)?;
    // Names that do not exist come first: everything else is about files.
    Sources::new(config, &Exclusions::default())?;
    let exclusions = Exclusions::of(config, progress)?;
    let finished = growing::finished_dataset(config, &exclusions)?;
    if let Some(dataset) = finished.as_ref().filter(|_| !config.add) {
        progress.say("the dataset is finished already; add what is new in its sources by `add`, or delete it");
        return ending::unchanged(dataset, progress);
    }
    check_places(config)?;
    let sources = Sources::new(config, &exclusions)?;
    progress.begin("looking for images", 0, "images");
    let given = GivenSplits::collect(sources.choosing(sources.items()?), |amount| progress.advance(amount, ""));
    progress.end();
    let given = given?;
    sources.notes().iter().for_each(|sentence| progress.say(sentence));
    exclusions.check_collections(&sources.collections())?;
    if let Some(dataset) = finished
        && !growing::has_news(&dataset, &sources)?
    {
        progress.say("the sources hold nothing new");
        return ending::unchanged(&dataset, progress);
    }
    memory::release_unused(0);
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

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
pub(crate) mod tests;
