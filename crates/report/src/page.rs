//! The page around the sections: style sheet, tables, figures.
//!
//! One file without scripts or links to anywhere, so that it can be mailed, archived and read behind a firewall.

use std::fmt::Write as _;

pub(super) use charts::escape;

const STYLE: &str = include_str!("style.css");

/// Finished HTML: what was text has been escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Markup(pub String);

impl Markup {
    pub fn text(text: impl AsRef<str>) -> Self {
        Self(escape(text.as_ref()))
    }
}

/// The whole page around finished sections: `(anchor title, HTML)` each.
pub(super) fn document(title: &str, introduction: &str, sections: &[(String, String)]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{}{STYLE}</style>\n</head>\n\
         <body>\n<header><h1>{}</h1>\n{introduction}</header>\n",
        escape(title),
        charts::STYLE,
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

/// A sentence that is set off from the rest.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}

/// A table of names and values.
pub(super) fn facts<N: AsRef<str>, V: AsRef<str>>(rows: &[(N, V)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(name, value)| (name.as_ref().to_owned(), Markup::text(value))).collect();
    finished_facts(&rows)
}

/// The same with values that are finished already.
pub(super) fn finished_facts(rows: &[(String, Markup)]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut html = String::from("<div class=\"scroll\"><table>\n");
    for (name, Markup(value)) in rows {
        let _ = writeln!(html, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
    }
    html.push_str("</table></div>\n");
    html
}

/// A table of text with a heading row.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Markup>> = rows.iter().map(|row| row.iter().map(Markup::text).collect()).collect();
    cells(headings, &rows, "<td>")
}

/// A table of figures with a heading row; the first column is what they are of.
pub(super) fn figures_table(headings: &[&str], rows: &[Vec<Markup>]) -> String {
    cells(headings, rows, "<td class=\"figures\">")
}

fn cells(headings: &[&str], rows: &[Vec<Markup>], cell: &str) -> String {
    let mut html = String::from("<div class=\"scroll\"><table>\n<tr>");
    for heading in headings {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(heading));
    }
    html.push_str("</tr>\n");
    for row in rows {
        html.push_str("<tr>");
        for (column, Markup(content)) in row.iter().enumerate() {
            let _ = write!(html, "{}{content}</td>", if column == 0 { "<td>" } else { cell });
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

/// Charts, as many beside one another as there is room for.
pub(super) fn chart_row<C: AsRef<str>>(charts: impl IntoIterator<Item = (charts::Chart, C)>) -> String {
    let figures: String =
        charts.into_iter().map(|(chart, caption)| figure(&chart.inline(), caption.as_ref())).collect();
    side_by_side(&figures)
}

/// Finished figures, as many beside one another as there is room for.
pub(super) fn side_by_side(figures: &str) -> String {
    if figures.is_empty() { String::new() } else { format!("<div class=\"charts\">\n{figures}</div>\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_becomes_markup() {
        let evil = "<script>alert('x') & \"y\"</script>";
        let sections = [(evil.to_owned(), facts(&[(evil, evil)])), ("b".into(), note(evil) + &figure("", evil))];
        let html = document(evil, &folded(evil, &table(&[evil], &[vec![evil.into()]])), &sections);
        assert!(!html.contains("<script"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;) &amp; &quot;y&quot;"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = document("t", "", &[]);
        assert!(!html.contains("http") && !html.contains("<link") && !html.contains("src="));
    }
}
