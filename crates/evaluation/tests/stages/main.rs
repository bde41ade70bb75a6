//! Training, resuming and generating on a handful of phantoms with tiny random networks: plumbing, not results.

mod augmentation;
mod features;
mod oblong;
mod segmentation;
mod views;

use dataset::{Dataset, DatasetSettings, DatasetWriter, ManifestRow, Provenance, Split};
use diffusion::interpolate::Interpolation;
use evaluation::features::FeatureChoice;
use evaluation::{
    conditioning::{self, ConditioningConfig},
    fidelity::{self, Distances, Drawn, FidelityConfig},
    memorisation::{self, MemorisationConfig},
};
use messages::Silent;
use nets::{
    autoencoder::AutoencoderTinyConfig,
    init::{Initialisation, randomise},
};
use stages::device;
use stages::encode;
use stages::generate::{self, GenerateConfig, PairRule, Strategy};
use stages::recipe::{self, Recipe};
use stages::train::{self, TrainConfig};
use std::path::{Path, PathBuf};

const SIZE: usize = 64;
const NUM_IMAGES: usize = 24;

/// Phantoms, encoded by an untrained autoencoder and an untrained ViT.
fn encoded_phantoms(folder: &Path) -> PathBuf {
    let out = folder.join("dataset");
    let mut settings = DatasetSettings::new(SIZE);
    settings.preparation.insert("fit".into(), "pad".into());
    let mut writer = DatasetWriter::create_or_resume(&out, settings).unwrap();
    for index in 0..NUM_IMAGES {
        let phantom = radiograph::Phantom::from_seed(1, index as u64).render(SIZE);
        let pixels = &phantom.radiograph.pixels;
        let row = ManifestRow {
            id: format!("phantom-{index:02}"),
            source_file: format!("{index}.png"),
            pixel_hash: dataset::pixels_hash(pixels, SIZE, SIZE),
            labels: vec![["even", "odd"][index % 2].into()],
            ..ManifestRow::bare(format!("patient-{index:02}"), if index < 16 { Split::Train } else { Split::Val })
        };
        // One mask says nothing.
        let mask = if index == NUM_IMAGES - 1 { vec![0; SIZE * SIZE] } else { phantom.lungs().pixels };
        writer.push(row, &radiograph::to_u8(pixels), Some(&mask)).unwrap();
    }
    writer.finish().unwrap();
    let cpu = device::parse("cpu").unwrap();
    let autoencoder = folder.join("autoencoder");
    let network = AutoencoderTinyConfig::demo().init(&cpu).unwrap();
    randomise(network, Initialisation::FanInUniform, 1).save(&autoencoder).unwrap();
    let config = encode::EncodeConfig {
        dataset: out.clone(),
        autoencoder: Some(autoencoder),
        encoder: Some("random:vit-tiny/16".into()),
        batch_size: 5,
    };
    let summary = encode::run(&config, &cpu, &Silent).unwrap();
    assert_eq!(summary.latent_shape, Some(vec![8, 8, 4]));
    assert_eq!(summary.embedding_shape, Some(vec![1, 192]));
    out
}

fn tiny_recipe(total_images: u64) -> Recipe {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let overrides = [
        set("unet.block_out_channels", "[32, 32]"),
        set("unet.attention_head_dim", "[2, 2]"),
        set("optimiser.batch_size", "8"),
        set("optimiser.accumulation_steps", "2"),
        set("training.total_images", &total_images.to_string()),
        set("training.log_every_images", "8"),
        set("training.checkpoint_every_images", "16"),
        set("training.sample_every_images", "0"),
        set("sampling.num_steps", "3"),
    ];
    recipe::resolve("demo-64", &overrides).unwrap()
}

fn train_to(total_images: u64, dataset: &Path, out: &Path, resume: bool) -> anyhow::Result<training::TrainingSummary> {
    train_by(tiny_recipe(total_images), dataset, out, resume)
}

fn train_by(recipe: Recipe, dataset: &Path, out: &Path, resume: bool) -> anyhow::Result<training::TrainingSummary> {
    let config = TrainConfig {
        dataset: dataset.into(),
        recipe,
        out: out.into(),
        resume,
        autoencoder: None,
        encoder: None,
        max_minutes: None,
    };
    train::run(&config, &device::parse("cpu").unwrap(), &Silent)
}

fn newest_checkpoint(run: &Path) -> Vec<Vec<u8>> {
    let checkpoint = dataset::RunDir::open(run).unwrap().checkpoints().latest().unwrap().unwrap();
    ["weights.safetensors", "optimiser.safetensors", "state.json"]
        .map(|name| std::fs::read(checkpoint.path.join(name)).unwrap())
        .to_vec()
}

