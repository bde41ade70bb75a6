//! Reading and writing weights in the layouts of PyTorch checkpoints, checking every key and shape.
//!
//! A module's parameters are named by their path of fields. Two kinds of layers differ between file and memory:
//! `Conv2d` (`[out, in, height, width]` against `[height, width, in, out]`) and `Linear` (`[out, in]` against
//! `[in, out]`). Tensors are read from the file one at a time, so a model needs its own size in memory and little more.

use crate::pickle::{is_pickle, open_pickle};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use safetensors::tensor::{Dtype, Metadata, TensorView};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// What can be wrong with a weights file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read or written.
    #[error("the weights cannot be read or written ({source}): {}", path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The file is not in safetensors format.
    #[error("the file is not a sound safetensors file ({reason}); download or copy it again: {}", path.display())]
    Format {
        /// What the parser said.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// A PyTorch pickle could not be read.
    #[error(
        "the PyTorch checkpoint cannot be read ({reason}); where PyTorch can load it, save its state dict with `python \
         -c \"import sys, torch; m = torch.load(sys.argv[1], map_location='cpu', weights_only=False); \
         torch.save(getattr(m, 'state_dict', lambda: m)(), sys.argv[2])\" OLD.pt NEW.pt` and give the new file: {}",
        path.display()
    )]
    Pickle {
        /// Reported by the reader.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// Names or shapes differ from what the configuration asks for.
    #[error(
        "the weights do not fit the network that the configuration describes: {}; \
         check that `config.json` and the weights belong together",
        list(problems)
    )]
    Mismatch {
        /// One sentence part for each difference.
        problems: Vec<String>,
    },
    /// The number type of a tensor is not a float we read.
    #[error("tensor `{key}` holds {dtype} values; f64, f32, f16 and bf16 are read, so convert the file first")]
    Dtype {
        /// Name of the tensor.
        key: String,
        /// Its type in the file.
        dtype: String,
    },
    /// The operating system refused to write a file.
    #[error(transparent)]
    File(#[from] files::Error),
}

pub(crate) fn list(problems: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}

/// A tensor on the host, in the layout of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Names of the weights in a folder of diffusers, in the order in which they are looked for.
pub(crate) const DIFFUSERS_WEIGHTS: [&str; 6] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.fp16.bin",
];

#[derive(Debug, Clone)]
enum Entry {
    Memory(HostTensor),
    InFile { file: Arc<Mutex<File>>, path: PathBuf, dtype: Dtype, shape: Vec<usize>, start: u64, num_bytes: usize },
}

/// Named tensors, in memory or still in their file.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    entries: BTreeMap<String, Entry>,
}

