//! What the stages leave on disk for one another: datasets and run folders.
//!
//! | part | what it holds |
//! | --- | --- |
//! | [`Dataset`], [`DatasetWriter`] | `dataset.toml`, `manifest.parquet`, `images-NNNNN.safetensors`, `masks-NNNNN.safetensors` |
//! | [`EncodingsWriter`], [`EncodingsReader`] | `encodings/<name>-<fingerprint>/NNNNN.safetensors`: what frozen networks made of the images, f16 |
//! | [`RunDir`] | `recipe.toml`, `metrics.jsonl`, TensorBoard events, `checkpoints/step-N/`, `samples/`, `model/` |
//! | [`SplitPlan`], [`find_leaks`] | patient-wise splits and the check that they are sound |
//! | [`NearHashes`], [`NearIndex`], [`join_near_duplicates`] | near duplicates by their perceptual hashes, and drawn splits that keep them together |
//! | [`KeyMap`] | a small table by hashes |
//! | [`PatientSalt`] | salted hashes instead of patient identifiers |
//! | [`Table`] | results as CSV and Parquet |
//! | [`read_npz`], [`write_npz`] | arrays of numbers as NumPy keeps them |
//!
//! Two promises hold throughout. Killing a process at any moment loses at most the shard in flight, and what is found
//! on disk afterwards is either complete or ignored. Memory does not grow with the number of images: manifests stream,
//! images and encodings are read where they lie.
//!
//! Nothing here decodes pictures, knows about tensors on devices, or prints.

mod dataset;
mod encodings;
mod error;
mod joined;
mod keys;
mod layout;
mod manifest;
mod near;
mod npz;
mod parquet_columns;
mod pixel_hash;
mod reopen;
mod run;
mod salt;
mod shard_writer;
mod shards;
mod split;
mod table;
mod writer;

pub use dataset::{Counts, DATASET_VERSION, Dataset, DatasetInfo, PIXEL_HASH_KIND, Problem};
pub use encodings::{EncodingsInfo, EncodingsReader, EncodingsWriter, TensorSpec};
pub use error::{Error, Result};
pub use joined::{JoinedSplits, SplitOrigin, join_near_duplicates};
pub use keys::KeyMap;
pub use layout::DatasetSettings;
pub use manifest::{ManifestReader, ManifestRow, ManifestWriter, Provenance, Split};
pub use near::{MAX_NEAR_DISTANCE, NearHashes, NearIndex};
pub use npz::{NumpyArray, read_npz, write_npz};
pub use pixel_hash::{PixelHash, bytes_hash, pixel_key, pixels_hash, words_hash};
pub use run::{Checkpoint, Checkpoints, EventsWriter, ImageKind, MetricsLog, Retention, RunDir};
pub use salt::{PatientSalt, canonical_patient};
pub use shards::DEFAULT_SHARD_SIZE;
pub use split::{Leaks, SplitPlan, find_leaks, text_key};
pub use table::{Cells, Table};
pub use writer::{DatasetWriter, remove_remains};
