//! An error with its causes as one sentence that says nothing twice.

use std::io;

use anyhow::Error;

/// The chain of an error's causes in one line; `left_out` is not part of it. What one message says of its cause is said
/// once, and places stay last.
pub fn sentence(error: &Error, left_out: Option<&str>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut explains_cause = false;
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.trim();
        // A dataset's error says in its own words what the system says in others.
        let is_explained = explains_cause && cause.is::<io::Error>();
        explains_cause = cause.is::<dataset::Error>() || cause.is::<files::Error>();
        let is_known = parts.iter().any(|part| part.contains(text));
        if text.is_empty() || Some(text) == left_out || is_explained || is_known {
            continue;
        }
        // What comes next may say all of this and more.
        parts.retain(|part| !text.contains(part.as_str()));
        parts.push(text.to_owned());
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn an_error_reads_as_one_sentence_without_repetition() {
        let error = anyhow!("disk is on fire").context("cannot write: disk is on fire: /x").context("cannot train");
        assert_eq!(sentence(&error, None), "cannot train: cannot write: disk is on fire: /x");
        let error = anyhow!("the table cannot be read: /x: no such file").context("the table cannot be read: /x");
        assert_eq!(sentence(&error, None), "the table cannot be read: /x: no such file");
        assert_eq!(sentence(&anyhow!("a").context("b"), Some("b")), "a");
    }

    #[test]
    fn what_the_system_says_of_a_file_is_not_said_again() {
        let missing = files::write_file("/no-such-folder/x", b"").map_err(Error::from).context("cannot save");
        let text = sentence(&missing.unwrap_err(), None);
        assert!(text.starts_with("cannot save: ") && text.ends_with("/no-such-folder/x"), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }
}
