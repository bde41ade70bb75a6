//! The feature networks against torchxrayvision and pytorch-fid, and their preprocessing against scikit-image and PyTorch;
//! `golden/features/generate.py` made the numbers. Weights and pixels come from a formula that both sides know.

mod common;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use common::{relative_error, values};
use nets::{
    Checkpoint, HostTensor,
    features::{DenseNet, DenseNetConfig, Inception, MOMENTUM, inception_input, resize_bilinear, resize_smoothed},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/features").join(name)
}

fn case(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(&format!("{name}.json"))).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn size(value: &Value) -> [usize; 2] {
    [0, 1].map(|axis| value[axis].as_u64().unwrap() as usize)
}

fn assert_agrees(ours: &[f32], theirs: &[f32], what: &str) {
    let error = relative_error(ours, theirs);
    assert!(error <= TOLERANCE, "{what}: relative error {error:e}");
}

/// The generator's `uniform`: SplitMix64 from the FNV-1a hash of a name, in -1..1.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (1..=count as u64).map(move |place| {
        let mut mixed = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        2.0 * ((mixed >> 11) as f64 / (1u64 << 53) as f64) - 1.0
    })
}

/// The generator's `pixels`, in 0..=1.
fn pixels(name: &str, [height, width]: [usize; 2]) -> Vec<f32> {
    uniform(name, height * width).map(|value| ((value + 1.0) * 128.0).floor() as f32 / 255.0).collect()
}

/// The generator's weights in place of those of a state dict.
fn filled(state: &Checkpoint) -> Checkpoint {
    let mut filled = Checkpoint::default();
    for name in state.keys() {
        let shape = state.shape(name).unwrap().to_vec();
        let fan_in: usize = shape[1..].iter().product();
        let value = |uniform: f64| match shape.len() {
            1 if name.ends_with("running_var") => 1.0 + 0.5 * uniform,
            1 if name.ends_with("weight") => 1.0 + 0.3 * uniform,
            1 => 0.2 * uniform,
            _ => uniform * (6.0 / fan_in as f64).sqrt(),
        };
        let values = uniform(name, shape.iter().product()).map(|uniform| value(uniform) as f32).collect();
        filled.insert(name, HostTensor { shape: shape.clone(), values });
    }
    filled
}

/// The generator's `names_of`.
fn names_of(state: &Checkpoint) -> String {
    let lines: Vec<String> = state.keys().map(|name| format!("{name} {:?}", state.shape(name).unwrap())).collect();
    Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn saved(state: &Checkpoint, folder: &Path) -> PathBuf {
    let path = folder.join("network.safetensors");
    state.save(&path, false, None).unwrap();
    path
}

fn dense_config(case: &Value) -> DenseNetConfig {
    let number = |key: &str| case["config"][key].as_u64().unwrap() as usize;
    DenseNetConfig {
        growth_rate: number("growth_rate"),
        block_config: numbers(&case["config"]["block_config"]).into_iter().map(|count| count as usize).collect(),
        num_init_features: number("num_init_features"),
        bn_size: number("bn_size"),
        in_channels: number("in_channels"),
        num_classes: number("num_classes"),
    }
}

/// A case's network, read from a file, and its images.
fn dense(name: &str, device: &Device) -> (Value, DenseNet, Tensor<4>) {
    let case = case(name);
    let folder = tempfile::tempdir().unwrap();
    let state = dense_config(&case).init(device).state_dict();
    assert_eq!(names_of(&state), case["names"].as_str().unwrap(), "{name}: names and shapes of torchxrayvision");
    let network = DenseNet::load(&saved(&filled(&state), folder.path()), device).unwrap();
    let (side, batch) = (case["side"].as_u64().unwrap() as usize, case["batch"].as_u64().unwrap() as usize);
    let dims = [batch, side, side, network.config().in_channels];
    let images = uniform(&format!("{name}.images"), dims.iter().product()).map(|value| value as f32).collect();
    (case, network, Tensor::from_data(TensorData::new::<f32, _>(images, dims), device))
}

const DENSE: [&str; 2] = ["dense_grey", "dense_colour"];

#[test]
fn dense_networks_agree_with_torchxrayvision() {
    for name in DENSE {
        let (case, network, images) = dense(name, &Device::flex());
        assert_eq!(network.config(), &dense_config(&case));
        let features = network.forward_features(images.clone());
        assert_eq!(features.dims(), [images.dims()[0], network.dim()]);
        assert_agrees(&values(features), &numbers(&case["features"]), &format!("{name} features"));
        assert_agrees(&values(network.forward(images)), &numbers(&case["logits"]), &format!("{name} logits"));
    }
}

#[test]
fn training_uses_the_statistics_of_the_batch_and_hands_them_on() {
    for name in DENSE {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let (case, network, images) = dense(name, &device);
            let before = network.state_dict();
            let (logits, statistics) = network.forward_train(images);
            let logits = if logits.is_autodiff() { logits.inner() } else { logits };
            assert_agrees(&values(logits), &numbers(&case["trained_logits"]), &format!("{name} logits"));
            let unchanged = network.state_dict();
            let updated = network.update(&statistics, MOMENTUM).state_dict();
            for name in before.keys() {
                assert_eq!(before.read(name).unwrap(), unchanged.read(name).unwrap(), "{name}");
                let found = updated.read(name).unwrap();
                match case["statistics"].get(name) {
                    Some(expected) => assert_agrees(&found.values, &numbers(expected), name),
                    None => assert_eq!(found, before.read(name).unwrap(), "{name}"),
                }
            }
        }
    }
}

