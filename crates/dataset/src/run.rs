//! The folder of a training run: what was asked for, what happened, and what it takes to go on.
//!
//! `recipe.toml` (resolved before work starts), `metrics.jsonl`, `events.out.tfevents.*` for TensorBoard, `samples/`,
//! `checkpoints/step-N/` and `model/`, the exportable result.

mod checkpoints;
mod events;
mod metrics_log;

use std::fs;
use std::path::{Path, PathBuf};

use files::{FolderLock, is_temporary, sweep, write_file};

pub use checkpoints::{Checkpoint, Checkpoints, Retention};
pub use events::{EventsWriter, ImageKind};
pub use metrics_log::MetricsLog;

use crate::{Error, Result};

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    dir: PathBuf,
}

impl RunDir {
    /// Begins a run in the folder `dir`, which is made where it is missing and must be empty, with its resolved recipe.
    ///
    /// # Errors
    /// [`Error::Occupied`] where files are there already, a former run's for instance; [`Error::File`].
    pub fn create(dir: impl AsRef<Path>, recipe: &str) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        fs::create_dir_all(&dir).map_err(Error::io("make the folder", &dir))?;
        for entry in fs::read_dir(&dir).map_err(Error::io("read the folder", &dir))? {
            let path = entry.map_err(Error::io("read the folder", &dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name != ".lock" && !is_temporary(&path) {
                return Err(Error::Occupied { example: name.into_owned(), path: dir });
            }
        }
        write_file(dir.join("recipe.toml"), recipe.as_bytes())?;
        Ok(Self { dir })
    }

    /// Opens a run that was begun.
    ///
    /// # Errors
    /// [`Error::NotARun`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        let reason = match (dir.is_dir(), Self::is_run(&dir)) {
            (true, true) => return Ok(Self { dir }),
            (true, false) => "it has no recipe.toml",
            (false, _) if dir.exists() => "it is a file",
            (false, _) => "it does not exist",
        };
        Err(Error::NotARun { reason: reason.into(), path: dir })
    }

    /// Whether the folder looks like a run.
    pub fn is_run(dir: impl AsRef<Path>) -> bool {
        dir.as_ref().join("recipe.toml").is_file()
    }

    /// The right to write into the run, held until dropped. What killed processes left in it is removed.
    ///
    /// # Errors
    /// [`Error::File`], also where another process trains here.
    pub fn lock(&self) -> Result<FolderLock> {
        let lock = FolderLock::acquire(&self.dir)?;
        sweep(&self.dir)?;
        Ok(lock)
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The resolved recipe, as text.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn recipe(&self) -> Result<String> {
        let path = self.dir.join("recipe.toml");
        fs::read_to_string(&path).map_err(Error::io("read the recipe", &path))
    }

    /// `samples`, which exists when this returns.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn samples_dir(&self) -> Result<PathBuf> {
        let path = self.dir.join("samples");
        fs::create_dir_all(&path).map_err(Error::io("make the folder", &path))?;
        Ok(path)
    }

    /// `model`: where the exportable result is, or will be. Write it with [`files::AtomicFolder`].
    pub fn model_dir(&self) -> PathBuf {
        self.dir.join("model")
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    /// The checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.dir.join("checkpoints"))
    }

    /// The log of numbers, continued after `resumed_step` (0 for a new run): later rows are removed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn metrics(&self, resumed_step: u64) -> Result<MetricsLog> {
        MetricsLog::open(self.metrics_path(), resumed_step)
    }

    /// A new TensorBoard events file, which makes TensorBoard forget whatever a former one said about steps after
    /// `resumed_step` (0 for a new run).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn events(&self, resumed_step: u64) -> Result<EventsWriter> {
        EventsWriter::create(&self.dir, resumed_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_begun_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        assert!(RunDir::open(&path).unwrap_err().to_string().contains("does not exist"));
        let run = RunDir::create(&path, "a = 1\n").unwrap();
        assert_eq!(run.recipe().unwrap(), "a = 1\n");
        assert!(matches!(RunDir::create(&path, "a = 2\n"), Err(Error::Occupied { .. })));
        assert_eq!(RunDir::open(&path).unwrap().recipe().unwrap(), "a = 1\n");
        let lock = run.lock().unwrap();
        assert!(matches!(run.lock(), Err(Error::File(files::Error::Locked { .. }))));
        drop(lock);
        assert!(run.samples_dir().unwrap().is_dir());
    }

    #[test]
    fn any_other_folder_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let error = RunDir::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("this is not a run (it has no recipe.toml); give a folder that `train` wrote"),
            "{error}"
        );
    }
}
