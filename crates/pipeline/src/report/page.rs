//! The page around the sections: style sheet, escaping, tables, pictures as data URIs.
//!
//! One file without scripts or links to anywhere, so that it can be mailed, archived and read behind a firewall.

use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// Text made safe for HTML, in elements as in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The whole page around finished sections: `(anchor title, HTML)` each.
pub(super) fn document(title: &str, introduction: &str, sections: &[(String, String)]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header><h1>{}</h1>\n{introduction}</header>\n",
        escape(title),
        escape(title)
    );
    if sections.len() > 1 {
        html.push_str("<nav><ul>");
        for (index, (name, _)) in sections.iter().enumerate() {
            let _ = write!(html, "<li><a href=\"#part-{index}\">{}</a></li>", escape(name));
        }
        html.push_str("</ul></nav>\n");
    }
    for (index, (name, body)) in sections.iter().enumerate() {
        let _ = writeln!(html, "<section id=\"part-{index}\">\n<h2>{}</h2>\n{body}</section>", escape(name));
    }
    let _ = write!(
        html,
        "<footer>Written by dino-diffusion {}. Not for clinical use.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    html
}

/// A paragraph of plain text.
pub(super) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// A table of names and values.
pub(super) fn facts<N: AsRef<str>, V: AsRef<str>>(rows: &[(N, V)]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut html = String::from("<div class=\"scroll\"><table>\n");
    for (name, value) in rows {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escape(name.as_ref()),
            escape(value.as_ref())
        );
    }
    html.push_str("</table></div>\n");
    html
}

/// A table with a heading row.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table>\n<tr>");
    for heading in headings {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(heading));
    }
    html.push_str("</tr>\n");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
    html
}

/// A heading and body that the reader unfolds.
pub(super) fn folded(title: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n{body}</details>\n", escape(title))
}

/// A chart or other finished HTML with a caption.
pub(super) fn figure(body: &str, caption: &str) -> String {
    format!("<figure>{body}<figcaption>{}</figcaption></figure>\n", escape(caption))
}

/// A picture within the page, from the bytes of a PNG file.
pub(super) fn picture(png: &[u8], caption: &str) -> String {
    let text = escape(caption);
    figure(&format!("<img alt=\"{text}\" src=\"data:image/png;base64,{}\">", base64(png)), caption)
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

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_the_standard_one() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn nothing_typed_becomes_markup() {
        let evil = "<script>alert('x') & \"y\"</script>";
        let html = document(evil, "", &[(evil.into(), facts(&[(evil, evil)])), ("b".into(), picture(b"x", evil))]);
        assert!(!html.contains("<script"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;) &amp; &quot;y&quot;"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = document("t", "", &[]);
        assert!(!html.contains("http") && !html.contains("<link") && !html.contains("src="));
    }
}
