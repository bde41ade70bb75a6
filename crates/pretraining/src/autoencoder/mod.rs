//! `pretrain autoencoder`: a small autoencoder for one channel, trained on the images of a dataset, in the layout of
//! diffusers' `AutoencoderTiny`.
//!
//! There is no large autoencoder to distil from, as TAESD was, and no adversary: radiographs are smooth, and pixel,
//! gradient and structural losses keep what a reader looks at. Latents get a penalty on their moments and, as a setting,
//! some noise, so that diffusion finds them centred, of unit spread, and forgiving.

pub mod loss;
mod perception;
mod recipe;

pub use loss::LossRecipe;
pub use recipe::{AugmentationRecipe, AutoencoderRecipe, EvaluationRecipe, NetworkRecipe};

use anyhow::{Result, bail, ensure};
use burn::{
    module::Module as _,
    tensor::{Device, Tensor},
};
use dataset::{Dataset, Split};
use evaluation::autoencoder::{self as quality, AutoencoderConfig, AutoencoderSummary, Measured};
use evaluation::features::FeatureChoice;
use messages::Progress;
use nets::{
    autoencoder::Autoencoder,
    init::{Initialisation, randomise},
};
use perception::Perception;
use radiograph::RgbImage;
use random::Purpose;
use serde::{Deserialize, Serialize};
use settings::Settings as _;
use stages::encode;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use training::optimiser::GradientSet;
use training::run::{self, Inputs};
use training::tensors::{self, images_from_bytes, to_host};
use training::{Evaluation, Mean, Score, State, Trainable, TrainingOrder, TrainingSummary};

/// Training images on which the scale of the latents is measured: three digits of it.
const NUM_MEASURED: usize = 512;
/// Images that go through the network together where no gradient is kept.
const EVALUATION_BATCH: usize = 16;

/// What to train on what, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainAutoencoderConfig {
    /// A prepared dataset.
    pub dataset: PathBuf,
    /// All settings.
    pub recipe: AutoencoderRecipe,
    /// The run folder; the autoencoder appears in its `model`, the report in its `evaluation`.
    pub out: PathBuf,
    /// Frozen encoder of the perceptual loss; none leaves that loss out.
    pub encoder: Option<PathBuf>,
    /// Encoder in whose features the report compares originals and reconstructions; none leaves that out.
    pub features: Option<PathBuf>,
    /// Continue the run in `out` from its newest checkpoint.
    pub resume: bool,
    /// Stop, with a checkpoint, after so many minutes; `resume` goes on.
    pub max_minutes: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct PretrainAutoencoderSummary {
    /// Of the training.
    #[serde(flatten)]
    pub training: TrainingSummary,
    /// Of the exported autoencoder on all validation images, or on the training images where there are none.
    pub evaluation: AutoencoderSummary,
}

