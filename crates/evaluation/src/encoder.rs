//! What an encoder's embeddings are worth: how well simple classifiers tell two groups of images apart by them, beside
//! what needs no training of an encoder.
//!
//! Always inside one collection, since between collections a label may stand for the scanner. Classifiers learn on the
//! split `train` and are scored on `val`; nothing is tuned.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, ManifestRow, Split};
use metrics::{
    LogisticRegression, PrincipalComponents, Rows, Standardiser, area_under_curve, bootstrap_interval, vote_shares,
};
use nets::autoencoder::Autoencoder;
use nets::encoder::Encoder;
use nets::init::{Initialisation, randomise};
use serde::{Deserialize, Serialize};

use super::reduced_side;
use files::outputs;
use messages::Progress;
use metrics::{CONFIDENCE, REPLICATES};
use stages::encode;
use stages::model::network_of;
use training::tensors::{images_from_bytes, to_host};

/// Neighbours that vote, and the temperature of their votes: those of DINO (Caron et al. 2021).
const NEIGHBOURS: usize = 20;
const TEMPERATURE: f64 = 0.07;
/// Strength of the linear probe against its penalty, on standardised features; scikit-learn's `C`.
const PROBE_STRENGTH: f64 = 0.01;
/// Latents are averaged in so many cells along each axis.
const LATENT_CELLS: usize = 4;

/// What to evaluate on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The images.
    pub dataset: PathBuf,
    /// Folder of the encoder; of a run or model its encoder.
    pub encoder: PathBuf,
    /// Also judges the latents of this autoencoder.
    pub autoencoder: Option<PathBuf>,
    /// The collection to stay inside; the largest where absent.
    pub source: Option<String>,
    /// Images with this label are one group, those with any other the other.
    pub negative: String,
    /// Of the random network and the intervals.
    pub seed: u64,
    /// Images that go through a network together.
    pub batch_size: usize,
    /// A JSON file for the result.
    pub out: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct EncoderSummary {
    /// Fingerprint of the encoder.
    pub encoder: String,
    /// Fingerprint of the dataset.
    pub dataset: String,
    /// The collection, where the dataset has some.
    pub source: Option<String>,
    /// Label of the group that scores low.
    pub negative: String,
    /// Images to learn from: of the negative group, of the other.
    pub num_train: [usize; 2],
    /// Images to judge by.
    pub num_val: [usize; 2],
    /// The encoder first, then its rivals.
    pub features: Vec<FeatureScore>,
}

/// How well two groups are told apart by one kind of features.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureScore {
    /// Which features.
    pub name: &'static str,
    /// Numbers for each image.
    pub dim: usize,
    /// Of logistic regression on standardised features.
    pub linear_probe: Score,
    /// Of a weighted vote of the 20 nearest training images by cosine similarity.
    pub nearest_neighbours: Score,
}

/// An area under the receiver operating characteristic.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// 0.5 is chance.
    pub auc: f64,
    /// Percentile bootstrap over the images judged, 95 %.
    pub interval: [f64; 2],
}

/// Embeds, learns and judges.
///
/// # Errors
/// Groups without images to learn from or to judge by, networks that cannot be used.
pub fn run(config: &EncoderConfig, device: &Device, progress: &dyn Progress) -> Result<EncoderSummary> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    if let Some(out) = &config.out {
        outputs::check_file(out)?;
    }
    let dataset = Dataset::open(&config.dataset)?;
    let source = config.source.clone().or_else(|| dataset.info().largest_collection().map(str::to_owned));
    let train = Group::of(&dataset, Split::Train, source.as_deref(), &config.negative)?;
    let val = Group::of(&dataset, Split::Val, source.as_deref(), &config.negative)?;

    let folder = encode::existing_folder(encode::encoder_folder(&config.encoder, &dataset, device)?, "encoder")?;
    let of_autoencoder = |path: &PathBuf| encode::existing_folder(network_of(path, "autoencoder")?, "autoencoder");
    let autoencoder = config.autoencoder.as_ref().map(of_autoencoder).transpose()?;
    let autoencoder = autoencoder.map(|folder| Autoencoder::load(&folder, device)).transpose()?;
    if let Some(autoencoder) = &autoencoder {
        encode::check_divisible(dataset.image_size(), autoencoder.downsampling_factor())?;
    }
    let encoder = Encoder::load(&folder, device)?;
    let dim = encoder.dim();
    let random = |deviation: f64, positions: f64| {
        let start = Initialisation::TruncatedNormal(deviation as f32);
        randomise(encoder.config().init(device), start, config.seed).with_scaled_positions(positions / deviation)
    };
    // DINO's start, and the one that the built-in recipe takes: there even an untrained network tells images apart.
    let (published, wide) = (random(0.02, 0.02), random((dim as f64).sqrt().recip(), 2.0));
    let size = dataset.image_size();
    let embed = |network: &Encoder, pictures: &[u8]| {
        let images = encoder.preprocessing().apply(pictures, size, size, device)?;
        to_host(network.forward(images).class_token())
    };
    let read = |name: &str, group: &Group, features: &dyn Fn(&[u8]) -> Result<Vec<f32>>| -> Result<Vec<f64>> {
        let mut all = Vec::new();
        progress.begin(name, group.rows.len() as u64, "images");
        for chunk in group.rows.chunks(config.batch_size) {
            all.extend(features(&dataset.images(chunk)?)?.into_iter().map(f64::from));
            progress.advance(chunk.len() as u64, "");
        }
        progress.end();
        Ok(all)
    };
    let judge = |name: &'static str, learnt: &[f64], judged: &[f64], dim: usize| {
        score(name, dim, (learnt, &train.positive), (judged, &val.positive), config.seed)
    };
    let mut features = Vec::new();
    let rivals = [
        ("encoder", &encoder),
        ("encoder with random weights", &published),
        ("encoder with larger random weights", &wide),
    ];
    for (name, network) in rivals {
        let apply = |pictures: &[u8]| embed(network, pictures);
        features.push(judge(name, &read(name, &train, &apply)?, &read(name, &val, &apply)?, dim)?);
    }
    let side = reduced_side(size);
    let pixels = |pictures: &[u8]| pooled(images_from_bytes(pictures, size, device), side);
    let name = "principal components of pixels";
    let (learnt, judged) = (read(name, &train, &pixels)?, read(name, &val, &pixels)?);
    let wrong = "images that are not numbers";
    let components = PrincipalComponents::of(Rows::new(&learnt, side * side).context(wrong)?, dim)?;
    let learnt = components.project(Rows::new(&learnt, side * side)?)?;
    let judged = components.project(Rows::new(&judged, side * side).context(wrong)?)?;
    features.push(judge(name, &learnt, &judged, learnt.len() / train.rows.len())?);
    if let Some(autoencoder) = &autoencoder {
        let cells = LATENT_CELLS.min(size / autoencoder.downsampling_factor());
        let latents =
            |pictures: &[u8]| pooled(autoencoder.encode(images_from_bytes(pictures, size, device)).mean, cells);
        let name = "autoencoder's latents, pooled";
        let dim = cells * cells * autoencoder.latent_channels();
        features.push(judge(name, &read(name, &train, &latents)?, &read(name, &val, &latents)?, dim)?);
    }
    let summary = EncoderSummary {
        encoder: files::fingerprint(&folder)?,
        dataset: dataset.fingerprint().to_owned(),
        source,
        negative: config.negative.clone(),
        num_train: train.counts(),
        num_val: val.counts(),
        features,
    };
    if let Some(out) = &config.out {
        super::write_result(out, "encoder", &summary)?;
    }
    Ok(summary)
}

