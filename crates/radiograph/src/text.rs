//! Text in the corners of a picture, found and painted over: names and dates are sometimes burned in there.
//!
//! What counts as text are small parts that stand out of what lies around them, bright or dark, with edges as steep as
//! letters have and tissue seldom does. Several thresholds are gone through, so that a letter over a bone is found apart
//! from it. Parts in a row become a line, which is followed to its end where it leaves the corner: half of a name is too
//! much. Whole rectangles are painted over and not letters alone, whose outlines would still be read. Markers of the side
//! are text too, and so is now and then the edge of a bone or a cable: what is hidden goes before what is beautiful. There
//! is no guarantee: faint text, text over anatomy away from the corners, and letters of more than a tenth of the picture
//! stay.

use crate::Radiograph;

/// Corners reach so far along the height and the width of the picture...
const CORNER: [f64; 2] = [0.20, 0.30];
/// ...and strips at its top and bottom so far from each corner.
const STRIP: [f64; 2] = [0.08, 0.45];
/// What goes on beyond is seen as far as this share of a side; across, all of the picture's width is.
const BEYOND: f64 = 0.06;
/// Strokes are thinner than this share of the longer side, and than at least [`THINNEST`] pixels.
const STROKE: f64 = 0.016;
/// The least width in pixels of what strokes are told from.
const THINNEST: usize = 5;
/// How far above what lies around them pixels stand, for the three passes.
const LEVELS: [f32; 3] = [0.12, 0.25, 0.5];
/// How far the brightest pixel of a letter does.
const CONTRAST: f32 = 0.25;
/// How far apart neighbours are at the steepest place of a letter's outline...
const STEEPEST: f32 = 0.2;
/// ...and at half of its outline at least, in shares of the contrast.
const STEEP: f32 = 0.3;
/// The greatest height and width of a part, in shares of the longer side: a letter, and letters that touch.
const GREATEST: [f64; 2] = [0.09, 0.25];
/// The least share of its rectangle that a part fills: cables and edges fill less.
const FILLED: f64 = 0.12;
/// Parts whose distance is at most so many of their heights are in one line.
const GAP: usize = 2;
/// Parts that make a line of text, at whose ends more is to be expected.
const LINE: usize = 3;
/// The greatest height of a line that is followed beyond a corner, in shares of the longer side: what is higher is more
/// often a row of bones than text.
const FOLLOWED: f64 = 0.06;
/// How much higher a line may be than the highest of its parts, as a fraction.
const HIGHER: [usize; 2] = [8, 5];

/// Parts of a picture beyond which there is no text but texture: then each is painted over for itself.
const MOST: usize = 2000;

/// A rectangle: rows and columns from the first up to the second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Area {
    fn height(&self) -> usize {
        self.rows[1] - self.rows[0]
    }

    fn width(&self) -> usize {
        self.columns[1] - self.columns[0]
    }
}

/// Paints over what looks like text in the corners of a picture, with the median of what lies around, and returns the
/// number of rectangles that were painted. Lines of text that begin in a corner and go on beyond it are painted over to
/// their ends.
pub fn mask_corner_text(picture: &mut Radiograph) -> usize {
    let (height, width) = (picture.height, picture.width);
    let parts = windows(height, width).into_iter().flat_map(|window| parts_of(picture, window));
    // The windows reach beyond the corners, and across the picture to one another.
    let (near, beyond): (Vec<_>, Vec<_>) = parts.partition(|part| {
        let [row, column] = [part.rows, part.columns].map(|[first, last]| (first + last) / 2);
        is_near_corner(row, column, height, width)
    });
    let mut lines = join(near);
    follow(&mut lines, &beyond, height.max(width));
    let areas = with_margins(&lines, height, width);
    paint(picture, &areas);
    areas.len()
}

