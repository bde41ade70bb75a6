//! Safetensors files read where they lie: the header once, then any rows of any tensor by position.
//!
//! Positioned reads instead of memory maps: a map needs `unsafe`, and a file cut short under it kills the process,
//! where a read gives an error. The operating system caches both alike.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, View};

use crate::{AtomicFile, Error, Result};

/// The remedy for a damaged file of this program's own making.
pub const REMAKE: &str = "copy the folder again completely, or delete it and make it again";

/// No sound header is larger; a random file read as a header often is.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open safetensors file. Reading takes `&self` and may happen on several threads at once.
#[derive(Debug)]
pub struct TensorFile {
    file: File,
    path: PathBuf,
    remedy: &'static str,
    header: Metadata,
    data_start: u64,
}

impl TensorFile {
    /// Opens a file of this program's own making; see [`TensorFile::open_foreign`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_foreign(path, REMAKE)
    }

    /// Opens the file and checks that its header is sound and its length what the header says. `remedy` is what to do
    /// about one that is damaged, as an imperative.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_foreign(path: impl AsRef<Path>, remedy: &'static str) -> Result<Self> {
        let path = path.as_ref();
        let read_error = || Error::io("read the file", path);
        let file = File::open(path).map_err(read_error())?;
        let len = file.metadata().map_err(read_error())?.len();
        let damaged = |detail: String| Error::damaged("safetensors file", remedy, path, detail);
        if len < 8 {
            return Err(damaged(format!("{len} bytes, too short for a header")));
        }
        let mut prefix = [0; 8];
        read_exact_at(&file, &mut prefix, 0).map_err(read_error())?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER_BYTES || header_len > len - 8 {
            return Err(damaged(format!("a header of {header_len} bytes in a file of {len}")));
        }
        let mut header = vec![0; header_len as usize];
        read_exact_at(&file, &mut header, 8).map_err(read_error())?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(format!("header: {error}")))?;
        let data_start = 8 + header_len;
        let expected = data_start + header.data_len() as u64;
        if expected != len {
            return Err(damaged(format!("{len} bytes, the header announces {expected}")));
        }
        Ok(Self { file, path: path.to_path_buf(), remedy, header, data_start })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// The element type and shape of a tensor, `None` where there is no tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// The text entries of the header, without order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header.metadata().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Fills `bytes` with the rows of a tensor (entries along its first dimension) from row `first` on, as many as
    /// `bytes` has room for.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such tensor or it has too few rows, [`Error::Io`].
    pub fn read_rows(&self, name: &str, first: usize, bytes: &mut [u8]) -> Result<()> {
        let info = self.info(name)?;
        let (start, end) = info.data_offsets;
        let rows = info.shape.first().copied().unwrap_or(0).max(1);
        let row_bytes = (end - start) / rows;
        let last = first.checked_mul(row_bytes).and_then(|rows| rows.checked_add(start)?.checked_add(bytes.len()));
        if last.is_none_or(|last| last > end) {
            let detail = format!("tensor {name:?} of shape {:?} has no row {first}", info.shape);
            return Err(Error::damaged("safetensors file", self.remedy, &self.path, detail));
        }
        let offset = self.data_start + (start + first * row_bytes) as u64;
        read_exact_at(&self.file, bytes, offset).map_err(Error::io("read the file", &self.path))
    }

    /// All bytes of a tensor.
    ///
    /// # Errors
    /// As [`TensorFile::read_rows`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let (start, end) = self.info(name)?.data_offsets;
        let mut bytes = vec![0; end - start];
        self.read_rows(name, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Checks type and shape of a tensor.
    pub fn expect(&self, what: &'static str, name: &str, dtype: Dtype, shape: &[usize]) -> Result<()> {
        match self.tensor(name) {
            Some((found, found_shape)) if found == dtype && found_shape == shape => Ok(()),
            found => {
                let found = found.map_or("nothing".into(), |(dtype, shape)| format!("{dtype} {shape:?}"));
                let detail = format!("tensor {name:?}: expected {dtype} {shape:?}, found {found}");
                Err(Error::damaged(what, self.remedy, &self.path, detail))
            }
        }
    }

    /// Everything in front of the tensors: the header with its length.
    fn header_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.data_start as usize];
        read_exact_at(&self.file, &mut bytes, 0).map_err(Error::io("read the file", &self.path))?;
        Ok(bytes)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.header.info(name).ok_or_else(|| {
            Error::damaged("safetensors file", self.remedy, &self.path, format!("it has no tensor {name:?}"))
        })
    }
}

/// A tensor about to be written: little-endian bytes, row-major.
#[derive(Debug)]
pub struct TensorToWrite<'a> {
    /// The element type.
    pub dtype: Dtype,
    /// The shape; its product times the element size is `bytes.len()`.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Cow<'a, [u8]>,
}

