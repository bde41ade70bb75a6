//! The paper's two kinds of box plots: what a regime changes beside real images alone, by the number of real images and
//! the ratio of synthetic to real ones. As SVG and PNG.

use super::grid::{GridSettings, Regime};
use super::statistics::Group;
use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// DejaVu Sans, the letters that figures need (free licence, beside the file).
const FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
const WIDTH: u32 = 960;
const PANEL_HEIGHT: u32 = 300;
const HEADER_HEIGHT: u32 = 64;
/// Of ratios, from few synthetic images to many; the last one serves all that follow.
const COLOURS: [RGBColor; 6] = [
    RGBColor(158, 202, 225),
    RGBColor(66, 146, 198),
    RGBColor(8, 81, 156),
    RGBColor(253, 174, 97),
    RGBColor(230, 85, 13),
    RGBColor(127, 39, 4),
];

/// A page of panels.
#[derive(Debug)]
struct Figure<'a> {
    title: String,
    panels: Vec<(String, Vec<&'a Group>)>,
    sizes: &'a [usize],
    ratios: &'a [usize],
}

/// Draws `CLASSIFIER-REGIME.svg` and `.png` for each classifier and each regime that has results; gives their paths.
///
/// # Errors
/// A full disk.
pub(super) fn draw(settings: &GridSettings, groups: &[Group], out: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for classifier in &settings.classifiers {
        for &regime in &settings.grid.regimes {
            let own: Vec<&Group> = groups
                .iter()
                .filter(|group| group.classifier == classifier.name() && group.regime == regime)
                .filter(|group| group.against_real.is_some())
                .collect();
            let mut sets: Vec<Option<&str>> = own.iter().map(|group| group.synthetic.as_deref()).collect();
            sets.sort_unstable();
            sets.dedup();
            let panel = |set: &Option<&str>| {
                let groups = own.iter().filter(|group| group.synthetic.as_deref() == *set).copied().collect();
                (set.unwrap_or("classical variants").to_owned(), groups)
            };
            let panels: Vec<(String, Vec<&Group>)> = sets.iter().map(panel).collect();
            if panels.is_empty() {
                continue;
            }
            let title = format!("{}, {}", regime.title(), classifier.name().replace('_', " "));
            let figure = Figure { title, panels, sizes: &settings.grid.sizes, ratios: &settings.grid.ratios };
            let name = format!("{}-{}", classifier.name(), file_word(regime));
            for (ending, bytes) in [("svg", figure.svg()?), ("png", figure.png()?)] {
                let path = out.join(format!("{name}.{ending}"));
                dataset::write_file(&path, &bytes)?;
                written.push(path);
            }
        }
    }
    Ok(written)
}

fn file_word(regime: Regime) -> String {
    regime.title().replace(" + ", "-and-").replace(", ", "-").replace(' ', "-")
}

