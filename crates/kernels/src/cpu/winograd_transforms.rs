//! The six transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, interpolation points 0, ±1, ±2,
//! ∞), vectorised over channels.
//!
//! Forward: `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` on 6x6 input tiles `d` and 4x4 output tiles. The weight gradient is the
//! transposed algorithm: `dg = Gᵀ [(Bᵀ d B) ⊙ (A dY Aᵀ)] G`.

// Rows and columns of a tile are numbered as in the formulas; iterators would hide which side is transformed.
#![allow(clippy::needless_range_loop)]

use super::simd::Simd;
use super::simd_dispatch;

type V<S> = <S as Simd>::Vector;

/// Points of a transformed tile.
pub(crate) const POINTS: usize = 36;

/// How maps are cut into 4x4 output tiles.
#[derive(Clone, Copy)]
pub(crate) struct TileGrid {
    pub height: usize,
    pub width: usize,
    /// Whether the input is half as high and wide in memory, each of its pixels standing for two by two.
    pub doubled: bool,
}

impl TileGrid {
    fn columns(self) -> usize {
        self.width.div_ceil(4)
    }

    /// Tiles of one image.
    pub(crate) fn per_image(self) -> usize {
        self.height.div_ceil(4) * self.columns()
    }

    /// Image, first row and first column of a tile.
    #[inline(always)]
    fn place(self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) = (tile / self.per_image(), tile % self.per_image());
        (image, tile / self.columns() * 4, tile % self.columns() * 4)
    }
}

/// `Bᵀ d`
#[inline(always)]
unsafe fn input_side<S: Simd>(d: [V<S>; 6]) -> [V<S>; 6] {
    // SAFETY: the caller runs on a processor with the instructions of `S`.
    unsafe {
        let (four, minus_four, minus_five) = (S::splat(4.0), S::splat(-4.0), S::splat(-5.0));
        let (two, minus_two) = (S::splat(2.0), S::splat(-2.0));
        let even = S::mul_add(minus_four, d[2], d[4]);
        let odd = S::mul_add(minus_four, d[1], d[3]);
        let even_difference = S::sub(d[4], d[2]);
        let odd_difference = S::sub(d[3], d[1]);
        [
            S::mul_add(four, d[0], S::mul_add(minus_five, d[2], d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::mul_add(two, odd_difference, even_difference),
            S::mul_add(minus_two, odd_difference, even_difference),
            S::mul_add(four, d[1], S::mul_add(minus_five, d[3], d[5])),
        ]
    }
}

/// `Aᵀ m`
#[inline(always)]
unsafe fn output_side<S: Simd>(m: [V<S>; 6]) -> [V<S>; 4] {
    // SAFETY: as above.
    unsafe {
        let (sum_1, difference_1) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_2, difference_2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum_1, sum_2)),
            S::mul_add(S::splat(2.0), difference_2, difference_1),
            S::mul_add(S::splat(4.0), sum_2, sum_1),
            S::add(m[5], S::mul_add(S::splat(8.0), difference_2, difference_1)),
        ]
    }
}

/// `A y`
#[inline(always)]
unsafe fn gradient_side<S: Simd>(y: [V<S>; 4]) -> [V<S>; 6] {
    // SAFETY: as above.
    unsafe {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even_4 = S::mul_add(S::splat(4.0), y[2], y[0]);
        let odd_8 = S::mul_add(S::splat(8.0), y[3], S::mul(S::splat(2.0), y[1]));
        [y[0], S::add(even, odd), S::sub(even, odd), S::add(even_4, odd_8), S::sub(even_4, odd_8), y[3]]
    }
}

/// `G g`
#[inline(always)]
unsafe fn weight_side<S: Simd>(g: [V<S>; 3]) -> [V<S>; 6] {
    // SAFETY: as above.
    unsafe {
        let sixth = S::splat(1.0 / 6.0);
        let outer = S::mul(S::splat(-1.0 / 6.0), S::add(g[0], g[2]));
        let middle = S::mul(sixth, g[1]);
        let far = S::mul_add(S::splat(1.0 / 24.0), g[0], S::mul(sixth, g[2]));
        let half = S::mul(S::splat(1.0 / 12.0), g[1]);
        [
            S::mul(S::splat(0.25), g[0]),
            S::sub(outer, middle),
            S::add(outer, middle),
            S::add(far, half),
            S::sub(far, half),
            g[2],
        ]
    }
}

/// `Gᵀ m`
#[inline(always)]
unsafe fn weight_gradient_side<S: Simd>(m: [V<S>; 6]) -> [V<S>; 3] {
    // SAFETY: as above.
    unsafe {
        let (near, far) = (S::add(m[1], m[2]), S::add(m[3], m[4]));
        let (near_difference, far_difference) = (S::sub(m[2], m[1]), S::sub(m[3], m[4]));
        let sixth = S::splat(1.0 / 6.0);
        [
            S::mul_add(S::splat(0.25), m[0], S::mul_add(S::splat(-1.0 / 6.0), near, S::mul(S::splat(1.0 / 24.0), far))),
            S::mul_add(sixth, near_difference, S::mul(S::splat(1.0 / 12.0), far_difference)),
            S::add(m[5], S::mul(sixth, S::sub(far, near))),
        ]
    }
}

