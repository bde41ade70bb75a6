//! Going through files and folders in an order that does not change.

use std::path::Path;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use super::{Items, SourceItem};
use crate::Skipped;

/// The files of `source` (which may be a file itself), sorted by name within each folder, hidden ones left out.
/// `describe` fills in what the path tells; it gets the parts of the path below `source`, the file's name last.
pub(super) fn walk<'a>(source: &'a Path, describe: impl Fn(&[&str], &mut SourceItem) + 'a) -> Result<Items<'a>> {
    std::fs::metadata(source)
        .with_context(|| format!("the source cannot be read, check the path: {}", source.display()))?;
    let entries = WalkDir::new(source)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry));
    let items = entries.filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_dir() => None,
        Ok(entry) => {
            let name = relative_name(source, entry.path());
            let parts: Vec<&str> = name.split('/').collect();
            let mut item = SourceItem { path: entry.path().to_path_buf(), name: name.clone(), ..Default::default() };
            describe(&parts, &mut item);
            Some(Ok(item))
        }
        Err(error) => {
            let item = error.path().map_or_else(String::new, |path| relative_name(source, path));
            let reason = match error.io_error() {
                Some(cause) => format!("it cannot be read ({cause}); check its permissions"),
                None => "the link leads back to a folder that it is in; remove it".to_owned(),
            };
            Some(Err(Skipped { item, reason }))
        }
    });
    Ok(Box::new(items))
}

/// The path below `source` with `/` between folders; the name of the file where `source` is the file.
fn relative_name(source: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(source).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    if parts.is_empty() {
        return source.file_name().unwrap_or(source.as_os_str()).to_string_lossy().into_owned();
    }
    parts.join("/")
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}