#[test]
fn a_network_learns_by_gradients_of_its_weights_and_not_of_its_statistics() {
    let (_, network, images) = dense("dense_grey", &Device::flex().autodiff());
    let loss = |network: &DenseNet| network.forward_train(images.clone()).0.square().mean();
    let before = loss(&network);
    let gradients = before.clone().backward();
    let mut learner = Learner { gradients, changed: 0, kept: 0 };
    let network = network.map(&mut learner);
    // A layer has two norms of two weights and two statistics each, and two convolutions; three other norms.
    assert_eq!((learner.changed, learner.kept), (5 * 6 + 3 * 2 + 2 + 2, 5 * 4 + 3 * 2));
    let after = loss(&network);
    let (before, after) = (before.into_scalar::<f32>(), after.into_scalar::<f32>());
    assert!(after < before, "a step against the gradient raised the loss from {before} to {after}");
}

/// A step against the gradient for every parameter that has one.
struct Learner {
    gradients: burn::tensor::Gradients,
    changed: usize,
    kept: usize,
}

impl burn::module::ModuleMapper for Learner {
    fn map_float<const D: usize>(&mut self, param: burn::module::Param<Tensor<D>>) -> burn::module::Param<Tensor<D>> {
        match param.val().grad(&self.gradients) {
            Some(gradient) => {
                self.changed += 1;
                param.map(|old| Tensor::from_inner(old.inner() - gradient * 1e-3).require_grad())
            }
            None => {
                self.kept += 1;
                param
            }
        }
    }
}

#[test]
fn inception_agrees_with_pytorch_fid() {
    let device = Device::flex();
    let case = case("inception");
    let state = Inception::new(&device).state_dict().unwrap();
    assert_eq!(names_of(&state), case["names"].as_str().unwrap(), "names and shapes of pytorch-fid");
    let folder = tempfile::tempdir().unwrap();
    let network = Inception::load(&saved(&filled(&state), folder.path()), &device).unwrap();
    let size = size(&case["size"]);
    let images = inception_input(&pixels("inception.image", size), size, &device).unwrap();
    assert_agrees(&values(network.forward_features(images.clone())), &numbers(&case["features"]), "features");
    assert_agrees(&values(network.forward(images))[..32], &numbers(&case["logits"]), "logits");

    // What is written keeps the function though its normalisations are folded.
    let again = Inception::load(&saved(&network.state_dict().unwrap(), folder.path()), &device).unwrap();
    let images = inception_input(&pixels("inception.image", size), size, &device).unwrap();
    assert_agrees(&values(again.forward_features(images)), &numbers(&case["features"]), "features of the folded file");
}

