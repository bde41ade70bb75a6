//! Foreground objects in an encoder's patch features, one cut at a time: a control that uses no diffusion model.

use burn::tensor::Device;

use crate::Grid;
use crate::affinity::{Graph, cosines};
use crate::eigen::second_eigenvector;
use crate::error::{Error, check_range, check_size};

/// Weight of tokens that are not similar, so that the graph hangs together. Published.
const WEAK: f32 = 1e-5;

/// Settings of TokenCut (Wang et al. 2022, "Self-supervised Transformers for Unsupervised Object Discovery using
/// Normalized Cut") and of MaskCut (Wang et al. 2023, "Cut and Learn", section 3.2), which repeats it.
///
/// Tokens with a cosine similarity above `threshold` are joined by weight 1, others by 1e-5. The second-smallest
/// eigenvector is cut at its mean; the foreground is the side of its value of largest magnitude, and of it the piece
/// joined to that token over edges of the grid. Then the features of that piece are set to 0 and the next is sought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectCut {
    /// Cosine similarity above which tokens are joined, in `-1..1`. Published: 0.2 for TokenCut, 0.15 for MaskCut.
    pub threshold: f32,
    /// Objects to look for, at least 1.
    pub objects: usize,
    /// Whether a foreground with three or four corners of the image is exchanged for its complement.
    pub corners_are_background: bool,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct ForegroundMask {
    /// Whether each token belongs to the object; tokens of earlier objects do not.
    pub inside: Vec<bool>,
    /// The eigenvector, positive on the side of the object: a soft map for each token.
    pub eigenvector: Vec<f64>,
}

impl ObjectCut {
    /// TokenCut: one object.
    pub fn token_cut() -> Self {
        Self { threshold: 0.2, objects: 1, corners_are_background: false }
    }

    /// The objects found, at most `objects` of them. From the second on, the search ends with one whose intersection over
    /// union with the object before is more than a half or whose new tokens are a hundredth of the image or less (the
    /// published program asks that of old and new tokens together, and so can return an object without any).
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a setting or a grid of a single token, [`Error::Size`], [`Error::Value`],
    /// [`Error::NoConvergence`], [`Error::Device`].
    ///
    /// # Shapes
    /// - `features`: `[tokens, dim]` of `grid`
    pub fn masks(
        &self,
        features: &[f32],
        dim: usize,
        grid: Grid,
        device: &Device,
    ) -> Result<Vec<ForegroundMask>, Error> {
        let tokens = grid.tokens();
        check_range("tokens of the grid", tokens as f64, tokens > 1, "at least 2")?;
        check_range(
            "threshold",
            self.threshold.into(),
            (-1.0..1.0).contains(&self.threshold),
            "in -1 to 1, 1 excluded",
        )?;
        check_range("objects", self.objects as f64, self.objects > 0, "at least 1")?;
        check_size("the table of features", features.len(), tokens * dim)?;
        let similarity = cosines(features, tokens, device)?;
        let mut painted = vec![false; tokens];
        let mut before: Option<Vec<bool>> = None;
        let mut masks = Vec::new();
        for _object in 0..self.objects {
            let joined = |at: usize| {
                let hidden = painted[at / tokens] || painted[at % tokens];
                let similarity = if hidden { 0.0 } else { similarity[at] };
                if similarity > self.threshold { 1.0 } else { WEAK }
            };
            let graph = Graph::new((0..tokens * tokens).map(joined).collect(), tokens);
            let (piece, eigenvector) = self.foreground(second_eigenvector(&graph)?, grid);
            let inside: Vec<bool> = piece.iter().zip(&painted).map(|(inside, painted)| *inside && !painted).collect();
            let size = inside.iter().filter(|inside| **inside).count();
            if before.as_ref().is_none_or(|before| overlap(before, &piece) <= 0.5 && size * 100 > tokens) {
                painted.iter_mut().zip(&piece).for_each(|(painted, inside)| *painted |= inside);
                masks.push(ForegroundMask { inside, eigenvector });
                before = Some(piece);
            } else {
                // The features stay as they are, so each further cut would be this one again.
                break;
            }
        }
        Ok(masks)
    }

    /// The side of the largest value, and of it the piece around that token.
    fn foreground(&self, mut vector: Vec<f64>, grid: Grid) -> (Vec<bool>, Vec<f64>) {
        let mean = vector.iter().sum::<f64>() / vector.len() as f64;
        // The value of largest magnitude is positive, hence above the mean.
        let mut side: Vec<bool> = vector.iter().map(|&value| value > mean).collect();
        let (last_row, last_column) = (grid.height - 1, grid.width - 1);
        let corners = [0, last_column, last_row * grid.width, last_row * grid.width + last_column];
        if self.corners_are_background && corners.iter().filter(|&&corner| side[corner]).count() >= 3 {
            side.iter_mut().for_each(|inside| *inside = !*inside);
            vector.iter_mut().for_each(|value| *value = -*value);
        }
        let seed = (0..vector.len()).fold(0, |seed, token| if vector[token] > vector[seed] { token } else { seed });
        (piece_around(&side, seed, grid), vector)
    }
}

/// The tokens joined to `seed` over edges within `side`.
fn piece_around(side: &[bool], seed: usize, grid: Grid) -> Vec<bool> {
    let mut piece = vec![false; side.len()];
    let mut open = vec![seed];
    while let Some(token) = open.pop() {
        if !side[token] || piece[token] {
            continue;
        }
        piece[token] = true;
        let (row, column) = (token / grid.width, token % grid.width);
        if row > 0 {
            open.push(token - grid.width);
        }
        if row + 1 < grid.height {
            open.push(token + grid.width);
        }
        if column > 0 {
            open.push(token - 1);
        }
        if column + 1 < grid.width {
            open.push(token + 1);
        }
    }
    piece
}

/// Intersection over union.
fn overlap(a: &[bool], b: &[bool]) -> f64 {
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    let either = a.iter().zip(b).filter(|(a, b)| **a || **b).count();
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}
