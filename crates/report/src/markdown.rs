//! Markdown that lies beside results, as part of the page: CommonMark with tables, read by `pulldown-cmark`.
//!
//! Links keep their words alone and pictures their description, since the page needs nothing from elsewhere; HTML in the
//! text is shown and not obeyed.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::page::{Markup, escape, figures_table};

/// As HTML.
pub(super) fn to_html(text: &str) -> String {
    let mut writer = Writer::default();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        writer.take(event);
    }
    writer.flush("p");
    writer.html
}

/// What was read so far.
#[derive(Default)]
struct Writer {
    /// Finished blocks.
    html: String,
    /// Of the block being read.
    inline: Inline,
    /// Rows of the table being read, its headings first.
    rows: Vec<Vec<Inline>>,
}

/// Text with emphasis, and the same without.
#[derive(Default)]
struct Inline {
    markup: String,
    plain: String,
}

impl Inline {
    fn text(&mut self, text: &str) {
        self.markup.push_str(&escape(text));
        self.plain.push_str(text);
    }
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.inline.text(&text),
            Event::SoftBreak | Event::HardBreak => self.inline.text(" "),
            Event::Code(text) => {
                self.inline.markup.push_str("<code>");
                self.inline.text(&text);
                self.inline.markup.push_str("</code>");
            }
            Event::Start(Tag::Strong) => self.inline.markup.push_str("<strong>"),
            Event::End(TagEnd::Strong) => self.inline.markup.push_str("</strong>"),
            Event::Start(Tag::Emphasis) => self.inline.markup.push_str("<em>"),
            Event::End(TagEnd::Emphasis) => self.inline.markup.push_str("</em>"),
            // An item in an item ends the words of the outer one.
            Event::Start(Tag::Item) => {
                self.flush("p");
                self.inline.text("• ");
            }
            Event::Start(Tag::TableHead | Tag::TableRow) => self.rows.push(Vec::new()),
            Event::End(TagEnd::TableCell) => {
                let cell = std::mem::take(&mut self.inline);
                if let Some(row) = self.rows.last_mut() {
                    row.push(cell);
                }
            }
            Event::End(TagEnd::Table) => self.table(),
            // The page's own headings are of the levels above.
            Event::End(TagEnd::Heading(_)) => self.flush("h4"),
            Event::End(TagEnd::CodeBlock) => {
                let text = std::mem::take(&mut self.inline).markup;
                self.html.push_str(&format!("<p><code>{text}</code></p>\n"));
            }
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::HtmlBlock) => self.flush("p"),
            _ => {}
        }
    }

    /// Ends a block.
    fn flush(&mut self, tag: &str) {
        let text = std::mem::take(&mut self.inline).markup;
        if !text.trim().is_empty() {
            self.html.push_str(&format!("<{tag}>{}</{tag}>\n", text.trim()));
        }
    }

    fn table(&mut self) {
        let mut rows = std::mem::take(&mut self.rows).into_iter();
        let headings = rows.next().unwrap_or_default();
        let headings: Vec<&str> = headings.iter().map(|heading| heading.plain.as_str()).collect();
        let rows: Vec<Vec<Markup>> =
            rows.map(|row| row.into_iter().map(|cell| Markup(cell.markup)).collect()).collect();
        self.html.push_str(&figures_table(&headings, &rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_headings_and_paragraphs() {
        let html = to_html(
            "# Results\n\nTwo\nlines & more.\n\n| a | **b** |\n| --- | ---: |\n| x | 0.8 (+0.1\\*†) |\n| `y` | 2 |\n\n\
             - item\n  - inner\n- [words](http://example.invalid) *here*",
        );
        assert!(html.contains("<h4>Results</h4>") && html.contains("<p>Two lines &amp; more.</p>"), "{html}");
        assert_eq!((html.matches("<tr>").count(), html.matches("class=\"figures\"").count()), (3, 2), "{html}");
        assert!(html.contains("<code>y</code>") && html.contains("0.8 (+0.1*†)") && !html.contains('\\'), "{html}");
        assert!(html.contains("<p>• item</p>\n<p>• inner</p>"), "{html}");
        assert!(html.contains("<p>• words <em>here</em></p>") && !html.contains("example.invalid"), "{html}");
    }

    #[test]
    fn nothing_in_it_becomes_markup_of_its_own() {
        let html =
            to_html("<script>x</script>\n\na ** b `c <i>\n\n| <b> |\n|---|\n| <i> |\n\n![x](http://a.invalid/b.png)");
        for wrong in ["<script", "<b>", "<i>", "<strong>", "<code>", "<img", "a.invalid"] {
            assert!(!html.contains(wrong), "{wrong}: {html}");
        }
        assert!(html.contains("a ** b `c &lt;i&gt;") && html.contains("&lt;script&gt;x"), "{html}");
        assert_eq!(to_html("**a** and **b"), "<p><strong>a</strong> and **b</p>\n");
        assert_eq!(to_html("```\nx < y\n```"), "<p><code>x &lt; y\n</code></p>\n");
    }
}
