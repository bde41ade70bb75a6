//! Files whose names a table spells otherwise than the disk: an accent as one sign or as a letter and a mark (Unicode's
//! forms NFC and NFD; macOS writes the latter), or the extension in capitals. One is taken where exactly one fits.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use dataset::text_key;
use unicode_normalization::UnicodeNormalization;

use crate::archive::os_text;

/// Folders whose lists are kept at once.
const MAX_FOLDERS: usize = 1024;

/// Letters of an extension that are tried in all combinations of cases; of longer ones, all small and all capital.
const MAX_LETTERS: usize = 5;

/// Lists of folders: 8 bytes for each file in them.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// Hashes of the names in a folder, sorted; empty for a folder that is not there.
    lists: HashMap<PathBuf, Vec<u64>>,
}

impl Folders {
    /// Whether a file or folder of that very name is there.
    pub(crate) fn has(&mut self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let key = text_key(&os_text(name));
        if let Some(list) = self.lists.get(folder) {
            return list.binary_search(&key).is_ok();
        }
        let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let names = entries.into_iter().flatten().flatten();
        let mut list: Vec<u64> = names.map(|entry| text_key(&os_text(&entry.file_name()))).collect();
        list.sort_unstable();
        let found = list.binary_search(&key).is_ok();
        if self.lists.len() >= MAX_FOLDERS {
            self.lists.clear();
        }
        self.lists.insert(folder.to_path_buf(), list);
        found
    }

    /// The only other spelling of a path below a folder under which something is there.
    pub(crate) fn alike(&mut self, folder: &Path, path: &str) -> Option<String> {
        only(spellings(path).into_iter().filter(|other| self.has(&folder.join(other))))
    }
}

/// The only one.
pub(crate) fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The other spellings of a path.
pub(crate) fn spellings(path: &str) -> BTreeSet<String> {
    let forms = match path.is_ascii() {
        true => vec![path.to_owned()],
        false => vec![path.to_owned(), path.nfc().collect(), path.nfd().collect()],
    };
    let mut all = BTreeSet::new();
    for form in forms {
        let name = form.rfind('/').map_or(0, |at| at + 1);
        match form[name..].rfind('.').map(|at| name + at + 1) {
            Some(at) => all.extend(cases(&form[at..]).into_iter().map(|end| format!("{}{end}", &form[..at]))),
            None => {
                all.insert(form);
            }
        }
    }
    all.remove(path);
    all
}

/// An extension in small letters, capitals, and, if it is short, everything between.
fn cases(extension: &str) -> Vec<String> {
    let letters = extension.chars().filter(char::is_ascii_alphabetic).count();
    if letters > MAX_LETTERS {
        return vec![extension.to_owned(), extension.to_ascii_lowercase(), extension.to_ascii_uppercase()];
    }
    let with = |capitals: u32| {
        let mut letter = 0;
        let in_case = |sign: char| {
            if !sign.is_ascii_alphabetic() {
                return sign;
            }
            letter += 1;
            if capitals >> (letter - 1) & 1 == 1 { sign.to_ascii_uppercase() } else { sign.to_ascii_lowercase() }
        };
        extension.chars().map(in_case).collect()
    };
    (0..1 << letters).map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_unicode_forms_and_cases_of_the_extension() {
        let (composed, decomposed) = ("ärzte/\u{e9}.png", "a\u{308}rzte/e\u{301}.png");
        let others = spellings("ärzte/é.png");
        assert_eq!(others.len(), 2 * 8 - 1);
        assert!(others.contains(decomposed) && !others.contains(composed));
        assert!(others.contains("ärzte/é.PnG"));
        assert_eq!(spellings("A.b/C"), BTreeSet::new(), "neither folders nor stems change their case");
        assert_eq!(spellings("a.dicomfile").len(), 1);
    }

    #[test]
    fn only_a_file_that_alone_fits_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("e\u{301}.PNG"), "").unwrap();
        let mut folders = Folders::default();
        assert_eq!(folders.alike(dir.path(), "\u{e9}.png").as_deref(), Some("e\u{301}.PNG"));
        assert_eq!(folders.alike(dir.path(), "e.png"), None);
        assert_eq!(folders.alike(dir.path(), "no/\u{e9}.png"), None);
        std::fs::write(dir.path().join("\u{e9}.Png"), "").unwrap();
        assert_eq!(Folders::default().alike(dir.path(), "\u{e9}.png"), None, "two fit");
    }
}
