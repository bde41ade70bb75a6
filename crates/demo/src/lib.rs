//! All stages on drawn phantoms, without any file at hand: what the program does, in a few minutes on a laptop.
//!
//! Each stage writes the folder that its command would write, so the result can be explored with the other commands.
//! A stage that is finished is kept when the demonstration is started again, one that was interrupted continues. Phantoms show that the stages work; they are never results.

mod autoencoder;
mod phantoms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, Split};
use diffusion::interpolate::Interpolation;
use serde::{Deserialize, Serialize};

use files::outputs;
use messages::Progress;
use report::{self, ReportConfig};
use settings::Settings as _;
use stages::encode::{self, EncodeConfig};
use stages::generate::{self, GenerateConfig, PairRule, Strategy};
use stages::recipe::Recipe;
use stages::train::{self, TrainConfig};

/// The encoder: random weights, so that nothing has to be downloaded. It still tells images apart.
const ENCODER: &str = "random:vit-tiny/8";
/// Images that go through the frozen networks together.
const BATCH_SIZE: usize = 16;

/// Said wherever the pictures of a demonstration are shown.
const DISCLAIMER: &str = "Every source image here is a drawn phantom, and the models learned from phantoms for a few \
                          minutes. The pictures and numbers show that every stage works; they are not results.";

/// How much to do, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoConfig {
    /// The folder for everything.
    pub out: PathBuf,
    /// Phantoms to draw.
    pub num_phantoms: usize,
    /// Images, counted with repetition, that the autoencoder is trained on.
    pub autoencoder_images: u64,
    /// Decides every random number, beside the recipe's own seed.
    pub seed: u64,
    /// How the generative model is trained; its image size is that of the phantoms.
    pub recipe: Recipe,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct DemoSummary {
    /// The page to open.
    pub report: PathBuf,
    /// Images that the generative model has seen.
    pub images_seen: u64,
    /// Mean brightness of the reconstructions, 0..=1.
    pub mean_brightness: f64,
    /// Mean brightness of the phantoms they were made from, 0..=1.
    pub source_brightness: f64,
    /// Seconds for each stage, over all sessions.
    pub secs: BTreeMap<String, f64>,
}

/// Runs the demonstration, or what is left of it.
///
/// # Errors
/// A folder begun with other settings or holding something else; a disk that is full.
pub fn run(config: &DemoConfig, device: &Device, progress: &dyn Progress) -> Result<DemoSummary> {
    check(config)?;
    outputs::check_folder(&config.out)?;
    outputs::make_folder(&config.out)?;
    remember_settings(config)?;
    files::sweep(&config.out)?;
    progress.say(DISCLAIMER);
    let at = |name: &str| config.out.join(name);
    let mut clock = Clock::open(&at("timings.json"))?;

    clock.time("1. draw phantoms", || phantoms::make(config, &at("phantoms"), progress))?;
    clock.time("2. train an autoencoder", || {
        autoencoder::make(config, &at("phantoms"), &at("autoencoder"), device, progress)
    })?;
    progress.say("the encoder has random weights: a stand-in for DINO that needs no download");
    let encode = EncodeConfig {
        dataset: at("phantoms"),
        autoencoder: Some(at("autoencoder")),
        encoder: Some(ENCODER.into()),
        batch_size: BATCH_SIZE,
    };
    clock.time("3. encode", || encode::run(&encode, device, progress))?;
    let train = TrainConfig {
        dataset: at("phantoms"),
        recipe: config.recipe.clone(),
        out: at("run"),
        resume: at("run").join("recipe.toml").is_file(),
        autoencoder: None,
        encoder: None,
        max_minutes: None,
    };
    let trained = clock.time("4. train the generative model", || train::run(&train, device, progress))?;

    let reconstruct = Strategy::Reconstruct { variants: 4 };
    let (mean_brightness, source_brightness) = clock.time("5. generate reconstructions", || {
        generate_unless_done(config, "reconstructions", reconstruct, 16, device, progress)
    })?;
    let interpolate = Strategy::Interpolate {
        pairs: PairRule::Neighbour,
        fractions: generate::quarters(),
        interpolation: Interpolation::Slerp,
    };
    clock.time("6. generate interpolations", || {
        generate_unless_done(config, "interpolations", interpolate, 20, device, progress)
    })?;

    let folders = ["reconstructions", "interpolations", "run", "phantoms", "autoencoder"].map(at).to_vec();
    let mut page = ReportConfig::new(folders, at("report.html"));
    page.title = "DiNO-Diffusion: a demonstration on phantoms".into();
    page.notes = vec![DISCLAIMER.into(), stages_note(config)];
    page.timings = clock.secs.iter().map(|(stage, secs)| (stage.clone(), *secs)).collect();
    let report = report::run(&page, progress)?.out;
    Ok(DemoSummary { report, images_seen: trained.images_seen, mean_brightness, source_brightness, secs: clock.secs })
}

fn stages_note(config: &DemoConfig) -> String {
    format!(
        "What was trained here: an autoencoder of one channel ({} images) and the generative model ({} images). What \
         was not: the encoder, a small vision transformer with random weights, which stands in for DINO.",
        config.autoencoder_images, config.recipe.training.total_images
    )
}

