//! Curves over a common axis.

use std::fmt::Write as _;

use super::{CHARACTER, COLOURS, Chart, Range, WIDTH, escape, number, segment, text};

/// Of the plot itself, without legend and axes.
const PLOT_HEIGHT: f64 = 190.0;
/// Left, right, top and bottom margins: room for the labels of the axes.
const MARGIN: [f64; 4] = [56.0, 14.0, 10.0, 40.0];
const LEGEND_LINE: f64 = 18.0;
/// Length of the piece of line beside each name of the legend.
const SAMPLE: f64 = 18.0;
/// Points drawn per line; more would only make the page heavier.
const MAX_POINTS: usize = 400;
/// Up to so many points each has a dot: they are single measurements.
const MOST_DOTS: usize = 30;

/// A line: points `(x, y)` in the order of x. Points that are not finite are left out.
pub struct Series<'a> {
    /// Its name at the end of the line.
    pub name: &'a str,
    /// `(x, y)`
    pub points: &'a [(f64, f64)],
}

/// What is drawn over what.
#[derive(Clone, Copy)]
pub struct Axes<'a> {
    /// Name of the horizontal axis.
    pub x: &'a str,
    /// May be empty, where a caption says it.
    pub y: &'a str,
    /// Distances along x are ratios; points that are not above 0 are left out.
    pub logarithmic: bool,
}

