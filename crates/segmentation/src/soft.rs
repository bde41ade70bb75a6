//! Segments as soft maps over the grid, brought to the size of an image.

use crate::Grid;
use crate::error::{Error, check_finite, check_size};
use crate::upsample::Bilinear;

/// One map for each segment: how much a token belongs to it, larger is more. The label of a pixel is the segment whose
/// map, enlarged bilinearly, is largest there.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftMaps {
    grid: Grid,
    values: Vec<f32>,
}

impl SoftMaps {
    /// Maps on a grid, at most 65,536 of them.
    ///
    /// # Errors
    /// [`Error::Nothing`] without maps, [`Error::Size`] for a last map that is not full or too many maps,
    /// [`Error::Value`] for NaN or infinity.
    ///
    /// # Shapes
    /// - `values`: `[segments, tokens]`
    pub fn new(values: Vec<f32>, grid: Grid) -> Result<Self, Error> {
        let tokens = grid.tokens();
        let segments = values.len() / tokens;
        if segments == 0 {
            return Err(Error::Nothing);
        }
        check_size("the table of soft maps", values.len(), segments.min(1 << 16) * tokens)?;
        check_finite("the table of soft maps", &values)?;
        Ok(Self { grid, values })
    }

    /// 1 for the tokens of a segment and 0 elsewhere: borders become straight lines between tokens.
    ///
    /// # Errors
    /// [`Error::Size`] when there is not one label for each token.
    pub fn from_labels(labels: &[u16], grid: Grid) -> Result<Self, Error> {
        check_size("the table of labels", labels.len(), grid.tokens())?;
        let segments = count(labels);
        let mut values = vec![0.0; segments * grid.tokens()];
        for (token, &label) in labels.iter().enumerate() {
            values[usize::from(label) * grid.tokens() + token] = 1.0;
        }
        Self::new(values, grid)
    }

    /// Cosine similarity of each token's features to the mean direction of a segment's: borders follow the features
    /// (Couairon et al. 2024, "DiffCut", its assignment at high resolution, with the similarity interpolated instead
    /// of the features). A label that no token has gets -1 everywhere; features of length 0 are similar to nothing, 0.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Value`] for NaN or infinity.
    ///
    /// # Shapes
    /// - `labels`: one for each token
    /// - `features`: `[tokens, dim]`
    pub fn from_features(labels: &[u16], features: &[f32], dim: usize, grid: Grid) -> Result<Self, Error> {
        let tokens = grid.tokens();
        check_size("the table of labels", labels.len(), tokens)?;
        check_size("the table of features", features.len(), tokens * dim)?;
        check_finite("the table of features", features)?;
        let mut directions: Vec<f32> = features.to_vec();
        directions.chunks_exact_mut(dim.max(1)).for_each(unit);
        let segments = count(labels);
        let mut means = vec![0.0; segments * dim];
        let mut found = vec![false; segments];
        for (token, &label) in labels.iter().enumerate() {
            let label = usize::from(label);
            found[label] = true;
            let mean = &mut means[label * dim..][..dim];
            mean.iter_mut().zip(&directions[token * dim..][..dim]).for_each(|(mean, value)| *mean += value);
        }
        means.chunks_exact_mut(dim.max(1)).for_each(unit);
        let mut values = Vec::with_capacity(segments * tokens);
        for (segment, found) in found.into_iter().enumerate() {
            let mean = &means[segment * dim..][..dim];
            values.extend((0..tokens).map(|token| {
                let direction = &directions[token * dim..][..dim];
                if found { direction.iter().zip(mean).map(|(a, b)| a * b).sum() } else { -1.0 }
            }));
        }
        Self::new(values, grid)
    }

    /// Number of segments. Labels are below it; some may occur nowhere in a label map.
    pub fn len(&self) -> usize {
        self.values.len() / self.grid.tokens()
    }

    /// Never: there is at least one segment.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// `[segments, tokens]`, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The map of one segment, `[height * width]`, or `None` for a label that does not exist.
    pub fn map(&self, label: u16, height: usize, width: usize) -> Option<Vec<f32>> {
        let map = self.values.chunks_exact(self.grid.tokens()).nth(usize::from(label))?;
        let mut out = vec![0.0; height * width];
        if !out.is_empty() {
            Bilinear::new(self.grid, Grid { height, width }).resample(map, &mut out);
        }
        Some(out)
    }

    /// The share that some segments have of the sum over all, `[height * width]`, in `0..=1` where no map is negative:
    /// a soft mask of a structure that several segments make up. 0 where all maps are 0.
    pub fn share(&self, labels: &[u16], height: usize, width: usize) -> Vec<f32> {
        let mut out = vec![0.0; height * width];
        let mut sum = vec![0.0; height * width];
        if out.is_empty() {
            return out;
        }
        let mut bilinear = Bilinear::new(self.grid, Grid { height, width });
        for (label, map) in self.values.chunks_exact(self.grid.tokens()).enumerate() {
            let wanted = labels.iter().any(|&wanted| usize::from(wanted) == label);
            bilinear.for_each_row(map, |row, values| {
                for (column, value) in values.enumerate() {
                    sum[row * width + column] += value;
                    if wanted {
                        out[row * width + column] += value;
                    }
                }
            });
        }
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = if sum > 0.0 { *out / sum } else { 0.0 });
        out
    }

    /// The label of each pixel, `[height * width]`: the largest map, the first of equal ones. Needs the memory of one
    /// map, however many segments there are.
    pub fn label_map(&self, height: usize, width: usize) -> Vec<u16> {
        let mut labels = vec![0; height * width];
        let mut largest = vec![f32::NEG_INFINITY; height * width];
        if labels.is_empty() {
            return labels;
        }
        let mut bilinear = Bilinear::new(self.grid, Grid { height, width });
        for (label, map) in self.values.chunks_exact(self.grid.tokens()).enumerate() {
            bilinear.for_each_row(map, |row, values| {
                let line = row * width..(row + 1) * width;
                for ((value, largest), best) in values.zip(&mut largest[line.clone()]).zip(&mut labels[line]) {
                    if value > *largest {
                        *largest = value;
                        *best = label as u16;
                    }
                }
            });
        }
        labels
    }
}

/// Labels in use, from 0 to the largest.
fn count(labels: &[u16]) -> usize {
    labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
}

/// Divides a row by its length, if it has one.
pub(crate) fn unit(row: &mut [f32]) {
    let length = libm::sqrt(row.iter().map(|&value| f64::from(value) * f64::from(value)).sum());
    if length > 0.0 {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}
