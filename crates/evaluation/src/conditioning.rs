//! Whether a model follows its condition: is the image that was drawn from an embedding recognised, by its own
//! embedding, among all real images that it could have been drawn from?
//!
//! Read it beside its controls: the same pictures in the features of `random:vit-...`, a set that was drawn without
//! conditions (each image is then given a source by lot), and the chance level that stands in the result.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::Dataset;
use metrics::{Rows, bootstrap_interval, nearest_neighbours};
use serde::{Deserialize, Serialize};

use super::fidelity::refuse_statistics;
use crate::features::FeatureChoice;
use files::outputs;
use messages::Progress;
use metrics::{CONFIDENCE, REPLICATES};
use stages::encoded::Embeddings;

/// What to compare with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditioningConfig {
    /// The dataset whose embeddings were the conditions.
    pub real: PathBuf,
    /// What was drawn from them; images of one source each count, and unconditional ones as a control; interpolations
    /// do not.
    pub synthetic: PathBuf,
    /// The network that recognises; a control has random weights.
    pub features: FeatureChoice,
    /// Of the pairs that are no pairs, and of the interval.
    pub seed: u64,
    /// A JSON file for the result.
    pub out: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ConditioningSummary {
    /// Fingerprint of the feature network.
    pub features: String,
    /// What that network is.
    pub network: String,
    /// Where its weights are random: that the figures are none of quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// Synthetic images judged.
    pub num_images: usize,
    /// Those among them that were drawn without a condition and compared with a real image of their split by lot.
    pub num_unconditional: usize,
    /// Mean number of real images among which a source is looked for: those of its split and collection.
    pub mean_candidates: f64,
    /// Share of images whose nearest real image, by cosine similarity, is their source.
    pub top_1: f64,
    /// Percentile bootstrap over images, 95 %.
    pub top_1_interval: [f64; 2],
    /// Share of images whose source is among the five nearest.
    pub top_5: f64,
    /// `top_1` of a blind guess.
    pub chance: f64,
    /// Mean cosine similarity to the source.
    pub similarity: f64,
    /// The same to another image of the source's split and collection, drawn at random: what likeness of all images
    /// alone gives.
    pub similarity_to_another: f64,
}

/// Embeds what lacks embeddings, and compares.
///
/// # Errors
/// No synthetic image of a single source, sources that the real dataset lacks, a feature network that cannot be used.
pub fn run(config: &ConditioningConfig, device: &Device, progress: &dyn Progress) -> Result<ConditioningSummary> {
    if let Some(out) = &config.out {
        outputs::check_file(out)?;
    }
    config.features.check()?;
    refuse_statistics(&config.real, "conditioning")?;
    let (real, synthetic) = (Dataset::open(&config.real)?, Dataset::open(&config.synthetic)?);
    let (groups, num_unconditional) = pairs(&real, &synthetic, config.seed)?;
    ensure!(
        groups.iter().any(|group| group.candidates.len() > 1),
        "each source is the only image of its split and collection; there is nothing to choose"
    );
    let network = config.features.open(&real, device)?;
    let real_features = network.of_dataset(&real, device, progress)?;
    let synthetic_features = network.of_dataset(&synthetic, device, progress)?;
    let dim = real_features.shape()[1];
    let read = |embeddings: &Embeddings, rows: &[usize]| -> Result<Vec<f64>> {
        Ok(embeddings.gather(rows, 1)?.into_iter().map(f64::from).collect())
    };
    let mut found: Vec<Found> = Vec::new();
    for Group { candidates, pairs } in &groups {
        let references = read(&real_features, candidates)?;
        let drawn: Vec<usize> = pairs.iter().map(|(image, _)| *image).collect();
        let queries = read(&synthetic_features, &drawn)?;
        let wrong = "the feature network gave features that are not numbers";
        let (references, queries) = (Rows::new(&references, dim).context(wrong)?, Rows::new(&queries, dim)?);
        let neighbours = nearest_neighbours(queries, references, candidates.len())?;
        for ((image, source), neighbours) in pairs.iter().zip(neighbours) {
            let rank = |row: usize| neighbours.iter().position(|neighbour| candidates[neighbour.index] == row);
            let rank_of_source = rank(*source).context("a source is not among its candidates")?;
            // Any candidate but the source.
            let others = candidates.len() - 1;
            let another = (others > 0).then(|| {
                let draw = random::permutation(config.seed, *image as u64, others)[0];
                neighbours[if draw < rank_of_source { draw } else { draw + 1 }].similarity
            });
            found.push(Found {
                rank: rank_of_source,
                similarity: neighbours[rank_of_source].similarity,
                another,
                candidates: candidates.len(),
            });
        }
    }
    let mean = |value: &dyn Fn(&Found) -> f64| found.iter().map(value).sum::<f64>() / found.len() as f64;
    let first = |found: &Found| f64::from(found.rank == 0);
    let interval = bootstrap_interval(found.len(), REPLICATES, CONFIDENCE, config.seed, |sample| {
        Some(sample.iter().map(|position| first(&found[*position])).sum::<f64>() / sample.len() as f64)
    })?;
    let another: Vec<f64> = found.iter().filter_map(|found| found.another).collect();
    let summary = ConditioningSummary {
        features: real_features.fingerprint().to_owned(),
        network: config.features.description(),
        caution: config.features.caution(),
        num_images: found.len(),
        num_unconditional,
        mean_candidates: mean(&|found| found.candidates as f64),
        top_1: mean(&first),
        top_1_interval: [interval.low, interval.high],
        top_5: mean(&|found| f64::from(found.rank < 5)),
        chance: mean(&|found| 1.0 / found.candidates as f64),
        similarity: mean(&|found| found.similarity),
        similarity_to_another: another.iter().sum::<f64>() / another.len() as f64,
    };
    if let Some(out) = &config.out {
        super::write_result(out, "conditioning", &summary)?;
    }
    Ok(summary)
}

