//! `pretrain encoder`.

use crate::{SIZE, phantoms};
use burn::tensor::{Device, Distribution, Tensor};
use dataset::{Dataset, MetricsLog, RunDir};
use evaluation::encoder::{self as measured, EncoderConfig};
use messages::Silent;
use nets::{
    autoencoder::AutoencoderTinyConfig,
    init::{Initialisation, randomise},
    vit::{Vit, VitConfig},
};
use pretraining::encoder::{self, EncoderRecipe, PretrainEncoderConfig};
use stages::embed::{self, EmbedConfig};
use stages::encode::{self, EncodeConfig};
use stages::inspect;
use std::path::Path;
use training::TrainingSummary;

fn recipe(changes: &[(&str, &str)]) -> EncoderRecipe {
    let tiny = [
        ("image_size", "64"),
        ("network.num_layers", "2"),
        ("network.half_precision", "false"),
        ("views.global_size", "48"),
        ("views.local_size", "32"),
        ("views.num_local", "2"),
        ("head.hidden_dim", "32"),
        ("head.bottleneck_dim", "16"),
        ("head.output_dim", "64"),
        ("optimiser.batch_size", "4"),
        ("optimiser.warmup_images", "8"),
        ("optimiser.freeze_last_layer_images", "8"),
        ("distillation.koleo_weight", "0.1"),
        ("training.total_images", "32"),
        ("training.log_every_images", "8"),
        ("training.evaluate_every_images", "16"),
        ("training.checkpoint_every_images", "12"),
    ];
    let overrides: Vec<(String, String)> =
        tiny.iter().chain(changes).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings::resolve("dino-tiny-128", &overrides).unwrap()
}

fn pretrain(
    dataset: &Path,
    out: &Path,
    resume: bool,
    max_minutes: Option<f64>,
    changes: &[(&str, &str)],
) -> anyhow::Result<TrainingSummary> {
    pretrain_from(None, dataset, out, resume, max_minutes, changes)
}

fn pretrain_from(
    from: Option<&Path>,
    dataset: &Path,
    out: &Path,
    resume: bool,
    max_minutes: Option<f64>,
    changes: &[(&str, &str)],
) -> anyhow::Result<TrainingSummary> {
    let config = PretrainEncoderConfig {
        dataset: dataset.into(),
        recipe: recipe(changes),
        out: out.into(),
        from: from.map(Path::to_path_buf),
        resume,
        max_minutes,
    };
    encoder::run(&config, &Device::flex(), &Silent)
}

fn exported(run: &Path) -> Vec<Vec<u8>> {
    ["model.safetensors", "config.json", "preprocessor_config.json"]
        .map(|name| std::fs::read(run.join("model").join(name)).unwrap())
        .to_vec()
}

#[test]
fn a_run_that_was_stopped_and_one_that_was_killed_export_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let summary = pretrain(&dataset, &whole, false, None, &[]).unwrap();
    assert!(summary.finished && summary.images_seen == 32);

    // As a kill leaves it: the checkpoint after 12 images, and an export and log that are ahead of it.
    assert!(pretrain(&dataset, &parts, true, None, &[]).is_err(), "there is nothing to resume yet");
    pretrain(&dataset, &parts, false, None, &[("training.keep_checkpoints", "0")]).unwrap();
    for step in [24, 32] {
        std::fs::remove_dir_all(parts.join(format!("checkpoints/step-{step}"))).unwrap();
    }
    std::fs::write(parts.join("model/model.safetensors"), b"").unwrap();
    // Stopped before the first step of a session, then to the end.
    let keep = [("training.keep_checkpoints", "0")];
    let stopped = pretrain(&dataset, &parts, true, Some(0.0), &keep).unwrap();
    assert!(!stopped.finished && stopped.images_seen == 12);
    let summary = pretrain(&dataset, &parts, true, None, &keep).unwrap();
    assert_eq!(summary.images_seen, 32);
    assert!(exported(&whole) == exported(&parts), "the exported encoders differ");

    let rows = MetricsLog::read(parts.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = rows.iter().map(|row| row["images_seen"].as_u64().unwrap()).collect();
    assert_eq!(steps, [8, 16, 24, 32]);
    for name in ["loss", "teacher_entropy", "divergence", "embedding_std", "effective_rank", "koleo", "knn_accuracy"] {
        assert!(rows[3][name].as_f64().is_some_and(f64::is_finite), "{name} is missing");
    }
    let error = pretrain(&dataset, &parts, false, None, &keep).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    let error = pretrain(&dataset, &parts, true, None, &[("optimiser.learning_rate", "1")]).unwrap_err().to_string();
    assert!(error.contains("optimiser.learning_rate"), "{error}");
}

