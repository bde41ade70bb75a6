//! `report`: one self-contained HTML page about any mix of folders.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use report::{self, ReportConfig};

use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Runs, datasets (synthetic ones too), models, networks, results of `evaluate` (JSON files, or folders with figures),
    /// or folders that hold some of these
    #[arg(required = true, value_name = "DIR|FILE")]
    folders: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// The heading of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let mut config = ReportConfig::new(arguments.folders, arguments.out);
    if let Some(title) = arguments.title {
        config.title = title;
    }
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| report::run(&config, terminal))
}