/// Images of both groups.
struct Group {
    rows: Vec<usize>,
    positive: Vec<bool>,
}

impl Group {
    fn of(dataset: &Dataset, split: Split, source: Option<&str>, negative: &str) -> Result<Self> {
        let wanted = |row: &ManifestRow| {
            let inside = source.is_none() || row.collection.as_deref() == source;
            row.split == split && inside && !row.labels.is_empty()
        };
        let rows = dataset.indices_where(wanted)?;
        let is_positive = |row: ManifestRow| !row.labels.iter().any(|label| label == negative);
        let positive = dataset.rows_at(&rows)?.into_iter().map(is_positive).collect();
        let group = Self { rows, positive };
        let [negatives, positives] = group.counts();
        ensure!(
            negatives > 0 && positives > 0,
            "the split `{split}` of {} has {negatives} images with the label `{negative}` and {positives} with other \
             labels; both groups need some, choose another source or label: {}",
            source.map_or_else(|| "the dataset".to_owned(), |source| format!("`{source}`")),
            dataset.dir().display()
        );
        Ok(group)
    }

    fn counts(&self) -> [usize; 2] {
        let positives = self.positive.iter().filter(|positive| **positive).count();
        [self.positive.len() - positives, positives]
    }
}

/// Means over `cells` by `cells` equal parts of each map.
///
/// # Shapes
/// - maps: `[batch, side, side, channels]`; parts of unequal size where `cells` does not divide `side`
/// - result: `[batch, cells, cells, channels]`
fn pooled(maps: burn::tensor::Tensor<4>, cells: usize) -> Result<Vec<f32>> {
    let pooled = burn::tensor::module::adaptive_avg_pool2d(maps.permute([0, 3, 1, 2]), [cells, cells]);
    to_host(pooled.permute([0, 2, 3, 1]))
}

/// Learns on the first features and judges by the second; each with who is in the positive group.
fn score(
    name: &'static str,
    dim: usize,
    (learnt, train): (&[f64], &[bool]),
    (judged, val): (&[f64], &[bool]),
    seed: u64,
) -> Result<FeatureScore> {
    let wrong = || format!("the features are not numbers: {name}");
    let classes: Vec<usize> = train.iter().map(|positive| usize::from(*positive)).collect();
    let (references, queries) =
        (Rows::new(learnt, dim).with_context(wrong)?, Rows::new(judged, dim).with_context(wrong)?);
    let shares = vote_shares(queries, references, &classes, 2, NEIGHBOURS, TEMPERATURE)?;
    let votes: Vec<f64> = shares.chunks_exact(2).map(|shares| shares[1]).collect();
    let (learnt, judged) = standardised(references, judged);
    let probe = LogisticRegression::fit(Rows::new(&learnt, dim)?, train, PROBE_STRENGTH)?;
    let logits = probe.scores(Rows::new(&judged, dim)?)?;
    let judge = |scores: &[f64]| -> Result<Score> {
        let interval = bootstrap_interval(scores.len(), REPLICATES, CONFIDENCE, seed, |sample| {
            let (scores, positive): (Vec<f64>, Vec<bool>) =
                sample.iter().map(|position| (scores[*position], val[*position])).unzip();
            area_under_curve(&scores, &positive).ok()
        })?;
        Ok(Score { auc: area_under_curve(scores, val)?, interval: [interval.low, interval.high] })
    };
    Ok(FeatureScore { name, dim, linear_probe: judge(&logits)?, nearest_neighbours: judge(&votes)? })
}

/// Both sets by the mean and deviation that the first has in each dimension; constant dimensions become 0.
pub(super) fn standardised(learnt: Rows<'_>, judged: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let standardiser = Standardiser::of(learnt);
    let rows: Vec<f64> = (0..learnt.len()).flat_map(|row| learnt.row(row)).copied().collect();
    (standardiser.apply(&rows), standardiser.apply(judged))
}
