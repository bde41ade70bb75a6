//! PyTorch pickles (`.pth`, `.pt`, `.bin`), in which many networks were published. No code in them is run.
//!
//! A pickle of a whole module is read as its state dict: the reader knows how modules keep their parameters and buffers.

use crate::checkpoint::{Checkpoint, HostTensor};
use crate::error::Error;
use pytorch_reader::{DType, PytorchReader};
use std::path::Path;

/// Whether a file's name says that it is such a pickle.
pub(crate) fn is_pickle(path: &Path) -> bool {
    ["bin", "pth", "pt"].iter().any(|&known| path.extension().is_some_and(|found| found == known))
}

/// Reads the tensors whose names `wanted` accepts; names of nested dictionaries are joined by dots.
///
/// # Errors
/// [`Error::Io`] where there is no such file, [`Error::Pickle`].
pub(crate) fn open_pickle(path: &Path, wanted: impl Fn(&[String], &str) -> bool) -> Result<Checkpoint, Error> {
    std::fs::metadata(path).map_err(Error::io(path))?;
    read_tensors(path, wanted).map_err(|reason| Error::Pickle { reason, path: path.into() })
}

fn read_tensors(path: &Path, wanted: impl Fn(&[String], &str) -> bool) -> Result<Checkpoint, String> {
    let reader = PytorchReader::new(path).map_err(|error| error.to_string())?;
    let names = reader.keys();
    let mut checkpoint = Checkpoint::default();
    for (name, tensor) in reader.tensors() {
        if !wanted(&names, name) {
            continue;
        }
        let bytes = tensor.read().map_err(|error| format!("tensor `{name}`: {error}"))?;
        let values = match tensor.dtype() {
            DType::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            DType::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            DType::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
            }
            DType::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            other => return Err(format!("tensor `{name}` holds {other:?} values, not floats")),
        };
        checkpoint.insert(name, HostTensor { shape: tensor.shape().to_vec(), values });
    }
    Ok(checkpoint)
}