#[test]
fn pictures_are_resized_as_the_originals_do() {
    let case = case("preprocessing");
    for case in case["xrv"].as_array().unwrap() {
        let [height, width] = size(&case["size"]);
        let side = height.min(width);
        let centre: Vec<f32> = match case["name"].as_str() {
            None => {
                let picture = pixels(&format!("preprocessing {height} {width}"), [height, width]);
                let (top, left) = (height / 2 - side / 2, width / 2 - side / 2);
                let rows = picture.chunks(width).skip(top).take(side);
                rows.flat_map(|row| &row[left..left + side]).map(|value| (2.0 * value - 1.0) * 1024.0).collect()
            }
            Some(name) => {
                let sign = if name == "bright" { 1.0 } else { -1.0 };
                uniform(name, height * width).map(|value| sign * (300.0 + 200.0 * value as f32)).collect()
            }
        };
        let found = resize_smoothed(&centre, [side, side], [24, 24]);
        assert_agrees(&found, &numbers(&case["values"]), &format!("scikit-image {:?}", case["size"]));
    }
    for case in case["fid"].as_array().unwrap() {
        let size = size(&case["size"]);
        let picture = pixels(&format!("preprocessing {} {}", size[0], size[1]), size);
        let found = resize_bilinear(&picture, size, [23, 19]);
        assert_agrees(&found, &numbers(&case["values"]), &format!("PyTorch {size:?}"));
    }
}

#[test]
fn whole_modules_and_training_checkpoints_of_pytorch_are_read() {
    let device = Device::flex();
    let networks = ["whole_module.pt", "training.pth"].map(|name| DenseNet::load(&golden(name), &device).unwrap());
    for network in networks {
        let state = network.state_dict();
        assert_eq!(network.config().block_config, [1, 1]);
        let expected = filled(&state);
        for name in state.keys() {
            assert_eq!(state.read(name).unwrap(), expected.read(name).unwrap(), "{name}");
        }
    }
}

#[test]
fn wrong_files_are_refused_with_what_they_hold_and_what_to_give() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let dense = golden("whole_module.pt");
    let message = Inception::load(&dense, &device).unwrap_err().to_string();
    for part in ["features.", "Conv2d_1a_3x3.conv.weight", "pt_inception-2015-12-05-6726825d.pth", "whole_module.pt"] {
        assert!(message.contains(part), "{message}");
    }
    let state = DenseNet::load(&dense, &device).unwrap().state_dict();

    let mut incomplete = state.clone();
    incomplete.remove("features.transition1.norm.running_var");
    incomplete.insert("surprise", HostTensor { shape: vec![1], values: vec![0.0] });
    let message = DenseNet::load(&saved(&incomplete, folder.path()), &device).unwrap_err().to_string();
    for part in
        ["`features.transition1.norm.running_var` [8] is missing", "unknown tensor `surprise`", "network.safetensors"]
    {
        assert!(message.contains(part), "{message}");
    }
    for missing in ["features.denseblock1.denselayer1.conv2.weight", "classifier.weight"] {
        let mut incomplete = state.clone();
        incomplete.remove(missing);
        let message = DenseNet::load(&saved(&incomplete, folder.path()), &device).unwrap_err().to_string();
        assert!(message.contains(missing), "{message}");
    }
    let mut twice = Checkpoint::default();
    for name in state.keys() {
        twice.insert(format!("student.{name}"), state.read(name).unwrap());
        twice.insert(format!("teacher.{name}"), state.read(name).unwrap());
    }
    let message = DenseNet::load(&saved(&twice, folder.path()), &device).unwrap_err().to_string();
    assert!(message.contains("2 networks"), "{message}");

    let bytes = fs::read(&dense).unwrap();
    let broken = folder.path().join("broken.pt");
    for length in [0, 10, bytes.len() / 2, bytes.len() - 30] {
        fs::write(&broken, &bytes[..length]).unwrap();
        let error = DenseNet::load(&broken, &device).unwrap_err();
        assert!(matches!(error, nets::Error::Pickle { .. }), "{error}");
        assert!(error.to_string().contains("state_dict") && error.to_string().contains("broken.pt"), "{error}");
    }
    let message = DenseNet::load(&folder.path().join("absent.safetensors"), &device).unwrap_err().to_string();
    assert!(message.contains("absent.safetensors"), "{message}");
}