/// The four corners with their strips and what lies a little beyond.
fn windows(height: usize, width: usize) -> [Area; 4] {
    let reach = |length: usize, share: f64| ((length as f64 * (share + BEYOND)).ceil() as usize).clamp(1, length);
    let (down, across) = (reach(height, CORNER[0]), reach(width, STRIP[1]));
    let (rows, columns) = ([[0, down], [height - down, height]], [[0, across], [width - across, width]]);
    [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[row, column]| Area { rows: rows[row], columns: columns[column] })
}

/// Whether a place lies in a corner or strip.
fn is_near_corner(row: usize, column: usize, height: usize, width: usize) -> bool {
    let share = |at: usize, length: usize| at.min(length - 1 - at) as f64 / length as f64;
    let place = [share(row, height), share(column, width)];
    [CORNER, STRIP].iter().any(|reach| place[0] < reach[0] && place[1] < reach[1])
}

/// Text-like parts within a window.
fn parts_of(picture: &Radiograph, window: Area) -> Vec<Area> {
    let side = picture.height.max(picture.width);
    let stroke = ((side as f64 * STROKE) as usize | 1).max(THINNEST);
    let [top, bottom] = window.rows;
    let [left, right] = window.columns;
    let (height, width) = (bottom - top, right - left);
    let mut plane: Vec<f32> = Vec::with_capacity(height * width);
    for row in top..bottom {
        plane.extend(&picture.pixels[row * picture.width + left..row * picture.width + right]);
    }
    let steps = steps(&plane, width);
    let mut found = Vec::new();
    for is_dark in [false, true] {
        if is_dark {
            plane.iter_mut().for_each(|value| *value = 1.0 - *value);
        }
        // The white top-hat: what is left of strokes when all that is as wide as the square is taken off.
        let smooth = opened(&plane, height, width, stroke / 2);
        let standing: Vec<f32> = plane.iter().zip(&smooth).map(|(value, smooth)| value - smooth).collect();
        for level in LEVELS {
            let parts = components(&standing, &steps, width, level);
            found.extend(parts.iter().filter(|part| part.is_like_text(side)).map(|part| Area {
                rows: part.area.rows.map(|row| row + top),
                columns: part.area.columns.map(|column| column + left),
            }));
        }
    }
    found
}

/// For each pixel, the greatest difference to one of its four neighbours.
fn steps(plane: &[f32], width: usize) -> Vec<f32> {
    let mut steps = vec![0.0_f32; plane.len()];
    let mut note = |first: usize, second: usize| {
        let difference = (plane[first] - plane[second]).abs();
        steps[first] = steps[first].max(difference);
        steps[second] = steps[second].max(difference);
    };
    for at in 0..plane.len() {
        if (at + 1) % width != 0 {
            note(at, at + 1);
        }
        if at + width < plane.len() {
            note(at, at + width);
        }
    }
    steps
}

/// The morphological opening by a square of `2 * radius + 1` pixels, which ends at the edges of the plane.
fn opened(plane: &[f32], height: usize, width: usize, radius: usize) -> Vec<f32> {
    let mut opened = plane.to_vec();
    for is_maximum in [false, true] {
        let pick = if is_maximum { f32::max } else { f32::min };
        let mut line = vec![0.0; width];
        for row in opened.chunks_exact_mut(width) {
            line.copy_from_slice(row);
            running(&line, radius, pick, |at, value| row[at] = value);
        }
        let mut line = vec![0.0; height];
        for column in 0..width {
            line.iter_mut().zip(opened.iter().skip(column).step_by(width)).for_each(|(to, from)| *to = *from);
            running(&line, radius, pick, |at, value| opened[at * width + column] = value);
        }
    }
    opened
}

