//! 3x3 convolution with stride 1 and padding 1 by Winograd's F(4x4, 3x3): 36 multiplications where the direct sum
//! needs 144.
//!
//! Tiles are transformed, multiplied as 36 matrix products over channels, and transformed back. A tile's result does
//! not depend on the block that it is computed in, so blocks are chosen for speed alone.

use super::lanes;
use super::matrix::run_product;
use super::memory::{Scratch, Shared, filled_by};
use super::tile::TileProduct;
use super::winograd_transforms::{
    POINTS, TileGrid, WeightPanel, gradient_tile, input_tile, output_tile, weight_gradient_panel, weight_panel,
};
use rayon::prelude::*;
use std::ops::Range;

/// Extents of a convolution that keeps the map's size.
#[derive(Clone, Copy)]
pub(crate) struct Extents {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels_in: usize,
    pub channels_out: usize,
    /// Whether the input is half as high and wide, and doubled by repeating its pixels while it is read.
    pub doubled: bool,
}

impl Extents {
    fn grid(self) -> TileGrid {
        TileGrid { height: self.height, width: self.width, doubled: self.doubled }
    }

    /// Values of the input in memory.
    fn values_in(self) -> usize {
        let pixels = self.batch * self.height * self.width;
        self.channels_in * if self.doubled { pixels / 4 } else { pixels }
    }

    fn num_tiles(self) -> usize {
        self.batch * self.grid().per_image()
    }

    /// Some input channels of the panel of HWIO `weights` that begins at an output channel.
    fn weight_panel(self, weights: &[f32], mirrored: bool, channels: Range<usize>, first_out: usize) -> WeightPanel {
        WeightPanel {
            weights: weights[channels.start * self.channels_out + first_out..].as_ptr(),
            channels: channels.len(),
            channel_stride: self.channels_out,
            tap_stride: self.channels_in * self.channels_out,
            mirrored,
        }
    }
}

/// Whether channels fill whole vectors and panels; anything else goes the direct way.
pub(crate) fn fits(channels_in: usize, channels_out: usize) -> bool {
    channels_in > 0
        && channels_out > 0
        && channels_in.is_multiple_of(lanes())
        && channels_out.is_multiple_of(2 * lanes())
}

/// Tiles that are transformed and multiplied together: four register tiles high.
const TILE_BLOCK: usize = 56;

/// Blocks of tiles that are multiplied with the same transformed weights, which are made anew for the next ones.
const TILE_GROUP: usize = 2;

/// Input channels of a panel that are transformed together: with the products of a group of blocks they take about the
/// 1 MiB of a second-level cache. Sums go on from block to block in the same order, so the result does not depend on it.
const CHANNEL_BLOCK: usize = 128;

/// Space between transformed rows, so that rows of a power of two do not share cache sets.
const ROW_GAP: usize = 16;

/// Space between the points of what is transformed, a cache line, for the same reason: a transform touches all 36 at a
/// time, more than a set has lines.
const POINT_GAP: usize = 16;

/// First tile and number of tiles of each block, evenly.
fn blocks(num_tiles: usize) -> impl Fn(usize) -> (usize, usize) + Copy {
    let num_blocks = num_tiles.div_ceil(TILE_BLOCK);
    move |block| {
        let first = block * num_tiles / num_blocks;
        (first, (block + 1) * num_tiles / num_blocks - first)
    }
}

/// Convolves NHWC `images` with HWIO `weights`; `mirrored` turns the taps by 180° (for the input's gradient, with
/// in and out channels of `weights` swapped by the caller).
pub(crate) fn forward(
    extents: Extents,
    images: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    mirrored: bool,
) -> Vec<f32> {
    let Extents { batch, height, width, channels_in, channels_out, .. } = extents;
    assert!(fits(channels_in, channels_out));
    assert_eq!(images.len(), extents.values_in());
    assert_eq!(weights.len(), 9 * channels_in * channels_out);
    assert!(bias.is_none_or(|bias| bias.len() == channels_out));
    let num_blocks = extents.num_tiles().div_ceil(TILE_BLOCK);
    // SAFETY: every tile of every panel is written exactly once.
    unsafe {
        filled_by(batch * height * width * channels_out, |output| {
            // Many tiles and few channels: transformed weights are shared and stay in the cache. Else they would not
            // fit it, and each panel's are made where they are used, next to shared tiles.
            if channels_in <= 256 && num_blocks >= 4 {
                forward_by_tiles(extents, images, weights, bias, mirrored, output);
            } else {
                forward_by_panels(extents, images, weights, bias, mirrored, output);
            }
        })
    }
}

