//! Box plots: what repeated runs of several settings give, group beside group.

use std::fmt::Write as _;

use super::{COLOURS, Chart, Range, WIDTH, escape, number, segment, text};

/// Left of the boxes: ticks.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 8.0;
/// Above the first panel: title and legend.
const HEADER: f64 = 44.0;
/// Of each panel: its title, the boxes, the names of the categories.
const PANEL_TITLE: f64 = 24.0;
const BODY: f64 = 180.0;
const NAMES: f64 = 26.0;

/// The values of one setting.
#[derive(Debug, Clone)]
pub struct BoxMark {
    /// Which of the panel's categories, from 0.
    pub category: usize,
    /// Which of the legend's entries, from 0.
    pub entry: usize,
    /// Least value, lower quartile, median, upper quartile, largest value.
    pub summary: [f64; 5],
    /// Every value, drawn as a dot.
    pub values: Vec<f64>,
    /// Draws an asterisk above.
    pub is_significant: bool,
}

/// Boxes over common categories.
#[derive(Debug, Clone)]
pub struct BoxPanel {
    /// Above the panel.
    pub title: String,
    /// Names below the panel, from left to right.
    pub categories: Vec<String>,
    /// In any order.
    pub boxes: Vec<BoxMark>,
}

/// Panels below one another, each with a dotted line at 0. `legend` is what its entries say and their names.
pub fn box_chart(title: &str, axis: &str, legend: (&str, &[String]), panels: &[BoxPanel]) -> Chart {
    let mut svg = String::new();
    text(&mut svg, [8.0, 16.0], "start", "label", &escape(title));
    let (what, entries) = legend;
    text(&mut svg, [8.0, 34.0], "start", "", &escape(what));
    let mut left = 8.0 + super::CHARACTER * (what.chars().count() + 1) as f64;
    for (entry, name) in entries.iter().enumerate() {
        let _ = write!(svg, "<rect class=\"dot{}\" x=\"{left:.1}\" y=\"25\" width=\"9\" height=\"9\"/>", colour(entry));
        text(&mut svg, [left + 13.0, 34.0], "start", "", &escape(name));
        left += 24.0 + super::CHARACTER * name.chars().count() as f64;
    }
    let mut top = HEADER;
    for panel in panels {
        draw_panel(&mut svg, panel, axis, entries.len().max(1), top);
        top += PANEL_TITLE + BODY + NAMES;
    }
    Chart { title: title.to_owned(), height: top, body: svg }
}

/// A title that leaves room for the name of the axis.
fn shortened(title: &str) -> String {
    const MOST: usize = 38;
    if title.chars().count() <= MOST {
        return title.to_owned();
    }
    title.chars().take(MOST - 1).chain(['…']).collect()
}

fn colour(entry: usize) -> usize {
    entry.min(COLOURS - 1)
}