#[test]
fn a_run_begins_at_the_weights_of_a_given_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let [given, adapted] = ["given", "adapted"].map(|name| folder.path().join(name));
    // Made for larger images; its position embeddings are resampled.
    let config = VitConfig { num_hidden_layers: 2, ..VitConfig::tiny(16, 96) };
    let encoder = randomise(config.init(&Device::flex()), Initialisation::TruncatedNormal(0.1), 5);
    encoder.save(&given).unwrap();
    // A rate of nothing, so that the teacher stays what it was; the loss needs some steps all the same.
    let still = [("optimiser.learning_rate", "1e-30"), ("optimiser.final_learning_rate", "0")];
    pretrain_from(Some(&given), &dataset, &adapted, false, None, &still).unwrap();
    let found = Vit::load(&adapted.join("model"), &Device::flex()).unwrap();
    assert_eq!(found.config().image_size, SIZE);
    let images = Tensor::random([2, SIZE, SIZE, 3], Distribution::Default, &Device::flex());
    let [found, expected] = [found, encoder]
        .map(|network| network.forward(images.clone()).class_token().into_data().iter::<f32>().collect::<Vec<_>>());
    let error = found.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(error < 1e-5, "{error}");

    let other = [("network.num_layers", "3")];
    let error = pretrain_from(Some(&given), &dataset, &folder.path().join("x"), false, None, &other).unwrap_err();
    assert!(error.to_string().contains("2 layers") && error.to_string().contains("3 layers"), "{error}");
}

#[test]
fn the_run_is_an_encoder_for_other_stages() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = phantoms(folder.path());
    let run = folder.path().join("dino");
    pretrain(&dataset, &run, false, None, &[("training.total_images", "8"), ("views.num_local", "0")]).unwrap();

    let picture = folder.path().join("picture.png");
    let pixels = Dataset::open(&dataset).unwrap().image(3).unwrap();
    radiograph::write_png_u8(&picture, &pixels, SIZE, SIZE).unwrap();
    let out = folder.path().join("embeddings.safetensors");
    let config = EmbedConfig {
        encoder: run.clone(),
        images: vec![picture],
        out: out.clone(),
        batch_size: 1,
        fit: Default::default(),
    };
    assert_eq!(embed::run(&config, &Device::flex(), &Silent).unwrap().dim, 192);
    let encoder = Vit::load(&run.join("model"), &Device::flex()).unwrap();
    assert_eq!(encoder.config().image_size, SIZE);
    let images = encoder.preprocessing().apply(&pixels, SIZE, SIZE, &Device::flex()).unwrap();
    let expected: Vec<f32> = encoder.forward(images).class_token().into_data().iter::<f32>().collect();
    assert_eq!(nets::Checkpoint::open(&out).unwrap().read("embeddings").unwrap().values, expected);

    let autoencoder = folder.path().join("autoencoder");
    let network = AutoencoderTinyConfig::demo().init(&Device::flex()).unwrap();
    randomise(network, Initialisation::FanInUniform, 1).save(&autoencoder).unwrap();
    let config = EncodeConfig {
        dataset: dataset.clone(),
        autoencoder: Some(autoencoder),
        encoder: Some(run.clone()),
        batch_size: 5,
    };
    assert_eq!(encode::run(&config, &Device::flex(), &Silent).unwrap().embedding_shape, Some(vec![1, 192]));
    let encodings = Dataset::open(&dataset).unwrap().list_encodings().unwrap();
    assert!(encodings.iter().any(|info| info.name == "embeddings.dino"), "named after the run, not after `model`");

    let inspection = inspect::run(&run).unwrap();
    assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);

    // A run that was killed before its first checkpoint says so.
    let young = folder.path().join("young");
    RunDir::create(&young, &settings::to_toml(&recipe(&[])).unwrap()).unwrap();
    let config = EncodeConfig { dataset, autoencoder: None, encoder: Some(young), batch_size: 5 };
    let error = encode::run(&config, &Device::flex(), &Silent).unwrap_err().to_string();
    assert!(error.contains("exported nothing yet"), "{error}");
}

#[test]
fn any_encoder_can_be_judged_beside_its_rivals() {
    let folder = tempfile::tempdir().unwrap();
    let config = EncoderConfig {
        dataset: phantoms(folder.path()),
        encoder: "random:vit-tiny/16".into(),
        autoencoder: Some("cxr-small-128".into()),
        source: None,
        negative: "even".into(),
        seed: 0,
        batch_size: 3,
        out: Some(folder.path().join("encoder.json")),
    };
    let summary = measured::run(&config, &Device::flex(), &Silent).unwrap();
    assert_eq!((summary.num_train, summary.num_val), ([8, 8], [4, 4]));
    let dims: Vec<usize> = summary.features.iter().map(|features| features.dim).collect();
    assert_eq!(dims, [192, 192, 192, 192, 4 * 4 * 16]);
    for features in &summary.features {
        for score in [&features.linear_probe, &features.nearest_neighbours] {
            assert!((0.0..=1.0).contains(&score.auc) && score.interval[0] <= score.interval[1], "{features:?}");
        }
    }
    // The encoder is random itself: its control is the very same network.
    let [own, control] = [&summary.features[0], &summary.features[1]];
    assert_eq!(own.linear_probe.auc, control.linear_probe.auc);
    assert!(config.out.as_ref().unwrap().is_file());
    let again = EncoderConfig { batch_size: 16, ..config.clone() };
    let again = measured::run(&again, &Device::flex(), &Silent).unwrap();
    assert_eq!(again.features[0].linear_probe.auc, own.linear_probe.auc, "batches change nothing");
    let error = EncoderConfig { negative: "none".into(), ..config };
    let error = measured::run(&error, &Device::flex(), &Silent).unwrap_err().to_string();
    assert!(error.contains("0 images with the label `none`"), "{error}");
}
