//! What two datasets have in common: patients, images with the same pixels, and images that look the same.

use std::path::Path;

use anyhow::{Result, ensure};
use dataset::{Dataset, KeyMap, NearHashes, NearIndex, Split, text_key};
use serde::Serialize;

/// Examples that are kept of each kind.
const MAX_EXAMPLES: usize = 5;

/// How much of one kind two datasets share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Patients of the second dataset, or its images, that the first has too.
    pub count: usize,
    /// The first few, `second = first`.
    pub examples: Vec<String>,
}

impl Shared {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Images of the first and the second dataset.
    pub num_images: [usize; 2],
    /// Patients in both; `None` where their hashes cannot be compared, because the datasets were prepared with
    /// different salts or without one.
    pub patients: Option<Shared>,
    /// Images of the second dataset with the pixels of one of the first.
    pub exact_duplicates: Shared,
    /// Images of the second dataset that are no exact duplicates and look like one of the first.
    pub near_duplicates: Shared,
    /// Images of the first and the second dataset that have no perceptual hash, and can only be exact duplicates.
    pub num_without_hash: [usize; 2],
}

impl Comparison {
    /// Whether the datasets share anything that would make one a leaky test of the other.
    pub fn has_leaks(&self) -> bool {
        let num_patients = self.patients.as_ref().map_or(0, |patients| patients.count);
        num_patients + self.exact_duplicates.count + self.near_duplicates.count > 0
    }

    /// For programs: the fields by their names.
    ///
    /// # Errors
    /// None that are known; the serialiser's.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// Compares what lies in two folders; `None` unless both are finished datasets.
///
/// # Errors
/// Those of [`compare`].
pub fn compare_folders(first: &Path, second: &Path) -> Result<Option<Comparison>> {
    let datasets = Dataset::open(first).ok().zip(Dataset::open(second).ok());
    datasets.map(|(first, second)| compare(&first, &second)).transpose()
}

/// Compares two datasets by their manifests. Takes some 30 bytes of memory for each image of the first and 10 for each of
/// the second, and 50 for each that looks like another one.
///
/// # Errors
/// Manifests that cannot be read; datasets of releases that know images again by hashes of different kinds.
pub fn compare(first: &Dataset, second: &Dataset) -> Result<Comparison> {
    let kinds = [first, second].map(|dataset| dataset.info().pixel_hash_kind());
    ensure!(
        kinds[0] == kinds[1],
        "equal images cannot be found: hashes of pixels are {} in one dataset and {} in the other; prepare the older one \
         again with this release: {} and {}",
        kinds[0],
        kinds[1],
        first.dir().display(),
        second.dir().display()
    );
    // Whether a patient of the first was met in the second; the first image of each kind of pixels.
    let (mut patients_met, mut known_pixels) = (KeyMap::<bool>::default(), KeyMap::<u32>::default());
    let near_hashes = hashes_with_neighbours(&[first, second])?;
    let mut index = NearIndex::default();
    let mut num_without_hash = [0, 0];
    for (number, row) in first.columns(&["patient", "pixel_hash", "perceptual_hash"])?.enumerate() {
        let row = row?;
        match row.perceptual_hash {
            Some(hash) if near_hashes.binary_search(&hash).is_ok() => index.insert(hash, number),
            Some(_) => {}
            None => num_without_hash[0] += 1,
        }
        patients_met.insert(text_key(&row.patient), false);
        let pixels = text_key(&row.pixel_hash);
        if !row.pixel_hash.is_empty() && known_pixels.get(pixels).is_none() {
            known_pixels.insert(pixels, number as u32);
        }
    }

    let salts = [first, second].map(|dataset| dataset.info().salt_fingerprint.as_ref());
    let mut patients = (salts[0].is_some() && salts[0] == salts[1]).then(Shared::default);
    let (mut exact, mut near) = (Pairs::default(), Pairs::default());
    for row in second.columns(&["id", "patient", "pixel_hash", "perceptual_hash"])? {
        let row = row?;
        num_without_hash[1] += usize::from(row.perceptual_hash.is_none());
        // Each patient is counted once.
        if let Some(patients) = &mut patients
            && let Some(met) = patients_met.get_mut(text_key(&row.patient)).filter(|met| !**met)
        {
            *met = true;
            patients.add(|| row.patient.clone());
        }
        if let Some(&same) = known_pixels.get(text_key(&row.pixel_hash)) {
            exact.add(&row.id, same as usize, "");
        } else if let Some((number, distance)) = row.perceptual_hash.and_then(|hash| index.nearest(hash)) {
            near.add(&row.id, number, &format!(" but for {distance} of 64 bits"));
        }
    }
    Ok(Comparison {
        num_images: [first.len(), second.len()],
        patients,
        exact_duplicates: exact.named(first)?,
        near_duplicates: near.named(first)?,
        num_without_hash,
    })
}

/// Images that are like one of the first dataset, of which there is the number so far.
#[derive(Default)]
struct Pairs {
    count: usize,
    /// The first few: an id, the number of the other image, and what is to be said of them.
    first: Vec<(String, usize, String)>,
}

impl Pairs {
    fn add(&mut self, id: &str, number: usize, remark: &str) {
        self.count += 1;
        if self.first.len() < MAX_EXAMPLES {
            self.first.push((id.to_owned(), number, remark.to_owned()));
        }
    }

