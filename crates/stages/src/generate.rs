//! Generation: reconstructions (variants of one image's embedding), interpolations (mixtures of two) and images without
//! any condition, written as a dataset whose provenance columns say where each image came from.
//!
//! Each image depends on the seed, its own number and its sources alone, not on batch size or threads; and a run that
//! is killed continues where it stopped.

mod figure;
mod jobs;

use crate::encode;
use crate::encoded::{Condition, Embeddings};
use crate::model::{self, Model, ModelInfo};
use crate::recipe::SamplingRecipe;
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, DatasetSettings, DatasetWriter, ManifestRow, PixelHash, Provenance, Split};
use diffusion::{Sampler, interpolate::Interpolation};
use figure::Figure;
use files::outputs;
pub use jobs::PairRule;
use jobs::{Job, Sources};
use messages::Progress;
use messages::Skipped;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use training::tensors::{bytes_from_pictures, from_host, pictures_from_images};

const FIGURE_FILE: &str = "figure.png";

/// What to generate, from what, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateConfig {
    /// A run or a model folder.
    pub model: PathBuf,
    /// The dataset whose images are the sources.
    pub dataset: PathBuf,
    /// The synthetic dataset.
    pub out: PathBuf,
    /// Variants or mixtures.
    pub strategy: Strategy,
    /// Sources come from this split, unless they are listed.
    pub split: Split,
    /// How many images; of listed ones at most so many, all where absent.
    pub num_images: Option<usize>,
    /// Instead of the model's own; 1 is off.
    pub guidance_scale: Option<f64>,
    /// Instead of the model's own.
    pub num_steps: Option<usize>,
    /// Instead of the model's own.
    pub sampler: Option<Sampler>,
    /// Decides the choice of sources and all noise.
    pub seed: u64,
    /// Images that go through the network together; changes speed and memory, not the result.
    pub batch_size: usize,
    /// Also write PNG files of 8 or 16 bits.
    pub png_bits: Option<u8>,
    /// Also draw `figure.png`.
    pub figure: bool,
}