/// Start of the part of `bias` for a panel, null without bias.
fn bias_at(bias: Option<&[f32]>, offset: usize) -> *const f32 {
    bias.map_or(std::ptr::null(), |bias| bias[offset..].as_ptr())
}

fn forward_by_tiles(
    extents: Extents,
    images: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    mirrored: bool,
    output: Shared,
) {
    let Extents { channels_in, channels_out, .. } = extents;
    let grid = extents.grid();
    let panel_width = 2 * lanes();
    let num_panels = channels_out / panel_width;
    let panel_stride = channels_in * panel_width + POINT_GAP;
    let panel_len = POINTS * panel_stride;
    let mut transformed = Scratch::take(num_panels * panel_len);
    let shared = Shared::new(transformed.as_mut_slice());
    (0..num_panels).into_par_iter().for_each(|panel| {
        let source = extents.weight_panel(weights, mirrored, 0..channels_in, panel * panel_width);
        // SAFETY: a panel lies inside the weights and has its own place.
        unsafe { weight_panel(source, shared.at(panel * panel_len), panel_stride) };
    });
    let row_stride = channels_in + ROW_GAP;
    let num_tiles = extents.num_tiles();
    let block_at = blocks(num_tiles);
    (0..num_tiles.div_ceil(TILE_BLOCK)).into_par_iter().for_each(|block| {
        let (first, count) = block_at(block);
        let point_stride = count * row_stride + POINT_GAP;
        let product_stride = count * panel_width + POINT_GAP;
        let mut tiles = Scratch::take(POINTS * point_stride);
        let mut products = Scratch::take(POINTS * product_stride);
        let (tiles, products) = (tiles.as_mut_ptr(), products.as_mut_ptr());
        // SAFETY: tiles of this block are nobody else's; scratch sizes are those of the loops.
        unsafe {
            for tile in 0..count {
                let target = tiles.wrapping_add(tile * row_stride);
                input_tile(grid, channels_in, images.as_ptr(), first + tile, target, point_stride);
            }
            for panel in 0..num_panels {
                for point in 0..POINTS {
                    run_product(TileProduct {
                        rows: count,
                        depth: channels_in,
                        left: tiles.wrapping_add(point * point_stride),
                        left_stride: row_stride,
                        transposed: false,
                        right: shared.at(panel * panel_len + point * panel_stride),
                        right_stride: panel_width,
                        output: products.wrapping_add(point * product_stride),
                        output_stride: panel_width,
                        vectors: 2,
                        accumulate: false,
                        bias: std::ptr::null(),
                    });
                }
                let channel = panel * panel_width;
                for tile in 0..count {
                    let source = products.wrapping_add(tile * panel_width);
                    let (target, bias) = (output.at(channel), bias_at(bias, channel));
                    output_tile(grid, channels_out, source, product_stride, first + tile, target, bias);
                }
            }
        }
    });
}