fn generated(
    model: &Path,
    dataset: &Path,
    out: &Path,
    strategy: Strategy,
    batch_size: usize,
) -> (generate::GenerateSummary, Vec<u8>) {
    let config = GenerateConfig {
        model: model.into(),
        dataset: dataset.into(),
        out: out.into(),
        guidance_scale: (strategy != Strategy::Unconditional).then_some(2.0),
        strategy,
        split: Split::Val,
        num_images: Some(6),
        num_steps: None,
        sampler: None,
        seed: 3,
        batch_size,
        png_bits: Some(16),
        figure: true,
    };
    let summary = generate::run(&config, &device::parse("cpu").unwrap(), &Silent).unwrap();
    let synthetic = Dataset::open(out).unwrap();
    let rows: Vec<usize> = (0..synthetic.len()).collect();
    (summary, synthetic.images(&rows).unwrap())
}

/// Looking at fidelity changes no weight, is written down, and keeps the best model; a resumed run measures the same.
#[test]
fn fidelity_is_measured_on_the_way_and_the_best_model_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let [plain, watched, resumed] = ["plain", "watched", "resumed"].map(|name| folder.path().join(name));
    let recipe = |total_images| {
        let mut recipe = tiny_recipe(total_images);
        recipe.training.fidelity_every_images = 16;
        recipe.training.num_fidelity_images = 5;
        recipe
    };
    assert_eq!(train_to(32, &dataset, &plain, false).unwrap().best_images_seen, None);
    let summary = train_by(recipe(32), &dataset, &watched, false).unwrap();
    train_by(recipe(16), &dataset, &resumed, false).unwrap();
    train_by(recipe(32), &dataset, &resumed, true).unwrap();
    assert_eq!(newest_checkpoint(&plain), newest_checkpoint(&watched));
    let measured = |run: &Path| -> Vec<(u64, f64)> {
        let lines = dataset::MetricsLog::read(run.join("metrics.jsonl")).unwrap();
        let found = lines
            .iter()
            .filter_map(|line| Some((line["images_seen"].as_u64()?, line.get("fidelity/kernel_distance")?.as_f64()?)));
        found.collect()
    };
    let curve = measured(&watched);
    assert_eq!(curve.iter().map(|(seen, _)| *seen).collect::<Vec<_>>(), [16, 32]);
    assert_eq!(measured(&resumed), curve);
    let best = curve.iter().min_by(|left, right| left.1.total_cmp(&right.1)).unwrap().0;
    assert_eq!(summary.best_images_seen, Some(best));
    let opened = stages::model::Model::open(&watched.join("best"), &device::parse("cpu").unwrap()).unwrap();
    assert_eq!(opened.info.images_seen, best);
}

