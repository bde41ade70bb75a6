//! Writes folders of autoencoders for Python to load, for `tests/golden/autoencoder/check.py`.
//!
//! `autoencoder_folders FOLDER` loads every golden case and saves it as FOLDER/CASE, and makes FOLDER/demo, and in half
//! precision and with a scale of its latents FOLDER/half, with random weights and what this crate computes with them.

use burn::tensor::{Device, Distribution, Tensor};
use nets::{
    Checkpoint, HostTensor,
    autoencoder::{Autoencoder, AutoencoderTinyConfig},
    init::{Initialisation, randomise},
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let target: PathBuf = std::env::args_os().nth(1).ok_or("give a folder to write to")?.into();
    let device = Device::flex();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/autoencoder"))? {
        let case = entry?;
        if case.path().is_dir() {
            Autoencoder::load(&case.path(), &device)?.save(&target.join(case.file_name()))?;
        }
    }
    let demo = || -> Result<Autoencoder, Box<dyn Error>> {
        Ok(randomise(AutoencoderTinyConfig::demo().init(&device)?, Initialisation::FanInUniform, 1))
    };
    demo()?.save(&target.join("demo"))?;
    demo()?.with_uniform_statistics(0.2, 0.07)?.save_half(&target.join("half"))?;
    for name in ["demo", "half"] {
        let folder = target.join(name);
        let network = Autoencoder::load(&folder, &device)?;
        let images = Tensor::<4>::random([2, 64, 64, 1], Distribution::Uniform(-1.0, 1.0), &device);
        let latents = network.encode(images.clone()).mean;
        let decoded = network.decode_unclamped(latents.clone());
        let mut expected = Checkpoint::default();
        for (key, tensor) in [("images", images), ("mean", latents.clone()), ("latents", latents), ("decoded", decoded)]
        {
            let shape = tensor.dims().to_vec();
            expected.insert(key, HostTensor { shape, values: tensor.into_data().try_into_vec::<f32>()? });
        }
        expected.save(&folder.join("expected.safetensors"), false, None)?;
    }
    Ok(())
}
