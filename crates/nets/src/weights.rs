//! Reading and writing weights in the layouts of PyTorch checkpoints, checking every key and shape.
//!
//! A module's parameters are named by their path of fields. Two kinds of layers differ between file and memory:
//! `Conv2d` (`[out, in, height, width]` against `[height, width, in, out]`) and `Linear` (`[out, in]` against
//! `[in, out]`). Tensors are read from the file one at a time, so a model needs its own size in memory and little more.

use crate::checkpoint::{Checkpoint, HostTensor};
use crate::error::{Error, Result};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use std::collections::BTreeSet;

/// Where a walk through a module stands: the names of the fields down to a parameter, and the struct that holds it.
#[derive(Debug, Default)]
pub struct ParameterPath {
    names: Vec<String>,
    containers: Vec<String>,
}

impl ParameterPath {
    /// Goes down one level; arguments as Burn's `enter_module` gives them. The variants of an enum are no part of the
    /// name: a checkpoint says what a layer is by the tensors it holds.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.names.push(if container.starts_with("Enum:") { String::new() } else { name.into() });
        self.containers.push(container.strip_prefix("Struct:").unwrap_or(container).into());
    }

    /// Goes up one level.
    pub fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// Dotted name, as in a PyTorch state dict.
    pub fn key(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        names.join(".")
    }

    /// Name of the struct that holds the parameter, such as `Conv2d`.
    pub fn container(&self) -> &str {
        self.containers.last().map_or("", String::as_str)
    }

    /// For each axis in the file, the axis in memory.
    fn file_axes(&self, rank: usize) -> Vec<usize> {
        let is_weight = self.names.last().is_some_and(|name| name == "weight");
        match self.container() {
            "Conv2d" if is_weight => vec![3, 2, 0, 1],
            "Linear" if is_weight => vec![1, 0],
            _ => (0..rank).collect(),
        }
    }
}

/// Fills a module from a checkpoint. Every parameter must be there with its shape, and nothing else may be.
///
/// # Errors
/// [`Error::Mismatch`] listing each missing, unknown or mis-shaped tensor, and reading errors.
pub fn load_weights<M: Module>(module: M, checkpoint: &Checkpoint) -> Result<M> {
    let mut loader =
        Loader { checkpoint, path: ParameterPath::default(), seen: BTreeSet::new(), problems: Vec::new(), error: None };
    let module = module.map(&mut loader);
    if let Some(error) = loader.error {
        return Err(error);
    }
    memory::release_unused(0);
    let mut problems = loader.problems;
    problems.extend(
        checkpoint.keys().filter(|key| !loader.seen.contains(*key)).map(|key| format!("unknown tensor `{key}`")),
    );
    if problems.is_empty() { Ok(module) } else { Err(Error::Mismatch { problems }) }
}

/// Memory that may lie unused while weights are read.
const MOST_UNUSED_BYTES: usize = 64 << 20;

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    path: ParameterPath,
    seen: BTreeSet<String>,
    problems: Vec<String>,
    error: Option<Error>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.key();
        let axes = self.path.file_axes(D);
        let dims = param.dims();
        let expected: Vec<usize> = axes.iter().map(|&axis| dims[axis]).collect();
        let Some(found) = self.checkpoint.shape(&key).map(<[usize]>::to_vec) else {
            self.problems.push(format!("tensor `{key}` {expected:?} is missing"));
            return param;
        };
        self.seen.insert(key.clone());
        if found != expected {
            self.problems.push(format!("tensor `{key}` has shape {found:?}, expected {expected:?}"));
            return param;
        }
        // What the last tensors left behind has sizes of its own and would add up.
        memory::release_unused(MOST_UNUSED_BYTES);
        let tensor = match self.checkpoint.read(&key) {
            Ok(tensor) => tensor,
            Err(error) => {
                self.error.get_or_insert(error);
                return param;
            }
        };
        param.map(|old| {
            let device = old.device();
            let mut shape = [0; D];
            shape.copy_from_slice(&expected);
            let loaded = Tensor::<D>::from_data(TensorData::new(tensor.values, shape), &device);
            let mut inverse = [0isize; D];
            for (file_axis, &memory_axis) in axes.iter().enumerate() {
                inverse[memory_axis] = file_axis as isize;
            }
            // Through the host once more, so that the kernels find contiguous memory.
            let loaded = if inverse.iter().enumerate().all(|(axis, &other)| axis as isize == other) {
                loaded
            } else {
                Tensor::from_data(loaded.permute(inverse).into_data(), &device)
            };
            if old.is_require_grad() { loaded.require_grad() } else { loaded }
        })
    }
}

/// All parameters of a module, named and laid out as in a file.
pub fn weights_of<M: Module>(module: &M) -> Checkpoint {
    let mut saver = Saver { path: ParameterPath::default(), checkpoint: Checkpoint::default() };
    module.visit(&mut saver);
    saver.checkpoint
}

struct Saver {
    path: ParameterPath,
    checkpoint: Checkpoint,
}

impl ModuleVisitor for Saver {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let axes = self.path.file_axes(D);
        let mut permutation = [0isize; D];
        for (position, axis) in axes.into_iter().enumerate() {
            permutation[position] = axis as isize;
        }
        let tensor = param.val().permute(permutation);
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data_as::<f32>().iter::<f32>().collect();
        self.checkpoint.insert(self.path.key(), HostTensor { shape, values });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        init::{Initialisation, randomise},
        layers::{Conv2d, Linear},
    };
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Pair {
        conv: Conv2d,
        heads: Vec<Linear>,
    }

    fn pair(seed: u64) -> Pair {
        let device = Device::flex();
        let pair =
            Pair { conv: Conv2d::same(2, 3, 3, &device), heads: vec![Linear::new(4, 5, &device).without_bias()] };
        randomise(pair, Initialisation::FanInUniform, seed)
    }

    #[test]
    fn a_saved_module_loads_back_equal_and_lies_in_pytorch_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let saved = weights_of(&pair(1));
        assert_eq!(saved.shape("conv.weight"), Some(&[3, 2, 3, 3][..]));
        assert_eq!(saved.shape("heads.0.weight"), Some(&[5, 4][..]));
        saved.save(&path, false, None).unwrap();
        let loaded = load_weights(pair(2), &Checkpoint::open(&path).unwrap()).unwrap();
        for key in ["conv.weight", "conv.bias", "heads.0.weight"] {
            assert_eq!(weights_of(&loaded).read(key).unwrap(), saved.read(key).unwrap());
        }
    }

    #[test]
    fn missing_unknown_and_misshapen_tensors_are_all_named() {
        let mut checkpoint = weights_of(&pair(1));
        checkpoint.remove("conv.bias");
        checkpoint.insert("extra", HostTensor { shape: vec![1], values: vec![0.0] });
        checkpoint.insert("heads.0.weight", HostTensor { shape: vec![4, 5], values: vec![0.0; 20] });
        let message = load_weights(pair(1), &checkpoint).unwrap_err().to_string();
        for part in ["`conv.bias` [3] is missing", "[4, 5], expected [5, 4]", "unknown tensor `extra`"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn every_truncation_of_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        weights_of(&pair(1)).save(&path, true, None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Checkpoint::open(&path).is_err(), "{length} of {} bytes were accepted", bytes.len());
        }
    }
}