    fn named(self, dataset: &Dataset) -> Result<Shared> {
        let numbers: Vec<usize> = self.first.iter().map(|(_, number, _)| *number).collect();
        let rows = dataset.rows_at(&numbers)?;
        let examples = self.first.iter().zip(rows).map(|((id, _, remark), row)| format!("{id} = {}{remark}", row.id));
        Ok(Shared { count: self.count, examples: examples.collect() })
    }
}

/// The perceptual hashes that are near another one of all the datasets, sorted.
fn hashes_with_neighbours(datasets: &[&Dataset]) -> Result<Vec<u64>> {
    let mut hashes = NearHashes::default();
    for dataset in datasets {
        for row in dataset.columns(&["perceptual_hash"])? {
            row?.perceptual_hash.into_iter().for_each(|hash| hashes.push(hash));
        }
    }
    Ok(hashes.with_neighbours())
}

/// Images of one dataset that look like an earlier image in another split, `later = earlier`. Takes 9 bytes of memory for
/// each image, and 50 for each that looks like another one.
///
/// # Errors
/// A manifest that cannot be read.
pub fn across_splits(dataset: &Dataset) -> Result<Shared> {
    let near_hashes = hashes_with_neighbours(&[dataset])?;
    if near_hashes.is_empty() {
        return Ok(Shared::default());
    }
    // One index for each split: an image has its nearest in its own split often enough, which would hide the others.
    let mut indices = Split::ALL.map(|split| (split, NearIndex::default()));
    let mut count = 0;
    // The first few: the numbers of both images, and the distance.
    let mut pairs: Vec<(usize, usize, u32)> = Vec::new();
    for (index, row) in dataset.columns(&["perceptual_hash", "split"])?.enumerate() {
        let row = row?;
        let Some(hash) = row.perceptual_hash.filter(|hash| near_hashes.binary_search(hash).is_ok()) else { continue };
        let others = indices.iter().filter(|(split, _)| *split != row.split);
        let nearest = others.filter_map(|(_, near)| near.nearest(hash)).min_by_key(|&(_, distance)| distance);
        if let Some((number, distance)) = nearest {
            count += 1;
            if pairs.len() < MAX_EXAMPLES {
                pairs.push((index, number, distance));
            }
        }
        for (_, near) in indices.iter_mut().filter(|(split, _)| *split == row.split) {
            near.insert(hash, index);
        }
    }
    let numbers: Vec<usize> = pairs.iter().flat_map(|&(later, earlier, _)| [later, earlier]).collect();
    let rows = dataset.rows_at(&numbers)?;
    let examples = pairs.iter().zip(rows.as_chunks::<2>().0).map(|((.., distance), [later, earlier])| {
        format!("{} = {} but for {distance} of 64 bits", later.id, earlier.id)
    });
    Ok(Shared { count, examples: examples.collect() })
}

#[cfg(test)]
mod tests {
    use dataset::{DatasetSettings, DatasetWriter, ManifestRow};

