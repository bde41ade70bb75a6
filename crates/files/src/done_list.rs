//! What a stage has finished, one JSON object a line, so that one that is killed repeats none of it.

use serde::{Serialize, de::DeserializeOwned};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What to do about a line that cannot be read, other than a last one that a kill cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// It and all lines behind it are dropped: what they say is quickly done again.
    Repeat,
    /// It is an error: what the lines behind it say took long.
    Refuse,
}

/// The file, open for more.
#[derive(Debug)]
pub struct DoneList {
    file: File,
    path: PathBuf,
}

impl DoneList {
    /// Opens the file, or makes it, and reads what is there. A last line that a kill cut short is dropped.
    ///
    /// # Errors
    /// A file that cannot be read or written; a damaged line, with [`Damaged::Refuse`].
    pub fn open<R: DeserializeOwned>(path: &Path, damaged: Damaged) -> Result<(Self, Vec<R>)> {
        // Bytes, not text: a kill may cut a letter in two.
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read the file", path)(error)),
        };
        let (mut records, mut sound) = (Vec::new(), 0);
        // Only what ends with its line break was written whole.
        for (number, line) in
            bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).enumerate()
        {
            match (serde_json::from_slice(line), damaged) {
                (Ok(record), _) => records.push(record),
                (Err(_), Damaged::Repeat) => break,
                (Err(source), Damaged::Refuse) => {
                    return Err(Error::DamagedLine { line: number + 1, source, path: path.into() });
                }
            }
            sound += line.len() as u64;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("write the file", path))?;
        file.set_len(sound).map_err(Error::io("write the file", path))?;
        Ok((Self { file, path: path.into() }, records))
    }

    /// Adds a line, which a kill of the program cannot take back.
    ///
    /// # Errors
    /// A full disk.
    pub fn append(&mut self, finished: &impl Serialize) -> Result<()> {
        let unwritable = |source| Error::Record { source, path: self.path.clone() };
        let line = serde_json::to_string(finished).map_err(unwritable)? + "\n";
        self.file.write_all(line.as_bytes()).map_err(Error::io("write down what is finished", &self.path))
    }

    /// Makes sure that what was added outlives the machine.
    ///
    /// # Errors
    /// A full disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write down what is finished", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_in_the_middle_is_dropped_with_what_follows_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("done.jsonl");
        std::fs::write(&path, "1\n?\n3\n4").unwrap();
        assert!(DoneList::open::<u32>(&path, Damaged::Refuse).unwrap_err().to_string().contains("line 2"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n?\n3\n4", "nothing is lost by the error");
        let (mut list, found) = DoneList::open::<u32>(&path, Damaged::Repeat).unwrap();
        assert_eq!(found, [1]);
        list.append(&2).unwrap();
        list.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
    }

    #[test]
    fn a_letter_that_a_kill_cut_in_two_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("done.jsonl");
        let whole = "\"a\"\n\"ä\"\n".as_bytes();
        std::fs::write(&path, &whole[..6]).unwrap();
        let (_, found) = DoneList::open::<String>(&path, Damaged::Refuse).unwrap();
        assert_eq!(found, ["a"]);
    }
}