#[test]
fn a_resumed_run_ends_with_the_same_bytes_and_generation_does_not_depend_on_the_batch_size() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let summary = train_to(64, &dataset, &whole, false).unwrap();
    assert!(summary.finished && summary.images_seen == 64 && summary.loss.is_some_and(f64::is_finite));
    train_to(32, &dataset, &parts, false).unwrap();
    // What a kill in the middle of the next checkpoint leaves behind.
    std::fs::create_dir_all(parts.join("checkpoints/step-48")).unwrap();
    std::fs::write(parts.join("checkpoints/step-48/weights.safetensors"), b"cut short").unwrap();
    train_to(64, &dataset, &parts, true).unwrap();
    assert_eq!(newest_checkpoint(&whole), newest_checkpoint(&parts));

    let reconstruct = Strategy::Reconstruct { variants: 2 };
    let (one, pictures_one) = generated(&whole, &dataset, &folder.path().join("one"), reconstruct.clone(), 1);
    let (_, pictures_many) = generated(&whole, &dataset, &folder.path().join("many"), reconstruct, 5);
    assert_eq!(one.num_images, 6);
    assert_eq!(pictures_one, pictures_many);
    assert!(one.figure.unwrap().is_file());
    assert!(folder.path().join("one/png/reconstruction-000005.png").is_file());

    let interpolate = Strategy::Interpolate {
        pairs: PairRule::Label,
        fractions: vec![0.25, 0.5, 0.75],
        interpolation: Interpolation::Slerp,
    };
    generated(&whole, &dataset, &folder.path().join("mixed"), interpolate, 4);
    let row = &Dataset::open(folder.path().join("mixed")).unwrap().rows_at(&[1]).unwrap()[0];
    let provenance = row.provenance.as_ref().unwrap();
    assert_eq!((provenance.source_ids.len(), provenance.fraction), (2, Some(0.5)));
    assert_eq!(row.labels.len(), 1, "both ends have the same label, and the mixture inherits it");

    let free = folder.path().join("free");
    let (summary, pictures) = generated(&whole, &dataset, &free, Strategy::Unconditional, 4);
    assert_eq!((summary.num_images, summary.source_brightness), (6, None));
    // Whether a condition changes the picture is not to be seen here: these networks have hardly been trained.
    assert!(summary.figure.unwrap().is_file() && pictures.len() == pictures_one.len());
    let row = &Dataset::open(&free).unwrap().rows_at(&[1]).unwrap()[0];
    assert!(row.labels.is_empty() && row.provenance.as_ref().unwrap().source_ids.is_empty(), "{row:?}");

    let conditioning = ConditioningConfig {
        real: dataset.clone(),
        synthetic: folder.path().join("one"),
        features: FeatureChoice::Encoder(whole.clone()),
        seed: 0,
        out: None,
    };
    let followed = conditioning::run(&conditioning, &device::parse("cpu").unwrap(), &Silent).unwrap();
    // An untrained network follows nothing; real images are their own nearest.
    assert!(followed.num_images > 0 && followed.top_1 <= followed.top_5 && followed.chance > 0.0, "{followed:?}");
    assert_eq!(followed.num_unconditional, 0);
    let control = ConditioningConfig { synthetic: free.clone(), ..conditioning.clone() };
    let control = conditioning::run(&control, &device::parse("cpu").unwrap(), &Silent).unwrap();
    assert_eq!((control.num_images, control.num_unconditional), (6, 6));
    let refused = ConditioningConfig { synthetic: dataset.clone(), ..conditioning };
    let refused = conditioning::run(&refused, &device::parse("cpu").unwrap(), &Silent).unwrap_err().to_string();
    assert!(refused.contains("generate ... reconstruct"), "{refused}");

    let mut fidelity = FidelityConfig {
        real: dataset.clone(),
        synthetic: vec![folder.path().join("one"), folder.path().join("mixed"), free.clone()],
        features: FeatureChoice::Encoder(whole),
        reference_split: Split::Train,
        held_out_split: Split::Val,
        seed: 0,
        statistics: None,
        out: Some(folder.path().join("fidelity.json")),
    };
    let cpu = device::parse("cpu").unwrap();
    let found = fidelity::run(&fidelity, &cpu, &Silent).unwrap();
    assert_eq!((found.num_images, found.num_reference, found.dim), (6, Some(16), 192));
    assert!(found.note.as_ref().unwrap().contains("6 images"));
    // Reconstructions, interpolations and free images beside the same floor.
    let sets: Vec<_> = found.synthetic.iter().map(|set| (set.name.as_str(), set.drawn)).collect();
    assert_eq!(
        sets,
        [("one", Drawn::Reconstructions), ("mixed", Drawn::Interpolations), ("free", Drawn::Unconditional)]
    );
    let floor = found.held_out.unwrap();
    let by_images = |distances: &Distances| distances.by_images.unwrap();
    for set in &found.synthetic {
        // Noise from untrained networks against phantoms from the distribution of the reference.
        let (own, floor_by_images) = (by_images(&set.distances), by_images(&floor));
        assert!(own.kernel_distance > floor_by_images.kernel_distance, "{set:?}");
        assert!(set.distances.frechet_distance > floor.frechet_distance, "{set:?}");
        assert!(own.precision.value <= floor_by_images.precision.value, "{set:?}");
        assert_eq!(set.drift.is_some(), set.drawn == Drawn::Reconstructions, "{set:?}");
    }
    let written = std::fs::read_to_string(folder.path().join("fidelity.json")).unwrap();
    assert!(written.contains("\"num_images\": 6") && written.contains("\"drawn\": \"interpolations\""), "{written}");
    let drift = found.synthetic[0].drift.as_ref().unwrap();
    assert!(drift.num_images == 6 && drift.left_right_consistency.interval[0] < 1.0, "{drift:?}");
    // The reference's own images cannot be told from it.
    fidelity.synthetic = vec![dataset];
    let own = fidelity::run(&fidelity, &cpu, &Silent).unwrap();
    let [own, noise] = [&own, &found].map(|found| by_images(&found.synthetic[0].distances).kernel_distance);
    assert!(own < noise, "{own} {noise}");
}

