//! Bilinear resampling of maps: pixel centres at half-integers, edges repeated (what Keras and `align_corners=False`
//! of PyTorch do).

use crate::Grid;

/// Where one output position reads: two neighbours and the share of the second.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    share: f32,
}

/// A resampling from one grid to another, prepared once for many maps.
pub(crate) struct Bilinear {
    source: Grid,
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    /// The two source rows in use, already resampled along the columns.
    lines: [Vec<f32>; 2],
}

impl Bilinear {
    pub(crate) fn new(source: Grid, target: Grid) -> Self {
        let line = vec![0.0; target.width];
        Self {
            source,
            rows: taps(source.height, target.height),
            columns: taps(source.width, target.width),
            lines: [line.clone(), line],
        }
    }

    /// Resamples `map` (one value for each token of the source) and hands out the target's rows in order.
    pub(crate) fn for_each_row(&mut self, map: &[f32], mut take: impl FnMut(usize, &mut dyn Iterator<Item = f32>)) {
        let width = self.source.width;
        let columns = &self.columns;
        let widen = |row: usize, line: &mut [f32]| {
            let row = &map[row * width..][..width];
            for (value, tap) in line.iter_mut().zip(columns) {
                *value = row[tap.low] + (row[tap.high] - row[tap.low]) * tap.share;
            }
        };
        let mut held: Option<(usize, usize)> = None;
        for (index, tap) in self.rows.iter().enumerate() {
            if held != Some((tap.low, tap.high)) {
                let [low, high] = &mut self.lines;
                widen(tap.low, low);
                widen(tap.high, high);
                held = Some((tap.low, tap.high));
            }
            let [low, high] = &self.lines;
            take(index, &mut low.iter().zip(high).map(|(low, high)| low + (high - low) * tap.share));
        }
    }

    /// Resamples `map` into `out`, one value for each token of the target.
    pub(crate) fn resample(&mut self, map: &[f32], out: &mut [f32]) {
        let width = self.columns.len();
        self.for_each_row(map, |row, values| {
            out[row * width..][..width].iter_mut().zip(values).for_each(|(out, value)| *out = value);
        });
    }
}

fn taps(source: usize, target: usize) -> Vec<Tap> {
    let scale = source as f64 / target as f64;
    (0..target)
        .map(|position| {
            let at = ((position as f64 + 0.5) * scale - 0.5).clamp(0.0, (source - 1) as f64);
            let low = at.floor();
            Tap { low: low as usize, high: (low as usize + 1).min(source - 1), share: (at - low) as f32 }
        })
        .collect()
}

/// The source position nearest to a target position, both counted along one axis.
pub(crate) fn nearest(position: usize, source: usize, target: usize) -> usize {
    ((2 * position + 1) * source) / (2 * target)
}
