//! What an autoencoder keeps of a dataset's images: any folder in any layout, on the same images, by the same measures.
//!
//! Everything downstream can be no better than this round trip, so it is worth knowing before a model is trained on
//! the latents. Ratios and similarities are those of scikit-image (range 1, normal window of deviation 1.5), taken
//! before anything is rounded to bytes.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::module::Module as _;
use burn::tensor::Device;
use dataset::{Dataset, Split};
use metrics::{Moments, Rows, frechet_distance, kernel_distance, peak_signal_to_noise, structural_similarity};
use nets::autoencoder::Autoencoder;
use radiograph::{Border, Grid, RgbImage};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::features::{FeatureChoice, LoadedFeatures};
use files::outputs;
use messages::Progress;
use stages::encode;
use stages::model::network_of;
use training::tensors::{bytes_from_pictures, images_from_bytes, pictures_from_images, to_host};

/// Stands for the infinite ratio of an image that comes back exactly, in decibels.
const LARGEST_RATIO: f64 = 100.0;
/// Images of the figure.
const NUM_SHOWN: usize = 8;
/// Errors are shown so many times larger.
const DIFFERENCE_GAIN: f32 = 4.0;

/// What to evaluate on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// The images.
    pub dataset: PathBuf,
    /// Folder of the autoencoder; of a run or model its autoencoder.
    pub autoencoder: PathBuf,
    /// The network in whose features originals and reconstructions are compared; none compares none.
    pub features: Option<FeatureChoice>,
    /// Which images.
    pub split: Split,
    /// At most so many of them, from a fixed shuffle; all where absent.
    pub max_images: Option<usize>,
    /// Images that go through a network together.
    pub batch_size: usize,
    /// A folder for `autoencoder.json` and `reconstructions.png`.
    pub out: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct AutoencoderSummary {
    /// Fingerprint of the autoencoder.
    pub autoencoder: String,
    /// Parameters of encoder and decoder.
    pub num_parameters: usize,
    /// Shape of one image's latents, `[height, width, channels]`.
    pub latent_shape: [usize; 3],
    /// The images' split.
    pub split: Split,
    /// Fingerprint of their dataset.
    pub dataset: String,
    /// How well they come back.
    pub quality: Quality,
    /// How far the set that comes back is from the set that went in, in an encoder's features.
    pub round_trip: Option<RoundTrip>,
    /// Originals, reconstructions and differences.
    pub figure: PathBuf,
}

/// How well images come back, and what the latents between look like.
#[derive(Debug, Clone, Serialize)]
pub struct Quality {
    /// How many.
    pub num_images: usize,
    /// Mean over images of the peak signal-to-noise ratio, in decibels.
    pub peak_signal_to_noise: f64,
    /// Of the image that a twentieth of the images are worse than.
    pub peak_signal_to_noise_of_worst: f64,
    /// Mean over images of the structural similarity (Wang et al. 2004).
    pub structural_similarity: f64,
    /// Mean absolute error of the pixels in 0..=1.
    pub absolute_error: f64,
    /// Mean of all normalised latents; 0 is what diffusion expects.
    pub latent_mean: f64,
    /// Standard deviation of all normalised latents; 1 is what diffusion expects.
    pub latent_std: f64,
    /// Largest magnitude among the normalised latents.
    pub latent_largest: f64,
}

/// Distances between originals and reconstructions; 0 for images that come back exactly.
#[derive(Debug, Clone, Serialize)]
pub struct RoundTrip {
    /// Fingerprint of the feature network.
    pub features: String,
    /// What that network is.
    pub network: String,
    /// Where its weights are random: that the figures are none of quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// Length of a feature.
    pub dim: usize,
    /// Fréchet distance of the features (Heusel et al. 2017). Both sets come from the same images, so its bias at
    /// few images is small beside that of unrelated sets.
    pub frechet_distance: f64,
    /// Kernel distance (Binkowski et al. 2018); at or below 0 where nothing can be told apart.
    pub kernel_distance: f64,
}

