//! Weights in PyTorch pickles, alone, in shards and in pairs, against the same weights as safetensors;
//! `golden/pickles/generate.py` made the files.

use nets::{Checkpoint, Error, autoencoder::Autoencoder, unet::UNet, weights_of};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn assert_equal(found: &Checkpoint, expected: &Checkpoint) {
    let names: Vec<&str> = expected.keys().collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(found.read(name).unwrap(), expected.read(name).unwrap(), "{name}");
    }
}

/// A folder of files from the golden folders, each under a name.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        fs::copy(golden(from), folder.path().join(to)).unwrap();
    }
    folder
}

fn autoencoder(folder: &Path) -> Checkpoint {
    weights_of(&Autoencoder::load(folder, &burn::tensor::Device::flex()).unwrap())
}

#[test]
fn autoencoders_of_one_pickle_are_those_of_safetensors() {
    for name in ["tiny_grey", "kl_old_keys"] {
        let (pickle, config) = (format!("pickles/{name}.bin"), format!("autoencoder/{name}/config.json"));
        for weights in ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"] {
            let folder = folder_of(&[(&pickle, weights), (&config, "config.json")]);
            assert_equal(&autoencoder(folder.path()), &autoencoder(&golden("autoencoder").join(name)));
        }
    }
}

#[test]
fn both_pickles_of_taesd_are_read() {
    for prefix in ["", "taesd_"] {
        let [encoder, decoder] = ["encoder", "decoder"].map(|part| format!("{prefix}{part}.pth"));
        let folder = folder_of(&[
            ("pickles/taesd_encoder.pth", &encoder),
            ("pickles/taesd_decoder.pth", &decoder),
            ("autoencoder/raw_taesd/latent_statistics.json", "latent_statistics.json"),
        ]);
        assert_equal(&autoencoder(folder.path()), &autoencoder(&golden("autoencoder/raw_taesd")));
    }
}

#[test]
fn pickles_in_shards_are_read_by_their_index() {
    let names: Vec<String> = (1..=3).map(|part| format!("diffusion_pytorch_model-0000{part}-of-00003.bin")).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("pickles/{name}")).collect();
    let index = "diffusion_pytorch_model.bin.index.json";
    let mut files: Vec<(&str, &str)> = paths.iter().map(String::as_str).zip(names.iter().map(String::as_str)).collect();
    let index_path = format!("pickles/{index}");
    files.extend([(index_path.as_str(), index), ("unet/sharded/unet/config.json", "config.json")]);
    let folder = folder_of(&files);
    let device = burn::tensor::Device::flex();
    let load = |folder: &Path| weights_of(&UNet::load(folder, &device).unwrap());
    assert_equal(&load(folder.path()), &load(&golden("unet/sharded")));
    // A shard that is missing is named.
    fs::remove_file(folder.path().join(&names[1])).unwrap();
    let message = UNet::load(folder.path(), &device).unwrap_err().to_string();
    assert!(message.ends_with(&names[1]), "{message}");
}

#[test]
fn damaged_pickles_are_refused_with_their_name() {
    let folder = folder_of(&[("autoencoder/tiny_grey/config.json", "config.json")]);
    let bytes = fs::read(golden("pickles/tiny_grey.bin")).unwrap();
    let path = folder.path().join("diffusion_pytorch_model.bin");
    for length in (0..bytes.len()).step_by(997) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(Checkpoint::open(&path), Err(Error::Pickle { .. })));
        let message = Autoencoder::load(folder.path(), &burn::tensor::Device::flex()).unwrap_err().to_string();
        assert!(message.ends_with("diffusion_pytorch_model.bin"), "{message}");
    }
}
