//! The little of Markdown that result files use: headings, paragraphs, tables, lists, emphasis and code.

use super::page::{Markup, escape, figures_table};

/// As HTML.
pub(super) fn to_html(text: &str) -> String {
    let mut html = String::new();
    let mut lines = text.lines().peekable();
    let mut words: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let is_table = line.starts_with('|') && lines.peek().is_some_and(|next| is_ruler(next));
        let is_heading = line.starts_with('#');
        let is_item = line.starts_with("- ") || line.starts_with("* ");
        if (line.is_empty() || is_table || is_heading || is_item) && !words.is_empty() {
            html.push_str(&format!("<p>{}</p>\n", inline(&words.join(" "))));
            words.clear();
        }
        match () {
            () if line.is_empty() => {}
            () if is_table => {
                lines.next();
                let mut rows = Vec::new();
                while let Some(row) = lines.next_if(|next| next.trim_start().starts_with('|')) {
                    rows.push(cells(row).map(|cell| Markup(inline(cell))).collect::<Vec<_>>());
                }
                html.push_str(&figures_table(&cells(line).collect::<Vec<_>>(), &rows));
            }
            // The page's own headings are of the levels above.
            () if is_heading => html.push_str(&format!("<h4>{}</h4>\n", inline(line.trim_start_matches('#').trim()))),
            () if is_item => html.push_str(&format!("<p>{}</p>\n", inline(&format!("• {}", line[2..].trim())))),
            () => words.push(line),
        }
    }
    if !words.is_empty() {
        html.push_str(&format!("<p>{}</p>\n", inline(&words.join(" "))));
    }
    html
}

/// The line of dashes below the headings of a table.
fn is_ruler(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('|') && line.contains('-') && line.chars().all(|character| "|-: ".contains(character))
}

fn cells(row: &str) -> impl Iterator<Item = &str> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    row.strip_suffix('|').unwrap_or(row).split('|').map(str::trim)
}

/// Escaped, then `**strong**` and `` `code` ``; marks without a partner stay.
fn inline(text: &str) -> String {
    let between = |text: String, mark: &str, tag: &str| -> String {
        let pieces: Vec<&str> = text.split(mark).collect();
        let paired = pieces.len() - 1 + pieces.len() % 2;
        let mut out = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            match index {
                0 => {}
                _ if index >= paired => out.push_str(mark),
                _ if index % 2 == 1 => out.push_str(&format!("<{tag}>")),
                _ => out.push_str(&format!("</{tag}>")),
            }
            out.push_str(piece);
        }
        out
    };
    between(between(escape(text), "**", "strong"), "`", "code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_headings_and_paragraphs() {
        let html =
            to_html("# Results\n\nTwo\nlines & more.\n| a | **b** |\n| --- | ---: |\n| x | 1 |\n| `y` | 2 |\n- item");
        assert!(html.contains("<h4>Results</h4>") && html.contains("<p>Two lines &amp; more.</p>"), "{html}");
        assert_eq!((html.matches("<tr>").count(), html.matches("class=\"figures\"").count()), (3, 2), "{html}");
        assert!(html.contains("<code>y</code>") && html.contains("• item"), "{html}");
    }

    #[test]
    fn nothing_in_it_becomes_markup_of_its_own() {
        let html = to_html("<script>x</script> a ** b `c\n| <b> |\n|---|\n| <i> |");
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("<i>"), "{html}");
        assert!(html.contains("a ** b `c") && !html.contains("<strong>") && !html.contains("<code>"), "{html}");
        assert_eq!(inline("**a** and **b**"), "<strong>a</strong> and <strong>b</strong>");
        assert_eq!(inline("**a** and **b"), "<strong>a</strong> and **b");
    }
}
