//! Zip files: members by the directory at the end, each read on its own, by any thread.

use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::names::as_text;
use super::{Content, LazyFile, List};

/// Lists a zip file.
pub(super) fn list(path: &Path) -> (Content, List) {
    let archive = match ZipArchive::new(LazyFile::new(path)) {
        Ok(archive) => archive,
        Err(error) => {
            let reason = format!(
                "the archive's directory is missing or damaged ({error}), as when a download is cut short; download it \
                 again"
            );
            return (Content::Nothing, List::failed(reason));
        }
    };
    let mut list = List::default();
    for place in 0..archive.len() {
        if let Err(reason) = add(&archive, place, &mut list) {
            list.report("", reason);
            break;
        }
    }
    // The clone has the directory, and no open file.
    (Content::Zip(archive.clone()), list)
}

fn add(archive: &ZipArchive<LazyFile>, place: usize, list: &mut List) -> Result<(), String> {
    let entry = archive
        .by_index_data(place)
        .map_err(|error| format!("the archive is damaged ({error}); make it again, or download it again"))?;
    if entry.is_dir() {
        return Ok(());
    }
    // Many programs write UTF-8 without saying so; what is none is in the character set of MS-DOS, or unknown.
    let name = match std::str::from_utf8(entry.name_raw()) {
        Ok(name) => name.to_owned(),
        Err(_) => entry.name().map_or_else(|_| as_text(entry.name_raw()), |name| name.into_owned()),
    };
    // Some programs for Windows write its own separator.
    let name = if name.contains('/') { name } else { name.replace('\\', "/") };
    if entry.encrypted() {
        list.report(&name, "it is encrypted; unpack the archive with its password");
    } else if entry.is_symlink() {
        list.report(&name, "it is a link, which is not followed inside an archive; pack the file that it leads to");
    } else {
        match entry.compression() {
            CompressionMethod::Stored | CompressionMethod::Deflated => {
                return list.add(&name, place as u64, entry.size());
            }
            other => list.report(
                &name,
                format!(
                    "it is compressed by the method {other}, and deflated or stored files are read; pack it again, or \
                         unpack it"
                ),
            ),
        }
    }
    Ok(())
}
