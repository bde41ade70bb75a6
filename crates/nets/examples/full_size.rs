//! Runs a network of full size on given inputs, for comparison with Python.
//!
//! `tests/golden/full_size.py` makes the folder (the network in its public layout and `inputs.safetensors`), calls this
//! program and compares `rust.safetensors`, which it leaves in the folder. It is too large for the tests.
//!
//! ```text
//! cargo run -p dino-diffusion-nets --example full_size -- unet FOLDER
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use nets::{Checkpoint, HostTensor, unet::UNet};
use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    time::Instant,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, folder] = arguments.as_slice() else {
        return Err("usage: full_size NETWORK FOLDER".into());
    };
    let folder = Path::new(folder);
    let inputs = Checkpoint::open(&folder.join("inputs.safetensors"))?;
    // One arm for each network of `full_size.py`.
    let outputs = match network.as_str() {
        "unet" => unet(folder, &inputs)?,
        other => return Err(format!("there is no network `{other}`").into()),
    };
    outputs.save(&folder.join("rust.safetensors"), false, None)?;
    Ok(())
}

/// Inputs `noisy` [batch, height, width, channels], `timesteps`, `condition`; output `output`, channels last.
fn unet(folder: &Path, inputs: &Checkpoint) -> Result<Checkpoint, Box<dyn Error>> {
    let device = Device::flex();
    let network = timed("loaded", || UNet::load(folder, &device))??;
    let noisy = tensor(inputs, "noisy", &device)?;
    let timesteps = tensor(inputs, "timesteps", &device)?;
    let condition = tensor(inputs, "condition", &device)?;
    let output = timed("ran", || host(network.forward(noisy, timesteps, condition)))?;
    let mut outputs = Checkpoint::default();
    outputs.insert("output", output);
    Ok(outputs)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> io::Result<T> {
    let start = Instant::now();
    let result = work();
    writeln!(io::stdout(), "{what} in {:.2} s", start.elapsed().as_secs_f64())?;
    Ok(result)
}

fn tensor<const D: usize>(inputs: &Checkpoint, key: &str, device: &Device) -> Result<Tensor<D>, Box<dyn Error>> {
    let HostTensor { shape, values } = inputs.read(key)?;
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

fn host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    HostTensor { shape: tensor.dims().to_vec(), values: tensor.into_data().iter::<f32>().collect() }
}
