//! How a preparation ends: the list of what was skipped, the dataset, and what is said of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use dataset::{Counts, Dataset, DatasetWriter};
use serde::Serialize;

use super::joining::{Origins, tell_of_moves, warn_of_near_duplicates};
use super::remarks::Remarks;
use crate::compare::{Shared, across_splits};
use messages::Progress;
use messages::Skipped;

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
    /// Of the images taken in this session, those whose borders were cut off; none where that is not asked for. When parts
    /// are joined, of all images, unless one of the parts was continued: of what was there before nobody knows.
    pub num_cropped: Option<usize>,
    /// Likewise, those in which something that looks like text was painted over.
    pub num_text_masked: Option<usize>,
    /// What is to be known about the images that were taken in this session: how many of each kind, and one of them. When
    /// parts are joined, about all images, unless one of the parts was continued.
    pub remarks: Option<Remarks>,
    /// Images decoded in a second, in this session; none where all was there.
    pub images_per_sec: Option<f64>,
    /// What was skipped, and why: files that are no images, rows without a file, duplicates.
    pub skipped: Vec<Skipped>,
    /// The file that lists the same, where anything was.
    pub skipped_file: Option<PathBuf>,
}

/// The list of what was skipped, in the dataset's folder.
pub(super) const SKIPPED_FILE: &str = "skipped.jsonl";

/// How the reason of a duplicate begins.
const DUPLICATE: &str = "it has the same pixels as";

/// An image that is left out, because one with the same pixels is there.
pub(super) fn duplicate(item: String, id: &str) -> Skipped {
    Skipped { item, reason: format!("{DUPLICATE} image {id}, which is kept") }
}

pub(super) fn is_duplicate(skipped: &Skipped) -> bool {
    skipped.reason.starts_with(DUPLICATE)
}

/// What a dataset lists as skipped.
pub(super) fn read_skipped(dir: &Path) -> Vec<Skipped> {
    let text = fs::read_to_string(dir.join(SKIPPED_FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Lists what was skipped in the order of the sources, whenever it was found.
fn write_skipped(dir: &Path, mut skipped: Vec<(u64, Skipped)>) -> Result<Vec<Skipped>> {
    skipped.sort_by_key(|(number, _)| *number);
    let list = dir.join(SKIPPED_FILE);
    if skipped.is_empty() {
        // A former session may have skipped what is sound by now.
        let _ = fs::remove_file(&list);
    } else {
        let mut lines = Vec::new();
        for (_, skipped) in &skipped {
            serde_json::to_writer(&mut lines, skipped)?;
            lines.push(b'\n');
        }
        files::write_file(&list, &lines)?;
    }
    Ok(skipped.into_iter().map(|(_, skipped)| skipped).collect())
}

/// Finishes a dataset. `origins` says how images came to their splits; without, nobody is moved.
///
/// # Errors
/// No image at all, patients on both sides of given splits, a disk that is full.
pub(super) fn finish(
    out: &Path,
    writer: DatasetWriter,
    skipped: Vec<(u64, Skipped)>,
    origins: Option<&Origins>,
    num_excluded: usize,
    progress: &dyn Progress,
) -> Result<PrepareSummary> {
    let skipped = write_skipped(out, skipped)?;
    if writer.is_empty() {
        ensure!(num_excluded == 0, "nothing is left: the exclude list leaves out {num_excluded} images; check it");
        let first = skipped.first().map_or_else(String::new, |first| format!("{}: {}", first.item, first.reason));
        bail!("none of the {} files can be used; the first: {first}", skipped.len());
    }
    let (dataset, num_moved) = match origins {
        Some(origins) => {
            let (dataset, joined) = writer.finish_joined(|name| origins.of_name(name))?;
            tell_of_moves(&joined, progress);
            (dataset, joined.num_moved())
        }
        None => (writer.finish()?, 0),
    };
    let summary = PrepareSummary { num_moved_patients: Some(num_moved), ..summary(&dataset, skipped)? };
    warn_of_near_duplicates(&summary.near_across_splits, progress);
    Ok(summary)
}

/// Finishes one of several parts, which may be empty, and in which nobody is moved: who looks alike is known when parts are joined.
///
/// # Errors
/// Those of [`finish`] but for the first.
pub(super) fn finish_part(
    out: &Path,
    writer: DatasetWriter,
    num_parts: usize,
    skipped: Vec<(u64, Skipped)>,
) -> Result<PrepareSummary> {
    let skipped = write_skipped(out, skipped)?;
    summary(&writer.finish_part(num_parts)?, skipped)
}

/// A finished dataset with which nothing happens, but that what a kill at the very end left is removed.
///
/// # Errors
/// A manifest that cannot be read.
pub(super) fn unchanged(dataset: &Dataset, progress: &dyn Progress) -> Result<PrepareSummary> {
    dataset::remove_remains(dataset)?;
    let summary = summary(dataset, read_skipped(dataset.dir()))?;
    warn_of_near_duplicates(&summary.near_across_splits, progress);
    Ok(PrepareSummary { num_continued: dataset.len(), ..summary })
}

/// What a dataset says of itself; nothing of the session that made it.
fn summary(dataset: &Dataset, skipped: Vec<Skipped>) -> Result<PrepareSummary> {
    let info = dataset.info();
    let is_part = info.preparation.contains_key("part");
    Ok(PrepareSummary {
        dataset: dataset.dir().to_path_buf(),
        num_images: info.num_images,
        num_masks: info.num_masks,
        num_continued: 0,
        counts: info.counts,
        labels: info.labels.clone(),
        num_duplicates: skipped.iter().filter(|skipped| is_duplicate(skipped)).count(),
        num_moved_patients: None,
        near_across_splits: if is_part { Shared::default() } else { across_splits(dataset)? },
        num_excluded: 0,
        num_cropped: None,
        num_text_masked: None,
        remarks: None,
        images_per_sec: None,
        skipped_file: (!skipped.is_empty()).then(|| dataset.dir().join(SKIPPED_FILE)),
        skipped,
    })
}