/// Trains an autoencoder until the recipe's length or `max_minutes`, and evaluates what was exported.
///
/// # Errors
/// Settings, dataset, encoder or a checkpoint that do not belong together; a loss that is no number; a disk that is
/// full. The newest checkpoint is complete in every case.
pub fn run(
    config: &PretrainAutoencoderConfig,
    device: &Device,
    progress: &dyn Progress,
) -> Result<PretrainAutoencoderSummary> {
    let recipe = &config.recipe;
    recipe.validate()?;
    run::check(&config.out, config.resume, recipe, config.max_minutes)?;
    let dataset = Dataset::open(&config.dataset)?;
    ensure!(
        dataset.image_size() == recipe.image_size,
        "the dataset has images of {} px, the recipe wants {} px; prepare the dataset with `--image-size {}`, \
         or set `image_size`",
        dataset.image_size(),
        recipe.image_size,
        recipe.image_size
    );
    let order = TrainingOrder::new(&dataset, recipe.seed)?;
    let autodiff = device.clone().autodiff();
    if let Some(features) = &config.features {
        // Found missing now rather than after hours.
        encode::existing_folder(encode::encoder_folder(features, &dataset, device)?, "encoder")?;
    }
    let perception = Perception::open(config.encoder.as_deref(), recipe, &dataset, &autodiff)?;
    let identity = Identity {
        dataset: dataset.fingerprint().to_owned(),
        encoder: perception.as_ref().map(|perception| perception.fingerprint.clone()),
    };
    let inputs = Inputs::new(&config.dataset, config.encoder.as_deref());
    let (run_dir, _lock) = run::open(&config.out, config.resume, recipe, &identity, &inputs)?;
    let newest = run_dir.checkpoints().latest()?;
    if let Some(found) = &newest {
        progress.say(&format!("continuing from {}", found.path.display()));
    }
    let split = if dataset.indices(Split::Val)?.is_empty() { Split::Train } else { Split::Val };
    let setting = Setting {
        judged: quality::fixed_choice(&dataset, split, recipe.evaluation.num_images)?,
        measured: quality::fixed_choice(&dataset, Split::Train, NUM_MEASURED)?,
        recipe: recipe.clone(),
        dataset,
        perception,
        device: device.clone(),
        autodiff,
    };
    let apprentice = Apprentice::begin(setting, newest.map(|found| found.path).as_deref(), order)?;
    let training = training::train(apprentice, &run_dir, recipe.training.clock(), config.max_minutes, progress)?;
    ensure!(
        training.images_seen > 0,
        "the run stopped before its first step, so that there is no autoencoder yet; give `--max-minutes` more time"
    );
    let evaluate = AutoencoderConfig {
        dataset: config.dataset.clone(),
        autoencoder: training.model.clone(),
        features: config.features.clone().map(FeatureChoice::Encoder),
        split,
        max_images: None,
        batch_size: EVALUATION_BATCH,
        out: config.out.join("evaluation"),
    };
    Ok(PretrainAutoencoderSummary { training, evaluation: quality::run(&evaluate, device, progress)? })
}

/// A run belongs to its dataset and to the encoder of its perceptual loss.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    dataset: String,
    encoder: Option<String>,
}

impl run::Identity for Identity {
    fn describe(&self) -> String {
        format!("dataset {}, encoder {}", self.dataset, self.encoder.as_deref().unwrap_or("none"))
    }
}

/// What stays the same while a run trains.
#[derive(Debug)]
struct Setting {
    recipe: AutoencoderRecipe,
    dataset: Dataset,
    /// Images of the evaluations on the way.
    judged: Vec<usize>,
    /// Training images on which latents are measured at export.
    measured: Vec<usize>,
    perception: Option<Perception>,
    device: Device,
    autodiff: Device,
}

/// The autoencoder in training.
#[derive(Debug)]
struct Apprentice {
    state: State<Autoencoder>,
    order: TrainingOrder,
    /// Since the last line of the journal.
    averages: BTreeMap<&'static str, Mean>,
    last_loss: f64,
    setting: Box<Setting>,
}

impl Apprentice {
    /// Fresh, or from a checkpoint.
    fn begin(setting: Setting, checkpoint: Option<&Path>, order: TrainingOrder) -> Result<Self> {
        let Setting { recipe, autodiff, .. } = &setting;
        let fresh = recipe.network.config().init(autodiff)?;
        let state = match checkpoint {
            Some(folder) => State::load(folder, fresh)?,
            None => State::new(randomise(fresh, Initialisation::FanInUniform, recipe.seed)),
        };
        let averages = BTreeMap::new();
        Ok(Self { state, order, averages, last_loss: f64::NAN, setting: Box::new(setting) })
    }

