//! Archives read in place: the members of zip and tar files as sources like any other, decoded from memory, one at a
//! time. Nothing is ever written, so there is no way for a member to end up where it should not.
//!
//! Nothing of an archive is trusted. Sizes that headers claim reserve no memory, what a member unpacks to is limited by
//! whoever reads it, and the whole of a gzipped archive is limited here. Members that cannot be read are listed with the
//! reason, and the others go on.

mod gzip;
mod names;
mod source;
mod tar;
mod zip;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::notes::Notes;
use messages::Skipped;
pub(crate) use names::{is_hidden, joined, os_text, text_below};
pub use source::FileSource;

/// Members that an archive may have: a list of so many takes some hundreds of megabytes.
const MAX_MEMBERS: usize = 5_000_000;

/// What names of archives end with, longer ones first. What a file is, its content decides.
const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar", ".zip"];

/// What the readers of sources share: the archives among them, each listed once, and what there is to say.
#[derive(Debug, Default)]
pub struct Archives {
    opened: Mutex<HashMap<PathBuf, Option<Arc<Archive>>>>,
    /// Of folders in which files were looked for, the files in them that are named like archives.
    folders: Mutex<HashMap<PathBuf, Arc<[PathBuf]>>>,
    /// What the readers of sources have to say.
    pub(crate) notes: Notes,
}

impl Archives {
    /// The archive at `path`, listed; `None` where the file is no archive by its content.
    pub(crate) fn open(&self, path: &Path) -> Option<Arc<Archive>> {
        // Whoever waits for an archive that is being listed needs it.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(archive) = opened.get(path) {
            return archive.clone();
        }
        let archive = Archive::open(path).map(Arc::new);
        opened.insert(path.to_path_buf(), archive.clone());
        archive
    }

    /// [`Archives::open`] for files that are named like archives, so that not every file is looked into.
    pub(crate) fn open_named(&self, path: &Path) -> Option<Arc<Archive>> {
        if is_named_like_one(path) { self.open(path) } else { None }
    }

    /// The archive that a source is or lies in, with the folder inside it: `scans.zip`, `scans.zip/train`.
    pub(crate) fn enter(&self, source: &Path) -> Option<(Arc<Archive>, String)> {
        let file = source.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists())?;
        let inside = names::normalised(&text_below(file, source)?)?;
        let archive = if file.is_file() { self.open(file) } else { None };
        // An archive that is damaged may well have had the folder.
        let holds = |archive: &Arc<Archive>| {
            inside.is_empty()
                || archive.below(&inside).next().is_some()
                || archive.problems_below(&inside).next().is_some()
        };
        archive.filter(holds).map(|archive| (archive, inside))
    }

    /// The file of that name below a folder, in one of the folder's archives where it is not on the disk: either as if
    /// the archive had been unpacked into the folder, or into a folder of the archive's name, or with the archive as a
    /// folder on the way.
    pub(crate) fn find(&self, folder: &Path, name: &str) -> Option<FileSource> {
        let path = folder.join(name);
        if path.is_file() {
            return Some(FileSource::Disk(path));
        }
        let inside = names::normalised(&name.replace('\\', "/"))?;
        for archive in self.beside(folder).iter().filter_map(|path| self.open(path)) {
            let own_name = os_text(archive.path.file_name().unwrap_or_default());
            let stem = without_ending(&own_name);
            let below = |outer: &str| inside.strip_prefix(outer).and_then(|rest| rest.strip_prefix('/'));
            let mut candidates = [Some(inside.as_str()), below(&own_name), below(stem)].into_iter().flatten();
            if let Some(number) = candidates.find_map(|name| archive.find(name)) {
                return Some(FileSource::member(&archive, number));
            }
        }
        None
    }

    /// Whether files below a folder may be in archives.
    pub(crate) fn are_beside(&self, folder: &Path) -> bool {
        !self.beside(folder).is_empty()
    }

    /// [`Archives::find`] for a file that a table names; one that is nowhere is on the disk, where it will be missed.
    pub(crate) fn locate(&self, folder: &Path, name: &str) -> FileSource {
        // Tables may have hundreds of thousands of rows: where there are no archives, files are looked for once only,
        // when they are decoded.
        let found = if self.beside(folder).is_empty() { None } else { self.find(folder, name) };
        found.unwrap_or_else(|| FileSource::Disk(folder.join(name)))
    }

    /// What is wrong with the archives below a folder that were opened: a line for each archive, and one for all of its
    /// members that cannot be read.
    pub(crate) fn problems(&self, folder: &Path) -> Vec<Skipped> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let mut archives: Vec<_> = opened.values().flatten().collect();
        archives.sort_by(|a, b| a.path.cmp(&b.path));
        let mut lines = Vec::new();
        for archive in archives {
            let Some(item) = text_below(folder, archive.path()) else { continue };
            let (own, members): (Vec<_>, Vec<_>) = archive.problems.iter().partition(|problem| problem.item.is_empty());
            lines.extend(own.iter().map(|problem| Skipped { item: item.clone(), reason: problem.reason.clone() }));
            if let Some(first) = members.first() {
                let reason = format!(
                    "{} of its files are left out (for example {}: {})",
                    members.len(),
                    first.item,
                    first.reason
                );
                lines.push(Skipped { item, reason });
            }
        }
        lines
    }

    /// The files in a folder that are named like archives, by name. Nothing is opened: archives beside what was unpacked
    /// from them are common, and listing them may take minutes.
    fn beside(&self, folder: &Path) -> Arc<[PathBuf]> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paths) = folders.get(folder) {
            return Arc::clone(paths);
        }
        let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let paths = entries.into_iter().flatten().flatten().map(|entry| folder.join(entry.file_name()));
        let is_shown = |path: &PathBuf| !is_hidden(&os_text(path.file_name().unwrap_or_default()));
        let mut paths: Vec<_> =
            paths.filter(|path| is_named_like_one(path) && is_shown(path) && path.is_file()).collect();
        paths.sort();
        let paths: Arc<[_]> = paths.into();
        folders.insert(folder.to_path_buf(), Arc::clone(&paths));
        paths
    }
}