impl View for &TensorToWrite<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a safetensors file in one step, with text entries in its header.
///
/// # Errors
/// [`Error::Size`] where bytes and shape contradict each other, [`Error::Io`].
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(&str, TensorToWrite)],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let path = path.as_ref();
    for (name, tensor) in tensors {
        let expected = num_bytes(tensor.dtype, &tensor.shape);
        if expected != tensor.bytes.len() {
            let what = format!("tensor {name:?} of type {} and shape {:?}", tensor.dtype, tensor.shape);
            return Err(Error::Size { what: format!("{what} (in bytes)"), expected, found: tensor.bytes.len() });
        }
    }
    let metadata = (!metadata.is_empty())
        .then(|| metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    let views = tensors.iter().map(|(name, tensor)| (*name, tensor));
    let mut file = AtomicFile::create(path)?;
    // Straight to the disk: weights of gigabytes are not copied once more.
    safetensors::serialize_to_file(views, metadata, file.path()).map_err(|error| {
        Error::io("write the file", path)(match error {
            SafeTensorError::IoError(error) => error,
            error => io::Error::other(error),
        })
    })?;
    let mut header = TensorFile::open(file.path())?.header_bytes()?;
    sort_metadata(&mut header);
    file.overwrite_start(&header).map_err(Error::io("write the file", path))?;
    file.commit()
}

/// Sorts the text entries of a file's header: the library writes them in an order that changes from run to run.
fn sort_metadata(bytes: &mut [u8]) {
    const START: &[u8] = br#"{"__metadata__":"#;
    let Some(header) = bytes.get_mut(8..).filter(|header| header.starts_with(START)) else { return };
    let entries = &mut header[START.len()..];
    let mut found = serde_json::Deserializer::from_slice(entries).into_iter::<BTreeMap<String, String>>();
    let Some(Ok(metadata)) = found.next() else { return };
    let len = found.byte_offset();
    if let Some(sorted) = serde_json::to_vec(&metadata).ok().filter(|sorted| sorted.len() == len) {
        entries[..len].copy_from_slice(&sorted);
    }
}

/// What stands before the bytes of a file's only tensor: length, name, type and shape, `min_len` bytes at least.
pub fn header(name: &str, dtype: Dtype, shape: &[usize], min_len: usize) -> io::Result<Vec<u8>> {
    let info = TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (0, num_bytes(dtype, shape)) };
    let metadata = Metadata::new(None, vec![(name.to_owned(), info)]).map_err(io::Error::other)?;
    let mut json = serde_json::to_vec(&metadata)?;
    // Spaces are allowed after the names, for tensors to begin at multiples of eight.
    json.resize(json.len().max(min_len.saturating_sub(8)).next_multiple_of(8), b' ');
    Ok([(json.len() as u64).to_le_bytes().to_vec(), json].concat())
}

fn num_bytes(dtype: Dtype, shape: &[usize]) -> usize {
    shape.iter().product::<usize>() * dtype.bitsize() / 8
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let count = file.seek_read(bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write_example(path: &Path) {
        let counting: Vec<u8> = (0..12).collect();
        let tensor = TensorToWrite { dtype: Dtype::U8, shape: vec![4, 3], bytes: counting.into() };
        let other = TensorToWrite { dtype: Dtype::F32, shape: vec![1], bytes: 1.5f32.to_le_bytes().to_vec().into() };
        write_tensors(path, &[("a", tensor), ("b", other)], &[("made", "here")]).unwrap();
    }

    #[test]
    fn rows_are_read_by_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_example(&path);
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.tensor("a"), Some((Dtype::U8, &[4, 3][..])));
        assert_eq!(file.metadata().collect::<Vec<_>>(), [("made", "here")]);
        let mut rows = [0; 6];
        file.read_rows("a", 1, &mut rows).unwrap();
        assert_eq!(rows, [3, 4, 5, 6, 7, 8]);
        assert_eq!(file.read("b").unwrap(), 1.5f32.to_le_bytes());
        assert!(file.read_rows("a", 3, &mut rows).is_err());
        assert!(file.read("c").unwrap_err().to_string().contains("no tensor \"c\""));
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let metadata = [("b", "2"), ("a", "1 \"ä\""), ("d", "4"), ("c", "3"), ("e", "5")];
        let mut first = None;
        for _ in 0..20 {
            let tensor = TensorToWrite { dtype: Dtype::U8, shape: vec![2], bytes: vec![1, 2].into() };
            write_tensors(&path, &[("x", tensor)], &metadata).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(first.get_or_insert_with(|| bytes.clone()) == &bytes);
        }
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.read("x").unwrap(), [1, 2]);
        let read: BTreeMap<&str, &str> = file.metadata().collect();
        assert_eq!(read, metadata.into_iter().collect());
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_example(&path);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let error = TensorFile::open(&path).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{len}: {error}");
            assert!(error.to_string().ends_with("x.safetensors"));
        }
    }

    #[test]
    fn wrong_sizes_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let tensor = TensorToWrite { dtype: Dtype::F16, shape: vec![2, 2], bytes: vec![0; 7].into() };
        let error = write_tensors(&path, &[("a", tensor)], &[]).unwrap_err().to_string();
        assert!(error.contains("has 7 values, expected 8"), "{error}");
        assert!(!path.exists());
    }
}
