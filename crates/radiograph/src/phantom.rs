//! Drawn chest X-rays with known lungs and findings: unlimited, free of licences, for the demonstration and the tests
//! where no data are at hand. They are never presented as results.
//!
//! A phantom is a handful of anatomical parameters in units of the image side. Drawing adds up how much each structure
//! absorbs along the ray (chest wall, air in the lungs, heart, spine, ribs, vessels, ...) and maps the sum to
//! brightness as a digital detector does, so that structures overlap the way they do on film. The lung masks come from
//! the same outlines and are therefore exact.
//!
//! Every random number comes from a counter, and drawing uses only sums, products, quotients and square roots, which
//! round alike everywhere: a phantom is the same picture on every machine.

mod anatomy;
mod render;

pub use anatomy::Anatomy;

use crate::{Mask, Radiograph};
use random::{Purpose, Stream};

/// What a phantom shows beside the normal anatomy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Findings {
    /// Fluid at the base of a lung: the side, and the height of its level as a share of the lung's height, 0.1..=0.45.
    pub effusion: Option<(Side, f32)>,
    /// A round nodule in a lung: the side, its centre as shares of the lung's width (from the midline outwards) and
    /// height (from the apex down), and its radius in units of the image side.
    pub nodule: Option<(Side, [f32; 2], f32)>,
    /// A heart wider than half of the chest.
    pub enlarged_heart: bool,
}

impl Findings {
    /// Every label that [`Findings::labels`] can give, in its order.
    pub const ALL_LABELS: [&'static str; 3] = ["effusion", "nodule", "enlarged heart"];

    /// The labels that are present, in the order of [`Findings::ALL_LABELS`]; empty for a normal chest.
    pub fn labels(&self) -> Vec<&'static str> {
        let present = [self.effusion.is_some(), self.nodule.is_some(), self.enlarged_heart];
        Self::ALL_LABELS.into_iter().zip(present).filter_map(|(label, present)| present.then_some(label)).collect()
    }
}

/// A side of the patient. On a chest X-ray the patient faces the viewer: their right is on the left of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The patient's right, on the left of the picture.
    Right,
    /// The patient's left, on the right of the picture; the side of the heart's apex.
    Left,
}

impl Side {
    /// The direction from the midline outwards: -1 for the patient's right, +1 for the left.
    fn sign(self) -> f32 {
        match self {
            Self::Right => -1.0,
            Self::Left => 1.0,
        }
    }
}

/// A chest X-ray to be drawn: anatomy, findings and the seed of its texture and noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// Shapes, exposure and noise.
    pub anatomy: Anatomy,
    /// Findings.
    pub findings: Findings,
    seed: u64,
    index: u64,
}

/// What is drawn of a phantom. Each part has numbers of its own, so that a change of one shifts no other.
#[derive(Clone, Copy)]
enum Part {
    Findings,
    Anatomy,
    RightVessels,
    LeftVessels,
    /// The first of four octaves.
    Texture,
    Noise = 8,
}

impl Part {
    fn purpose(self) -> Purpose {
        Purpose::Phantom(self as u16)
    }
}

/// A drawn phantom with its exact lung masks.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomImage {
    /// The picture, `size * size`.
    pub radiograph: Radiograph,
    /// The patient's right lung (left in the picture): the lung field that heart, mediastinum and diaphragm leave
    /// free. Fluid and nodules inside the lung count as lung.
    pub right_lung: Mask,
    /// The patient's left lung (right in the picture).
    pub left_lung: Mask,
    /// What the picture shows; see [`Findings::labels`].
    pub findings: Findings,
}

impl PhantomImage {
    /// Both lungs in one mask.
    pub fn lungs(&self) -> Mask {
        let mut both = self.right_lung.clone();
        for (pixel, &left) in both.pixels.iter_mut().zip(&self.left_lung.pixels) {
            *pixel |= left;
        }
        both
    }
}

impl Phantom {
    /// The phantom number `index` of the series `seed`: always the same one. About a quarter of them have an effusion,
    /// a quarter a nodule and a quarter an enlarged heart, independently of one another.
    pub fn from_seed(seed: u64, index: u64) -> Self {
        let mut draw = Stream::new(seed, index, Part::Findings.purpose());
        let side = |draw: &mut Stream| if draw.uniform() < 0.5 { Side::Right } else { Side::Left };
        let has = [draw.uniform() < 0.25, draw.uniform() < 0.25, draw.uniform() < 0.25];
        let effusion = (side(&mut draw), draw.between(0.15, 0.42));
        let nodule = (side(&mut draw), [draw.between(0.3, 0.8), draw.between(0.25, 0.75)], draw.between(0.018, 0.04));
        let findings =
            Findings { effusion: has[0].then_some(effusion), nodule: has[1].then_some(nodule), enlarged_heart: has[2] };
        let anatomy = Anatomy::draw(&mut Stream::new(seed, index, Part::Anatomy.purpose()), &findings);
        Self { anatomy, findings, seed, index }
    }

