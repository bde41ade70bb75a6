//! Clusters of the body as the UNet tells them apart: groups of like features in many images, found without labels.

use crate::SoftMaps;
use anyhow::{Context, Result, ensure};
use metrics::{Partition, Rows};

use crate::features::FeatureMap;

/// FeatureMap are standardised by these, then belong to the nearest centre.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    pub mean: Vec<f32>,
    /// Above 0.
    pub std: Vec<f32>,
    /// `[parts, dim]`
    pub centres: Vec<f32>,
}

/// Tokens that k-means sees, for each part; the first ones, so images should come in any order but by kind.
const MOST_TOKENS_PER_PART: usize = 200;

/// Rounds of k-means.
const ROUNDS: usize = 20;

impl Clusters {
    /// By k-means over some tokens of every image (a checkerboard of a quarter of them: neighbours are alike).
    ///
    /// # Errors
    /// No image, fewer tokens than parts, features that are not numbers.
    pub fn find(images: &[&FeatureMap], num_parts: usize, seed: u64) -> Result<Self> {
        let first = images.first().context("there is no image to find parts in")?;
        let (dim, width) = (first.dim, first.grid.width);
        let mut taken: Vec<f32> = Vec::new();
        for (image, features) in images.iter().enumerate() {
            for (token, values) in features.values.chunks_exact(dim).enumerate() {
                let (row, column) = (token / width, token % width);
                if (row + image) % 2 == 0 && (column + image / 2) % 2 == 0 {
                    taken.extend(values);
                }
            }
        }
        // k-means gains little from more tokens than these.
        taken.truncate(MOST_TOKENS_PER_PART * num_parts * dim);
        let count = (taken.len() / dim) as f64;
        let mut mean = vec![0.0_f64; dim];
        let mut square = vec![0.0_f64; dim];
        for row in taken.chunks_exact(dim) {
            for ((value, mean), square) in row.iter().zip(&mut mean).zip(&mut square) {
                *mean += f64::from(*value) / count;
                *square += f64::from(*value) * f64::from(*value) / count;
            }
        }
        let std: Vec<f32> =
            mean.iter().zip(&square).map(|(mean, square)| (square - mean * mean).max(1e-12).sqrt() as f32).collect();
        let mean: Vec<f32> = mean.into_iter().map(|mean| mean as f32).collect();
        let mut parts = Self { mean, std, centres: Vec::new() };
        let rows: Vec<f64> = parts.standardised(&taken).map(f64::from).collect();
        let rows = Rows::new(&rows, dim).context("the UNet's features are not numbers")?;
        let partition = Partition::in_rounds(rows, num_parts, ROUNDS, seed)?;
        parts.centres = partition.centres().iter().map(|value| *value as f32).collect();
        Ok(parts)
    }

    pub fn len(&self) -> usize {
        self.centres.len() / self.mean.len().max(1)
    }

    fn standardised<'a>(&'a self, values: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let scales = self.mean.iter().zip(&self.std).cycle();
        values.iter().zip(scales).map(|(value, (mean, std))| (value - mean) / std)
    }

    /// How near each token is to each centre: half the squared length of the token's features minus half the squared
    /// distance, so that maps can be enlarged before the largest is taken.
    ///
    /// # Errors
    /// FeatureMap of another network.
    pub fn similarity(&self, features: &FeatureMap) -> Result<SoftMaps> {
        let dim = self.mean.len();
        ensure!(
            features.dim == dim,
            "the parts have {dim} channels and the UNet's features {}; they belong to another model",
            features.dim
        );
        let tokens: Vec<f32> = self.standardised(&features.values).collect();
        let mut maps = Vec::with_capacity(self.len() * features.grid.tokens());
        for centre in self.centres.chunks_exact(dim) {
            let half = 0.5 * dot(centre, centre);
            maps.extend(tokens.chunks_exact(dim).map(|token| dot(token, centre) - half));
        }
        Ok(SoftMaps::new(maps, features.grid)?)
    }

    /// The nearest part of each token.
    ///
    /// # Errors
    /// As [`Clusters::similarity`].
    pub fn codes(&self, features: &FeatureMap) -> Result<Vec<u16>> {
        Ok(self.similarity(features)?.label_map(features.grid.height, features.grid.width))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    #[test]
    fn groups_of_features_become_parts_and_every_token_goes_to_the_nearest() {
        let grid = Grid::new(4, 4).unwrap();
        let image = |shift: f32| FeatureMap {
            values: (0..16).flat_map(|token| [if token < 8 { 5.0 } else { -5.0 } + shift, shift * 10.0]).collect(),
            dim: 2,
            grid,
        };
        let images: Vec<FeatureMap> = (0..6).map(|image_number| image(0.01 * image_number as f32)).collect();
        let parts = Clusters::find(&images.iter().collect::<Vec<_>>(), 2, 0).unwrap();
        assert_eq!(parts.len(), 2);
        for features in &images {
            let codes = parts.codes(features).unwrap();
            assert!(codes[..8].iter().all(|code| *code == codes[0]), "{codes:?}");
            assert!(codes[8..].iter().all(|code| *code != codes[0]), "{codes:?}");
        }
        let foreign = FeatureMap { values: vec![0.0; 16], dim: 1, grid };
        assert!(parts.codes(&foreign).unwrap_err().to_string().contains("another model"));
        assert!(Clusters::find(&[], 2, 0).is_err());
    }
}
