//! Finished cells, one JSON object a line, so that a grid that is killed repeats none of them.

use super::plan::Cell;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Which cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// Real images it learned from.
    pub num_real: usize,
    /// Synthetic images, or classical variants.
    pub num_synthetic: usize,
    /// Updates of a network; absent for what is solved exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_steps: Option<usize>,
    /// Mean of the labels' areas under the curve, on the test images.
    pub macro_auc: f64,
    /// Percentile bootstrap over test patients, 95 %.
    pub macro_interval: [f64; 2],
    /// Each label against the rest.
    pub labels: Vec<LabelArea>,
    /// What it took.
    pub secs: f64,
}

/// The area under the curve of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelArea {
    /// Which.
    pub label: String,
    /// On the test images.
    pub auc: f64,
    /// DeLong's, 95 %; it takes images for independent.
    pub interval: [f64; 2],
}

/// The file, open for more.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the file and reads what is there. A last line that a kill cut short is dropped.
    ///
    /// # Errors
    /// A line before the last that is none of ours.
    pub fn open(path: &Path) -> Result<(Self, Vec<Finished>)> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("the file cannot be read: {}", path.display())),
        };
        // Only what ends with its line break was written whole.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut finished = Vec::new();
        for (number, line) in text[..whole].lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(run) => finished.push(run),
                Err(error) => bail!(
                    "line {} of the finished cells is damaged ({error}); delete the line to have that cell repeated: {}",
                    number + 1,
                    path.display()
                ),
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("the file cannot be written: {}", path.display()))?;
        file.set_len(whole as u64).with_context(|| format!("the file cannot be written: {}", path.display()))?;
        Ok((Self { file, path: path.into() }, finished))
    }

    /// Adds a line and makes sure that it is on the disk.
    ///
    /// # Errors
    /// A full disk.
    pub fn append(&mut self, run: &Finished) -> Result<()> {
        let line = serde_json::to_string(run)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("a finished cell cannot be written: {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Regime;
    use super::super::statistics::tests::run;
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_dropped_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cells.jsonl");
        let cells = [run(Regime::Real, None, 0, 0.75), run(Regime::RealAndSynthetic, Some(5), 3, 0.8)];
        let (mut journal, found) = Journal::open(&path).unwrap();
        assert!(found.is_empty());
        cells.iter().for_each(|cell| journal.append(cell).unwrap());
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len(), whole.len() - 1, whole.len() - 40] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, found) = Journal::open(&path).unwrap();
            let kept = if cut == whole.len() { 2 } else { 1 };
            assert_eq!(found, cells[..kept]);
            journal.append(&cells[1]).unwrap();
            drop(journal);
            assert_eq!(Journal::open(&path).unwrap().1.len(), kept + 1);
        }
        std::fs::write(&path, "{}\n{}\n").unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("line 1"));
    }
}