/// The extreme of each value's neighbourhood, three comparisons a value whatever the radius (M. van Herk, "A fast
/// algorithm for local minimum and maximum filters on rectangular and octagonal kernels", 1992): blocks as long as the
/// neighbourhood, extremes from their beginnings and from their ends.
fn running(line: &[f32], radius: usize, pick: fn(f32, f32) -> f32, mut put: impl FnMut(usize, f32)) {
    let length = 2 * radius + 1;
    let (mut from_start, mut from_end) = (line.to_vec(), line.to_vec());
    for at in 1..line.len() {
        if at % length != 0 {
            from_start[at] = pick(from_start[at - 1], line[at]);
        }
    }
    for at in (0..line.len().saturating_sub(1)).rev() {
        if (at + 1) % length != 0 {
            from_end[at] = pick(from_end[at + 1], line[at]);
        }
    }
    for at in 0..line.len() {
        let (first, last) = (at.saturating_sub(radius), (at + radius).min(line.len() - 1));
        // Shorter neighbourhoods, at the ends, may lie within one block.
        let value = match (first / length == last / length, first % length == 0) {
            (false, _) => pick(from_end[first], from_start[last]),
            (true, true) => from_start[last],
            (true, false) if last + 1 == line.len() || (last + 1) % length == 0 => from_end[first],
            (true, false) => line[first..=last].iter().copied().fold(line[first], pick),
        };
        put(at, value);
    }
}

/// Pixels that stand out together, joined by sides and corners.
struct Component {
    area: Area,
    num_pixels: usize,
    contrast: f32,
    /// The steps along the outline.
    outline: Vec<f32>,
}

impl Component {
    fn is_like_text(&self, side: usize) -> bool {
        let (height, width) = (self.area.height(), self.area.width());
        let [highest, widest] = GREATEST.map(|share| side as f64 * share);
        let mut outline = self.outline.clone();
        outline.sort_unstable_by(f32::total_cmp);
        let usual = outline.get(outline.len() / 2).copied().unwrap_or(0.0);
        let steepest = outline.last().copied().unwrap_or(0.0);
        height.max(width) >= 3
            && height as f64 <= highest
            && width as f64 <= widest
            && self.contrast >= CONTRAST
            && steepest >= STEEPEST
            && usual >= STEEP * self.contrast
            && self.num_pixels as f64 >= FILLED * (height * width) as f64
    }
}

/// The components of the pixels that stand higher than a level.
fn components(standing: &[f32], steps: &[f32], width: usize, level: f32) -> Vec<Component> {
    let height = standing.len() / width;
    let is_high = |at: usize| standing[at] > level;
    let mut is_seen = vec![false; standing.len()];
    let (mut found, mut open) = (Vec::new(), Vec::new());
    for start in 0..standing.len() {
        if is_seen[start] || !is_high(start) {
            continue;
        }
        is_seen[start] = true;
        open.push(start);
        let [row, column] = [start / width, start % width];
        let mut component = Component {
            area: Area { rows: [row, row + 1], columns: [column, column + 1] },
            num_pixels: 0,
            contrast: 0.0,
            outline: Vec::new(),
        };
        while let Some(at) = open.pop() {
            let [row, column] = [at / width, at % width];
            let Area { rows, columns } = &mut component.area;
            *rows = [rows[0].min(row), rows[1].max(row + 1)];
            *columns = [columns[0].min(column), columns[1].max(column + 1)];
            component.num_pixels += 1;
            component.contrast = component.contrast.max(standing[at]);
            let mut is_outline = row == 0 || column == 0 || row + 1 == height || column + 1 == width;
            for near_row in row.saturating_sub(1)..(row + 2).min(height) {
                for near_column in column.saturating_sub(1)..(column + 2).min(width) {
                    let near = near_row * width + near_column;
                    if !is_high(near) {
                        is_outline |= near_row == row || near_column == column;
                    } else if !is_seen[near] {
                        is_seen[near] = true;
                        open.push(near);
                    }
                }
            }
            if is_outline {
                component.outline.push(steps[at]);
            }
        }
        found.push(component);
    }
    found
}

/// A row of parts as one rectangle, and how many there are, a part counting once however often it was found.
type Line = (Area, usize);

