//! Weights by name: in memory, or still in their file and read one at a time, so that a model needs its own size in
//! memory and little more.

use crate::error::{Error, Result};
use crate::pickle::{is_pickle, open_pickle};
use files::{TensorFile, TensorToWrite};
use safetensors::tensor::Dtype;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

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
    InFile { file: Arc<TensorFile>, name: String },
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
    /// [`Error::Io`], [`Error::File`] and [`Error::Pickle`].
    pub fn open(path: &Path) -> Result<Self> {
        if is_pickle(path) {
            return open_pickle(path, |_, _| true);
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return Self::open_shards(path);
        }
        let file = Arc::new(TensorFile::open_foreign(path, "download or copy the file again")?);
        let entries = file.names().into_iter().map(|name| {
            let entry = Entry::InFile { file: file.clone(), name: name.clone() };
            (name, entry)
        });
        Ok(Self { entries: entries.collect() })
    }

    fn open_shards(index_path: &Path) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let text = std::fs::read(index_path).map_err(Error::io(index_path))?;
        let index: Index = serde_json::from_slice(&text).map_err(Error::json(index_path))?;
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
    /// [`Error::Io`] naming the first candidate where none exists; else as [`Checkpoint::open`].
    pub fn open_in(folder: &Path, names: &[&str]) -> Result<Self> {
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
        match self.entries.get(key)? {
            Entry::Memory(tensor) => Some(&tensor.shape),
            Entry::InFile { file, name } => file.tensor(name).map(|(_, shape)| shape),
        }
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
    /// [`Error::Mismatch`] where there is none of that name, [`Error::File`], [`Error::Dtype`].
    pub fn read(&self, key: &str) -> Result<HostTensor> {
        match self.entries.get(key) {
            None => Err(Error::Mismatch { problems: vec![format!("there is no tensor `{key}`")] }),
            Some(Entry::Memory(tensor)) => Ok(tensor.clone()),
            Some(Entry::InFile { file, name }) => {
                let (dtype, shape) = file.tensor(name).unwrap_or((Dtype::F32, &[]));
                Ok(HostTensor { shape: shape.to_vec(), values: to_f32(key, dtype, &file.read(name)?)? })
            }
        }
    }

    /// Writes all tensors to one file, which appears whole or not at all: f32, or f16 where `half` is set.
    ///
    /// # Errors
    /// [`Error::File`], and what reading tensors that still lie in a file gives; a former
    /// file is untouched then.
    pub fn save(&self, path: &Path, half: bool, metadata: Option<HashMap<String, String>>) -> Result<()> {
        let mut tensors = Vec::with_capacity(self.entries.len());
        for key in self.entries.keys() {
            let HostTensor { shape, values } = self.read(key)?;
            let (dtype, bytes): (Dtype, Vec<u8>) = if half {
                (Dtype::F16, values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect())
            } else {
                (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            };
            tensors.push((key.as_str(), TensorToWrite { dtype, shape, bytes: bytes.into() }));
        }
        // transformers refuses files without this entry.
        let mut metadata = metadata.unwrap_or_default();
        metadata.insert("format".into(), "pt".into());
        let metadata: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Ok(files::write_tensors(path, &tensors, &metadata)?)
    }
}

fn to_f32(key: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    Ok(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.as_chunks::<2>().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        other => return Err(Error::Dtype { key: key.into(), dtype: format!("{other:?}") }),
    })
}
