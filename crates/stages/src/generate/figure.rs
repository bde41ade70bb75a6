//! The two layouts of the paper's figure 2: rows of variants beside their source, and rows of interpolations between
//! their two ends; and plain rows of unconditional images. Real images have a coloured frame.

use super::{Strategy, jobs::Job};
use anyhow::Result;
use dataset::Dataset;
use radiograph::{Border, Grid};
use std::path::Path;

/// Rows in a figure: what fits on a page.
const MAX_ROWS: usize = 16;
/// Sources beside one another where each has a single variant.
const PAIRS_PER_ROW: usize = 4;
/// Images beside one another that have no source.
const UNCONDITIONAL_PER_ROW: usize = 8;

/// What to draw.
pub struct Figure<'a> {
    /// In the order of the synthetic dataset.
    pub jobs: &'a [Job],
    /// The sources.
    pub real: &'a Dataset,
    /// The generated images.
    pub synthetic: &'a Dataset,
    /// Decides the layout.
    pub strategy: &'a Strategy,
}

impl Figure<'_> {
    /// Writes a PNG file.
    ///
    /// # Errors
    /// Images that cannot be read, a disk that is full.
    pub fn draw(&self, path: &Path) -> Result<()> {
        let size = self.synthetic.image_size();
        let (ends, longest) = match self.strategy {
            Strategy::Reconstruct { .. } => (1, usize::MAX),
            Strategy::Interpolate { .. } => (2, usize::MAX),
            Strategy::Listed { .. } => (self.jobs.iter().map(|job| job.sources.len()).min().unwrap_or(1), usize::MAX),
            Strategy::Unconditional => (0, UNCONDITIONAL_PER_ROW),
        };
        let groups: Vec<(usize, &[Job])> = self
            .jobs
            .chunk_by(|left, right| left.sources == right.sources)
            .flat_map(|group| group.chunks(longest))
            .scan(0, |first, group| {
                let start = *first;
                *first += group.len();
                Some((start, group))
            })
            .collect();
        let widest = groups.iter().map(|(_, group)| group.len()).max().unwrap_or(1);
        let per_row = if ends == 1 && widest == 1 { PAIRS_PER_ROW } else { 1 };
        let mut grid = Grid::new(size.max(64)).columns(per_row * (widest + ends));
        let shown = groups.len().min(MAX_ROWS * per_row);
        for (number, (first, group)) in groups[..shown].iter().enumerate() {
            if number % per_row == 0 {
                grid.start_row("");
            }
            let real = |position: usize| -> Result<Vec<u8>> { Ok(self.real.images(&[group[0].sources[position]])?) };
            let real_size = self.real.image_size();
            if ends > 0 {
                grid.push_grey(&real(0)?, real_size, real_size, "source", Border::Source)?;
            }
            for (offset, job) in group.iter().enumerate() {
                let picture = self.synthetic.images(&[first + offset])?;
                let caption = job.fraction.map_or(String::new(), |fraction| format!("{fraction:.2}"));
                grid.push_grey(&picture, size, size, caption, Border::None)?;
            }
            if ends == 2 {
                grid.push_grey(&real(1)?, real_size, real_size, "target", Border::Target)?;
            }
        }
        grid.render().write_png(path)?;
        Ok(())
    }
}
