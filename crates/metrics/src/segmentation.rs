//! Masks against masks: overlap, distances between their surfaces, and the operations on masks and grey values that
//! segmentation needs. Masks are `[height, width]`, row after row, non-zero inside.

use crate::error::{Error, check_enough, check_size};

/// A borrowed mask, non-zero inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryMask<'a> {
    values: &'a [u8],
    height: usize,
    width: usize,
}

impl<'a> BinaryMask<'a> {
    /// A mask of `height * width` pixels.
    ///
    /// # Errors
    /// [`Error::TooFew`] for a side of 0, [`Error::SizeMismatch`].
    pub fn new(values: &'a [u8], height: usize, width: usize) -> Result<Self, Error> {
        check_enough("height of the mask", height, 1)?;
        check_enough("width of the mask", width, 1)?;
        check_size("number of pixels of the mask", values.len(), height * width)?;
        Ok(Self { values, height, width })
    }

    /// Number of pixels inside.
    pub fn area(&self) -> usize {
        self.values.iter().filter(|&&value| value != 0).count()
    }

    fn inside(&self, pixel: usize) -> bool {
        self.values[pixel] != 0
    }

    fn check_alike(&self, other: &BinaryMask<'_>) -> Result<(), Error> {
        check_size("height of the second mask", other.height, self.height)?;
        check_size("width of the second mask", other.width, self.width)
    }

    /// Pixels inside with an edge to a pixel outside or to the end of the picture.
    fn surface(&self) -> Vec<usize> {
        let (height, width) = (self.height, self.width);
        let is_surface = |&pixel: &usize| {
            let (row, column) = (pixel / width, pixel % width);
            let at_end = row == 0 || column == 0 || row + 1 == height || column + 1 == width;
            let open = || [pixel - width, pixel + width, pixel - 1, pixel + 1].iter().any(|&next| !self.inside(next));
            self.inside(pixel) && (at_end || open())
        };
        (0..self.values.len()).filter(is_surface).collect()
    }
}

/// How much of two masks lies in both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Dice coefficient, `2 |both| / (|a| + |b|)` (Dice 1945), in `0..=1`.
    pub dice: f64,
    /// Intersection over union, `|both| / |either|` (Jaccard 1901), in `0..=1`.
    pub intersection_over_union: f64,
}

/// Dice coefficient and intersection over union. Two empty masks agree: both are 1. One empty mask and one that is not
/// have both 0, by the formula.
///
/// # Errors
/// [`Error::SizeMismatch`] for masks of different shapes.
pub fn overlap(a: BinaryMask<'_>, b: BinaryMask<'_>) -> Result<Overlap, Error> {
    a.check_alike(&b)?;
    let both = (0..a.values.len()).filter(|&pixel| a.inside(pixel) && b.inside(pixel)).count() as f64;
    let sizes = (a.area() + b.area()) as f64;
    if sizes == 0.0 {
        return Ok(Overlap { dice: 1.0, intersection_over_union: 1.0 });
    }
    Ok(Overlap { dice: 2.0 * both / sizes, intersection_over_union: both / (sizes - both) })
}

/// Size of a pixel, in the unit that distances are to have; 1 x 1 counts in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spacing {
    /// From one row to the next, above 0.
    pub row: f64,
    /// From one column to the next, above 0.
    pub column: f64,
}

impl Default for Spacing {
    fn default() -> Self {
        Self { row: 1.0, column: 1.0 }
    }
}

impl Spacing {
    fn check(&self) -> Result<(), Error> {
        for (name, value) in [("spacing of the rows", self.row), ("spacing of the columns", self.column)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::OutOfRange { name, value, expected: "above 0 and finite" });
            }
        }
        Ok(())
    }
}

/// What can be said of the distance between two masks' surfaces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SurfaceAgreement {
    /// Neither mask has a pixel: they agree, at distance 0.
    BothEmpty,
    /// One mask has pixels and the other none: no distance is defined. Count such images; leaving them out silently
    /// would reward a method for finding nothing.
    OneEmpty,
    /// Both have a surface.
    Distances(SurfaceDistances),
}

/// Distances between two surfaces, in the unit of the spacing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfaceDistances {
    /// The largest distance from a point of either surface to the other surface (Hausdorff 1914).
    pub hausdorff: f64,
    /// The larger of the two directions' 95th percentiles, straight between neighbouring ranks, each pixel of a surface
    /// counted once: the definition of MONAI's `HausdorffDistanceMetric`.
    /// medpy takes one percentile of both directions together, which is never larger; surface-distance of
    /// DeepMind weights each piece of a surface by its length. The three can differ by a factor of several: compare with
    /// published numbers of the same definition alone.
    pub hausdorff_95: f64,
    /// Average symmetric surface distance: the mean over the points of both surfaces together.
    pub average: f64,
}

impl SurfaceAgreement {
    /// The 95 % Hausdorff distance: 0 where both masks are empty, `None` where one is.
    pub fn hausdorff_95(&self) -> Option<f64> {
        self.value(|distances| distances.hausdorff_95)
    }

