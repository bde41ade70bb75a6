//! Line charts as inline SVG: enough for loss curves, without fonts, scripts or a plotting library.
//!
//! Colours come from the page's style sheet, so that a chart follows the light or dark scheme of its reader.

use std::fmt::Write as _;

use super::page::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// Left, right, top and bottom margins: room for the labels of the axes.
const MARGIN: [f64; 4] = [64.0, 14.0, 12.0, 40.0];
/// Points drawn per line; more would only make the page heavier.
const MAX_POINTS: usize = 400;

/// A line: points `(x, y)` in the order of x. Points that are not finite are left out.
pub(super) struct Series<'a> {
    pub name: &'a str,
    pub points: &'a [(f64, f64)],
}

/// The chart of these lines, or nothing where there are fewer than two points to draw.
///
/// Where a line has many points, its local averages are drawn over the pale original.
pub(super) fn line_chart(x_label: &str, series: &[Series<'_>]) -> Option<String> {
    let finite: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|line| {
            let points: Vec<_> = line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            (line.name, points)
        })
        .filter(|(_, points)| points.len() >= 2)
        .collect();
    let all = || finite.iter().flat_map(|(_, points)| points.iter());
    let range_x = Range::of(all().map(|point| point.0))?;
    let range_y = Range::of(all().map(|point| point.1))?.padded();

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" class=\"chart\"><title>{}</title>",
        escape(&finite.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    );
    let [left, right, top, bottom] = MARGIN;
    let place_x = |x: f64| left + range_x.share(x) * (WIDTH - left - right);
    let place_y = |y: f64| top + (1.0 - range_y.share(y)) * (HEIGHT - top - bottom);

    for tick in range_y.ticks(5) {
        let y = place_y(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - right,
            left - 6.0,
            y + 4.0,
            number(tick)
        );
    }
    for tick in range_x.ticks(6) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            place_x(tick),
            HEIGHT - bottom + 16.0,
            number(tick)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (left + WIDTH - right) / 2.0,
        HEIGHT - 6.0,
        escape(x_label)
    );
    for (index, (name, points)) in finite.iter().enumerate() {
        let mut draw = |points: &[(f64, f64)], class: &str| {
            let path: Vec<String> =
                points.iter().map(|&(x, y)| format!("{:.1},{:.1}", place_x(x), place_y(y))).collect();
            let _ = write!(svg, "<polyline class=\"{class} line{}\" points=\"{}\"/>", index % 4, path.join(" "));
        };
        let thinned = thin(points, MAX_POINTS);
        if points.len() > 60 {
            draw(&thinned, "pale");
            draw(&smooth(&thinned, thinned.len() / 20), "bold");
        } else {
            draw(&thinned, "bold");
        }
        if finite.len() > 1 {
            let y = top + 14.0 + 16.0 * index as f64;
            let x = WIDTH - right - 8.0;
            let _ = write!(
                svg,
                "<text class=\"legend line{}\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
                index % 4,
                escape(name)
            );
        }
    }
    svg.push_str("</svg>");
    Some(svg)
}

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

/// At most `max` points: each the average of a stretch of the line.
fn thin(points: &[(f64, f64)], max: usize) -> Vec<(f64, f64)> {
    points.chunks(points.len().div_ceil(max).max(1)).map(average).collect()
}

/// Each point replaced by the average of those up to `radius` before and after it.
fn smooth(points: &[(f64, f64)], radius: usize) -> Vec<(f64, f64)> {
    let window = |index: usize| {
        // The same number on either side, so that the ends are not pulled inwards along x.
        let radius = radius.min(index).min(points.len() - 1 - index);
        &points[index - radius..=index + radius]
    };
    (0..points.len()).map(|index| average(window(index))).collect()
}

fn average(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len().max(1) as f64;
    (points.iter().map(|point| point.0).sum::<f64>() / count, points.iter().map(|point| point.1).sum::<f64>() / count)
}

/// A number as people write it: `12.5k`, `0.031`, `1.2e-5`.
pub(super) fn number(value: f64) -> String {
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
    fn thinning_and_smoothing_keep_a_straight_line_straight() {
        let line: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        let thinned = thin(&line, 100);
        assert_eq!(thinned.len(), 100);
        for (x, y) in smooth(&thinned, 7) {
            assert!((y - 2.0 * x).abs() < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert!(line_chart("x", &[Series { name: "loss", points: &[(0.0, 1.0)] }]).is_none());
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0)];
        let svg = line_chart("images <seen>", &[Series { name: "a & b", points: &points }]).unwrap();
        assert!(svg.contains("images &lt;seen&gt;") && svg.contains("a &amp; b") && !svg.contains("NaN"), "{svg}");
    }
}
