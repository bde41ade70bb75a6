//! Fidelity: how far synthetic images are from real ones in the space of a feature network, whether they look like
//! real ones and show all that these show, and what happened to an image on the way from its source.
//!
//! Several synthetic sets (reconstructions, interpolations) and real images that no network was trained on are compared
//! with the same reference, at the same number of images. The real ones give the floor: distances grow as images get
//! fewer, so a distance without the floor at its own number of images says nothing.

use crate::features::{FeatureChoice, FeatureNetwork};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use files::outputs;
use messages::Progress;
use metrics::{
    DEFAULT_NEIGHBOURS, FrechetEstimate, Moments, Neighbourhoods, Quality, Rows, frechet_estimate, frechet_estimate_to,
    intensity, kernel_distance, kernel_distance_interval,
};
use serde::{Deserialize, Serialize};
use stages::encoded::Embeddings;
use std::path::{Path, PathBuf};

mod drift;
mod statistics;

pub use drift::Drift;
pub use statistics::Floor;
use statistics::{Origin, ReferenceStatistics};

use super::check_sizes;
use metrics::{CONFIDENCE, Estimate, REPLICATES};

/// Replicates behind the interval of a kernel distance, each of which costs a look at all pairs.
const KERNEL_REPLICATES: usize = 200;

/// What to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidelityConfig {
    /// The real images: a dataset, or a file of statistics that another run of this evaluation wrote.
    pub real: PathBuf,
    /// The synthetic ones; any datasets, each of which is a set of its own.
    pub synthetic: Vec<PathBuf>,
    /// The feature network.
    pub features: FeatureChoice,
    /// The real images that all are compared with.
    pub reference_split: Split,
    /// The real images that give the floor.
    pub held_out_split: Split,
    /// Decides which images stand for a set that is larger than the others.
    pub seed: u64,
    /// Mean and covariance of the reference's features are written to this file, or used from there where they are of
    /// the same images, split, network and preprocessing.
    pub statistics: Option<PathBuf>,
    /// Also write the result to this JSON file.
    pub out: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct FidelitySummary {
    /// Fingerprint of the feature network.
    pub features: String,
    /// What that network is.
    pub network: String,
    /// Where its weights are random: that the figures are none of quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// Length of a feature.
    pub dim: usize,
    /// Real images in the reference; unknown where statistics do not say.
    pub num_reference: Option<usize>,
    /// Of each synthetic set and of held-out real images.
    pub num_images: usize,
    /// Where the kernel distance is the one to read, because the Fréchet distance is biased; what is missing and why.
    pub note: Option<String>,
    /// Each set of synthetic images against the reference, in the order given.
    pub synthetic: Vec<SyntheticSet>,
    /// The held-out real images against the reference: the floor. Absent where statistics stand for the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Distances>,
    /// The floor that came with the statistics, where these stand for the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// The reference's own brightness, 0..=1, mean over images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_brightness: Option<f64>,
    /// The reference's own contrast, mean over images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_contrast: Option<f64>,
}

/// One synthetic dataset.
#[derive(Debug, Clone, Serialize)]
pub struct SyntheticSet {
    /// Name of its folder.
    pub name: String,
    /// How its images came about, by what they say of their sources.
    pub drawn: Drawn,
    /// Against the reference.
    #[serde(flatten)]
    pub distances: Distances,
    /// Beside their own sources; absent where none says from which single image it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// How images came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawn {
    /// Each from one image.
    Reconstructions,
    /// Each from two or more.
    Interpolations,
    /// Each without a condition.
    Unconditional,
    /// In several of these ways.
    Mixed,
    /// Nobody says how.
    Unknown,
}

impl Drawn {
    fn of(dataset: &Dataset) -> Result<Self> {
        let mut found = None;
        for row in dataset.rows()? {
            let drawn = match row?.provenance.map(|provenance| provenance.source_ids.len()) {
                None => Self::Unknown,
                Some(0) => Self::Unconditional,
                Some(1) => Self::Reconstructions,
                Some(_) => Self::Interpolations,
            };
            if *found.get_or_insert(drawn) != drawn {
                return Ok(Self::Mixed);
            }
        }
        Ok(found.unwrap_or(Self::Unknown))
    }
}

