//! Which cells there are, and which synthetic images they need.

use super::cases::{Cases, Folds};
use super::grid::{Drawn, GeneratorSettings, GridSettings, Regime};
use random::Purpose;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One training and its scoring.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the classifier.
    pub classifier: String,
    /// What it learns from.
    pub regime: Regime,
    /// Name of the synthetic set; none for real images alone and for classical variants.
    pub synthetic: Option<String>,
    /// Real images asked for.
    pub size: usize,
    /// Synthetic images for each.
    pub ratio: Option<usize>,
    /// Division into folds.
    pub repeat: usize,
    /// The fold that is left out.
    pub fold: usize,
}

/// All cells, those of real images alone first, in the order in which they are trained.
pub(super) fn cells(settings: &GridSettings) -> Vec<Cell> {
    let grid = &settings.grid;
    let mut cells = Vec::new();
    for classifier in &settings.classifiers {
        for &size in &grid.sizes {
            let mut add = |regime, synthetic: Option<&str>, ratio| {
                for repeat in 0..grid.num_repeats {
                    for fold in 0..grid.num_folds {
                        let (classifier, synthetic) = (classifier.name().to_owned(), synthetic.map(str::to_owned));
                        cells.push(Cell { classifier, regime, synthetic, size, ratio, repeat, fold });
                    }
                }
            };
            add(Regime::Real, None, None);
            for &ratio in &grid.ratios {
                if grid.regimes.contains(&Regime::RealAndClassical) {
                    add(Regime::RealAndClassical, None, Some(ratio));
                }
                for set in &settings.synthetic {
                    for &regime in &grid.regimes {
                        // A linear probe forgets where it began: what it learned first would not matter.
                        let forgets = regime == Regime::SyntheticThenReal && !classifier.is_network();
                        if !matches!(regime, Regime::Real | Regime::RealAndClassical) && !forgets {
                            add(regime, Some(&set.name), Some(ratio));
                        }
                    }
                }
            }
        }
    }
    cells
}

/// Whether a cell needs more synthetic images than the settings allow.
pub(super) fn too_many(cell: &Cell, settings: &GridSettings, folds: &Folds) -> bool {
    let num_real = folds.subset(cell.repeat, cell.fold, cell.size).len();
    cell.ratio.is_some_and(|ratio| ratio * num_real > settings.grid.max_synthetic)
}

/// An image to be made: from one case, or between two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Request {
    pub source: usize,
    pub target: Option<(usize, f64)>,
}

/// Of each fold and size the subset and how many images each of its cases needs.
fn needs<'a>(settings: &GridSettings, folds: &'a Folds) -> Vec<(&'a [usize], usize)> {
    let grid = &settings.grid;
    let mut sizes = grid.sizes.clone();
    sizes.sort_unstable();
    let mut needs = Vec::new();
    for repeat in 0..grid.num_repeats {
        for fold in 0..grid.num_folds {
            for &size in &sizes {
                let subset = folds.subset(repeat, fold, size);
                let fits = |ratio: &&usize| **ratio * subset.len() <= grid.max_synthetic;
                if let Some(ratio) = grid.ratios.iter().filter(fits).max() {
                    needs.push((subset, *ratio));
                }
            }
        }
    }
    needs
}

/// How often each case is to be varied, case after case.
pub(super) fn variants(settings: &GridSettings, folds: &Folds, num_cases: usize) -> Vec<usize> {
    let mut counts = vec![0; num_cases];
    for (subset, ratio) in needs(settings, folds) {
        subset.iter().for_each(|case| counts[*case] = ratio.max(counts[*case]));
    }
    counts
}

