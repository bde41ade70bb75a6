//! Patient-wise splits, and the check that no patient or image is on both sides of one.
//!
//! A patient's split is a keyed hash of the patient's identifier, so it depends on nothing else: not on the order of
//! the files, not on which other patients are there. Adding a collection later moves nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, KeyMap, ManifestRow, Result, Split};

/// How patients are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitPlan {
    /// Share of the patients that networks learn from, `0..=1`. Default 0.8.
    pub train: f64,
    /// Share for choosing settings, `0..=1`. Default 0.1.
    pub val: f64,
    /// Share for reporting results, `0..=1`. Default 0.1.
    pub test: f64,
    /// The key of the hash: another seed draws other splits. Default 0.
    pub seed: u64,
}

impl Default for SplitPlan {
    fn default() -> Self {
        Self { train: 0.8, val: 0.1, test: 0.1, seed: 0 }
    }
}

impl SplitPlan {
    /// Checks that the shares are in `0..=1` and sum to 1 (within one millionth).
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        let shares = [self.train, self.val, self.test];
        let sum: f64 = shares.iter().sum();
        if shares.iter().all(|share| (0.0..=1.0).contains(share)) && (sum - 1.0).abs() < 1e-6 {
            return Ok(());
        }
        Err(Error::Setting {
            setting: "split fractions",
            value: format!("{} / {} / {}", self.train, self.val, self.test),
            reason: "each must be between 0 and 1, and together they must be 1",
        })
    }

    /// The split of a patient: identifiers hash to `[0, 1)`, of which the first `train` are for training, the next
    /// `val` for validation, the rest for testing.
    pub fn assign(&self, patient: &str) -> Split {
        let digest = Sha256::new_with_prefix(b"dino-diffusion split\0")
            .chain_update(self.seed.to_le_bytes())
            .chain_update(patient.as_bytes())
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        // The upper 53 bits are exactly a double in [0, 1).
        let position = (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64;
        if position < self.train {
            Split::Train
        } else if position < self.train + self.val {
            Split::Val
        } else if self.test > 0.0 {
            Split::Test
        } else {
            // Only rounding of the sum leads here.
            if self.val > 0.0 { Split::Val } else { Split::Train }
        }
    }
}

/// What is on more than one side of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Patients (salted hashes), in order of discovery.
    pub patients: Vec<String>,
    /// Images, by their sources `a, b`, whose pixels are the same.
    pub images: Vec<String>,
}

impl Leaks {
    /// Whether the splits are sound.
    pub fn is_empty(&self) -> bool {
        self.patients.is_empty() && self.images.is_empty()
    }

    /// [`Error::Leak`] unless the splits are sound.
    ///
    /// # Errors
    /// [`Error::Leak`].
    pub fn check(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let patient = self.patients.first().map(|patient| format!("patient {patient}"));
        let image = || self.images.first().map(|image| format!("the image {image}"));
        Err(Error::Leak {
            num_patients: self.patients.len(),
            num_images: self.images.len(),
            example: patient.or_else(image).unwrap_or_default(),
        })
    }
}

/// A text, such as a patient's hash, in 64 bits: among a million, two are the same with a chance of one in 37 million.
/// Within one run of the program only.
pub fn text_key(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Finds patients and identical images that are in more than one split. `rows` begins the rows anew, of which it is told
/// the columns that are needed. Takes about 10 bytes of memory per patient, then as much per image.
///
/// # Errors
/// Those of `rows`.
pub fn find_leaks<I>(rows: impl Fn(&'static [&'static str]) -> Result<I>) -> Result<Leaks>
where
    I: Iterator<Item = Result<ManifestRow>>,
{
    let patients = in_other_split(rows(&["patient", "split"])?, |row| Some(text_key(&row.patient)))?;
    let image = |row: &ManifestRow| (!row.pixel_hash.is_empty()).then(|| text_key(&row.pixel_hash));
    let columns = &["patient", "split", "pixel_hash", "source_file"];
    let images = in_other_split(rows(columns)?, image)?;
    let mut firsts: BTreeMap<u64, Option<usize>> = images.iter().filter_map(image).map(|key| (key, None)).collect();
    if !images.is_empty() {
        for (number, row) in rows(columns)?.enumerate() {
            if let Some(first) = image(&row?).and_then(|key| firsts.get_mut(&key)) {
                first.get_or_insert(number);
            }
        }
    }
    let describe = |row: &ManifestRow| {
        let first = firsts.get(&image(row)?).copied().flatten()?;
        Some(format!("{} (the same as number {first})", row.source_file))
    };
    Ok(Leaks {
        images: images.iter().filter_map(describe).collect(),
        patients: patients.into_iter().map(|row| row.patient).collect(),
    })
}