    /// The images numbered so in the run, cropped and flipped, `[batch, size, size, 1]` in -1..=1.
    fn batch(&mut self, numbers: &[u64]) -> Result<Tensor<4>> {
        let rows: Vec<usize> = numbers.iter().map(|number| self.order.row(*number)).collect();
        let Setting { recipe, dataset, autodiff, .. } = &*self.setting;
        let (whole, size) = (dataset.image_size(), recipe.training_size());
        let pictures = dataset.images(&rows)?;
        let mut crops = Vec::with_capacity(numbers.len() * size * size);
        for (number, picture) in numbers.iter().zip(pictures.chunks_exact(whole * whole)) {
            let draws = random::uniforms(recipe.seed, *number, Purpose::Augmentation, 3);
            let offset = |draw: f64| (draw * (whole - size + 1) as f64) as usize;
            let (top, left) = (offset(draws[0]), offset(draws[1]));
            let is_flipped = draws[2] < recipe.augmentation.flip_probability;
            for row in picture.chunks_exact(whole).skip(top).take(size) {
                let row = &row[left..left + size];
                if is_flipped { crops.extend(row.iter().rev()) } else { crops.extend(row) }
            }
        }
        Ok(images_from_bytes(&crops, size, autodiff))
    }

    /// Terms of the loss with a weight above 0, by name, before weighting.
    fn terms(&self, images: Tensor<4>, numbers: &[u64]) -> Vec<(&'static str, f64, Tensor<1>)> {
        let Setting { recipe, perception, .. } = &*self.setting;
        let latents = self.state.network.encode(images.clone()).mean;
        let mut noisy = latents.clone();
        let noise_level = recipe.augmentation.latent_noise;
        if noise_level > 0.0 {
            let [_, height, width, channels] = latents.dims();
            let shape = [height, width, channels];
            let noise = diffusion::normal_batch(recipe.seed, numbers, Purpose::TrainingNoise, shape, &latents.device());
            noisy = noisy + noise * noise_level;
        }
        let decoded = self.state.network.decode_unclamped(noisy);
        let originals = (images + 1.0) * 0.5;
        let pictures = (decoded + 1.0) * 0.5;
        let weights = recipe.loss.weights().into_iter().filter(|(_, weight)| *weight > 0.0);
        weights
            .filter_map(|(name, weight)| {
                let (pictures, originals) = (pictures.clone(), originals.clone());
                let term = match name {
                    "absolute" => tensors::mean((pictures - originals).abs()),
                    "squared" => tensors::mean((pictures - originals).square()),
                    "gradient" => loss::gradient_difference(pictures, originals),
                    "structural" => -loss::structural_similarity(pictures, originals) + 1.0,
                    "perceptual" => perception.as_ref()?.distance(pictures, originals),
                    _ => loss::latent_moments(latents.clone()),
                };
                Some((name, weight, term))
            })
            .collect()
    }

    fn averaged(&self) -> Autoencoder {
        self.state.averaged()
    }

    /// The averaged network with the scale that its latents have on training images.
    fn finished(&self) -> Result<Autoencoder> {
        let Setting { dataset, measured, device, .. } = &*self.setting;
        let network = self.averaged();
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for chunk in measured.chunks(EVALUATION_BATCH) {
            let images = images_from_bytes(&dataset.images(chunk)?, dataset.image_size(), device);
            for value in to_host(network.encode_unnormalised(images).mean)? {
                let value = f64::from(value);
                sum += value;
                squares += value * value;
                count += 1.0;
            }
        }
        let mean: f64 = sum / count;
        let std = (squares / count - mean * mean).max(0.0).sqrt();
        ensure!(
            std > 1e-6 && std.is_finite(),
            "after {} images the latents are the same for every image (deviation {std}); start a new run with a lower \
             `optimiser.learning_rate`, now {}",
            self.state.images_seen,
            self.setting.recipe.optimiser.learning_rate
        );
        Ok(network.with_uniform_statistics(mean, std)?)
    }
}

impl Trainable for Apprentice {
    fn num_parameters(&self) -> usize {
        self.state.network.num_params()
    }

    fn images_seen(&self) -> u64 {
        self.state.images_seen
    }

