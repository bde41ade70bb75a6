//! What the stages of this program leave behind: datasets, encodings, runs and models.

use super::{Inspection, Kind, grouped, network};
use anyhow::Context;
use dataset::{Dataset, EncodingsInfo, RunDir};
use ingest::compare::across_splits;
use nets::Checkpoint;
use std::{fs, path::Path};

pub(super) fn dataset(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Dataset);
    let Some(dataset) = inspection.check(Dataset::open(path)) else { return inspection };
    let info = dataset.info();
    inspection.line("images", format!("{} of {} px", grouped(dataset.len()), dataset.image_size()));
    inspection.line("splits", info.counts);
    inspection.line("masks", grouped(info.num_masks));
    if !info.labels.is_empty() {
        inspection.line("labels", info.labels.join(", "));
    }
    for (collection, count) in &info.collections {
        inspection.line(format!("from {collection}"), grouped(*count));
    }
    inspection.line("shards", format!("{} of {} images", dataset.num_shards(), grouped(info.shard_size)));
    inspection.line("fingerprint", dataset.fingerprint());
    if let Some(near) = inspection.check(across_splits(&dataset)) {
        let example = near.examples.first().map_or_else(String::new, |example| format!(" (for example {example})"));
        inspection.line("near duplicates", format!("{} across splits{example}", grouped(near.count)));
    }
    for problem in dataset.verify() {
        inspection.problem(problem.0);
    }
    for encodings in inspection.check(dataset.list_encodings()).unwrap_or_default() {
        add_encodings(&mut inspection, &dataset, &encodings);
    }
    inspection
}

/// Encodings that are unfinished are a problem; a finished set is read through.
fn add_encodings(inspection: &mut Inspection, dataset: &Dataset, info: &EncodingsInfo) {
    let shapes: Vec<String> = info.tensors.iter().map(|spec| format!("{} {:?}", spec.name, spec.shape)).collect();
    inspection.line(format!("encodings {}", info.name), format!("{} by {}", shapes.join(", "), info.fingerprint));
    let Some(reader) = inspection.check(dataset.encodings(&info.name, &info.fingerprint)) else { return };
    for shard in 0..dataset.num_shards() {
        let rows: Vec<usize> = dataset.shard_range(shard).collect();
        for spec in &info.tensors {
            let Some(values) = inspection.check(reader.gather(&spec.name, &rows)) else { return };
            let num_bad = values.iter().filter(|value| !value.is_finite()).count();
            if num_bad > 0 {
                inspection.problem(format!(
                    "encodings {}: {num_bad} values of `{}` in shard {shard} are not finite numbers; \
                     delete the encodings and make them again",
                    info.name, spec.name
                ));
            }
        }
    }
}

pub(super) fn encodings(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Encodings);
    let info_path = path.join("encodings.toml");
    let Some(text) = inspection.check(fs::read_to_string(&info_path)) else { return inspection };
    let parsed = toml::from_str::<EncodingsInfo>(&text).with_context(|| format!("damaged: {}", info_path.display()));
    let Some(info) = inspection.check(parsed) else { return inspection };
    inspection.line("name", &info.name);
    inspection.line("network", &info.fingerprint);
    inspection.line("dataset", &info.dataset_fingerprint);
    // They lie in `encodings/` of their dataset; elsewhere they cannot be checked.
    let resolved = path.canonicalize().ok();
    let Some(dataset_dir) = resolved.as_deref().and_then(Path::parent).and_then(Path::parent) else {
        return inspection;
    };
    if Dataset::is_dataset(dataset_dir) {
        if let Some(dataset) = inspection.check(Dataset::open(dataset_dir)) {
            add_encodings(&mut inspection, &dataset, &info);
        }
    } else {
        inspection.problem("their dataset is not where it should be, two folders above; copy the whole dataset");
    }
    inspection
}

pub(super) fn run(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Run);
    let Some(run) = inspection.check(RunDir::open(path)) else { return inspection };
    if let Some(recipe) = inspection.check(run.recipe()) {
        match recipe.parse::<toml::Table>() {
            Ok(table) => inspection.line("recipe", format!("{} sections: {}", table.len(), keys(&table))),
            Err(error) => inspection.problem(format!("recipe.toml is damaged: {}", error.message())),
        }
    }
    metrics(&mut inspection, &run.metrics_path());
    let checkpoints = inspection.check(run.checkpoints().list()).unwrap_or_default();
    match checkpoints.last() {
        None => inspection.line("checkpoints", "none yet"),
        Some(latest) => {
            inspection.line(
                "checkpoints",
                format!("{}, latest at step {}", checkpoints.len(), grouped(latest.step as usize)),
            );
        }
    }
    if run.model_dir().join("config.json").is_file() {
        network::add_part(&mut inspection, "network", &run.model_dir());
    } else if run.model_dir().is_dir() {
        let model = model(&run.model_dir());
        for line in model.lines {
            inspection.line(format!("model {}", line.label), line.value);
        }
        for problem in model.problems {
            inspection.problem(format!("model: {problem}"));
        }
    } else {
        inspection.line("model", "none exported yet");
    }
    inspection
}

fn keys(table: &toml::Table) -> String {
    table.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// The last line of the metrics; one that is cut short is what a kill leaves behind and no problem.
fn metrics(inspection: &mut Inspection, path: &Path) {
    if !path.is_file() {
        return inspection.line("metrics", "none yet");
    }
    let Some(text) = inspection.check(fs::read_to_string(path)) else { return };
    let sound: Vec<serde_json::Map<String, serde_json::Value>> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    inspection.line("metrics", format!("{} lines", grouped(sound.len())));
    if let Some(last) = sound.last() {
        let values: Vec<String> = last.iter().map(|(key, value)| format!("{key} {value}")).collect();
        inspection.line("last metrics", values.join(", "));
    }
    let num_damaged = text.lines().count() - sound.len();
    if num_damaged > 1 {
        inspection.problem(format!("{num_damaged} lines of metrics.jsonl are damaged"));
    }
}

pub(super) fn model(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Model);
    let Some(info) = inspection.check(crate::model::read_info(path)) else { return inspection };
    inspection.line("images", format!("{} px", info.image_size));
    inspection.line("latents", format!("{:?} (height, width, channels)", info.latent_shape));
    inspection.line("condition", format!("{:?} (tokens, dim)", info.condition_shape));
    inspection.line("images seen", grouped(info.images_seen as usize));
    inspection.check(info.preconditioning());
    let null_condition = Checkpoint::open(&path.join("null_condition.safetensors"))
        .and_then(|checkpoint| checkpoint.read("null_condition"));
    if let Some(tensor) = inspection.check(null_condition)
        && tensor.shape != info.condition_shape
    {
        inspection.problem(format!(
            "the null condition has shape {:?}, `model.json` says {:?}",
            tensor.shape, info.condition_shape
        ));
    }
    let backbone = crate::model::backbone_folder(path);
    for part in [backbone, path.join("autoencoder"), path.join("encoder")] {
        let name = part.file_name().unwrap_or_default().to_string_lossy();
        network::add_part(&mut inspection, &name, &part);
    }
    inspection
}