impl Figure<'_> {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEADER_HEIGHT + PANEL_HEIGHT * self.panels.len() as u32)
    }

    fn svg(&self) -> Result<Vec<u8>> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, self.size()).into_drawing_area())?;
        Ok(text.into_bytes())
    }

    fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut pixels = vec![0; (width * height * 3) as usize];
        self.draw(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        Ok(radiograph::encode_png_rgb(&pixels, height as usize, width as usize)?)
    }

    fn draw<B: DrawingBackend>(&self, page: DrawingArea<B, Shift>) -> Result<()> {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        let fine = *REGISTERED.get_or_init(|| register_font("sans-serif", FontStyle::Normal, FONT).is_ok());
        anyhow::ensure!(fine, "the font of the figures cannot be read");
        self.draw_page(&page).map_err(|error| anyhow!("a figure cannot be drawn: {error}"))?;
        page.present().map_err(|error| anyhow!("a figure cannot be drawn: {error}")).context("drawing")
    }

    fn draw_page<B: DrawingBackend>(
        &self,
        page: &DrawingArea<B, Shift>,
    ) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        page.fill(&WHITE)?;
        let (header, body) = page.split_vertically(HEADER_HEIGHT);
        let font = |size: u32| ("sans-serif", size).into_font().color(&BLACK);
        header.draw(&Text::new(self.title.clone(), (16, 10), font(20)))?;
        header.draw(&Text::new("synthetic images for each real one:", (16, 40), font(14)))?;
        for (slot, ratio) in self.ratios.iter().enumerate() {
            let left = 270 + 70 * slot as i32;
            header.draw(&Rectangle::new([(left, 41), (left + 12, 53)], colour(slot).filled()))?;
            header.draw(&Text::new(ratio.to_string(), (left + 18, 40), font(14)))?;
        }
        for (panel, (title, groups)) in body.split_evenly((self.panels.len(), 1)).iter().zip(&self.panels) {
            self.draw_panel(panel, title, groups)?;
        }
        Ok(())
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        title: &str,
        groups: &[&Group],
    ) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let values = groups.iter().filter_map(|group| group.against_real.as_ref()).flat_map(|found| &found.differences);
        let (low, high) = values.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(*value), high.max(*value)));
        let pad = 0.12 * (high - low).max(0.01);
        let right = self.sizes.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right, low - pad..high + pad)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_desc("change of mean AUC")
            .label_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .draw()?;
        let dotted = DashedPathElement::new(vec![(0.0, 0.0), (right, 0.0)], 2, 4, BLACK);
        chart.draw_series(std::iter::once(dotted))?;
        let centred = TextStyle::from(("sans-serif", 13).into_font()).pos(Pos::new(HPos::Center, VPos::Top));
        for (place, size) in self.sizes.iter().enumerate() {
            let there = groups.iter().find(|group| group.size == *size).map_or(*size as f64, |group| group.num_real);
            let word = if there as usize == *size { format!("{size} real") } else { format!("{there:.0} real (all)") };
            let at = EmptyElement::at((place as f64 + 0.5, low - pad));
            chart.draw_series(std::iter::once(at + Text::new(word, (0, 10), centred.clone())))?;
        }
        let slots = self.ratios.len() as f64;
        for group in groups {
            let (Some(found), Some(place), Some(slot)) = (
                &group.against_real,
                self.sizes.iter().position(|size| *size == group.size),
                self.ratios.iter().position(|ratio| Some(*ratio) == group.ratio),
            ) else {
                continue;
            };
            let width = 0.8 / slots;
            let x = place as f64 + 0.1 + width * (slot as f64 + 0.5);
            let half = 0.36 * width;
            let [least, lower, middle, upper, most] = quartiles(&found.differences);
            let line = |points: Vec<(f64, f64)>| PathElement::new(points, BLACK.stroke_width(1));
            chart.draw_series([
                line(vec![(x, least), (x, lower)]),
                line(vec![(x, upper), (x, most)]),
                line(vec![(x - half / 2.0, least), (x + half / 2.0, least)]),
                line(vec![(x - half / 2.0, most), (x + half / 2.0, most)]),
            ])?;
            let corners = [(x - half, lower), (x + half, upper)];
            chart.draw_series([Rectangle::new(corners, colour(slot).filled()), Rectangle::new(corners, BLACK)])?;
            let middle = vec![(x - half, middle), (x + half, middle)];
            chart.draw_series([PathElement::new(middle, BLACK.stroke_width(2))])?;
            chart.draw_series(
                found.differences.iter().map(|value| Circle::new((x, *value), 2, BLACK.mix(0.6).filled())),
            )?;
            if found.is_significant() {
                let at = EmptyElement::at((x, most));
                let star = TextStyle::from(("sans-serif", 20).into_font()).pos(Pos::new(HPos::Center, VPos::Bottom));
                chart.draw_series(std::iter::once(at + Text::new("*", (0, 2), star)))?;
            }
        }
        Ok(())
    }
}

fn colour(slot: usize) -> RGBColor {
    COLOURS[slot.min(COLOURS.len() - 1)]
}

/// Least, lower quartile, median, upper quartile, most; quartiles straight between neighbours.
fn quartiles(values: &[f64]) -> [f64; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| metrics::quantile(&sorted, share))
}

#[cfg(test)]
mod tests {
    use super::super::statistics::{groups, tests::run};
    use super::*;
    use settings::resolve;

    #[test]
    fn quartiles_are_numpys() {
        assert_eq!(quartiles(&[4.0, 1.0, 3.0, 2.0]), [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(quartiles(&[2.0]), [2.0; 5]);
    }

    /// A box for each group, asterisks where they belong, and a picture that is not blank.
    #[test]
    fn figures_show_the_groups() {
        let settings: GridSettings = resolve("kermany", &[]).unwrap();
        let mut finished = Vec::new();
        for fold in 0..5 {
            let wobble = 0.002 * fold as f64;
            finished.push(run(Regime::Real, None, fold, 0.7));
            finished.push(run(Regime::RealAndSynthetic, Some(5), fold, 0.8 + wobble));
            finished.push(run(Regime::RealAndSynthetic, Some(10), fold, 0.7 + if fold % 2 == 0 { 0.1 } else { -0.1 }));
        }
        let dir = tempfile::tempdir().unwrap();
        let written = draw(&settings, &groups(&settings, &finished).unwrap(), dir.path()).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["linear_probe-real-and-synthetic.svg", "linear_probe-real-and-synthetic.png"]);
        let svg = std::fs::read_to_string(&written[0]).unwrap();
        let stars =
            svg.split("<text").filter(|text| text.lines().nth(1).is_some_and(|line| line.trim() == "*")).count();
        assert_eq!(stars, 1, "{svg}");
        assert!(svg.contains("50 real") && svg.contains("change of mean AUC"));
        assert!(std::fs::read(&written[1]).unwrap().len() > 5_000);
    }
}
