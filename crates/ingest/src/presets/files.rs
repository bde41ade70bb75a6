//! Going through files, folders and archives in an order that does not change.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use super::dicomdir::{self, Directory};
use super::{Items, SourceItem};
use crate::archive::{Archive, Archives, FileSource, is_hidden, joined, os_text, text_below};
use messages::Skipped;

/// A file that was met.
struct Met {
    file: FileSource,
    /// Its path below the source, archives on the way included.
    name: String,
    /// The same, as if archives had been unpacked where they lie.
    unpacked: String,
}

/// Files, and why there is none.
type AllMet<'a> = Box<dyn Iterator<Item = Result<Met, Skipped>> + 'a>;

/// The files of `source` (which may be a file itself), sorted by name within each folder, hidden ones left out, with
/// those in archives where the archive lies. `describe` fills in what the path tells; it gets the parts of the path below
/// `source`, as if archives had been unpacked where they lie, the file's name last.
///
/// A directory of a medium (DICOMDIR) is no image: it is passed over, or what it misses is said.
pub(super) fn walk<'a>(
    source: &'a Path,
    archives: &'a Archives,
    describe: impl Fn(&[&str], &mut SourceItem) + 'a,
) -> Result<Items<'a>> {
    let all: AllMet = match archives.enter(source) {
        Some((archive, folder)) => members(&archive, &folder, "", ""),
        None => {
            std::fs::metadata(source)
                .with_context(|| format!("the source cannot be read, check the path: {}", source.display()))?;
            let entries = WalkDir::new(source)
                .follow_links(true)
                .sort_by_file_name()
                .into_iter()
                .filter_entry(|entry| entry.depth() == 0 || !is_hidden(&os_text(entry.file_name())));
            Box::new(entries.flat_map(move |entry| match entry {
                Ok(entry) => at(source, &entry, archives),
                Err(error) => Box::new(std::iter::once(Err(unreadable(source, &error)))),
            }))
        }
    };
    let items = all.filter_map(move |met| {
        let Met { file, name, unpacked } = match met {
            Ok(met) => met,
            Err(skipped) => return Some(Err(skipped)),
        };
        match dicomdir::check(&file) {
            Directory::None => {}
            Directory::Complete => return None,
            Directory::Lacks(reason) => return Some(Err(Skipped { item: name, reason })),
        }
        let parts: Vec<&str> = unpacked.split('/').collect();
        let mut item = SourceItem { file, name, ..Default::default() };
        describe(&parts, &mut item);
        Some(Ok(item))
    });
    Ok(Box::new(items))
}

/// What an entry of a folder stands for: a file, the members of an archive, or nothing.
fn at<'a>(source: &Path, entry: &DirEntry, archives: &Archives) -> AllMet<'a> {
    let path = entry.path();
    if entry.file_type().is_dir() {
        return Box::new(std::iter::empty());
    }
    let name = relative_name(source, path);
    if !entry.file_type().is_file() {
        let reason = "it is a pipe, a socket or a device and not a file; remove it".to_owned();
        return Box::new(std::iter::once(Err(Skipped { item: name, reason })));
    }
    match archives.open_named(path) {
        Some(archive) => {
            let folder = path.parent().and_then(|folder| text_below(source, folder)).unwrap_or_default();
            members(&archive, "", &name, &folder)
        }
        None => Box::new(std::iter::once(Ok(Met {
            file: FileSource::Disk(path.to_path_buf()),
            unpacked: name.clone(),
            name,
        }))),
    }
}

/// The members of an archive below a folder in it. Their names are put below `name`, and below `unpacked` for what the
/// path tells.
fn members<'a>(archive: &Arc<Archive>, folder: &str, name: &str, unpacked: &str) -> AllMet<'a> {
    let own_name = os_text(archive.path().file_name().unwrap_or_default());
    let problems = archive.problems_below(folder).map(|(member, reason)| {
        let item = joined(name, member);
        Err(Skipped { item: if item.is_empty() { own_name.clone() } else { item }, reason: reason.to_owned() })
    });
    // The list is there already; of each member there is its number until it is met.
    let problems: Vec<Result<Met, Skipped>> = problems.collect();
    let numbers: Vec<usize> = archive.below(folder).map(|(number, _)| number).collect();
    let (archive, name, unpacked) = (Arc::clone(archive), name.to_owned(), unpacked.to_owned());
    let folder = folder.to_owned();
    let members = numbers.into_iter().filter_map(move |number| {
        let member = archive.name_below(&folder, number)?;
        Some(Ok(Met {
            name: joined(&name, member),
            unpacked: joined(&unpacked, member),
            file: FileSource::Member(Arc::clone(&archive), number),
        }))
    });
    Box::new(problems.into_iter().chain(members))
}

fn unreadable(source: &Path, error: &walkdir::Error) -> Skipped {
    let item = error.path().map_or_else(String::new, |path| relative_name(source, path));
    let is_link = error.path().is_some_and(Path::is_symlink);
    let reason = match error.io_error() {
        Some(cause) if is_link => {
            format!("it is a link that leads nowhere ({cause}); remove it, or bring back its file")
        }
        Some(cause) => format!("it cannot be read ({cause}); check its permissions"),
        None => "the link leads back to a folder that it is in; remove it".to_owned(),
    };
    Skipped { item, reason }
}

/// The path below `source` with `/` between folders; the name of the file where `source` is the file.
fn relative_name(source: &Path, path: &Path) -> String {
    match text_below(source, path) {
        Some(name) if !name.is_empty() => name,
        _ => os_text(path.file_name().unwrap_or(path.as_os_str())),
    }
}
