//! What every command needs, resolved once from what was typed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pipeline::Skipped;
use serde::Serialize;

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
    /// Resolves and checks the options, and sets the number of threads.
    ///
    /// # Errors
    /// An unknown device, or threads that the system refuses.
    pub fn new(global: &Global, terminal: &'a Terminal) -> Result<Self> {
        pipeline::device::parse(&global.device)?;
        if let Some(threads) = global.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .with_context(|| format!("cannot start {threads} threads; give a smaller `--threads`"))?;
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

    /// What `--set` and `--seed` change in a recipe; an explicit `--set seed=` wins.
    pub fn recipe_overrides(&self) -> Vec<(String, String)> {
        let seed = self.seed.map(|seed| ("seed".to_owned(), seed.to_string()));
        seed.into_iter().chain(self.overrides.iter().cloned()).collect()
    }

    /// For commands without a recipe: all their settings are options.
    ///
    /// # Errors
    /// `--set` was given.
    pub fn refuse_overrides(&self, command: &str) -> Result<()> {
        match self.overrides.first() {
            Some((path, _)) => bail!(
                "`--set {path}` changes a recipe, and `{command}` has none; its settings are the options that \
                 `dino-diffusion {command} --help` lists"
            ),
            None => Ok(()),
        }
    }

    /// Runs a stage and prints what came of it as TOML on stdout; with `--dry-run`, prints its settings instead.
    ///
    /// `out` is the folder where a long list of skipped items goes.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn perform<C: Serialize, S: Serialize>(
        &self,
        config: &C,
        out: Option<&Path>,
        stage: impl FnOnce(&Terminal) -> Result<S>,
    ) -> Result<Outcome> {
        if self.dry_run {
            let settings = toml::to_string_pretty(config).context("the settings cannot be written as TOML")?;
            self.terminal.print(&settings)?;
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
        let skipped_file = out.map(|out| out.join("skipped.tsv")).filter(|path| path.is_file());
        Ok(Outcome { skipped, skipped_file })
    }
}
