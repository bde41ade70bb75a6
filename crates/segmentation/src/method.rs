//! The ways to cut an image into segments, all with the same result: a label for each pixel.

use crate::{Affinity, DiffSeg, Grid, Ncut, ObjectCut, SoftMaps, Walk, WalkGraph};
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use metrics::segmentation::{BinaryMask, Connectivity, connected_components, otsu_threshold_u8};
use serde::{Deserialize, Serialize};

use crate::clusters::Clusters;
use crate::features::{FeatureKinds, FeatureMap, ModelFeatures};

/// How an image is cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Each token of the UNet's features goes to the nearest of some parts, which are found once in many images.
    Parts {
        /// How many. Default 64.
        #[serde(default = "default_parts")]
        num_parts: usize,
    },
    /// Merges attention maps that are alike (Tian et al. 2023).
    Diffseg {
        /// Largest distance of maps that are merged. Default 0.5, for Stable Diffusion; small networks need a hundredth.
        #[serde(default = "default_distance")]
        threshold: f32,
    },
    /// Cuts the graph of the UNet's features recursively (Couairon et al. 2024, "DiffCut").
    NormalisedCut {
        /// Exponent of the similarity of two tokens. Default 10.
        #[serde(default = "default_alpha")]
        alpha: f32,
        /// Largest cost of a cut, 0..=2. Default 0.5.
        #[serde(default = "default_cost")]
        threshold: f64,
    },
    /// Cuts a random walk over attention, with a threshold that is chosen for each image (after Ivanova et al. 2024).
    RandomWalk {
        /// Steps of the walk. Default 1.
        #[serde(default = "default_steps")]
        steps: usize,
    },
    /// Cuts objects out of the encoder's patch tokens (Wang et al. 2022, 2023): a control without diffusion.
    TokenCut {
        /// Cosine similarity above which patches are joined. Default 0.2.
        #[serde(default = "default_similarity")]
        threshold: f32,
        /// Objects to look for. Default 3.
        #[serde(default = "default_objects")]
        objects: usize,
    },
    /// Dark from bright by Otsu's threshold, each connected dark piece a segment: a control without any network.
    Otsu,
}

fn default_parts() -> usize {
    64
}

fn default_distance() -> f32 {
    DiffSeg::default().threshold
}

fn default_alpha() -> f32 {
    10.0
}

fn default_cost() -> f64 {
    Ncut::default().threshold
}

fn default_steps() -> usize {
    Walk::default().steps
}

fn default_similarity() -> f32 {
    0.2
}

fn default_objects() -> usize {
    3
}

/// Fewest tokens on each side of a cut, as a share of all.
const SMALLEST_CUT: f64 = 0.01;

