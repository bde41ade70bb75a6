//! Tar files: members by their headers, which lie before each of them.

use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, Entries, Entry, EntryType, PaxExtensions};

use super::names::as_text;
use super::{Content, LazyFile, List, gzip};

/// Bytes of a header that goes before a member and has its name; names that are sensible are far shorter.
const MAX_EXTENSION: u64 = 1 << 20;

/// Lists a tar file. Contents are passed over unread.
pub(super) fn list_plain(path: &Path) -> (Content, List) {
    let mut list = List::default();
    let mut archive = Archive::new(LazyFile::new(path));
    let listed =
        archive.entries_with_seek().map_err(|error| damaged(&error)).and_then(|entries| add_all(entries, &mut list));
    finish(&mut list, listed, std::fs::metadata(path).map_or(0, |data| data.len()));
    (Content::Tar, list)
}

/// Lists a gzipped tar file, which takes unpacking all of it once.
pub(super) fn list_gzipped(path: &Path) -> (Content, List) {
    let mut list = List::default();
    let mut indexer = match gzip::Indexer::open(path) {
        Ok(indexer) => indexer,
        Err(error) => return (Content::Nothing, List::failed(damaged(&error))),
    };
    let mut listed = {
        let mut archive = Archive::new(&mut indexer);
        let entries = archive.entries().map_err(|error| damaged(&error));
        entries.and_then(|entries| add_all(entries, &mut list))
    };
    if listed.is_ok() {
        // The checksum comes at the very end.
        listed = io::copy(&mut indexer, &mut io::sink()).map(drop).map_err(|error| damaged(&error));
    }
    if indexer.is_wrong() {
        // Which members are wrong nobody knows.
        return (Content::Nothing, List::failed(listed.err().unwrap_or_default()));
    }
    finish(&mut list, listed, indexer.position());
    let last = list.members.iter().map(|member| member.place).max().unwrap_or(0);
    (Content::GzippedTar(indexer.finish(last)), list)
}

fn damaged(error: &io::Error) -> String {
    format!("the archive is damaged or cut short ({error}); make it again, or download it again")
}

/// Members of which not all bytes are there are left out, and what stopped the list is said.
fn finish(list: &mut List, listed: Result<(), String>, available: u64) {
    let before = list.members.len();
    list.members.retain(|member| member.place.checked_add(member.size).is_some_and(|end| end <= available));
    let cut = before - list.members.len();
    let reason = match (listed, cut) {
        (Ok(()), 0) => return,
        (Ok(()), _) => "the archive is cut short; make it again, or download it again".to_owned(),
        (Err(reason), _) => reason,
    };
    let kept = list.members.len();
    list.report("", format!("{reason} (of its files, the first {kept} are whole and are read)"));
}

fn add_all<R: Read>(entries: Entries<'_, R>, list: &mut List) -> Result<(), String> {
    let mut long_name: Option<Vec<u8>> = None;
    // Extensions are read here and not by the library, which would make room for whatever size they claim.
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| damaged(&error))?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let mut name = read_extension(&mut entry)?;
                while name.last() == Some(&0) {
                    name.pop();
                }
                long_name = Some(name);
                continue;
            }
            EntryType::XHeader => {
                let bytes = read_extension(&mut entry)?;
                for extension in PaxExtensions::new(&bytes).flatten() {
                    match extension.key_bytes() {
                        b"path" => long_name = Some(extension.value_bytes().to_vec()),
                        b"size" => {
                            return Err(
                                "the archive has a file of more than 8 GiB, behind which nothing is read; unpack \
                                        the archive"
                                    .into(),
                            );
                        }
                        _ => {}
                    }
                }
                continue;
            }
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            _ => {}
        }
        let name = as_text(&long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned()));
        match kind {
            // Very old archives mark folders by a slash alone.
            EntryType::Directory => {}
            EntryType::Regular | EntryType::Continuous if name.ends_with('/') => {}
            EntryType::Regular | EntryType::Continuous => list.add(&name, entry.raw_file_position(), entry.size())?,
            EntryType::Symlink | EntryType::Link => list
                .report(&name, "it is a link, which is not followed inside an archive; pack the file that it leads to"),
            other => list.report(
                &name,
                format!(
                    "it is a special file (tar type {:?}), not a plain one; pack it again",
                    char::from(other.as_byte())
                ),
            ),
        }
    }
    Ok(())
}

fn read_extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, String> {
    if entry.size() > MAX_EXTENSION {
        return Err(format!(
            "the archive has a name of {} bytes, the limit is {MAX_EXTENSION}; it is damaged or hostile",
            entry.size()
        ));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
    Ok(bytes)
}
