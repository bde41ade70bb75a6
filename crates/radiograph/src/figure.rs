//! Grids of pictures with titles, row labels, captions and coloured borders, for sample grids during training,
//! `generate --figure` and segmentation overlays.
//!
//! Text comes from an embedded 8 x 8 bitmap font, so that a figure needs no fonts and looks the same everywhere.

use std::path::Path;

use font8x8::UnicodeFonts as _;

use crate::resample::resize_box;
use crate::{Fit, WriteError, encode_png_rgb};

/// Side of a character cell of the font.
const CELL: usize = 8;
/// Vertical distance of text lines, at scale 1.
const LINE: usize = CELL + 3;
const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];

/// An RGB picture, 8 bit per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` values, row-major, channels interleaved.
    pub data: Vec<u8>,
}

impl RgbImage {
    /// A picture in one colour.
    pub fn filled(height: usize, width: usize, color: [u8; 3]) -> Self {
        Self { width, height, data: color.repeat(height * width) }
    }

    /// A picture from grey pixels (`height * width`).
    ///
    /// # Errors
    /// [`WriteError::Dimensions`] where the number of pixels does not fit.
    pub fn from_grey(pixels: &[u8], height: usize, width: usize) -> Result<Self, WriteError> {
        if height.checked_mul(width) != Some(pixels.len()) {
            return Err(WriteError::Dimensions { values: pixels.len(), height, width, channels: 1 });
        }
        Ok(Self { width, height, data: pixels.iter().flat_map(|&pixel| [pixel; 3]).collect() })
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Errors
    /// [`WriteError::Dimensions`] for a picture without pixels.
    pub fn encode_png(&self) -> Result<Vec<u8>, WriteError> {
        encode_png_rgb(&self.data, self.height, self.width)
    }

    /// Writes the picture as a PNG file, atomically.
    ///
    /// # Errors
    /// [`WriteError`] where there are no pixels or the file system refuses.
    pub fn write_png(&self, path: &Path) -> Result<(), WriteError> {
        Ok(files::write_file(path, &self.encode_png()?)?)
    }

    /// The picture fitted into a square of `size`, aspect kept, on black. Whole enlargements repeat pixels, so that
    /// small images show what they are; anything else is resized with the antialiased filter.
    fn fitted(&self, size: usize) -> Self {
        if (self.height, self.width) == (size, size) {
            return self.clone();
        }
        let mut out = Self::filled(size, size, [0; 3]);
        if self.height == 0 || self.width == 0 || size == 0 {
            return out;
        }
        let geometry = Fit::Pad.geometry(self.height, self.width, size);
        let [top, left, height, width] = geometry.target;
        let whole = height.is_multiple_of(self.height) && width.is_multiple_of(self.width);
        for channel in 0..3 {
            let plane: Vec<f32> = self.data.iter().skip(channel).step_by(3).map(|&v| f32::from(v) / 255.0).collect();
            let inner = if whole {
                let (rows, columns) = (height / self.height, width / self.width);
                (0..height * width).map(|i| plane[i / width / rows * self.width + i % width / columns]).collect()
            } else {
                resize_box(&plane, [self.height, self.width], geometry.source, [height, width])
            };
            for (i, value) in inner.iter().enumerate() {
                let position = (top + i / width) * size + left + i % width;
                out.data[position * 3 + channel] = (value * 255.0).round() as u8;
            }
        }
        out
    }

    /// Copies a picture onto this one with its top left corner at `[row, column]`; what sticks out is cut off.
    fn paste(&mut self, picture: &Self, [top, left]: [usize; 2]) {
        let columns = picture.width.min(self.width.saturating_sub(left));
        for row in 0..picture.height.min(self.height.saturating_sub(top)) {
            let source = &picture.data[row * picture.width * 3..][..columns * 3];
            self.data[((top + row) * self.width + left) * 3..][..columns * 3].copy_from_slice(source);
        }
    }

    /// Fills the rectangle from `[row, column]` of `[height, width]`; what sticks out is cut off.
    fn fill(&mut self, corner: [usize; 2], [height, width]: [usize; 2], color: [u8; 3]) {
        self.paste(&Self::filled(height, width, color), corner);
    }

    /// Writes one line of text with its top left corner at `[row, column]`. Characters that the font lacks become `?`.
    fn text(&mut self, text: &str, [top, left]: [usize; 2], scale: usize) {
        for (position, character) in text.chars().enumerate() {
            let glyph = font8x8::BASIC_FONTS.get(character).or_else(|| font8x8::LATIN_FONTS.get(character));
            let glyph = glyph.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default();
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..CELL).filter(|column| bits >> column & 1 == 1) {
                    let corner = [top + row * scale, left + (position * CELL + column) * scale];
                    self.fill(corner, [scale, scale], INK);
                }
            }
        }
    }
}