/// What one image was found to be.
struct Found {
    /// Of its source among the candidates, from 0.
    rank: usize,
    similarity: f64,
    another: Option<f64>,
    candidates: usize,
}

/// Real images of one split and collection, and the synthetic images drawn from them with their sources.
struct Group {
    candidates: Vec<usize>,
    pairs: Vec<(usize, usize)>,
}

/// The groups that have pairs, and how many pairs were made by lot.
fn pairs(real: &Dataset, synthetic: &Dataset, seed: u64) -> Result<(Vec<Group>, usize)> {
    let all: Vec<usize> = (0..real.len()).collect();
    let mut places = HashMap::new();
    let mut of_split: HashMap<String, Vec<String>> = HashMap::new();
    let mut groups: BTreeMap<(String, Option<String>), Group> = BTreeMap::new();
    for (index, row) in all.iter().copied().zip(real.rows_at(&all)?) {
        let key = (row.split.to_string(), row.collection);
        groups
            .entry(key.clone())
            .or_insert_with(|| Group { candidates: Vec::new(), pairs: Vec::new() })
            .candidates
            .push(index);
        of_split.entry(key.0.clone()).or_default().push(row.id.clone());
        places.insert(row.id, (index, key));
    }
    let all: Vec<usize> = (0..synthetic.len()).collect();
    let (mut count, mut missing, mut by_lot) = (0, 0, 0);
    for (image, row) in all.iter().copied().zip(synthetic.rows_at(&all)?) {
        let Some(provenance) = row.provenance else { continue };
        let source = match &provenance.source_ids[..] {
            [source] => source.as_str(),
            [] => {
                let Some(candidates) = of_split.get(&row.split.to_string()) else { continue };
                by_lot += 1;
                &candidates[random::permutation(seed, image as u64, candidates.len())[0]]
            }
            _ => continue,
        };
        match places.get(source) {
            Some((index, key)) => {
                count += 1;
                groups.entry(key.clone()).and_modify(|group| group.pairs.push((image, *index)));
            }
            None => missing += 1,
        }
    }
    ensure!(
        missing == 0,
        "{missing} synthetic images come from images that the real dataset lacks; give the dataset that they were \
         generated from: {}",
        real.dir().display()
    );
    ensure!(
        count > 0,
        "no image says that it was drawn from the embedding of one real image; make some with `generate ... reconstruct`: {}",
        synthetic.dir().display()
    );
    Ok((groups.into_values().filter(|group| !group.pairs.is_empty()).collect(), by_lot))
}
