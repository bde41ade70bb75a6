//! Charts as SVG: curves, box plots, and estimates with their intervals. Enough for what evaluations and reports show, without
//! fonts, scripts or a plotting library.
//!
//! Colours come from a style sheet, [`STYLE`], so that a chart follows the light or dark scheme of its reader: within a
//! page it is the page's. A chart that is a file of its own carries it with its colours written out, since drawing and
//! office programs know no variables.

mod boxes;
mod interval;
mod line;

use std::fmt::Write as _;

pub use boxes::{BoxMark, BoxPanel, box_chart};
pub use interval::{Mark, interval_chart};
pub use line::{Axes, Series, line_chart};

/// Colours and lines, for pages that hold charts.
pub const STYLE: &str = include_str!("chart.css");

/// Width of every chart: two stand side by side on a page, and one on a telephone is not reduced to illegibility.
const WIDTH: f64 = 440.0;
/// Colours of the style sheet; lines beyond are dashed.
const COLOURS: usize = 6;
/// Mean width of a character at the charts' 12 px, with some to spare.
const CHARACTER: f64 = 6.6;

/// A finished chart.
#[derive(Debug)]
pub struct Chart {
    title: String,
    height: f64,
    body: String,
}

impl Chart {
    /// For a page that holds [`STYLE`].
    pub fn inline(&self) -> String {
        let Self { title, height, body } = self;
        let title = escape(title);
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" class=\"chart\"><title>{title}</title>{body}</svg>")
    }

    /// The text of an SVG file. A reader takes its title for a caption.
    pub fn file(&self) -> String {
        let Self { title, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" class=\"chart\"><title>{}</title>\n<style>\n{}</style>\n\
             <rect class=\"background\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}\n</svg>\n",
            escape(title),
            file_style()
        )
    }

    /// The same with another title.
    pub fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }
}

/// The style of a file: light colours, and the dark ones for readers that ask for them.
fn file_style() -> String {
    // `:root { light } @media (..) { :root { dark } } rules`
    let blocks: Vec<&str> = STYLE.splitn(4, '}').collect();
    let [light, dark, _, rules] = blocks[..] else { return STYLE.to_owned() };
    let with = |colours: &str| {
        let pairs = colours.split(['{', ';']).filter_map(|part| part.trim().strip_prefix("--")?.split_once(':'));
        pairs.fold(rules.trim().to_owned(), |text, (name, colour)| {
            text.replace(&format!("var(--{})", name.trim()), colour.trim())
        })
    };
    format!("{}\n@media (prefers-color-scheme: dark) {{\n{}\n}}\n", with(light), with(dark))
}

/// Text made safe for HTML and SVG, in elements as in quoted attributes.
pub fn escape(text: &str) -> String {
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

/// A number as people write it: `12.5k`, `0.031`, `1.2e-5`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    match size {
        0.0 => "0".into(),
        _ if !value.is_finite() => value.to_string(),
        1e6.. => trimmed(format!("{:.2}", value / 1e6)) + "M",
        1e4.. => trimmed(format!("{:.1}", value / 1e3)) + "k",
        100.0.. => trimmed(format!("{value:.1}")),
        1.0.. => trimmed(format!("{value:.3}")),
        1e-3.. => trimmed(format!("{value:.5}")),
        _ => format!("{value:.2e}"),
    }
}

/// What an axis spans.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// The smallest range that holds all values; never empty.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let range = values.fold(None, |range: Option<Self>, value| {
            let Self { low, high } = range.unwrap_or(Self { low: value, high: value });
            Some(Self { low: low.min(value), high: high.max(value) })
        })?;
        if range.high > range.low {
            return Some(range);
        }
        let half = if range.low == 0.0 { 1.0 } else { range.low.abs() * 0.1 };
        Some(Self { low: range.low - half, high: range.high + half })
    }

    fn padded(self) -> Self {
        let pad = 0.04 * (self.high - self.low);
        Self { low: self.low - pad, high: self.high + pad }
    }

    /// Where the value lies, 0 at the lower end and 1 at the upper.
    fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// About `count` round numbers within the range.
    fn ticks(self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).take(4 * count).map(|index| index as f64 * step).collect()
    }
}

/// A line of text within a chart; `class` may be empty.
fn text(svg: &mut String, at: [f64; 2], anchor: &str, class: &str, content: &str) {
    let [x, y] = at;
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = write!(svg, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

/// A straight line within a chart.
fn segment(svg: &mut String, class: &str, from: [f64; 2], to: [f64; 2]) {
    let ([x1, y1], [x2, y2]) = (from, to);
    let _ = write!(svg, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Range { low: 0.13, high: 0.97 }.ticks(5);
        assert_eq!(ticks.iter().map(|tick| number(*tick)).collect::<Vec<_>>(), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(Range { low: 0.0, high: 20_480.0 }.ticks(6), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
    }

    #[test]
    fn numbers_read_well() {
        let written = [0.0, 1e-5, 0.031, 1.5, 123.45, 20_480.0, 5.12e7].map(number);
        assert_eq!(written, ["0", "1.00e-5", "0.031", "1.5", "123.5", "20.5k", "51.2M"]);
    }

    #[test]
    fn a_chart_in_a_file_of_its_own_brings_its_colours() {
        let chart = Chart { title: "a < b".into(), height: 100.0, body: String::new() };
        let file = chart.file();
        assert!(file.starts_with("<svg xmlns=") && file.contains("a &lt; b"), "{file}");
        // Written out, first for light readers.
        assert!(!file.contains("var(") && !file.contains("--line0"), "{file}");
        let (light, dark) = file.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for (part, paper, line) in [(light, "#ffffff", "#1f6fb2"), (dark, "#14181c", "#6bb1ee")] {
            assert!(part.contains(&format!(".chart .background {{ fill: {paper}; }}")), "{part}");
            assert!(part.contains(&format!(".chart .line0 {{ stroke: {line}; }}")), "{part}");
        }
        let inline = chart.inline();
        assert!(!inline.contains("<style>") && !inline.contains("http"));
        assert!(chart.titled("c").file().contains("<title>c</title>"));
    }
}
