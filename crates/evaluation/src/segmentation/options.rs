//! What the options of a pass gave in the search, beside the best pass without any. An option is kept where it helps.

use serde::Serialize;

use super::{RuleDice, TriedRow};
use segmentation::{PassCondition, PassSettings};

/// One option with one method and rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptionRow {
    /// The option.
    pub option: &'static str,
    /// What cuts, and on which network.
    pub method: String,
    /// What chooses.
    pub rule: String,
    /// Mean Dice in the search, at the best of the settings with it.
    pub dice: f64,
    /// The same of the settings without any option: one timestep, clean latents, null condition.
    pub dice_without: f64,
    /// Whether it was best of all, and so is what the figures of the report were measured with.
    pub kept: bool,
}

/// The option that a pass takes; they are tried one at a time.
fn option_of(pass: &PassSettings) -> Option<&'static str> {
    match pass {
        PassSettings { inversion_steps: 1.., .. } => Some("latents by DDIM inversion"),
        PassSettings { noise_draws: 1.., .. } => Some("draws of noise"),
        PassSettings { condition: PassCondition::Own, .. } => Some("the image's own embedding"),
        PassSettings { timesteps, .. } if timesteps.len() > 1 => Some("several timesteps"),
        _ => None,
    }
}

/// For each option, method and rule one row, in the order in which they were tried.
pub(super) fn rows(tried: &[TriedRow]) -> Vec<OptionRow> {
    let best = |method: &str, rule: &str, option: Option<Option<&str>>| -> Option<f64> {
        let of_method = tried.iter().filter(|row| row.method == method);
        let of_option = of_method.filter(|row| option.is_none_or(|option| option_of(&row.settings.pass) == option));
        let dice = of_option.flat_map(|row| &row.dice).filter(|entry| entry.rule == rule).map(|entry| entry.dice);
        dice.reduce(f64::max)
    };
    let mut rows: Vec<OptionRow> = Vec::new();
    for row in tried {
        let Some(option) = option_of(&row.settings.pass) else { continue };
        for RuleDice { rule, .. } in &row.dice {
            let known = |known: &OptionRow| known.option == option && known.method == row.method && known.rule == *rule;
            if rows.iter().any(known) {
                continue;
            }
            let [with, without, all] =
                [Some(Some(option)), Some(None), None].map(|option| best(&row.method, rule, option));
            let (Some(dice), Some(dice_without), Some(all)) = (with, without, all) else { continue };
            let kept = dice > dice_without && dice >= all;
            rows.push(OptionRow { option, method: row.method.clone(), rule: rule.clone(), dice, dice_without, kept });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use segmentation::SegmenterSettings;

    #[test]
    fn an_option_is_kept_where_it_is_best_of_all() {
        let row = |pass: PassSettings, oracle: f64, unsupervised: f64| TriedRow {
            method: "parts".into(),
            mean_segments: 2.0,
            dice: [("oracle", oracle), ("unsupervised", unsupervised)]
                .map(|(rule, dice)| RuleDice { rule: rule.into(), dice })
                .to_vec(),
            settings: SegmenterSettings { pass, ..SegmenterSettings::default() },
        };
        let plain = PassSettings::default();
        let inverted = PassSettings { inversion_steps: 10, ..plain.clone() };
        let noisy = PassSettings { noise_draws: 4, ..plain.clone() };
        let found = rows(&[
            row(plain.clone(), 0.5, 0.6),
            row(plain, 0.4, 0.7),
            row(inverted.clone(), 0.6, 0.5),
            row(inverted, 0.55, 0.6),
            row(noisy, 0.52, 0.72),
        ]);
        let facts: Vec<_> = found.iter().map(|row| (row.option, row.rule.as_str(), row.dice, row.kept)).collect();
        assert_eq!(
            facts,
            [
                ("latents by DDIM inversion", "oracle", 0.6, true),
                ("latents by DDIM inversion", "unsupervised", 0.6, false),
                ("draws of noise", "oracle", 0.52, false),
                ("draws of noise", "unsupervised", 0.72, true),
            ]
        );
        assert_eq!((found[0].dice_without, found[1].dice_without), (0.5, 0.7));
    }
}
