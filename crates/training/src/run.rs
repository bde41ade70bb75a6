//! The folder of a run, whatever is trained: beginning and resuming it.

use anyhow::{Context, Result, bail, ensure};
use dataset::RunDir;
use files::FolderLock;
use files::outputs;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use settings::{self, Settings};
use std::path::{Path, PathBuf};

/// What a run was trained on: compared when it is resumed, and named where it differs.
pub trait Identity: PartialEq + Serialize + DeserializeOwned {
    /// What it is, such as `dataset 0123456789ab`.
    fn describe(&self) -> String;
}

/// Where a run found what it was given. Places only: whether what lies there is the same says the `Identity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// The dataset; nothing in runs of releases that did not write it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// The frozen encoder that the run was given, where it needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<PathBuf>,
}

impl Inputs {
    /// Of these places, so that they are found from any folder.
    pub fn new(dataset: &Path, encoder: Option<&Path>) -> Self {
        // What is no place, such as the name of a random encoder, stays as it is.
        let absolute = |path: &Path| match std::path::absolute(path) {
            Ok(absolute) if path.exists() => absolute,
            _ => path.to_path_buf(),
        };
        Self { dataset: Some(absolute(dataset)), encoder: encoder.map(absolute) }
    }
}

/// What a run says about itself, for whoever continues it.
#[derive(Debug)]
pub struct Begun<S> {
    /// Its own settings.
    pub settings: S,
    /// Where its inputs were.
    pub inputs: Inputs,
    run: PathBuf,
}

impl<S> Begun<S> {
    /// The folder of its dataset.
    ///
    /// # Errors
    /// A dataset that is no longer there, or that the run does not name; with the way to name it.
    pub fn dataset(&self) -> Result<PathBuf> {
        let run = self.run.display();
        let Some(dataset) = &self.inputs.dataset else {
            bail!("the run does not say where its dataset is; give the folder, as in `DATASET --resume RUN`: {run}");
        };
        ensure!(
            dataset.exists(),
            "the dataset of the run is no longer at {}; give the folder where it is now, as in `DATASET --resume RUN`: \
             {run}",
            dataset.display()
        );
        Ok(dataset.clone())
    }
}

/// Reads what a run says about itself.
///
/// # Errors
/// A folder that is no run of this kind, or a damaged one.
pub fn begun<S: Settings>(run: &Path) -> Result<Begun<S>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        inputs: Inputs,
    }
    ensure!(RunDir::is_run(run), "there is no run to continue (no recipe.toml): {}", run.display());
    let settings = saved_settings(run)?;
    let inputs = match std::fs::read_to_string(run.join(IDENTITY_FILE)) {
        Ok(text) => serde_json::from_str::<File>(&text).with_context(|| damaged_identity(run))?.inputs,
        // Killed between the first two files of the run.
        Err(_) => Inputs::default(),
    };
    Ok(Begun { settings, inputs, run: run.to_path_buf() })
}

/// What a run was trained on, where it says so already.
///
/// # Errors
/// A damaged file.
pub fn identity<I: Identity>(run: &Path) -> Result<Option<I>> {
    match std::fs::read_to_string(run.join(IDENTITY_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| damaged_identity(run))?)),
        Err(_) => Ok(None),
    }
}

const IDENTITY_FILE: &str = "identity.json";

fn damaged_identity(run: &Path) -> String {
    format!("the run's identity.json is damaged: {}", run.display())
}

fn saved_settings<S: Settings>(run: &Path) -> Result<S> {
    settings::from_toml::<S>(&RunDir::open(run)?.recipe()?)
        .with_context(|| format!("the run's recipe.toml is damaged, or of another kind of run: {}", run.display()))
}

/// Refuses what [`open`] would refuse of folder and settings, before anything long. Nothing is written.
///
/// # Errors
/// A folder with a run although `resume` is off, or none although it is on; other settings; a folder that cannot be
/// written, or that holds something else; no time to train in.
pub fn check<S: Settings>(out: &Path, resume: bool, given: &S, max_minutes: Option<f64>) -> Result<()> {
    let minutes = max_minutes.unwrap_or(f64::INFINITY);
    ensure!(minutes >= 0.0, "`--max-minutes` is {minutes}; give a number above 0");
    let has_begun = match find(out, resume, given)? {
        Some((run_dir, _)) => {
            outputs::check_folder(out)?;
            run_dir.checkpoints().latest()?.is_some()
        }
        None => {
            outputs::check_new_folder(out)?;
            false
        }
    };
    // A run that has begun exports what it has.
    ensure!(
        minutes > 0.0 || has_begun,
        "`--max-minutes` is 0, so the run would stop before its first step; give it more time"
    );
    Ok(())
}

/// The run that is there and belongs to these settings, with its own; nothing where a new one is to be made.
fn find<S: Settings>(out: &Path, resume: bool, given: &S) -> Result<Option<(RunDir, S)>> {
    if !RunDir::is_run(out) {
        ensure!(!resume, "there is no run to continue (no recipe.toml); leave out `--resume`: {}", out.display());
        return Ok(None);
    }
    ensure!(
        resume,
        "the folder holds a run already; add `--resume` to continue it, or choose another folder: {}",
        out.display()
    );
    let saved = saved_settings::<S>(out)?;
    if let Some(difference) = settings::first_difference(&saved, given)? {
        bail!(
            "`--resume` continues with the run's own recipe, but {difference}; leave out `--recipe` and `--set`, or start \
             a new run: {}",
            out.display()
        );
    }
    Ok(Some((RunDir::open(out)?, saved)))
}

/// Makes the run folder, or with `resume` checks that the one that is there belongs to these settings and data. What may
/// change, such as the length of the run and where its dataset is, is written down. The run is locked while the second
/// of what this gives lives.
///
/// # Errors
/// A folder with a run although `resume` is off, or none although it is on; other settings or data; a full disk.
pub fn open<S: Settings, I: Identity>(
    out: &Path,
    resume: bool,
    given: &S,
    identity: &I,
    inputs: &Inputs,
) -> Result<(RunDir, FolderLock)> {
    #[derive(Serialize)]
    struct File<'a, I> {
        #[serde(flatten)]
        identity: &'a I,
        inputs: &'a Inputs,
    }
    let path = out.join(IDENTITY_FILE);
    let write = |earlier: &str| -> Result<()> {
        let text = serde_json::to_string_pretty(&File { identity, inputs })?;
        if text != earlier {
            files::write_file(&path, text.as_bytes())?;
        }
        Ok(())
    };
    let Some((run_dir, saved)) = find(out, resume, given)? else {
        let run_dir = RunDir::create(out, &settings::to_toml(given)?)?;
        let lock = run_dir.lock()?;
        write("")?;
        return Ok((run_dir, lock));
    };
    let lock = run_dir.lock()?;
    if !path.is_file() && run_dir.checkpoints().latest()?.is_none() {
        // Killed between the first two files of the run: nothing was trained yet.
        write("")?;
        return Ok((run_dir, lock));
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("the run's identity.json cannot be read: {}", out.display()))?;
    let known: I = serde_json::from_str(&text).with_context(|| damaged_identity(out))?;
    ensure!(
        known == *identity,
        "the run was trained on another dataset or with other networks ({}; given: {}); `--resume` needs the same: {}",
        known.describe(),
        identity.describe(),
        out.display()
    );
    write(&text)?;
    let (saved, given) = (settings::to_toml(&saved)?, settings::to_toml(given)?);
    if saved != given {
        files::write_file(out.join("recipe.toml"), given.as_bytes())?;
    }
    Ok((run_dir, lock))
}