fn forward_by_panels(
    extents: Extents,
    images: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    mirrored: bool,
    output: Shared,
) {
    let Extents { channels_in, channels_out, .. } = extents;
    let grid = extents.grid();
    let panel_width = 2 * lanes();
    let num_panels = channels_out / panel_width;
    let row_stride = channels_in + ROW_GAP;
    let num_tiles = extents.num_tiles();
    let num_blocks = num_tiles.div_ceil(TILE_BLOCK);
    let block_at = blocks(num_tiles);
    let mut tiles = Scratch::take(POINTS * (num_tiles * row_stride + num_blocks * POINT_GAP));
    let tiles_of = |block: usize, first: usize| POINTS * (first * row_stride + block * POINT_GAP);
    let tiles = Shared::new(tiles.as_mut_slice());
    (0..num_blocks).into_par_iter().for_each(|block| {
        let (first, count) = block_at(block);
        (0..count).into_par_iter().with_min_len(8).for_each(|tile| {
            let target = tiles.at(tiles_of(block, first) + tile * row_stride);
            let point_stride = count * row_stride + POINT_GAP;
            // SAFETY: each tile has its own place.
            unsafe { input_tile(grid, channels_in, images.as_ptr(), first + tile, target, point_stride) };
        });
    });
    (0..num_panels).into_par_iter().for_each(|panel| {
        let channel = panel * panel_width;
        let mut transformed = Scratch::take(POINTS * (CHANNEL_BLOCK.min(channels_in) * panel_width + POINT_GAP));
        let product_len = POINTS * (TILE_BLOCK * panel_width + POINT_GAP);
        let mut products = Scratch::take(TILE_GROUP.min(num_blocks) * product_len);
        let (transformed, products) = (transformed.as_mut_ptr(), products.as_mut_ptr());
        for first_block in (0..num_blocks).step_by(TILE_GROUP) {
            let group = first_block..(first_block + TILE_GROUP).min(num_blocks);
            let products_of = |block: usize| products.wrapping_add((block - first_block) * product_len);
            let product_stride = |count: usize| count * panel_width + POINT_GAP;
            for depth_first in (0..channels_in).step_by(CHANNEL_BLOCK) {
                let depth = (channels_in - depth_first).min(CHANNEL_BLOCK);
                let source = extents.weight_panel(weights, mirrored, depth_first..depth_first + depth, channel);
                let panel_stride = depth * panel_width + POINT_GAP;
                // SAFETY: the panel lies inside the weights; the scratch holds a block of channels.
                unsafe { weight_panel(source, transformed, panel_stride) };
                for block in group.clone() {
                    let (first, count) = block_at(block);
                    for point in 0..POINTS {
                        let job = TileProduct {
                            rows: count,
                            depth,
                            left: tiles
                                .at(tiles_of(block, first) + point * (count * row_stride + POINT_GAP) + depth_first),
                            left_stride: row_stride,
                            transposed: false,
                            right: transformed.wrapping_add(point * panel_stride),
                            right_stride: panel_width,
                            output: products_of(block).wrapping_add(point * product_stride(count)),
                            output_stride: panel_width,
                            vectors: 2,
                            accumulate: depth_first > 0,
                            bias: std::ptr::null(),
                        };
                        // SAFETY: rows and channels lie inside the transformed tiles; the products are this task's.
                        unsafe { run_product(job) };
                    }
                }
            }
            for block in group {
                let (first, count) = block_at(block);
                for tile in 0..count {
                    let source = products_of(block).wrapping_add(tile * panel_width);
                    let (stride, bias) = (product_stride(count), bias_at(bias, channel));
                    // SAFETY: a panel's output channels are nobody else's.
                    unsafe { output_tile(grid, channels_out, source, stride, first + tile, output.at(channel), bias) };
                }
            }
        }
    });
}