/// All images that the cells need of one generator, in a fixed order. Those of a small subset serve the larger subsets of
/// its fold too, and any other that holds their sources.
pub(super) fn requests(
    settings: &GridSettings,
    generator: &GeneratorSettings,
    cases: &Cases,
    folds: &Folds,
) -> Vec<Request> {
    if generator.strategy == Drawn::Reconstruct {
        let counts = variants(settings, folds, cases.len()).into_iter().enumerate();
        return counts
            .flat_map(|(source, count)| std::iter::repeat_n(Request { source, target: None }, count))
            .collect();
    }
    let [low, high] = generator.fractions;
    let mut requests: Vec<Request> = Vec::new();
    let mut of_source: HashMap<usize, Vec<usize>> = HashMap::new();
    for (subset, ratio) in needs(settings, folds) {
        let inside = cases.inside(subset);
        // Partners by what must agree: all labels, or nothing where labels are mixed too.
        let mut groups: HashMap<Vec<u32>, Vec<usize>> = HashMap::new();
        let key = |case: usize| -> Vec<u32> {
            let bits = cases.target(case).iter().map(|value| value.to_bits());
            if settings.grid.soft_labels { Vec::new() } else { bits.collect() }
        };
        for &case in subset {
            groups.entry(key(case)).or_default().push(case);
        }
        for &source in subset {
            let is_other = |case: &&usize| cases.patients[**case] != cases.patients[source];
            let partners: Vec<usize> = groups[&key(source)].iter().filter(is_other).copied().collect();
            if partners.is_empty() {
                continue;
            }
            let own = of_source.entry(source).or_default();
            let usable = own.iter().filter(|request| requests[**request].target.is_some_and(|end| inside[end.0]));
            for _ in usable.count()..ratio {
                let draw = random::uniforms(settings.seed, requests.len() as u64, Purpose::Selection, 2);
                let end = partners[((draw[0] * partners.len() as f64) as usize).min(partners.len() - 1)];
                own.push(requests.len());
                requests.push(Request { source, target: Some((end, low + (high - low) * draw[1])) });
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::{example, shape};
    use super::*;
    use settings::resolve;

    fn settings() -> GridSettings {
        let mut settings: GridSettings = resolve("kermany", &[]).unwrap();
        settings.grid = super::super::grid::GridShape { regimes: settings.grid.regimes.clone(), ..shape() };
        settings
    }

    /// Every cell finds, for each of its cases, as many images as its ratio, made of its own cases alone.
    #[test]
    fn requests_serve_every_cell_from_its_own_images() {
        let (settings, cases) = (settings(), example(60));
        let folds = Folds::divide(&cases, &settings.grid, settings.seed).unwrap();
        // In so small subsets a patient may be the only one with a label, and then there is nobody to mix with.
        let mut num_alone = 0;
        for set in &settings.synthetic {
            let generator = set.generate.as_ref().unwrap();
            let requests = requests(&settings, generator, &cases, &folds);
            for (subset, ratio) in needs(&settings, &folds) {
                for source in subset {
                    let usable = requests.iter().filter(|request| {
                        request.source == *source && request.target.is_none_or(|(end, _)| subset.contains(&end))
                    });
                    let found: Vec<&Request> = usable.collect();
                    let partner = |end: &&usize| {
                        cases.target(**end) == cases.target(*source) && cases.patients[**end] != cases.patients[*source]
                    };
                    let alone = generator.strategy == Drawn::Interpolate && !subset.iter().any(|end| partner(&end));
                    num_alone += usize::from(alone);
                    assert!(alone || found.len() >= ratio, "{}: {} of {ratio}", set.name, found.len());
                    for request in found {
                        if let Some((end, fraction)) = request.target {
                            assert_eq!(cases.target(end), cases.target(*source));
                            assert_ne!(cases.patients[end], cases.patients[*source]);
                            assert!((0.2..=0.5).contains(&fraction));
                        }
                    }
                }
            }
        }
        assert!(num_alone < 40, "{num_alone}");
    }

    #[test]
    fn cells_are_distinct_and_the_probe_has_no_second_half() {
        let settings = settings();
        let cells = cells(&settings);
        let distinct: std::collections::HashSet<&Cell> = cells.iter().collect();
        assert_eq!(distinct.len(), cells.len());
        // 2 sizes, 5 folds, 2 repeats; each: real, and for 2 ratios classical and of 2 sets 2 or 3 regimes.
        assert_eq!(cells.len(), 20 * (1 + 2 * (1 + 2 * 2)) + 20 * (1 + 2 * (1 + 2 * 3)));
    }
}
