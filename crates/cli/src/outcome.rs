//! How a command ended: exit status, the list of skipped items, the sentence of an error.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};
use messages::Skipped;

use crate::terminal::Terminal;

/// Skipped items that are listed; the rest is in a file.
const MAX_LISTED: usize = 20;

/// A command that came to its end.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What it passed over, and why.
    pub skipped: Vec<Skipped>,
    /// The file that lists all of them, where there is one.
    pub skipped_file: Option<PathBuf>,
}

/// Advice on top of an error, attached with `error.context(Hint(..))`.
#[derive(Debug)]
pub struct Hint(pub String);

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says how it ended: 0 done, 1 done but items were skipped, 2 could not.
pub fn report(result: Result<Outcome>, terminal: &Terminal) -> ExitCode {
    terminal.clear();
    match result {
        Ok(outcome) if outcome.skipped.is_empty() => ExitCode::SUCCESS,
        Ok(outcome) => {
            list_skipped(&outcome, terminal);
            ExitCode::from(1)
        }
        Err(error) => {
            terminal.line("error", &sentence(&error));
            if let Some(hint) = hint(&error) {
                terminal.line("hint", &hint);
            }
            ExitCode::from(2)
        }
    }
}

fn list_skipped(outcome: &Outcome, terminal: &Terminal) {
    let Outcome { skipped, skipped_file } = outcome;
    let number = skipped.len();
    terminal.line("", &format!("{number} {} skipped:", if number == 1 { "item was" } else { "items were" }));
    for Skipped { item, reason } in skipped.iter().take(MAX_LISTED) {
        terminal.line("", &format!("  {item}: {reason}"));
    }
    if number > MAX_LISTED {
        let rest = format!("  ... and {} more", number - MAX_LISTED);
        match skipped_file {
            Some(path) => terminal.line("", &format!("{rest}; all are listed in {}", path.display())),
            None => terminal.line("", &rest),
        }
    }
}

/// The error without its advice.
fn sentence(error: &Error) -> String {
    messages::sentence(error, error.downcast_ref::<Hint>().map(Hint::to_string).as_deref())
}

/// Advice that came with the error, or that its kind suggests.
fn hint(error: &Error) -> Option<String> {
    if let Some(hint) = error.downcast_ref::<Hint>() {
        return Some(hint.to_string());
    }
    error.chain().find_map(|cause| match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and run the same command again; what is finished is kept".to_owned())
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("choose an output folder that can be written to".to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn hints_are_said_apart() {
        let error = anyhow!("there is no recipe `smal`").context(Hint("did you mean `small`?".into()));
        assert_eq!(sentence(&error), "there is no recipe `smal`");
        assert_eq!(hint(&error).unwrap(), "did you mean `small`?");
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write").unwrap_err();
        assert!(hint(&full).unwrap().contains("free some space"));
        assert!(hint(&anyhow!("x")).is_none());
    }
}
