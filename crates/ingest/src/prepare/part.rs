//! One of several shares of the images, to be prepared by a machine of its own, and what a finished share leaves so that
//! all of them can be joined.
//!
//! Every part goes through all sources, so that given splits and the choice of images are those of a single run, and
//! decodes only the images whose names hash to its number. Images keep the numbers that they have in the order of all
//! sources: by these [`super::merge`] makes of the parts what a single run would have made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use dataset::{PatientSalt, SplitOrigin};
use files::AtomicFile;
use radiograph::Remark;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::changes::Changes;
use super::numbers::Numbers;
use super::splits::short_hash;
use crate::presets::SourceItem;
use messages::Skipped;

/// What a finished part says of itself, in its folder.
pub(super) const PART_FILE: &str = "part.json";

/// When parts are joined, each has three files open, and systems allow 1,024 by default.
const MAX_PARTS: usize = 256;

/// A share of the images, `3/8`: the third of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// Which one, from 1 on.
    pub fn number(self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Whether the image of a name belongs to it. The same on every machine.
    pub fn has(self, name: &str) -> bool {
        let digest = Sha256::new_with_prefix(b"dino-diffusion part\0").chain_update(name.as_bytes()).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(first) % self.of as u64 == self.number as u64 - 1
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=MAX_PARTS).contains(&of) && (1..=of).contains(&number) => {
                Ok(Self { number, of })
            }
            _ => Err(format!(
                "a part is written `number/parts`, numbers from 1 to at most {MAX_PARTS}, for example 3/8, not {text:?}"
            )),
        }
    }
}

impl TryFrom<String> for Part {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.to_string()
    }
}

/// Images that were left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumExcluded {
    /// Before they were decoded.
    pub listed: usize,
    /// After they were decoded.
    pub decoded: usize,
}

/// What a finished part leaves for joining. Numbers count files and rows of all sources, bad ones included.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartRecord {
    pub part: Part,
    /// The version of the program.
    pub program: String,
    /// Files and rows of all sources.
    pub num_items: u64,
    /// Changes with anything that the sources say about any image, and with their order.
    pub listing: String,
    /// Images of all sources that were left out before they were decoded.
    pub num_excluded_listed: usize,
    /// Images of this part that were left out after they were decoded.
    pub num_excluded_decoded: usize,
    /// The numbers of the images in the part's dataset, ascending.
    pub rows: Numbers,
    /// Of these, the ones whose split the sources prescribe.
    pub given: Numbers,
    /// Of these, the ones that are drawn among training and validation only.
    pub without_test: Numbers,
    /// Of these, the ones whose borders were cut off, and the ones in which text was painted over; none where a part was
    /// continued, for of what an earlier session wrote nobody knows.
    #[serde(default)]
    pub changed: Option<Changes<Numbers>>,
    /// Of these, the ones that each remark is about; none likewise, and in parts of releases without remarks.
    #[serde(default)]
    pub remarks: Option<BTreeMap<Remark, Numbers>>,
    /// What was skipped, with its number.
    pub skipped: Vec<(u64, Skipped)>,
}

impl PartRecord {
    /// # Errors
    /// A file that is not there or not whole.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(PART_FILE);
        let file = File::open(&path).with_context(|| format!("the file cannot be read: {}", path.display()))?;
        serde_json::from_reader(BufReader::new(file))
            .with_context(|| format!("the file is damaged; prepare this part again: {}", path.display()))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let mut file = AtomicFile::create(dir.join(PART_FILE))?;
        serde_json::to_writer(&mut file, self)
            .map_err(std::io::Error::from)
            .with_context(|| format!("the record of the part cannot be written: {}", dir.join(PART_FILE).display()))?;
        Ok(file.commit()?)
    }
}

/// A part at work.
#[derive(Debug)]
pub(super) struct Share {
    part: Part,
    listing: Sha256,
    rows: Numbers,
    given: Numbers,
    without_test: Numbers,
    changed: Changes<Numbers>,
    remarks: BTreeMap<Remark, Numbers>,
    /// Names of the images that an earlier session wrote, hashed, in the order of the rows.
    committed: Vec<u64>,
}

impl Share {
    pub(super) fn new(part: Part) -> Self {
        let listing = Sha256::new_with_prefix(b"dino-diffusion listing\0");
        let numbers = Numbers::default;
        Self {
            part,
            listing,
            rows: numbers(),
            given: numbers(),
            without_test: numbers(),
            changed: Changes::default(),
            remarks: BTreeMap::new(),
            committed: vec![],
        }
    }

    /// How many parts there are.
    pub(super) fn num_parts(&self) -> usize {
        self.part.of
    }

    /// An image that an earlier session wrote, by its name.
    pub(super) fn expect(&mut self, name: &str) {
        self.committed.push(short_hash(name));
    }