    /// The average symmetric surface distance: 0 where both masks are empty, `None` where one is.
    pub fn average(&self) -> Option<f64> {
        self.value(|distances| distances.average)
    }

    fn value(&self, of: impl Fn(&SurfaceDistances) -> f64) -> Option<f64> {
        match self {
            Self::BothEmpty => Some(0.0),
            Self::OneEmpty => None,
            Self::Distances(distances) => Some(of(distances)),
        }
    }
}

/// Distances between the surfaces of two masks: from the centre of each pixel with an edge to the outside (the end of
/// the picture is outside) to the nearest such pixel of the other mask.
///
/// # Errors
/// [`Error::SizeMismatch`] for masks of different shapes, [`Error::OutOfRange`] for a spacing that is not above 0.
pub fn surface_agreement(a: BinaryMask<'_>, b: BinaryMask<'_>, spacing: Spacing) -> Result<SurfaceAgreement, Error> {
    a.check_alike(&b)?;
    spacing.check()?;
    let (surface_a, surface_b) = (a.surface(), b.surface());
    let between = |from: &[usize], to: &[usize]| -> Option<Vec<f64>> {
        let mut values = vec![0; a.values.len()];
        to.iter().for_each(|&pixel| values[pixel] = 1);
        let field = nearest_distance(&values, a.height, a.width, spacing)?;
        let mut distances: Vec<f64> = from.iter().map(|&pixel| field[pixel]).collect();
        distances.sort_by(f64::total_cmp);
        Some(distances)
    };
    if surface_a.is_empty() && surface_b.is_empty() {
        return Ok(SurfaceAgreement::BothEmpty);
    }
    let (Some(there), Some(back)) = (between(&surface_a, &surface_b), between(&surface_b, &surface_a)) else {
        return Ok(SurfaceAgreement::OneEmpty);
    };
    let (Some(&far_there), Some(&far_back)) = (there.last(), back.last()) else {
        return Ok(SurfaceAgreement::OneEmpty);
    };
    let sum: f64 = there.iter().chain(&back).sum();
    Ok(SurfaceAgreement::Distances(SurfaceDistances {
        hausdorff: far_there.max(far_back),
        hausdorff_95: percentile_95(&there).max(percentile_95(&back)),
        average: sum / (there.len() + back.len()) as f64,
    }))
}

/// The 95th percentile of sorted numbers, of which there is at least one.
fn percentile_95(sorted: &[f64]) -> f64 {
    let position = 0.95 * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

/// Euclidean distance from each pixel to the nearest pixel inside the mask (0 there), `[height * width]`; `None` for an
/// empty mask. Exact, in time linear in the number of pixels (Felzenszwalb and Huttenlocher 2012, "Distance Transforms
/// of Sampled Functions").
///
/// # Errors
/// [`Error::OutOfRange`] for a spacing that is not above 0.
pub fn distance_transform(mask: BinaryMask<'_>, spacing: Spacing) -> Result<Option<Vec<f64>>, Error> {
    spacing.check()?;
    Ok(nearest_distance(mask.values, mask.height, mask.width, spacing))
}

fn nearest_distance(values: &[u8], height: usize, width: usize, spacing: Spacing) -> Option<Vec<f64>> {
    if values.iter().all(|&value| value == 0) {
        return None;
    }
    let mut squares: Vec<f64> = values.iter().map(|&value| if value != 0 { 0.0 } else { f64::INFINITY }).collect();
    let mut line = vec![0.0; height];
    let mut envelope = Envelope::default();
    for column in 0..width {
        line.iter_mut().enumerate().for_each(|(row, value)| *value = squares[row * width + column]);
        envelope.transform(&mut line, spacing.row);
        line.iter().enumerate().for_each(|(row, value)| squares[row * width + column] = *value);
    }
    for row in squares.chunks_exact_mut(width) {
        envelope.transform(row, spacing.column);
    }
    squares.iter_mut().for_each(|value| *value = value.sqrt());
    Some(squares)
}

/// The lower envelope of parabolas that a row of squared distances stands for.
#[derive(Default)]
struct Envelope {
    /// Positions of the parabolas that are lowest somewhere, from left to right.
    lowest: Vec<usize>,
    /// Where each of them begins to be lowest.
    begins: Vec<f64>,
    source: Vec<f64>,
}

impl Envelope {
    /// `line[x]` becomes the least of `line[q] + (step (x - q))^2` over all `q`.
    fn transform(&mut self, line: &mut [f64], step: f64) {
        self.lowest.clear();
        self.begins.clear();
        self.source.clear();
        self.source.extend_from_slice(line);
        let (source, square) = (&self.source, step * step);
        let height = |at: usize| source[at] / square + (at * at) as f64;
        for position in (0..source.len()).filter(|&position| source[position].is_finite()) {
            let mut begin = f64::NEG_INFINITY;
            while let (Some(&last), Some(&last_begin)) = (self.lowest.last(), self.begins.last()) {
                begin = (height(position) - height(last)) / (2 * (position - last)) as f64;
                if begin > last_begin {
                    break;
                }
                self.lowest.pop();
                self.begins.pop();
                begin = f64::NEG_INFINITY;
            }
            self.lowest.push(position);
            self.begins.push(begin);
        }
        if self.lowest.is_empty() {
            return;
        }
        let mut current = 0;
        for (at, value) in line.iter_mut().enumerate() {
            while self.begins.get(current + 1).is_some_and(|&begin| begin < at as f64) {
                current += 1;
            }
            let from = self.lowest[current];
            let away = step * at.abs_diff(from) as f64;
            *value = self.source[from] + away * away;
        }
    }
}

/// Which neighbours join a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// The four that share an edge.
    Four,
    /// The eight that share an edge or a corner.
    Eight,
}

