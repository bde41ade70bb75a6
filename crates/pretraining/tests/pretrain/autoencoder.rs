//! `pretrain autoencoder`.

use crate::{SIZE, phantoms};
use burn::tensor::Device;
use dataset::{Dataset, MetricsLog, Split};
use evaluation::autoencoder::{self as measured, AutoencoderConfig};
use messages::Silent;
use nets::{
    autoencoder::{Autoencoder, AutoencoderTinyConfig},
    init::{Initialisation, randomise},
    vit::VitConfig,
};
use pretraining::autoencoder::{self, AutoencoderRecipe, PretrainAutoencoderConfig, PretrainAutoencoderSummary};
use stages::encode::{self, EncodeConfig};
use stages::inspect;
use std::path::{Path, PathBuf};
use training::tensors::images_from_bytes;

fn resolve(changes: &[(&str, &str)]) -> anyhow::Result<AutoencoderRecipe> {
    let tiny = [
        ("network.encoder_channels", "8"),
        ("network.decoder_channels", "8"),
        ("network.encoder_blocks", "[0, 1, 0]"),
        ("network.decoder_blocks", "[1, 0, 0]"),
        ("augmentation.crop_size", "48"),
        ("augmentation.latent_noise", "0.05"),
        ("loss.absolute", "1"),
        ("loss.gradient", "0.5"),
        ("loss.structural", "0.1"),
        ("optimiser.batch_size", "4"),
        ("optimiser.accumulation_steps", "2"),
        ("optimiser.warmup_images", "8"),
        ("training.total_images", "32"),
        ("training.log_every_images", "8"),
        ("training.evaluate_every_images", "16"),
        ("training.checkpoint_every_images", "12"),
    ];
    let overrides: Vec<(String, String)> =
        tiny.iter().chain(changes).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings::resolve("autoencoder-demo-64", &overrides)
}

#[derive(Default)]
struct Session<'a> {
    changes: &'a [(&'a str, &'a str)],
    encoder: Option<PathBuf>,
    resume: bool,
    max_minutes: Option<f64>,
}

impl Session<'_> {
    fn run(self, dataset: &Path, out: &Path) -> anyhow::Result<PretrainAutoencoderSummary> {
        let config = PretrainAutoencoderConfig {
            dataset: dataset.into(),
            recipe: resolve(self.changes)?,
            out: out.into(),
            features: self.encoder.clone(),
            encoder: self.encoder,
            resume: self.resume,
            max_minutes: self.max_minutes,
        };
        autoencoder::run(&config, &Device::flex(), &Silent)
    }
}

fn exported(run: &Path) -> Vec<Vec<u8>> {
    ["diffusion_pytorch_model.safetensors", "config.json"]
        .map(|name| std::fs::read(run.join("model").join(name)).unwrap())
        .to_vec()
}

#[test]
fn a_run_that_was_stopped_and_one_that_was_killed_export_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let changes = [("training.keep_checkpoints", "0"), ("augmentation.flip_probability", "0.5")];
    let session = || Session { changes: &changes, ..Session::default() };
    let summary = session().run(&dataset, &whole).unwrap();
    assert!(summary.training.finished && summary.training.images_seen == 32);

    // As a kill leaves it: the checkpoint after 12 images, and an export and log that are ahead of it.
    assert!(Session { resume: true, ..session() }.run(&dataset, &parts).is_err(), "there is nothing to resume yet");
    session().run(&dataset, &parts).unwrap();
    for step in [24, 32] {
        std::fs::remove_dir_all(parts.join(format!("checkpoints/step-{step}"))).unwrap();
    }
    // Stopped before the first step of a session, then to the end.
    let stopped = Session { resume: true, max_minutes: Some(0.0), ..session() }.run(&dataset, &parts).unwrap();
    assert!(!stopped.training.finished && stopped.training.images_seen == 12);
    std::fs::write(parts.join("model/diffusion_pytorch_model.safetensors"), b"").unwrap();
    assert_eq!(Session { resume: true, ..session() }.run(&dataset, &parts).unwrap().training.images_seen, 32);
    assert!(exported(&whole) == exported(&parts), "the exported autoencoders differ");

    let rows = MetricsLog::read(parts.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = rows.iter().map(|row| row["images_seen"].as_u64().unwrap()).collect();
    assert_eq!(steps, [8, 16, 24, 32]);
    for name in ["loss", "loss_structural", "loss_latent_moments", "peak_signal_to_noise", "latent_std"] {
        assert!(rows[3][name].as_f64().is_some_and(f64::is_finite), "{name} is missing");
    }
    assert!(rows[3].get("loss_perceptual").is_none(), "no encoder was given");
    let error = session().run(&dataset, &parts).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    let faster = [&changes[..], &[("optimiser.learning_rate", "1")]].concat();
    let error = Session { changes: &faster, resume: true, ..Session::default() }.run(&dataset, &parts).unwrap_err();
    assert!(error.to_string().contains("optimiser.learning_rate"), "{error}");
}

