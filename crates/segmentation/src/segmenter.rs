//! All it takes to find lungs in an image: how the UNet is asked, how its answer is cut, and which segments are lungs.

use std::collections::HashMap;
use std::path::Path;

use crate::{Grid, SoftMaps};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use files::AtomicFolder;
use nets::{Checkpoint, HostTensor};
use radiograph::guided_filter;
use serde::{Deserialize, Serialize};

use crate::clusters::Clusters;
use crate::features::{FeatureMap, ModelFeatures, PassSettings};
use crate::lungs::Lungs;
use crate::method::Method;
use crate::prior::{LungPrior, probability, template};

/// The choices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmenterSettings {
    /// How the image is cut.
    pub method: Method,
    /// Annotated images that the choice of segments is learned from; 0 starts from a template of the anatomy.
    pub num_annotated: usize,
    /// Without annotated images: how often the choice is learned again from its own result.
    pub rounds: usize,
    /// Unlabelled images in which parts are found and, without annotated ones, the choice is learned.
    pub num_images: usize,
    /// Moves borders to edges of the picture; none leaves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<Refinement>,
    /// How the UNet is shown an image.
    pub pass: PassSettings,
}

impl Default for SegmenterSettings {
    fn default() -> Self {
        Self {
            method: Method::Parts { num_parts: 64 },
            num_annotated: 0,
            rounds: 8,
            num_images: 400,
            refinement: None,
            pass: PassSettings::default(),
        }
    }
}

impl SegmenterSettings {
    /// Refuses what no segmenter can be fitted with.
    ///
    /// # Errors
    /// The first impossible setting, by name and value.
    pub fn validate(&self) -> Result<()> {
        self.method.validate()?;
        let learns_from_unlabelled = self.num_annotated == 0 || matches!(self.method, Method::Parts { .. });
        ensure!(
            self.num_images > 0 || !learns_from_unlabelled,
            "num_images is 0, so there is no image to learn from; give at least 1"
        );
        if let Some(Refinement { epsilon, .. }) = self.refinement {
            ensure!(
                epsilon > 0.0 && epsilon.is_finite(),
                "refinement.epsilon is {epsilon}; it must be above 0 and finite"
            );
        }
        Ok(())
    }
}

/// A guided filter on the soft mask, see [`guided_filter`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refinement {
    /// Of its windows, in pixels.
    pub radius: usize,
    /// Variance of brightness that counts as flat.
    pub epsilon: f32,
}

/// What a segmenter learns from.
#[derive(Debug, Default)]
pub struct Examples {
    /// Images without labels.
    pub unlabelled: Vec<Example>,
    /// Images with masks of lungs, `[size * size]`.
    pub annotated: Vec<(Example, Vec<u8>)>,
}

/// One image to learn from.
#[derive(Debug)]
pub struct Example {
    /// The UNet's, where parts are wanted.
    pub features: Option<FeatureMap>,
    /// See [`darkness`].
    pub darkness: Vec<u16>,
}

/// A fitted segmenter.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmenter {
    /// What it was made with.
    pub settings: SegmenterSettings,
    parts: Option<Clusters>,
    prior: LungPrior,
    grid: Grid,
}

/// One image, cut.
#[derive(Debug, Clone)]
pub struct Segmented {
    /// `[size * size]`
    pub labels: Vec<u16>,
    /// What the segmenter takes for lungs, cleaned.
    pub lungs: Lungs,
}

/// Levels of darkness, from the darkest.
const NUM_LEVELS: usize = 16;
/// Side of the grid of places where no network gives one.
const GRID_SIDE: usize = 16;

impl Segmenter {
    /// Learns.
    ///
    /// # Errors
    /// Fewer examples than settings ask for.
    pub fn fit(settings: &SegmenterSettings, examples: &Examples, seed: u64) -> Result<Self> {
        let parts = match settings.method {
            Method::Parts { num_parts } => {
                let features: Vec<&FeatureMap> =
                    examples.unlabelled.iter().filter_map(|example| example.features.as_ref()).collect();
                Some(Clusters::find(&features, num_parts, seed)?)
            }
            _ => None,
        };
        Self::learn(settings.clone(), parts, examples)
    }