/// The pieces of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// For each pixel 0 outside and the number of its piece inside, from 1 on in the order in which they begin.
    pub labels: Vec<u32>,
    /// Pixels of each piece; that of piece `i` is at `i - 1`.
    pub areas: Vec<usize>,
}

impl Components {
    /// The numbers of the pieces from the largest to the smallest; of equal ones the first comes first.
    pub fn by_area(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (1..=self.areas.len() as u32).collect();
        order.sort_by_key(|&piece| std::cmp::Reverse(self.areas[piece as usize - 1]));
        order
    }

    /// A mask of some pieces: 1 inside, 0 outside.
    pub fn mask_of(&self, pieces: &[u32]) -> Vec<u8> {
        self.labels.iter().map(|label| u8::from(*label != 0 && pieces.contains(label))).collect()
    }
}

/// The connected pieces of a mask.
pub fn connected_components(mask: BinaryMask<'_>, connectivity: Connectivity) -> Components {
    let mut labels = vec![0; mask.values.len()];
    let mut areas = Vec::new();
    for first in 0..labels.len() {
        if labels[first] == 0 && mask.inside(first) {
            let label = areas.len() as u32 + 1;
            let area = flood(mask.height, mask.width, connectivity, first, |pixel| {
                let fresh = labels[pixel] == 0 && mask.inside(pixel);
                if fresh {
                    labels[pixel] = label;
                }
                fresh
            });
            areas.push(area);
        }
    }
    Components { labels, areas }
}

/// The mask with its holes filled, 1 inside and 0 outside. A hole is an outside pixel with no path to the end of the
/// picture over edges of outside pixels.
pub fn fill_holes(mask: BinaryMask<'_>) -> Vec<u8> {
    let (height, width) = (mask.height, mask.width);
    let mut filled = vec![1; mask.values.len()];
    let ends = (0..width).flat_map(|column| [column, (height - 1) * width + column]);
    let sides = (0..height).flat_map(|row| [row * width, row * width + width - 1]);
    for first in ends.chain(sides) {
        flood(height, width, Connectivity::Four, first, |pixel| {
            let fresh = filled[pixel] == 1 && !mask.inside(pixel);
            if fresh {
                filled[pixel] = 0;
            }
            fresh
        });
    }
    filled
}

/// Visits `first` and goes on from each pixel for which `enter` says yes, which it must say once only. Returns how often
/// it said so.
fn flood(
    height: usize,
    width: usize,
    connectivity: Connectivity,
    first: usize,
    mut enter: impl FnMut(usize) -> bool,
) -> usize {
    let mut open = vec![first];
    let mut area = 0;
    while let Some(pixel) = open.pop() {
        if !enter(pixel) {
            continue;
        }
        area += 1;
        let (row, column) = (pixel / width, pixel % width);
        for near_row in row.saturating_sub(1)..=(row + 1).min(height - 1) {
            for near_column in column.saturating_sub(1)..=(column + 1).min(width - 1) {
                if connectivity == Connectivity::Eight || near_row == row || near_column == column {
                    open.push(near_row * width + near_column);
                }
            }
        }
    }
    area
}

/// Bins of the histogram that a threshold is sought on.
const BINS: usize = 256;

/// Otsu's threshold of 8-bit grey values (Otsu 1979): values above it and the others have the largest variance between
/// their means. The first of equally good ones; `None` where all values are equal, or there are none.
pub fn otsu_threshold_u8(values: &[u8]) -> Option<u8> {
    let mut counts = [0_usize; BINS];
    values.iter().for_each(|&value| counts[usize::from(value)] += 1);
    best_split(&counts).map(|bin| bin as u8)
}

/// The last bin of the lower class.
fn best_split(counts: &[usize; BINS]) -> Option<usize> {
    let total: f64 = counts.iter().sum::<usize>() as f64;
    let moment: f64 = counts.iter().enumerate().map(|(bin, &count)| bin as f64 * count as f64).sum();
    let (mut below, mut moment_below) = (0.0, 0.0);
    let mut best = None;
    let mut largest = 0.0;
    for (bin, &count) in counts.iter().enumerate() {
        below += count as f64;
        moment_below += bin as f64 * count as f64;
        let above = total - below;
        if below > 0.0 && above > 0.0 {
            let apart = moment_below / below - (moment - moment_below) / above;
            let variance = below * above * apart * apart;
            if variance > largest {
                largest = variance;
                best = Some(bin);
            }
        }
    }
    best
}
