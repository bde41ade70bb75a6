//! `checkpoints/step-N/`: folders that are complete or ignored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use files::{AtomicFolder, sweep, write_file};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const MARK: &str = "complete.json";

/// A complete checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// The training step after which it was taken.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// Which checkpoints stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The newest so many stay. Default 2: should the newest turn out unsound, there is another.
    pub keep_last: usize,
    /// Those whose step is a multiple stay for good; 0, the default, keeps none for that reason.
    pub keep_every: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: 2, keep_every: 0 }
    }
}

/// What `complete.json` says, so that a copy that was cut short is noticed.
#[derive(Serialize, Deserialize)]
struct Mark {
    step: u64,
    /// The size of every file in bytes, by its path in the checkpoint.
    files: BTreeMap<String, u64>,
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints in the folder `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Takes a checkpoint: `write` puts its files into the folder it is given, and when it succeeds they appear as
    /// `step-N` all at once. Only one process may do so at a time, see [`crate::RunDir::lock`].
    ///
    /// # Errors
    /// Those of `write`, and [`Error::File`]; the former checkpoints are untouched then.
    pub fn write<E: From<Error>>(
        &self,
        step: u64,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Checkpoint, E> {
        let path = self.dir.join(format!("step-{step}"));
        let folder = AtomicFolder::create(&path).map_err(Error::from)?;
        write(folder.path())?;
        let mut files = BTreeMap::new();
        list_files(folder.path(), "", &mut files)?;
        let mark = serde_json::to_vec_pretty(&Mark { step, files })
            .map_err(|error| Error::io("write the checkpoint", &path)(error.into()))?;
        write_file(folder.path().join(MARK), &mark).and_then(|()| folder.commit()).map_err(Error::from)?;
        Ok(Checkpoint { step, path })
    }

    /// The complete checkpoints, ascending by step.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn list(&self) -> Result<Vec<Checkpoint>> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::io("read the folder", &self.dir))? {
            let path = entry.map_err(Error::io("read the folder", &self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let step = name.strip_prefix("step-").and_then(|digits| digits.parse().ok());
            found.extend(step.filter(|&step| is_complete(&path, step)).map(|step| Checkpoint { step, path }));
        }
        found.sort();
        Ok(found)
    }

    /// The complete checkpoint of the highest step.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        Ok(self.list()?.pop())
    }

    /// Deletes the checkpoints that need not stay, and what killed processes left behind.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn prune(&self, retention: Retention) -> Result<()> {
        let mut checkpoints = self.list()?;
        checkpoints.truncate(checkpoints.len().saturating_sub(retention.keep_last.max(1)));
        for Checkpoint { step, path } in checkpoints {
            if retention.keep_every == 0 || step % retention.keep_every != 0 {
                // Without its mark a checkpoint does not count: a kill while deleting leaves none that looks whole.
                fs::remove_file(path.join(MARK)).map_err(Error::io("delete the checkpoint", &path))?;
                fs::remove_dir_all(&path).map_err(Error::io("delete the checkpoint", &path))?;
            }
        }
        Ok(sweep(&self.dir)?)
    }
}

fn is_complete(path: &Path, step: u64) -> bool {
    let mark = fs::read(path.join(MARK)).ok().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    mark.is_some_and(|mark| {
        let has = |(name, &size): (&String, &u64)| fs::metadata(path.join(name)).is_ok_and(|file| file.len() == size);
        mark.step == step && mark.files.iter().all(has)
    })
}

fn list_files(dir: &Path, prefix: &str, files: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let entry = entry.map_err(Error::io("read the folder", dir))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().map_err(Error::io("read the folder", dir))?;
        if metadata.is_dir() {
            list_files(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, metadata.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(checkpoints: &Checkpoints, step: u64) -> Checkpoint {
        let write = |dir: &Path| -> Result<()> {
            fs::create_dir(dir.join("ema")).unwrap();
            fs::write(dir.join("ema/model.safetensors"), step.to_string()).unwrap();
            Ok(())
        };
        checkpoints.write(step, write).unwrap()
    }

    fn steps(checkpoints: &Checkpoints) -> Vec<u64> {
        checkpoints.list().unwrap().iter().map(|checkpoint| checkpoint.step).collect()
    }

    #[test]
    fn the_latest_complete_one_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().join("checkpoints"));
        assert_eq!(checkpoints.latest().unwrap(), None);
        // By number, not by name: 9 < 10.
        for step in [9, 10, 8] {
            take(&checkpoints, step);
        }
        assert_eq!(checkpoints.latest().unwrap().unwrap().step, 10);
        // A copy that was cut short, one without its mark, and one that was renamed do not count.
        fs::write(dir.path().join("checkpoints/step-10/ema/model.safetensors"), "1").unwrap();
        fs::create_dir(dir.path().join("checkpoints/step-11")).unwrap();
        fs::rename(dir.path().join("checkpoints/step-8"), dir.path().join("checkpoints/step-12")).unwrap();
        assert_eq!(steps(&checkpoints), [9]);
    }

    #[test]
    fn a_failed_or_killed_write_leaves_the_former_ones() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path());
        take(&checkpoints, 1);
        let failure = |path: &Path| -> Result<()> {
            fs::write(path.join("half"), "x").unwrap();
            Err(files::Error::Locked { path: path.to_path_buf() }.into())
        };
        checkpoints.write(2, failure).unwrap_err();
        fs::create_dir(dir.path().join(".tmp-step-3-1-1")).unwrap();
        assert_eq!(steps(&checkpoints), [1]);
        checkpoints.prune(Retention::default()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // The same step again replaces the former.
        take(&checkpoints, 1);
        assert_eq!(steps(&checkpoints), [1]);
    }

    #[test]
    fn retention_keeps_the_newest_and_every_nth() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path());
        (1..=10).for_each(|step| drop(take(&checkpoints, step * 10)));
        checkpoints.prune(Retention { keep_last: 3, keep_every: 40 }).unwrap();
        assert_eq!(steps(&checkpoints), [40, 80, 90, 100]);
        // The newest stays whatever is asked.
        checkpoints.prune(Retention { keep_last: 0, keep_every: 0 }).unwrap();
        assert_eq!(steps(&checkpoints), [100]);
    }
}
