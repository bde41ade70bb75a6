//! The autoencoders against diffusers and against real X-rays: outputs, folders, and what is refused.
//!
//! `golden/autoencoder/generate.py` made the numbers.

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use image::imageops::FilterType;
use nets::{
    Checkpoint, HostTensor,
    autoencoder::{Autoencoder, AutoencoderKlConfig, AutoencoderTinyConfig, LatentDistribution, LatentStatistics},
    init::{Initialisation, randomise},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const CASES: [&str; 6] = ["kl_attention", "kl_old_keys", "kl_without_quant_conv", "tiny_rgb", "tiny_grey", "raw_taesd"];
const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/autoencoder").join(name)
}

fn tensor(checkpoint: &Checkpoint, key: &str) -> Tensor<4> {
    let HostTensor { shape, values } = checkpoint.read(key).unwrap();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// `max |actual - expected| / max |expected|`
fn relative_error(actual: Tensor<4>, expected: Tensor<4>) -> f32 {
    assert_eq!(actual.dims(), expected.dims());
    let largest = expected.clone().abs().max().into_scalar::<f32>();
    (actual - expected).abs().max().into_scalar::<f32>() / largest
}

fn agrees_with_golden_numbers(autoencoder: &Autoencoder, name: &str) {
    let expected = Checkpoint::open(&golden(name).join("expected.safetensors")).unwrap();
    let LatentDistribution { mean, std } = autoencoder.encode(tensor(&expected, "images"));
    let error = relative_error(mean, tensor(&expected, "mean"));
    assert!(error <= TOLERANCE, "{name}: means differ by {error}");
    assert_eq!(std.is_some(), expected.shape("std").is_some(), "{name}: has a spread or not");
    if let Some(std) = std {
        let error = relative_error(std, tensor(&expected, "std"));
        assert!(error <= TOLERANCE, "{name}: deviations differ by {error}");
    }
    let decoded = autoencoder.decode_unclamped(tensor(&expected, "latents"));
    let error = relative_error(decoded, tensor(&expected, "decoded"));
    assert!(error <= TOLERANCE, "{name}: decoded images differ by {error}");
}

fn load(folder: &Path) -> Autoencoder {
    Autoencoder::load(folder, &Device::flex()).unwrap()
}

fn refusal(folder: &Path) -> String {
    Autoencoder::load(folder, &Device::flex()).unwrap_err().to_string()
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

#[test]
fn every_golden_folder_gives_the_reference_outputs() {
    for name in CASES {
        agrees_with_golden_numbers(&load(&golden(name)), name);
    }
}

#[test]
fn a_saved_folder_loads_back_with_the_same_outputs() {
    for name in CASES {
        let folder = tempfile::tempdir().unwrap();
        load(&golden(name)).save(folder.path()).unwrap();
        agrees_with_golden_numbers(&load(folder.path()), name);
        let left =
            fs::read_dir(folder.path()).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        assert_eq!(left.filter(|name| files::is_temporary(Path::new(name))).count(), 0);
    }
}

#[test]
fn a_pipeline_folder_is_read_from_its_vae() {
    let folder = tempfile::tempdir().unwrap();
    load(&golden("kl_attention")).save(&folder.path().join("vae")).unwrap();
    agrees_with_golden_numbers(&load(folder.path()), "kl_attention");
}

#[test]
fn dimensions_are_those_of_the_configuration() {
    for (name, channels, factor) in
        [("kl_attention", 4, 4), ("kl_old_keys", 3, 2), ("tiny_rgb", 4, 8), ("tiny_grey", 5, 2), ("raw_taesd", 6, 4)]
    {
        let autoencoder = load(&golden(name));
        assert_eq!((autoencoder.latent_channels(), autoencoder.downsampling_factor()), (channels, factor), "{name}");
    }
}

#[test]
fn measured_statistics_make_latents_standard_and_decode_undoes_them() {
    let autoencoder = load(&golden("raw_taesd"));
    let images = Tensor::random([4, 32, 32, 1], Distribution::Uniform(-1.0, 1.0), &Device::flex());
    let raw = autoencoder.encode_unnormalised(images.clone()).mean;
    let channels = autoencoder.latent_channels();
    let rows = raw.reshape([-1, channels as i32]);
    let mean = rows.clone().mean_dim(0);
    let std = (rows - mean.clone()).square().mean_dim(0).sqrt();
    let values = |tensor: Tensor<2>| tensor.into_data().try_into_vec::<f32>().unwrap();
    let before = autoencoder.decode_unclamped(autoencoder.encode(images.clone()).mean);
    let statistics = LatentStatistics { mean: values(mean), std: values(std) };
    let autoencoder = autoencoder.with_statistics(statistics).unwrap();
    let latents = autoencoder.encode(images).mean;
    let after = autoencoder.decode_unclamped(latents.clone());
    let rows: Tensor<2> = latents.reshape([-1, channels as i32]);
    let largest_mean = rows.clone().mean_dim(0).abs().max().into_scalar::<f32>();
    let variances = rows.square().mean_dim(0);
    let worst_variance = (variances - 1.0).abs().max().into_scalar::<f32>();
    assert!(largest_mean < 1e-3 && worst_variance < 1e-3, "{largest_mean} {worst_variance}");
    assert!(relative_error(after, before) < TOLERANCE);
}

#[test]
fn a_uniform_scale_lives_in_the_configuration_and_half_precision_changes_little() {
    let folder = tempfile::tempdir().unwrap();
    let whole = load(&golden("tiny_grey")).with_uniform_statistics(0.25, 0.5).unwrap();
    whole.save_half(folder.path()).unwrap();
    assert!(!folder.path().join("latent_statistics.json").exists());
    let half = load(folder.path());
    assert_eq!(half.statistics(), LatentStatistics::uniform(0.25, 0.5, 5));
    let size = |path: &Path| fs::metadata(path.join("diffusion_pytorch_model.safetensors")).unwrap().len();
    assert!(size(folder.path()) < size(&golden("tiny_grey")) * 2 / 3);
    let images = tensor(&Checkpoint::open(&golden("tiny_grey").join("expected.safetensors")).unwrap(), "images");
    let error = relative_error(half.encode(images.clone()).mean, whole.encode(images).mean);
    assert!(error > 0.0 && error < 5e-3, "{error}");
    for (mean, std) in [(f64::NAN, 1.0), (0.0, 0.0)] {
        assert!(load(&golden("tiny_grey")).with_uniform_statistics(mean, std).is_err(), "{mean} {std}");
    }
}

#[test]
fn a_sample_has_the_mean_and_spread_of_its_distribution() {
    let images = Tensor::random([1, 16, 16, 3], Distribution::Uniform(-1.0, 1.0), &Device::flex());
    let distribution = load(&golden("kl_attention")).encode(images);
    let zeros = distribution.mean.zeros_like();
    assert_eq!(relative_error(distribution.sample(zeros.clone()), distribution.mean.clone()), 0.0);
    let spread = distribution.sample(zeros + 1.0) - distribution.mean.clone();
    assert!(relative_error(spread, distribution.std.unwrap()) < TOLERANCE);
}

#[test]
fn decoded_images_are_clamped_and_grey_is_the_mean_of_the_channels() {
    let autoencoder = load(&golden("tiny_rgb"));
    let latents = Tensor::random([1, 3, 2, 4], Distribution::Normal(0.0, 3.0), &Device::flex());
    let free = autoencoder.decode_unclamped(latents.clone());
    assert!(free.clone().abs().max().into_scalar::<f32>() > 1.0, "nothing to clamp: the test says nothing");
    let clamped = autoencoder.decode(latents.clone());
    assert_eq!(relative_error(clamped, free.clone().clamp(-1.0, 1.0)), 0.0);
    let grey = autoencoder.decode_grey(latents);
    assert_eq!(grey.dims(), [1, 24, 16, 1]);
    assert_eq!(relative_error(grey, free.mean_dim(3).clamp(-1.0, 1.0)), 0.0);
}

#[test]
fn the_demo_autoencoder_learns() {
    let device = Device::flex().autodiff();
    let config = AutoencoderTinyConfig::demo();
    let mut autoencoder = randomise(config.init(&device).unwrap(), Initialisation::FanInUniform, 3);
    let parameters = burn::module::Module::num_params(&autoencoder);
    assert!((100_000..200_000).contains(&parameters), "{parameters} parameters");
    // Bright discs of several sizes on a dark ground.
    let pixel = |image: usize, row: usize, column: usize| {
        let (y, x) = (row as f32 - 28.0 - image as f32, column as f32 - 36.0 + 2.0 * image as f32);
        if (y * y + x * x).sqrt() < 10.0 + 4.0 * image as f32 { 0.7 } else { -0.8 }
    };
    let values: Vec<f32> = (0..4 * 64 * 64).map(|index| pixel(index / 4096, index / 64 % 64, index % 64)).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [4, 64, 64, 1]), &device);
    let mut losses = Vec::new();
    for step in 0..60 {
        let latents = autoencoder.encode(images.clone()).mean;
        assert_eq!(latents.dims(), [4, 8, 8, 4]);
        let loss = (autoencoder.decode_unclamped(latents) - images.clone()).square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = loss.backward();
        autoencoder = burn::module::Module::map(
            autoencoder,
            &mut SignDescent { gradients, rate: 5e-4 * (1.0 - step as f64 / 60.0) },
        );
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.3 * first, "the loss went from {first} to {last}");
}

