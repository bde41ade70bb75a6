//! Random views of one picture: what a network that learns without labels is shown instead of the picture itself.
//!
//! The recipe is DINO's (Caron et al. 2021, appendix C; after BYOL, Grill et al. 2020) as far as it keeps a radiograph
//! a radiograph. Colours and solarisation (which inverts bright parts: bone would look like air) are left out, small
//! rotations, gamma and noise stand for differences of positioning, exposure and detector, and left-right flips are off
//! unless asked for, because laterality is clinical information.
//!
//! Everything is drawn from counters keyed by seed, image number, view and purpose, so a view can be made alone, in any
//! order, on any thread.

use random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::resample::catmull_rom;

/// By how much a view may differ from its picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Width by height of a crop, drawn uniformly on a logarithmic scale; above 0. Default 3/4 to 4/3, as DINO.
    pub aspect_ratio: [f64; 2],
    /// Largest rotation of a crop about its centre, either way, in degrees; 0 to 45. What comes from beyond the edge
    /// repeats the edge. Default 7: how much patients tilt.
    pub max_rotation_degrees: f64,
    /// Probability of a left-right flip, in 0..=1. Default 0.
    pub flip_probability: f64,
    /// Probability that brightness, contrast and gamma are changed, in 0..=1. Default 0.8, as DINO.
    pub intensity_probability: f64,
    /// Brightness is multiplied by 1 plus or minus at most this, in 0..1. Default 0.4, as DINO.
    pub brightness: f64,
    /// Differences from the picture's mean are multiplied by 1 plus or minus at most this, in 0..1. Default 0.4, as
    /// DINO.
    pub contrast: f64,
    /// The natural logarithm of the exponent of brightness is drawn from plus or minus this, at least 0. Default 0.3.
    pub gamma: f64,
    /// Standard deviation of the Gaussian blur in pixels of the view, at least 0. Default 0.1 to 1: half of DINO's, for
    /// views half as large. How often there is blur is the view's.
    pub blur_sigma: [f64; 2],
    /// Probability of noise, in 0..=1. Default 0.5.
    pub noise_probability: f64,
    /// Largest standard deviation of the noise, of full brightness, at least 0. Default 0.03.
    pub noise: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            aspect_ratio: [3.0 / 4.0, 4.0 / 3.0],
            max_rotation_degrees: 7.0,
            flip_probability: 0.0,
            intensity_probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            gamma: 0.3,
            blur_sigma: [0.1, 1.0],
            noise_probability: 0.5,
            noise: 0.03,
        }
    }
}

/// What sort of view it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewKind {
    /// Height and width of the view in pixels.
    pub size: usize,
    /// Smallest and largest share of the picture's area that a crop covers, in 0..=1.
    pub scale: [f64; 2],
    /// Probability of blur, in 0..=1.
    pub blur_probability: f64,
}

/// Which view it is: decides everything that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewKey {
    /// Of the run.
    pub seed: u64,
    /// Number of the image in the run.
    pub image: u64,
    /// Number of the view of this image, below 65,536.
    pub view: usize,
}

/// Part of a square picture, in pixels with fractions. Without its rotation it lies inside the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Upper edge.
    pub top: f64,
    /// Left edge.
    pub left: f64,
    /// Rows.
    pub height: f64,
    /// Columns.
    pub width: f64,
    /// Rotation about the centre, in radians.
    pub angle: f64,
}

/// A view that is drawn and can be rendered.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Which part is seen.
    pub crop: Crop,
    size: usize,
    flip: bool,
    /// Exponent, factor of contrast, factor of brightness.
    intensity: Option<[f64; 3]>,
    blur_sigma: Option<f64>,
    noise: Option<(f32, Stream)>,
}

/// What is drawn of a view. Each part has numbers of its own, so that a setting of one shifts no other.
#[derive(Clone, Copy)]
enum Part {
    Place,
    Position,
    Rotation,
    Intensity,
    Blur,
    Noise,
    NoiseOfPixels,
    Flip,
}