/// Lines of parts; each part is one for itself where there are so many that they are texture.
fn join(parts: Vec<Area>) -> Vec<Line> {
    let can_be_joined = parts.len() <= MOST;
    let mut lines: Vec<Line> = parts.into_iter().map(|part| (part, 1)).collect();
    let mut next = 0;
    while can_be_joined && next < lines.len() {
        let joined = (0..lines.len())
            .filter(|&other| other != next)
            .find_map(|other| joined(&lines[next].0, &lines[other].0).map(|joined| (other, joined)));
        let Some((other, (area, are_apart))) = joined else {
            next += 1;
            continue;
        };
        let (first, second) = (next.min(other), next.max(other));
        let (_, number) = lines.swap_remove(second);
        let line = &mut lines[first];
        *line = (area, if are_apart { line.1 + number } else { line.1.max(number) });
        // It may reach what it did not reach before.
        next = first;
    }
    lines
}

/// Lengthens lines by the parts beyond the corners that they lead to, from part to part. `side` is the longer one of the
/// picture.
fn follow(lines: &mut [Line], beyond: &[Area], side: usize) {
    if lines.len() > MOST || beyond.len() > MOST {
        return;
    }
    for (line, number) in lines.iter_mut().filter(|(line, _)| line.height() as f64 <= FOLLOWED * side as f64) {
        // Edges of ribs one above the other would lead ever further away.
        let highest = line.height() * HIGHER[0] / HIGHER[1];
        let grown = |line: &Area| {
            let mut joined = beyond.iter().filter_map(|part| joined(line, part));
            joined.find(|(area, _)| area != line && area.height() <= highest)
        };
        while let Some((area, are_apart)) = grown(line) {
            *line = area;
            *number += usize::from(are_apart);
        }
    }
}

/// Lines with the margin that letters' edges need.
fn with_margins(lines: &[Line], height: usize, width: usize) -> Vec<Area> {
    let grow = |[first, last]: [usize; 2], by: usize, end: usize| [first.saturating_sub(by), (last + by).min(end)];
    let margins = lines.iter().map(|(area, members)| {
        let (tall, wide) = (area.height(), area.width());
        let margin = 2 + tall.max(wide.min(2 * tall)) / 4;
        let ends = if *members >= LINE { margin.max(tall) } else { margin };
        Area { rows: grow(area.rows, margin, height), columns: grow(area.columns, ends, width) }
    });
    margins.collect()
}

/// The rectangle around two parts that overlap or are of one line of text, and whether they lie apart.
fn joined(first: &Area, second: &Area) -> Option<(Area, bool)> {
    let around = |[a, b]: [usize; 2], [c, d]: [usize; 2]| [a.min(c), b.max(d)];
    let area = Area { rows: around(first.rows, second.rows), columns: around(first.columns, second.columns) };
    let heights = [first.height(), second.height()];
    let [low, high] = [heights[0].min(heights[1]), heights[0].max(heights[1])];
    let overlap = (heights[0] + heights[1]).saturating_sub(area.height());
    let widths = first.width() + second.width();
    let gap = area.width().saturating_sub(widths);
    let are_apart = area.width() >= widths;
    // A line stays about as high as its parts.
    let is_even = overlap > 0 && HIGHER[1] * area.height() <= HIGHER[0] * high;
    let is_line = 2 * overlap >= low && high <= 2 * low && gap <= GAP * low;
    (is_even && (!are_apart || is_line)).then_some((area, are_apart))
}

