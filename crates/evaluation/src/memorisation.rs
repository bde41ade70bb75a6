//! Memorisation: are synthetic images copies of training images?
//!
//! Every figure stands beside the same figure of held-out real images, which no network has seen: a synthetic image may
//! lie near a training image as real ones do. The image that a synthetic one was drawn from is its seed; distances are
//! given to the seed and to the training images but the seed, since a variant that is near its seed does what it was asked
//! for, and one that is near another image gives that one away.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, ManifestRow, Split};
use metrics::{
    FEWEST_GENERATED, NearRow, Partition, Rows, Share, authentic_rows, bootstrap_interval_of_mean, data_copying,
    distance_between_groups, nearest_rows, share_nearer_than,
};
use radiograph::{Border, Grid};
use serde::{Deserialize, Serialize};

use super::fidelity::refuse_statistics;
use super::{check_sizes, reduced_side};
use crate::features::FeatureChoice;
use files::outputs;
use messages::Progress;
use metrics::{CONFIDENCE, Estimate, REPLICATES};

/// Share of pairs of different patients that are nearer than what counts as suspiciously near.
const NEAR_SHARE: f64 = 0.01;
/// Cells for the statistic of Meehan et al.; fewer where images are few.
const MAX_CELLS: usize = 10;
/// Pairs in the picture.
const SHOWN_PAIRS: usize = 24;

/// What to audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorisationConfig {
    /// The dataset that the generator was trained on: its split `train` is what could have been memorised.
    pub real: PathBuf,
    /// The synthetic images; any dataset.
    pub synthetic: PathBuf,
    /// The network in whose features nearness is measured.
    pub features: FeatureChoice,
    /// Real images that no network saw.
    pub held_out_split: Split,
    /// Of cells and intervals.
    pub seed: u64,
    /// A folder for `memorisation.json` and `closest-pairs.png`.
    pub out: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct MemorisationSummary {
    /// Fingerprint of the feature network.
    pub features: String,
    /// What that network is.
    pub network: String,
    /// Where its weights are random: that the figures are none of quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// Synthetic images.
    pub num_synthetic: usize,
    /// Training images.
    pub num_train: usize,
    /// Held-out real images.
    pub num_held_out: usize,
    /// By angle between embeddings: distances of embeddings of length 1, from 0 to 2.
    pub embeddings: Nearness,
    /// By pixels of reduced images: root mean squared difference, of full brightness.
    pub pixels: Nearness,
    /// The pairs of a synthetic image and a training image other than its seed that are nearest in embeddings.
    pub picture: PathBuf,
}

/// How near images come to training images, in one space.
#[derive(Debug, Clone, Serialize)]
pub struct Nearness {
    /// Below this lies one in a hundred pairs of training images of different patients.
    pub near: f64,
    /// Synthetic images against training images other than their seeds.
    pub synthetic: Nearest,
    /// Held-out real images against training images.
    pub held_out: Nearest,
    /// Mean distance of a synthetic image to its seed; absent where none has a single seed that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_seed: Option<Estimate>,
    /// Percentage of synthetic images that are authentic (Alaa et al. 2022): farther from the nearest training image, the
    /// seed included, than that one is from its own nearest. Wilson's interval.
    pub authentic_percentage: Estimate,
    /// The same of held-out real images.
    pub held_out_authentic_percentage: Estimate,
    /// `C_T` of Meehan et al. (2020): far below 0 where synthetic images lie nearer to training images than held-out
    /// ones do. Absent where images are too few for a cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_copying: Option<f64>,
}

/// Distances to the nearest training image.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Nearest {
    /// Over images; bootstrap interval.
    pub mean: Estimate,
    /// The smallest of all.
    pub least: f64,
    /// Share of images nearer than [`Nearness::near`]; Wilson's interval.
    pub share_near: Estimate,
}