#[test]
fn a_condition_counts_as_followed_where_its_own_source_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let real = Dataset::open(&dataset).unwrap();
    let rows = real.indices(Split::Val).unwrap();
    // Copies of the validation images that say that they come from the image `step` places on.
    let judge = |step: usize| {
        let out = folder.path().join(format!("copies-{step}"));
        let mut writer = DatasetWriter::create_or_resume(&out, DatasetSettings::new(SIZE)).unwrap();
        for (place, index) in rows.iter().enumerate() {
            let source = &real.rows_at(&[rows[(place + step) % rows.len()]]).unwrap()[0];
            let provenance = Provenance { source_ids: vec![source.id.clone()], ..Provenance::default() };
            let mut row = real.rows_at(&[*index]).unwrap().remove(0);
            row.provenance = Some(provenance);
            writer.push(row, &real.image(*index).unwrap(), None).unwrap();
        }
        writer.finish().unwrap();
        let features = "random:vit-tiny/16".parse().unwrap();
        let config = ConditioningConfig { real: dataset.clone(), synthetic: out, features, seed: 0, out: None };
        conditioning::run(&config, &device::parse("cpu").unwrap(), &Silent).unwrap()
    };
    let (followed, ignored) = (judge(0), judge(1));
    assert_eq!((followed.num_images, followed.mean_candidates, followed.chance), (8, 8.0, 0.125));
    assert_eq!((followed.top_1, followed.top_5, followed.top_1_interval), (1.0, 1.0, [1.0, 1.0]));
    assert!((followed.similarity - 1.0).abs() < 1e-6 && followed.similarity_to_another < followed.similarity);
    assert_eq!(ignored.top_1, 0.0);
    assert!(ignored.similarity < followed.similarity);
}

#[test]
fn copies_of_training_images_are_found_and_other_real_images_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let real = Dataset::open(&dataset).unwrap();
    // Images of a split, all said to be drawn from its first one.
    let audit = |split: Split, name: &str| {
        let rows = real.indices(split).unwrap();
        let out = folder.path().join(name);
        let mut writer = DatasetWriter::create_or_resume(&out, DatasetSettings::new(SIZE)).unwrap();
        let first = real.rows_at(&rows[..1]).unwrap()[0].id.clone();
        for index in &rows {
            let mut row = real.rows_at(&[*index]).unwrap().remove(0);
            row.provenance = Some(Provenance { source_ids: vec![first.clone()], ..Provenance::default() });
            writer.push(row, &real.image(*index).unwrap(), None).unwrap();
        }
        writer.finish().unwrap();
        let config = MemorisationConfig {
            real: dataset.clone(),
            synthetic: out,
            features: "random:vit-tiny/16".parse().unwrap(),
            held_out_split: Split::Val,
            seed: 0,
            out: folder.path().join(format!("{name}-audit")),
        };
        memorisation::run(&config, &device::parse("cpu").unwrap(), &Silent).unwrap()
    };
    let copies = audit(Split::Train, "copies");
    for nearness in [&copies.embeddings, &copies.pixels] {
        assert!(nearness.synthetic.least < 1e-6 && nearness.authentic_percentage.value == 0.0, "{nearness:?}");
        // The first image is a copy of its seed alone.
        let share = (copies.num_train - 1) as f64 / copies.num_train as f64;
        assert!(nearness.synthetic.share_near.value >= share, "{nearness:?}");
        assert!(nearness.held_out.mean.value > nearness.synthetic.mean.value);
        assert!(nearness.to_seed.unwrap().value > 0.0);
    }
    assert!(copies.picture.is_file() && copies.picture.with_file_name("memorisation.json").is_file());
    // Held-out images against themselves: no difference at all.
    let honest = audit(Split::Val, "honest");
    for nearness in [&honest.embeddings, &honest.pixels] {
        assert!(nearness.synthetic.mean == nearness.held_out.mean && nearness.synthetic.least > 0.0, "{nearness:?}");
        assert!(nearness.to_seed.is_none(), "the seed is no training image");
        assert!(nearness.authentic_percentage.value > 0.0);
    }
}

#[test]
fn resuming_with_another_recipe_or_over_an_existing_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let run = folder.path().join("run");
    let error = train_to(16, &dataset, &run, true).unwrap_err().to_string();
    assert!(error.contains("no run to continue"), "{error}");
    train_to(16, &dataset, &run, false).unwrap();
    let error = train_to(16, &dataset, &run, false).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    let mut other = TrainConfig {
        dataset,
        recipe: tiny_recipe(16),
        out: run,
        resume: true,
        autoencoder: None,
        encoder: None,
        max_minutes: None,
    };
    other.recipe.optimiser.learning_rate = 0.5;
    let error = train::run(&other, &device::parse("cpu").unwrap(), &Silent).unwrap_err().to_string();
    assert!(error.contains("`optimiser.learning_rate` is 0.5"), "{error}");
}