/// One set of images against the reference.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Distances {
    /// Biased upwards the more, the fewer images there are (Heusel et al. 2017).
    pub frechet_distance: f64,
    /// How it varies between sets of this size, 95 %, by the infinitesimal jackknife; says nothing of the bias.
    pub frechet_distance_interval: [f64; 2],
    /// Mean over images of the mean pixel, 0..=1.
    pub brightness: f64,
    /// Mean over images of the standard deviation of their pixels.
    pub contrast: f64,
    /// What needs the single images of the reference.
    #[serde(flatten)]
    pub by_images: Option<ByImages>,
}

/// Measures that compare single images with single images.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ByImages {
    /// Unbiased; around 0 for equal distributions (Binkowski et al. 2018).
    pub kernel_distance: f64,
    /// Bootstrap over the images of both sets, 95 %.
    pub kernel_distance_interval: [f64; 2],
    /// Share of the images that lie among real ones (Kynkäänniemi et al. 2019); of 5 neighbours, as the next three.
    pub precision: Estimate,
    /// Share of real images that lie among them.
    pub recall: Estimate,
    /// In how many real neighbourhoods one lies, over 5 (Naeem et al. 2020).
    pub density: Estimate,
    /// Share of real images that have one in their neighbourhood.
    pub coverage: Estimate,
}

/// Compares. Features that a dataset lacks are made and kept first, in half precision.
///
/// # Errors
/// Fewer than six images on a side, datasets of different image sizes, a feature network that cannot be used, statistics
/// of other images or by another network.
pub fn run(config: &FidelityConfig, device: &Device, progress: &dyn Progress) -> Result<FidelitySummary> {
    ensure!(!config.synthetic.is_empty(), "there is no synthetic dataset to compare; give one or more");
    ensure!(
        config.reference_split != config.held_out_split,
        "reference and floor are both the split `{}`; the floor needs real images that are not in the reference",
        config.held_out_split
    );
    for file in config.out.iter().chain(&config.statistics) {
        outputs::check_file(file)?;
    }
    config.features.check()?;
    let synthetic = config.synthetic.iter().map(Synthetic::open).collect::<Result<Vec<_>>>()?;
    let summary = if ReferenceStatistics::is_one(&config.real) {
        against_statistics(config, &synthetic, device, progress)?
    } else {
        against_images(config, &synthetic, device, progress)?
    };
    if let Some(out) = &config.out {
        super::write_result(out, "fidelity", &summary)?;
    }
    Ok(summary)
}

/// Refuses a file of statistics where single images are needed.
///
/// # Errors
/// Such a file.
pub(super) fn refuse_statistics(path: &Path, what: &str) -> Result<()> {
    ensure!(
        !ReferenceStatistics::is_one(path),
        "{what} compares single images, and the file holds only their mean and covariance, which are enough for the \
         Fréchet distance of `evaluate fidelity` alone; give the dataset: {}",
        path.display()
    );
    Ok(())
}

/// A dataset and its place on the command line.
struct Synthetic {
    name: String,
    dataset: Dataset,
}

impl Synthetic {
    fn open(path: &PathBuf) -> Result<Self> {
        refuse_statistics(path, "a synthetic set")?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        let dataset = Dataset::open(path)?;
        let fewest = DEFAULT_NEIGHBOURS + 1;
        ensure!(
            dataset.len() >= fewest,
            "there are {} synthetic images; it takes at least {fewest}, for an honest figure hundreds: {}",
            dataset.len(),
            path.display()
        );
        Ok(Self { name, dataset })
    }