    use super::*;

    /// Images by patient, pixels and perceptual hash.
    fn dataset(salt: &str, images: &[(&str, &str, Option<u64>, Split)]) -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let settings = DatasetSettings { salt_fingerprint: Some(salt.into()), ..DatasetSettings::new(4) };
        let mut writer = DatasetWriter::create_or_resume(folder.path().join("dataset"), settings).unwrap();
        for &(patient, pixels, perceptual_hash, split) in images {
            let row = ManifestRow {
                id: format!("id-{pixels}"),
                source_file: format!("{pixels}.png"),
                pixel_hash: pixels.repeat(64),
                perceptual_hash,
                ..ManifestRow::bare(patient, split)
            };
            writer.push(row, &[0; 16], None).unwrap();
        }
        let dataset = writer.finish().unwrap();
        (folder, dataset)
    }

    #[test]
    fn hashes_of_two_kinds_are_no_all_clear() {
        let images = [("ann", "a", None, Split::Train)];
        let ((_first, new), (folder, _)) = (dataset("s", &images), dataset("s", &images));
        assert_eq!(compare(&new, &new).unwrap().exact_duplicates.count, 1);
        let info = folder.path().join("dataset/dataset.toml");
        let text = std::fs::read_to_string(&info).unwrap();
        std::fs::write(&info, text.replace("version = 3", "version = 2")).unwrap();
        let old = Dataset::open(folder.path().join("dataset")).unwrap();
        let error = compare(&old, &new).unwrap_err().to_string();
        assert!(error.contains("SHA-256 in one dataset and BLAKE3 in the other"), "{error}");
        assert_eq!(compare(&old, &old).unwrap().exact_duplicates.count, 1);
    }

    #[test]
    fn what_two_datasets_share_is_counted_once_and_by_kind() {
        let train = [("ann", "a", Some(0xff00), Split::Train), ("bob", "b", None, Split::Train)];
        let other = [
            ("ann", "c", Some(0xf0f0_f0f0), Split::Test),
            ("ann", "a", Some(0xff00), Split::Test),
            ("eve", "d", Some(0xff07), Split::Test),
            ("eve", "e", Some(0xff0f), Split::Test),
            ("dan", "b", None, Split::Test),
        ];
        let (_a, first) = dataset("salt", &train);
        let (_b, second) = dataset("salt", &other);
        let found = compare(&first, &second).unwrap();
        let shared = |count, example: &str| Shared { count, examples: vec![example.into()] };
        assert_eq!(found.num_images, [2, 5]);
        assert_eq!(found.patients, Some(shared(1, "ann")));
        let examples = vec!["id-a = id-a".to_owned(), "id-b = id-b".to_owned()];
        assert_eq!(found.exact_duplicates, Shared { count: 2, examples });
        assert_eq!(found.near_duplicates, shared(1, "id-d = id-a but for 3 of 64 bits"));
        assert_eq!(found.num_without_hash, [1, 1]);
        assert!(found.has_leaks());

        let (_c, salted) = dataset("another salt", &other[..1]);
        let found = compare(&first, &salted).unwrap();
        assert_eq!((found.patients.clone(), found.has_leaks()), (None, false));
    }

    #[test]
    fn near_duplicates_across_splits_are_found_behind_nearer_ones_of_the_same_split() {
        let (_folder, dataset) = dataset(
            "salt",
            &[
                ("ann", "a", Some(0), Split::Train),
                ("bob", "b", Some(0b11), Split::Test),
                ("eve", "c", Some(0b11), Split::Test),
                ("dan", "d", Some(0xffff), Split::Val),
            ],
        );
        let found = across_splits(&dataset).unwrap();
        assert_eq!(found.count, 2);
        assert_eq!(found.examples[1], "id-c = id-a but for 2 of 64 bits");
    }
}
