//! Where the content of a picture lies, without borders that show nothing: collimation margins, scanner frames.
//!
//! A border is told from a dark lung or a white abdomen by three things: its lines, from the edge of the picture inwards,
//! have one level, which is about the darkest or brightest of the picture; letters in it cover few of a line's pixels; and
//! it ends at an edge, where content begins within a few lines. Several may lie around one another, as a white frame
//! around a black margin.

use crate::Radiograph;

/// The most of a side that borders may take, from each end.
const MAX_SHARE: f64 = 0.3;
/// The least of a side that is worth taking off.
const MIN_SHARE: f64 = 0.005;
/// How far from a border's level its pixels may be: noise and compression. In shares of the picture's range.
const TOLERANCE: f32 = 0.04;
/// How far from the darkest or brightest a border's level may be. In shares of the picture's range.
const EXTREME: f32 = 0.1;
/// The share of a line's pixels that have the level of the border that the line belongs to.
const PLAIN: f32 = 0.9;
/// The same, for lines with letters and markers, which plain ones follow.
const LETTERED: f32 = 0.6;
/// Content begins within this share of a side, which allows for film that lies a few degrees askew...
const EDGE: f64 = 0.03;
/// ...and there this share of a line's pixels at least is [`DISTINCT`] from the border's level.
const CONTENT: f32 = 0.5;
/// How far content is from a border's level. In shares of the picture's range.
const DISTINCT: f32 = 0.1;
/// Borders around one another that are looked for.
const MAX_BORDERS: usize = 4;
/// Spread of brightness below which a picture is flat, and nothing in it is a border.
const FLAT: f32 = 0.1;

/// `[top, left, height, width]` of what is inside the borders of a picture, in pixels: the whole picture where no border
/// is clear. Black air beside a patient counts as a border where the body ends steeply.
pub fn content_box(picture: &Radiograph) -> [usize; 4] {
    let mut inside = Inside { picture, from: [0, 0], to: [picture.height, picture.width] };
    if let Some(range) = usual_range(&picture.pixels) {
        for _ in 0..MAX_BORDERS {
            let before = (inside.from, inside.to);
            for axis in [0, 1] {
                inside.from[axis] += inside.border(axis, false, range);
                inside.to[axis] -= inside.border(axis, true, range);
            }
            if (inside.from, inside.to) == before {
                break;
            }
        }
    }
    let [top, left] = inside.from;
    [top, left, inside.to[0] - top, inside.to[1] - left]
}

