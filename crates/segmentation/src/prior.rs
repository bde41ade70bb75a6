//! Which parts of an image are lungs: learned from a few annotated images, or from none, starting at an anatomical
//! template.
//!
//! Every token of an image has a code (the part it belongs to, or how dark it is) and a place. How often either is found
//! inside lungs and outside is counted, and a token's score is the sum of the two logarithms of odds, as if place and
//! code were independent (naive Bayes). Without annotated images the counts begin with the template, and each further
//! round counts with what the round before made of every image, labels never being seen (expectation maximisation).

/// Odds of lung by place and by code.
#[derive(Debug, Clone, PartialEq)]
pub struct LungPrior {
    /// Logarithm of the odds of each place, `[tokens]`.
    pub places: Vec<f32>,
    /// Logarithm of the ratio of each code's frequency inside and outside.
    pub codes: Vec<f32>,
}

/// A place is lung in at least this share of images, or not: no place decides alone.
const DOUBT: f64 = 0.02;

impl LungPrior {
    /// Counts.
    ///
    /// # Shapes
    /// - codes: for each image `[tokens]`, each below `num_codes`
    /// - inside: for each image `[tokens]`, the share of the token that is lung, 0..=1
    pub fn learn(codes: &[Vec<u16>], inside: &[Vec<f32>], num_codes: usize) -> Self {
        let tokens = codes.first().map_or(0, Vec::len);
        let mut places = vec![0.0_f64; tokens];
        // One imagined token of each code on both sides.
        let (mut lung, mut other) = (vec![1.0_f64; num_codes], vec![1.0_f64; num_codes]);
        for (codes, inside) in codes.iter().zip(inside) {
            for ((code, share), place) in codes.iter().zip(inside).zip(&mut places) {
                let share = f64::from(*share);
                *place += share;
                lung[usize::from(*code)] += share;
                other[usize::from(*code)] += 1.0 - share;
            }
        }
        let images = codes.len().max(1) as f64;
        let odds = |sum: f64| {
            let share = (sum / images).clamp(DOUBT, 1.0 - DOUBT);
            (share / (1.0 - share)).ln() as f32
        };
        let (all_lung, all_other): (f64, f64) = (lung.iter().sum(), other.iter().sum());
        Self {
            places: places.into_iter().map(odds).collect(),
            codes: lung.iter().zip(&other).map(|(a, b)| ((a / all_lung) / (b / all_other)).ln() as f32).collect(),
        }
    }

    /// Counts with the template, then `rounds` times with what came of it.
    ///
    /// # Shapes
    /// - codes: for each image `[tokens]`, template: `[tokens]`
    pub fn from_template(codes: &[Vec<u16>], template: &[f32], num_codes: usize, rounds: usize) -> Self {
        let mut inside = vec![template.to_vec(); codes.len()];
        let mut prior = Self::learn(codes, &inside, num_codes);
        for _round in 0..rounds {
            for (inside, codes) in inside.iter_mut().zip(codes) {
                *inside = prior.score(codes).into_iter().map(probability).collect();
            }
            prior = Self::learn(codes, &inside, num_codes);
        }
        prior
    }

    /// Logarithm of the odds that each token is lung, `[tokens]`.
    pub fn score(&self, codes: &[u16]) -> Vec<f32> {
        codes.iter().zip(&self.places).map(|(code, place)| self.codes[usize::from(*code)] + place).collect()
    }
}

/// The probability of a logarithm of odds.
pub fn probability(odds: f32) -> f32 {
    1.0 / (1.0 + (-odds).exp())
}

/// Where lungs are on a frontal radiograph that fills its frame: two upright ellipses beside the middle, the share of
/// each token inside one of them. Their centres lie at 0.42 of half the width and their half axes are 0.30 of it and 0.52
/// of half the height, which is anatomy and taste, not a fit.
///
/// # Shapes
/// result: `[height * width]`
pub fn template(height: usize, width: usize) -> Vec<f32> {
    /// Points along each side of a token.
    const POINTS: usize = 8;
    const CENTRE: [f64; 2] = [-0.02, 0.42];
    const HALF_AXES: [f64; 2] = [0.52, 0.30];
    let at = |index: usize, point: usize, side: usize| {
        2.0 * (index as f64 + (point as f64 + 0.5) / POINTS as f64) / side as f64 - 1.0
    };
    let inside = |row: f64, column: f64| {
        let (y, x) = ((row - CENTRE[0]) / HALF_AXES[0], (column.abs() - CENTRE[1]) / HALF_AXES[1]);
        x * x + y * y < 1.0
    };
    let share = |token: usize| {
        let (row, column) = (token / width, token % width);
        let points = (0..POINTS * POINTS)
            .filter(|point| inside(at(row, point / POINTS, height), at(column, point % POINTS, width)));
        points.count() as f32 / (POINTS * POINTS) as f32
    };
    (0..height * width).map(share).collect()
}

/// The template of the anatomy as a mask, `[size * size]`.
pub fn template_mask(size: usize) -> Vec<u8> {
    template(size, size).into_iter().map(|share| u8::from(share >= 0.5)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_two_symmetric_regions() {
        let map = template(16, 16);
        for row in 0..16 {
            for column in 0..8 {
                assert_eq!(map[row * 16 + column], map[row * 16 + 15 - column]);
            }
        }
        assert_eq!((map[7 * 16 + 4], map[0], map[15 * 16 + 8]), (1.0, 0.0, 0.0));
        let share = map.iter().sum::<f32>() / 256.0;
        // Both ellipses: 2 * pi * 0.52 * 0.30 of the 4 units of area.
        assert!((share - 0.245).abs() < 0.005, "{share}");
    }

    /// Lungs that lie lower than the template and have a code of their own are found by further rounds, not by the
    /// first.
    #[test]
    fn rounds_move_the_template_to_what_is_there() {
        let (side, images) = (16, 20);
        let truth = |image: usize| -> Vec<u16> {
            let moved = 2 + image % 2;
            let map = template(side, side);
            (0..side * side).map(|at| u16::from(at >= moved * side && map[at - moved * side] >= 0.5)).collect()
        };
        let codes: Vec<Vec<u16>> = (0..images).map(truth).collect();
        let agreement = |prior: &LungPrior| -> f64 {
            let right = codes.iter().flat_map(|codes| {
                prior.score(codes).into_iter().zip(codes).map(|(score, code)| (score > 0.0) == (*code == 1))
            });
            right.filter(|right| *right).count() as f64 / (images * side * side) as f64
        };
        let map = template(side, side);
        let [first, last] = [0, 8].map(|rounds| agreement(&LungPrior::from_template(&codes, &map, 2, rounds)));
        assert!(last > first && last > 0.99, "{first} {last}");
        let inside: Vec<Vec<f32>> = codes.iter().map(|codes| codes.iter().map(|c| f32::from(*c)).collect()).collect();
        assert!(agreement(&LungPrior::learn(&codes, &inside, 2)) > 0.99);
    }
}
