//! The folder of a run, whatever is trained: beginning and resuming it, its journal, and checkpoints that continue
//! exactly.

use crate::{
    settings::{self, Settings},
    train::optimiser::Optimiser,
};
use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use dataset::{EventsWriter, ImageKind, MetricsLog, RunDir};
use nets::{Checkpoint, load_weights, weights_of};
use radiograph::RgbImage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{path::Path, time::Instant};

/// What a run was trained on: compared when it is resumed, and named where it differs.
pub(crate) trait Identity: PartialEq + Serialize + DeserializeOwned {
    /// What it is, such as `dataset 0123456789ab`.
    fn describe(&self) -> String;
}

/// Makes the run folder, or with `resume` checks that the one that is there belongs to these settings and data.
///
/// # Errors
/// A folder with a run although `resume` is off, or none although it is on; other settings or data; a full disk.
pub(crate) fn open<S: Settings, I: Identity>(out: &Path, resume: bool, given: &S, identity: &I) -> Result<RunDir> {
    let identity_path = out.join("identity.json");
    if !RunDir::is_run(out) {
        ensure!(!resume, "there is no run to continue (no recipe.toml); leave out `--resume`: {}", out.display());
        let run_dir = RunDir::create(out, &settings::to_toml(given)?)?;
        dataset::write_file(&identity_path, serde_json::to_string_pretty(identity)?.as_bytes())?;
        return Ok(run_dir);
    }
    ensure!(
        resume,
        "the folder holds a run already; add `--resume` to continue it, or choose another folder: {}",
        out.display()
    );
    let run_dir = RunDir::open(out)?;
    let saved = settings::from_toml::<S>(&run_dir.recipe()?)
        .with_context(|| format!("the run's recipe.toml is damaged, or of another kind of run: {}", out.display()))?;
    if let Some(difference) = settings::first_difference(&saved, given)? {
        bail!(
            "`--resume` continues with the run's own recipe, but {difference}; give the same recipe and `--set`, \
             or start a new run: {}",
            out.display()
        );
    }
    if !identity_path.is_file() && run_dir.checkpoints().latest()?.is_none() {
        // Killed between the first two files of the run: nothing was trained yet.
        dataset::write_file(&identity_path, serde_json::to_string_pretty(identity)?.as_bytes())?;
        return Ok(run_dir);
    }
    let text = std::fs::read_to_string(&identity_path)
        .with_context(|| format!("the run's identity.json cannot be read: {}", out.display()))?;
    let saved: I = serde_json::from_str(&text)
        .with_context(|| format!("the run's identity.json is damaged: {}", out.display()))?;
    ensure!(
        saved == *identity,
        "the run was trained on another dataset or with other networks ({}; given: {}); `--resume` needs the same: {}",
        saved.describe(),
        identity.describe(),
        out.display()
    );
    Ok(run_dir)
}

/// What a run writes about itself: `metrics.jsonl`, and the same for TensorBoard.
#[derive(Debug)]
pub(crate) struct Journal {
    log: MetricsLog,
    events: EventsWriter,
    begun: Instant,
}

impl Journal {
    /// Opens both; lines beyond `images_seen`, from before a kill, are dropped.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub(crate) fn open(run_dir: &RunDir, images_seen: u64) -> Result<Self> {
        let log = run_dir.metrics(images_seen)?;
        let events = run_dir.events(images_seen)?;
        Ok(Self { log, events, begun: Instant::now() })
    }

    /// One line of named numbers.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub(crate) fn write(&mut self, images_seen: u64, values: &[(String, f64)]) -> Result<()> {
        for (name, value) in values {
            self.events.scalar(name, images_seen, *value)?;
        }
        self.events.flush()?;
        let mut row: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        row.push(("session_secs", self.begun.elapsed().as_secs_f64()));
        Ok(self.log.append(images_seen, images_seen, &row)?)
    }

    /// A picture for TensorBoard.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub(crate) fn picture(&mut self, images_seen: u64, name: &str, picture: &RgbImage) -> Result<()> {
        let (height, width) = (picture.height, picture.width);
        self.events.image(name, images_seen, &picture.encode_png()?, height, width, ImageKind::Rgb)?;
        Ok(self.events.flush()?)
    }
}

/// The mean of numbers that come one by one.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    pub(crate) fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    images_seen: u64,
    num_steps: u64,
}

/// Writes a network in training, its optimiser and the clock into the folder of a checkpoint.
///
/// # Errors
/// A disk that is full or refuses, a device that failed.
pub(crate) fn save_state<M: Module>(folder: &Path, network: &M, optimiser: &Optimiser, images_seen: u64) -> Result<()> {
    ensure!(images_seen > 0, "a run saves no checkpoint before its first image");
    weights_of(network).save(&folder.join("weights.safetensors"), false, None)?;
    optimiser.to_checkpoint()?.save(&folder.join("optimiser.safetensors"), false, None)?;
    let state = StateFile { images_seen, num_steps: optimiser.num_steps() };
    std::fs::write(folder.join("state.json"), serde_json::to_vec_pretty(&state)?)?;
    Ok(())
}

/// What [`save_state`] wrote: network, optimiser, images seen. `fresh` gives the shape of the network.
///
/// # Errors
/// Files that are missing or do not fit the network, with the remedy.
pub(crate) fn load_state<M: Module>(folder: &Path, fresh: M) -> Result<(M, Optimiser, u64)> {
    let load = || -> Result<(M, Optimiser, u64)> {
        let state: StateFile = serde_json::from_slice(&std::fs::read(folder.join("state.json"))?)?;
        let network = load_weights(fresh, &Checkpoint::open(&folder.join("weights.safetensors"))?)?;
        let saved = Checkpoint::open(&folder.join("optimiser.safetensors"))?;
        let optimiser = Optimiser::from_checkpoint(&network, &saved, state.num_steps)?;
        Ok((network, optimiser, state.images_seen))
    };
    load().with_context(|| unusable(folder))
}

/// Why a checkpoint is passed over, and the remedy.
pub(crate) fn unusable(checkpoint: &Path) -> String {
    format!("the checkpoint cannot be used; delete it to continue from the one before: {}", checkpoint.display())
}
