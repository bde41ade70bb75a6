//! Every kind of thing, sound and damaged.

use super::*;
use burn::tensor::Device;
use nets::encoder::{EncoderConfig, Size};
use std::path::PathBuf;

fn value<'a>(inspection: &'a Inspection, label: &str) -> &'a str {
    let line = inspection.lines.iter().find(|line| line.label == label);
    line.map_or_else(|| panic!("there is no line `{label}`: {inspection:?}"), |line| line.value.as_str())
}

fn encoder(folder: &Path) -> PathBuf {
    let path = folder.join("encoder");
    let config = EncoderConfig::of_size(Size::Tiny, 16, 32).with_num_layers(1);
    config.init(&Device::flex()).save(&path, false).unwrap();
    path
}

#[test]
fn networks_are_named_counted_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = encoder(folder.path());
    let inspection = run(&path).unwrap();
    assert_eq!(inspection.kind, Kind::Network);
    assert!(inspection.is_sound(), "{inspection:?}");
    assert_eq!(value(&inspection, "parameters"), "594,048");
    assert_eq!(run(&path.join("config.json")).unwrap(), inspection);

    let weights = path.join("model.safetensors");
    let tensors = run(&weights).unwrap();
    assert_eq!(tensors.kind, Kind::Tensors);
    assert!(tensors.is_sound());
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!run(&weights).unwrap().is_sound());
    let inspection = run(&path).unwrap();
    assert!(inspection.problems[0].contains("cut short"), "{inspection:?}");
}

#[test]
fn numbers_that_are_none_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut checkpoint = nets::Checkpoint::default();
    checkpoint.insert("a", nets::HostTensor { shape: vec![3], values: vec![0.0, f32::NAN, f32::INFINITY] });
    checkpoint.save(&path, false, None).unwrap();
    let inspection = run(&path).unwrap();
    assert!(inspection.problems[0].contains("`a` has 2 values"), "{inspection:?}");
    assert_eq!(value(&inspection, "a"), "F32 [3]");
}

#[test]
fn pictures_tell_their_size_and_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.dat");
    radiograph::write_png_u8(&path, &(0..60).collect::<Vec<u8>>(), 6, 10).unwrap();
    let inspection = run(&path).unwrap();
    assert_eq!((inspection.kind, inspection.is_sound()), (Kind::Image, true));
    assert_eq!(value(&inspection, "size"), "6 x 10 (height x width)");
    assert_eq!(value(&run(folder.path()).unwrap(), "images"), "1 by their first bytes");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..40]).unwrap();
    assert!(!run(&path).unwrap().is_sound());
}

#[test]
fn the_unknown_is_said_to_be_unknown() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path()).unwrap().kind, Kind::Unknown);
    let path = folder.path().join("notes.txt");
    fs::write(&path, "hello").unwrap();
    let inspection = run(&path).unwrap();
    assert_eq!((inspection.kind, inspection.problems.len()), (Kind::Unknown, 1));
    assert!(run(&folder.path().join("missing")).is_err());
    fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    assert!(run(folder.path()).unwrap().problems[0].contains("bert is not used"));
}

#[test]
fn runs_and_unfinished_datasets_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    dataset::RunDir::create(&path, "[train]\nbatch_size = 2\n").unwrap();
    fs::write(path.join("metrics.jsonl"), "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"lo").unwrap();
    let inspection = run(&path).unwrap();
    assert_eq!((inspection.kind, inspection.is_sound()), (Kind::Run, true));
    assert_eq!(value(&inspection, "metrics"), "1 lines");
    assert_eq!(value(&inspection, "checkpoints"), "none yet");
    fs::write(path.join("recipe.toml"), "[train").unwrap();
    assert!(run(&path).unwrap().problems[0].contains("recipe.toml"));

    let dataset = folder.path().join("dataset");
    fs::create_dir(&dataset).unwrap();
    fs::write(dataset.join("dataset.toml"), "version = 1").unwrap();
    let inspection = run(&dataset).unwrap();
    assert_eq!((inspection.kind, inspection.is_sound()), (Kind::Dataset, false));
}

#[test]
fn numbers_are_grouped() {
    assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}

/// Three images in shards of two, with encodings.
fn dataset_with_encodings(path: &Path) -> PathBuf {
    let settings = dataset::DatasetSettings { shard_size: 2, ..dataset::DatasetSettings::new(4) };
    let mut writer = dataset::DatasetWriter::create_or_resume(path, settings).unwrap();
    for index in 0..3_u8 {
        let row = dataset::ManifestRow {
            id: format!("image-{index}"),
            source_file: format!("{index}.png"),
            pixel_hash: dataset::pixels_hash(&[f32::from(index) / 3.0; 16], 4, 4),
            labels: vec!["normal".into()],
            ..dataset::ManifestRow::bare(format!("patient-{index}"), dataset::Split::Train)
        };
        writer.push(row, &[index; 16], None).unwrap();
    }
    let dataset = writer.finish().unwrap();
    let specs = [dataset::TensorSpec::new("embeddings", [1, 2])];
    let writer = dataset.write_encodings("embeddings.test", "0123456789ab", &specs).unwrap();
    for shard in writer.pending() {
        let values = vec![0.5; dataset.shard_range(shard).len() * 2];
        writer.write_shard(shard, &[&values]).unwrap();
    }
    writer.finish().unwrap();
    path.join("encodings/embeddings.test-0123456789ab")
}

#[test]
fn datasets_and_their_encodings_are_read_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset");
    let encodings = dataset_with_encodings(&path);
    let inspection = run(&path).unwrap();
    assert!(inspection.is_sound(), "{inspection:?}");
    assert_eq!(value(&inspection, "images"), "3 of 4 px");
    assert_eq!(value(&inspection, "encodings embeddings.test"), "embeddings [1, 2] by 0123456789ab");
    assert_eq!(run(&path.join("dataset.toml")).unwrap(), inspection);
    let manifest = run(&path.join("manifest.parquet")).unwrap();
    assert_eq!((manifest.kind, value(&manifest, "train")), (Kind::Manifest, "3"));
    let alone = run(&encodings).unwrap();
    assert_eq!((alone.kind, alone.is_sound()), (Kind::Encodings, true));

    let shard = fs::read_dir(&encodings).unwrap().map(|entry| entry.unwrap().path());
    let shard = shard.filter(|path| path.extension().is_some_and(|found| found == "safetensors")).max().unwrap();
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 2]).unwrap();
    assert!(!run(&encodings).unwrap().is_sound());
    assert!(!run(&path).unwrap().is_sound());
    fs::remove_file(path.join("images-00001.safetensors")).unwrap();
    assert!(run(&path).unwrap().problems[0].contains("images-00001.safetensors"));
}

#[test]
fn a_model_that_is_cut_short_lists_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.json"), "{\"version\": 1}").unwrap();
    let inspection = run(folder.path()).unwrap();
    assert_eq!((inspection.kind, inspection.problems.len()), (Kind::Model, 1));
    assert!(inspection.problems[0].contains("settings are damaged"), "{inspection:?}");
}
