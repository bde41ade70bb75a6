//! What the best settings give in the course of training.

use std::path::Path;

use anyhow::{Context, Result};
use dataset::RunDir;

use super::journal::Journal;
use super::search::{Bench, Candidate, Fitted, Network, Rule, mean};
use super::{CheckpointRow, MaskedImage, RuleDice};
use messages::Progress;
use segmentation::SegmenterSettings;
use stages::model::{Denoiser, Model};
use stages::train::load_state;

/// For each method that asks the UNet and each rule the settings that were best in the search, without filter, before
/// training and on every checkpoint of a run.
///
/// # Errors
/// A folder that is no run, or whose checkpoints cannot be read.
pub(super) fn follow(
    run: &Path,
    bench: &Bench<'_>,
    fitted: &[Fitted],
    search: &[MaskedImage],
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<Vec<CheckpointRow>> {
    let asks_unet = |one: &&Fitted| {
        let wanted = one.segmenter.settings.method.wanted();
        one.model == 0 && (wanted.attention || wanted.features)
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    // The family, the rule and the number of the candidate.
    let mut followed: Vec<(&str, Rule, usize)> = Vec::new();
    for one in fitted.iter().filter(asks_unet) {
        let settings = SegmenterSettings { refinement: None, num_annotated: 0, ..one.segmenter.settings.clone() };
        let number = candidates.iter().position(|known| known.settings == settings).unwrap_or(candidates.len());
        if number == candidates.len() {
            candidates.push(Candidate { family: one.family.clone(), model: 0, settings });
        }
        followed.push((&one.family, one.rule, number));
    }
    let mut model = Model::open(run, bench.device)?;
    let config = model.denoiser.backbone.config();
    let [tokens, _dim] = model.info.condition_shape;
    let fresh = || Denoiser::new(&config, tokens, bench.config.seed, bench.device);
    let checkpoints = RunDir::open(run)?.checkpoints().list()?;
    let mut rows: Vec<CheckpointRow> = Vec::new();
    for checkpoint in std::iter::once(None).chain(checkpoints.iter().map(Some)) {
        let (images_seen, denoiser) = match checkpoint {
            None => (0, fresh()?),
            Some(checkpoint) => {
                let state = load_state(&checkpoint.path, fresh()?)?;
                (state.images_seen, state.averaged())
            }
        };
        progress.say(&format!("the network after {images_seen} images"));
        model.denoiser = denoiser;
        let name = format!("{} after {images_seen} images", model.fingerprint);
        let network = Network { name, model: &model };
        let tried = bench.try_all(&candidates, &[network], search, journal, progress)?;
        for (family, rule, number) in &followed {
            let settings = &candidates[*number].settings;
            let tried = tried.iter().find(|tried| tried.candidate.settings == *settings);
            let dice = mean(&tried.context("a setting was not tried")?.dice[rule]);
            let dice = RuleDice { rule: rule.name(), dice };
            match rows.iter_mut().find(|row| row.images_seen == images_seen && row.method == *family) {
                Some(row) => row.dice.push(dice),
                None => rows.push(CheckpointRow { images_seen, method: (*family).to_owned(), dice: vec![dice] }),
            }
        }
    }
    Ok(rows)
}