fn check(config: &DemoConfig) -> Result<()> {
    config.recipe.validate()?;
    // Two patients in each split are the least that interpolations can be made between.
    ensure!(config.num_phantoms >= 40, "the number of phantoms is {}; draw at least 40", config.num_phantoms);
    ensure!(config.autoencoder_images > 0, "the autoencoder cannot be trained on 0 images; give at least 1");
    let expected = autoencoder::recipe(config)?.network.latent_channels;
    let channels = config.recipe.network.interface().in_channels;
    ensure!(
        channels == expected,
        "the recipe wants latents of {channels} channels, the demonstration's autoencoder gives {expected}; choose \
         the recipe `demo-64`"
    );
    Ok(())
}

/// Refuses a folder in which a demonstration with other settings was begun.
fn remember_settings(config: &DemoConfig) -> Result<()> {
    let path = config.out.join("demo.toml");
    let mut settings = toml::Table::try_from(config).context("the settings cannot be written as TOML")?;
    settings.remove("out");
    let settings = toml::to_string_pretty(&settings)?;
    match std::fs::read_to_string(&path) {
        Ok(earlier) => ensure!(
            earlier == settings,
            "a demonstration with other settings was begun here; choose another folder, or delete this one: {}",
            config.out.display()
        ),
        Err(_) => {
            // A kill may have come while this very file was written.
            let is_ours =
                |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| files::is_temporary(&entry.path()));
            let is_empty = std::fs::read_dir(&config.out).is_ok_and(|mut entries| entries.all(is_ours));
            ensure!(is_empty, "the folder holds other files; choose a new or empty one: {}", config.out.display());
            files::write_file(&path, settings.as_bytes())?;
        }
    }
    Ok(())
}

/// Generates from the validation phantoms, or takes what is there; gives the brightness of images and sources.
fn generate_unless_done(
    config: &DemoConfig,
    name: &str,
    strategy: Strategy,
    num_images: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(f64, f64)> {
    let out = config.out.join(name);
    let real = config.out.join("phantoms");
    // The figure is drawn last, so it stands for the whole.
    if out.join("figure.png").is_file() {
        let synthetic = Dataset::open(&out)?;
        return Ok((brightness(&synthetic, None)?, brightness(&Dataset::open(&real)?, Some(Split::Val))?));
    }
    if out.join("dataset.toml").is_file() {
        // Killed between the last image and the figure: so little work that it is simply done again.
        std::fs::remove_dir_all(&out).with_context(|| format!("the folder cannot be removed: {}", out.display()))?;
    }
    let generate = GenerateConfig {
        model: config.out.join("run"),
        dataset: real,
        out,
        strategy,
        split: Split::Val,
        num_images: Some(num_images),
        guidance_scale: None,
        num_steps: None,
        sampler: None,
        seed: config.seed,
        batch_size: BATCH_SIZE,
        png_bits: None,
        figure: true,
    };
    let summary = generate::run(&generate, device, progress)?;
    Ok((summary.mean_brightness, summary.source_brightness.unwrap_or(f64::NAN)))
}

/// Mean of all pixels, 0..=1.
fn brightness(dataset: &Dataset, split: Option<Split>) -> Result<f64> {
    let rows = match split {
        Some(split) => dataset.indices(split)?,
        None => (0..dataset.len()).collect(),
    };
    generate::brightness(dataset, rows.into_iter())
}

/// What each stage took, over all sessions.
struct Clock {
    path: PathBuf,
    secs: BTreeMap<String, f64>,
}

impl Clock {
    fn open(path: &Path) -> Result<Self> {
        let secs = match std::fs::read(path) {
            // Timings are worth less than the run: damaged ones are forgotten.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path: path.to_path_buf(), secs })
    }

    fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = work().with_context(|| format!("the demonstration stopped at the stage \"{stage}\""));
        *self.secs.entry(stage.to_owned()).or_default() += begun.elapsed().as_secs_f64();
        files::write_file(&self.path, &serde_json::to_vec_pretty(&self.secs)?)?;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::Silent;

    fn config(out: &Path) -> DemoConfig {
        let recipe = stages::recipe::resolve("demo-64", &[]).unwrap();
        DemoConfig { out: out.to_path_buf(), num_phantoms: 40, autoencoder_images: 1, seed: 0, recipe }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        let refused = |config: &DemoConfig| run(config, &Device::flex(), &Silent).unwrap_err().to_string();
        assert!(refused(&DemoConfig { num_phantoms: 3, ..config(&out) }).contains("at least 40"));
        let recipe = stages::recipe::resolve("small-128", &[]).unwrap();
        assert!(refused(&DemoConfig { recipe, ..config(&out) }).contains("demo-64"));
        assert!(!out.exists());
    }

    #[test]
    fn foreign_folders_and_other_settings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious.txt"), "x").unwrap();
        assert!(remember_settings(&config(dir.path())).unwrap_err().to_string().contains("other files"));
        std::fs::remove_file(dir.path().join("precious.txt")).unwrap();
        remember_settings(&config(dir.path())).unwrap();
        remember_settings(&config(dir.path())).unwrap();
        let other = DemoConfig { seed: 1, ..config(dir.path()) };
        assert!(remember_settings(&other).unwrap_err().to_string().contains("other settings"));
    }
}