    /// At most so many of its images.
    fn read(
        &self,
        network: &FeatureNetwork,
        (num_images, seed): (usize, u64),
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Set> {
        let features = network.of_dataset(&self.dataset, device, progress)?;
        let all: Vec<usize> = (0..self.dataset.len()).collect();
        Set::read(&self.dataset, &features, &random::choice(seed, 0, &all, num_images))
    }
}

fn against_images(
    config: &FidelityConfig,
    synthetic: &[Synthetic],
    device: &Device,
    progress: &dyn Progress,
) -> Result<FidelitySummary> {
    let real = Dataset::open(&config.real)?;
    synthetic.iter().try_for_each(|set| check_sizes(&real, &set.dataset))?;
    let reference = real.indices(config.reference_split)?;
    let held_out = real.indices(config.held_out_split)?;
    for (split, count) in [(config.reference_split, reference.len()), (config.held_out_split, held_out.len())] {
        let fewest = DEFAULT_NEIGHBOURS + 1;
        ensure!(
            count >= fewest,
            "there are {count} real images in the split `{split}`; it takes at least {fewest}, for an honest figure \
             hundreds"
        );
    }
    let num_images = synthetic.iter().map(|set| set.dataset.len()).fold(held_out.len(), usize::min);
    let network = config.features.open(&real, device)?;
    let origin = Origin::new(&network, &real, config.reference_split);
    // Before anything is computed: a file of something else is an error.
    let kept = match &config.statistics {
        Some(path) => ReferenceStatistics::read_if_there(path, &origin)?,
        None => None,
    };
    let features = network.of_dataset(&real, device, progress)?;
    let reference = Set::read(&real, &features, &reference)?;
    let held_out = Set::read(&real, &features, &random::choice(config.seed, 0, &held_out, num_images))?;
    let against = Reference { set: &reference, seed: config.seed };
    let held_out = against.distances(&held_out)?;
    match (&config.statistics, kept) {
        (Some(path), Some(kept)) => progress.say(&format!(
            "the statistics of {} images of the split `{}` are there already, of the same dataset, feature network and \
             preprocessing, and stay as they are: {}",
            kept.moments.count(),
            config.reference_split,
            path.display()
        )),
        (Some(path), None) => {
            outputs::make_folder(outputs::folder_of(path))?;
            let floor = Floor { num_images, frechet_distance: held_out.frechet_distance };
            ReferenceStatistics { known: Some((origin, floor)), moments: Moments::of(reference.rows()?)? }
                .write(path)?;
        }
        (None, _) => {}
    }
    let mut sets = Vec::new();
    for set in synthetic {
        let images = set.read(&network, (num_images, config.seed), device, progress)?;
        sets.push(SyntheticSet {
            name: set.name.clone(),
            drawn: Drawn::of(&set.dataset)?,
            distances: against.distances(&images)?,
            drift: Drift::of(&real, &set.dataset, config.seed)?,
        });
    }
    let dim = reference.dim;
    Ok(FidelitySummary {
        features: network.fingerprint().to_owned(),
        network: config.features.description(),
        caution: config.features.caution(),
        dim,
        num_reference: Some(reference.num_images),
        num_images,
        note: (num_images < dim).then(|| {
            format!("{num_images} images are fewer than {dim} features: read the kernel distance, not the Fréchet one")
        }),
        synthetic: sets,
        held_out: Some(held_out),
        floor: None,
        reference_brightness: Some(reference.brightness),
        reference_contrast: Some(reference.contrast),
    })
}

fn against_statistics(
    config: &FidelityConfig,
    synthetic: &[Synthetic],
    device: &Device,
    progress: &dyn Progress,
) -> Result<FidelitySummary> {
    ensure!(
        config.statistics.is_none(),
        "`--statistics` writes statistics of a dataset, and the reference is a file of statistics already; leave the \
         option out: {}",
        config.real.display()
    );
    let statistics = ReferenceStatistics::read(&config.real)?;
    let (origin, floor) = statistics.known.clone().unzip();
    let (dim, mut sets) = (statistics.moments.dim(), Vec::new());
    let fewest = synthetic.iter().map(|set| set.dataset.len()).min().unwrap_or(0);
    let num_images = floor.map_or(fewest, |floor: Floor| floor.num_images.min(fewest));
    let network = config.features.open(&synthetic[0].dataset, device)?;
    statistics.check_network(&network, &config.real, device)?;
    for set in synthetic {
        let ours = set.dataset.image_size();
        if let Some(Origin { image_size: theirs, .. }) = origin {
            ensure!(
                theirs == ours,
                "the statistics are of images of {theirs} px, the synthetic ones have {ours} px; compare images of one \
                 size: {}",
                set.dataset.dir().display()
            );
        }
        let images = set.read(&network, (num_images, config.seed), device, progress)?;
        let estimate = frechet_estimate_to(images.rows()?, &statistics.moments, CONFIDENCE)?;
        let (name, drawn) = (set.name.clone(), Drawn::of(&set.dataset)?);
        sets.push(SyntheticSet { name, drawn, distances: images.distances(estimate, None), drift: None });
    }
    let mut note = "the reference is a file of statistics: kernel distance, precision, recall, density, coverage and \
                    drift need its single images, so there is the Fréchet distance alone"
        .to_owned();
    match floor {
        None => note.push_str(
            "; an .npz does not say by which network, of which images, of what size and how many it was made: only the \
             number of features was checked, and there is no floor to compare with",
        ),
        Some(floor) if num_images < floor.num_images => note.push_str(&format!(
            "; the floor is that of {} real images, the sets have {num_images}, and distances grow as images get fewer",
            floor.num_images
        )),
        Some(_) => {}
    }
    Ok(FidelitySummary {
        features: network.fingerprint().to_owned(),
        network: config.features.description(),
        caution: config.features.caution(),
        dim,
        num_reference: floor.map(|_| statistics.moments.count()),
        num_images,
        note: Some(note),
        synthetic: sets,
        held_out: None,
        floor,
        reference_brightness: None,
        reference_contrast: None,
    })
}

/// Features and intensities of some images.
struct Set {
    features: Vec<f64>,
    dim: usize,
    num_images: usize,
    brightness: f64,
    contrast: f64,
}

impl Set {
    fn read(dataset: &Dataset, embeddings: &Embeddings, rows: &[usize]) -> Result<Self> {
        let dim = embeddings.shape()[1];
        let mut set = Self { features: Vec::new(), dim, num_images: rows.len(), brightness: 0.0, contrast: 0.0 };
        let num_pixels = dataset.image_size() * dataset.image_size();
        for chunk in rows.chunks(256) {
            set.features.extend(embeddings.gather(chunk, 1)?.into_iter().map(f64::from));
            for picture in dataset.images(chunk)?.chunks_exact(num_pixels) {
                let pixels: Vec<f64> = picture.iter().map(|pixel| f64::from(*pixel) / 255.0).collect();
                let found = intensity(&pixels)?;
                set.brightness += found.brightness / rows.len() as f64;
                set.contrast += found.contrast / rows.len() as f64;
            }
        }
        Ok(set)
    }

