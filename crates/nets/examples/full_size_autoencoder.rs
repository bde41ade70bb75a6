//! Runs an autoencoder of full size on inputs that Python wrote, for `tests/golden/autoencoder/full_size.py`.
//!
//! `full_size_autoencoder FOLDER` loads FOLDER, encodes `images` and decodes `latents` of `inputs.safetensors` in it,
//! and writes `mean`, `std` and `decoded` to `outputs.safetensors`.
#![allow(clippy::print_stdout)]

use burn::tensor::{Device, Tensor, TensorData};
use nets::{Checkpoint, HostTensor, autoencoder::Autoencoder};
use std::{error::Error, path::PathBuf, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("give the folder of an autoencoder")?.into();
    let device = Device::flex();
    let start = Instant::now();
    let autoencoder = Autoencoder::load(&folder, &device)?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let inputs = Checkpoint::open(&folder.join("inputs.safetensors"))?;
    let input = |key| -> Result<Tensor<4>, Box<dyn Error>> {
        let HostTensor { shape, values } = inputs.read(key)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), &device))
    };
    let mut outputs = Checkpoint::default();
    let mut output = |key: &str, tensor: Tensor<4>| -> Result<(), Box<dyn Error>> {
        let shape = tensor.dims().to_vec();
        outputs.insert(key, HostTensor { shape, values: tensor.into_data().try_into_vec::<f32>()? });
        Ok(())
    };
    let images = input("images")?;
    let start = Instant::now();
    let distribution = autoencoder.encode(images);
    output("mean", distribution.mean)?;
    println!("encoded in {:.2} s", start.elapsed().as_secs_f64());
    if let Some(std) = distribution.std {
        output("std", std)?;
    }
    let latents = input("latents")?;
    let start = Instant::now();
    output("decoded", autoencoder.decode_unclamped(latents))?;
    println!("decoded in {:.2} s", start.elapsed().as_secs_f64());
    outputs.save(&folder.join("outputs.safetensors"), false, None)?;
    Ok(())
}