#[inline(always)]
unsafe fn transform_input<S: Simd>(
    grid: TileGrid,
    channels: usize,
    images: *const f32,
    tile: usize,
    target: *mut f32,
    point_stride: usize,
) {
    // SAFETY: only pixels inside the image are read; the target covers 36 points.
    unsafe {
        let zero = S::splat(0.0);
        let (image, row, column) = grid.place(tile);
        let (row, column) = (row as isize - 1, column as isize - 1);
        let (height, width) = (grid.height as isize, grid.width as isize);
        let halved = grid.doubled as u32;
        let inside = !grid.doubled && row >= 0 && column >= 0 && row + 6 <= height && column + 6 <= width;
        let pitch = (grid.width >> halved) * channels;
        let top = image * (grid.height >> halved) * pitch;
        // Places of the tile's rows and columns, none beyond the border.
        let place = |index: isize, end: isize, step: usize| {
            (index >= 0 && index < end).then(|| (index as usize >> halved) * step)
        };
        let (mut rows, mut columns) = ([None; 6], [None; 6]);
        for i in 0..6 {
            rows[i] = place(row + i as isize, height, pitch);
            columns[i] = place(column + i as isize, width, channels);
        }
        let first = images.wrapping_add(top).wrapping_offset((row * width + column) * channels as isize);
        for channel in (0..channels).step_by(S::LANES) {
            let source = first.wrapping_add(channel);
            let mut half = [[zero; 6]; 6];
            for c in 0..6 {
                let mut d = [zero; 6];
                if inside {
                    for r in 0..6 {
                        d[r] = S::load(source.wrapping_add(r * pitch + c * channels));
                    }
                } else {
                    for r in 0..6 {
                        if let (Some(row), Some(column)) = (rows[r], columns[c]) {
                            d[r] = S::load(images.wrapping_add(top + row + column + channel));
                        }
                    }
                }
                let done = input_side::<S>(d);
                for r in 0..6 {
                    half[r][c] = done[r];
                }
            }
            for r in 0..6 {
                let done = input_side::<S>(half[r]);
                for c in 0..6 {
                    S::store(target.wrapping_add((r * 6 + c) * point_stride + channel), done[c]);
                }
            }
        }
    }
}
simd_dispatch! {
    /// `Bᵀ d B` of one tile of NHWC `images` (zero beyond the border, doubled where the grid says so): point p to `target + p * point_stride`.
    pub(crate) fn input_tile(
        grid: TileGrid, channels: usize, images: *const f32, tile: usize, target: *mut f32, point_stride: usize,
    ) = transform_input
}

#[inline(always)]
unsafe fn transform_gradient<S: Simd>(
    grid: TileGrid,
    channels: usize,
    gradient: *const f32,
    tile: usize,
    target: *mut f32,
    point_stride: usize,
) {
    // SAFETY: only pixels inside the image are read; the target covers 36 points.
    unsafe {
        let zero = S::splat(0.0);
        let (image, row, column) = grid.place(tile);
        let (rows, columns) = ((grid.height - row).min(4), (grid.width - column).min(4));
        let source = gradient.wrapping_add(((image * grid.height + row) * grid.width + column) * channels);
        for channel in (0..channels).step_by(S::LANES) {
            let mut half = [[zero; 4]; 6];
            for c in 0..4 {
                let mut d = [zero; 4];
                for r in 0..4 {
                    if r < rows && c < columns {
                        d[r] = S::load(source.wrapping_add((r * grid.width + c) * channels + channel));
                    }
                }
                let done = gradient_side::<S>(d);
                for r in 0..6 {
                    half[r][c] = done[r];
                }
            }
            for r in 0..6 {
                let done = gradient_side::<S>(half[r]);
                for c in 0..6 {
                    S::store(target.wrapping_add((r * 6 + c) * point_stride + channel), done[c]);
                }
            }
        }
    }
}
simd_dispatch! {
    /// `A dY Aᵀ` of one tile of an output gradient: point p to `target + p * point_stride`.
    pub(crate) fn gradient_tile(
        grid: TileGrid, channels: usize, gradient: *const f32, tile: usize, target: *mut f32, point_stride: usize,
    ) = transform_gradient
}