impl Augmentation {
    /// What is wrong with the settings, if anything: a setting's name, its value and its range, in words.
    pub fn problem(&self) -> Option<String> {
        let Self { aspect_ratio, max_rotation_degrees, brightness, contrast, gamma, blur_sigma, noise, .. } = *self;
        let share = |name, value| (name, value, (0.0..=1.0).contains(&value), "a share, from 0 to 1");
        let factor = |name, value| (name, value, (0.0..1.0).contains(&value), "at least 0 and below 1");
        let at_least_0 = |name, value: f64| (name, value, value >= 0.0 && value.is_finite(), "at least 0");
        let checks = [
            (
                "aspect_ratio",
                aspect_ratio[0],
                aspect_ratio[0] > 0.0 && aspect_ratio[0] <= aspect_ratio[1],
                "above 0 and at most the second",
            ),
            ("aspect_ratio", aspect_ratio[1], aspect_ratio[1].is_finite(), "a finite number"),
            (
                "max_rotation_degrees",
                max_rotation_degrees,
                (0.0..=45.0).contains(&max_rotation_degrees),
                "from 0 to 45",
            ),
            share("flip_probability", self.flip_probability),
            share("intensity_probability", self.intensity_probability),
            factor("brightness", brightness),
            factor("contrast", contrast),
            at_least_0("gamma", gamma),
            (
                "blur_sigma",
                blur_sigma[0],
                blur_sigma[0] >= 0.0 && blur_sigma[0] <= blur_sigma[1],
                "at least 0 and at most the second",
            ),
            ("blur_sigma", blur_sigma[1], blur_sigma[1] <= 32.0, "at most 32"),
            share("noise_probability", self.noise_probability),
            at_least_0("noise", noise),
        ];
        let (name, value, _, range) = checks.into_iter().find(|(_, _, fine, _)| !fine)?;
        Some(format!("{name} is {value}; it must be {range}"))
    }

    /// Draws a view of a square picture with sides of `picture_size` pixels.
    pub fn draw(&self, kind: &ViewKind, picture_size: usize, key: ViewKey) -> View {
        let ViewKey { seed, image, view } = key;
        let stream = |part: Part| Stream::new(seed, image, Purpose::View { view: view as u16, part: part as u16 });
        let between = |stream: &mut Stream, [low, high]: [f64; 2]| low + (high - low) * stream.uniform();
        let either_way = |stream: &mut Stream, most: f64| between(stream, [-most, most]);

        let mut place = stream(Part::Place);
        let side = picture_size as f64;
        let area = between(&mut place, kind.scale) * side * side;
        let log_ratio = self.aspect_ratio.map(f64::ln);
        // A crop of this area and shape may not fit; ten tries, as torchvision, then a square, which always does.
        let [width, height] = (0..10)
            .map(|_| between(&mut place, log_ratio).exp())
            .map(|ratio| [(area * ratio).sqrt(), (area / ratio).sqrt()])
            .find(|[width, height]| width.max(*height) <= side)
            .unwrap_or([area.sqrt(); 2]);
        let mut position = stream(Part::Position);
        let top = between(&mut position, [0.0, (side - height).max(0.0)]);
        let left = between(&mut position, [0.0, (side - width).max(0.0)]);
        let angle = either_way(&mut stream(Part::Rotation), self.max_rotation_degrees.to_radians());

        let happens = |stream: &mut Stream, probability: f64| stream.uniform() < probability;
        let mut intensity = stream(Part::Intensity);
        let intensity = happens(&mut intensity, self.intensity_probability).then(|| {
            [
                either_way(&mut intensity, self.gamma).exp(),
                1.0 + either_way(&mut intensity, self.contrast),
                1.0 + either_way(&mut intensity, self.brightness),
            ]
        });
        let mut blur = stream(Part::Blur);
        let blur_sigma = happens(&mut blur, kind.blur_probability).then(|| between(&mut blur, self.blur_sigma));
        let mut noise = stream(Part::Noise);
        let noise = happens(&mut noise, self.noise_probability)
            .then(|| (between(&mut noise, [0.0, self.noise]) as f32, stream(Part::NoiseOfPixels)));
        View {
            crop: Crop { top, left, height, width, angle },
            size: kind.size,
            flip: happens(&mut stream(Part::Flip), self.flip_probability),
            intensity,
            blur_sigma,
            noise,
        }
    }
}