    fn rows(&self) -> Result<Rows<'_>> {
        Rows::new(&self.features, self.dim).context("the feature network gave features that are not numbers")
    }

    fn distances(&self, frechet: FrechetEstimate, by_images: Option<ByImages>) -> Distances {
        Distances {
            frechet_distance: frechet.distance,
            frechet_distance_interval: [frechet.interval.low, frechet.interval.high],
            brightness: self.brightness,
            contrast: self.contrast,
            by_images,
        }
    }
}

/// What sets are compared with.
struct Reference<'a> {
    set: &'a Set,
    seed: u64,
}

impl Reference<'_> {
    fn distances(&self, set: &Set) -> Result<Distances> {
        let (own, real) = (set.rows()?, self.set.rows()?);
        let found = Neighbourhoods::of(real, own, DEFAULT_NEIGHBOURS)?;
        let Quality { precision, recall, density, coverage } = found.quality();
        let intervals = found.intervals(REPLICATES, CONFIDENCE, self.seed)?;
        let kernel_interval = kernel_distance_interval(own, real, KERNEL_REPLICATES, CONFIDENCE, self.seed)?;
        let by_images = ByImages {
            kernel_distance: kernel_distance(own, real)?,
            kernel_distance_interval: [kernel_interval.low, kernel_interval.high],
            precision: Estimate::new(precision, intervals.precision),
            recall: Estimate::new(recall, intervals.recall),
            density: Estimate::new(density, intervals.density),
            coverage: Estimate::new(coverage, intervals.coverage),
        };
        Ok(set.distances(frechet_estimate(own, real, CONFIDENCE)?, Some(by_images)))
    }
}