/// Of each key that is in several splits, the first row that is in another one than the rows before.
fn in_other_split(
    rows: impl Iterator<Item = Result<ManifestRow>>,
    key: impl Fn(&ManifestRow) -> Option<u64>,
) -> Result<Vec<ManifestRow>> {
    let mut splits: KeyMap<Split> = KeyMap::default();
    let (mut found, mut keys_found) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let row = row?;
        let Some(key) = key(&row) else { continue };
        match splits.get(key) {
            Some(split) if *split == row.split => {}
            Some(_) => {
                if keys_found.insert(key) {
                    found.push(row);
                }
            }
            None => _ = splits.insert(key, row.split),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(patient: &str, pixel_hash: &str, split: Split) -> Result<ManifestRow> {
        Ok(ManifestRow {
            source_file: format!("{patient}-{pixel_hash}.png"),
            pixel_hash: pixel_hash.into(),
            ..ManifestRow::bare(patient, split)
        })
    }

    #[test]
    fn shares_are_as_planned() {
        let plan = SplitPlan { train: 0.7, val: 0.2, test: 0.1, seed: 3 };
        let mut counts = [0.0; 3];
        let num_patients = 20_000;
        for patient in 0..num_patients {
            counts[plan.assign(&format!("patient {patient}")) as usize] += 1.0 / f64::from(num_patients);
        }
        // Four standard deviations of a share of 20,000 are at most 0.014.
        for (share, planned) in counts.iter().zip([0.7, 0.2, 0.1]) {
            assert!((share - planned).abs() < 0.014, "{counts:?}");
        }
    }

    #[test]
    fn a_split_depends_on_patient_and_seed_alone() {
        let plan = SplitPlan::default();
        let other = SplitPlan { seed: 1, ..plan };
        let patients: Vec<String> = (0..200).map(|patient| patient.to_string()).collect();
        let all: Vec<_> = patients.iter().map(|patient| plan.assign(patient)).collect();
        assert_eq!(all, patients.iter().map(|patient| plan.assign(patient)).collect::<Vec<_>>());
        assert_ne!(all, patients.iter().map(|patient| other.assign(patient)).collect::<Vec<_>>());
        // A release that assigns otherwise would move patients between the splits of a dataset that grows. Expected
        // values: Python's hashlib, by the formula in the documentation of `assign`.
        let thirds = SplitPlan { train: 0.4, val: 0.3, test: 0.3, seed: 7 };
        let found = ["1", "2", "3", "4", "5", "6", "7", "8"].map(|patient| thirds.assign(patient).name());
        assert_eq!(found, ["val", "val", "train", "train", "train", "test", "val", "test"]);
    }

    #[test]
    fn a_share_of_nothing_gets_nobody() {
        let plan = SplitPlan { train: 0.9, val: 0.1, test: 0.0, seed: 0 };
        assert!((0..2000).all(|patient| plan.assign(&patient.to_string()) != Split::Test));
        let all = SplitPlan { train: 1.0, val: 0.0, test: 0.0, seed: 0 };
        assert!((0..2000).all(|patient| all.assign(&patient.to_string()) == Split::Train));
    }

    #[test]
    fn impossible_shares_are_refused() {
        SplitPlan::default().check().unwrap();
        for [train, val, test] in [[0.8, 0.1, 0.2], [1.2, -0.1, -0.1], [f64::NAN, 0.5, 0.5]] {
            assert!(SplitPlan { train, val, test, seed: 0 }.check().is_err());
        }
    }

    #[test]
    fn leaks_name_each_offender_once() {
        use Split::{Test, Train, Val};
        let rows = |_: &'static [&'static str]| {
            Ok([
                row("a", "1", Train),
                row("a", "2", Train),
                row("b", "3", Train),
                row("b", "4", Val),
                row("b", "5", Test),
                row("c", "1", Val),
            ]
            .into_iter())
        };
        let leaks = find_leaks(rows).unwrap();
        assert_eq!(leaks.patients, ["b"]);
        assert_eq!(leaks.images, ["c-1.png (the same as number 0)"]);
        let error = leaks.check().unwrap_err().to_string();
        assert!(error.starts_with("1 patients and 1 images are on more than one side"), "{error}");
        find_leaks(|_| Ok([row("a", "1", Train), row("a", "1", Train)].into_iter())).unwrap().check().unwrap();
    }
}
