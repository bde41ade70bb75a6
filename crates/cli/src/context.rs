//! What every command needs, resolved once from what was typed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use messages::Skipped;
use serde::Serialize;
use serde::de::DeserializeOwned;
use settings::{self, Settings};

use crate::arguments::Global;
use crate::outcome::Outcome;
use crate::terminal::Terminal;

/// The resolved options of every command.
#[derive(Debug)]
pub struct Context<'a> {
    /// The name of the device.
    pub device: String,
    /// The seed, where one was given.
    pub seed: Option<u64>,
    /// Where things are printed.
    pub terminal: &'a Terminal,
    overrides: Vec<(String, String)>,
    dry_run: bool,
}

impl<'a> Context<'a> {
    /// Resolves and checks the options, and sets the number of threads and the memory to keep.
    ///
    /// # Errors
    /// An unknown device, or threads that the system refuses.
    pub fn new(global: &Global, terminal: &'a Terminal) -> Result<Self> {
        stages::device::parse(&global.device)?;
        kernels::start_threads(global.threads).with_context(|| match global.threads {
            Some(threads) => format!("cannot start {threads} threads; give a smaller `--threads`"),
            None => "cannot start a thread for each processor; give a small `--threads`".to_owned(),
        })?;
        if let Some(mebibytes) = global.keep_memory {
            memory::limit_unused((mebibytes as usize) << 20);
        }
        Ok(Self {
            device: global.device.clone(),
            seed: global.seed,
            terminal,
            overrides: global.set.clone(),
            dry_run: global.dry_run,
        })
    }

    /// The seed, 0 unless one was given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// Settings with what `--set` changes in them.
    ///
    /// # Errors
    /// A key or value that the settings cannot have.
    pub fn changed<C: Serialize + DeserializeOwned + Clone>(&self, config: &C) -> Result<C> {
        settings::change(config, &self.overrides)
    }

    /// The same for a command whose settings are in the section of that name for the most part: its name may be left out.
    ///
    /// # Errors
    /// A key or value that the settings cannot have.
    pub fn changed_within<C: Serialize + DeserializeOwned + Clone>(&self, config: &C, section: &str) -> Result<C> {
        settings::change_within(config, section, &self.overrides)
    }

    /// A recipe with the seed that was given.
    ///
    /// # Errors
    /// None but for a recipe without a seed.
    pub fn seeded<S: Settings>(&self, recipe: &S) -> Result<S> {
        let seed: Vec<_> = self.seed.into_iter().map(|seed| ("seed".to_owned(), seed.to_string())).collect();
        settings::change(recipe, &seed)
    }

    /// For a command that has no settings.
    ///
    /// # Errors
    /// `--set` was given.
    pub fn refuse_overrides(&self, command: &str) -> Result<()> {
        match self.overrides.first() {
            Some((path, _)) => bail!("`--set {path}` changes a setting, and `{command}` has none; leave it out"),
            None => Ok(()),
        }
    }

    /// With `--dry-run`, prints the settings of a stage, which is then not to be run.
    ///
    /// # Errors
    /// Settings that cannot be written, a standard output that cannot be written to.
    pub fn shows_settings<C: Serialize>(&self, config: &C) -> Result<bool> {
        if self.dry_run {
            let settings = toml::to_string_pretty(config).context("the settings cannot be written as TOML")?;
            self.terminal.print(&settings)?;
        }
        Ok(self.dry_run)
    }

    /// Runs a stage and prints what came of it as TOML on stdout; with `--dry-run`, prints its settings instead.
    ///
    /// A summary's `skipped` and `skipped_file` are told apart from the result, on stderr.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn perform<C: Serialize, S: Serialize>(
        &self,
        config: &C,
        stage: impl FnOnce(&Terminal) -> Result<S>,
    ) -> Result<Outcome> {
        if self.shows_settings(config)? {
            return Ok(Outcome::default());
        }
        let summary = stage(self.terminal)?;
        let mut table = toml::Table::try_from(&summary).context("the summary cannot be written as TOML")?;
        let skipped: Vec<Skipped> = match table.remove("skipped") {
            Some(value) => value.try_into().context("the list of skipped items cannot be read")?,
            None => Vec::new(),
        };
        self.terminal.clear();
        self.terminal.print(&toml::to_string_pretty(&table)?)?;
        let skipped_file = match table.remove("skipped_file") {
            Some(toml::Value::String(path)) => Some(PathBuf::from(path)),
            _ => None,
        };
        Ok(Outcome { skipped, skipped_file })
    }
}
