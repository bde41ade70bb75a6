//! `views`: images that are turned, upside down, inverted or mirrored, and views that metadata do not tell.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use metrics::Estimate;
use stages::views::{self, PoseCheck, STRONG, ViewCheck, ViewQuestion, ViewsConfig, ViewsSummary};

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

/// Images that are named; the rest is in the files.
const MAX_LISTED: usize = 20;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset that `prepare` wrote and `encode` embedded
    dataset: PathBuf,
    /// Encoder folder; of a run or model its encoder [default: the one that the dataset was encoded with]
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// The source to stay inside [default: all]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Views to tell apart
    #[arg(long, value_name = "CLASSES", default_value = "frontal-lateral", value_parser = words::<ViewQuestion>())]
    tell: String,
    /// At most so many patients are turned, inverted and mirrored to learn from, one training image of each
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_patients: usize,
    /// Of images that lie as they should, the share to expect among the suspected; it becomes larger where patients are
    /// few, and where otherwise less than 95 % of the copies that lie wrongly would be suspected
    #[arg(long, value_name = "SHARE", default_value_t = 0.005, allow_negative_numbers = true)]
    false_alarms: f64,
    /// Images that go through the encoder together
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// A folder for views.json (all of it), exclude.csv (the suspected images, for `prepare --exclude`) and suspects.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let Arguments { dataset, encoder, source, tell, max_patients, false_alarms, batch_size, out, json } = arguments;
    let (question, seed) = (word(&tell)?, context.seed());
    let config = ViewsConfig { dataset, encoder, source, max_patients, false_alarms, question, seed, batch_size, out };
    let config = context.changed(&config)?;
    if context.shows_settings(&config)? {
        return Ok(Outcome::default());
    }
    let summary = views::run(&config, &stages::device::parse(&context.device)?, context.terminal)?;
    context.terminal.clear();
    let text = if json { summary.to_json()? } else { describe(&summary) };
    context.terminal.print(&text)?;
    Ok(Outcome::default())
}

fn describe(summary: &ViewsSummary) -> String {
    let mut text = String::new();
    for check in &summary.orientation {
        text += &describe_poses(check);
    }
    if let Some(note) = &summary.orientation_note {
        text += &format!("orientation: {note}\n");
    }
    text + &describe_views(&summary.view)
}

fn describe_poses(check: &PoseCheck) -> String {
    let names: Vec<&str> = check.poses.iter().skip(1).map(|pose| pose.name()).collect();
    let mut text = format!(
        "{}: copies of {} patients, each told by a classifier that has not seen the patient (95 % intervals)\n",
        names.join(", "),
        check.num_patients
    );
    text += &format!("  {:<27} {}\n", "told rightly", percent(&check.accuracy));
    for (place, (pose, recall)) in check.poses.iter().zip(&check.recall).enumerate() {
        let found = match place.checked_sub(1).and_then(|wrong| check.found.get(wrong)) {
            Some(found) => format!("; suspected {}", percent(found)),
            None => String::new(),
        };
        text += &format!("    {:<25} {}{found}\n", pose.name(), percent(recall));
    }
    if !check.is_reliable {
        let rate = percent(&check.false_alarm_rate);
        return text
            + &format!("  nothing is listed: {rate} of the images that lie as they should would be suspected too\n");
    }
    let Estimate { value, interval: [low, high] } = check.expected_false_alarms;
    text += &format!(
        "  suspected of {:<12}  {}; about {value:.0} ({low:.0} to {high:.0}) are to be expected if all images lie as they should\n",
        format!("{} images", check.num_images),
        check.suspects.len()
    );
    if check.is_lowered {
        text += "  more than asked for, to suspect 95 % of the copies of each kind; so it is in an archive with many images that \
                 truly lie wrongly, for they are among the false alarms that are expected: look at them\n";
    }
    let lines = check.suspects.iter().map(|suspect| {
        format!("    {}  {:.3}  {}  {}", suspect.id, suspect.probability, suspect.pose.name(), suspect.source_file)
    });
    text + &listed(lines)
}

fn describe_views(check: &ViewCheck) -> String {
    let [first, second] = check.question.classes();
    let mut text = format!(
        "views by metadata: {} {first}, {} {second}, {} others, {} without\n",
        check.num_known[0], check.num_known[1], check.num_other, check.num_without
    );
    if let Some(note) = &check.note {
        text += &format!("  {note}\n");
    }
    let Some(accuracy) = &check.accuracy else { return text };
    let [num_first, num_second] = check.num_patients;
    text += &format!(
        "  told rightly, of {num_first} and {num_second} patients, each by a classifier that has not seen the patient\n"
    );
    text += &format!("    {:<24}  {}\n", "mean of both", percent(&accuracy.balanced));
    text += &format!(
        "    {first:<24}  {}\n    {second:<24}  {}\n",
        percent(&accuracy.recall[0]),
        percent(&accuracy.recall[1])
    );
    let lines = |told: &[views::ToldView]| -> Vec<String> {
        let line = |told: &views::ToldView| {
            let view = told.view.as_ref().map_or_else(String::new, |view| format!("metadata {view}, "));
            format!("    {}  {view}told {} {:.3}  {}", told.id, told.told, told.probability, told.source_file)
        };
        told.iter().map(line).collect()
    };
    text += &format!("  told without metadata       {}\n", check.told.len());
    text += &listed(lines(&check.told).into_iter());
    text += &format!("  contradicted by {STRONG} or more  {}\n", check.contradicted.len());
    text + &listed(lines(&check.contradicted).into_iter())
}

/// The first few lines, and how many more there are.
fn listed(lines: impl ExactSizeIterator<Item = String>) -> String {
    let more = lines.len().saturating_sub(MAX_LISTED);
    let mut text: String = lines.take(MAX_LISTED).map(|line| line + "\n").collect();
    if more > 0 {
        text += &format!("    ... and {more} more; `--json` and the files of `--out` have all\n");
    }
    text
}

fn percent(estimate: &Estimate) -> String {
    let [low, high] = estimate.interval.map(|end| 100.0 * end);
    format!("{:.1} % ({low:.1} to {high:.1})", 100.0 * estimate.value)
}