#[test]
fn the_run_learns_and_is_an_autoencoder_of_unit_latents_for_other_stages() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let run = folder.path().join("small");
    let changes = [
        ("training.total_images", "960"),
        ("optimiser.accumulation_steps", "1"),
        ("optimiser.learning_rate", "5e-3"),
        ("network.half_precision", "true"),
    ];
    let summary = Session { changes: &changes, ..Session::default() }.run(&dataset, &run).unwrap();
    let quality = &summary.evaluation.quality;
    // Middle grey everywhere has about 11 dB.
    assert!(quality.peak_signal_to_noise > 18.0 && quality.structural_similarity > 0.4, "{quality:?}");
    assert_eq!((quality.num_images, summary.evaluation.split), (8, Split::Val));
    assert_eq!(summary.evaluation.latent_shape, [16, 16, 4]);
    for file in ["evaluation/autoencoder.json", "evaluation/reconstructions.png", "samples/images-000000960.png"] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }

    let device = Device::flex();
    let loaded = Autoencoder::load(&run.join("model"), &device).unwrap();
    let data = Dataset::open(&dataset).unwrap();
    let images = images_from_bytes(&data.images(&data.indices(Split::Train).unwrap()).unwrap(), SIZE, &device);
    let latents = loaded.encode(images).mean;
    let mean = latents.clone().mean().into_scalar::<f32>();
    let std = (latents - mean).square().mean().sqrt().into_scalar::<f32>();
    assert!(mean.abs() < 0.01 && (std - 1.0).abs() < 0.01, "mean {mean}, deviation {std}");

    let config =
        EncodeConfig { dataset: dataset.clone(), autoencoder: Some(run.clone()), encoder: None, batch_size: 5 };
    assert_eq!(encode::run(&config, &device, &Silent).unwrap().latent_shape, Some(vec![16, 16, 4]));
    let inspection = inspect::run(&run).unwrap();
    assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
}

#[test]
fn an_encoder_adds_its_loss_and_belongs_to_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let encoder = |name: &str, seed| {
        let path = folder.path().join(name);
        let config = VitConfig { num_hidden_layers: 1, ..VitConfig::tiny(16, SIZE) };
        randomise(config.init(&Device::flex()), Initialisation::TruncatedNormal(0.02), seed).save(&path).unwrap();
        path
    };
    let run = folder.path().join("run");
    let session = |path: Option<PathBuf>, resume, weight| {
        let changes = [("training.total_images", "16"), ("loss.perceptual", weight)];
        Session { changes: &changes, encoder: path, resume, max_minutes: None }.run(&dataset, &run)
    };
    let error = session(Some(encoder("first", 1)), false, "0").unwrap_err().to_string();
    assert!(error.contains("loss.perceptual is 0"), "{error}");
    let summary = session(Some(encoder("first", 1)), false, "0.1").unwrap();
    assert!(summary.training.metrics["loss_perceptual"] > 0.0);
    let round_trip = summary.evaluation.round_trip.unwrap();
    assert_eq!(round_trip.dim, 192);
    assert!(round_trip.frechet_distance > 0.0 && round_trip.frechet_distance.is_finite());
    for other in [Some(encoder("second", 2)), None] {
        let error = session(other, true, "0.1").unwrap_err().to_string();
        assert!(error.contains("trained on another dataset or with other networks"), "{error}");
    }
}