/// Measures, draws, and writes `autoencoder.json` and `reconstructions.png` into the folder `out`.
///
/// # Errors
/// A split without images, an image size that the autoencoder does not divide, networks that cannot be used.
pub fn run(config: &AutoencoderConfig, device: &Device, progress: &dyn Progress) -> Result<AutoencoderSummary> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(config.max_images != Some(0), "`--max-images` is 0; give at least 1, or leave it out");
    outputs::check_folder(&config.out)?;
    let dataset = Dataset::open(&config.dataset)?;
    let rows = fixed_choice(&dataset, config.split, config.max_images.unwrap_or(usize::MAX))?;
    if let Some(features) = &config.features {
        features.check()?;
    }
    let folder = encode::existing_folder(network_of(&config.autoencoder, "autoencoder")?, "autoencoder")?;
    let autoencoder = Autoencoder::load(&folder, device)?;
    let (size, factor) = (dataset.image_size(), autoencoder.downsampling_factor());
    encode::check_divisible(size, factor)?;
    let features = match &config.features {
        Some(choice) => Some(Features::open(choice, &dataset, device)?),
        None => None,
    };
    outputs::make_folder(&config.out)?;

    let mut measured = Measured::default();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    progress.begin("evaluating the autoencoder", rows.len() as u64, "images");
    for chunk in rows.chunks(config.batch_size) {
        let originals = dataset.images(chunk)?;
        let decoded = measured.add(&autoencoder, &originals, size, device)?;
        if let Some(features) = &features {
            before.extend(features.of(&originals, size, device)?);
            after.extend(features.of(&bytes_from_pictures(&decoded), size, device)?);
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    let round_trip = match &features {
        Some(features) if rows.len() >= 2 => Some(features.distances(&before, &after)?),
        _ => None,
    };
    let quality = measured.quality();
    let shown: Vec<usize> = rows.iter().copied().take(NUM_SHOWN).collect();
    let figure = config.out.join("reconstructions.png");
    draw(&autoencoder, &dataset.images(&shown)?, size, device)?.write_png(&figure)?;
    let summary = AutoencoderSummary {
        autoencoder: files::fingerprint(&folder)?,
        num_parameters: autoencoder.num_params(),
        latent_shape: [size / factor, size / factor, autoencoder.latent_channels()],
        split: config.split,
        dataset: dataset.fingerprint().to_owned(),
        quality,
        round_trip,
        figure,
    };
    super::write_result(&config.out.join("autoencoder.json"), "autoencoder", &summary)?;
    Ok(summary)
}

/// At most `max_images` images of a split, the same ones every time, spread over the whole of it.
///
/// # Errors
/// A split without images.
pub fn fixed_choice(dataset: &Dataset, split: Split, max_images: usize) -> Result<Vec<usize>> {
    let rows = dataset.indices(split)?;
    ensure!(
        !rows.is_empty(),
        "the dataset has no image in the split `{split}`; choose another one, or prepare it with another `--split`: {}",
        dataset.dir().display()
    );
    Ok(random::choice(0, u64::MAX, &rows, max_images))
}

/// Sums over images.
#[derive(Debug, Default)]
pub struct Measured {
    ratios: Vec<f64>,
    similarities: Vec<f64>,
    absolute_errors: Vec<f64>,
    latent_sum: f64,
    latent_squares: f64,
    latent_count: u64,
    latent_largest: f64,
}

impl Measured {
    /// Sends pictures there and back; gives what came back, `pictures.len()` values in 0..=1.
    ///
    /// # Errors
    /// A device that failed, a network that gives no numbers.
    pub fn add(
        &mut self,
        autoencoder: &Autoencoder,
        pictures: &[u8],
        size: usize,
        device: &Device,
    ) -> Result<Vec<f32>> {
        let latents = autoencoder.encode(images_from_bytes(pictures, size, device)).mean;
        let decoded = pictures_from_images(autoencoder.decode_grey(latents.clone()))?;
        for value in to_host(latents)? {
            let value = f64::from(value);
            self.latent_sum += value;
            self.latent_squares += value * value;
            self.latent_largest = self.latent_largest.max(value.abs());
            self.latent_count += 1;
        }
        let compare = |(original, decoded): (&[u8], &[f32])| -> Result<[f64; 3], metrics::Error> {
            let original: Vec<f64> = original.iter().map(|byte| f64::from(*byte) / 255.0).collect();
            let decoded: Vec<f64> = decoded.iter().map(|value| f64::from(*value)).collect();
            let ratio = peak_signal_to_noise(&decoded, &original, 1.0)?.min(LARGEST_RATIO);
            let similarity = structural_similarity(&decoded, &original, [size, size], 1.0)?;
            let error = original.iter().zip(&decoded).map(|(x, y)| (x - y).abs()).sum::<f64>() / original.len() as f64;
            Ok([ratio, similarity, error])
        };
        let pairs = pictures.par_chunks_exact(size * size).zip(decoded.par_chunks_exact(size * size));
        let found =
            pairs.map(compare).collect::<Result<Vec<_>, _>>().context("the reconstructions cannot be compared")?;
        for [ratio, similarity, error] in found {
            self.ratios.push(ratio);
            self.similarities.push(similarity);
            self.absolute_errors.push(error);
        }
        Ok(decoded)
    }

    /// Means over what was added, which must be something.
    pub fn quality(mut self) -> Quality {
        let num_images = self.ratios.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / num_images.max(1) as f64;
        let peak_signal_to_noise = mean(&self.ratios);
        self.ratios.sort_by(f64::total_cmp);
        let count = self.latent_count.max(1) as f64;
        let latent_mean = self.latent_sum / count;
        Quality {
            num_images,
            peak_signal_to_noise,
            peak_signal_to_noise_of_worst: self.ratios.get(num_images / 20).copied().unwrap_or_default(),
            structural_similarity: mean(&self.similarities),
            absolute_error: mean(&self.absolute_errors),
            latent_mean,
            latent_std: (self.latent_squares / count - latent_mean * latent_mean).max(0.0).sqrt(),
            latent_largest: self.latent_largest,
        }
    }
}

/// A network whose features are compared.
struct Features<'a> {
    choice: &'a FeatureChoice,
    network: LoadedFeatures,
    fingerprint: String,
}

