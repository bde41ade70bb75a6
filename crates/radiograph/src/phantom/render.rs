//! Draws a phantom: sums what each structure absorbs along the ray and maps it to brightness.

use super::{Anatomy, Part, Phantom, PhantomImage, Side};
use crate::{Mask, Radiograph, SourceFormat, SourceMetadata};
use random::{Purpose, Stream};

/// Smaller pictures are drawn at twice their size and averaged, so that ribs do not alias.
const SUPERSAMPLED_BELOW: usize = 128;

/// Draws a phantom of `size >= 1`.
pub(super) fn render(phantom: &Phantom, size: usize) -> PhantomImage {
    let factor = if size < SUPERSAMPLED_BELOW { 2 } else { 1 };
    let canvas = Canvas::draw(phantom, size * factor);
    let absorbed = canvas.reduced(factor);
    let noise = Stream::new(phantom.seed, phantom.index, Part::Noise.purpose()).bounded_normals();
    let anatomy = &phantom.anatomy;
    // Twice the pixels per side catch a quarter of the quanta each: twice the noise. Post-processing of real detectors
    // keeps it within bounds.
    let noise_level = anatomy.noise * (size as f32 / 256.0).clamp(0.5, 2.0);
    let pixels = absorbed.iter().zip(noise).enumerate().map(|(position, (&value, noise))| {
        let (x, y) = ((position % size) as f32 / size as f32 - 0.5, (position / size) as f32 / size as f32 - 0.5);
        let tilt = anatomy.gradient[0] * x + anatomy.gradient[1] * y;
        let bright = tone((value - 0.5) * anatomy.contrast + 0.5 + anatomy.exposure + tilt);
        // Fewer quanta get through where more is absorbed.
        bright + noise_level * (0.5 + bright) * noise
    });
    let radiograph = Radiograph {
        pixels: pixels.map(|pixel| pixel.clamp(0.0, 1.0)).collect(),
        height: size,
        width: size,
        pixel_spacing_mm: None,
        stored_bits: 8,
        format: SourceFormat::Memory,
        metadata: SourceMetadata::default(),
    };
    let mask = |side| Mask { pixels: lung_mask(anatomy, side, size), height: size, width: size };
    PhantomImage { radiograph, right_lung: mask(Side::Right), left_lung: mask(Side::Left), findings: phantom.findings }
}

/// The detector's curve: straight in the middle, bent towards black and white so that nothing clips hard.
fn tone(value: f32) -> f32 {
    let centred = 2.0 * (value - 0.5);
    0.5 + 0.5 * centred / (1.0 + 0.16 * centred * centred * centred * centred).sqrt()
}

