//! The border between a path and something that can be read: a file on the disk, or a member of an archive.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use radiograph::{DecodeError, DecodeOptions, read_image};

use super::Archive;

/// A file of a source.
#[derive(Clone, Debug)]
pub enum FileSource {
    /// On the disk.
    Disk(PathBuf),
    /// In an archive, by its number there.
    Member(Arc<Archive>, usize),
}

impl FileSource {
    pub(super) fn member(archive: &Arc<Archive>, number: usize) -> Self {
        Self::Member(Arc::clone(archive), number)
    }

    /// The file on the disk: for a member, its archive.
    pub fn disk_path(&self) -> &Path {
        match self {
            Self::Disk(path) => path,
            Self::Member(archive, _) => archive.path(),
        }
    }

    /// The path of the file; a member's is below its archive.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Disk(path) => path.clone(),
            Self::Member(archive, number) => archive.path().join(archive.name(*number)),
        }
    }

    /// The archive and the place in it of a file that is best read after those before it, by one thread.
    pub(crate) fn place_in_stream(&self) -> Option<(&Path, u64)> {
        match self {
            Self::Member(archive, number) => Some((archive.path(), archive.place_in_stream(*number)?)),
            Self::Disk(_) => None,
        }
    }

    /// The bytes of an image for [`radiograph::decode_bytes`], or a sentence.
    ///
    /// # Errors
    /// See [`read_image`].
    pub fn read_image(&self, options: &DecodeOptions) -> Result<Vec<u8>, String> {
        let bytes = self
            .read(|reader, size| read_image(reader, size, options))
            .unwrap_or_else(|error| Err(DecodeError::Read(error)));
        bytes.map_err(|error| match error {
            DecodeError::Read(error) => self.unreadable(&error),
            error => error.to_string(),
        })
    }

    /// All bytes, at most `limit`, or a sentence.
    ///
    /// # Errors
    /// More bytes, a file that cannot be read.
    pub fn read_bytes(&self, limit: u64) -> Result<Vec<u8>, String> {
        let bytes = self.read(|reader, _| {
            let mut bytes = Vec::new();
            reader.take(limit.saturating_add(1)).read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = bytes.flatten().map_err(|error| self.unreadable(&error))?;
        if bytes.len() as u64 > limit {
            return Err(format!("it has more than {limit} bytes, the most that is read of such a file; leave it out"));
        }
        Ok(bytes)
    }

    fn read<T>(&self, read: impl FnOnce(&mut dyn Read, u64) -> T) -> io::Result<T> {
        match self {
            Self::Disk(path) => {
                // Opening a pipe would wait for whoever writes into it.
                let about = std::fs::metadata(path)?;
                if !about.is_file() {
                    return Err(io::Error::other("it is a folder, a pipe or a device"));
                }
                Ok(read(&mut File::open(path)?, about.len()))
            }
            Self::Member(archive, number) => archive.read(*number, read),
        }
    }

    fn unreadable(&self, error: &io::Error) -> String {
        match self {
            Self::Disk(_) => {
                format!("the file cannot be read ({error}); check that it exists and that you may read it")
            }
            Self::Member(..) => format!(
                "it cannot be read from the archive ({error}), which is damaged here or was changed meanwhile; download \
                 the archive again"
            ),
        }
    }
}

impl Default for FileSource {
    fn default() -> Self {
        Self::Disk(PathBuf::new())
    }
}

impl PartialEq for FileSource {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl<P: Into<PathBuf>> From<P> for FileSource {
    fn from(path: P) -> Self {
        Self::Disk(path.into())
    }
}