    fn learn(settings: SegmenterSettings, parts: Option<Clusters>, examples: &Examples) -> Result<Self> {
        let Examples { unlabelled, annotated } = examples;
        let n = settings.num_annotated;
        ensure!(
            annotated.len() >= n,
            "{n} annotated images are asked for, and there are {}; ask for fewer, or give masks",
            annotated.len()
        );
        let annotated = &annotated[..n];
        let grid = match (&parts, unlabelled.iter().find_map(|example| example.features.as_ref())) {
            (Some(_), Some(features)) => features.grid,
            _ => Grid::square(GRID_SIDE)?,
        };
        let num_codes = parts.as_ref().map_or(NUM_LEVELS, Clusters::len);
        let codes = |example: &Example| -> Result<Vec<u16>> {
            match (&parts, &example.features) {
                (Some(parts), Some(features)) => parts.codes(features),
                _ => Ok(example.darkness.clone()),
            }
        };
        let prior = if n == 0 {
            ensure!(!unlabelled.is_empty(), "there is no image to learn from");
            let codes = unlabelled.iter().map(codes).collect::<Result<Vec<_>>>()?;
            LungPrior::from_template(&codes, &template(grid.height, grid.width), num_codes, settings.rounds)
        } else {
            let codes = annotated.iter().map(|(example, _)| codes(example)).collect::<Result<Vec<_>>>()?;
            let inside: Vec<Vec<f32>> = annotated.iter().map(|(_, mask)| shares(mask, grid)).collect();
            LungPrior::learn(&codes, &inside, num_codes)
        };
        Ok(Self { settings, parts, prior, grid })
    }

    /// Cuts one image and says which part of it is lung.
    ///
    /// # Errors
    /// ModelFeatures that is missing.
    pub fn apply(&self, evidence: &ModelFeatures, picture: &[u8], size: usize, device: &Device) -> Result<Segmented> {
        let labels = self.cut(evidence, picture, size, device)?;
        let lungs = Lungs::of_mask(&self.choose(&labels, evidence, picture, size)?, size)?;
        Ok(Segmented { labels, lungs })
    }

    /// The segments alone, `[size * size]`.
    ///
    /// # Errors
    /// ModelFeatures that is missing.
    pub fn cut(&self, evidence: &ModelFeatures, picture: &[u8], size: usize, device: &Device) -> Result<Vec<u16>> {
        self.settings.method.segments(evidence, self.parts.as_ref(), picture, size, device)
    }

    /// Which pixels are lung, before anything is cleaned. Clusters are judged at every token; the segments of other methods
    /// as a whole, by the mean over their pixels.
    ///
    /// # Errors
    /// ModelFeatures that is missing, an image of another size than the segmenter was fitted to.
    pub fn choose(&self, labels: &[u16], evidence: &ModelFeatures, picture: &[u8], size: usize) -> Result<Vec<u8>> {
        let codes = match (&self.parts, &evidence.features) {
            (Some(parts), Some(features)) => parts.codes(features)?,
            _ => darkness(picture, size),
        };
        ensure!(
            codes.len() == self.prior.places.len(),
            "the segmenter knows {} places and this image has {}; fit one for this image size",
            self.prior.places.len(),
            codes.len()
        );
        let score = SoftMaps::new(self.prior.score(&codes), self.grid)?.map(0, size, size).unwrap_or_default();
        let soft: Vec<f32> = match self.parts {
            Some(_) => score.into_iter().map(probability).collect(),
            None => chosen_by_mean(labels, &score),
        };
        let soft = match self.settings.refinement {
            Some(Refinement { radius, epsilon }) => {
                let guide: Vec<f32> = picture.iter().map(|value| f32::from(*value) / 255.0).collect();
                guided_filter(&guide, &soft, size, size, radius, epsilon)?
            }
            None => soft,
        };
        Ok(soft.into_iter().map(|share| u8::from(share > 0.5)).collect())
    }

    /// The same with other borders.
    pub fn with_refinement(&self, refinement: Option<Refinement>) -> Self {
        let mut changed = self.clone();
        changed.settings.refinement = refinement;
        changed
    }

