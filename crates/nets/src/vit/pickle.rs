//! PyTorch pickles (`.pth`, `.pt`, `.bin`), in which DINO and DINOv2 were published. No code in them is run.

use super::VitError;
use crate::weights::{Checkpoint, HostTensor};
use pytorch_reader::{DType, PytorchReader};
use std::path::Path;

/// Reads the tensors whose names `wanted` accepts; names of nested dictionaries are joined by dots.
pub(super) fn open_pickle(path: &Path, wanted: impl Fn(&[String], &str) -> bool) -> Result<Checkpoint, VitError> {
    let pickle = |reason: String| VitError::Pickle { reason, path: path.into() };
    let reader = PytorchReader::new(path).map_err(|error| pickle(error.to_string()))?;
    let names = reader.keys();
    let mut checkpoint = Checkpoint::default();
    for (name, tensor) in reader.tensors() {
        if !wanted(&names, name) {
            continue;
        }
        let bytes = tensor.read().map_err(|error| pickle(format!("tensor `{name}`: {error}")))?;
        let values = match tensor.dtype() {
            DType::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            DType::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            DType::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
            }
            DType::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            other => return Err(pickle(format!("tensor `{name}` holds {other:?} values, not floats"))),
        };
        checkpoint.insert(name, HostTensor { shape: tensor.shape().to_vec(), values });
    }
    Ok(checkpoint)
}
