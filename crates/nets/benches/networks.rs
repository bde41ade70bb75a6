//! Times of whole networks of full size, the other side of which `bench/compare.py` runs in PyTorch.
//!
//! ```text
//! cargo bench -p dino-diffusion-nets --bench networks -- NETWORK FOLDER
//! ```
//!
//! loads the network, runs it once, and then once more for each line on standard input, answering with milliseconds.
//! Folders and files come from `bench/reference.py` or, with other feature networks, `tests/golden/features/full_size.py`;
//! weights are random, which timings do not care about.
#![allow(clippy::print_stdout)] // a benchmark prints its times

use burn::tensor::{Device, Distribution, Tensor};
use nets::autoencoder::Autoencoder;
use nets::features::{DenseNet, Inception};
use nets::unet::UNet;
use nets::vit::Vit;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: memory::CachingAllocator = memory::CachingAllocator;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [network, folder] = &words[..] else {
        println!(
            "give a network (unet-32, unet-64, vae-encode, vae-decode, vit, densenet, inception) and its folder or file"
        );
        return Ok(());
    };
    kernels::start_threads(None)?; // as the program does it
    let mut run = network_run(network, Path::new(folder))?;
    run();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        let begin = Instant::now();
        run();
        println!("{}", begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// The network of a folder as something to run, its inputs made.
fn network_run(network: &str, folder: &Path) -> Result<Box<dyn FnMut()>, Box<dyn Error>> {
    let device = Device::flex();
    let unet = |side: usize| -> Result<Box<dyn FnMut()>, Box<dyn Error>> {
        let unet = UNet::load(folder, &device)?;
        let latents = random([2, side, side, 4], &device);
        let (times, condition) = (random([2], &device) * 1000.0, random([2, 77, 768], &device));
        Ok(Box::new(move || finish(unet.forward(latents.clone(), times.clone(), condition.clone()))))
    };
    Ok(match network {
        "unet-32" => unet(32)?,
        "unet-64" => unet(64)?,
        "vae-encode" => {
            let (autoencoder, images) = (Autoencoder::load(folder, &device)?, random([1, 256, 256, 3], &device));
            Box::new(move || finish(autoencoder.encode(images.clone()).mean))
        }
        "vae-decode" => {
            let (autoencoder, latents) = (Autoencoder::load(folder, &device)?, random([1, 32, 32, 4], &device));
            Box::new(move || finish(autoencoder.decode(latents.clone())))
        }
        "vit" => {
            let (encoder, images) = (Vit::load(folder, &device)?, random([8, 224, 224, 3], &device));
            Box::new(move || finish(encoder.forward(images.clone()).tokens))
        }
        "densenet" => {
            let network = DenseNet::load(folder, &device)?;
            let images = random([8, 224, 224, network.config().in_channels], &device);
            Box::new(move || finish(network.forward_features(images.clone())))
        }
        "inception" => {
            let (network, images) = (Inception::load(folder, &device)?, random([8, 299, 299, 3], &device));
            Box::new(move || finish(network.forward_features(images.clone())))
        }
        other => return Err(format!("there is no network {other}").into()),
    })
}

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// Operations on the CPU backend are done when they return; the output is only kept from being optimised away.
fn finish<const D: usize>(output: Tensor<D>) {
    std::hint::black_box(output);
}
