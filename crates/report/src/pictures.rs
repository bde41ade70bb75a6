//! Pictures that other stages left in a folder, carried within the page as data URIs.
//!
//! Drawings (SVG) are text that a browser obeys. They are looked through for anything active before they are taken, and
//! then shown as images, in which browsers run no scripts, follow no links and fetch nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::page::{escape, figure, paragraph};

/// A larger picture is left out: it would make the page too heavy to open.
const MAX_BYTES: u64 = 12 << 20;

/// The files directly in a folder whose names end like this, by name.
pub(super) fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("the folder cannot be read: {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(extension)) && path.is_file())
        .collect();
    paths.sort();
    Ok(paths)
}

/// The PNG files directly in a folder, by name.
pub(super) fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    files_in(folder, "png")
}

/// A PNG file with a caption, its name where there is none.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn picture_file(path: &Path, caption: Option<&str>) -> Result<String> {
    let name = name_of(path);
    let Some(bytes) = read(path)? else { return Ok(too_large(path, &name)) };
    Ok(picture(&bytes, caption.unwrap_or(&name)))
}

/// A picture within the page, from the bytes of a PNG file.
pub(super) fn picture(png: &[u8], caption: &str) -> String {
    // Room is kept for it while the page loads.
    let size = match png_size(png) {
        Some([width, height]) => format!(" width=\"{width}\" height=\"{height}\""),
        None => String::new(),
    };
    let (text, data) = (escape(caption), base64(png));
    figure(&format!("<img alt=\"{text}\"{size} src=\"data:image/png;base64,{data}\">"), caption)
}

/// An SVG file, its title as caption. One that holds anything active is not shown, and the page says so.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn drawing_file(path: &Path) -> Result<String> {
    let name = name_of(path);
    let Some(bytes) = read(path)? else { return Ok(too_large(path, &name)) };
    let Ok(svg) = std::str::from_utf8(&bytes) else {
        return Ok(paragraph(&format!("{name} is no text and is not shown here.")));
    };
    if let Some(what) = active_content(svg) {
        return Ok(paragraph(&format!("{name} holds {what} and is not shown here.")));
    }
    let title = title_of(svg).unwrap_or_else(|| escape(&name));
    let image = format!("<img alt=\"{title}\" src=\"data:image/svg+xml;base64,{}\">", base64(&bytes));
    Ok(format!("<figure>{image}<figcaption>{title}</figcaption></figure>\n"))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Nothing for a file that is too large.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let context = || format!("the picture cannot be read: {}", path.display());
    if fs::metadata(path).with_context(context)?.len() > MAX_BYTES {
        return Ok(None);
    }
    Ok(Some(fs::read(path).with_context(context)?))
}

fn too_large(path: &Path, name: &str) -> String {
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    paragraph(&format!("{name} has {:.1} MB and is not shown here.", bytes as f64 / 1e6))
}

/// Width and height out of a PNG file's first chunk.
fn png_size(png: &[u8]) -> Option<[u32; 2]> {
    let number = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    (png.get(12..16)? == b"IHDR").then_some([number(16)?, number(20)?])
}

/// What in a drawing would do more than be drawn; errs on the side of refusing.
fn active_content(svg: &str) -> Option<&'static str> {
    let text = svg.to_ascii_lowercase();
    // Names may carry a prefix, as in `svg:script`.
    let is_named = |character: char| character.is_ascii_alphanumeric() || matches!(character, ':' | '-' | '_');
    let elements: Vec<&str> = text
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split(|character| !is_named(character)).next()?.rsplit(':').next())
        .collect();
    let element = |name: &str| elements.contains(&name);
    // `href`, `src` and `url(` may name a place within the drawing, or data.
    let harmless = |target: &str| {
        let target = target.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\'' | '('));
        target.starts_with('#') || target.starts_with("data:image/png") || target.starts_with("data:image/jpeg")
    };
    let attribute = |name: &str| {
        let found: Vec<&str> = text.split(name).skip(1).collect();
        found.into_iter().filter(|rest| rest.trim_start().starts_with('=')).any(|rest| !harmless(rest))
    };
    // `onload=` and its like, within a tag.
    let is_handler = |rest: &str| {
        let name = rest.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
        !name.is_empty() && rest[name.len()..].trim_start().starts_with('=')
    };
    let begins = |before: &str| before.ends_with(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '/'));
    let has_handler =
        |tag: &str| tag.match_indices("on").any(|(at, _)| begins(&tag[..at]) && is_handler(&tag[at + 2..]));
    let mut tags = text.split('<').skip(1).filter_map(|rest| rest.split('>').next());
    match () {
        () if element("script") => Some("a script"),
        () if tags.any(has_handler) => Some("a script"),
        () if text.contains("javascript:") => Some("a script"),
        () if element("foreignobject") || element("iframe") || element("embed") => Some("a foreign document"),
        () if text.contains("<!entity") || text.contains("<?xml-stylesheet") => Some("a reference to other files"),
        () if attribute("href") || attribute("src") => Some("a link"),
        () if text.contains("@import") => Some("a link"),
        () if text.split("url(").skip(1).any(|target| !harmless(target)) => Some("a link"),
        () => None,
    }
}