/// Audits, draws, and writes `memorisation.json` and `closest-pairs.png` into the folder `out`.
///
/// # Errors
/// Splits without images, datasets of different image sizes, a feature network that cannot be used, a folder that cannot be
/// written.
pub fn run(config: &MemorisationConfig, device: &Device, progress: &dyn Progress) -> Result<MemorisationSummary> {
    ensure!(
        config.held_out_split != Split::Train,
        "training images cannot be their own yardstick; choose another split of held-out images than `train`"
    );
    outputs::check_folder(&config.out)?;
    config.features.check()?;
    refuse_statistics(&config.real, "memorisation")?;
    let (real, synthetic) = (Dataset::open(&config.real)?, Dataset::open(&config.synthetic)?);
    check_sizes(&real, &synthetic)?;
    let sets = [
        (&real, real.indices(Split::Train)?, "training images"),
        (&real, real.indices(config.held_out_split)?, "held-out images"),
        (&synthetic, (0..synthetic.len()).collect(), "synthetic images"),
    ];
    for (_, rows, what) in &sets {
        ensure!(rows.len() >= 2, "there are {} {what}; it takes at least 2, for an honest figure hundreds", rows.len());
    }
    let people = People::of(&sets)?;
    ensure!(
        people.patients.iter().any(|patient| *patient != people.patients[0]),
        "the training images are all of one patient; the audit needs several: {}",
        config.real.display()
    );
    let network = config.features.open(&real, device)?;
    let real_features = network.of_dataset(&real, device, progress)?;
    let synthetic_features = network.of_dataset(&synthetic, device, progress)?;
    let dim = real_features.shape()[1];

    let mut tables: [Vec<Vec<f64>>; 2] = [Vec::new(), Vec::new()];
    for (dataset, rows, _) in &sets {
        let features = if std::ptr::eq(*dataset, &synthetic) { &synthetic_features } else { &real_features };
        tables[0].push(unit_rows(features.gather(rows, 1)?, dim));
        tables[1].push(reduced(dataset, rows)?);
    }
    let side = reduced_side(real.image_size());
    let (embeddings, closest) = Space { tables: &tables[0], dim, people: &people, seed: config.seed }.nearness()?;
    let (pixels, _) = Space { tables: &tables[1], dim: side * side, people: &people, seed: config.seed }.nearness()?;
    outputs::make_folder(&config.out)?;
    let picture = config.out.join("closest-pairs.png");
    draw(&picture, &sets, &closest)?;
    let summary = MemorisationSummary {
        features: real_features.fingerprint().to_owned(),
        network: config.features.description(),
        caution: config.features.caution(),
        num_synthetic: sets[2].1.len(),
        num_train: sets[0].1.len(),
        num_held_out: sets[1].1.len(),
        embeddings,
        pixels,
        picture,
    };
    super::write_result(&config.out.join("memorisation.json"), "memorisation", &summary)?;
    Ok(summary)
}

type Images<'a> = (&'a Dataset, Vec<usize>, &'static str);

/// Who is who among the rows of the tables.
struct People {
    /// A number for the patient of each training image.
    patients: Vec<usize>,
    /// Training images that each synthetic image was drawn from.
    seeds: Vec<HashSet<usize>>,
}

impl People {
    fn of(sets: &[Images<'_>; 3]) -> Result<Self> {
        let rows = |(dataset, rows, _): &Images<'_>| -> Result<Vec<ManifestRow>> { Ok(dataset.rows_at(rows)?) };
        let (mut numbers, mut places) = (HashMap::new(), HashMap::new());
        let mut patients = Vec::new();
        for (place, row) in rows(&sets[0])?.into_iter().enumerate() {
            let next = numbers.len();
            patients.push(*numbers.entry(row.patient).or_insert(next));
            places.insert(row.id, place);
        }
        let sources = |row: ManifestRow| row.provenance.map(|provenance| provenance.source_ids).unwrap_or_default();
        let seed = |ids: Vec<String>| ids.iter().filter_map(|id| places.get(id).copied()).collect();
        let seeds = rows(&sets[2])?.into_iter().map(|row| seed(sources(row))).collect();
        Ok(Self { patients, seeds })
    }
}

/// A pair of a synthetic image and a training image, as places in their tables.
type Pair = (usize, NearRow);

/// One space to measure nearness in: rows of training, held-out and synthetic images.
struct Space<'a> {
    tables: &'a [Vec<f64>],
    dim: usize,
    people: &'a People,
    seed: u64,
}

