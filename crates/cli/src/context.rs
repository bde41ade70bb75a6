//! What every command needs, resolved once from what was typed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use pipeline::Skipped;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        pipeline::device::parse(&global.device)?;
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

    /// What `--set` and `--seed` change in a recipe; an explicit `--set seed=` wins.
    pub fn recipe_overrides(&self) -> Vec<(String, String)> {
        let seed = self.seed.map(|seed| ("seed".to_owned(), seed.to_string()));
        seed.into_iter().chain(self.overrides.iter().cloned()).collect()
    }

    /// Settings with what `--set` changes in them.
    ///
    /// # Errors
    /// A key or value that the settings cannot have.
    pub fn with_overrides<C: Serialize + DeserializeOwned>(&self, config: &C) -> Result<C> {
        let mut root = toml::Table::try_from(config).context("the settings cannot be written as TOML")?;
        for (path, value) in &self.overrides {
            let (parents, last) = path.rsplit_once('.').map_or((None, path.as_str()), |(p, l)| (Some(p), l));
            let mut table = &mut root;
            for key in parents.into_iter().flat_map(|parents| parents.split('.')) {
                table = match table.entry(key).or_insert_with(|| toml::Table::new().into()) {
                    toml::Value::Table(inner) => inner,
                    _ => bail!("`--set {path}` is not possible: `{key}` is a value and no section"),
                };
            }
            table.insert(last.to_owned(), parse_value(value));
        }
        root.try_into().context("a setting given by `--set` does not exist or cannot have this value")
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

/// A TOML value; what is none (a bare word, a path) is a string.
fn parse_value(text: &str) -> toml::Value {
    let table = toml::from_str::<toml::Table>(&format!("value = {text}"));
    let value = table.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    use crate::terminal::Verbosity;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        size: usize,
        name: Option<String>,
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        columns: Option<Vec<String>>,
    }

    fn set(overrides: &[(&str, &str)]) -> Result<Settings> {
        let terminal = Terminal::new(Verbosity::Quiet);
        let overrides = overrides.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        let context = Context { device: "cpu".into(), seed: None, terminal: &terminal, overrides, dry_run: false };
        context.with_overrides(&Settings { size: 1, name: None, inner: Inner { columns: None } })
    }

    #[test]
    fn settings_can_be_changed_and_typos_are_refused() {
        let changed = set(&[("size", "3"), ("name", "a word"), ("inner.columns", "[\"x\", \"y\"]")]).unwrap();
        assert_eq!((changed.size, changed.name.as_deref()), (3, Some("a word")));
        assert_eq!(changed.inner.columns.unwrap(), ["x", "y"]);
        for (path, value) in [("siz", "3"), ("size", "big"), ("size.x", "1"), ("inner.column", "[]")] {
            assert!(set(&[(path, value)]).is_err(), "{path}={value}");
        }
        assert!(format!("{:#}", set(&[("siz", "3")]).unwrap_err()).contains("siz"));
    }
}