    /// The same parts, and the choice among them learned anew by settings that differ in nothing that parts depend on.
    ///
    /// # Errors
    /// Fewer examples than are asked for.
    pub fn relearned(&self, settings: SegmenterSettings, examples: &Examples) -> Result<Self> {
        Self::learn(settings, self.parts.clone(), examples)
    }

    /// Writes a folder, replacing an older one.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let target = AtomicFolder::create(folder)?;
        let text = toml::to_string_pretty(&self.settings).context("the settings cannot be written as TOML")?;
        files::write_file(target.path().join("segmenter.toml"), text.as_bytes())?;
        let mut tensors = Checkpoint::default();
        let Grid { height, width } = self.grid;
        let mut put = |name: &str, shape: Vec<usize>, values: &[f32]| {
            tensors.insert(name, HostTensor { shape, values: values.to_vec() });
        };
        put("places", vec![height, width], &self.prior.places);
        put("codes", vec![self.prior.codes.len()], &self.prior.codes);
        if let Some(Clusters { mean, std, centres }) = &self.parts {
            put("parts.mean", vec![mean.len()], mean);
            put("parts.std", vec![std.len()], std);
            put("parts.centres", vec![centres.len() / mean.len(), mean.len()], centres);
        }
        tensors.save(&target.path().join("segmenter.safetensors"), false, Some(HashMap::new()))?;
        target.commit()?;
        Ok(())
    }

    /// Reads a folder that [`Segmenter::save`] wrote.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("segmenter.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("no segmenter is here: {}", folder.display()))?;
        let settings: SegmenterSettings =
            toml::from_str(&text).with_context(|| format!("the segmenter is damaged: {}", path.display()))?;
        let path = folder.join("segmenter.safetensors");
        let tensors = Checkpoint::open(&path)?;
        let damaged = || format!("the segmenter is damaged: {}", path.display());
        let places = tensors.read("places").with_context(damaged)?;
        let codes = tensors.read("codes").with_context(damaged)?.values;
        let [height, width] = places.shape[..] else {
            anyhow::bail!("{}", damaged());
        };
        let parts = match settings.method {
            Method::Parts { .. } => {
                let [mean, std, centres] = ["parts.mean", "parts.std", "parts.centres"].map(|name| tensors.read(name));
                let (mean, std) = (mean.with_context(damaged)?.values, std.with_context(damaged)?.values);
                let centres = centres.with_context(damaged)?.values;
                let fits = mean.len() == std.len() && centres.len() == codes.len() * mean.len() && !mean.is_empty();
                ensure!(fits, "{}: its tensors do not fit one another", damaged());
                Some(Clusters { mean, std, centres })
            }
            _ => {
                ensure!(codes.len() == NUM_LEVELS, "{}: it has {} levels of darkness", damaged(), codes.len());
                None
            }
        };
        Ok(Self { settings, parts, prior: LungPrior { places: places.values, codes }, grid: Grid::new(height, width)? })
    }
}

/// How dark each token of a picture is among its tokens: 0 for the darkest sixteenth, to 15. Ranks, so that exposure and
/// window do not matter.
pub fn darkness(picture: &[u8], size: usize) -> Vec<u16> {
    let bounds = |index: usize| {
        index * size / GRID_SIDE..((index + 1) * size / GRID_SIDE).max(index * size / GRID_SIDE + 1).min(size)
    };
    let tokens = GRID_SIDE * GRID_SIDE;
    let means: Vec<f64> = (0..tokens)
        .map(|token| {
            let (rows, columns) = (bounds(token / GRID_SIDE), bounds(token % GRID_SIDE));
            let count = (rows.len() * columns.len()).max(1) as f64;
            let sum: f64 =
                rows.flat_map(|row| picture[row * size..][columns.clone()].iter()).map(|value| f64::from(*value)).sum();
            sum / count
        })
        .collect();
    let mut order: Vec<usize> = (0..tokens).collect();
    order.sort_by(|a, b| means[*a].total_cmp(&means[*b]));
    let mut levels = vec![0; tokens];
    for (rank, token) in order.into_iter().enumerate() {
        levels[token] = (rank * NUM_LEVELS / tokens) as u16;
    }
    levels
}

