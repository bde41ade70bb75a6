//! Fidelity: how far synthetic images are from real ones in the space of a feature network, whether they look like
//! real ones and show all that these show, and what happened to an image on the way from its source.
//!
//! Both the synthetic images and real ones that no network was trained on are compared with the same reference, at the
//! same number of images. The real ones give the floor: distances grow as images get fewer, so a distance without the
//! floor at its own number of images says nothing.

use crate::{encode, features::FeatureChoice, progress::Progress};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use diffusion::random;
use metrics::{
    DEFAULT_NEIGHBOURS, Moments, Neighbourhoods, Quality, Rows, frechet_distance, frechet_distance_interval, intensity,
    kernel_distance, kernel_distance_interval,
};
use serde::Serialize;
use std::path::PathBuf;

mod drift;

pub use drift::Drift;

use super::{CONFIDENCE, Estimate, REPLICATES, check_sizes};

/// Replicates behind the interval of a kernel distance, each of which costs a look at all pairs.
const KERNEL_REPLICATES: usize = 200;
/// Replicates behind the interval of a Fréchet distance, each of which costs as much as a distance.
const FRECHET_REPLICATES: usize = 50;

/// What to compare.
#[derive(Debug, Clone, Serialize)]
pub struct FidelityConfig {
    /// The real images.
    pub real: PathBuf,
    /// The synthetic ones; any dataset.
    pub synthetic: PathBuf,
    /// The feature network.
    pub features: FeatureChoice,
    /// The real images that both are compared with.
    pub reference_split: Split,
    /// The real images that give the floor.
    pub held_out_split: Split,
    /// Decides which images stand for a set that is larger than the other.
    pub seed: u64,
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
    /// Real images in the reference.
    pub num_reference: usize,
    /// Of synthetic and of held-out real images each.
    pub num_images: usize,
    /// Where the kernel distance is the one to read, because the Fréchet distance is biased.
    pub note: Option<String>,
    /// The synthetic images against the reference.
    pub synthetic: Distances,
    /// The held-out real images against the reference: the floor.
    pub held_out: Distances,
    /// Synthetic images beside their own sources; absent where none says from which single image it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The reference's own brightness, 0..=1, mean over images.
    pub reference_brightness: f64,
    /// The reference's own contrast, mean over images.
    pub reference_contrast: f64,
}

/// One set of images against the reference.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Distances {
    /// Unbiased; around 0 for equal distributions (Binkowski et al. 2018).
    pub kernel_distance: f64,
    /// Bootstrap over the images of both sets, 95 %.
    pub kernel_distance_interval: [f64; 2],
    /// Biased upwards the more, the fewer images there are (Heusel et al. 2017).
    pub frechet_distance: f64,
    /// How it varies between sets of this size, 95 %; says nothing of the bias.
    pub frechet_distance_interval: [f64; 2],
    /// Mean over images of the mean pixel, 0..=1.
    pub brightness: f64,
    /// Mean over images of the standard deviation of their pixels.
    pub contrast: f64,
    /// Share of the images that lie among real ones (Kynkäänniemi et al. 2019); of 5 neighbours, as the next three.
    pub precision: Estimate,
    /// Share of real images that lie among them.
    pub recall: Estimate,
    /// In how many real neighbourhoods one lies, over 5 (Naeem et al. 2020).
    pub density: Estimate,
    /// Share of real images that have one in their neighbourhood.
    pub coverage: Estimate,
}

/// Compares. Embeddings that a dataset lacks are made and kept first; features are those, in half precision.
///
/// # Errors
/// Fewer than six images on a side, datasets of different image sizes, a feature network that cannot be used.
pub fn run(config: &FidelityConfig, device: &Device, progress: &dyn Progress) -> Result<FidelitySummary> {
    ensure!(
        config.reference_split != config.held_out_split,
        "reference and floor are both the split `{}`; the floor needs real images that are not in the reference",
        config.held_out_split
    );
    let (real, synthetic) = (Dataset::open(&config.real)?, Dataset::open(&config.synthetic)?);
    check_sizes(&real, &synthetic)?;
    let reference = real.indices(config.reference_split)?;
    let held_out = real.indices(config.held_out_split)?;
    let num_images = held_out.len().min(synthetic.len());
    for (what, count) in [
        (format!("real images in the split `{}`", config.reference_split), reference.len()),
        (format!("real images in the split `{}`", config.held_out_split), held_out.len()),
        ("synthetic images".to_owned(), synthetic.len()),
    ] {
        let fewest = DEFAULT_NEIGHBOURS + 1;
        ensure!(count >= fewest, "there are {count} {what}; it takes at least {fewest}, for an honest figure hundreds");
    }
    let network = config.features.open(&real, device)?;
    let real_features = network.of_dataset(&real, device, progress)?;
    let synthetic_features = network.of_dataset(&synthetic, device, progress)?;
    let dim = real_features.shape()[1];

    let reference = Set::read(&real, &real_features, &reference, dim)?;
    let chosen = |rows: &[usize]| random::choice(config.seed, 0, rows, num_images);
    let all_synthetic: Vec<usize> = (0..synthetic.len()).collect();
    let drift = Drift::of(&real, &synthetic, config.seed)?;
    let synthetic = Set::read(&synthetic, &synthetic_features, &chosen(&all_synthetic), dim)?;
    let held_out = Set::read(&real, &real_features, &chosen(&held_out), dim)?;
    let moments = Moments::of(reference.rows()?)?;
    let summary = FidelitySummary {
        features: real_features.fingerprint().to_owned(),
        network: config.features.description(),
        caution: config.features.caution(),
        dim,
        num_reference: reference.num_images,
        num_images,
        note: (num_images < dim).then(|| {
            format!("{num_images} images are fewer than {dim} features: read the kernel distance, not the Fréchet one")
        }),
        synthetic: synthetic.against(&reference, &moments, config.seed)?,
        held_out: held_out.against(&reference, &moments, config.seed)?,
        drift,
        reference_brightness: reference.brightness,
        reference_contrast: reference.contrast,
    };
    if let Some(out) = &config.out {
        super::write_result(out, "fidelity", &summary)?;
    }
    Ok(summary)
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
    fn read(dataset: &Dataset, embeddings: &encode::Embeddings, rows: &[usize], dim: usize) -> Result<Self> {
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

    fn against(&self, reference: &Self, moments: &Moments, seed: u64) -> Result<Distances> {
        let (own, real) = (self.rows()?, reference.rows()?);
        let found = Neighbourhoods::of(real, own, DEFAULT_NEIGHBOURS)?;
        let Quality { precision, recall, density, coverage } = found.quality();
        let intervals = found.intervals(REPLICATES, CONFIDENCE, seed)?;
        let kernel_interval = kernel_distance_interval(own, real, KERNEL_REPLICATES, CONFIDENCE, seed)?;
        let frechet_interval = frechet_distance_interval(own, real, FRECHET_REPLICATES, CONFIDENCE, seed)?;
        Ok(Distances {
            kernel_distance: kernel_distance(own, real)?,
            kernel_distance_interval: [kernel_interval.low, kernel_interval.high],
            frechet_distance: frechet_distance(&Moments::of(own)?, moments)?,
            frechet_distance_interval: [frechet_interval.low, frechet_interval.high],
            precision: Estimate::new(precision, intervals.precision),
            recall: Estimate::new(recall, intervals.recall),
            density: Estimate::new(density, intervals.density),
            coverage: Estimate::new(coverage, intervals.coverage),
            brightness: self.brightness,
            contrast: self.contrast,
        })
    }
}