/// Whether a file is named like an archive.
pub(crate) fn is_named_like_one(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    without_ending(&name) != name
}

/// The name without the ending of an archive.
fn without_ending(name: &str) -> &str {
    let cut = |ending: &&str| {
        let at = name.len().checked_sub(ending.len())?;
        let end = name.get(at..)?;
        end.eq_ignore_ascii_case(ending).then(|| &name[..at])
    };
    ENDINGS.iter().find_map(cut).unwrap_or(name)
}

/// A file in an archive.
#[derive(Debug)]
struct Member {
    /// The path inside the archive, with `/` between folders.
    name: String,
    /// Where it is: the number in a zip file's directory, the position in an unpacked tar file.
    place: u64,
    /// The size that the archive claims, in bytes.
    size: u64,
}

/// An archive with the list of its members.
pub struct Archive {
    path: PathBuf,
    /// In the order that a folder with these files would be gone through.
    members: Vec<Member>,
    problems: Vec<Skipped>,
    content: Content,
}

/// How members are read.
enum Content {
    Zip(::zip::ZipArchive<LazyFile>),
    Tar,
    GzippedTar(gzip::Index),
    /// It could not be listed.
    Nothing,
}

impl Archive {
    /// Lists the archive; `None` for a file that is none, or that cannot be opened.
    fn open(path: &Path) -> Option<Self> {
        let kind = Kind::of(path)?;
        // The readers are meant not to panic; where one does, the archive is at fault and the next must still be read.
        let listed = catch_unwind(AssertUnwindSafe(|| match kind {
            Kind::Zip => zip::list(path),
            Kind::Tar => tar::list_plain(path),
            Kind::Gzip => tar::list_gzipped(path),
        }));
        let (content, mut list) = listed.unwrap_or_else(|_| {
            (
                Content::Nothing,
                List::failed("the archive's contents contradict each other; make it again, or download it again"),
            )
        });
        // Gzipped data may be anything.
        if kind == Kind::Gzip && !is_named_like_one(path) && list.members.is_empty() {
            return None;
        }
        list.sort();
        Some(Self { path: path.to_path_buf(), members: list.members, problems: list.problems, content })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The members below a folder of the archive, in their order, with their names below it. A file of that name counts,
    /// with the last part of its name.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = (usize, &str)> {
        let members = self.members.iter().enumerate();
        members.filter_map(move |(number, member)| Some((number, names::below(folder, &member.name)?)))
    }