/// The values between which all but a percent of the pixels lie; none for a flat picture.
fn usual_range(pixels: &[f32]) -> Option<[f32; 2]> {
    /// Pixels that are looked at: enough for percentiles.
    const SAMPLES: usize = 100_000;
    let mut sample: Vec<f32> = pixels.iter().step_by(pixels.len() / SAMPLES + 1).copied().collect();
    sample.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| sample.get(((sample.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    let range = [at(0.005), at(0.995)];
    (range[1] - range[0] >= FLAT).then_some(range)
}

/// What is left of a picture: rows (axis 0) and columns (axis 1) from one up to another.
struct Inside<'a> {
    picture: &'a Radiograph,
    from: [usize; 2],
    to: [usize; 2],
}

impl Inside<'_> {
    /// The pixels of a row or column, counted from one end of an axis.
    fn line(&self, axis: usize, at_end: bool, number: usize) -> impl Iterator<Item = f32> + '_ {
        let line = if at_end { self.to[axis] - 1 - number } else { self.from[axis] + number };
        let across = 1 - axis;
        let width = self.picture.width;
        let place = move |position: usize| if axis == 0 { line * width + position } else { position * width + line };
        (self.from[across]..self.to[across]).map(move |position| self.picture.pixels[place(position)])
    }

    /// The number of lines of the outermost border at one end of an axis.
    fn border(&self, axis: usize, at_end: bool, [low, high]: [f32; 2]) -> usize {
        let side = [self.picture.height, self.picture.width][axis];
        let taken = if at_end { side - self.to[axis] } else { self.from[axis] };
        let limit = ((side as f64 * MAX_SHARE) as usize).saturating_sub(taken);
        let edge = ((side as f64 * EDGE).ceil() as usize).max(3);
        let least = ((side as f64 * MIN_SHARE) as usize).max(2);
        if limit < least || self.to[axis] - self.from[axis] <= limit + edge {
            return 0;
        }
        let mut outermost: Vec<f32> = self.line(axis, at_end, 0).collect();
        let middle = outermost.len() / 2;
        let level = *outermost.select_nth_unstable_by(middle, f32::total_cmp).1;
        let span = high - low;
        if level > low + EXTREME * span && level < high - EXTREME * span {
            return 0;
        }
        let share = |number: usize, tolerance: f32| {
            let near = |&value: &f32| (value - level).abs() <= tolerance * span;
            self.line(axis, at_end, number).filter(near).count() as f32 / outermost.len() as f32
        };
        // The last plain line with no line of content before it.
        let mut border = 0;
        for number in 0..=limit {
            let share = share(number, TOLERANCE);
            if share >= PLAIN {
                border = number + 1;
            } else if share < LETTERED {
                break;
            }
        }
        let is_clear = (least..=limit).contains(&border)
            && (border..border + edge).any(|line| share(line, DISTINCT) <= 1.0 - CONTENT);
        if is_clear { border } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phantom;

    /// A phantom's picture, scaled into `0.1..=0.9`, without borders of its own.
    fn content(height: usize, width: usize) -> Vec<f32> {
        let size = height.max(width);
        let phantom = Phantom::from_seed(3, 0).render(size).radiograph;
        (0..height * width).map(|at| 0.15 + 0.7 * phantom.pixels[at / width * size + at % width]).collect()
    }

    /// A picture with borders of a level at its top, bottom, left and right, all with noise.
    fn framed(borders: [usize; 4], level: f32) -> Radiograph {
        let (height, width) = (300, 260);
        let [top, bottom, left, right] = borders;
        let (inner_height, inner_width) = (height - top - bottom, width - left - right);
        let inner = content(inner_height, inner_width);
        let pixels = (0..height * width)
            .map(|at| {
                let (row, column) = (at / width, at % width);
                let is_inside = (top..height - bottom).contains(&row) && (left..width - right).contains(&column);
                let value = if is_inside { inner[(row - top) * inner_width + column - left] } else { level };
                value + 0.01 * (at * 7919 % 100) as f32 / 100.0
            })
            .collect();
        Radiograph::from_pixels(pixels, height, width).unwrap()
    }

    #[test]
    fn black_and_white_borders_are_found_to_the_line() {
        for level in [0.0, 1.0] {
            for borders in [[20, 0, 0, 0], [0, 33, 0, 0], [0, 0, 12, 0], [0, 0, 0, 60], [15, 40, 22, 9]] {
                let [top, bottom, left, right] = borders;
                let expected = [top, left, 300 - top - bottom, 260 - left - right];
                assert_eq!(content_box(&framed(borders, level)), expected, "{borders:?} {level}");
            }
        }
    }

    #[test]
    fn letters_in_a_border_do_not_keep_it() {
        let mut picture = framed([40, 0, 30, 0], 0.0);
        // Strokes over a third of the rows 10 to 25.
        for row in 10..25 {
            for column in (40..200).filter(|column| column % 9 < 4) {
                picture.pixels[row * 260 + column] = 1.0;
            }
        }
        assert_eq!(content_box(&picture), [40, 30, 260, 230]);
    }

    #[test]
    fn a_frame_around_a_margin_goes_with_it() {
        let mut picture = framed([40, 40, 40, 40], 0.0);
        for at in 0..picture.pixels.len() {
            let (row, column) = (at / 260, at % 260);
            if !(8..292).contains(&row) || !(8..252).contains(&column) {
                picture.pixels[at] = 1.0;
            }
        }
        assert_eq!(content_box(&picture), [40, 40, 220, 180]);
    }

    #[test]
    fn nothing_is_taken_where_nothing_is_clear() {
        let whole = |picture: &Radiograph| [0, 0, picture.height, picture.width];
        for picture in [
            framed([0, 0, 0, 0], 0.0),
            // A grey that the content has too; more than may be a border.
            framed([20, 20, 20, 20], 0.5),
            framed([110, 0, 0, 0], 0.0),
            Radiograph::from_pixels(vec![0.0; 900], 30, 30).unwrap(),
            Radiograph::from_pixels(vec![0.7; 1], 1, 1).unwrap(),
            Radiograph::from_pixels(vec![0.0, 1.0, 0.0, 1.0], 2, 2).unwrap(),
            // A slow slope out of the dark: no edge.
            Radiograph::from_pixels((0..90_000).map(|at| (at / 300) as f32 / 300.0).collect(), 300, 300).unwrap(),
        ] {
            assert_eq!(content_box(&picture), whole(&picture));
        }
        for seed in 0..20 {
            let picture = Phantom::from_seed(seed, 0).render(192).radiograph;
            let [_, _, height, width] = content_box(&picture);
            assert!(height * width * 10 >= 192 * 192 * 9, "phantom {seed}: {height} x {width}");
        }
    }
}