/// Fills areas with the median of the pixels around them that lie in none of them.
fn paint(picture: &mut Radiograph, areas: &[Area]) {
    let (height, width) = (picture.height, picture.width);
    let mut is_inside = vec![false; if areas.is_empty() { 0 } else { height * width }];
    for area in areas {
        for row in area.rows[0]..area.rows[1] {
            is_inside[row * width + area.columns[0]..row * width + area.columns[1]].fill(true);
        }
    }
    let values: Vec<f32> = areas
        .iter()
        .map(|area| {
            // As wide a ring as shows what lies around.
            let ring = 2 + area.height() / 8;
            let rows = area.rows[0].saturating_sub(ring)..(area.rows[1] + ring).min(height);
            let columns = area.columns[0].saturating_sub(ring)..(area.columns[1] + ring).min(width);
            let mut around: Vec<f32> = Vec::new();
            for row in rows {
                let places = columns.clone().map(|column| row * width + column);
                around.extend(places.filter(|&at| !is_inside[at]).map(|at| picture.pixels[at]));
            }
            let middle = around.len() / 2;
            if around.is_empty() { 0.0 } else { *around.select_nth_unstable_by(middle, f32::total_cmp).1 }
        })
        .collect();
    for (area, value) in areas.iter().zip(values) {
        for row in area.rows[0]..area.rows[1] {
            picture.pixels[row * width + area.columns[0]..row * width + area.columns[1]].fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_those_of_their_definition() {
        let (height, width) = (23, 31);
        let plane: Vec<f32> = (0..height * width).map(|at| ((at * 7919) % 101) as f32 / 101.0).collect();
        for radius in [1, 2, 4, 30] {
            let extreme = |plane: &[f32], row: usize, column: usize, pick: fn(f32, f32) -> f32| {
                let rows = row.saturating_sub(radius)..(row + radius + 1).min(height);
                let columns = column.saturating_sub(radius)..(column + radius + 1).min(width);
                rows.flat_map(|row| columns.clone().map(move |column| plane[row * width + column]))
                    .reduce(pick)
                    .unwrap()
            };
            let places = || (0..height * width).map(|at| [at / width, at % width]);
            let eroded: Vec<f32> = places().map(|[row, column]| extreme(&plane, row, column, f32::min)).collect();
            let expected: Vec<f32> = places().map(|[row, column]| extreme(&eroded, row, column, f32::max)).collect();
            assert_eq!(opened(&plane, height, width, radius), expected, "radius {radius}");
        }
    }

    #[test]
    fn letters_in_a_row_become_a_line_and_others_stay_apart() {
        let letter = |column: usize| Area { rows: [10, 20], columns: [column, column + 7] };
        let far = Area { rows: [60, 70], columns: [10, 17] };
        let lines = with_margins(&join(vec![letter(10), letter(40), far, letter(20)]), 200, 300);
        // Ten high and long: a margin of seven, and ten at the ends of a line.
        assert_eq!(lines.len(), 2);
        assert!(lines.contains(&Area { rows: [3, 27], columns: [0, 57] }), "{lines:?}");
        assert!(lines.contains(&Area { rows: [56, 74], columns: [6, 21] }), "{lines:?}");
    }

    #[test]
    fn lines_are_followed_from_letter_to_letter() {
        let letter = |column: usize| Area { rows: [10, 20], columns: [column, column + 7] };
        // Letters a letter apart, one that is too far, one of another height, and one below.
        let tall = Area { rows: [10, 35], columns: [85, 100] };
        let below = Area { rows: [25, 35], columns: [45, 52] };
        let mut lines = vec![(Area { rows: [10, 20], columns: [10, 37] }, 3)];
        follow(&mut lines, &[letter(75), letter(59), below, letter(45), letter(130), tall], 300);
        assert_eq!(lines, [(Area { rows: [10, 20], columns: [10, 82] }, 6)]);
        // Bones are higher than letters.
        let mut lines = vec![(letter(10), 1)];
        follow(&mut lines, &[letter(20)], 100);
        assert_eq!(lines, [(letter(10), 1)]);
    }

    #[test]
    fn small_and_empty_pictures_are_left_alone() {
        for (height, width) in [(1, 1), (1, 7), (3, 2), (9, 9)] {
            let mut picture = Radiograph::from_pixels(vec![0.3; height * width], height, width).unwrap();
            assert_eq!(mask_corner_text(&mut picture), 0);
            assert!(picture.pixels.iter().all(|&pixel| pixel == 0.3));
        }
    }
}
