//! Networks: which one it is, how large, and whether all its tensors are there and fit.

use super::{Inspection, Kind, grouped};
use burn::{module::Module, tensor::Device};
use nets::{
    Checkpoint,
    autoencoder::Autoencoder,
    backbone::Backbone,
    encoder::{Encoder, Resize},
};
use serde_json::{Map, Value};
use std::{fs, path::Path};

/// What a folder holds: one network, or nothing known.
pub(super) fn network(path: &Path) -> Option<Inspection> {
    let mut inspection = Inspection::new(Kind::Network);
    let is_raw_autoencoder = Autoencoder::is_raw(path);
    let config_path = path.join("config.json");
    if !config_path.is_file() {
        return if is_raw_autoencoder {
            autoencoder(&mut inspection, path);
            Some(inspection)
        } else {
            has_weights(path).then(|| encoder_file(path))
        };
    }
    let text = inspection.check(fs::read(&config_path));
    let fields = text.and_then(|text| inspection.check(serde_json::from_slice::<Map<String, Value>>(&text)));
    let Some(fields) = fields else {
        inspection.problem(format!("its configuration is damaged: {}", config_path.display()));
        return Some(inspection);
    };
    let text_of = |field: &str| fields.get(field).and_then(Value::as_str);
    match (text_of("_class_name"), text_of("model_type")) {
        (Some(class), _) if Backbone::is_class(class) => backbone(&mut inspection, path),
        (Some("AutoencoderKL" | "AutoencoderTiny"), _) => autoencoder(&mut inspection, path),
        (None, Some(model_type)) if Encoder::is_model_type(model_type) => encoder(&mut inspection, path),
        (class, model_type) => {
            let name = class.or(model_type).unwrap_or("a network without a name");
            inspection.line("network", name);
            inspection.problem(format!("{name} is not used by this program"));
        }
    }
    Some(inspection)
}

/// A folder of diffusers with several networks.
pub(super) fn pipeline(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Network);
    inspection.line("layout", "diffusers pipeline");
    for part in ["unet", "vae"] {
        if path.join(part).is_dir() {
            add_part(&mut inspection, part, &path.join(part));
        }
    }
    if inspection.lines.len() == 1 {
        inspection.problem("it holds neither `unet` nor `vae`");
    }
    inspection
}

/// Adds the facts and problems of a network in a subfolder, named after it.
pub(super) fn add_part(inspection: &mut Inspection, name: &str, path: &Path) {
    let Some(part) = path.is_dir().then(|| network(path)).flatten() else {
        inspection.problem(format!("its {name} is missing"));
        return;
    };
    for line in part.lines {
        inspection.line(format!("{name} {}", line.label), line.value);
    }
    for problem in part.problems {
        inspection.problem(format!("{name}: {problem}"));
    }
}

/// An encoder in a file of its own, or in a folder without configuration.
pub(super) fn encoder_file(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Network);
    encoder(&mut inspection, path);
    inspection
}

/// Says so where a safetensors file is an encoder in the layout of the original DINO code.
pub(super) fn describe_original(inspection: &mut Inspection, path: &Path, checkpoint: &Checkpoint) {
    if checkpoint.keys().any(|key| key.ends_with("blocks.0.attn.qkv.weight")) {
        inspection.kind = Kind::Network;
        encoder(inspection, path);
    }
}

fn has_weights(path: &Path) -> bool {
    let known = ["safetensors", "pth", "pt", "bin"];
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_weights = |path: &Path| path.extension().is_some_and(|found| known.iter().any(|known| found == *known));
    entries.filter(|entry| is_weights(&entry.path())).count() == 1
}

fn encoder(inspection: &mut Inspection, path: &Path) {
    let Some(encoder) = inspection.check(Encoder::load(path, &Device::flex())) else { return };
    for (name, value) in encoder.description() {
        inspection.line(name, value);
        if name == "network" {
            inspection.line("parameters", grouped(encoder.num_params()));
        }
    }
    let preprocessing = encoder.preprocessing();
    let resize = match preprocessing.resize {
        None => "keeps the size".to_owned(),
        Some(Resize::Exact([height, width])) => format!("resizes to {height} x {width}"),
        Some(Resize::ShortestEdge(edge)) => format!("resizes the shorter side to {edge}"),
    };
    let crop = preprocessing.crop.map_or(String::new(), |[height, width]| format!(", cuts out {height} x {width}"));
    let (mean, deviation) = (preprocessing.mean, preprocessing.deviation);
    inspection.line("preprocessing", format!("{resize}{crop}; mean {mean:?}, deviation {deviation:?}"));
    let oblong = match (preprocessing.resize, preprocessing.crop) {
        (Some(Resize::Exact([height, width])), None) => format!("stretched to {height} x {width}"),
        (Some(Resize::Exact([height, width])), Some(crop)) => {
            format!("stretched to {height} x {width}, cropped to {} x {}", crop[0], crop[1])
        }
        (_, Some([height, width])) => format!("keep their aspect, cropped to the central {height} x {width}"),
        (_, None) => "keep their aspect".to_owned(),
    };
    inspection.line("images not square", format!("{oblong} (`embed --fit` chooses otherwise)"));
    inspection.line("tensors", "all there, none too many, shapes fit");
}

fn autoencoder(inspection: &mut Inspection, path: &Path) {
    let Some(autoencoder) = inspection.check(Autoencoder::load(path, &Device::flex())) else { return };
    inspection.line("network", "autoencoder");
    inspection.line("parameters", grouped(autoencoder.num_params()));
    let (factor, channels) = (autoencoder.downsampling_factor(), autoencoder.latent_channels());
    inspection.line("latents", format!("1/{factor} of the side, {channels} channels"));
    inspection.line("tensors", "all there, none too many, shapes fit");
}

fn backbone(inspection: &mut Inspection, path: &Path) {
    let Some(network) = inspection.check(Backbone::load(path, &Device::flex())) else { return };
    for (name, value) in network.description() {
        inspection.line(name, value);
        if name == "network" {
            inspection.line("parameters", grouped(network.num_params()));
        }
    }
    inspection.line("tensors", "all there, none too many, shapes fit");
}