impl Space<'_> {
    /// Also the synthetic images with their nearest training image but the seed, nearest first.
    fn nearness(&self) -> Result<(Nearness, Vec<Pair>)> {
        let rows = |set: usize| Rows::new(&self.tables[set], self.dim).context("the features are not numbers");
        let (train, held_out, synthetic) = (rows(0)?, rows(1)?, rows(2)?);
        let seeds = &self.people.seeds;
        let near = distance_between_groups(train, &self.people.patients, NEAR_SHARE)
            .context("the training images are all of one patient; the audit needs several")?;
        let of_synthetic = nearest_rows(synthetic, train, 1, |image, other| !seeds[image].contains(&other))?;
        let of_held_out = nearest_rows(held_out, train, 1, |_, _| true)?;
        let mut closest: Vec<Pair> =
            of_synthetic.iter().enumerate().filter_map(|(image, found)| Some((image, *found.first()?))).collect();
        let distances: Vec<f64> = closest.iter().map(|(_, found)| found.distance).collect();
        let held_out_distances: Vec<f64> = of_held_out.iter().flatten().map(|found| found.distance).collect();
        closest.sort_by(|a, b| a.1.distance.total_cmp(&b.1.distance));

        let to_seed =
            nearest_rows(synthetic, train, 1, |image, other| seeds[image].len() == 1 && seeds[image].contains(&other))?;
        let to_seed: Vec<f64> = to_seed.iter().flatten().map(|found| found.distance).collect();
        let authentic = |rows| -> Result<Estimate> {
            let share = Share::of(&authentic_rows(train, rows)?)?;
            let interval = share.interval(CONFIDENCE)?;
            let percent = |share: f64| 100.0 * share;
            Ok(Estimate { value: percent(share.value()), interval: [percent(interval.low), percent(interval.high)] })
        };
        let num_cells = MAX_CELLS.min(synthetic.len() / (2 * FEWEST_GENERATED)).max(1);
        let partition = Partition::of(train, num_cells, self.seed)?;
        let copying = data_copying(train, held_out, synthetic, &partition, FEWEST_GENERATED).ok();
        let nearness = Nearness {
            near,
            synthetic: self.nearest(&distances, near)?,
            held_out: self.nearest(&held_out_distances, near)?,
            to_seed: (!to_seed.is_empty()).then(|| self.mean(&to_seed)).transpose()?,
            authentic_percentage: authentic(synthetic)?,
            held_out_authentic_percentage: authentic(held_out)?,
            data_copying: copying.map(|copying| copying.statistic),
        };
        Ok((nearness, closest))
    }

    fn mean(&self, distances: &[f64]) -> Result<Estimate> {
        let interval = bootstrap_interval_of_mean(distances, REPLICATES, CONFIDENCE, self.seed)?;
        Ok(Estimate::new(distances.iter().sum::<f64>() / distances.len() as f64, interval))
    }

    fn nearest(&self, distances: &[f64], near: f64) -> Result<Nearest> {
        ensure!(!distances.is_empty(), "each training image is a seed of each synthetic one; nothing else is left");
        let share = share_nearer_than(distances, near)?;
        Ok(Nearest {
            mean: self.mean(distances)?,
            least: distances.iter().copied().fold(f64::INFINITY, f64::min),
            share_near: Estimate::new(share.value(), share.interval(CONFIDENCE)?),
        })
    }
}

/// Rows brought to length 1; one of zeros stays.
fn unit_rows(values: Vec<f32>, dim: usize) -> Vec<f64> {
    let mut rows: Vec<f64> = values.into_iter().map(f64::from).collect();
    for row in rows.chunks_exact_mut(dim) {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|value| *value /= length);
        }
    }
    rows
}

/// Reduced images, scaled so that the distance of two rows is the root mean squared difference.
fn reduced(dataset: &Dataset, rows: &[usize]) -> Result<Vec<f64>> {
    let size = dataset.image_size();
    let side = reduced_side(size);
    let block = size / side;
    // 255 grey levels, a mean over the block, and a mean over pixels under the root.
    let scale = 1.0 / (255.0 * (block * block) as f64 * side as f64);
    let mut all = Vec::with_capacity(rows.len() * side * side);
    for row in rows {
        let mut sums = vec![0.0; side * side];
        for (place, pixel) in dataset.image(*row)?.into_iter().enumerate() {
            sums[place / size / block * side + place % size / block] += f64::from(pixel) * scale;
        }
        all.extend(sums);
    }
    Ok(all)
}

/// Pairs beside one another, the synthetic image first, the nearest pair first.
fn draw(path: &Path, sets: &[Images<'_>; 3], closest: &[Pair]) -> Result<()> {
    let size = sets[0].0.image_size();
    let mut grid = Grid::new(size.max(64)).columns(8);
    for (number, (image, found)) in closest.iter().take(SHOWN_PAIRS).enumerate() {
        if number % 4 == 0 {
            grid.start_row("");
        }
        let picture = |set: usize, place: usize| sets[set].0.image(sets[set].1[place]);
        grid.push_grey(&picture(2, *image)?, size, size, "synthetic", Border::None)?;
        grid.push_grey(&picture(0, found.index)?, size, size, format!("{:.3}", found.distance), Border::Source)?;
    }
    grid.render().write_png(path)?;
    Ok(())
}
