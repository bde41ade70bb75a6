//! What `train` and `pretrain` share: which run is begun or continued, by which settings, on which dataset.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use settings::Settings;
use training::run::Begun;

use super::recipes::read_recipe;
use crate::context::Context;

/// What was typed: `--resume` stands alone beside `--out RUN`, or has the run itself.
#[derive(Debug)]
pub struct Typed {
    pub dataset: Option<PathBuf>,
    pub recipe: Option<String>,
    pub out: Option<PathBuf>,
    pub resume: Option<Option<PathBuf>>,
}

/// What it means.
#[derive(Debug)]
pub struct Resolved<S> {
    pub dataset: PathBuf,
    pub recipe: S,
    pub out: PathBuf,
    pub resume: bool,
    /// The encoder that a run which is continued was given.
    pub encoder: Option<PathBuf>,
}

impl Typed {
    /// A run that is continued says itself what it needs.
    ///
    /// # Errors
    /// What is missing, and is not said by a run; a run that cannot be read.
    pub fn resolve<S: Settings>(self, default: Option<&str>, context: &Context<'_>) -> Result<Resolved<S>> {
        let Self { mut dataset, recipe, out, resume } = self;
        let out = match (out, &resume) {
            (Some(out), Some(Some(run))) if dataset.is_some() => {
                ensure!(
                    out == *run,
                    "`--resume {}` and `--out {}` are two runs; give one of them",
                    run.display(),
                    out.display()
                );
                out
            }
            // `train --resume DATA --out RUN`: the word behind `--resume` is the dataset.
            (Some(out), Some(Some(word))) => {
                dataset = Some(word.clone());
                out
            }
            (Some(out), _) => out,
            (None, Some(Some(run))) => run.clone(),
            (None, Some(None)) => bail!("which run is to be continued is not said; give `--resume RUN`"),
            (None, None) => bail!("the run's folder is missing; give `--out RUN`"),
        };
        let begun: Option<Begun<S>> = match (&resume, &recipe, &dataset) {
            // With a recipe and a dataset nothing is left to ask the run.
            (None, ..) | (Some(_), Some(_), Some(_)) => None,
            _ => Some(training::run::begun(&out)?),
        };
        let dataset = match (dataset, &begun) {
            (Some(dataset), _) => dataset,
            (None, Some(begun)) => begun.dataset()?,
            (None, None) => bail!("the dataset is missing; give its folder"),
        };
        let recipe = match (recipe.as_deref(), &begun) {
            (Some(name), _) => read_recipe(name, context)?,
            (None, Some(begun)) => context.seeded(&begun.settings)?,
            (None, None) => read_recipe(default.context("the recipe is missing; give `--recipe NAME`")?, context)?,
        };
        let encoder = begun.and_then(|begun| begun.inputs.encoder);
        Ok(Resolved { dataset, recipe, out, resume: resume.is_some(), encoder })
    }
}