/// 0 below `-edge`, 1 above `edge`, smooth between.
fn step(value: f32, edge: f32) -> f32 {
    let t = ((value + edge) / (2.0 * edge)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A smooth bump: 1 at 0, 0 from 1 on. Stands in for a Gaussian without an exponential.
fn bump(square_of_distance: f32) -> f32 {
    let rest = (1.0 - square_of_distance).max(0.0);
    rest * rest
}

/// Whether each pixel's centre lies in the lung.
fn lung_mask(anatomy: &Anatomy, side: Side, size: usize) -> Vec<u8> {
    let mut mask = vec![0; size * size];
    for (row, line) in mask.chunks_exact_mut(size).enumerate() {
        let y = (row as f32 + 0.5) / size as f32;
        if y < anatomy.apex || y > anatomy.base(side) {
            continue;
        }
        let (inner, outer) = (anatomy.inner_edge(side, y), anatomy.outer_edge(y));
        let midline = anatomy.midline_at(y);
        for (column, pixel) in line.iter_mut().enumerate() {
            let u = side.sign() * ((column as f32 + 0.5) / size as f32 - midline);
            *pixel = u8::from(u > inner && u < outer && y < anatomy.dome(side, u));
        }
    }
    mask
}

/// Absorption along the ray for every pixel; about 0 for air and 1 for the densest overlap.
struct Canvas {
    size: usize,
    values: Vec<f32>,
    /// Smooth share of lung at each pixel, for what exists only there (vessels).
    lung: Vec<f32>,
}

impl Canvas {
    fn draw(phantom: &Phantom, size: usize) -> Self {
        let mut canvas = Self { size, values: vec![0.0; size * size], lung: vec![0.0; size * size] };
        canvas.soft_tissue(phantom);
        canvas.vessels(phantom);
        canvas.ribs(&phantom.anatomy);
        canvas.clavicles(&phantom.anatomy);
        canvas.texture(phantom);
        canvas
    }

    /// Averages blocks of `factor * factor`.
    fn reduced(&self, factor: usize) -> Vec<f32> {
        if factor == 1 {
            return self.values.clone();
        }
        let small = self.size / factor;
        let mut out = vec![0.0; small * small];
        for (row, line) in self.values.chunks_exact(self.size).enumerate() {
            for (column, value) in line.iter().enumerate() {
                out[row / factor * small + column / factor] += value / (factor * factor) as f32;
            }
        }
        out
    }

    /// Body, lungs, heart, spine, abdomen, shoulders, and the findings.
    fn soft_tissue(&mut self, phantom: &Phantom) {
        let (anatomy, findings) = (&phantom.anatomy, &phantom.findings);
        let size = self.size;
        let pixel = 1.0 / size as f32;
        let edge = |width: f32| width.max(pixel);
        for row in 0..size {
            let y = (row as f32 + 0.5) * pixel;
            let midline = anatomy.midline_at(y);
            let outer = anatomy.outer_edge(y);
            let body = anatomy.body_edge(y);
            let sides = [Side::Right, Side::Left].map(|side| SideRow::new(anatomy, side, y));
            let disc = disc_profile(y, anatomy.rib_spacing);
            for column in 0..size {
                let x = (column as f32 + 0.5) * pixel - midline;
                let (side, u) = if x < 0.0 { (Side::Right, -x) } else { (Side::Left, x) };
                let row_of_side = &sides[usize::from(side == Side::Left)];

                // Trunk: thick in the middle, thinning to the skin.
                let across = (u / body).min(1.0);
                let across2 = across * across;
                let skin = step(body - u, edge(0.012)) * step(y - anatomy.shoulder_line(u), edge(0.02));
                let trunk = 0.5 + 0.16 * (1.0 - across2 * across2);
                let shoulder = 0.1 * bump(((u - 0.42) / 0.2).powi(2) + ((y - 0.14) / 0.16).powi(2));
                let mut value = skin * (trunk + shoulder);

                // Lungs replace tissue by air.
                let dome = anatomy.dome(side, u);
                let wall = ((outer - u) / row_of_side.outer_slope)
                    .min((u - row_of_side.inner) / row_of_side.inner_slope)
                    .min((dome - y) * 0.9)
                    .min(y - anatomy.apex + 0.004);
                let lung = step(wall, edge(0.007));
                let depth = (wall.max(0.0) / 0.16).min(1.0);
                let air = 0.26 + 0.15 * depth * (2.0 - depth);
                // Upper lungs are thinner, and in an upright patient less perfused.
                let mut density = air * (0.9 + 0.1 * ((y - anatomy.apex) / 0.3).min(1.0));

                // Fluid: a level that climbs the chest wall.
                if let Some((fluid_side, height)) = findings.effusion
                    && fluid_side == side
                {
                    let lung_height = anatomy.base(side) - anatomy.apex;
                    let climb = (1.0 - (outer - u) / anatomy.chest_half_width).clamp(0.0, 1.0);
                    let level = anatomy.base(side) - height * lung_height * (0.55 + 0.45 * climb * climb * climb);
                    density *= 1.0 - step(y - level, 0.02 + edge(0.01));
                }
                value -= skin * lung * density;
                self.lung[row * size + column] = lung * (density / air).min(1.0);

                // Heart and great vessels lie before the spine; their borders with the lung are sharp.
                let heart = row_of_side.heart;
                if heart > 0.0 {
                    let inside = step(heart - u, edge(0.008));
                    // Thickest in the middle; above it passes into the vessels, below into the shadow of the liver.
                    let down = (y - anatomy.heart_center()) / anatomy.heart_half_height;
                    let thickness = ((1.0 - (u / heart).min(1.0).powi(2)) * (1.0 - down * down).max(0.0)).sqrt();
                    let above_dome = 0.25 + 0.75 * step(anatomy.diaphragm + 0.03 - y, 0.05);
                    value += skin * inside * above_dome * 0.13 * thickness;
                }
                let mediastinum = step(anatomy.mediastinum - u, edge(0.02)) * step(y - anatomy.apex + 0.03, 0.06);
                value += skin * 0.08 * mediastinum;

                // Windpipe: dark, down to where it divides.
                let carina = anatomy.apex + 0.24;
                let windpipe = bump(((x + 0.004) / 0.02).powi(2)) * step(carina - y, 0.03) * step(y + 0.05, 0.02);
                value -= skin * 0.1 * windpipe;

                // Spine: vertebral bodies between discs, with spinous processes.
                let vertebra = step(anatomy.spine - u, edge(0.008));
                value += skin * anatomy.bone * vertebra * (0.055 + 0.035 * disc);
                let process = bump((x / 0.009).powi(2)) * disc;
                value += skin * anatomy.bone * 0.04 * process;

                // Below the diaphragm: liver and spleen are dense; the stomach holds a bubble.
                let abdomen = step(y - dome, edge(0.006)) * step(outer + 0.02 - u, 0.02);
                value += skin * abdomen * (0.11 + 0.015 * step(-x, 0.06));
                if side == Side::Left {
                    let (du, dy) =
                        ((u - 0.45 * anatomy.chest_half_width) / 0.1, (y - anatomy.dome_top(side) - 0.07) / 0.05);
                    value -= skin * abdomen * 0.2 * bump(du * du + dy * dy);
                }

                // Shoulder blade: a faint sheet with a denser border at the outer upper chest.
                let blade = step(0.03 - (u - 0.33 - 0.12 * (0.3 - y)).abs(), 0.03)
                    * step(y - 0.12, 0.04)
                    * step(0.46 - y, 0.06);
                value += skin * anatomy.bone * 0.045 * blade;
                // Head of the upper arm.
                let (du, dy) = ((u - 0.47) / 0.075, (y - 0.13) / 0.075);
                value += skin * anatomy.bone * 0.13 * step(1.0 - (du * du + dy * dy), 0.15);

                // A nodule, round and soft-edged.
                if let Some((nodule_side, [across, down], radius)) = findings.nodule
                    && nodule_side == side
                {
                    let center_y = anatomy.apex + down * (anatomy.dome_top(side) - anatomy.apex);
                    let (inner, outer) = (anatomy.inner_edge(side, center_y), anatomy.outer_edge(center_y));
                    let center_u = inner + across * (outer - inner);
                    let distance = ((u - center_u).powi(2) + (y - center_y).powi(2)).sqrt();
                    value += skin * lung * 0.17 * step(radius - distance, edge(0.008));
                }
                self.values[row * size + column] = value;
            }
        }
    }

    /// Blood vessels: curves that leave the hilum, thin out and branch. Brighter at the hilum.
    fn vessels(&mut self, phantom: &Phantom) {
        let anatomy = &phantom.anatomy;
        for (side, part) in [(Side::Right, Part::RightVessels), (Side::Left, Part::LeftVessels)] {
            let mut draw = Stream::new(phantom.seed, phantom.index, part.purpose());
            let hilum_y = anatomy.hilum(side);
            let hilum_u = anatomy.mediastinum + 0.028;
            for _ in 0..5 {
                let (du, dy) = (draw.between(-0.01, 0.03), draw.between(-0.045, 0.06));
                let radius = draw.between(0.018, 0.032);
                self.stamp(anatomy, side, [hilum_u + du, hilum_y + dy], radius, 0.06);
            }
            for number in 0..13 {
                // Directions fan out from straight up to straight down, crowding towards the base.
                let share = (number as f32 + draw.uniform() as f32) / 13.0;
                let direction = [0.25 + draw.between(0.0, 0.9) * (1.0 - (2.0 * share - 1.0).abs()), 1.9 * share - 0.85];
                let length = (direction[0] * direction[0] + direction[1] * direction[1]).sqrt().max(0.2);
                let heading = [direction[0] / length, direction[1] / length];
                let start = [hilum_u + draw.between(-0.005, 0.015), hilum_y + 0.035 * heading[1]];
                self.vessel(anatomy, side, &mut draw, start, heading, draw_radius(share), 2);
            }
        }
    }

    /// One vessel and its branches.
    #[expect(clippy::too_many_arguments, reason = "a vessel is where it starts, where to and how thick")]
    fn vessel(
        &mut self,
        anatomy: &Anatomy,
        side: Side,
        draw: &mut Stream,
        start: [f32; 2],
        mut heading: [f32; 2],
        start_radius: f32,
        generations: u32,
    ) {
        let ([mut u, mut y], mut radius) = (start, start_radius);
        let bend = draw.between(-0.05, 0.05);
        let steps = 10 + (12.0 * draw.uniform()) as usize;
        for number in 0..steps {
            let stride = 0.7 * radius.max(0.006);
            u += heading[0] * stride;
            y += heading[1] * stride;
            // Rotate by the small angle `bend`, first order, and renormalise.
            let turned = [heading[0] - bend * heading[1], heading[1] + bend * heading[0]];
            let norm = (turned[0] * turned[0] + turned[1] * turned[1]).sqrt();
            heading = [turned[0] / norm, turned[1] / norm];
            radius *= 0.965;
            self.stamp(anatomy, side, [u, y], radius, 0.036 * (radius / 0.011).min(1.0));
            if generations > 0 && number + 1 == steps / 2 {
                let fork = draw.between(0.35, 0.7) * if draw.uniform() < 0.5 { -1.0 } else { 1.0 };
                let branch = [heading[0] - fork * heading[1], heading[1] + fork * heading[0]];
                let norm = (branch[0] * branch[0] + branch[1] * branch[1]).sqrt();
                let branch = [branch[0] / norm, branch[1] / norm];
                self.vessel(anatomy, side, draw, [u, y], branch, 0.85 * radius, generations - 1);
            }
        }
        if generations > 0 {
            self.vessel(anatomy, side, draw, [u, y], heading, 0.9 * radius, generations - 1);
        }
    }

    /// Adds a soft disc inside the lung, touching only the pixels it covers.
    fn stamp(&mut self, anatomy: &Anatomy, side: Side, [u, y]: [f32; 2], radius: f32, strength: f32) {
        let size = self.size as f32;
        // A disc thinner than a pixel spreads over one pixel and pales accordingly.
        let drawn = radius.max(1.0 / size);
        let strength = strength * radius / drawn;
        let x = anatomy.midline_at(y) + side.sign() * u;
        let range = |center: f32| {
            let low = ((center - drawn) * size).floor().max(0.0) as usize;
            let high = ((center + drawn) * size).ceil().clamp(0.0, size) as usize;
            low..high
        };
        for row in range(y) {
            let dy = (row as f32 + 0.5) / size - y;
            for column in range(x) {
                let dx = (column as f32 + 0.5) / size - x;
                let position = row * self.size + column;
                self.values[position] += self.lung[position] * strength * bump((dx * dx + dy * dy) / (drawn * drawn));
            }
        }
    }

    /// Ribs: loops around the chest, seen from the front. With the loop's angle t from the spine (0) round the side to
    /// the front, `u = width * sin t` and `y` descends with `1 - cos t`, so that the back part runs flat from the spine
    /// and both parts meet steeply at the chest wall.
    fn ribs(&mut self, anatomy: &Anatomy) {
        let size = self.size;
        let pixel = 1.0 / size as f32;
        for column in 0..size {
            for number in 0..11 {
                let top = anatomy.apex - 0.035 + number as f32 * anatomy.rib_spacing;
                let width = 0.02 + 0.0006 * number as f32;
                let middle = top + 0.4 * anatomy.rib_drop;
                let x = (column as f32 + 0.5) * pixel - anatomy.midline_at(middle);
                let u = x.abs();
                let reach = anatomy.outer_edge(middle).max(0.3 * anatomy.chest_half_width) + 0.008;
                if u >= reach || u < 0.5 * anatomy.spine {
                    continue;
                }
                let share = u / reach;
                let cosine = (1.0 - share * share).sqrt();
                let half = 0.5 * anatomy.rib_drop * (0.55 + 0.05 * number as f32);
                // dy/du = half * share / (reach * cosine): bands widen vertically where the rib runs steeply.
                let slope = half * share / (reach * cosine.max(0.12));
                let steep = (1.0 + slope * slope).sqrt();
                // Rays graze the rib at the chest wall and pass through more bone.
                let grazing = 1.0 + 0.35 * share * share * share;
                let near_spine = step(u - anatomy.spine, 0.02);
                let back = top + half * (1.0 - cosine) - 0.02 * share * (1.0 - share);
                self.band(column, back, width * steep, 0.085 * anatomy.bone * grazing * (0.4 + 0.6 * near_spine));
                if (1..8).contains(&number) {
                    // The front part descends further and ends in cartilage, which is not seen.
                    let front = top + half * (1.0 + cosine) + 0.16 * (1.0 - share);
                    let visible = step(share - 0.5, 0.1);
                    self.band(column, front, 1.1 * width * steep, 0.055 * anatomy.bone * visible);
                }
            }
        }
    }

    /// Adds one column of a bone's band: a body with denser rims, as cortical bone shows.
    fn band(&mut self, column: usize, center: f32, height: f32, strength: f32) {
        let size = self.size as f32;
        let half = 0.5 * height;
        let soft = (0.22 * half).max(0.6 / size);
        let from = ((center - half - soft) * size).floor().max(0.0) as usize;
        let to = ((center + half + soft) * size).ceil().clamp(0.0, size) as usize;
        for row in from..to {
            let distance = ((row as f32 + 0.5) / size - center).abs();
            let inside = step(half - distance, soft);
            let rim = bump(((distance - 0.82 * half) / (0.3 * half).max(1.0 / size)).powi(2));
            let position = row * self.size + column;
            // Bone over dense tissue shows less: scatter and the detector's curve flatten it.
            let contrast = 0.45 + 0.55 * self.lung[position];
            self.values[position] += strength * contrast * (0.62 * inside + 0.45 * rim * inside);
        }
    }

    /// Collar bones: gently S-shaped, rising outwards from the breastbone.
    fn clavicles(&mut self, anatomy: &Anatomy) {
        let size = self.size;
        for column in 0..size {
            let x = (column as f32 + 0.5) / size as f32 - anatomy.midline_at(0.15);
            let u = x.abs();
            let share = (u - 0.045) / 0.36;
            if !(0.0..=1.0).contains(&share) {
                continue;
            }
            let s_shape = share * (1.0 - share) * (1.0 - 2.0 * share);
            let center = anatomy.apex + 0.105 - 0.1 * share + 0.16 * s_shape;
            let thickness = 0.026 + 0.016 * (2.0 * share - 1.0).powi(2);
            let ends = step(share, 0.03) * step(1.0 - share, 0.05);
            self.band(column, center, thickness, 0.15 * anatomy.bone * ends);
        }
    }

    /// Unevenness of tissue: smooth noise of four sizes.
    fn texture(&mut self, phantom: &Phantom) {
        let size = self.size;
        for (octave, (cells, strength)) in (0..).zip([(5, 0.035), (11, 0.022), (25, 0.014), (57, 0.009)]) {
            let purpose = Purpose::Phantom(Part::Texture as u16 + octave);
            let knots = random::uniforms(phantom.seed, phantom.index, purpose, (cells + 1) * (cells + 1));
            let knots: Vec<f32> = knots.into_iter().map(|knot| (2.0 * knot - 1.0) as f32).collect();
            let scale = cells as f32 / size as f32;
            let axis: Vec<(usize, f32)> = (0..size)
                .map(|position| {
                    let place = (position as f32 + 0.5) * scale;
                    let cell = (place as usize).min(cells - 1);
                    let t = place - cell as f32;
                    (cell, t * t * (3.0 - 2.0 * t))
                })
                .collect();
            for (row, &(cell_row, down)) in axis.iter().enumerate() {
                for (column, &(cell_column, right)) in axis.iter().enumerate() {
                    let knot = cell_row * (cells + 1) + cell_column;
                    let upper = knots[knot] + (knots[knot + 1] - knots[knot]) * right;
                    let next = knot + cells + 1;
                    let lower = knots[next] + (knots[next + 1] - knots[next]) * right;
                    let value = &mut self.values[row * size + column];
                    // Air has no texture: it scales with what is absorbed.
                    *value += strength * (upper + (lower - upper) * down) * value.clamp(0.0, 1.0);
                }
            }
        }
    }
}

/// What is the same along one row of one side.
struct SideRow {
    inner: f32,
    heart: f32,
    /// Lengths of the outlines per row, which turn horizontal distances into distances to the outline.
    inner_slope: f32,
    outer_slope: f32,
}

impl SideRow {
    fn new(anatomy: &Anatomy, side: Side, y: f32) -> Self {
        const DELTA: f32 = 0.004;
        let steepness = |edge: &dyn Fn(f32) -> f32| {
            let slope = (edge(y + DELTA) - edge(y - DELTA)) / (2.0 * DELTA);
            (1.0 + slope * slope).sqrt()
        };
        Self {
            inner: anatomy.inner_edge(side, y),
            heart: anatomy.heart_edge(side, y),
            inner_slope: steepness(&|y| anatomy.inner_edge(side, y)),
            outer_slope: steepness(&|y| anatomy.outer_edge(y)),
        }
    }
}

/// 1 in the middle of a vertebral body, 0 in the disc between two.
fn disc_profile(y: f32, spacing: f32) -> f32 {
    let phase = y / (0.95 * spacing);
    let t = 2.0 * (phase - phase.floor()) - 1.0;
    step(0.72 - t.abs(), 0.14)
}

/// Vessels to the base are wider than those to the apex.
fn draw_radius(share: f32) -> f32 {
    0.0075 + 0.0045 * share
}