/// The chart of these lines, or nothing where there are fewer than two points to draw.
///
/// Where a line has many points, its local averages are drawn over the pale original.
pub fn line_chart(axes: Axes<'_>, series: &[Series<'_>]) -> Option<Chart> {
    let along = |x: f64| if axes.logarithmic { x.log10() } else { x };
    let lines: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|line| {
            let points = line.points.iter().map(|(x, y)| (along(*x), *y));
            (line.name, points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect::<Vec<_>>())
        })
        .filter(|(_, points)| points.len() >= 2)
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points.iter());
    let range_x = Range::of(all().map(|point| point.0))?;
    let range_y = Range::of(all().map(|point| point.1))?.padded();

    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    let legend = if names.len() > 1 { placed(&names) } else { Vec::new() };
    let legend_height = legend.last().map_or(0.0, |last| last[1] + LEGEND_LINE);
    let title_height = if axes.y.is_empty() { 0.0 } else { LEGEND_LINE };
    let [left, right, top, bottom] = MARGIN;
    let (top, height) = (top + legend_height + title_height, PLOT_HEIGHT);
    let place_x = |x: f64| left + range_x.share(x) * (WIDTH - left - right);
    let place_y = |y: f64| top + (1.0 - range_y.share(y)) * height;

    let mut svg = String::new();
    for (index, (name, [x, y])) in names.iter().zip(&legend).enumerate() {
        let at = y + 12.0;
        segment(&mut svg, &format!("sample {}", stroke(index)), [*x, at - 4.0], [x + SAMPLE, at - 4.0]);
        text(&mut svg, [x + SAMPLE + 5.0, at], "start", "label", &escape(name));
    }
    if !axes.y.is_empty() {
        text(&mut svg, [4.0, legend_height + 12.0], "start", "", &escape(axes.y));
    }
    for tick in range_y.ticks(5) {
        let y = place_y(tick);
        segment(&mut svg, "grid", [left, y], [WIDTH - right, y]);
        text(&mut svg, [left - 6.0, y + 4.0], "end", "", &number(tick));
    }
    let floor = top + height;
    for (place, label) in ticks_along(range_x, axes.logarithmic) {
        segment(&mut svg, "grid", [place_x(place), floor], [place_x(place), floor + 4.0]);
        text(&mut svg, [place_x(place), floor + 17.0], "middle", "", &label);
    }
    text(&mut svg, [(left + WIDTH - right) / 2.0, floor + bottom - 7.0], "middle", "", &escape(axes.x));

    for (index, (_, points)) in lines.iter().enumerate() {
        let mut draw = |points: &[(f64, f64)], class: &str| {
            let path: Vec<String> =
                points.iter().map(|&(x, y)| format!("{:.1},{:.1}", place_x(x), place_y(y))).collect();
            let _ = write!(svg, "<polyline class=\"{class} {}\" points=\"{}\"/>", stroke(index), path.join(" "));
        };
        let thinned = thin(points, MAX_POINTS);
        if points.len() > 60 {
            draw(&thinned, "pale");
            draw(&smooth(&thinned, thinned.len() / 20), "bold");
        } else {
            draw(&thinned, "bold");
        }
        if points.len() <= MOST_DOTS {
            for (x, y) in points {
                let (x, y, colour) = (place_x(*x), place_y(*y), index % COLOURS);
                let _ = write!(svg, "<circle class=\"dot{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            }
        }
    }
    Some(Chart { title: names.join(", "), height: floor + bottom, body: svg })
}

/// The classes of a line: its colour, and dashes for those that repeat one.
fn stroke(index: usize) -> String {
    let dashes = if index / COLOURS % 2 == 1 { " dashed" } else { "" };
    format!("line{}{dashes}", index % COLOURS)
}

/// Where each name of a legend begins, in lines as wide as the chart.
fn placed(names: &[&str]) -> Vec<[f64; 2]> {
    let [mut x, mut y] = [4.0, 0.0];
    let mut places = Vec::new();
    for name in names {
        let width = SAMPLE + 5.0 + name.chars().count() as f64 * CHARACTER + 14.0;
        if x > 4.0 && x + width > WIDTH {
            (x, y) = (4.0, y + LEGEND_LINE);
        }
        places.push([x, y]);
        x += width;
    }
    places
}

/// Places along the axis and their labels. On a logarithmic axis powers of ten, with what lies at 2 and 5 between where
/// these are few.
fn ticks_along(range: Range, logarithmic: bool) -> Vec<(f64, String)> {
    if !logarithmic {
        return range.ticks(5).into_iter().map(|tick| (tick, number(tick))).collect();
    }
    let between: &[f64] = if range.high - range.low > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = range.low.floor() as i32..=range.high.ceil() as i32;
    let marks = powers.flat_map(|power| between.iter().map(move |factor| factor * 10f64.powi(power)));
    // A value that lies on a mark may miss it by a rounding.
    let inside = |value: &f64| (range.low - 1e-9..=range.high + 1e-9).contains(&value.log10());
    marks.filter(inside).map(|value| (value.log10(), number(value))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'_> = Axes { x: "x", y: "", logarithmic: false };

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
        assert!(line_chart(AXES, &[Series { name: "loss", points: &[(0.0, 1.0)] }]).is_none());
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0)];
        let axes = Axes { x: "images <seen>", y: "loss", ..AXES };
        let svg = line_chart(axes, &[Series { name: "a & b", points: &points }]).unwrap().inline();
        assert!(svg.contains("images &lt;seen&gt;") && svg.contains("a &amp; b") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
    }

    #[test]
    fn equal_ratios_lie_equally_far_apart_on_a_logarithmic_axis() {
        let points = [(0.0, 1.0), (0.001, 0.1), (0.01, 0.2), (0.1, 0.3), (1.0, 0.4)];
        let axes = Axes { logarithmic: true, ..AXES };
        let svg = line_chart(axes, &[Series { name: "a", points: &points }]).unwrap().inline();
        let path = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let xs: Vec<f64> = path.split(' ').map(|point| point.split(',').next().unwrap().parse().unwrap()).collect();
        assert_eq!(xs.len(), 4, "0 has no place: {path}");
        assert!(xs.windows(3).all(|x| ((x[1] - x[0]) - (x[2] - x[1])).abs() < 0.2), "{xs:?}");
        let labels: Vec<String> = ticks_along(Range { low: -3.0, high: 0.0 }, true).into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["0.001", "0.01", "0.1", "1"]);
        let labels: Vec<String> = ticks_along(Range { low: -1.0, high: 0.0 }, true).into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["0.1", "0.2", "0.5", "1"]);
    }

    #[test]
    fn a_legend_wraps_and_lines_beyond_the_colours_are_dashed() {
        let names: Vec<String> = (0..8).map(|number| format!("a series with a name, {number}")).collect();
        let points = [(0.0, 1.0), (1.0, 2.0)];
        let series: Vec<Series<'_>> = names.iter().map(|name| Series { name, points: &points }).collect();
        let chart = line_chart(AXES, &series).unwrap();
        assert_eq!(chart.body.matches(" dashed\" points").count(), 2, "{}", chart.body);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let places = placed(&names);
        assert!(places.iter().all(|place| place[0] < WIDTH) && places[7][1] > 0.0, "{places:?}");
        assert!(line_chart(AXES, &series[..1]).unwrap().height < chart.height);
    }
}
