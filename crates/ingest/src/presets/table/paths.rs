//! From what a table calls a file to where it is: separators and folders of another machine, other spellings.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use dataset::text_key;

use crate::archive::Archives;
use crate::notes::Count;
use crate::spelling::{Folders, only, spellings};

/// Absolute paths that are tried before it is given up to find the folder that they begin with.
const MAX_TRIES: usize = 1000;

/// Where a table's files are.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// What absolute paths begin with that is not here; what follows is below the root.
    foreign: Option<String>,
    /// Names with a backslash that files really have.
    literal: HashSet<u64>,
    /// Of names that the disk spells otherwise, how.
    respelled: HashMap<u64, String>,
}

impl Paths {
    /// The path, absolute or below the root, of what a cell names.
    pub(super) fn resolve(&self, cell: &str) -> String {
        let mut path = self.cleaned(cell);
        if let Some(rest) = self.foreign.as_deref().and_then(|folder| path.strip_prefix(folder)) {
            path = rest.to_owned();
        }
        if self.respelled.is_empty() {
            return path;
        }
        self.respelled.get(&text_key(&path)).cloned().unwrap_or(path)
    }

    /// With `/` between folders, and without parts that say nothing.
    fn cleaned(&self, cell: &str) -> String {
        let path = if cell.contains('\\') && !self.literal.contains(&text_key(cell)) {
            cell.replace('\\', "/")
        } else {
            cell.to_owned()
        };
        if !path.contains("//") && !path.starts_with("./") && !path.contains("/./") {
            return path;
        }
        let start = if path.starts_with('/') { "/" } else { "" };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        format!("{start}{}", parts.join("/"))
    }
}

/// Whether a path begins at the root of a disk, `/` between folders.
fn is_absolute(path: &str) -> bool {
    path.starts_with('/') || path.as_bytes().get(1) == Some(&b':')
}

/// Manifests hold no absolute paths: of one, the file and its folder remain.
pub(super) fn without_root(name: &str) -> String {
    let name = name.replace('\\', "/");
    if !is_absolute(&name) {
        return name;
    }
    // A file that lies in no folder has none.
    let is_folder = |part: &&str| !part.is_empty() && !part.ends_with(':');
    let parts: Vec<&str> = name.rsplit('/').take(2).filter(is_folder).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Finds out where a table's files are, one cell after the other.
pub(super) struct Finder<'a> {
    root: PathBuf,
    archives: &'a Archives,
    are_archives_beside: bool,
    folders: Folders,
    tries: usize,
    num_respelled: Count,
    pub paths: Paths,
}

impl<'a> Finder<'a> {
    pub(super) fn new(root: &Path, archives: &'a Archives) -> Self {
        Self {
            root: root.to_path_buf(),
            archives,
            are_archives_beside: archives.are_beside(root),
            folders: Folders::default(),
            tries: 0,
            num_respelled: Count::default(),
            paths: Paths::default(),
        }
    }

    /// Takes in another cell.
    pub(super) fn admit(&mut self, cell: &str) {
        if cell.contains('\\') && self.folders.has(&self.root.join(cell)) {
            self.paths.literal.insert(text_key(cell));
            return;
        }
        let mut path = self.paths.resolve(cell);
        if self.folders.has(&self.root.join(&path)) {
            return;
        }
        if is_absolute(&path) {
            if self.paths.foreign.is_some() || self.tries >= MAX_TRIES {
                return;
            }
            self.tries += 1;
            let Some(length) = self.foreign_part(&path) else { return };
            self.paths.foreign = Some(path[..length].to_owned());
            path = path[length..].to_owned();
        }
        if let Some(other) = self.alike(&path) {
            self.num_respelled.add(|| format!("{path} is {other}"));
            self.paths.respelled.insert(text_key(&path), other);
        }
    }

    /// The length of what an absolute path has before a path below the root, the longest that is there.
    fn foreign_part(&mut self, path: &str) -> Option<usize> {
        let mut starts = path.match_indices('/').map(|(at, _)| at + 1);
        starts.find(|&at| {
            let rest = &path[at..];
            !rest.is_empty()
                && (self.folders.has(&self.root.join(rest))
                    || (self.are_archives_beside && self.archives.find(&self.root, rest).is_some())
                    || self.alike(rest).is_some())
        })
    }

    fn alike(&mut self, path: &str) -> Option<String> {
        if !self.are_archives_beside {
            return self.folders.alike(&self.root, path);
        }
        if self.archives.find(&self.root, path).is_some() {
            return None;
        }
        only(spellings(path).into_iter().filter(|other| self.archives.find(&self.root, other).is_some()))
    }

    /// What was found out, said where it is a guess.
    pub(super) fn finish(self, table: &str) -> Paths {
        let notes = &self.archives.notes;
        if self.num_respelled.number > 0 {
            let sentence = format!(
                "{table}: {} found under names in another Unicode form, or with another case of the extension (for example \
                 {})",
                self.num_respelled.of("file"),
                self.num_respelled.example
            );
            notes.put(format!("{table}, spelling"), sentence);
        }
        if let Some(folder) = &self.paths.foreign {
            let sentence = format!(
                "{table} names files by paths of another machine: what lies below {folder} there was found below the table's \
                 folder here; give `csv.root` if these are not the ones, or if others are not found"
            );
            notes.put(format!("{table}, paths"), sentence);
        }
        self.paths
    }
}