/// The share of each token that is inside a mask `[size * size]`.
fn shares(mask: &[u8], grid: Grid) -> Vec<f32> {
    let size = (mask.len() as f64).sqrt().round() as usize;
    let mut sums = vec![0.0_f32; grid.tokens()];
    let mut counts = vec![0.0_f32; grid.tokens()];
    for (at, value) in mask.iter().enumerate() {
        let (row, column) = (at / size * grid.height / size, at % size * grid.width / size);
        sums[row * grid.width + column] += f32::from(u8::from(*value != 0));
        counts[row * grid.width + column] += 1.0;
    }
    sums.iter().zip(&counts).map(|(sum, count)| sum / count.max(1.0)).collect()
}

/// 1 for the pixels of segments whose mean score is above 0.
fn chosen_by_mean(labels: &[u16], score: &[f32]) -> Vec<f32> {
    let num_labels = labels.iter().max().map_or(0, |label| usize::from(*label) + 1);
    let mut sums = vec![0.0_f64; num_labels];
    labels.iter().zip(score).for_each(|(label, score)| sums[usize::from(*label)] += f64::from(*score));
    labels.iter().map(|label| f32::from(u8::from(sums[usize::from(*label)] > 0.0))).collect()
}

/// The segments that lie inside a mask by more than a half: what nobody can choose without knowing the mask, and so the
/// upper bound of every choice of whole segments.
pub fn oracle(labels: &[u16], mask: &[u8]) -> Vec<u8> {
    let inside: Vec<f32> = mask.iter().map(|value| if *value != 0 { 0.5 } else { -0.5 }).collect();
    chosen_by_mean(labels, &inside).into_iter().map(|chosen| u8::from(chosen > 0.5)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_takes_what_lies_inside_by_more_than_half() {
        let labels = [0, 0, 0, 1, 1, 1, 2, 2];
        let mask = [1, 1, 0, 1, 0, 0, 1, 0];
        assert_eq!(oracle(&labels, &mask), [1, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn darkness_is_a_rank() {
        let picture: Vec<u8> = (0..32 * 32).map(|at| (at / 32 * 4) as u8).collect();
        let levels = darkness(&picture, 32);
        assert!(levels.chunks(16).enumerate().all(|(row, levels)| levels.iter().all(|x| usize::from(*x) == row)));
        let brighter: Vec<u8> = picture.iter().map(|x| x / 2 + 90).collect();
        assert_eq!(darkness(&brighter, 32), levels);
        assert_eq!(darkness(&[3; 25], 5).len(), 256);
    }

    #[test]
    fn a_segmenter_survives_its_folder() {
        let dark = |lung: &dyn Fn(usize) -> bool| -> Vec<u8> {
            (0..64 * 64).map(|at| if lung(at) { 40 } else { 200 }).collect()
        };
        let map = template(64, 64);
        let picture = dark(&|at| map[at] >= 0.5);
        let example = || Example { features: None, darkness: darkness(&picture, 64) };
        let examples = Examples { unlabelled: vec![example(), example()], annotated: Vec::new() };
        let settings = SegmenterSettings { method: Method::Otsu, ..SegmenterSettings::default() };
        let segmenter = Segmenter::fit(&settings, &examples, 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segmenter");
        segmenter.save(&path).unwrap();
        assert_eq!(Segmenter::open(&path).unwrap(), segmenter);
        let found = segmenter.apply(&ModelFeatures::default(), &picture, 64, &Device::flex()).unwrap();
        let truth: Vec<u8> = map.iter().map(|share| u8::from(*share >= 0.5)).collect();
        assert_eq!(found.lungs.both(), truth);
        assert_eq!(oracle(&found.labels, &truth), truth);
        let few = Segmenter::fit(&SegmenterSettings { num_annotated: 1, ..settings }, &examples, 0).unwrap_err();
        assert!(few.to_string().contains("1 annotated"), "{few}");
        assert!(Segmenter::open(folder.path()).is_err());
    }
}
