//! Adding to a finished dataset what is new in its sources.
//!
//! What is there stays: numbers, ids and splits, so that a test set does not change under results that were reported on
//! it. New images come after them, and new patients who look like somebody go where that somebody is. Images are known
//! by their names; those that were left out as duplicates are not decoded again.

use std::collections::HashMap;

use anyhow::{Result, bail};
use dataset::{Dataset, DatasetSettings, DatasetWriter, KeyMap, ManifestRow, PatientSalt, Split};

use super::PrepareConfig;
use super::ending::{is_duplicate, read_skipped};
use super::exclude::Exclusions;
use super::settings::settings;
use super::sources::Sources;
use super::splits::short_hash;
use messages::Skipped;

/// The dataset that was finished with the same settings, `None` where there is none.
///
/// # Errors
/// Other settings, a dataset that cannot be read.
pub(super) fn finished_dataset(config: &PrepareConfig, exclusions: &Exclusions) -> Result<Option<Dataset>> {
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
    Ok(Some(dataset))
}

/// The writer of a new dataset, an unfinished one, or a finished one to add to.
pub(super) fn open_writer(config: &PrepareConfig, settings: DatasetSettings) -> Result<DatasetWriter> {
    let is_finished = config.out.join("dataset.toml").is_file();
    Ok(if config.add && is_finished {
        DatasetWriter::reopen(&config.out, settings)?
    } else {
        DatasetWriter::create_or_resume(&config.out, settings)?
    })
}

/// Whether the sources hold anything that the dataset neither has nor lists as skipped.
///
/// # Errors
/// Sources or a manifest that cannot be read.
pub(super) fn has_news(dataset: &Dataset, sources: &Sources<'_>) -> Result<bool> {
    let mut known: KeyMap<()> = KeyMap::default();
    for skipped in read_skipped(dataset.dir()) {
        known.insert(short_hash(&skipped.item), ());
    }
    for row in dataset.columns(&["source_file"])? {
        known.insert(short_hash(&row?.source_file), ());
    }
    let is_known = |name: &str| known.get(short_hash(name)).is_some();
    Ok(sources.items()?.any(|item| match item {
        Ok(item) => !is_known(&item.name),
        Err(skipped) => !is_known(&skipped.item),
    }))
}

/// What a finished dataset had before images were added to it; empty where none are. Holds 11 bytes for each patient.
#[derive(Debug, Default)]
pub(super) struct Kept {
    patients: KeyMap<Split>,
    duplicates: HashMap<u64, Skipped>,
}

impl Kept {
    pub(super) fn new(config: &PrepareConfig, writer: &DatasetWriter) -> Self {
        if writer.num_kept() == 0 || !config.deduplicate {
            return Self::default();
        }
        let duplicates = read_skipped(&config.out).into_iter().filter(is_duplicate);
        let duplicates = duplicates.map(|skipped| (short_hash(&skipped.item), skipped)).collect();
        Self { duplicates, ..Self::default() }
    }

    /// An image that was there.
    pub(super) fn note(&mut self, row: &ManifestRow) {
        self.patients.insert(short_hash(&row.patient), row.split);
    }

    /// What was said of an image when it was found to be a duplicate.
    pub(super) fn duplicate(&self, name: &str) -> Option<Skipped> {
        self.duplicates.get(&short_hash(name)).cloned()
    }

    /// The salted hash of a patient: the one under which an earlier release put the patient into the dataset, if it did.
    pub(super) fn hash_of(&self, patient: &str, salt: &PatientSalt) -> String {
        let hash = salt.hash(patient);
        if self.patients.is_empty() || self.split_of(&hash).is_some() {
            return hash;
        }
        salt.earlier_hash(patient).filter(|earlier| self.split_of(earlier).is_some()).unwrap_or(hash)
    }

    /// The split of a patient (salted hash) who was there.
    pub(super) fn split_of(&self, patient: &str) -> Option<Split> {
        self.patients.get(short_hash(patient)).copied()
    }

    /// A new image whose source puts its patient on another side than where the patient is.
    pub(super) fn contradiction(&self, name: &str, patient: &str, prescribed: Option<Split>) -> Option<Skipped> {
        let (kept, prescribed) = (self.split_of(patient)?, prescribed?);
        (kept != prescribed).then(|| Skipped {
            item: name.to_owned(),
            reason: format!(
                "the source puts its patient into {prescribed}, whom the dataset has in {kept}; prepare the dataset anew \
                 to follow the source"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dataset of an earlier release has patient 12 under the hash of `12.0`; new images must go where the patient is.
    #[test]
    fn a_patient_whom_an_earlier_release_hashed_as_a_fraction_is_known() {
        let salt = PatientSalt::from_bytes(*b"a salt of 16 bytes");
        let earlier = salt.earlier_hash("12").unwrap();
        let mut kept = Kept::default();
        assert_eq!(kept.hash_of("12", &salt), salt.hash("12"));
        kept.note(&ManifestRow::bare(&earlier, Split::Test));
        assert_eq!(kept.hash_of("12", &salt), earlier);
        assert_eq!(kept.hash_of("13", &salt), salt.hash("13"));
        kept.note(&ManifestRow::bare(salt.hash("12"), Split::Train));
        assert_eq!(kept.hash_of("12", &salt), salt.hash("12"));
    }
}