    /// A phantom with chosen anatomy and findings; `seed` and `index` choose vessels, texture and noise.
    pub fn new(anatomy: Anatomy, findings: Findings, seed: u64, index: u64) -> Self {
        Self { anatomy, findings, seed, index }
    }

    /// Draws the phantom with `size * size` pixels (at least 1 is drawn).
    pub fn render(&self, size: usize) -> PhantomImage {
        render::render(self, size.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_picture() {
        let draw = |seed, index| Phantom::from_seed(seed, index).render(48);
        assert_eq!(draw(3, 5), draw(3, 5));
        assert_ne!(draw(3, 5).radiograph.pixels, draw(3, 6).radiograph.pixels);
        assert_ne!(draw(3, 5).radiograph.pixels, draw(4, 5).radiograph.pixels);
    }

    #[test]
    fn pictures_are_plausible() {
        for index in 0..60 {
            let image = Phantom::from_seed(1, index).render(64);
            let mean = image.radiograph.mean();
            assert!((0.3..0.7).contains(&mean), "phantom {index}: mean {mean}");
            let saturated = image.radiograph.pixels.iter().filter(|&&pixel| pixel <= 0.0 || pixel >= 1.0).count();
            assert!(saturated < 64 * 64 / 5, "phantom {index}: {saturated} saturated pixels");
            for lung in [&image.right_lung, &image.left_lung] {
                assert!((0.07..0.28).contains(&lung.coverage()), "phantom {index}: lung {}", lung.coverage());
            }
        }
    }

    #[test]
    fn lungs_are_dark_apart_and_on_their_sides() {
        for index in 0..30 {
            let phantom = Phantom::from_seed(2, index);
            let image = phantom.render(96);
            let mean_of = |mask: &Mask, inside: u8| {
                let chosen: Vec<f32> = (0..96 * 96)
                    .filter(|&i| mask.pixels[i] == inside && (20..80).contains(&(i / 96)))
                    .map(|i| image.radiograph.pixels[i])
                    .collect();
                chosen.iter().sum::<f32>() / chosen.len() as f32
            };
            if phantom.findings.effusion.is_none() {
                let (inside, outside) = (mean_of(&image.lungs(), 1), mean_of(&image.lungs(), 0));
                assert!(inside + 0.1 < outside, "phantom {index}: lungs {inside}, around {outside}");
            }
            let overlap = image.right_lung.pixels.iter().zip(&image.left_lung.pixels).any(|(&r, &l)| r == 1 && l == 1);
            assert!(!overlap);
            let column = |mask: &Mask| {
                let inside: Vec<usize> = (0..96 * 96).filter(|&i| mask.pixels[i] == 1).map(|i| i % 96).collect();
                inside.iter().sum::<usize>() / inside.len()
            };
            assert!(column(&image.right_lung) < 45 && column(&image.left_lung) > 50);
        }
    }

    #[test]
    fn findings_change_the_picture_where_they_are() {
        let mut normal = Phantom::from_seed(7, 0);
        normal.findings = Findings::default();
        let mut sick = normal.clone();
        sick.findings.effusion = Some((Side::Left, 0.4));
        let (before, after) = (normal.render(64), sick.render(64));
        let brighter: Vec<usize> =
            (0..64 * 64).filter(|&i| after.radiograph.pixels[i] > before.radiograph.pixels[i] + 0.1).collect();
        assert!(brighter.len() > 30, "{}", brighter.len());
        assert!(brighter.iter().all(|i| i % 64 > 32 && i / 64 > 24), "fluid lies at the base of the left lung");
        assert_eq!(before.lungs(), after.lungs());
    }

    #[test]
    fn labels_follow_findings_and_the_heart() {
        assert!(Findings::default().labels().is_empty());
        let mut seen = [0; 3];
        for index in 0..400 {
            let phantom = Phantom::from_seed(9, index);
            let labels = phantom.findings.labels();
            for (count, label) in seen.iter_mut().zip(Findings::ALL_LABELS) {
                *count += usize::from(labels.contains(&label));
            }
            let ratio = phantom.anatomy.cardiothoracic_ratio;
            assert_eq!(phantom.findings.enlarged_heart, ratio > 0.5, "ratio {ratio}");
        }
        assert!(seen.iter().all(|count| (70..130).contains(count)), "{seen:?}");
    }

    #[test]
    fn any_size_draws_and_shapes_agree() {
        let phantom = Phantom::from_seed(4, 4);
        for size in [1, 2, 7, 32, 33, 256] {
            assert_eq!(phantom.render(size).radiograph.pixels.len(), size * size);
        }
        let (small, large) = (phantom.render(64).lungs(), phantom.render(256).lungs());
        assert!((small.coverage() - large.coverage()).abs() < 0.01);
    }
}