    /// Takes note of an image or bad row of the sources and says whether it belongs to the part.
    pub(super) fn list(&mut self, item: Result<&SourceItem, &Skipped>, salt: &PatientSalt) -> bool {
        let name = match item {
            Ok(item) => {
                // Paths differ between machines, and an identifier shall not be found by trying.
                let patient = item.patient.as_deref().map(|patient| salt.hash(patient));
                let SourceItem { view, labels, labels_negative, labels_uncertain, split, collection, licence, .. } =
                    item;
                let said = (view, labels, labels_negative, labels_uncertain, split, collection, licence);
                let said = format!("{:?}", (&item.name, patient, said, item.is_not_test, item.mask.len()));
                self.listing.update(said.as_bytes());
                &item.name
            }
            Err(Skipped { item, .. }) => {
                self.listing.update(item.as_bytes());
                item
            }
        };
        self.listing.update(b"\0");
        self.part.has(name)
    }

    /// An image has become, or was before, the next row of the part's dataset. `is_changed` says whether its borders were
    /// cut off, and whether text in it was painted over, as far as is known; likewise `remarks`, each once.
    ///
    /// # Errors
    /// An earlier session wrote another image there.
    pub(super) fn add(
        &mut self,
        number: u64,
        name: &str,
        origin: SplitOrigin,
        is_changed: Changes<bool>,
        remarks: &[Remark],
    ) -> Result<()> {
        let expected = self.committed.get(self.rows.len());
        let is_expected = expected.is_none_or(|expected| *expected == short_hash(name));
        ensure!(is_expected && self.rows.push(number), CHANGED);
        let is_pushed = match origin {
            SplitOrigin::Given => self.given.push(number),
            SplitOrigin::DrawnWithoutTest => self.without_test.push(number),
            SplitOrigin::Drawn => true,
        };
        ensure!(is_pushed, CHANGED);
        ensure!(!is_changed.cropped || self.changed.cropped.push(number), CHANGED);
        ensure!(!is_changed.text_masked || self.changed.text_masked.push(number), CHANGED);
        for remark in remarks {
            ensure!(self.remarks.entry(*remark).or_default().push(number), CHANGED);
        }
        Ok(())
    }

    /// Writes the record of the part.
    ///
    /// # Errors
    /// Images of an earlier session are not in the sources any more; a disk that is full.
    pub(super) fn write(
        self,
        dir: &Path,
        num_items: u64,
        num_excluded: NumExcluded,
        skipped: &[(u64, Skipped)],
    ) -> Result<()> {
        ensure!(self.rows.len() >= self.committed.len(), CHANGED);
        let record = PartRecord {
            part: self.part,
            program: env!("CARGO_PKG_VERSION").into(),
            num_items,
            listing: self.listing.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
            num_excluded_listed: num_excluded.listed,
            num_excluded_decoded: num_excluded.decoded,
            rows: self.rows,
            given: self.given,
            without_test: self.without_test,
            changed: self.committed.is_empty().then_some(self.changed),
            remarks: self.committed.is_empty().then_some(self.remarks),
            skipped: skipped.to_vec(),
        };
        record.write(dir)
    }
}

/// A part whose numbers are those of another state of the sources would be joined wrongly.
const CHANGED: &str = "the sources have changed since this part was begun; delete its folder and prepare it again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbers_from_one_on() {
        let part: Part = "3/8".parse().unwrap();
        assert_eq!((part.number(), part.of(), part.to_string()), (3, 8, "3/8".to_owned()));
        for text in ["", "3", "0/8", "9/8", "1/0", "1/257", "-1/8", "3 of 8", "1/2/3"] {
            let error = text.parse::<Part>().unwrap_err();
            assert!(error.contains("for example 3/8") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn every_name_is_in_one_part_and_the_parts_are_about_equal() {
        let parts: Vec<Part> = (1..=5).map(|number| Part { number, of: 5 }).collect();
        let mut counts = [0; 5];
        for name in (0..5000).map(|number| format!("images/{number}.dcm")) {
            let at: Vec<usize> = (0..5).filter(|&at| parts[at].has(&name)).collect();
            assert_eq!(at.len(), 1, "{name}");
            counts[at[0]] += 1;
        }
        // Five standard deviations of a fifth of 5,000 are 141.
        assert!(counts.iter().all(|count| (859..=1141).contains(count)), "{counts:?}");
        // Machines of other kinds share out alike. Expected: Python's hashlib, by the formula of `Part::has`.
        let part_of = |name| parts.iter().find(|part| part.has(name)).map(|part| part.number);
        assert_eq!(["a.png", "b.png", "c/d.dcm"].map(part_of), [Some(5), Some(1), Some(4)]);
    }
}
