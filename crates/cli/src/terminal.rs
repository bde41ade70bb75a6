//! Everything that is printed: results on stdout; talk, progress and errors on stderr.
//!
//! On a terminal there are bars; elsewhere (a log file, a batch job) there are plain lines, one every ten seconds.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use messages::{Progress, duration};

/// Between two plain lines about the same part.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results, skipped items and errors.
    Quiet,
    /// Progress and what a stage has to say, too.
    Normal,
    /// Details, too.
    Verbose,
}

/// Stdout and stderr.
#[derive(Debug)]
pub struct Terminal {
    verbosity: Verbosity,
    /// Bars instead of lines: stderr is a terminal that can move its cursor.
    bars: Option<MultiProgress>,
    colour: bool,
    parts: Mutex<Vec<Part>>,
}

/// A part of a stage that was begun and is not over.
#[derive(Debug)]
struct Part {
    task: String,
    unit: String,
    total: u64,
    done: u64,
    begun: Instant,
    printed: Instant,
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// Looks at what stderr is, and at `NO_COLOR` and `TERM`.
    pub fn new(verbosity: Verbosity) -> Self {
        let capable = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = capable && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let bars = (capable && verbosity > Verbosity::Quiet).then(MultiProgress::new);
        Self { verbosity, bars, colour, parts: Mutex::default() }
    }

    /// Writes a result to stdout. A reader that went away (`| head`) is no error.
    ///
    /// # Errors
    /// Stdout refuses for another reason: a full disk behind it, for instance.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let text = text.trim_end_matches('\n');
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write the result to the standard output"),
        }
    }

    /// Writes a line to stderr, whatever the verbosity. `label` (`error`, `hint`, ...) may be empty.
    pub fn line(&self, label: &str, text: &str) {
        let label = match (label, self.colour) {
            ("", _) => String::new(),
            ("error", true) => "\x1b[1;31merror:\x1b[0m ".to_owned(),
            (label, true) => format!("\x1b[1m{label}:\x1b[0m "),
            (label, false) => format!("{label}: "),
        };
        let write = || {
            // There is nobody to tell when stderr is closed.
            let _ = writeln!(io::stderr().lock(), "{label}{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Removes bars that an error left behind.
    pub fn clear(&self) {
        self.parts().clear();
        if let Some(bars) = &self.bars {
            // A terminal that refuses shows a stale bar, no more.
            let _ = bars.clear();
        }
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Terminal {
    fn begin(&self, task: &str, total: u64, unit: &str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let now = Instant::now();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total).with_prefix(task.to_owned()).with_style(style(total, unit)));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let part = Part { task: task.into(), unit: unit.into(), total, done: 0, begun: now, printed: now, bar };
        self.parts().push(part);
    }

    fn advance(&self, amount: u64, note: &str) {
        let mut parts = self.parts();
        let Some(part) = parts.last_mut() else { return };
        part.done += amount;
        if let Some(bar) = &part.bar {
            bar.set_message(note.to_owned());
            bar.inc(amount);
        } else if part.printed.elapsed() >= LINE_INTERVAL {
            part.printed = Instant::now();
            let line = part.line(part.begun.elapsed(), note);
            drop(parts);
            self.line("", &line);
        }
    }

    fn end(&self) {
        let Some(part) = self.parts().pop() else { return };
        if let Some(bar) = &part.bar {
            bar.finish_and_clear();
        }
        self.line("", &part.last_line(part.begun.elapsed()));
    }

    fn say(&self, sentence: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line("", sentence);
        }
    }

    fn detail(&self, sentence: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.line("", sentence);
        }
    }
}

impl Part {
    /// `training: 640/20480 images (3 %), 52 images/s, 6 min left; loss 0.31`
    fn line(&self, elapsed: Duration, note: &str) -> String {
        let Self { task, unit, total, done, .. } = self;
        let rate = *done as f64 / elapsed.as_secs_f64().max(1e-9);
        let mut line = match total {
            0 => format!("{task}: {done} {unit}"),
            _ => format!("{task}: {done}/{total} {unit} ({:.0} %)", 100.0 * *done as f64 / *total as f64),
        };
        if *done > 0 {
            line += &format!(", {} {unit}/s", short(rate));
            if done < total {
                line += &format!(", {} left", duration((total - done) as f64 / rate));
            }
        }
        if !note.is_empty() {
            line += &format!("; {note}");
        }
        line
    }

    /// `training: 20480 images in 6 min 12 s`
    fn last_line(&self, elapsed: Duration) -> String {
        let Self { task, unit, done, .. } = self;
        match done {
            0 => format!("{task}: {}", duration(elapsed.as_secs_f64())),
            _ => format!("{task}: {done} {unit} in {}", duration(elapsed.as_secs_f64())),
        }
    }
}

fn style(total: u64, unit: &str) -> ProgressStyle {
    let unit = unit.replace('{', "{{").replace('}', "}}");
    let template = match total {
        0 => format!("{{prefix}} {{spinner}} {{human_pos}} {unit}  {{wide_msg}}"),
        _ => format!("{{prefix}} [{{bar:24}}] {{human_pos}}/{{human_len}} {unit}, {{eta}} left  {{wide_msg}}"),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(total: u64, done: u64) -> Part {
        let now = Instant::now();
        Part { task: "training".into(), unit: "images".into(), total, done, begun: now, printed: now, bar: None }
    }

    #[test]
    fn lines_say_how_far_and_how_long() {
        let line = part(1000, 250).line(Duration::from_secs(50), "loss 0.31");
        assert_eq!(line, "training: 250/1000 images (25 %), 5.00 images/s, 2 min 30 s left; loss 0.31");
        assert_eq!(part(0, 3).line(Duration::from_secs(3), ""), "training: 3 images, 1.00 images/s");
        assert_eq!(part(10, 0).line(Duration::ZERO, ""), "training: 0/10 images (0 %)");
        assert_eq!(part(10, 10).last_line(Duration::from_secs(7500)), "training: 10 images in 2 h 5 min");
    }

    #[test]
    fn a_part_that_never_began_does_no_harm() {
        let terminal = Terminal::new(Verbosity::Quiet);
        terminal.advance(1, "");
        terminal.end();
    }
}
