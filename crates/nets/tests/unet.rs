//! The UNet against diffusers: outputs, attention maps, names, folders, and what is refused.
//!
//! `golden/unet/generate.py` made the numbers; its formula for the weights is repeated in [`formula`].

use burn::tensor::{Device, Tensor, TensorData};
use nets::{
    Checkpoint, HostTensor,
    init::{Initialisation, randomise},
    load_weights,
    unet::{AttentionMap, DownBlockType, Observation, OneOrEach, UNet, UNetConfig, UpBlockType},
    weights_of,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const CASES: [&str; 5] = ["stable_diffusion_1", "stable_diffusion_2", "plain_ends", "only_cross", "one_level"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet").join(name)
}

/// Numbers in [-1, 1): FNV-1a of the name plus the index, through SplitMix64's mixer.
fn hashed_uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (0..count as u64).map(move |index| {
        let mut mixed = state.wrapping_add(index);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// The weights that `generate.py` gives a tensor of this name and shape (as in the file).
fn formula(name: &str, shape: &[usize]) -> HostTensor {
    let count: usize = shape.iter().product();
    let scale = |value: f64| match shape.len() {
        1 if name.ends_with("weight") => 1.0 + 0.3 * value,
        1 => 0.2 * value,
        _ => value * (3.0 / (count / shape[0]) as f64).sqrt(),
    };
    HostTensor { shape: shape.to_vec(), values: hashed_uniform(name, count).map(|value| scale(value) as f32).collect() }
}

fn golden_unet(name: &str, device: &Device) -> UNet {
    let config = UNetConfig::load(&golden(name)).unwrap().0;
    let unet = config.init(device).unwrap();
    let mut checkpoint = weights_of(&unet);
    let shapes: Vec<_> =
        checkpoint.keys().map(|key| (key.to_string(), checkpoint.shape(key).unwrap().to_vec())).collect();
    for (key, shape) in shapes {
        checkpoint.insert(key.clone(), formula(&key, &shape));
    }
    load_weights(unet, &checkpoint).unwrap()
}

fn tensor<const D: usize>(checkpoint: &Checkpoint, key: &str, device: &Device) -> Tensor<D> {
    let HostTensor { shape, values } = checkpoint.read(key).unwrap();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// `max |actual - expected| / max |expected|`
fn relative_error<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f32 {
    assert_eq!(actual.dims(), expected.dims());
    let largest = expected.clone().abs().max().into_scalar::<f32>();
    (actual - expected).abs().max().into_scalar::<f32>() / largest
}

struct Inputs {
    noisy: Tensor<4>,
    timesteps: Tensor<1>,
    condition: Tensor<3>,
}

fn inputs(checkpoint: &Checkpoint, device: &Device) -> Inputs {
    Inputs {
        noisy: tensor(checkpoint, "noisy", device),
        timesteps: tensor(checkpoint, "timesteps", device),
        condition: tensor(checkpoint, "condition", device),
    }
}

#[test]
fn outputs_agree_with_diffusers() {
    let device = Device::flex();
    for name in CASES {
        let golden = Checkpoint::open(&golden(name).join("golden.safetensors")).unwrap();
        let Inputs { noisy, timesteps, condition } = inputs(&golden, &device);
        let output = golden_unet(name, &device).forward(noisy, timesteps, condition);
        let error = relative_error(output, tensor(&golden, "output", &device));
        assert!(error <= 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn attention_maps_agree_with_diffusers_and_leave_the_output_alone() {
    let device = Device::flex();
    for name in CASES {
        let golden = Checkpoint::open(&golden(name).join("golden.safetensors")).unwrap();
        let Inputs { noisy, timesteps, condition } = inputs(&golden, &device);
        let unet = golden_unet(name, &device);
        let mut maps = Vec::new();
        let mut up_blocks = Vec::new();
        let output = unet.forward_observed(noisy, timesteps, condition, &mut |observation| match observation {
            Observation::Attention(map) => maps.push(map),
            Observation::UpBlock { index, features } => up_blocks.push((index, features.dims())),
        });
        let levels = unet.config().block_out_channels.len();
        assert_eq!(up_blocks.iter().map(|(index, _)| *index).collect::<Vec<_>>(), Vec::from_iter(0..levels), "{name}");
        assert_eq!(up_blocks[levels - 1].1[..3], output.dims()[..3], "{name}");
        let error = relative_error(output, tensor(&golden, "output", &device));
        assert!(error <= 1e-4, "{name}: {error:e}");

        let expected: Vec<&str> = golden.keys().filter_map(|key| key.strip_prefix("maps.")).collect();
        let mut found: Vec<&str> = maps.iter().map(|map| map.block_name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        for AttentionMap { height, width, maps, block_name } in &maps {
            let expected: Tensor<3> = tensor(&golden, &format!("maps.{block_name}"), &device);
            assert_eq!(expected.dims()[1], height * width, "{name}, {block_name}");
            let error = relative_error(maps.clone().narrow(0, 0, 1), expected);
            assert!(error <= 1e-4, "{name}, {block_name}: {error:e}");
        }
    }
}

#[test]
fn saved_folders_have_the_keys_and_shapes_of_diffusers_and_load_back_equal() {
    let device = Device::flex();
    let kept = std::env::var_os("DINO_DIFFUSION_KEEP").map(PathBuf::from);
    for name in CASES {
        let temporary = tempfile::tempdir().unwrap();
        let folder = kept.as_deref().unwrap_or(temporary.path()).join(name);
        let golden_file = Checkpoint::open(&golden(name).join("golden.safetensors")).unwrap();
        let Inputs { noisy, timesteps, condition } = inputs(&golden_file, &device);
        let unet = golden_unet(name, &device);
        unet.save(&folder).unwrap();
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.retain(|name| name != "rust.safetensors");
        files.sort_unstable();
        assert_eq!(files, ["config.json", "diffusion_pytorch_model.safetensors"], "no temporary file stays");

        let keys = fs::read_to_string(golden(name).join("keys.json")).unwrap();
        let expected: BTreeMap<String, Vec<usize>> = serde_json::from_str(&keys).unwrap();
        let saved = Checkpoint::open(&folder.join("diffusion_pytorch_model.safetensors")).unwrap();
        let found: BTreeMap<String, Vec<usize>> =
            saved.keys().map(|key| (key.to_string(), saved.shape(key).unwrap().to_vec())).collect();
        assert_eq!(found, expected, "{name}");

        let output = unet.forward(noisy.clone(), timesteps.clone(), condition.clone());
        let again = UNet::load(&folder, &device).unwrap();
        assert_eq!(again.config(), unet.config());
        let difference = again.forward(noisy, timesteps, condition) - output.clone();
        assert_eq!(difference.abs().max().into_scalar::<f32>(), 0.0);

        if kept.is_some() {
            // For `generate.py check`.
            let mut given = golden_file.clone();
            let (shape, values) = (output.dims().to_vec(), output.into_data().iter::<f32>().collect());
            given.insert("output", HostTensor { shape, values });
            given.save(&folder.join("rust.safetensors"), false, None).unwrap();
        }
    }
}

#[test]
fn a_sharded_unet_inside_a_pipeline_folder_loads() {
    let device = Device::flex();
    let unet = UNet::load(&golden("sharded"), &device).unwrap();
    let golden = Checkpoint::open(&golden("sharded").join("golden.safetensors")).unwrap();
    let Inputs { noisy, timesteps, condition } = inputs(&golden, &device);
    let error = relative_error(unet.forward(noisy, timesteps, condition), tensor(&golden, "output", &device));
    assert!(error <= 1e-4, "{error:e}");
}

#[test]
fn gradients_agree_with_finite_differences() {
    // One weight of each kind: before and after attention, and of the embedding of time.
    const PARAMETERS: [&str; 5] = [
        "conv_in.weight",
        "time_embedding.linear_1.weight",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "mid_block.attentions.0.proj_in.weight",
        "up_blocks.0.resnets.1.norm1.weight",
    ];
    const STEP: f32 = 1e-2;
    let device = Device::flex();
    let golden_file = Checkpoint::open(&golden("only_cross").join("golden.safetensors")).unwrap();
    let unet = golden_unet("only_cross", &device);
    let loss = |unet: &UNet, device: &Device| {
        let Inputs { noisy, timesteps, condition } = inputs(&golden_file, device);
        unet.forward(noisy, timesteps, condition).square().mean()
    };

    let autodiff = Device::flex().autodiff();
    let tracked = golden_unet("only_cross", &autodiff);
    let gradients = loss(&tracked, &autodiff).backward();
    let gradients = Gradients::of(&tracked, &gradients);

    let checkpoint = weights_of(&unet);
    for key in PARAMETERS {
        let value = checkpoint.read(key).unwrap();
        let gradient = &gradients.0[key];
        // The steepest entry, where rounding matters least.
        let steepest =
            |best: usize, index: usize| if gradient[index].abs() > gradient[best].abs() { index } else { best };
        let entry = (0..gradient.len()).reduce(steepest).unwrap();
        let moved = |step: f32| {
            let mut value = value.clone();
            value.values[entry] += step;
            let mut checkpoint = checkpoint.clone();
            checkpoint.insert(key, value);
            let unet = load_weights(unet.clone(), &checkpoint).unwrap();
            loss(&unet, &device).into_scalar::<f32>()
        };
        let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        let difference = (slope - gradient[entry]).abs() / slope.abs();
        assert!(difference < 0.02, "{key}: slope {slope}, gradient {}", gradient[entry]);
    }
}

/// Gradients by checkpoint key, in the layout of a file.
struct Gradients(BTreeMap<String, Vec<f32>>);

impl Gradients {
    fn of(unet: &UNet, gradients: &burn::tensor::Gradients) -> Self {
        // A module of the same shape whose weights are the gradients has them in the layout of a file.
        struct Replace<'a>(&'a burn::tensor::Gradients);
        impl burn::module::ModuleMapper for Replace<'_> {
            fn map_float<const D: usize>(
                &mut self,
                param: burn::module::Param<Tensor<D>>,
            ) -> burn::module::Param<Tensor<D>> {
                let gradient = param.val().grad(self.0).expect("every parameter has a gradient");
                burn::module::Param::from_tensor(gradient)
            }
        }
        let module = burn::module::Module::map(unet.clone(), &mut Replace(gradients));
        let checkpoint = weights_of(&module);
        Self(checkpoint.keys().map(|key| (key.to_string(), checkpoint.read(key).unwrap().values)).collect())
    }
}

#[test]
fn missing_unknown_and_misshapen_tensors_are_refused_by_name() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let unet = golden_unet("one_level", &device);
    unet.save(folder.path()).unwrap();
    let mut weights = weights_of(&unet);
    weights.remove("conv_in.bias");
    weights.insert("class_embedding.weight", HostTensor { shape: vec![1], values: vec![0.0] });
    weights.insert("conv_out.bias", HostTensor { shape: vec![5], values: vec![0.0; 5] });
    let path = folder.path().join("diffusion_pytorch_model.safetensors");
    weights.save(&path, false, None).unwrap();
    let message = UNet::load(folder.path(), &device).unwrap_err().to_string();
    for part in ["`conv_in.bias` [8] is missing", "unknown tensor `class_embedding.weight`", "[5], expected [4]"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.ends_with(&folder.path().display().to_string()), "the path comes last: {message}");

    fs::remove_file(&path).unwrap();
    let message = UNet::load(folder.path(), &device).unwrap_err().to_string();
    assert!(message.contains("diffusion_pytorch_model.safetensors"), "{message}");
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let message = UNet::load(folder.path(), &device).unwrap_err().to_string();
    assert!(message.contains("`unet/config.json` is missing"), "{message}");
}

#[test]
fn saving_where_nothing_can_be_written_is_an_error_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    let message = golden_unet("one_level", &Device::flex()).save(&file).unwrap_err().to_string();
    assert!(message.ends_with(&file.display().to_string()), "{message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn a_damaged_weights_file_is_named_once() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    golden_unet("one_level", &device).save(folder.path()).unwrap();
    let path = folder.path().join("diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let message = UNet::load(folder.path(), &device).unwrap_err().to_string();
    assert!(
        message.contains("safetensors file is damaged, cut short") && message.contains("download or copy"),
        "{message}"
    );
    assert_eq!(message.matches(&folder.path().display().to_string()).count(), 1, "{message}");
}

/// Number of parameters, counted as a file would hold them.
fn num_parameters(config: &UNetConfig) -> usize {
    let weights = weights_of(&config.init(&Device::flex()).unwrap());
    weights.keys().map(|key| weights.shape(key).unwrap().iter().product::<usize>()).sum()
}

/// Attention on every level, one residual block per level, 32 channels per head.
fn compact(
    sample_size: usize,
    channels: usize,
    block_out_channels: &[usize],
    cross_attention_dim: usize,
) -> UNetConfig {
    UNetConfig {
        sample_size: Some(OneOrEach::One(sample_size)),
        in_channels: channels,
        out_channels: channels,
        down_block_types: vec![DownBlockType::CrossAttnDownBlock2D; block_out_channels.len()],
        up_block_types: vec![UpBlockType::CrossAttnUpBlock2D; block_out_channels.len()],
        block_out_channels: block_out_channels.to_vec(),
        layers_per_block: OneOrEach::One(1),
        cross_attention_dim,
        attention_head_dim: OneOrEach::Each(block_out_channels.iter().map(|channels| channels / 32).collect()),
        use_linear_projection: true,
        ..UNetConfig::default()
    }
}

#[test]
fn networks_have_the_sizes_that_diffusers_counts() {
    assert_eq!(num_parameters(&compact(16, 32, &[128, 160, 192], 384)), 16_297_984);
    assert_eq!(num_parameters(&compact(8, 4, &[64, 64], 192)), 1_821_444);
}

#[test]
fn a_fresh_network_depends_on_its_seed_and_predicts_finite_numbers() {
    let device = Device::flex();
    let config = compact(8, 4, &[64, 64], 192);
    let predict = |seed| {
        let unet = randomise(config.init(&device).unwrap(), Initialisation::FanInUniform, seed);
        let noisy = Tensor::<4>::ones([2, 8, 8, 4], &device);
        let timesteps = Tensor::from_floats([0.0, 999.0], &device);
        unet.forward(noisy, timesteps, Tensor::ones([2, 1, 192], &device)).into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let values = predict(1);
    assert!(values.iter().all(|value| value.is_finite()));
    assert_ne!(values[..256], values[256..], "the time matters");
    assert_ne!(values, predict(2));
}
