//! The best, median and worst images, and the three kinds of failure that the paper names, found by measures.

use anyhow::Result;
use radiograph::{Border, Grid, RgbImage, outline_mask};

use super::MaskedImage;
use super::measure::ImageScore;
use super::search::Shown;
use stages::segment::{number_of_segments, overlay};

/// Images of each row.
const COLUMNS: usize = 6;
/// Side of a tile.
const TILE: usize = 160;
/// Outlines that people drew.
const TRUTH: [u8; 3] = [80, 220, 80];

/// What a segmenter made of some images, with its scores.
///
/// # Shapes
/// - images, shown, scores: one for each image; `size` is the side of each
pub(super) fn draw(images: &[MaskedImage], shown: &[Shown], scores: &[ImageScore], size: usize) -> Result<RgbImage> {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| scores[*b].dice.total_cmp(&scores[*a].dice));
    let most = |value: &dyn Fn(usize) -> f64| -> Vec<usize> {
        let mut order = order.clone();
        order.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
        order
    };
    let middle = (order.len() / 2).saturating_sub(COLUMNS / 2);
    let worst: Vec<usize> = order.iter().rev().copied().collect();
    let mut grid = Grid::new(TILE).columns(COLUMNS);
    let mut row = |label: &str, order: &[usize], caption: &dyn Fn(usize) -> String| -> Result<()> {
        grid.start_row(label);
        for &at in order.iter().take(COLUMNS) {
            let mut picture = overlay(&shown[at].picture, &shown[at].lungs, size)?;
            outline_mask(&mut picture, &images[at].mask, TRUTH)?;
            grid.push(picture, caption(at), Border::None);
        }
        Ok(())
    };
    let dice = |at: usize| format!("Dice {:.3}", scores[at].dice);
    row("best", &order, &dice)?;
    row("median", &order[middle..], &dice)?;
    row("worst", &worst, &dice)?;
    let missing = most(&|at| 1.0 - scores[at].recall);
    row("most of the lungs missing", &missing, &|at| format!("{:.0} % found", 100.0 * scores[at].recall))?;
    let num_inside: Vec<usize> = shown.iter().zip(images).map(|(shown, image)| inside(shown, &image.mask)).collect();
    let divided = most(&|at| num_inside[at] as f64);
    row("most segments inside lungs", &divided, &|at| format!("{} segments", num_inside[at]))?;
    let bubbles: Vec<f64> = shown.iter().map(debris).collect();
    row("most holes and debris", &most(&|at| bubbles[at]), &|at| format!("{:.1} %", 100.0 * bubbles[at]))?;
    Ok(grid.render())
}

/// Segments that have pixels inside the true lungs.
fn inside(shown: &Shown, truth: &[u8]) -> usize {
    let labels: Vec<u16> =
        shown.labels.iter().zip(truth).filter(|(_, inside)| **inside != 0).map(|(label, _)| *label).collect();
    number_of_segments(&labels)
}

/// The share of what was chosen that cleaning changed.
fn debris(shown: &Shown) -> f64 {
    let clean = shown.lungs.both();
    let changed = shown.raw.iter().zip(&clean).filter(|(raw, clean)| (**raw != 0) != (**clean != 0)).count();
    changed as f64 / clean.iter().filter(|inside| **inside != 0).count().max(1) as f64
}