    /// What is wrong with members below a folder, by their names below it, and, without a name, with the archive.
    pub(crate) fn problems_below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let problems = self.problems.iter().map(|problem| (problem.item.as_str(), problem.reason.as_str()));
        problems.filter_map(move |(item, reason)| match item {
            "" => Some(("", reason)),
            _ => Some((names::below(folder, item)?, reason)),
        })
    }

    /// The path of a member inside the archive.
    pub(crate) fn name(&self, number: usize) -> &str {
        &self.members[number].name
    }

    /// The name of a member below a folder of the archive.
    pub(crate) fn name_below(&self, folder: &str, number: usize) -> Option<&str> {
        names::below(folder, self.name(number))
    }

    /// The number of the member of that name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.members.binary_search_by(|member| names::compare(&member.name, name)).ok()
    }

    /// Where a member is, if members are best read in the order of the archive.
    fn place_in_stream(&self, number: usize) -> Option<u64> {
        matches!(self.content, Content::GzippedTar(_)).then(|| self.members[number].place)
    }

    /// Hands the bytes of a member to `read`, with the size that the archive claims.
    fn read<T>(&self, number: usize, read: impl FnOnce(&mut dyn Read, u64) -> T) -> io::Result<T> {
        let &Member { place, size, .. } = &self.members[number];
        match &self.content {
            Content::Zip(archive) => {
                let mut archive = archive.clone();
                let mut member = archive.by_index(usize::try_from(place).map_err(io::Error::other)?)?;
                Ok(read(&mut member, size))
            }
            Content::Tar => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(place))?;
                Ok(read(&mut Whole { rest: size, reader: file }, size))
            }
            Content::GzippedTar(index) => {
                index.read(&self.path, place, |reader| read(&mut Whole { rest: size, reader }, size))
            }
            Content::Nothing => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Archive").field(&self.path).finish()
    }
}

/// What an archive is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zip,
    Tar,
    Gzip,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(512).read_to_end(&mut bytes).ok()?;
        match &bytes[..] {
            // An empty zip file is nothing but its end.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            bytes if bytes.get(257..262) == Some(b"ustar") => Some(Self::Tar),
            _ => None,
        }
    }
}

/// What was found in an archive.
#[derive(Default)]
struct List {
    members: Vec<Member>,
    problems: Vec<Skipped>,
}

impl List {
    fn failed(reason: impl Into<String>) -> Self {
        let mut list = Self::default();
        list.report("", reason);
        list
    }

    /// Adds a member under the name that the archive has for it.
    ///
    /// # Errors
    /// More members than any archive may have.
    fn add(&mut self, name: &str, place: u64, size: u64) -> Result<(), String> {
        if self.members.len() >= MAX_MEMBERS {
            return Err(format!("the archive has more than {MAX_MEMBERS} files, the most that are read; split it"));
        }
        match names::normalised(name) {
            Some(name) if name.split('/').any(is_hidden) || name.is_empty() => {}
            Some(name) => self.members.push(Member { name, place, size }),
            None => self.report(name, "its name leads out of the archive; pack it again without `..`"),
        }
        Ok(())
    }

    fn report(&mut self, name: &str, reason: impl Into<String>) {
        if self.problems.len() < MAX_MEMBERS {
            self.problems.push(Skipped { item: name.to_owned(), reason: reason.into() });
        }
    }

    /// Into the order of a folder. Of several members with one name the last counts, as it would after unpacking.
    fn sort(&mut self) {
        self.members.sort_by(|a, b| names::compare(&a.name, &b.name).then(b.place.cmp(&a.place)));
        self.members.dedup_by(|later, first| later.name == first.name);
    }
}

/// A file that is opened when it is read and closed with its last reader: thousands of archives must not keep thousands
/// of files open.
#[derive(Debug)]
struct LazyFile {
    path: Arc<Path>,
    file: Option<BufReader<File>>,
}

impl LazyFile {
    fn new(path: &Path) -> Self {
        Self { path: path.into(), file: None }
    }

    fn get(&mut self) -> io::Result<&mut BufReader<File>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => BufReader::new(File::open(&self.path)?),
        };
        Ok(self.file.insert(file))
    }
}

impl Clone for LazyFile {
    fn clone(&self) -> Self {
        Self { path: Arc::clone(&self.path), file: None }
    }
}

impl Read for LazyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.get()?.read(buffer)
    }
}

impl Seek for LazyFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.get()?.seek(position)
    }
}

/// A part of a reader that must be there in full.
struct Whole<R> {
    rest: u64,
    reader: R,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.rest -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests;