/// The simplest optimiser that needs no tuning: a fixed step against the sign of the gradient.
struct SignDescent {
    gradients: burn::tensor::Gradients,
    rate: f64,
}

impl burn::module::ModuleMapper for SignDescent {
    fn map_float<const D: usize>(&mut self, param: burn::module::Param<Tensor<D>>) -> burn::module::Param<Tensor<D>> {
        let gradient = param.val().grad(&self.gradients).expect("every parameter takes part");
        let step = gradient.sign() * self.rate;
        param.map(|weights| Tensor::from_inner(weights.inner() - step).require_grad())
    }
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    for (name, file, key) in [
        ("tiny_rgb", "diffusion_pytorch_model.safetensors", "encoder.layers.1.conv.2.bias"),
        ("kl_old_keys", "diffusion_pytorch_model.safetensors", "decoder.up_blocks.0.resnets.1.conv1.weight"),
        ("raw_taesd", "decoder.safetensors", "3.pool.1.weight"),
    ] {
        let change = |edit: &dyn Fn(&mut Checkpoint)| {
            let folder = copy_of(name);
            let mut checkpoint = Checkpoint::open(&golden(name).join(file)).unwrap();
            edit(&mut checkpoint);
            checkpoint.save(&folder.path().join(file), false, None).unwrap();
            let message = refusal(folder.path());
            assert!(message.contains(folder.path().to_str().unwrap()), "{message}");
            message
        };
        let missing = change(&|checkpoint| assert!(checkpoint.remove(key)));
        assert!(missing.contains(&format!("`{key}`")) && missing.contains("missing"), "{missing}");
        let five = || HostTensor { shape: vec![5], values: vec![0.0; 5] };
        let misshapen = change(&|checkpoint| checkpoint.insert(key, five()));
        assert!(misshapen.contains(&format!("`{key}` has shape [5], expected")), "{misshapen}");
        let extra = change(&|checkpoint| checkpoint.insert("3.other", five()));
        assert!(extra.contains("`3.other`"), "{extra}");
    }
}

