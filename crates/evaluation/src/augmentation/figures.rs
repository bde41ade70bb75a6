//! The paper's two kinds of box plots: what a regime changes beside real images alone, by the number of real images and
//! the ratio of synthetic to real ones.

use super::grid::{GridSettings, Regime};
use super::statistics::Group;
use anyhow::Result;
use charts::{BoxMark, BoxPanel, box_chart};
use std::path::{Path, PathBuf};

/// Draws `CLASSIFIER-REGIME.svg` for each classifier and each regime that has results; gives their paths.
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
            if sets.is_empty() {
                continue;
            }
            let panels: Vec<BoxPanel> = sets
                .iter()
                .map(|set| {
                    let of_set = own.iter().filter(|group| group.synthetic.as_deref() == *set).copied();
                    panel(set.unwrap_or("classical variants"), &of_set.collect::<Vec<_>>(), settings)
                })
                .collect();
            let title = format!("{}, {}", regime.title(), classifier.name().replace('_', " "));
            let ratios: Vec<String> = settings.grid.ratios.iter().map(usize::to_string).collect();
            let legend = ("synthetic images for each real one:", ratios.as_slice());
            let chart = box_chart(&title, "change of mean AUC", legend, &panels);
            let path = out.join(format!("{}-{}.svg", classifier.name(), file_word(regime)));
            files::write_file(&path, chart.file().as_bytes())?;
            written.push(path);
        }
    }
    Ok(written)
}

fn file_word(regime: Regime) -> String {
    regime.title().replace(" + ", "-and-").replace(", ", "-").replace(' ', "-")
}

fn panel(title: &str, groups: &[&Group], settings: &GridSettings) -> BoxPanel {
    let (sizes, ratios) = (&settings.grid.sizes, &settings.grid.ratios);
    let category = |size: &usize| {
        let there = groups.iter().find(|group| group.size == *size).map_or(*size as f64, |group| group.num_real);
        if there as usize == *size { format!("{size} real") } else { format!("{there:.0} real (all)") }
    };
    let mark = |group: &&Group| {
        let found = group.against_real.as_ref()?;
        Some(BoxMark {
            category: sizes.iter().position(|size| *size == group.size)?,
            entry: ratios.iter().position(|ratio| Some(*ratio) == group.ratio)?,
            summary: quartiles(&found.differences),
            values: found.differences.clone(),
            is_significant: found.is_significant(),
        })
    };
    BoxPanel {
        title: title.to_owned(),
        categories: sizes.iter().map(category).collect(),
        boxes: groups.iter().filter_map(mark).collect(),
    }
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

    /// A box for each group, and asterisks where they belong.
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
        assert_eq!(names, ["linear_probe-real-and-synthetic.svg"]);
        let svg = std::fs::read_to_string(&written[0]).unwrap();
        assert_eq!(svg.matches(">*</text>").count(), 1, "{svg}");
        assert_eq!(svg.matches("class=\"box").count(), 2, "{svg}");
        assert!(svg.contains("50 real") && svg.contains("change of mean AUC"));
    }
}
