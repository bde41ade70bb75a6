//! Estimates below one another, each a dot with the whiskers of its interval: which of them differ is seen at a glance.

use std::fmt::Write as _;

use super::{Chart, Range, WIDTH, escape, number, segment, text};

const ROW: f64 = 34.0;
const MARGIN: f64 = 10.0;
/// Below the rows: ticks and the name of the axis.
const BOTTOM: f64 = 42.0;

/// One estimate.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Its name.
    pub label: String,
    /// Where the dot stands.
    pub value: f64,
    /// Its lower and upper end; none draws no whiskers.
    pub interval: Option<[f64; 2]>,
    /// The figure in words, finished markup.
    pub written: String,
    /// Of the style sheet: what is alike has the same one.
    pub colour: usize,
}

/// The chart of these estimates, or nothing where none is a number. A reference is a value to read them against, such as
/// chance, and its name.
pub fn interval_chart(axis: &str, marks: &[Mark], reference: Option<(f64, &str)>) -> Option<Chart> {
    let marks: Vec<&Mark> = marks.iter().filter(|mark| mark.value.is_finite()).collect();
    let ends = marks.iter().flat_map(|mark| mark.interval.into_iter().flatten().chain([mark.value]));
    let range = Range::of(ends.chain(reference.map(|(value, _)| value)).filter(|value| value.is_finite()))?.padded();
    if marks.is_empty() {
        return None;
    }
    let place = |value: f64| MARGIN + range.share(value).clamp(0.0, 1.0) * (WIDTH - 2.0 * MARGIN);
    let floor = ROW * marks.len() as f64 + 4.0;
    let mut svg = String::new();
    for tick in range.ticks(5) {
        segment(&mut svg, "grid", [place(tick), 0.0], [place(tick), floor]);
        text(&mut svg, [place(tick), floor + 15.0], "middle", "", &number(tick));
    }
    if let Some((value, _)) = reference {
        segment(&mut svg, "reference", [place(value), 0.0], [place(value), floor]);
    }
    for (index, mark) in marks.iter().enumerate() {
        let (top, colour) = (ROW * index as f64, mark.colour);
        let y = top + 24.0;
        text(&mut svg, [MARGIN, top + 13.0], "start", "label", &escape(&mark.label));
        text(&mut svg, [WIDTH - MARGIN, top + 13.0], "end", "", &mark.written);
        if let Some([low, high]) = mark.interval.filter(|ends| ends.iter().all(|end| end.is_finite())) {
            let class = format!("whisker line{colour}");
            segment(&mut svg, &class, [place(low), y], [place(high), y]);
            for end in [place(low), place(high)] {
                segment(&mut svg, &class, [end, y - 4.0], [end, y + 4.0]);
            }
        }
        let x = place(mark.value);
        let _ = write!(svg, "<circle class=\"dot{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
    let dashed = reference.map_or(String::new(), |(_, name)| format!("; dashed: {name}"));
    text(&mut svg, [WIDTH / 2.0, floor + BOTTOM - 8.0], "middle", "", &escape(&format!("{axis}{dashed}")));
    let names: Vec<&str> = marks.iter().map(|mark| mark.label.as_str()).collect();
    Some(Chart { title: format!("{axis}: {}", names.join(", ")), height: floor + BOTTOM, body: svg })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(value: f64, interval: Option<[f64; 2]>) -> Mark {
        Mark { label: "<a>".into(), value, interval, written: "0.5".into(), colour: 1 }
    }

    #[test]
    fn whiskers_reach_from_end_to_end_and_the_dot_lies_between() {
        let marks = [mark(0.5, Some([0.0, 1.0])), mark(0.25, None), mark(f64::NAN, None)];
        let svg = interval_chart("Dice", &marks, Some((0.75, "chance"))).unwrap().inline();
        assert_eq!((svg.matches("<circle").count(), svg.matches("whisker").count()), (2, 3), "{svg}");
        assert!(svg.contains("&lt;a&gt;") && svg.contains("Dice; dashed: chance"), "{svg}");
        let numbers = |name: &str| -> Vec<f64> {
            let begin = format!("{name}=\"");
            svg.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
        };
        let dots = numbers("cx");
        let whisker = svg.split("whisker line1\" ").nth(1).unwrap();
        let end = |name: &str| -> f64 {
            whisker.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!((dots[0] - (end("x1") + end("x2")) / 2.0).abs() < 0.11, "{svg}");
        assert!((dots[1] - (0.75 * end("x1") + 0.25 * end("x2"))).abs() < 0.11, "{svg}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(interval_chart("Dice", &[], None).is_none());
        assert!(interval_chart("Dice", &[mark(f64::NAN, None)], Some((0.5, "chance"))).is_none());
    }
}