/// The frame around a tile: says at a glance which pictures are real and which are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// No frame: a generated image.
    #[default]
    None,
    /// Blue: a source, or the first end of an interpolation.
    Source,
    /// Orange: the second end of an interpolation.
    Target,
    /// Any other colour.
    Color([u8; 3]),
}

impl Border {
    fn color(self) -> [u8; 3] {
        match self {
            Self::None => PAPER,
            Self::Source => [31, 119, 210],
            Self::Target => [240, 128, 16],
            Self::Color(color) => color,
        }
    }
}

struct Tile {
    picture: RgbImage,
    caption: String,
    border: Border,
}

struct Row {
    label: String,
    tiles: Vec<Tile>,
}

/// A grid of square tiles, filled row by row.
///
/// ```
/// use radiograph::{Border, Grid};
///
/// let mut grid = Grid::new(64).columns(3).title("Reconstructions").column_titles(["source", "1", "2"]);
/// for patient in 0..2 {
///     grid.start_row(format!("image {patient}"));
///     grid.push_grey(&[40; 64 * 64], 64, 64, "real", Border::Source)?;
///     for seed in 0..2 {
///         grid.push_grey(&[90; 64 * 64], 64, 64, format!("seed {seed}"), Border::None)?;
///     }
/// }
/// let png = grid.render().encode_png()?;
/// # assert!(png.len() > 100);
/// # Ok::<(), radiograph::WriteError>(())
/// ```
pub struct Grid {
    tile_size: usize,
    columns: usize,
    gap: usize,
    title: String,
    column_titles: Vec<String>,
    rows: Vec<Row>,
}

impl Grid {
    /// A grid of tiles of `tile_size` pixels (at least 8). Other pictures are fitted into that square.
    pub fn new(tile_size: usize) -> Self {
        let tile_size = tile_size.max(CELL);
        Self {
            tile_size,
            columns: 8,
            gap: (tile_size / 24).max(3),
            title: String::new(),
            column_titles: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Tiles per row, after which a new row begins by itself; default 8, at least 1.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns.max(1);
        self
    }

    /// Distance between tiles in pixels; default a 24th of the tile, at least 3.
    pub fn gap(mut self, gap: usize) -> Self {
        self.gap = gap;
        self
    }

    /// A line above the whole figure.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Titles above the columns, from the left; those beyond the number of columns are not shown.
    pub fn column_titles<S: Into<String>>(mut self, titles: impl IntoIterator<Item = S>) -> Self {
        self.column_titles = titles.into_iter().map(Into::into).collect();
        self
    }

    /// Begins a new row with a label at its left; the row before it stays as long as it is.
    pub fn start_row(&mut self, label: impl Into<String>) {
        self.rows.push(Row { label: label.into(), tiles: Vec::new() });
    }

    /// Adds a picture to the current row, with a caption below (empty for none) and a frame.
    pub fn push(&mut self, picture: RgbImage, caption: impl Into<String>, border: Border) {
        if self.rows.last().is_none_or(|row| row.tiles.len() >= self.columns) {
            self.start_row("");
        }
        let tile = Tile { picture, caption: caption.into(), border };
        if let Some(row) = self.rows.last_mut() {
            row.tiles.push(tile);
        }
    }

    /// Adds a grey picture (`height * width`); otherwise as [`Grid::push`].
    ///
    /// # Errors
    /// [`WriteError::Dimensions`] where the number of pixels does not fit.
    pub fn push_grey(
        &mut self,
        pixels: &[u8],
        height: usize,
        width: usize,
        caption: impl Into<String>,
        border: Border,
    ) -> Result<(), WriteError> {
        self.push(RgbImage::from_grey(pixels, height, width)?, caption, border);
        Ok(())
    }

    /// Draws the figure on white. A grid without tiles is a small white picture.
    pub fn render(&self) -> RgbImage {
        let (tile, gap) = (self.tile_size, self.gap);
        let scale = (tile / 192).max(1);
        let (cell, line) = (CELL * scale, LINE * scale);
        let frame = (tile / 48).max(2);
        let outer = tile + 2 * frame;
        let shown = self.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0);

        // Captions wrap to the tile, labels to a margin of at most 16 characters.
        let characters = outer / cell;
        let label_characters = self.rows.iter().map(|row| longest_word(&row.label)).max().unwrap_or(0).min(16);
        let margin = if label_characters == 0 { gap } else { gap + label_characters * cell + gap };
        let captions: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.tiles.iter().map(|tile| wrap(&tile.caption, characters)).collect())
            .collect();
        let caption_lines = |row: &Vec<Vec<String>>| row.iter().map(Vec::len).max().unwrap_or(0);
        let titles: Vec<Vec<String>> = self.column_titles.iter().take(shown).map(|t| wrap(t, characters)).collect();
        let title_lines = titles.iter().map(Vec::len).max().unwrap_or(0);
        let heading = if self.title.is_empty() { 0 } else { line + gap };

