//! Self-attention maps of several resolutions, joined on the finest grid (Tian et al. 2023, "DiffSeg", section 3.2).

use crate::Grid;
use crate::error::{Error, check_not_negative, check_range, check_size};
use crate::upsample::{Bilinear, nearest};

/// One map for each token: where that token looks. Rows sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMaps {
    grid: Grid,
    values: Vec<f32>,
}

impl AttentionMaps {
    /// Maps of a single resolution; each row is divided by its sum.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Value`] for a negative or infinite value or NaN, [`Error::EmptyMap`].
    ///
    /// # Shapes
    /// - `values`: `[tokens, tokens]`, row `i` is where token `i` looks
    pub fn new(mut values: Vec<f32>, grid: Grid) -> Result<Self, Error> {
        check(&values, grid)?;
        for (token, map) in values.chunks_exact_mut(grid.tokens()).enumerate() {
            normalise(map, token, 1.0)?;
        }
        Ok(Self { grid, values })
    }

    /// The grid of both axes.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// `[tokens, tokens]`, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The maps without their grid.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// Sums up maps of several resolutions, one at a time: its memory is that of one set of maps on the finest grid,
/// `4 * tokens^2` bytes (67 MB at 64 x 64), however many are added.
///
/// Of each resolution, where a token looks is enlarged bilinearly and divided by its sum, whose token it is goes by the
/// nearest, and the weight of a resolution is its side (the root of its number of tokens) over the sum of all sides
/// added. For grids that are whole multiples of each other this is the published arithmetic; others work alike.
#[derive(Debug, Clone)]
pub struct Aggregator {
    finest: Grid,
    sum: Vec<f32>,
    weight: f64,
}

impl Aggregator {
    /// No maps yet, on the grid of the finest resolution that will be added.
    pub fn new(finest: Grid) -> Self {
        Self { finest, sum: vec![0.0; finest.tokens() * finest.tokens()], weight: 0.0 }
    }

    /// Adds the maps of one resolution: softmax self-attention, averaged over heads and blocks.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a grid finer than the finest, else as [`AttentionMaps::new`]; nothing is added then.
    ///
    /// # Shapes
    /// - `maps`: `[tokens, tokens]` of `grid`, row `i` is where token `i` looks
    pub fn add(&mut self, maps: &[f32], grid: Grid) -> Result<(), Error> {
        let finer = "at most that of the finest grid; make the aggregator with the finest resolution";
        check_range("height of the grid", grid.height as f64, grid.height <= self.finest.height, finer)?;
        check_range("width of the grid", grid.width as f64, grid.width <= self.finest.width, finer)?;
        check(maps, grid)?;
        let tokens = grid.tokens();
        if let Some(token) = maps.chunks_exact(tokens).position(|map| map.iter().all(|&value| value == 0.0)) {
            return Err(Error::EmptyMap { token });
        }
        let (finest, weight) = (self.finest, grid.resolution());
        let mut bilinear = Bilinear::new(grid, finest);
        let mut fine = vec![0.0; finest.tokens()];
        // Which fine tokens a coarse one stands for: a rectangle, since the nearest goes axis by axis.
        let rows = extents(grid.height, finest.height);
        let columns = extents(grid.width, finest.width);
        for (token, map) in maps.chunks_exact(tokens).enumerate() {
            bilinear.resample(map, &mut fine);
            normalise(&mut fine, token, weight)?;
            for row in rows[token / grid.width].clone() {
                for column in columns[token % grid.width].clone() {
                    let at = (row * finest.width + column) * finest.tokens();
                    self.sum[at..][..finest.tokens()].iter_mut().zip(&fine).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        self.weight += weight;
        Ok(())
    }

    /// The weighted mean of what was added; each row sums to 1.
    ///
    /// # Errors
    /// [`Error::Nothing`] when nothing was added.
    pub fn finish(mut self) -> Result<AttentionMaps, Error> {
        if self.weight == 0.0 {
            return Err(Error::Nothing);
        }
        let scale = (1.0 / self.weight) as f32;
        self.sum.iter_mut().for_each(|value| *value *= scale);
        Ok(AttentionMaps { grid: self.finest, values: self.sum })
    }
}

fn check(maps: &[f32], grid: Grid) -> Result<(), Error> {
    check_size("the attention map", maps.len(), grid.tokens() * grid.tokens())?;
    check_not_negative("the attention map", maps)
}

/// Scales a map so that it sums to `total`.
fn normalise(map: &mut [f32], token: usize, total: f64) -> Result<(), Error> {
    let sum: f64 = map.iter().map(|&value| f64::from(value)).sum();
    if sum <= 0.0 {
        return Err(Error::EmptyMap { token });
    }
    let scale = (total / sum) as f32;
    map.iter_mut().for_each(|value| *value *= scale);
    Ok(())
}

/// For each coarse position the fine positions whose nearest it is.
fn extents(coarse: usize, fine: usize) -> Vec<std::ops::Range<usize>> {
    let mut extents = vec![0..0; coarse];
    for position in 0..fine {
        let extent = &mut extents[nearest(position, coarse, fine)];
        let start = if extent.start == extent.end { position } else { extent.start };
        *extent = start..position + 1;
    }
    extents
}
