//! A finished dataset made unfinished again, to add images at its end.
//!
//! Nothing that is there is written anew but its last shard, should it not be full. The rows go back into `partial`
//! first; removing `dataset.toml` is what reopens the dataset. A kill before leaves the finished one, a kill after an
//! unfinished one that continues like any other.

use std::fs;
use std::path::Path;

use files::{FolderLock, write_file};

use crate::layout::{KEPT, PARTIAL, SETTINGS, remove_if_there, rows_path, to_toml};
use crate::manifest::ManifestWriter;
use crate::{Dataset, DatasetSettings, DatasetWriter, Error, Result};

impl DatasetWriter {
    /// Continues the finished dataset in the folder `dir`: what is pushed comes after what is there, which keeps numbers,
    /// ids and splits. Encodings of the dataset are of no use afterwards, since it is another one.
    ///
    /// # Errors
    /// Those of [`Dataset::open`] and [`DatasetWriter::create_or_resume`].
    pub fn reopen(dir: impl AsRef<Path>, settings: DatasetSettings) -> Result<Self> {
        let dir = dir.as_ref();
        let dataset = Dataset::open(dir)?;
        if let Some((setting, was, now)) = dataset.info().settings().first_difference(&settings) {
            let what = "the dataset";
            return Err(Error::OtherSettings { what, setting, was, now, path: dir.to_path_buf() });
        }
        let partial = dir.join(PARTIAL);
        fs::create_dir_all(&partial).map_err(Error::io("make the folder", &partial))?;
        let lock = FolderLock::acquire(&partial)?;
        let mut rows = dataset.rows()?;
        for shard in 0..dataset.num_shards() {
            let mut writer = ManifestWriter::create(rows_path(dir, shard))?;
            for row in rows.by_ref().take(settings.shard_size) {
                writer.push(row?)?;
            }
            writer.finish()?;
        }
        // Of a former try that had come further.
        remove_if_there(&rows_path(dir, dataset.num_shards()))?;
        write_file(partial.join(KEPT), dataset.len().to_string().as_bytes())?;
        write_file(partial.join(SETTINGS), to_toml(&settings, dir)?.as_bytes())?;
        let info = dir.join("dataset.toml");
        fs::remove_file(&info).map_err(Error::io("remove the file", &info))?;
        drop(lock);
        Self::create_or_resume(dir, settings)
    }
}