impl View {
    /// Renders the view of a square 8-bit picture with sides of `picture_size` pixels into `pixels`, row by row.
    ///
    /// # Shapes
    /// - picture: `picture_size * picture_size`
    /// - pixels: `size * size` of the view's kind, in 0..=1
    pub fn render(&self, picture: &[u8], picture_size: usize, pixels: &mut [f32]) {
        let shades = self.shades(picture);
        self.sample(picture, picture_size, &shades, pixels);
        if let Some(sigma) = self.blur_sigma {
            blur(pixels, self.size, sigma);
        }
        if let Some((deviation, stream)) = self.noise {
            for (pixel, normal) in pixels.iter_mut().zip(stream.bounded_normals()) {
                *pixel += deviation * normal;
            }
        }
        for pixel in pixels {
            *pixel = pixel.clamp(0.0, 1.0);
        }
    }

    /// What each stored value becomes.
    fn shades(&self, picture: &[u8]) -> [f32; 256] {
        let Some([exponent, contrast, brightness]) = self.intensity else {
            return std::array::from_fn(|value| value as f32 / 255.0);
        };
        let curve: [f64; 256] = std::array::from_fn(|value| (value as f64 / 255.0).powf(exponent));
        let sum: f64 = picture.iter().map(|value| curve[usize::from(*value)]).sum();
        let mean = sum / picture.len().max(1) as f64;
        curve.map(|value| (brightness * (mean + contrast * (value - mean))).clamp(0.0, 1.0) as f32)
    }

    /// Resamples with the Catmull-Rom filter, widened where the crop is reduced.
    fn sample(&self, picture: &[u8], picture_size: usize, shades: &[f32; 256], pixels: &mut [f32]) {
        let Crop { top, left, height, width, angle } = self.crop;
        let (sine, cosine) = angle.sin_cos();
        let (centre_y, centre_x) = (top + height / 2.0, left + width / 2.0);
        let step = [height / self.size as f64, width / self.size as f64];
        let direction = if self.flip { -1.0 } else { 1.0 };
        let (mut rows, mut columns) = (Taps::new(step[0]), Taps::new(step[1]));
        for (row, line) in pixels.chunks_exact_mut(self.size).enumerate() {
            let v = (row as f64 + 0.5) * step[0] - height / 2.0;
            for (column, pixel) in line.iter_mut().enumerate() {
                let u = direction * ((column as f64 + 0.5) * step[1] - width / 2.0);
                rows.place(centre_y + u * sine + v * cosine, picture_size);
                columns.place(centre_x + u * cosine - v * sine, picture_size);
                let mut sum = 0.0;
                for (y, row_weight) in rows.pairs() {
                    let source = &picture[y * picture_size..(y + 1) * picture_size];
                    let along: f32 = columns.pairs().map(|(x, weight)| weight * shades[usize::from(source[x])]).sum();
                    sum += row_weight * along;
                }
                *pixel = sum;
            }
        }
    }
}

/// Most input samples that one output sample is made of along an axis: reductions beyond 4 to 1 are cut short.
const MAX_TAPS: usize = 17;

/// The samples along one axis that make up one output sample, and their weights, which sum to 1.
struct Taps {
    stretch: f64,
    indices: [usize; MAX_TAPS],
    weights: [f32; MAX_TAPS],
    count: usize,
}

