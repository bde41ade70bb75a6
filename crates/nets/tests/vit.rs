//! The encoders against transformers and the preprocessing against Pillow; `golden/vit/generate.py` made the numbers.

mod common;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Distribution, Gradients, Tensor, TensorData, Tolerance},
};
use common::{relative_error, values};
use nets::{
    Checkpoint, HostTensor,
    init::{Initialisation, randomise},
    vit::{Architecture, Filter, Preprocessing, Resize, Vit, VitConfig},
    weights::ParameterPath,
    weights_of,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vit").join(name)
}

fn tensor<const D: usize>(host: HostTensor, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(host.values, host.shape), device)
}

/// Compares the tokens for every size of images in `io.safetensors` and returns the network.
fn agrees(case: &str, path: &Path) -> Vit {
    let device = Device::flex();
    let encoder = Vit::load(path, &device).unwrap();
    let expected = Checkpoint::open(&golden(case).join("io.safetensors")).unwrap();
    let names: Vec<String> = expected.keys().filter_map(|key| key.strip_suffix(".images")).map(Into::into).collect();
    assert!(!names.is_empty());
    for name in names {
        let images = tensor::<4>(expected.read(&format!("{name}.images")).unwrap(), &device);
        let tokens = expected.read(&format!("{name}.tokens")).unwrap();
        let ours = encoder.forward(images).tokens;
        assert_eq!(ours.dims().to_vec(), tokens.shape, "{case} {name}");
        let error = relative_error(&values(ours), &tokens.values);
        assert!(error <= TOLERANCE, "{case} {name}: relative error {error:e}");
    }
    encoder
}

const FOLDERS: [&str; 5] = ["vit", "vit_classifier", "dinov2", "dinov2_swiglu", "registers"];

#[test]
fn tokens_agree_with_transformers_at_every_size() {
    for case in FOLDERS {
        agrees(case, &golden(case));
    }
}

#[test]
fn state_dicts_of_the_original_code_need_no_configuration() {
    let dino = agrees("dino_original", &golden("dino_original/dino.safetensors"));
    assert_eq!(dino.config().architecture, Architecture::Vit);
    let dinov2 = agrees("dinov2_original", &golden("dinov2_original/dinov2.pth"));
    assert_eq!(dinov2.config().architecture, Architecture::Dinov2WithRegisters);
    assert!(dinov2.config().use_swiglu_ffn);
}

#[test]
fn the_teacher_of_a_training_checkpoint_is_read_from_its_pickle() {
    agrees("dino_training", copy_of("dino_training").path());
}

#[test]
fn state_dicts_saved_from_memory_are_read() {
    for case in ["vit", "dinov2_swiglu", "registers_none"].map(|name| format!("in_memory/{name}")) {
        let encoder = agrees(&case, &golden(&case));
        // Written with the names of files, it loads back equal.
        let folder = tempfile::tempdir().unwrap();
        encoder.save(folder.path()).unwrap();
        agrees(&case, folder.path());
    }
}

#[test]
fn an_encoder_may_have_no_registers() {
    let case = golden("in_memory/registers_none");
    let encoder = Vit::load(&case, &Device::flex()).unwrap();
    assert_eq!(encoder.config().architecture, Architecture::Dinov2WithRegisters);
    assert_eq!(encoder.config().num_register_tokens, 0);
    let output = encoder.forward(Tensor::zeros([2, 32, 32, 3], &Device::flex()));
    assert!(output.register_tokens().is_none());
    assert_eq!(output.global_tokens(true).dims(), [2, 1, 24]);
    assert_eq!(output.patch_tokens().dims(), [2, 16, 24]);
    // transformers expects the tensor, empty as it is.
    let folder = tempfile::tempdir().unwrap();
    encoder.save(folder.path()).unwrap();
    let saved = Checkpoint::open(&folder.path().join("model.safetensors")).unwrap();
    assert_eq!(saved.shape("embeddings.register_tokens"), Some([1, 0, 24].as_slice()));
}

