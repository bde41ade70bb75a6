//! Names of files as text, whatever bytes they are.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

/// Text for bytes that may not be UTF-8: each byte that is none becomes `\x` and its two digits, so that names that
/// differ stay different.
pub(super) fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// [`as_text`] for a name that the operating system gave.
pub(crate) fn os_text(name: &OsStr) -> String {
    as_text(name.as_encoded_bytes())
}

/// The path below a folder, with `/` between folders; empty for the folder itself, `None` for what is not below it.
pub(crate) fn text_below(folder: &Path, path: &Path) -> Option<String> {
    let parts: Vec<_> = path.strip_prefix(folder).ok()?.iter().map(os_text).collect();
    Some(parts.join("/"))
}

/// A path below a folder, which may have no name.
pub(crate) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() || name.is_empty() { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

/// Whether a file or folder is hidden, by its name.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// A path of an archive or a table without what says nothing: empty parts, `.`, a leading `/`. `None` where it leads
/// out by `..`.
pub(super) fn normalised(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for part in name.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return None;
        }
        if !text.is_empty() {
            text.push('/');
        }
        text.push_str(part);
    }
    Some(text)
}

/// The path below a folder, `None` where it is elsewhere; all are below the folder without a name. Of the path itself, its
/// last part.
pub(super) fn below<'a>(folder: &str, name: &'a str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(name);
    }
    match name.strip_prefix(folder)? {
        "" => name.rsplit('/').next(),
        rest => rest.strip_prefix('/'),
    }
}

/// The order in which folders are gone through: by name within each folder.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_stay_different() {
        assert_eq!(as_text("a/ö.png".as_bytes()), "a/ö.png");
        assert_eq!(as_text(b"a\xff\xfe.png"), "a\\xff\\xfe.png");
        assert_ne!(as_text(b"\xff.png"), as_text(b"\xfe.png"));
    }

    #[test]
    fn names_are_cleared_of_what_says_nothing() {
        for (name, expected) in [
            ("./a//b.png", Some("a/b.png")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../../b.png", None),
            ("..", None),
            ("a/..b/c...png", Some("a/..b/c...png")),
            ("./", Some("")),
        ] {
            assert_eq!(normalised(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_order_is_that_of_folders() {
        let mut names = ["a.png", "a/c.png", "a/b/z.png", "a-b/a.png", "B.png"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["B.png", "a/b/z.png", "a/c.png", "a-b/a.png", "a.png"]);
    }

    #[test]
    fn paths_below_a_folder() {
        for (folder, name, expected) in [
            ("", "a/b", Some("a/b")),
            ("a", "a/b", Some("b")),
            ("a", "ab/c", None),
            ("a/b", "a/b", Some("b")),
            ("a", "b", None),
        ] {
            assert_eq!(below(folder, name), expected, "{folder} {name}");
        }
    }
}