#[test]
fn impossible_settings_and_data_are_refused_with_the_remedy() {
    for (key, value, part) in [
        ("network.latent_channels", "3", "from 4 to 32"),
        ("network.latent_channels", "33", "from 4 to 32"),
        ("network.encoder_blocks", "[1, 1]", "2 stages"),
        ("network.decoder_blocks", "[1, 1, 1, 1]", "4 (an eighth)"),
        ("network.encoder_channels", "0", "from 1 to 1024"),
        ("image_size", "66", "multiple of 4"),
        ("augmentation.crop_size", "50", "multiple of 4"),
        ("augmentation.crop_size", "128", "at most image_size, 64"),
        ("augmentation.crop_size", "8", "at least 11"),
        ("augmentation.flip_probability", "2", "share"),
        ("augmentation.latent_noise", "-1", "from 0 to 1"),
        ("loss.structural", "-1", "at least 0"),
        ("optimiser.learning_rate", "0", "above 0"),
        ("optimiser.batch_size", "3", "divisible"),
        ("evaluation.num_images", "0", "at least 1"),
        ("training.total_images", "0", "above 0"),
        ("loss.sturctural", "1", "structural"),
    ] {
        let error = format!("{:#}", resolve(&[(key, value)]).unwrap_err());
        assert!(error.contains(part), "{key}={value}: {error}");
    }
    let blind = [("loss.absolute", "0"), ("loss.squared", "0"), ("loss.structural", "0")];
    assert!(resolve(&blind).unwrap_err().to_string().contains("brightness"));

    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let run = folder.path().join("run");
    let large = [("image_size", "128")];
    let error = Session { changes: &large, ..Session::default() }.run(&dataset, &run).unwrap_err().to_string();
    assert!(error.contains("--image-size 128"), "{error}");
    let error = Session { max_minutes: Some(0.0), ..Session::default() }.run(&dataset, &run).unwrap_err().to_string();
    assert!(error.contains("before its first step"), "{error}");
}

#[test]
fn built_in_recipes_are_valid_and_small() {
    for (name, description) in settings::list::<AutoencoderRecipe>().unwrap() {
        assert!(!description.is_empty());
        let recipe: AutoencoderRecipe = settings::resolve(name, &[]).unwrap();
        let network = recipe.network.config().init(&Device::flex()).unwrap();
        let num_parameters = burn::module::Module::num_params(&network);
        assert!(num_parameters <= 3_000_000, "{name}: {num_parameters}");
        assert_eq!(settings::from_toml::<AutoencoderRecipe>(&settings::to_toml(&recipe).unwrap()).unwrap(), recipe);
    }
    let demo: AutoencoderRecipe = settings::resolve("autoencoder-demo-64", &[]).unwrap();
    assert_eq!(demo.network.config(), AutoencoderTinyConfig::demo());
}

#[test]
fn any_autoencoder_can_be_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let rgb = folder.path().join("rgb");
    let config = AutoencoderTinyConfig { in_channels: 3, out_channels: 3, ..AutoencoderTinyConfig::demo() };
    randomise(config.init(&Device::flex()).unwrap(), Initialisation::FanInUniform, 1).save(&rgb).unwrap();
    let mut config = AutoencoderConfig {
        dataset,
        autoencoder: rgb,
        features: None,
        split: Split::Val,
        max_images: Some(5),
        batch_size: 2,
        out: folder.path().join("report"),
    };
    let summary = measured::run(&config, &Device::flex(), &Silent).unwrap();
    assert_eq!((summary.quality.num_images, summary.latent_shape), (5, [8, 8, 4]));
    assert!(summary.figure.is_file() && summary.round_trip.is_none());
    assert!(summary.quality.peak_signal_to_noise_of_worst <= summary.quality.peak_signal_to_noise);
    let again = measured::run(&AutoencoderConfig { batch_size: 5, ..config.clone() }, &Device::flex(), &Silent);
    let again = again.unwrap().quality;
    assert!((again.peak_signal_to_noise - summary.quality.peak_signal_to_noise).abs() < 1e-9, "batches change nothing");
    config.split = Split::Test;
    let error = measured::run(&config, &Device::flex(), &Silent).unwrap_err().to_string();
    assert!(error.contains("split `test`"), "{error}");
}