#[inline(always)]
unsafe fn transform_output<S: Simd>(
    grid: TileGrid,
    channels: usize,
    products: *const f32,
    point_stride: usize,
    tile: usize,
    output: *mut f32,
    bias: *const f32,
) {
    // SAFETY: only pixels inside the image are written; a panel is two vectors wide.
    unsafe {
        let zero = S::splat(0.0);
        let (image, row, column) = grid.place(tile);
        let (rows, columns) = ((grid.height - row).min(4), (grid.width - column).min(4));
        let target = output.wrapping_add(((image * grid.height + row) * grid.width + column) * channels);
        for lane in [0, S::LANES] {
            let bias = if bias.is_null() { zero } else { S::load(bias.wrapping_add(lane)) };
            let source = products.wrapping_add(lane);
            let mut half = [[zero; 6]; 4];
            for c in 0..6 {
                let mut m = [zero; 6];
                for r in 0..6 {
                    m[r] = S::load(source.wrapping_add((r * 6 + c) * point_stride));
                }
                let done = output_side::<S>(m);
                for r in 0..4 {
                    half[r][c] = done[r];
                }
            }
            for r in 0..rows {
                let done = output_side::<S>(half[r]);
                for c in 0..columns {
                    S::store(target.wrapping_add((r * grid.width + c) * channels + lane), S::add(done[c], bias));
                }
            }
        }
    }
}
simd_dispatch! {
    /// `Aᵀ m A + bias` of one tile and one panel of output channels; `output` and `bias` point at the panel's first
    /// channel, `bias` may be null.
    pub(crate) fn output_tile(
        grid: TileGrid, channels: usize, products: *const f32, point_stride: usize, tile: usize, output: *mut f32,
        bias: *const f32,
    ) = transform_output
}

/// Some input channels of one panel of output channels of HWIO weights.
#[derive(Clone, Copy)]
pub(crate) struct WeightPanel {
    /// First weight: of the first tap, the first of the input channels and the first output channel.
    pub weights: *const f32,
    /// Input channels.
    pub channels: usize,
    /// Step from one input channel to the next: all output channels.
    pub channel_stride: usize,
    /// Step from one tap to the next.
    pub tap_stride: usize,
    /// Whether the taps are turned by 180°.
    pub mirrored: bool,
}

/// Input channels ahead of the one at work whose weights are asked for: pieces of one or two cache lines far apart are
/// nothing that a processor foresees.
const PREFETCH_AHEAD: usize = 8;

#[inline(always)]
unsafe fn transform_weights<S: Simd>(panel: WeightPanel, target: *mut f32, point_stride: usize) {
    // SAFETY: the weights cover 9 taps, the target 36 points of `channels` by two vectors.
    unsafe {
        let zero = S::splat(0.0);
        let width = 2 * S::LANES;
        for channel in 0..panel.channels {
            let ahead = panel.weights.wrapping_add((channel + PREFETCH_AHEAD) * panel.channel_stride);
            for tap in 0..9 {
                for lane in [0, S::LANES] {
                    S::prefetch(ahead.wrapping_add(tap * panel.tap_stride + lane));
                }
            }
            for lane in [0, S::LANES] {
                let source = panel.weights.wrapping_add(channel * panel.channel_stride + lane);
                let mut half = [[zero; 3]; 6];
                for c in 0..3 {
                    let mut g = [zero; 3];
                    for r in 0..3 {
                        let tap = if panel.mirrored { 8 - (r * 3 + c) } else { r * 3 + c };
                        g[r] = S::load(source.wrapping_add(tap * panel.tap_stride));
                    }
                    let done = weight_side::<S>(g);
                    for r in 0..6 {
                        half[r][c] = done[r];
                    }
                }
                for r in 0..6 {
                    let done = weight_side::<S>(half[r]);
                    for c in 0..6 {
                        let point = r * 6 + c;
                        S::store(target.wrapping_add(point * point_stride + channel * width + lane), done[c]);
                    }
                }
            }
        }
    }
}
simd_dispatch! {
    /// `G g Gᵀ` of a panel: point p, `[channels, panel width]`, to `target + p * point_stride`.
    pub(crate) fn weight_panel(panel: WeightPanel, target: *mut f32, point_stride: usize) = transform_weights
}

#[inline(always)]
unsafe fn transform_weight_gradient<S: Simd>(
    rows: usize,
    sums: *const f32,
    channels_in: usize,
    channels_out: usize,
    target: *mut f32,
) {
    // SAFETY: the sums cover 36 points of `rows` by two vectors, the target 9 taps.
    unsafe {
        let zero = S::splat(0.0);
        let width = 2 * S::LANES;
        for row in 0..rows {
            for lane in [0, S::LANES] {
                let source = sums.wrapping_add(row * width + lane);
                let mut half = [[zero; 6]; 3];
                for c in 0..6 {
                    let mut m = [zero; 6];
                    for r in 0..6 {
                        m[r] = S::load(source.wrapping_add((r * 6 + c) * rows * width));
                    }
                    let done = weight_gradient_side::<S>(m);
                    for r in 0..3 {
                        half[r][c] = done[r];
                    }
                }
                for r in 0..3 {
                    let done = weight_gradient_side::<S>(half[r]);
                    for c in 0..3 {
                        let place = ((r * 3 + c) * channels_in + row) * channels_out + lane;
                        S::store(target.wrapping_add(place), done[c]);
                    }
                }
            }
        }
    }
}
simd_dispatch! {
    /// `Gᵀ m G` of `rows` input channels by one panel: `sums` is `[36, rows, panel]`, `target` points at the block's
    /// first weight in HWIO.
    pub(crate) fn weight_gradient_panel(
        rows: usize, sums: *const f32, channels_in: usize, channels_out: usize, target: *mut f32,
    ) = transform_weight_gradient
}