#[test]
fn a_saved_folder_has_the_names_of_transformers_and_loads_back_equal() {
    for case in FOLDERS {
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("encoder");
        let preprocessing = Preprocessing {
            resize: Some(Resize::ShortestEdge(40)),
            filter: Filter::Bilinear,
            crop: Some([32, 30]),
            ..Preprocessing::default()
        };
        let encoder = Vit::load(&golden(case), &Device::flex()).unwrap().with_preprocessing(preprocessing.clone());
        encoder.save(&saved).unwrap();
        let reloaded = agrees(case, &saved);
        assert_eq!(reloaded.config(), encoder.config());
        assert_eq!(reloaded.preprocessing(), &preprocessing);

        let ours = Checkpoint::open(&saved.join("model.safetensors")).unwrap();
        let theirs = Checkpoint::open(&golden(case).join("model.safetensors")).unwrap();
        for key in theirs.keys() {
            let name = key.strip_prefix("vit.").unwrap_or(key);
            if !name.starts_with("pooler") && !name.starts_with("classifier") {
                assert_eq!(ours.read(name).unwrap(), theirs.read(key).unwrap(), "{case}");
            }
        }
        let left: Vec<_> = fs::read_dir(&saved).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "temporary files are left: {left:?}");
    }
}

#[test]
fn tokens_come_apart_into_class_registers_and_patches() {
    let device = Device::flex();
    let encoder = Vit::load(&golden("registers"), &device).unwrap();
    let output = encoder.forward(Tensor::ones([2, 32, 24, 3], &device));
    let all = values(output.tokens.clone());
    assert_eq!(output.tokens.dims(), [2, 1 + 3 + 12, 24]);
    assert_eq!(values(output.class_token())[24..], all[16 * 24..17 * 24]);
    assert_eq!(output.patch_tokens().dims(), [2, 12, 24]);
    assert_eq!(values(output.register_tokens().unwrap())[..3 * 24], all[24..4 * 24]);
    assert_eq!(values(output.global_tokens(true))[..4 * 24], all[..4 * 24]);
    assert_eq!(output.global_tokens(false).dims(), [2, 1, 24]);
    let plain = Vit::load(&golden("vit"), &device).unwrap().forward(Tensor::ones([1, 32, 32, 3], &device));
    assert!(plain.register_tokens().is_none());
    assert_eq!(plain.global_tokens(true).dims(), [1, 1, 24]);
}

/// Names of parameters that have no gradient or a gradient of zeros.
struct WithoutGradient {
    gradients: Gradients,
    path: ParameterPath,
    names: Vec<String>,
}

impl ModuleVisitor for WithoutGradient {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(&self.gradients);
        if gradient.is_none_or(|gradient| values(gradient).iter().all(|value| *value == 0.0)) {
            self.names.push(self.path.key());
        }
    }
}

#[test]
fn gradients_reach_every_parameter_through_interpolated_positions() {
    let device = Device::flex().autodiff();
    for case in FOLDERS {
        let encoder = Vit::load(&golden(case), &device).unwrap();
        let images = Tensor::random([1, 24, 40, 3], Distribution::Default, &device);
        let gradients = encoder.forward(images).tokens.powi_scalar(3).sum().backward();
        let mut without = WithoutGradient { gradients, path: ParameterPath::default(), names: Vec::new() };
        encoder.visit(&mut without);
        // The mask token takes part in masked pre-training only.
        without.names.retain(|name| name != "embeddings.mask_token");
        assert!(without.names.is_empty(), "{case}: {:?}", without.names);
    }
}