impl Checkpoint {
    /// Reads the header of a `.safetensors` file, or of all shards that a `*.index.json` names. PyTorch pickles (`.bin`,
    /// `.pth`, `.pt`) are read whole.
    ///
    /// # Errors
    /// [`WeightsError::Io`], [`WeightsError::Format`] and [`WeightsError::Pickle`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        if is_pickle(path) {
            return open_pickle(path, |_, _| true);
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return Self::open_shards(path);
        }
        let io = |source| WeightsError::Io { source, path: path.into() };
        let format = |reason: String| WeightsError::Format { reason, path: path.into() };
        let mut file = File::open(path).map_err(io)?;
        let num_bytes = file.metadata().map_err(io)?.len();
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(|_| format("it ends within its first 8 bytes".into()))?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > 100_000_000 || header_len + 8 > num_bytes {
            return Err(format(format!("its header claims {header_len} of {num_bytes} bytes")));
        }
        let mut header = vec![0; 8 + header_len as usize];
        header[..8].copy_from_slice(&prefix);
        file.read_exact(&mut header[8..]).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| format(error.to_string()))?;
        let file = Arc::new(Mutex::new(file));
        let mut entries = BTreeMap::new();
        for (key, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            if 8 + header_len + to as u64 > num_bytes {
                return Err(format(format!("tensor `{key}` lies beyond its end; the file is truncated")));
            }
            let expected = info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
            if to < from || to - from != expected {
                return Err(format(format!(
                    "tensor `{key}` has {} bytes instead of {expected}",
                    to.wrapping_sub(from)
                )));
            }
            let start = 8 + header_len + from as u64;
            let shape = info.shape.clone();
            let entry = Entry::InFile {
                file: file.clone(),
                path: path.into(),
                dtype: info.dtype,
                shape,
                start,
                num_bytes: to - from,
            };
            entries.insert(key, entry);
        }
        Ok(Self { entries })
    }

    fn open_shards(index_path: &Path) -> Result<Self, WeightsError> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let text = std::fs::read(index_path).map_err(|source| WeightsError::Io { source, path: index_path.into() })?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| WeightsError::Format { reason: error.to_string(), path: index_path.into() })?;
        let files: BTreeSet<&String> = index.weight_map.values().collect();
        let mut all = Self::default();
        for name in files {
            all.entries.extend(Self::open(&index_path.with_file_name(name))?.entries);
        }
        Ok(all)
    }

    /// Opens the first of `names` that exists in `folder`.
    ///
    /// # Errors
    /// [`WeightsError::Io`] naming the first candidate where none exists; else as [`Checkpoint::open`].
    pub fn open_in(folder: &Path, names: &[&str]) -> Result<Self, WeightsError> {
        let candidates: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        let found = candidates.iter().find(|path| path.is_file()).or(candidates.first());
        Self::open(found.map_or(folder, |path| path.as_path()))
    }

    /// Names in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape of a tensor without reading it.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.entries.get(key).map(|entry| match entry {
            Entry::Memory(tensor) => tensor.shape.as_slice(),
            Entry::InFile { shape, .. } => shape.as_slice(),
        })
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, key: impl Into<String>, tensor: HostTensor) {
        self.entries.insert(key.into(), Entry::Memory(tensor));
    }

    /// Drops a tensor; true where it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.entries.remove(key).is_some()
    }

    /// Gives every tensor the name that `rename` returns; `None` drops it.
    pub fn rename(self, mut rename: impl FnMut(&str) -> Option<String>) -> Self {
        let entries = self.entries.into_iter().filter_map(|(key, entry)| Some((rename(&key)?, entry))).collect();
        Self { entries }
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] where there is none of that name, [`WeightsError::Io`], [`WeightsError::Dtype`].
    pub fn read(&self, key: &str) -> Result<HostTensor, WeightsError> {
        match self.entries.get(key) {
            None => Err(WeightsError::Mismatch { problems: vec![format!("there is no tensor `{key}`")] }),
            Some(Entry::Memory(tensor)) => Ok(tensor.clone()),
            Some(Entry::InFile { file, path, dtype, shape, start, num_bytes }) => {
                let io = |source| WeightsError::Io { source, path: path.clone() };
                let mut bytes = vec![0; *num_bytes];
                {
                    // A poisoned lock only means that another reader panicked; each reader seeks for itself.
                    let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    file.seek(SeekFrom::Start(*start)).map_err(io)?;
                    file.read_exact(&mut bytes).map_err(io)?;
                }
                Ok(HostTensor { shape: shape.clone(), values: to_f32(key, *dtype, &bytes)? })
            }
        }
    }

    /// Writes all tensors to one file, which appears whole or not at all: f32, or f16 where `half` is set.
    ///
    /// # Errors
    /// [`WeightsError::Io`], [`WeightsError::File`], and what reading tensors that still lie in a file gives; a former
    /// file is untouched then.
    pub fn save(&self, path: &Path, half: bool, metadata: Option<HashMap<String, String>>) -> Result<(), WeightsError> {
        let mut buffers = Vec::with_capacity(self.entries.len());
        for key in self.entries.keys() {
            let HostTensor { shape, values } = self.read(key)?;
            let bytes: Vec<u8> = if half {
                values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
            } else {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
            buffers.push((key.clone(), shape, bytes));
        }
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let format = |error| match error {
            safetensors::SafeTensorError::IoError(source) => WeightsError::Io { source, path: path.into() },
            error => WeightsError::Format { reason: error.to_string(), path: path.into() },
        };
        let views = buffers
            .iter()
            .map(|(key, shape, bytes)| Ok((key.as_str(), TensorView::new(dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(format)?;
        // transformers refuses files without this entry.
        let mut metadata = metadata.unwrap_or_default();
        metadata.insert("format".into(), "pt".into());
        let file = files::AtomicFile::create(path)?;
        safetensors::serialize_to_file(views, Some(metadata), file.path()).map_err(format)?;
        Ok(file.commit()?)
    }
}

fn to_f32(key: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, WeightsError> {
    Ok(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.as_chunks::<2>().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        other => return Err(WeightsError::Dtype { key: key.into(), dtype: format!("{other:?}") }),
    })
}

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
/// [`WeightsError::Mismatch`] listing each missing, unknown or mis-shaped tensor, and reading errors.
pub fn load_weights<M: Module>(module: M, checkpoint: &Checkpoint) -> Result<M, WeightsError> {
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
    if problems.is_empty() { Ok(module) } else { Err(WeightsError::Mismatch { problems }) }
}

/// Memory that may lie unused while weights are read.
const MOST_UNUSED_BYTES: usize = 64 << 20;

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    path: ParameterPath,
    seen: BTreeSet<String>,
    problems: Vec<String>,
    error: Option<WeightsError>,
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