/// The drawing's title, still escaped as it was and without markup.
fn title_of(svg: &str) -> Option<String> {
    let (_, rest) = svg.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    let title = title.trim();
    (!title.is_empty() && !title.contains(['<', '"'])).then(|| title.to_owned())
}

/// Base 64 (RFC 4648) with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for position in 0..4 {
            match position <= chunk.len() {
                true => out.push(char::from(ALPHABET[(group >> (18 - 6 * position) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::{Axes, Series, line_chart};

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_the_standard_one() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn what_does_more_than_be_drawn_is_refused() {
        for active in [
            "<svg><script>1</script></svg>",
            "<svg><svg:SCRIPT/></svg>",
            "<svg onload=\"x()\"></svg>",
            "<svg><g\nonclick = 'x()'/></svg>",
            "<svg><g id=\"a\"onbegin=\"x()\"/></svg>",
            "<svg><a xlink:href=\"https://example.org\"/></svg>",
            "<svg><image href='picture.png'/></svg>",
            "<svg><use href = \"other.svg#a\"/></svg>",
            "<svg><a href=\"javascript:x()\"/></svg>",
            "<svg><style>@import 'a.css';</style></svg>",
            "<svg><rect style=\"fill: url( http://a/b )\"/></svg>",
            "<svg><foreignObject/></svg>",
            "<!DOCTYPE svg [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><svg/>",
        ] {
            assert!(active_content(active).is_some(), "{active}");
        }
    }

    #[test]
    fn drawings_of_our_own_and_of_plotting_libraries_are_taken() {
        let points = [(0.0, 1.0), (1.0, 2.0)];
        let axes = Axes { x: "on = off", y: "script", logarithmic: false };
        let own = line_chart(axes, &[Series { name: "one", points: &points }]).unwrap().titled("Dice & co").file();
        assert_eq!(active_content(&own), None);
        assert_eq!(title_of(&own).as_deref(), Some("Dice &amp; co"));
        let matplotlib = "<?xml version=\"1.0\"?><!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \
            \"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd\"><svg xmlns:xlink=\"http://www.w3.org/1999/xlink\">\
            <metadata><dc:type rdf:resource=\"http://purl.org/dc/dcmitype/StillImage\"/></metadata>\
            <dc:description/><g class=\"one\" clip-path=\"url(#p1)\"><use xlink:href=\"#DejaVuSans-30\"/></g></svg>";
        assert_eq!(active_content(matplotlib), None);
        assert_eq!(title_of(matplotlib), None);
    }

    #[test]
    fn a_refused_drawing_is_named_and_a_picture_keeps_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.svg");
        fs::write(&path, "<svg onload=\"x()\"/>").unwrap();
        let html = drawing_file(&path).unwrap();
        assert!(html.contains("bad.svg holds a script") && !html.contains("onload"), "{html}");
        let path = folder.path().join("a.png");
        radiograph::write_png_u8(&path, &[7; 6], 2, 3).unwrap();
        let html = picture_file(&path, Some("of <two>")).unwrap();
        assert!(html.contains("width=\"3\" height=\"2\"") && html.contains("of &lt;two&gt;"), "{html}");
    }
}
