//! What was typed: the options that every command knows, and the commands. What they mean is decided elsewhere.

use std::num::NonZeroUsize;

use clap::{ArgAction, Args, Parser};

use crate::commands::Command;
use crate::terminal::Verbosity;

/// Trains image generators on medical images that nobody labelled, and uses them.
///
/// A folder of X-rays becomes a dataset (prepare), its encodings (encode), a trained model (train) and synthetic images
/// (generate). `dino-diffusion demo --out demo` shows all of it in a few minutes and needs no data.
#[derive(Debug, Parser)]
#[command(name = "dino-diffusion", version, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 done, 1 done but some items were skipped, 2 could not.")]
pub struct Arguments {
    /// The options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command knows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// What computes: cpu, cuda:N, vulkan:N, metal, rocm:N or wgpu
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Decides every random number; the same seed gives the same result
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Changes one setting, as in `--set optimiser.learning_rate=1e-4`; may be given several times, from left to right;
    /// --dry-run lists the settings
    #[arg(long, global = true, value_name = "PATH.TO.KEY=VALUE", value_parser = parse_override)]
    pub set: Vec<(String, String)>,
    /// Prints the resolved settings as TOML and does nothing else
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Threads to use [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,
    /// Freed memory to keep for reuse, in MiB, on top of what is in use: less is slower [default: 3072]
    #[arg(long, global = true, value_name = "MIB", value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    pub keep_memory: Option<u32>,
    /// Says nothing but results, skipped items and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Says more
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

impl Global {
    /// How much to say.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as `path.to.key=value`, for example `optimiser.learning_rate=1e-4`".into()),
    }
}

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(number) if number.get() <= 1024 => Ok(number),
        _ => Err("it must be a number from 1 to 1024".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_are_split_at_the_first_equals_sign() {
        assert_eq!(parse_override("a.b = c=d").unwrap(), ("a.b".into(), "c=d".into()));
        assert!(parse_override("a.b").is_err());
        assert!(parse_override("=1").is_err());
    }

    #[test]
    fn options_of_every_command_may_follow_the_command() {
        let typed = ["dino-diffusion", "inspect", "x", "--set", "seed=1", "--set", "a.b=2", "--seed", "7", "-q"];
        let arguments = Arguments::try_parse_from(typed).unwrap();
        assert_eq!(arguments.global.set.len(), 2);
        assert_eq!(arguments.global.seed, Some(7));
        assert_eq!(arguments.global.verbosity(), Verbosity::Quiet);
    }
}