/// How conditions are made of sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// Each source's own embedding.
    Reconstruct {
        /// Images for each source. Default 1.
        #[serde(default = "one_variant")]
        variants: usize,
    },
    /// Mixtures of two embeddings.
    Interpolate {
        /// Which two. Default `label`.
        #[serde(default)]
        pairs: PairRule,
        /// How far from the first to the second, each in 0..=1. Default 0, 0.25, 0.5, 0.75 and 1.
        #[serde(default = "quarters")]
        fractions: Vec<f64>,
        /// Straight or along the sphere. Default `slerp`.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// Exactly the images that a table lists: the columns `source` (an image's id) and, for mixtures, `target` and
    /// `fraction`, which may be empty. Sources may be of any split.
    Listed {
        /// A CSV file with a head line.
        table: PathBuf,
        /// Straight or along the sphere. Default `slerp`.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// The learned null condition: what the model draws by itself, and the control of everything that its condition is
    /// said to do. Guidance has nothing to guide towards and is off.
    Unconditional,
}

fn one_variant() -> usize {
    1
}

/// The fractions of a row of mixtures, unless others are asked for.
pub fn quarters() -> Vec<f64> {
    vec![0.0, 0.25, 0.5, 0.75, 1.0]
}

impl Strategy {
    /// What the provenance of an image says, and its id begins with.
    fn name(&self, job: &Job) -> &'static str {
        match (self, job.sources.len()) {
            (Self::Unconditional, _) => "unconditional",
            (Self::Interpolate { .. }, _) | (Self::Listed { .. }, 2..) => "interpolation",
            (Self::Reconstruct { .. } | Self::Listed { .. }, _) => "reconstruction",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct GenerateSummary {
    /// Images in the synthetic dataset.
    pub num_images: usize,
    /// Mean brightness of the generated images, 0..=1.
    pub mean_brightness: f64,
    /// Mean brightness of their sources, 0..=1; absent where they have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_brightness: Option<f64>,
    /// Seconds for each image made in this session, decoding included.
    pub secs_per_image: f64,
    /// The synthetic dataset.
    pub dataset: PathBuf,
    /// The figure, where one was asked for.
    pub figure: Option<PathBuf>,
    /// Sources without a partner.
    pub skipped: Vec<Skipped>,
}

/// Generates.
///
/// # Errors
/// Model, dataset and settings that do not belong together; a split without images; a disk that is full.
pub fn run(config: &GenerateConfig, device: &Device, progress: &dyn Progress) -> Result<GenerateSummary> {
    let info = check(config)?;
    let dataset = Dataset::open(&config.dataset)?;
    let mut sources = Sources::choose_without_embeddings(config, &dataset)?;
    let sampling = sampling_of(config, &info);
    let model = Model::open(&config.model, device)?;
    let autoencoder = model.autoencoder(device)?;
    let image_size = model.info.image_size;
    let made = autoencoder.downsampling_factor() * model.info.latent_shape[0];
    ensure!(
        made == image_size,
        "the autoencoder makes images of {made} px, and the model's have {image_size} px; it does not belong to this \
         model: {}",
        model.folder.display()
    );
    let settings = settings_of(config, &model, image_size)?;
    let finished = killed_at_the_end(config, &settings)?;
    let open_writer = || DatasetWriter::create_or_resume(&config.out, settings.clone());
    // One that was begun with other settings is refused before anything is embedded.
    let begun = (finished.is_none() && Dataset::is_dataset(&config.out)).then(open_writer).transpose()?;
    let conditional = config.strategy != Strategy::Unconditional;
    let embeddings = conditional
        .then(|| encode::embeddings_for(&dataset, &model.folder.join("encoder"), device, progress))
        .transpose()?;
    sources.find_neighbours(config, &dataset, embeddings.as_ref())?;
    if let Some(synthetic) = finished {
        return summarise(config, &dataset, &sources, &synthetic, 0.0);
    }
    let mut writer = match begun {
        Some(writer) => writer,
        None => open_writer()?,
    };
    let already = writer.len();
    if already > 0 {
        progress.say(&format!("{already} images are there already; continuing"));
    }
    let jobs = &sources.jobs;
    let begun = std::time::Instant::now();
    progress.begin("generating", jobs.len().saturating_sub(already) as u64, "images");
    for (chunk_number, chunk) in jobs[already.min(jobs.len())..].chunks(config.batch_size).enumerate() {
        let first = already + chunk_number * config.batch_size;
        let condition = match &embeddings {
            Some(embeddings) => sources.conditions(chunk, embeddings, &model.info, device)?,
            None => model.denoiser.null_conditions(chunk.len()),
        };
        let indices: Vec<u64> = (first..first + chunk.len()).map(|index| index as u64).collect();
        let latents = model::sample(&model.denoiser, &model.info, &sampling, condition, &indices, config.seed)?;
        let pictures = pictures_from_images(autoencoder.decode(latents))?;
        ensure!(
            pictures.len() == chunk.len() * image_size * image_size,
            "the autoencoder gave {} pixels for {} images of {image_size} px; it does not belong to this model",
            pictures.len(),
            chunk.len()
        );
        for ((job, picture), index) in chunk.iter().zip(pictures.chunks_exact(image_size * image_size)).zip(indices) {
            let pixel_hash = dataset::pixels_hash(picture, image_size, image_size);
            let row = row_of(job, index, pixel_hash, &sources, config, &model, &sampling);
            if let Some(bits) = config.png_bits {
                write_png(&config.out, &row.id, picture, image_size, bits)?;
            }
            writer.push(row, &bytes_from_pictures(picture), None)?;
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    let made = jobs.len().saturating_sub(already);
    let secs_per_image = begun.elapsed().as_secs_f64() / made.max(1) as f64;
    summarise(config, &dataset, &sources, &writer.finish()?, secs_per_image)
}

/// Whether a finished dataset lacks its figure, or was not tidied up.
fn lacks_its_end(config: &GenerateConfig) -> bool {
    (config.figure && !config.out.join(FIGURE_FILE).is_file()) || config.out.join("partial").is_dir()
}

/// The dataset where an earlier call with these settings was killed after its last image: what is left to do is the
/// figure, or to tidy up.
fn killed_at_the_end(config: &GenerateConfig, settings: &DatasetSettings) -> Result<Option<Dataset>> {
    if !config.out.join("dataset.toml").is_file() || !lacks_its_end(config) {
        return Ok(None);
    }
    let dataset = Dataset::open(&config.out)?;
    if dataset.info().settings().first_difference(settings).is_some() {
        return Ok(None);
    }
    dataset::remove_remains(&dataset)?;
    Ok(Some(dataset))
}

/// Draws the figure, where one is asked for, and says what came of it.
fn summarise(
    config: &GenerateConfig,
    real: &Dataset,
    sources: &Sources,
    synthetic: &Dataset,
    secs_per_image: f64,
) -> Result<GenerateSummary> {
    let jobs = &sources.jobs;
    let mut figure = None;
    if config.figure {
        let path = config.out.join(FIGURE_FILE);
        Figure { jobs, real, synthetic, strategy: &config.strategy }.draw(&path)?;
        figure = Some(path);
    }
    Ok(GenerateSummary {
        num_images: synthetic.len(),
        mean_brightness: brightness(synthetic, 0..synthetic.len())?,
        source_brightness: (config.strategy != Strategy::Unconditional)
            .then(|| brightness(real, jobs.iter().flat_map(|job| job.sources.iter().copied())))
            .transpose()?,
        secs_per_image,
        dataset: config.out.clone(),
        figure,
        skipped: sources.skipped.clone(),
    })
}

/// Refuses what cannot work before anything is read but `model.json`, which it gives.
fn check(config: &GenerateConfig) -> Result<ModelInfo> {
    ensure!(config.num_images != Some(0), "the number of images is 0; ask for at least 1");
    ensure!(
        config.num_images.is_some() || matches!(config.strategy, Strategy::Listed { .. }),
        "the number of images is missing; without one, only a table of images says how many there are"
    );
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    if let Some(bits) = config.png_bits {
        ensure!(bits == 8 || bits == 16, "PNG files have 8 or 16 bits, not {bits}");
    }
    match &config.strategy {
        Strategy::Reconstruct { variants } => ensure!(*variants > 0, "the number of variants is 0; ask for at least 1"),
        Strategy::Listed { .. } => {}
        Strategy::Unconditional => ensure!(
            config.guidance_scale.is_none_or(|scale| scale == 1.0),
            "guidance needs a condition to guide towards; leave out the guidance scale for unconditional images"
        ),
        Strategy::Interpolate { fractions, .. } => {
            ensure!(!fractions.is_empty(), "there is no fraction; give for example 0.25,0.5,0.75");
            for fraction in fractions {
                ensure!((0.0..=1.0).contains(fraction), "the fraction {fraction} is not between 0 and 1");
            }
        }
    }
    if config.out.join("dataset.toml").exists() && !lacks_its_end(config) {
        return Err(dataset::Error::AlreadyFinished { path: config.out.clone() }.into());
    }
    if Dataset::is_dataset(&config.out) {
        outputs::check_folder(&config.out)?;
    } else {
        outputs::check_new_folder(&config.out)?;
    }
    let info = model::read_info(&model::folder_of(&config.model)?)?;
    info.check_sampling(&sampling_of(config, &info))?;
    Ok(info)
}

/// Whatever changes the images: a folder that was begun with other settings is not continued.
fn settings_of(config: &GenerateConfig, model: &Model, image_size: usize) -> Result<DatasetSettings> {
    /// Images that a kill can lose.
    const SHARD_SIZE: usize = 64;
    let mut preparation = toml::Table::try_from(config).context("the settings cannot be written as TOML")?;
    for place_or_speed in ["model", "dataset", "out", "batch_size", "png_bits", "figure"] {
        preparation.remove(place_or_speed);
    }
    if let (Strategy::Listed { table, .. }, Some(toml::Value::Table(strategy))) =
        (&config.strategy, preparation.get_mut("strategy"))
    {
        // What the table says counts, not where it lies.
        let bytes = std::fs::read(table).with_context(|| format!("the table cannot be read: {}", table.display()))?;
        strategy.insert("table".into(), files::fingerprint_bytes(&bytes).into());
    }
    preparation.insert("model_fingerprint".into(), model.fingerprint.clone().into());
    let mut settings = DatasetSettings::new(image_size);
    settings.shard_size = SHARD_SIZE;
    settings.seed = config.seed;
    settings.preparation = preparation;
    Ok(settings)
}

fn sampling_of(config: &GenerateConfig, info: &ModelInfo) -> SamplingRecipe {
    let own = &info.sampling;
    SamplingRecipe {
        sampler: config.sampler.unwrap_or(own.sampler),
        num_steps: config.num_steps.unwrap_or(own.num_steps),
        guidance_scale: match config.strategy {
            Strategy::Unconditional => 1.0,
            _ => config.guidance_scale.unwrap_or(own.guidance_scale),
        },
        spacing: own.spacing,
    }
}

fn row_of(
    job: &Job,
    index: u64,
    pixel_hash: PixelHash,
    described: &Sources,
    config: &GenerateConfig,
    model: &Model,
    sampling: &SamplingRecipe,
) -> ManifestRow {
    let sources: Vec<&ManifestRow> = job.sources.iter().filter_map(|row| described.rows.get(row)).collect();
    let strategy = config.strategy.name(job);
    let id = format!("{strategy}-{index:06}");
    // An interpolation between different label sets has no label that anybody could vouch for.
    let first = sources.first().copied();
    let agreed = first.filter(|first| sources.iter().all(|row| row.labels == first.labels));
    let states = agreed.filter(|first| {
        let same = |row: &&ManifestRow| {
            row.labels_negative == first.labels_negative && row.labels_uncertain == first.labels_uncertain
        };
        sources.iter().all(same)
    });
    ManifestRow {
        source_file: String::new(),
        pixel_hash,
        // The source's patient: whoever splits by patient keeps an image and its variants on one side.
        patient: first.map_or_else(|| id.clone(), |first| first.patient.clone()),
        id,
        view: first.and_then(|first| first.view.clone()),
        split: first.map_or(config.split, |first| first.split),
        labels: agreed.map(|first| first.labels.clone()).unwrap_or_default(),
        labels_negative: states.map(|first| first.labels_negative.clone()).unwrap_or_default(),
        labels_uncertain: states.map(|first| first.labels_uncertain.clone()).unwrap_or_default(),
        mask: false,
        collection: first.and_then(|first| first.collection.clone()),
        licence: first.and_then(|first| first.licence.clone()),
        perceptual_hash: None,
        pixel_spacing_mm: None,
        provenance: Some(Provenance {
            strategy: strategy.into(),
            source_ids: sources.iter().map(|row| row.id.clone()).collect(),
            fraction: job.fraction,
            seed: Some(config.seed),
            guidance_scale: Some(sampling.guidance_scale),
            model_fingerprint: Some(model.fingerprint.clone()),
        }),
    }
}

fn write_png(out: &Path, id: &str, picture: &[f32], size: usize, bits: u8) -> Result<()> {
    let folder = out.join("png");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the folder for PNG files cannot be made: {}", folder.display()))?;
    let path = folder.join(format!("{id}.png"));
    if bits == 16 {
        radiograph::write_png_u16(&path, &radiograph::to_u16(picture), size, size)?;
    } else {
        radiograph::write_png_u8(&path, &bytes_from_pictures(picture), size, size)?;
    }
    Ok(())
}

/// Mean of all pixels of some images, 0..=1; not a number where there is none.
///
/// # Errors
/// A damaged shard.
pub fn brightness(dataset: &Dataset, rows: impl Iterator<Item = usize>) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for row in rows {
        let picture = dataset.images(&[row])?;
        sum += picture.iter().map(|byte| f64::from(*byte)).sum::<f64>();
        count += picture.len();
    }
    Ok(if count == 0 { f64::NAN } else { sum / (255.0 * count as f64) })
}

impl Sources {
    /// Conditions of some jobs.
    fn conditions(
        &self,
        jobs: &[Job],
        embeddings: &Embeddings,
        info: &model::ModelInfo,
        device: &Device,
    ) -> Result<Condition> {
        let [tokens, dim] = info.condition_shape;
        let mut values = Vec::with_capacity(jobs.len() * tokens * dim);
        for job in jobs {
            values.extend(match (job.sources.as_slice(), job.fraction) {
                ([source, target], Some(fraction)) => {
                    // On the host: mixing is exact and the same on every device.
                    let host = Device::flex();
                    let end = |row: usize| -> Result<_> {
                        Ok(from_host(embeddings.gather(&[row], tokens)?, [1, tokens, dim], &host))
                    };
                    let mixed = self.interpolation.mix(end(*source)?, end(*target)?, &[fraction])?;
                    training::tensors::to_host(mixed)?
                }
                ([source, ..], _) => embeddings.gather(&[*source], tokens)?,
                ([], _) => anyhow::bail!("a generated image has no source"),
            });
        }
        Ok(info.embedding_scale.condition(values, [jobs.len(), tokens, dim], device))
    }
}