impl Taps {
    /// For outputs that are `step` input samples apart.
    fn new(step: f64) -> Self {
        let stretch = step.clamp(1.0, (MAX_TAPS - 1) as f64 / 4.0);
        Self { stretch, indices: [0; MAX_TAPS], weights: [0.0; MAX_TAPS], count: 0 }
    }

    /// Around `centre` on an axis of `len` samples; samples beyond the ends repeat the ends.
    fn place(&mut self, centre: f64, len: usize) {
        let support = 2.0 * self.stretch;
        let first = (centre - support + 0.5).floor();
        let last = len as f64 - 1.0;
        self.count = ((centre + support + 0.5).floor() - first).clamp(1.0, MAX_TAPS as f64) as usize;
        let mut sum = 0.0;
        for tap in 0..self.count {
            let position = first + tap as f64;
            let weight = catmull_rom((position + 0.5 - centre) / self.stretch) as f32;
            self.indices[tap] = position.clamp(0.0, last) as usize;
            self.weights[tap] = weight;
            sum += weight;
        }
        for weight in &mut self.weights[..self.count] {
            *weight /= sum;
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, f32)> {
        self.indices[..self.count].iter().copied().zip(self.weights[..self.count].iter().copied())
    }
}

/// Gaussian blur of a square picture, cut off at three standard deviations; the edges are repeated.
fn blur(pixels: &mut [f32], size: usize, sigma: f64) {
    let radius = (3.0 * sigma).ceil() as usize;
    if radius == 0 || sigma <= 0.0 {
        return;
    }
    let raw: Vec<f64> =
        (0..=2 * radius).map(|tap| (-0.5 * ((tap as f64 - radius as f64) / sigma).powi(2)).exp()).collect();
    let sum: f64 = raw.iter().sum();
    let weights: Vec<f32> = raw.iter().map(|weight| (weight / sum) as f32).collect();
    let source_of = |position: usize, tap: usize| (position + tap).saturating_sub(radius).min(size - 1);
    let mut across = vec![0.0; pixels.len()];
    for (line, out) in pixels.chunks_exact(size).zip(across.chunks_exact_mut(size)) {
        for (column, out) in out.iter_mut().enumerate() {
            *out = weights.iter().enumerate().map(|(tap, weight)| weight * line[source_of(column, tap)]).sum();
        }
    }
    for (row, line) in pixels.chunks_exact_mut(size).enumerate() {
        line.fill(0.0);
        for (tap, weight) in weights.iter().enumerate() {
            let source = source_of(row, tap) * size;
            for (pixel, value) in line.iter_mut().zip(&across[source..source + size]) {
                *pixel += weight * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBAL: ViewKind = ViewKind { size: 28, scale: [0.4, 1.0], blur_probability: 0.5 };
    const LOCAL: ViewKind = ViewKind { size: 12, scale: [0.05, 0.4], blur_probability: 0.5 };

    fn picture(size: usize) -> Vec<u8> {
        (0..size * size).map(|i| (40 + (i % size) * 2 + (i / size) * 3 + (i * 7919) % 11) as u8).collect()
    }

    fn key(seed: u64, image: u64, view: usize) -> ViewKey {
        ViewKey { seed, image, view }
    }

    fn rendered(augmentation: &Augmentation, kind: &ViewKind, key: ViewKey) -> Vec<f32> {
        let mut pixels = vec![0.0; kind.size * kind.size];
        augmentation.draw(kind, 32, key).render(&picture(32), 32, &mut pixels);
        pixels
    }

    fn nothing() -> Augmentation {
        Augmentation {
            aspect_ratio: [1.0, 1.0],
            max_rotation_degrees: 0.0,
            intensity_probability: 0.0,
            noise_probability: 0.0,
            ..Augmentation::default()
        }
    }

    #[test]
    fn crops_lie_inside_and_cover_what_is_asked() {
        let augmentation = Augmentation { aspect_ratio: [0.5, 2.0], ..Augmentation::default() };
        for kind in [GLOBAL, LOCAL] {
            let mut shares = Vec::new();
            for image in 0..2000 {
                let Crop { top, left, height, width, angle } = augmentation.draw(&kind, 100, key(1, image, 3)).crop;
                assert!(top >= 0.0 && left >= 0.0 && top + height <= 100.0 + 1e-9 && left + width <= 100.0 + 1e-9);
                assert!((0.5 - 1e-9..=2.0 + 1e-9).contains(&(width / height)));
                assert!(angle.abs() <= 7f64.to_radians());
                shares.push(height * width / 1e4);
            }
            let (least, most) = shares.iter().fold((1f64, 0f64), |(l, m), s| (l.min(*s), m.max(*s)));
            let [low, high] = kind.scale;
            assert!(least >= low - 1e-9 && most <= high + 1e-9, "{least} {most}");
            let margin = 0.01 * (high - low);
            assert!(least < low + margin && most > high - margin, "the whole range is drawn: {least} {most}");
        }
    }

    #[test]
    fn a_view_is_decided_by_its_key_alone() {
        let augmentation = Augmentation { flip_probability: 0.5, ..Augmentation::default() };
        let draw = |key| rendered(&augmentation, &GLOBAL, key);
        let first = draw(key(1, 2, 0));
        assert_eq!(first, draw(key(1, 2, 0)));
        for other in [key(2, 2, 0), key(1, 3, 0), key(1, 2, 1)] {
            assert_ne!(first, draw(other));
        }
        for image in 0..100 {
            assert!(draw(key(7, image, 1)).iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        }
    }

    #[test]
    fn the_whole_picture_at_its_own_size_is_the_picture() {
        let whole = ViewKind { size: 32, scale: [1.0, 1.0], blur_probability: 0.0 };
        let pixels = rendered(&nothing(), &whole, key(0, 0, 0));
        let expected: Vec<f32> = picture(32).into_iter().map(|value| f32::from(value) / 255.0).collect();
        let difference = pixels.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference < 1e-5, "{difference}");
        let flipped = rendered(&Augmentation { flip_probability: 1.0, ..nothing() }, &whole, key(0, 0, 0));
        let mut back = flipped;
        back.chunks_exact_mut(32).for_each(<[f32]>::reverse);
        let difference = back.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn flips_happen_only_when_asked_for() {
        let flips = |augmentation: &Augmentation| {
            (0..400).filter(|image| augmentation.draw(&GLOBAL, 32, key(5, *image, 0)).flip).count()
        };
        assert_eq!(flips(&Augmentation::default()), 0);
        assert!((150..250).contains(&flips(&Augmentation { flip_probability: 0.5, ..Augmentation::default() })));
    }

    #[test]
    fn blur_keeps_the_mean_and_takes_away_detail() {
        let mut pixels: Vec<f32> = (0..400).map(|i| ((i * 7919) % 97) as f32 / 97.0).collect();
        let mean = |pixels: &[f32]| pixels.iter().sum::<f32>() / 400.0;
        let spread = |pixels: &[f32]| pixels.iter().map(|pixel| (pixel - mean(pixels)).powi(2)).sum::<f32>();
        let before = pixels.clone();
        blur(&mut pixels, 20, 1.0);
        assert!((mean(&pixels) - mean(&before)).abs() < 0.01);
        assert!(spread(&pixels) < 0.3 * spread(&before));
        let mut flat = vec![0.25; 400];
        blur(&mut flat, 20, 2.0);
        assert!(flat.iter().all(|pixel| (pixel - 0.25).abs() < 1e-6));
    }

    #[test]
    fn impossible_settings_are_named() {
        assert_eq!(Augmentation::default().problem(), None);
        let wrong = Augmentation { flip_probability: 1.5, ..Augmentation::default() };
        assert!(wrong.problem().is_some_and(|problem| problem.contains("flip_probability is 1.5")));
        let wrong = Augmentation { blur_sigma: [2.0, f64::NAN], ..Augmentation::default() };
        assert!(wrong.problem().is_some_and(|problem| problem.contains("blur_sigma")));
    }
}
