//! What a search has tried, so that one that is stopped goes on where it was.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::MaskedImage;
use super::SegmentationConfig;
use super::search::{Bench, Candidate, Rule, Tried};
use files::{Damaged, DoneList};

/// One line: a candidate and what it gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    /// On what; lines of anything else are passed over.
    of: String,
    /// Which network; candidates number those of their own run.
    network: String,
    candidate: Candidate,
    /// As bits, like all that follows: reading a decimal number may change its last one.
    mean_segments: u64,
    /// For each rule one Dice for each image.
    dice: Vec<(Rule, Vec<u64>)>,
}

/// The lines, open for more.
#[derive(Debug)]
pub(super) struct Journal {
    of: String,
    known: Vec<Line>,
    list: DoneList,
}

/// All that a line depends on beside network and candidate.
#[derive(Serialize)]
struct Circumstances<'a> {
    program: &'static str,
    model: &'a str,
    dataset: &'a str,
    images: Vec<&'a str>,
    rules: &'a [Rule],
    seed: u64,
}

impl Journal {
    /// Opens the list of a folder, or begins one.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub(super) fn open(folder: &Path, model: &str, bench: &Bench<'_>, images: &[MaskedImage]) -> Result<Self> {
        let SegmentationConfig { seed, .. } = *bench.config;
        let circumstances = Circumstances {
            program: env!("CARGO_PKG_VERSION"),
            model,
            dataset: bench.dataset.fingerprint(),
            images: images.iter().map(|image| image.id.as_str()).collect(),
            rules: bench.rules,
            seed,
        };
        let text = serde_json::to_string(&circumstances).context("the search cannot be described")?;
        Self::open_of(folder, files::fingerprint_bytes(text.as_bytes()))
    }

    fn open_of(folder: &Path, of: String) -> Result<Self> {
        let (list, lines) = DoneList::open::<Line>(&folder.join("search.jsonl"), Damaged::Repeat)?;
        let known = lines.into_iter().filter(|line| line.of == of).collect();
        Ok(Self { of, known, list })
    }

    /// What a candidate gave, if it was tried; without what was fitted.
    pub(super) fn find(&self, network: &str, candidate: &Candidate) -> Option<Tried> {
        let is_it = |line: &&Line| line.network == network && line.candidate == *candidate;
        let Line { candidate, mean_segments, dice, .. } = self.known.iter().find(is_it)?.clone();
        let dice =
            dice.into_iter().map(|(rule, bits)| (rule, bits.into_iter().map(f64::from_bits).collect())).collect();
        Some(Tried { candidate, fitted: BTreeMap::new(), mean_segments: f64::from_bits(mean_segments), dice })
    }

    /// Writes down what some candidates gave.
    ///
    /// # Errors
    /// A full disk.
    pub(super) fn add(&mut self, network: &str, tried: &[Tried]) -> Result<()> {
        for Tried { candidate, mean_segments, dice, .. } in tried {
            self.list.append(&Line {
                of: self.of.clone(),
                network: network.to_owned(),
                candidate: candidate.clone(),
                mean_segments: mean_segments.to_bits(),
                dice: dice
                    .iter()
                    .map(|(rule, dice)| (*rule, dice.iter().map(|dice| dice.to_bits()).collect()))
                    .collect(),
            })?;
        }
        Ok(self.list.sync()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segmentation::{Method, SegmenterSettings};

    #[test]
    fn what_was_tried_is_known_again_on_the_same_network_and_images_alone() {
        let folder = tempfile::tempdir().unwrap();
        let candidate = |threshold| Candidate {
            family: "diffseg".into(),
            model: 0,
            // A value that has no short decimal form must be found again.
            settings: SegmenterSettings { method: Method::Diffseg { threshold }, ..SegmenterSettings::default() },
        };
        let tried = Tried {
            candidate: candidate(1.0 / 3.0),
            fitted: BTreeMap::new(),
            mean_segments: 7.1,
            dice: BTreeMap::from([(Rule::Oracle, vec![0.1 + 0.2, 1.0]), (Rule::Learned(5), vec![0.0, 0.25])]),
        };
        let mut journal = Journal::open_of(folder.path(), "these".into()).unwrap();
        assert!(journal.find("model", &tried.candidate).is_none());
        journal.add("model", std::slice::from_ref(&tried)).unwrap();
        drop(journal);

        let journal = Journal::open_of(folder.path(), "these".into()).unwrap();
        let found = journal.find("model", &tried.candidate).expect("it was written down");
        assert_eq!((found.mean_segments, &found.dice), (tried.mean_segments, &tried.dice));
        assert!(journal.find("random weights", &tried.candidate).is_none());
        assert!(journal.find("model", &candidate(0.3)).is_none());
        drop(journal);
        let others = Journal::open_of(folder.path(), "others".into()).unwrap();
        assert!(others.find("model", &tried.candidate).is_none());
    }
}