impl Method {
    /// Its name in results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parts { .. } => "parts",
            Self::Diffseg { .. } => "diffseg",
            Self::NormalisedCut { .. } => "normalised_cut",
            Self::RandomWalk { .. } => "random_walk",
            Self::TokenCut { .. } => "token_cut",
            Self::Otsu => "otsu",
        }
    }

    /// Refuses what no image could be cut with.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &str, number: usize| -> Result<()> {
            ensure!(number > 0, "method.{name} is 0; it must be at least 1");
            Ok(())
        };
        match *self {
            Self::Parts { num_parts } => positive("num_parts", num_parts)?,
            Self::Diffseg { threshold } => ensure!(
                threshold > 0.0 && threshold.is_finite(),
                "method.threshold is {threshold}; it must be above 0 and finite"
            ),
            Self::NormalisedCut { alpha, threshold } => {
                ensure!(alpha > 0.0 && alpha.is_finite(), "method.alpha is {alpha}; it must be above 0 and finite");
                ensure!(
                    (0.0..=2.0).contains(&threshold),
                    "method.threshold is {threshold}; it must be between 0 and 2"
                );
            }
            Self::RandomWalk { steps } => positive("steps", steps)?,
            Self::TokenCut { threshold, objects } => {
                ensure!(
                    (-1.0..=1.0).contains(&threshold),
                    "method.threshold is {threshold}; it is a cosine, from -1 to 1"
                );
                positive("objects", objects)?;
            }
            Self::Otsu => {}
        }
        Ok(())
    }

    /// Where it stops merging or cutting, if that is a number of its settings.
    pub fn threshold(&self) -> Option<f64> {
        match *self {
            Self::Diffseg { threshold } | Self::TokenCut { threshold, .. } => Some(f64::from(threshold)),
            Self::NormalisedCut { threshold, .. } => Some(threshold),
            Self::Parts { .. } | Self::RandomWalk { .. } | Self::Otsu => None,
        }
    }

    /// The evidence that it needs.
    pub fn wanted(&self) -> FeatureKinds {
        match self {
            Self::Parts { .. } | Self::NormalisedCut { .. } => {
                FeatureKinds { features: true, ..FeatureKinds::default() }
            }
            Self::Diffseg { .. } | Self::RandomWalk { .. } => {
                FeatureKinds { attention: true, ..FeatureKinds::default() }
            }
            Self::TokenCut { .. } => FeatureKinds { patches: true, ..FeatureKinds::default() },
            Self::Otsu => FeatureKinds::default(),
        }
    }

    /// Cuts one image: a label for each pixel, `[size * size]`.
    ///
    /// # Errors
    /// Settings out of range; evidence that is missing or not made of numbers.
    pub fn segments(
        &self,
        evidence: &ModelFeatures,
        parts: Option<&Clusters>,
        picture: &[u8],
        size: usize,
        device: &Device,
    ) -> Result<Vec<u16>> {
        let fewest = |grid: Grid| ((grid.tokens() as f64 * SMALLEST_CUT).round() as usize).max(1);
        let missing = || format!("the evidence that `{}` needs was not read", self.name());
        let attention = || evidence.attention.as_ref().with_context(missing);
        let maps = match *self {
            Self::Parts { .. } => {
                let features = evidence.features.as_ref().with_context(missing)?;
                parts.with_context(missing)?.similarity(features)?
            }
            Self::Diffseg { threshold } => {
                let grid = attention()?.grid();
                // 16 anchors a side on 64 tokens is the published density; a small grid can afford every token.
                let anchors = DiffSeg::default().anchors.min(grid.height).min(grid.width);
                DiffSeg { threshold, anchors, ..DiffSeg::default() }.segment(attention()?, device)?
            }
            Self::NormalisedCut { alpha, threshold } => {
                let FeatureMap { values, dim, grid } = evidence.features.as_ref().with_context(missing)?;
                let affinity = Affinity::from_features(values, grid.tokens(), alpha, device)?;
                let tree = Ncut { threshold, min_tokens: fewest(*grid) }.tree(&affinity)?;
                SoftMaps::from_features(&tree.labels(threshold), values, *dim, *grid)?
            }
            Self::RandomWalk { steps } => {
                let (maps, grid) = (attention()?, attention()?.grid());
                let affinity = Walk { steps, graph: WalkGraph::Flow }.affinity(maps, device)?;
                let tree = Ncut { threshold: 1.0, min_tokens: fewest(grid) }.tree(&affinity)?;
                let labels = tree.labels(tree.automatic_threshold());
                SoftMaps::from_features(&labels, maps.values(), grid.tokens(), grid)?
            }
            Self::TokenCut { threshold, objects } => {
                let FeatureMap { values, dim, grid } = evidence.patches.as_ref().with_context(missing)?;
                let cut = ObjectCut { threshold, objects, corners_are_background: true };
                let mut labels = vec![0_u16; grid.tokens()];
                for (label, object) in (1..).zip(cut.masks(values, *dim, *grid, device)?) {
                    labels.iter_mut().zip(object.inside).filter(|(_, inside)| *inside).for_each(|(to, _)| *to = label);
                }
                SoftMaps::from_labels(&labels, *grid)?
            }
            Self::Otsu => return dark_pieces(picture, size),
        };
        Ok(maps.label_map(size, size))
    }
}

/// Label 0 for what is bright, one label for each connected dark piece.
fn dark_pieces(picture: &[u8], size: usize) -> Result<Vec<u16>> {
    // An even picture has no dark part.
    let Some(threshold) = otsu_threshold_u8(picture) else { return Ok(vec![0; size * size]) };
    let dark: Vec<u8> = picture.iter().map(|&value| u8::from(value <= threshold)).collect();
    let labels = connected_components(BinaryMask::new(&dark, size, size)?, Connectivity::Four).labels;
    match labels.into_iter().map(u16::try_from).collect() {
        Ok(labels) => Ok(labels),
        Err(_) => bail!("the image falls into more than 65,535 dark pieces; it is noise, or not a radiograph"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dark_pieces_are_told_apart() {
        let mut picture = vec![200; 64];
        for pixel in [9, 10, 17, 45, 46] {
            picture[pixel] = 20;
        }
        let labels = Method::Otsu.segments(&ModelFeatures::default(), None, &picture, 8, &Device::flex()).unwrap();
        assert_eq!((labels[9], labels[17], labels[45], labels[0]), (1, 1, 2, 0));
        let even = Method::Otsu.segments(&ModelFeatures::default(), None, &[7; 64], 8, &Device::flex()).unwrap();
        assert_eq!(even, [0; 64]);
    }

    #[test]
    fn missing_evidence_is_named() {
        let cut = Method::Diffseg { threshold: 0.1 };
        let error = cut.segments(&ModelFeatures::default(), None, &[7; 64], 8, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains("diffseg"), "{error}");
    }
}