#[test]
fn constructors_have_the_published_number_of_parameters() {
    let device = Device::flex();
    let count = |config: VitConfig| {
        let encoder = config.init(&device);
        let weights = weights_of(&encoder);
        weights.keys().map(|key| weights.shape(key).unwrap().iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!(count(VitConfig::tiny(16, 224)), 5_524_416);
    assert_eq!(count(VitConfig::small(16, 224)), 21_665_664);
    assert_eq!(count(VitConfig::base(16, 224)), 85_798_656);
}

#[test]
fn a_random_encoder_tells_pictures_apart() {
    let device = Device::flex();
    let config = VitConfig { num_hidden_layers: 2, ..VitConfig::tiny(16, 64) };
    let encoder = randomise(config.init(&device), Initialisation::TruncatedNormal(0.02), 3);
    let pictures: Vec<u8> =
        (0..2 * 64 * 64).map(|i| if i < 4096 { (i % 64) as u8 } else { (i / 64 % 64) as u8 }).collect();
    let images = encoder.preprocessing().apply(&pictures, 64, 64, &device).unwrap();
    let embeddings = values(encoder.forward(images).class_token());
    assert!(relative_error(&embeddings[..192], &embeddings[192..]) > 1e-3);
}

// Preprocessing

struct Prepared {
    picture: Vec<u8>,
    bytes: Vec<u8>,
}

impl Prepared {
    fn open() -> Self {
        let bytes = fs::read(golden("preprocessing/io.safetensors")).unwrap();
        let picture = Self::get(&bytes, "picture");
        Self { picture, bytes }
    }

    fn get(bytes: &[u8], name: &str) -> Vec<u8> {
        safetensors::SafeTensors::deserialize(bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }
}

const PICTURE_SIZE: [usize; 2] = [61, 83];

#[test]
fn resizing_equals_pillow_bit_for_bit() {
    let golden = Prepared::open();
    for (name, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
        for [height, width] in [[32, 32], [61, 20], [100, 83], [97, 131], [220, 7]] {
            let preprocessing = Preprocessing {
                resize: Some(Resize::Exact([height, width])),
                filter,
                crop: None,
                rescale_factor: 1.0,
                mean: [0.0; 3],
                deviation: [1.0; 3],
            };
            let [from_height, from_width] = PICTURE_SIZE;
            let ours = preprocessing.apply(&golden.picture, from_height, from_width, &Device::flex()).unwrap();
            assert_eq!(ours.dims(), [1, height, width, 3]);
            let ours: Vec<u8> = values(ours).chunks_exact(3).map(|pixel| pixel[0] as u8).collect();
            assert!(
                ours == Prepared::get(&golden.bytes, &format!("{name}.{height}x{width}")),
                "{name} {height} {width}"
            );
        }
    }
}

#[test]
fn preprocessing_agrees_with_image_processors() {
    let golden_numbers = Prepared::open();
    let expected = |name: &str| {
        let bytes = Prepared::get(&golden_numbers.bytes, name);
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
    };
    for name in ["square", "halves", "cropped", "padded"] {
        let preprocessing = Preprocessing::load(&golden(&format!("preprocessing/{name}.json"))).unwrap();
        let [height, width] = PICTURE_SIZE;
        let ours = preprocessing.apply(&golden_numbers.picture, height, width, &Device::flex()).unwrap();
        let ours = values(ours);
        let one_grey_level = preprocessing.deviation.iter().fold(0f32, |most, value| most.max(1.0 / 255.0 / value));
        let torchvision = expected(&format!("{name}.torchvision"));
        assert_eq!(ours.len(), torchvision.len(), "{name}");
        let largest = ours.iter().zip(&torchvision).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(largest <= 1.001 * one_grey_level, "{name}: differs from torchvision by {largest}");
        // Pillow's processor centres an odd padding the other way round, so that case has torchvision's only.
        if name != "padded" {
            assert!(relative_error(&ours, &expected(&format!("{name}.pillow"))) <= 1e-6, "{name}");
        }
        // What is written reads back as the same steps.
        let text = serde_json::to_string(&preprocessing).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), preprocessing);
    }
}

#[test]
fn pictures_of_the_right_size_are_only_normalised() {
    let device = Device::flex();
    let pictures: Vec<u8> = (0..2 * 16 * 16).map(|i| (i % 251) as u8).collect();
    let preprocessing = Preprocessing::of_size(16);
    let ours = preprocessing.apply(&pictures, 16, 16, &device).unwrap();
    let grey: Vec<f32> = pictures.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let direct = preprocessing.normalise(Tensor::from_data(TensorData::new(grey, [2, 16, 16, 1]), &device));
    ours.clone().into_data().assert_approx_eq::<f32>(&direct.into_data(), Tolerance::absolute(1e-5));
    let first = values(ours)[..3].to_vec();
    assert!(relative_error(&first, &[-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]) < 1e-6);
    assert!(preprocessing.apply(&pictures, 16, 15, &device).is_err());
    assert!(preprocessing.apply(&[], 16, 16, &device).is_err());
    assert!(preprocessing.apply(&pictures, 0, 16, &device).is_err());
}

// Bad input

fn copy_of(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(case)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_file(folder.path().join("io.safetensors")).unwrap();
    folder
}

fn message(path: &Path) -> String {
    Vit::load(path, &Device::flex()).unwrap_err().to_string()
}

#[test]
fn wrong_configurations_are_refused_by_field() {
    let changes = [
        ("rope_theta", "100", "`rope_theta` = 100 is not known"),
        ("hidden_act", "\"relu\"", "`hidden_act` = \"relu\" is not supported"),
        ("hidden_size", "25", "`num_attention_heads` = 3 must divide"),
        ("hidden_size", "1000000000000", "`hidden_size` = 1000000000000 must be"),
        ("hidden_size", "-3", "`hidden_size` = -3 must be"),
        ("image_size", "[32, 64]", "`image_size` = [32,64] is not supported"),
        ("num_channels", "1", "`num_channels` = 1 is not supported"),
        ("model_type", "\"clip\"", "`model_type` = \"clip\" is no supported encoder"),
        ("qkv_bias", "\"yes\"", "`qkv_bias` = \"yes\" must be true or false"),
        ("patch_size", "64", "`patch_size` = 64 must not exceed"),
        ("mlp_ratio", "2.5", "`mlp_ratio` = 2.5 must be a whole number"),
        ("layer_norm_eps", "0", "`layer_norm_eps` = 0 must be"),
    ];
    for (field, value, expected) in changes {
        let folder = copy_of("dinov2");
        let path = folder.path().join("config.json");
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        fields.insert(field.into(), serde_json::from_str(value).unwrap());
        fs::write(&path, serde_json::to_vec(&fields).unwrap()).unwrap();
        let message = message(folder.path());
        assert!(message.contains(expected) && message.ends_with("config.json"), "{message}");
    }
    let folder = copy_of("dinov2");
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(message(folder.path()).contains("does not hold what it should"));
}

#[test]
fn wrong_preprocessing_is_refused_by_field() {
    let refused = [
        (r#"{"resample": 1}"#, "`resample` = 1 is not supported"),
        (r#"{"size": {"longest_edge": 3}}"#, "`size` = {\"longest_edge\":3} is not supported"),
        (r#"{"crop_size": 0}"#, "`crop_size` = 0 is not supported"),
        (r#"{"do_pad": true}"#, "`do_pad` = true is not supported"),
        (r#"{"image_std": [1, 0, 1]}"#, "`image_std` = [1.0, 0.0, 1.0] must be positive"),
        (r#"{"image_mean": [1]}"#, "`image_mean` = [1] must be three numbers"),
        (r#"{"do_flip": true}"#, "`do_flip` = true is not known"),
        (r#"{"image_processor_type": "DonutImageProcessor"}"#, "is not supported"),
    ];
    for (text, expected) in refused {
        let message = serde_json::from_str::<Preprocessing>(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let dino: Preprocessing =
        serde_json::from_str(r#"{"feature_extractor_type": "ViTFeatureExtractor", "size": 224}"#).unwrap();
    assert_eq!(dino.output_size([300, 500]), [224, 224]);
    let empty: Preprocessing = serde_json::from_str("{}").unwrap();
    assert_eq!(empty.mean, Preprocessing::default().mean);
}

#[test]
fn wrong_weights_are_named() {
    let folder = copy_of("dinov2");
    let path = folder.path().join("model.safetensors");
    let mut weights = Checkpoint::open(&path).unwrap();
    weights.remove("layernorm.bias");
    weights.insert("encoder.layer.1.mlp.fc1.bias", HostTensor { shape: vec![2], values: vec![0.0; 2] });
    weights.insert("encoder.layer.2.mlp.fc1.bias", HostTensor { shape: vec![1], values: vec![0.0] });
    let changed = folder.path().join("changed.safetensors");
    weights.save(&changed, false, None).unwrap();
    fs::rename(changed, path).unwrap();
    let message = message(folder.path());
    for part in ["`layernorm.bias` [24] is missing", "has shape [2], expected [48]", "unknown tensor `encoder.layer.2."]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn missing_and_damaged_files_are_sentences() {
    let empty = tempfile::tempdir().unwrap();
    assert!(message(empty.path()).contains("there are no weights"));
    assert!(message(&empty.path().join("nothing.safetensors")).contains("does not exist"));
    let folder = copy_of("vit");
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(message(folder.path()).contains("config.json"));
    for name in ["a.pth", "b.safetensors"] {
        fs::write(empty.path().join(name), b"not weights").unwrap();
    }
    assert!(message(empty.path()).contains("name one"));
    assert!(message(&empty.path().join("a.pth")).contains("PyTorch checkpoint cannot be read"));
    let bytes = fs::read(golden("dino_training/checkpoint.pth")).unwrap();
    for length in (0..bytes.len()).step_by(997) {
        fs::write(empty.path().join("a.pth"), &bytes[..length]).unwrap();
        assert!(Vit::load(&empty.path().join("a.pth"), &Device::flex()).is_err());
    }
}
