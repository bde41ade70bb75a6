//! Finished cells, and the list of them: a grid that is killed repeats none.

use super::plan::Cell;
use anyhow::Result;
use files::{Damaged, DoneList};
use serde::{Deserialize, Serialize};
use std::path::Path;

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

/// The list in a file, and what it holds. A cell took long, so a damaged line is not dropped silently.
///
/// # Errors
/// A line before the last that is none of ours.
pub(super) fn open(path: &Path) -> Result<(DoneList, Vec<Finished>)> {
    Ok(DoneList::open(path, Damaged::Refuse)?)
}

#[cfg(test)]
mod tests {
    use super::super::grid::Regime;
    use super::super::statistics::tests::run;
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_dropped_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cells.jsonl");
        let cells = [run(Regime::Real, None, 0, 0.75), run(Regime::RealAndSynthetic, Some(5), 3, 0.8)];
        let (mut journal, found) = open(&path).unwrap();
        assert!(found.is_empty());
        cells.iter().for_each(|cell| journal.append(cell).unwrap());
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len(), whole.len() - 1, whole.len() - 40] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, found) = open(&path).unwrap();
            let kept = if cut == whole.len() { 2 } else { 1 };
            assert_eq!(found, cells[..kept]);
            journal.append(&cells[1]).unwrap();
            drop(journal);
            assert_eq!(open(&path).unwrap().1.len(), kept + 1);
        }
        std::fs::write(&path, "{}\n{}\n").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("line 1"));
    }
}