        let width = (margin + shown * (outer + gap)).max(gap * 2 + self.title.chars().count() * cell);
        let row_height = |lines: usize| outer + gap + lines * line;
        let top = gap + heading + title_lines * line;
        let height = top + captions.iter().map(|row| row_height(caption_lines(row))).sum::<usize>() + gap;
        let mut figure = RgbImage::filled(height, width, PAPER);

        figure.text(&self.title, [gap, gap], scale);
        let left_of = |column: usize| margin + column * (outer + gap);
        let centred = |text: &str| outer.saturating_sub(text.chars().count() * cell) / 2;
        for (column, lines) in titles.iter().enumerate() {
            let skipped = title_lines - lines.len();
            for (number, text) in lines.iter().enumerate() {
                let row = gap + heading + (skipped + number) * line;
                figure.text(text, [row, left_of(column) + centred(text)], scale);
            }
        }
        let mut row_top = top;
        for (row, row_captions) in self.rows.iter().zip(&captions) {
            let labels = wrap(&row.label, label_characters.max(1));
            let label_top = row_top + (outer.saturating_sub(labels.len() * line)) / 2;
            for (number, text) in labels.iter().enumerate().take(outer / line) {
                figure.text(text, [label_top + number * line, gap], scale);
            }
            for (column, (item, lines)) in row.tiles.iter().zip(row_captions).enumerate() {
                let left = left_of(column);
                figure.fill([row_top, left], [outer, outer], item.border.color());
                figure.paste(&item.picture.fitted(tile), [row_top + frame, left + frame]);
                for (number, text) in lines.iter().enumerate() {
                    let corner = [row_top + outer + 2 * scale + number * line, left + centred(text)];
                    figure.text(text, corner, scale);
                }
            }
            row_top += row_height(caption_lines(row_captions));
        }
        figure
    }
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
}

/// Breaks text at spaces into lines of at most `characters`; a longer word is broken within.
fn wrap(text: &str, characters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (number, piece) in letters.chunks(characters.max(1)).enumerate() {
            match lines.last_mut() {
                Some(line) if number == 0 && line.chars().count() + 1 + piece.len() <= characters => {
                    line.push(' ');
                    line.extend(piece);
                }
                _ => lines.push(piece.iter().collect()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color_at(picture: &RgbImage, row: usize, column: usize) -> [u8; 3] {
        let start = (row * picture.width + column) * 3;
        [picture.data[start], picture.data[start + 1], picture.data[start + 2]]
    }

    #[test]
    fn text_wraps_at_words() {
        assert_eq!(wrap("seed 12 of 40", 7), ["seed 12", "of 40"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert!(wrap("", 4).is_empty());
    }

    #[test]
    fn tiles_lie_where_they_should() {
        let mut grid = Grid::new(16).columns(2).gap(4);
        for (value, border) in [(10, Border::Source), (20, Border::None), (30, Border::Color([1, 2, 3]))] {
            grid.push_grey(&[value; 256], 16, 16, "", border).unwrap();
        }
        let figure = grid.render();
        // Gap 4, frame 2, tile 16: tiles begin at 6 and every 24.
        assert_eq!((figure.width, figure.height), (4 + 2 * 24, 4 + 2 * 24 + 4));
        assert_eq!(color_at(&figure, 4, 4), Border::Source.color());
        assert_eq!(color_at(&figure, 6, 6), [10; 3]);
        assert_eq!(color_at(&figure, 6, 30), [20; 3]);
        assert_eq!(color_at(&figure, 28, 4), [1, 2, 3]);
        assert_eq!(color_at(&figure, 45, 21), [30; 3]);
        assert_eq!(color_at(&figure, 40, 40), PAPER);
    }

    #[test]
    fn words_leave_ink() {
        let ink = |grid: &Grid| grid.render().data.chunks(3).filter(|pixel| *pixel == INK).count();
        let mut plain = Grid::new(32).columns(1);
        plain.push(RgbImage::filled(32, 32, [200; 3]), "", Border::None);
        assert_eq!(ink(&plain), 0);
        let mut captioned = Grid::new(32).columns(1).title("Title").column_titles(["a"]);
        captioned.start_row("row");
        captioned.push(RgbImage::filled(32, 32, [200; 3]), "r = 0.5 \u{3b1}", Border::None);
        assert!(ink(&captioned) > 100);
    }

    #[test]
    fn other_sizes_are_fitted() {
        let checker = RgbImage::from_grey(&[0, 255, 255, 0], 2, 2).unwrap();
        let large = checker.fitted(4);
        assert_eq!(color_at(&large, 0, 1), [0; 3]);
        assert_eq!(color_at(&large, 1, 2), [255; 3]);
        let wide = RgbImage::filled(10, 30, [255; 3]).fitted(12);
        assert_eq!((color_at(&wide, 0, 0), color_at(&wide, 6, 6)), ([0; 3], [255; 3]));
        assert_eq!(Grid::new(64).render().width, 6);
    }
}
