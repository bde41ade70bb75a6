//! Soft masks that follow the edges of the picture.

/// Why a mask could not be refined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RefineError {
    /// The number of values does not fit the dimensions.
    #[error("{what} has {values} values, not those of {width} x {height} pixels; resize it to the picture first")]
    Dimensions {
        /// Which of the planes it is.
        what: &'static str,
        /// Values given.
        values: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// The smoothing is not a positive number.
    #[error("epsilon is {value}; it must be above 0 and finite")]
    Epsilon {
        /// The value found.
        value: f32,
    },
    /// A value is NaN or infinite.
    #[error("{what} holds {value} at position {position}; repair it first")]
    NotFinite {
        /// Which of the planes it is.
        what: &'static str,
        /// Its position, counted from 0.
        position: usize,
        /// The value.
        value: f32,
    },
}

/// The guided filter (He, Sun and Tang 2013, "Guided Image Filtering", algorithm 1): in each window the mask is
/// replaced by the straight function `a * guide + b` that fits it best, and a pixel takes the mean over all windows that
/// hold it. So a border of the mask moves to an edge of the picture nearby.
///
/// `radius` is that of the square windows in pixels (`2 * radius + 1` wide, cut off at the ends of the picture; 0 gives
/// the mask back); `epsilon` is how much variance of the guide, a grey picture in `0..=1`, counts as flat: edges much
/// weaker than its root are smoothed over. Time does not depend on the radius: windows are differences of running sums.
/// The result can lie a little outside the mask's range.
///
/// # Errors
/// [`RefineError`] where sizes differ, `epsilon` is not above 0, or a value is not finite.
///
/// # Shapes
/// - `guide`, `mask`, result: `[height * width]`
pub fn guided_filter(
    guide: &[f32],
    mask: &[f32],
    height: usize,
    width: usize,
    radius: usize,
    epsilon: f32,
) -> Result<Vec<f32>, RefineError> {
    for (what, plane) in [("the guide", guide), ("the mask", mask)] {
        if height.checked_mul(width) != Some(plane.len()) {
            return Err(RefineError::Dimensions { what, values: plane.len(), height, width });
        }
        if let Some(position) = plane.iter().position(|value| !value.is_finite()) {
            return Err(RefineError::NotFinite { what, position, value: plane[position] });
        }
    }
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(RefineError::Epsilon { value: epsilon });
    }
    if radius == 0 || guide.is_empty() {
        return Ok(mask.to_vec());
    }
    let means = BoxMeans { height, width, radius };
    let guide: Vec<f64> = guide.iter().map(|&value| f64::from(value)).collect();
    let mask: Vec<f64> = mask.iter().map(|&value| f64::from(value)).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<f64>>();
    let (mean_guide, mean_mask) = (means.of(&guide), means.of(&mask));
    let (guide_guide, guide_mask) = (means.of(&product(&guide, &guide)), means.of(&product(&guide, &mask)));
    let (mut slopes, mut offsets) = (Vec::with_capacity(guide.len()), Vec::with_capacity(guide.len()));
    for pixel in 0..guide.len() {
        let variance = (guide_guide[pixel] - mean_guide[pixel] * mean_guide[pixel]).max(0.0);
        let covariance = guide_mask[pixel] - mean_guide[pixel] * mean_mask[pixel];
        let slope = covariance / (variance + f64::from(epsilon));
        slopes.push(slope);
        offsets.push(mean_mask[pixel] - slope * mean_guide[pixel]);
    }
    let (slopes, offsets) = (means.of(&slopes), means.of(&offsets));
    Ok((0..guide.len()).map(|pixel| (slopes[pixel] * guide[pixel] + offsets[pixel]) as f32).collect())
}

/// Means over square windows, cut off at the ends of the picture.
struct BoxMeans {
    height: usize,
    width: usize,
    radius: usize,
}

impl BoxMeans {
    /// In f64, since a running sum keeps the rounding of everything before it.
    fn of(&self, plane: &[f64]) -> Vec<f64> {
        let (width, height) = (self.width, self.height);
        // Row `i` holds the sums over all rows before `i`, [height + 1, width].
        let mut above = vec![0.0; (height + 1) * width];
        for row in 0..height {
            for column in 0..width {
                above[(row + 1) * width + column] = above[row * width + column] + plane[row * width + column];
            }
        }
        let mut out = Vec::with_capacity(plane.len());
        let mut before = vec![0.0; width + 1];
        for row in 0..height {
            let (top, bottom) = self.window(row, height);
            for column in 0..width {
                before[column + 1] = before[column] + above[bottom * width + column] - above[top * width + column];
            }
            out.extend((0..width).map(|column| {
                let (left, right) = self.window(column, width);
                (before[right] - before[left]) / ((bottom - top) * (right - left)) as f64
            }));
        }
        out
    }

    /// First position of the window and the one after its last.
    fn window(&self, position: usize, length: usize) -> (usize, usize) {
        (position.saturating_sub(self.radius), position.saturating_add(self.radius).saturating_add(1).min(length))
    }
}
