//! Runs an encoder on given images, for comparison with Python: `tests/golden/vit/full_size.py` (networks of full size,
//! which are too large for the tests) and `check.py` (folders written by this program) call it.
//!
//! ```text
//! cargo run -p dino-diffusion-nets --example full_size_vit -- ENCODER INPUTS.safetensors FOLDER
//! ```
//!
//! For each tensor `NAME.images` `[batch, height, width, 3]` of INPUTS it writes `NAME.tokens` to
//! `FOLDER/tokens.safetensors`, and it saves the encoder in `FOLDER/encoder`.

use burn::tensor::{Device, Tensor, TensorData};
use nets::{Checkpoint, HostTensor, vit::Vit};
use std::{
    error::Error,
    io::{Write, stdout},
    path::Path,
    time::Instant,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [encoder, inputs, folder] = arguments.as_slice() else {
        return Err("usage: full_size_vit ENCODER INPUTS.safetensors FOLDER".into());
    };
    let (device, folder) = (Device::flex(), Path::new(folder));
    let start = Instant::now();
    let encoder = Vit::load(Path::new(encoder), &device)?;
    writeln!(stdout(), "Rust loaded in {:.2} s", start.elapsed().as_secs_f64())?;

    let inputs = Checkpoint::open(Path::new(inputs))?;
    let mut outputs = Checkpoint::default();
    for name in inputs.keys().filter_map(|key| key.strip_suffix(".images")) {
        let HostTensor { shape, values } = inputs.read(&format!("{name}.images"))?;
        let start = Instant::now();
        let tokens = encoder.forward(Tensor::from_data(TensorData::new(values, shape.clone()), &device)).tokens;
        let shape_out = tokens.dims().to_vec();
        let values = tokens.into_data().iter::<f32>().collect();
        writeln!(stdout(), "Rust ran {shape:?} in {:.2} s", start.elapsed().as_secs_f64())?;
        outputs.insert(format!("{name}.tokens"), HostTensor { shape: shape_out, values });
    }
    encoder.save(&folder.join("encoder"))?;
    outputs.save(&folder.join("tokens.safetensors"), false, None)?;
    Ok(())
}