/// Gradient of the weights, HWIO, from the input and the output's gradient.
pub(crate) fn weight_gradient(extents: Extents, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    let Extents { batch, height, width, channels_in, channels_out, .. } = extents;
    assert!(fits(channels_in, channels_out));
    assert_eq!(images.len(), extents.values_in());
    assert_eq!(gradient.len(), batch * height * width * channels_out);
    let grid = extents.grid();
    let panel_width = 2 * lanes();
    let num_panels = channels_out / panel_width;
    let (row_stride, gradient_stride) = (channels_in + ROW_GAP, channels_out + ROW_GAP);
    let num_tiles = extents.num_tiles();
    let num_blocks = num_tiles.div_ceil(TILE_BLOCK);
    let block_at = blocks(num_tiles);
    // Blocks of tiles are transformed a few at a time, as many as a bounded buffer holds.
    const MOST_VALUES: usize = 4 << 20;
    let block_values = POINTS * TILE_BLOCK * row_stride.max(gradient_stride);
    let chunk = (MOST_VALUES / block_values).clamp(1, num_blocks);
    let mut tiles = Scratch::take(chunk * POINTS * TILE_BLOCK * row_stride);
    let mut gradients = Scratch::take(chunk * POINTS * TILE_BLOCK * gradient_stride);
    let (tiles, gradients) = (Shared::new(tiles.as_mut_slice()), Shared::new(gradients.as_mut_slice()));
    // The sums of a task: some input channels by one panel, small enough for the second-level cache.
    const MOST_ROWS: usize = 64;
    let num_row_blocks = channels_in.div_ceil(MOST_ROWS);
    let step = lanes();
    let rows_at = |block: usize| {
        let edge = |block: usize| block * (channels_in / step) / num_row_blocks * step;
        (edge(block), edge(block + 1) - edge(block))
    };
    let single = chunk == num_blocks;
    let mut sums = Scratch::take(if single { 0 } else { POINTS * channels_in * channels_out });
    let sums = Shared::new(sums.as_mut_slice());
    let fill = |output: Shared| {
        for chunk_start in (0..num_blocks).step_by(chunk) {
            let chunk_blocks = chunk_start..(chunk_start + chunk).min(num_blocks);
            let place = |block: usize| (block - chunk_start) * POINTS * TILE_BLOCK;
            chunk_blocks.clone().into_par_iter().for_each(|block| {
                let (first, count) = block_at(block);
                (0..count).into_par_iter().with_min_len(8).for_each(|tile| {
                    let target = tiles.at((place(block) + tile) * row_stride);
                    let gradient_target = gradients.at((place(block) + tile) * gradient_stride);
                    // SAFETY: each tile has its own place.
                    unsafe {
                        let stride = count * row_stride;
                        input_tile(grid, channels_in, images.as_ptr(), first + tile, target, stride);
                        let stride = count * gradient_stride;
                        gradient_tile(grid, channels_out, gradient.as_ptr(), first + tile, gradient_target, stride);
                    }
                });
            });
            (0..num_row_blocks * num_panels).into_par_iter().for_each(|task| {
                let (row_block, panel) = (task / num_panels, task % num_panels);
                let (first_row, rows) = rows_at(row_block);
                let mut own = Scratch::take(if single { POINTS * rows * panel_width } else { 0 });
                let own = if single {
                    own.as_mut_ptr()
                } else {
                    sums.at(POINTS * panel_width * (first_row * num_panels + panel * rows))
                };
                for block in chunk_blocks.clone() {
                    let (_, count) = block_at(block);
                    for point in 0..POINTS {
                        let job = TileProduct {
                            rows,
                            depth: count,
                            left: tiles.at((place(block) + point * count) * row_stride + first_row),
                            left_stride: row_stride,
                            transposed: true,
                            right: gradients.at((place(block) + point * count) * gradient_stride + panel * panel_width),
                            right_stride: gradient_stride,
                            output: own.wrapping_add(point * rows * panel_width),
                            output_stride: panel_width,
                            vectors: 2,
                            accumulate: block > 0,
                            bias: std::ptr::null(),
                        };
                        // SAFETY: rows and panel lie inside the transformed tiles; the sums are this task's own.
                        unsafe { run_product(job) };
                    }
                }
                if chunk_blocks.end == num_blocks {
                    let target = output.at(first_row * channels_out + panel * panel_width);
                    // SAFETY: this block of weights is this task's own.
                    unsafe { weight_gradient_panel(rows, own, channels_in, channels_out, target) };
                }
            });
        }
    };
    // SAFETY: the last chunk writes every block of rows of every panel.
    unsafe { filled_by(9 * channels_in * channels_out, fill) }
}