fn draw_panel(svg: &mut String, panel: &BoxPanel, axis: &str, num_entries: usize, top: f64) {
    text(svg, [LEFT, top + 15.0], "start", "label", &escape(&shortened(&panel.title)));
    text(svg, [WIDTH - RIGHT, top + 15.0], "end", "", &escape(axis));
    let (first, floor) = (top + PANEL_TITLE, top + PANEL_TITLE + BODY);
    let values = panel.boxes.iter().flat_map(|mark| mark.summary.iter().chain(&mark.values).copied());
    let range = Range::of(values.filter(|value| value.is_finite()).chain([0.0]));
    let Some(Range { low, high }) = range else { return };
    // Room for asterisks.
    let range = Range { low: low - 0.06 * (high - low), high: high + 0.14 * (high - low) };
    let y = |value: f64| floor - range.share(value) * (floor - first);
    for tick in range.ticks(5) {
        segment(svg, "grid", [LEFT, y(tick)], [WIDTH - RIGHT, y(tick)]);
        text(svg, [LEFT - 6.0, y(tick) + 4.0], "end", "", &number(tick));
    }
    segment(svg, "reference", [LEFT, y(0.0)], [WIDTH - RIGHT, y(0.0)]);
    let width = (WIDTH - LEFT - RIGHT) / panel.categories.len().max(1) as f64;
    for (category, name) in panel.categories.iter().enumerate() {
        text(svg, [LEFT + width * (category as f64 + 0.5), floor + 17.0], "middle", "", &escape(name));
    }
    let slot = 0.8 * width / num_entries as f64;
    for mark in panel.boxes.iter().filter(|mark| mark.summary.iter().all(|value| value.is_finite())) {
        let x = LEFT + width * (mark.category as f64 + 0.1) + slot * (mark.entry as f64 + 0.5);
        let half = (0.36 * slot).min(16.0);
        let [least, lower, median, upper, most] = mark.summary.map(y);
        let line = format!("whisker line{}", colour(mark.entry));
        segment(svg, &line, [x, least], [x, lower]);
        segment(svg, &line, [x, upper], [x, most]);
        for end in [least, most] {
            segment(svg, &line, [x - half / 2.0, end], [x + half / 2.0, end]);
        }
        let _ = write!(
            svg,
            "<rect class=\"box line{0} dot{0}\" x=\"{1:.1}\" y=\"{upper:.1}\" width=\"{2:.1}\" height=\"{3:.1}\"/>",
            colour(mark.entry),
            x - half,
            2.0 * half,
            (lower - upper).max(0.5)
        );
        segment(svg, "median", [x - half, median], [x + half, median]);
        for value in mark.values.iter().filter(|value| value.is_finite()) {
            let _ = write!(svg, "<circle class=\"value\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"1.6\"/>", y(*value));
        }
        if mark.is_significant {
            text(svg, [x, most - 4.0], "middle", "label", "*");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel() -> BoxPanel {
        let mark = |category, entry, middle: f64, is_significant| BoxMark {
            category,
            entry,
            summary: [middle - 0.2, middle - 0.1, middle, middle + 0.1, middle + 0.2],
            values: vec![middle - 0.2, middle, middle + 0.2],
            is_significant,
        };
        BoxPanel {
            title: "a < b".into(),
            categories: vec!["50".into(), "100".into()],
            boxes: vec![mark(0, 0, 0.5, true), mark(1, 1, -0.5, false)],
        }
    }

    fn attribute(svg: &str, element: &str, name: &str) -> Vec<f64> {
        let value = |part: &str| part.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok();
        svg.split(&format!("<{element} ")).skip(1).filter_map(value).collect()
    }

    #[test]
    fn boxes_stand_in_their_category_between_their_whiskers() {
        let svg = box_chart("t", "change", ("ratio:", &["1".into(), "2".into()]), &[panel()]).inline();
        assert_eq!(svg.matches("class=\"box").count(), 2, "{svg}");
        assert_eq!(svg.matches(">*<").count(), 1, "{svg}");
        assert_eq!(svg.matches("class=\"value\"").count(), 6, "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
        let (cx, cy) = (attribute(&svg, "circle", "cx"), attribute(&svg, "circle", "cy"));
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        assert!(cx[..3].iter().all(|x| *x < middle) && cx[3..].iter().all(|x| *x > middle), "{cx:?}");
        // Larger values are higher.
        assert!(cy[0] > cy[1] && cy[1] > cy[2] && cy[3] > cy[0], "{cy:?}");
        let boxes = svg.split("class=\"box").nth(1).unwrap();
        let y: f64 = boxes.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(cy[2] < y && y < cy[1], "the box's upper edge lies between median and largest value");
    }

    #[test]
    fn what_is_no_number_is_left_out_and_long_titles_are_shortened() {
        let mut panel = panel();
        panel.boxes[0].summary[2] = f64::NAN;
        panel.boxes[1].values.push(f64::INFINITY);
        panel.title = "x".repeat(100);
        let svg = box_chart("t", "change", ("", &[]), &[panel]).inline();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!((svg.matches("class=\"box").count(), svg.matches("class=\"value\"").count()), (1, 3), "{svg}");
        assert!(!svg.contains(&"x".repeat(40)) && svg.contains("x…"), "{svg}");
    }

    #[test]
    fn a_panel_without_boxes_is_still_a_panel() {
        let empty = BoxPanel { boxes: Vec::new(), ..panel() };
        assert!(box_chart("t", "change", ("", &[]), &[empty]).file().contains("a &lt; b"));
    }
}