    fn step(mut self) -> Result<Self> {
        let optimiser = self.setting.recipe.optimiser.clone();
        let part_size = optimiser.batch_size / optimiser.accumulation_steps;
        let mut gradients = GradientSet::default();
        let mut total = 0.0;
        for part in 0..optimiser.accumulation_steps {
            let first = self.state.images_seen + (part * part_size) as u64;
            let numbers: Vec<u64> = (first..first + part_size as u64).collect();
            let images = self.batch(&numbers)?;
            let terms = self.terms(images, &numbers);
            let values = to_host(Tensor::cat(terms.iter().map(|(_, _, term)| term.clone().inner()).collect(), 0))?;
            let mut sum: Option<Tensor<1>> = None;
            for ((name, weight, term), value) in terms.into_iter().zip(values) {
                total += weight * f64::from(value) / optimiser.accumulation_steps as f64;
                self.averages.entry(name).or_default().add(f64::from(value));
                let weighted = term * (weight / optimiser.accumulation_steps as f64);
                sum = Some(match sum {
                    Some(sum) => sum + weighted,
                    None => weighted,
                });
            }
            if let Some(sum) = sum {
                gradients.accumulate(&self.state.network, sum.backward());
            }
        }
        let norm = gradients.norm()?;
        if !total.is_finite() || !norm.is_finite() {
            bail!(
                "after {} images the loss is {total} and the length of its gradient {norm}; start a new run with a lower \
                 `optimiser.learning_rate` (now {})",
                self.state.images_seen,
                optimiser.learning_rate
            );
        }
        self.averages.entry("loss").or_default().add(total);
        self.averages.entry("gradient_norm").or_default().add(norm);
        self.last_loss = total;
        let recipe = &self.setting.recipe;
        self.state = self.state.stepped(gradients, norm, &optimiser, &recipe.ema, recipe.training.total_images);
        Ok(self)
    }

    fn note(&self) -> String {
        let loss = self.averages.get("loss").and_then(|mean| mean.get()).unwrap_or(self.last_loss);
        format!("loss {loss:.4}")
    }

    fn take_metrics(&mut self) -> Result<Vec<(String, f64)>> {
        let names = |name: &str| match name {
            "loss" | "gradient_norm" => name.to_owned(),
            term => format!("loss_{term}"),
        };
        let averages = std::mem::take(&mut self.averages);
        let mut values: Vec<(String, f64)> =
            averages.into_iter().filter_map(|(name, mean)| Some((names(name), mean.get()?))).collect();
        let Setting { recipe, .. } = &*self.setting;
        let rate = recipe.optimiser.learning_rate(self.state.images_seen, recipe.training.total_images);
        values.push(("learning_rate".to_owned(), rate));
        Ok(values)
    }

    fn evaluate(&mut self) -> Result<Evaluation> {
        let Setting { dataset, judged, device, .. } = &*self.setting;
        let network = self.averaged();
        let mut measured = Measured::default();
        for chunk in judged.chunks(EVALUATION_BATCH) {
            measured.add(&network, &dataset.images(chunk)?, dataset.image_size(), device)?;
        }
        let quality = measured.quality();
        let values = [
            ("peak_signal_to_noise", quality.peak_signal_to_noise),
            ("structural_similarity", quality.structural_similarity),
            ("latent_mean", quality.latent_mean),
            ("latent_std", quality.latent_std),
            ("latent_largest", quality.latent_largest),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Ok(Evaluation { score: Score::of("structural_similarity", true, &values), values })
    }

    fn draw(&mut self) -> Result<Option<RgbImage>> {
        let Setting { dataset, judged, recipe, device, .. } = &*self.setting;
        let shown: Vec<usize> = judged.iter().copied().take(recipe.evaluation.num_pictures).collect();
        if shown.is_empty() {
            return Ok(None);
        }
        Ok(Some(quality::draw(&self.averaged(), &dataset.images(&shown)?, dataset.image_size(), device)?))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.state.save(folder)
    }

    fn export(&self, folder: &Path) -> Result<()> {
        let network = self.finished()?;
        if self.setting.recipe.network.half_precision {
            return Ok(network.save_half(folder)?);
        }
        Ok(network.save(folder)?)
    }
}
