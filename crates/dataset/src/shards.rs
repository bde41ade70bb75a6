//! Shards: runs of images of equal length, one file each, so that millions of images are thousands of files.
//!
//! Image `i` is row `i % shard_size` of shard `i / shard_size`. `images-NNNNN.safetensors` holds `images`, u8
//! `[n, size, size]`. `masks-NNNNN.safetensors`, only there when an image of the shard has a mask, holds `masks`, u8
//! 0 or 1 `[m, size, size]`, and `rows`, u32 `[m]`: the row of the shard that each mask belongs to, ascending.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::Dtype;

use crate::{Error, Result};
use files::tensors::{REMAKE, TensorFile, TensorToWrite, header, write_tensors};

/// Images per shard unless asked otherwise: 16 MB at 128 px, 256 MB at 512 px.
pub const DEFAULT_SHARD_SIZE: usize = 1000;

/// Open files kept at hand. Far below the limit of 1,024 (or, on macOS, 256) that systems set by default.
pub(crate) const MAX_OPEN_FILES: usize = 96;

/// The path of an image shard.
pub(crate) fn images_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("images-{shard:05}.safetensors"))
}

/// The path of a mask shard.
pub(crate) fn masks_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("masks-{shard:05}.safetensors"))
}

/// What stands before the images `[num, size, size]` of a shard, as long as it is before those of a full one of
/// `shard_size`, so that images can be written before their number is known.
pub(crate) fn images_header(num: usize, size: usize, shard_size: usize) -> io::Result<Vec<u8>> {
    let header = |num: usize, min_len: usize| header("images", Dtype::U8, &[num, size, size], min_len);
    header(num, header(shard_size.max(num), 0)?.len())
}

/// Writes the masks `[m, size, size]` of a shard and the rows they belong to.
pub(crate) fn write_masks(path: &Path, size: usize, masks: &[u8], rows: &[u32]) -> Result<()> {
    let rows_bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
    let masks = TensorToWrite { dtype: Dtype::U8, shape: vec![rows.len(), size, size], bytes: masks.into() };
    let rows = TensorToWrite { dtype: Dtype::U32, shape: vec![rows.len()], bytes: rows_bytes.into() };
    Ok(write_tensors(path, &[("masks", masks), ("rows", rows)], &[])?)
}

/// An open mask shard with its rows.
#[derive(Debug)]
pub(crate) struct MaskShard {
    file: TensorFile,
    rows: Vec<u32>,
}

impl MaskShard {
    pub(crate) fn open(path: &Path, size: usize) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let bytes = file.read("rows")?;
        let rows: Vec<u32> = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        file.expect("mask shard", "rows", Dtype::U32, &[rows.len()])?;
        file.expect("mask shard", "masks", Dtype::U8, &[rows.len(), size, size])?;
        if !rows.is_sorted() {
            return Err(Error::damaged("mask shard", REMAKE, path, "its rows are not ascending"));
        }
        Ok(Self { file, rows })
    }

    /// Fills `mask` with the mask of a row of the shard; `false` where it has none.
    pub(crate) fn read(&self, row: usize, mask: &mut [u8]) -> Result<bool> {
        match self.rows.binary_search_by_key(&row, |&row| row as usize) {
            Ok(position) => {
                self.file.read_rows("masks", position, mask)?;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// The rows that have masks.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }
}

/// Open shards, at most so many of them: the one that has not been used for longest makes room.
#[derive(Debug)]
pub(crate) struct OpenShards<T> {
    max_open: usize,
    state: Mutex<OpenState<T>>,
}

#[derive(Debug)]
struct OpenState<T> {
    shards: HashMap<usize, (u64, Arc<T>)>,
    clock: u64,
}

impl<T> OpenShards<T> {
    pub(crate) fn new(max_open: usize) -> Self {
        Self { max_open, state: Mutex::new(OpenState { shards: HashMap::new(), clock: 0 }) }
    }

    /// The open shard, opened by `open` where it is not.
    pub(crate) fn get(&self, shard: usize, open: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        // A panic elsewhere leaves at worst a shard out of the table, so a poisoned lock is still good.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        if let Some((used, file)) = state.shards.get_mut(&shard) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open()?);
        if state.shards.len() >= self.max_open
            && let Some(oldest) = state.shards.iter().min_by_key(|(_, (used, _))| *used).map(|(&shard, _)| shard)
        {
            state.shards.remove(&oldest);
        }
        state.shards.insert(shard, (now, Arc::clone(&file)));
        Ok(file)
    }
}

/// Opens a shard file that must be there.
pub(crate) fn open_shard(what: &'static str, path: &Path) -> Result<TensorFile> {
    if path.exists() {
        Ok(TensorFile::open(path)?)
    } else {
        Err(Error::MissingShard { what, path: path.to_path_buf() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn masks_are_found_by_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = masks_path(dir.path(), 0);
        write_masks(&path, 2, &[1, 1, 0, 0, 0, 1, 0, 1], &[3, 7]).unwrap();
        let shard = MaskShard::open(&path, 2).unwrap();
        let mut mask = [9; 4];
        assert!(!shard.read(0, &mut mask).unwrap());
        assert!(shard.read(7, &mut mask).unwrap());
        assert_eq!(mask, [0, 1, 0, 1]);
        assert!(MaskShard::open(&path, 3).unwrap_err().to_string().contains("expected U8 [2, 3, 3]"));
    }

    #[test]
    fn headers_are_those_of_the_library_and_of_one_length() {
        let images = vec![7; 3 * 4 * 4];
        let view = safetensors::tensor::TensorView::new(Dtype::U8, vec![3, 4, 4], &images).unwrap();
        let expected = safetensors::serialize([("images", view)], None).unwrap();
        let whole = [images_header(3, 4, 3).unwrap(), images.clone()].concat();
        assert_eq!(whole, expected);

        let dir = tempfile::tempdir().unwrap();
        let path = images_path(dir.path(), 0);
        for shard_size in [1000, 1_000_000_000] {
            let header = images_header(3, 4, shard_size).unwrap();
            assert_eq!(header.len(), images_header(shard_size, 4, shard_size).unwrap().len());
            std::fs::write(&path, [header, images.clone()].concat()).unwrap();
            let file = TensorFile::open(&path).unwrap();
            file.expect("image shard", "images", Dtype::U8, &[3, 4, 4]).unwrap();
            assert_eq!(file.read("images").unwrap(), images);
        }
    }

    #[test]
    fn few_files_stay_open_and_the_recent_ones_do() {
        let shards = OpenShards::new(MAX_OPEN_FILES);
        let opened = Cell::new(0);
        let get = |shard| {
            shards.get(shard, || {
                opened.set(opened.get() + 1);
                Ok(shard)
            })
        };
        for shard in 0..MAX_OPEN_FILES {
            get(shard).unwrap();
        }
        assert_eq!(*get(0).unwrap(), 0);
        assert_eq!(opened.get(), MAX_OPEN_FILES);
        get(MAX_OPEN_FILES).unwrap();
        // Shard 0 was used last before, so shard 1 made room.
        get(0).unwrap();
        assert_eq!(opened.get(), MAX_OPEN_FILES + 1);
        get(1).unwrap();
        assert_eq!(opened.get(), MAX_OPEN_FILES + 2);
        assert_eq!(shards.state.lock().unwrap().shards.len(), MAX_OPEN_FILES);
    }
}