#[test]
fn raw_files_with_another_structure_are_refused() {
    let change = |file: &str, edit: &dyn Fn(&mut Checkpoint) -> bool| {
        let folder = copy_of("raw_taesd");
        let mut checkpoint = Checkpoint::open(&golden("raw_taesd").join(file)).unwrap();
        assert!(edit(&mut checkpoint));
        checkpoint.save(&folder.path().join(file), false, None).unwrap();
        refusal(folder.path())
    };
    let hole = change("encoder.safetensors", &|checkpoint| checkpoint.remove("2.weight"));
    assert!(hole.contains("layer 2 is missing"), "{hole}");
    let end =
        change("decoder.safetensors", &|checkpoint| ["11.weight", "11.bias"].iter().all(|key| checkpoint.remove(key)));
    assert!(end.contains("last layer, 10, is no convolution with bias"), "{end}");
    let other = change("decoder.safetensors", &|checkpoint| {
        checkpoint.insert("norm.weight", HostTensor { shape: vec![1], values: vec![0.0] });
        true
    });
    assert!(other.contains("`norm.weight`"), "{other}");
}

#[test]
fn options_and_folders_that_are_not_supported_are_named() {
    for (name, option, value, part) in [
        ("tiny_rgb", "act_fn", "\"gelu\"", "`act_fn` is \"gelu\""),
        ("tiny_rgb", "upsample_fn", "\"bilinear\"", "`upsample_fn` is \"bilinear\""),
        ("tiny_rgb", "encoder_block_out_channels", "[8, 8, 8]", "`encoder_block_out_channels` is [8, 8, 8]"),
        ("tiny_rgb", "scaling_factor", "0", "`scaling_factor` is 0"),
        ("tiny_rgb", "use_magic", "true", "`use_magic` is true"),
        ("tiny_rgb", "latent_channels", "\"many\"", "invalid type: string"),
        ("kl_attention", "_class_name", "\"VQModel\"", "`_class_name` is \"VQModel\""),
        ("kl_attention", "norm_num_groups", "3", "`block_out_channels` is [8, 8, 16]"),
        ("kl_attention", "down_block_types", "[\"AttnDownEncoderBlock2D\"]", "AttnDownEncoderBlock2D"),
        ("kl_attention", "latents_mean", "[0, 0, 0, 0]", "`latents_mean`"),
        ("kl_attention", "block_out_channels", "[]", "block_types` is"),
    ] {
        let folder = copy_of(name);
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[option] = serde_json::from_str(value).unwrap();
        fs::write(&path, config.to_string()).unwrap();
        let message = refusal(folder.path());
        assert!(message.contains(part) && message.ends_with("config.json"), "{message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path()).contains("holds no autoencoder"));
    let no_weights = copy_of("tiny_rgb");
    fs::remove_file(no_weights.path().join("diffusion_pytorch_model.safetensors")).unwrap();
    assert!(refusal(no_weights.path()).ends_with("diffusion_pytorch_model.safetensors"));
    let truncated = copy_of("raw_taesd");
    fs::write(truncated.path().join("config.json"), "{\"in_channels\": 1").unwrap();
    assert!(refusal(truncated.path()).contains("EOF"), "{}", refusal(truncated.path()));
    let device = Device::flex();
    let config = AutoencoderKlConfig { act_fn: "relu".into(), ..AutoencoderKlConfig::stable_diffusion() };
    assert!(config.init(&device).unwrap_err().to_string().contains("`act_fn` is \"relu\""));
}

#[test]
fn unusable_statistics_are_refused() {
    let channels = 6;
    let usable = LatentStatistics::uniform(0.0, 1.0, channels);
    for (statistics, part) in [
        (LatentStatistics::uniform(0.0, 1.0, 5), "5 means for 6 channels"),
        (LatentStatistics { std: vec![0.0; channels], ..usable.clone() }, "deviations is 0"),
        (LatentStatistics { mean: vec![f32::NAN; channels], ..usable }, "means is NaN"),
    ] {
        let message = load(&golden("raw_taesd")).with_statistics(statistics).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let folder = copy_of("raw_taesd");
    fs::write(folder.path().join("latent_statistics.json"), "{\"mean\": [1], \"std\": [1]}").unwrap();
    assert!(refusal(folder.path()).contains("1 means for 6 channels"));
}

/// `golden/autoencoder/taef2.py` has PyTorch do the same. How sharp the pictures are made smaller decides how well they
/// survive, so that one number would say little.
#[test]
fn real_x_rays_survive_taef2_as_well_as_in_pytorch() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let weights = shared.join("models/taef2");
    let pictures = shared.join("data/cxr/originals");
    if !weights.is_dir() || !pictures.is_dir() {
        return;
    }
    let autoencoder = load(&weights);
    assert_eq!((autoencoder.latent_channels(), autoencoder.downsampling_factor()), (32, 8));
    let mut paths: Vec<_> = fs::read_dir(&pictures).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (count, side) = (16, 128);
    let pictures: Vec<_> = paths
        .iter()
        .step_by(paths.len() / count)
        .take(count)
        .map(|path| image::open(path).unwrap().into_luma8())
        .collect();
    for (filter, expected) in [(FilterType::Lanczos3, 32.80), (FilterType::Triangle, 34.25)] {
        let values: Vec<f32> = pictures
            .iter()
            .flat_map(|picture| image::imageops::resize(picture, side as u32, side as u32, filter).into_raw())
            .map(|value| f32::from(value) / 127.5 - 1.0)
            .collect();
        let images = Tensor::<4>::from_data(TensorData::new(values, [count, side, side, 1]), &Device::flex());
        let latents = autoencoder.encode(images.clone()).mean;
        assert_eq!(latents.dims(), [count, 16, 16, 32]);
        let errors = (autoencoder.decode_grey(latents.clone()) - images).square();
        let errors = errors.mean_dim(3).mean_dim(2).mean_dim(1).into_data().try_into_vec::<f32>().unwrap();
        // Peak to peak is 2, so the peak signal is 4 in squares.
        let decibels = errors.iter().map(|error| 10.0 * (4.0 / error).log10()).sum::<f32>() / count as f32;
        assert!((decibels - expected).abs() < 0.05, "{decibels} dB, PyTorch has {expected} with {filter:?}");
        let mean_square = latents.square().mean().into_scalar::<f32>();
        assert!(
            (0.76..0.84).contains(&mean_square.sqrt()),
            "latents have a root mean square of {}",
            mean_square.sqrt()
        );
    }
}