impl<'a> Features<'a> {
    fn open(choice: &'a FeatureChoice, dataset: &Dataset, device: &Device) -> Result<Self> {
        let network = choice.open(dataset, device)?;
        Ok(Self { choice, network: network.load(device)?, fingerprint: network.fingerprint().to_owned() })
    }

    fn of(&self, pictures: &[u8], size: usize, device: &Device) -> Result<Vec<f64>> {
        Ok(self.network.of(pictures, size, device)?.into_iter().map(f64::from).collect())
    }

    fn distances(&self, before: &[f64], after: &[f64]) -> Result<RoundTrip> {
        let dim = self.network.dim();
        let rows = |values| Rows::new(values, dim).context("the feature network gave features that are not numbers");
        let (before, after) = (rows(before)?, rows(after)?);
        Ok(RoundTrip {
            features: self.fingerprint.clone(),
            network: self.choice.description(),
            caution: self.choice.caution(),
            dim,
            frechet_distance: frechet_distance(&Moments::of(after)?, &Moments::of(before)?)?,
            kernel_distance: kernel_distance(after, before)?,
        })
    }
}

/// Originals above, then what comes back, then the error around middle grey.
///
/// # Errors
/// A device that failed.
pub fn draw(autoencoder: &Autoencoder, originals: &[u8], size: usize, device: &Device) -> Result<RgbImage> {
    let num_pixels = size * size;
    let mut measured = Measured::default();
    let decoded = measured.add(autoencoder, originals, size, device)?;
    let mut grid = Grid::new(size).columns(originals.len() / num_pixels);
    grid.start_row("original");
    for original in originals.chunks_exact(num_pixels) {
        grid.push_grey(original, size, size, "", Border::Source)?;
    }
    grid.start_row("decoded");
    for (picture, ratio) in bytes_from_pictures(&decoded).chunks_exact(num_pixels).zip(&measured.ratios) {
        grid.push_grey(picture, size, size, format!("{ratio:.1} dB"), Border::None)?;
    }
    grid.start_row(format!("error x{DIFFERENCE_GAIN}"));
    for (picture, original) in decoded.chunks_exact(num_pixels).zip(originals.chunks_exact(num_pixels)) {
        let error = picture.iter().zip(original).map(|(x, y)| 0.5 + DIFFERENCE_GAIN * (x - f32::from(*y) / 255.0));
        let error = bytes_from_pictures(&error.collect::<Vec<_>>());
        grid.push_grey(&error, size, size, "", Border::None)?;
    }
    Ok(grid.render())
}
