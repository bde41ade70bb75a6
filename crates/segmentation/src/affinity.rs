//! How strongly tokens belong together: the weights `W` of the graph that is cut.

use burn::tensor::Device;

use crate::diffseg::{host, matrix};
use crate::error::{Error, check_finite, check_not_negative, check_range, check_size};
use crate::soft::unit;

/// A symmetric matrix of weights, `[tokens, tokens]`, none negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Affinity {
    tokens: usize,
    values: Vec<f32>,
}

impl Affinity {
    /// From any weights; `(W + W^T) / 2` makes them symmetric.
    ///
    /// # Errors
    /// [`Error::Nothing`] for no token, [`Error::Size`], [`Error::Value`] for a negative or infinite weight or NaN.
    pub fn new(mut values: Vec<f32>, tokens: usize) -> Result<Self, Error> {
        if tokens == 0 {
            return Err(Error::Nothing);
        }
        check_size("the affinity", values.len(), tokens * tokens)?;
        check_not_negative("the affinity", &values)?;
        for row in 0..tokens {
            for column in 0..row {
                let (here, there) = (row * tokens + column, column * tokens + row);
                let mean = 0.5 * values[here] + 0.5 * values[there];
                values[here] = mean;
                values[there] = mean;
            }
        }
        Ok(Self { tokens, values })
    }

    /// Cosine similarity of features, scaled to `0..=1` over the image (so that its smallest is 0) and raised to
    /// `alpha`, which stretches the contrast (Couairon et al. 2024, "DiffCut", section 3.2; published: 10).
    ///
    /// # Errors
    /// [`Error::Nothing`] for no token, [`Error::Size`], [`Error::Value`], [`Error::OutOfRange`] for an `alpha` that is
    /// not above 0, [`Error::Device`].
    ///
    /// # Shapes
    /// - `features`: `[tokens, dim]`
    pub fn from_features(features: &[f32], tokens: usize, alpha: f32, device: &Device) -> Result<Self, Error> {
        check_alpha(alpha)?;
        let mut values = cosines(features, tokens, device)?;
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        let range = high - low;
        // All tokens alike: every weight is the same, and no cut is better than another.
        values.iter_mut().for_each(|x| *x = if range > 0.0 { power((*x - low) / range, alpha) } else { 1.0 });
        Self::new(values, tokens)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// `[tokens, tokens]`, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The weights among some tokens.
    pub(crate) fn among(&self, members: &[u32]) -> Graph {
        let mut weights = Vec::with_capacity(members.len() * members.len());
        for &row in members {
            let row = &self.values[row as usize * self.tokens..][..self.tokens];
            weights.extend(members.iter().map(|&column| row[column as usize]));
        }
        Graph::new(weights, members.len())
    }
}

/// Part of an affinity, with the degree of each node: the sum of its weights, its own included.
pub(crate) struct Graph {
    pub(crate) nodes: usize,
    /// `[nodes, nodes]`, symmetric.
    pub(crate) weights: Vec<f32>,
    pub(crate) degrees: Vec<f64>,
}

impl Graph {
    pub(crate) fn new(weights: Vec<f32>, nodes: usize) -> Self {
        let degrees =
            weights.chunks_exact(nodes).map(|row| row.iter().map(|&weight| f64::from(weight)).sum()).collect();
        Self { nodes, weights, degrees }
    }

    pub(crate) fn row(&self, node: usize) -> &[f32] {
        &self.weights[node * self.nodes..][..self.nodes]
    }
}

/// Cosine similarity of all rows of features, `[tokens, tokens]`; features of length 0 are similar to nothing, 0.
pub(crate) fn cosines(features: &[f32], tokens: usize, device: &Device) -> Result<Vec<f32>, Error> {
    if tokens == 0 || features.is_empty() {
        return Err(Error::Nothing);
    }
    let dim = features.len() / tokens;
    check_size("the table of features", features.len(), dim.max(1) * tokens)?;
    check_finite("the table of features", features)?;
    let mut directions = features.to_vec();
    directions.chunks_exact_mut(dim).for_each(unit);
    let directions = matrix(directions, [tokens, dim], device);
    host(directions.clone().matmul(directions.transpose()))
}

fn check_alpha(alpha: f32) -> Result<(), Error> {
    check_range("alpha", f64::from(alpha), alpha > 0.0 && alpha.is_finite(), "above 0 and finite")
}

/// Whole exponents by multiplication, ten times as fast: there are up to 16.8 million weights.
fn power(value: f32, alpha: f32) -> f32 {
    if alpha.fract() == 0.0 && alpha <= 64.0 { value.powi(alpha as i32) } else { libm::powf(value, alpha) }
}
