//! Resizing on the way through a picture's rows, whatever its samples are, to several sizes at once.
//!
//! Each row becomes `f32` once, goes into every sum that it is part of, and is not met again: nothing of the picture's
//! size is allocated. Sums are taken in the order of rows and columns, whatever the processor's vectors, so that two
//! machines give the same bits; `pulp` only chooses how many sums are taken at once.

use std::collections::VecDeque;

use crate::resample::{Axis, Taps, area_taps, axis_taps};

/// Rows of brightness in `0..=1`, one after the other.
pub(crate) trait Rows {
    /// Writes the brightness of a row of `out.len()` columns.
    fn read(&self, row: usize, out: &mut [f32]);
}

/// A plane of `f32`, row-major.
impl Rows for &[f32] {
    fn read(&self, row: usize, out: &mut [f32]) {
        let width = out.len();
        out.copy_from_slice(&self[row * width..][..width]);
    }
}

/// One of the sizes that are wanted.
pub(crate) struct Target {
    pub filter: Filter,
    /// The box `[top, left, height, width]` of the picture, in pixels, fractions allowed.
    pub source: [f64; 4],
    /// Rows and columns of the result.
    pub size: [usize; 2],
}

/// Receives the brightness of some rows of a result that lie together, from the top to the bottom.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[f32]);

/// How pixels become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The antialiased filter of [`crate::resize`].
    CatmullRom,
    /// Each by its share of the area.
    Area,
}

/// Rows that go into a sum in one pass: reading and writing a sum costs more than adding to it.
const GROUP: usize = 4;

/// Lines that are reduced along their columns in one pass.
const LANES: usize = 8;

impl Target {
    /// Whether it is a picture of `[height, width]` as it is, which is not filtered.
    fn is_whole(&self, [height, width]: [usize; 2]) -> bool {
        self.source == [0.0, 0.0, height as f64, width as f64] && self.size == [height, width]
    }
}

/// Gives the picture of `[height, width]` at each of the sizes to whoever wants it, clamped to `0..=1` where it is
/// filtered. The caller has checked that no length is 0.
pub(crate) fn reduce<const N: usize>(rows: &impl Rows, [height, width]: [usize; 2], targets: [(Target, Sink<'_>); N]) {
    let arch = pulp::Arch::new();
    let dimensions = [height, width];
    let mut sums = Vec::with_capacity(N);
    for (target, sink) in targets {
        if target.is_whole(dimensions) {
            sink(&plane(rows, dimensions));
        } else {
            sums.push(Sums::new(&target, dimensions, sink));
        }
    }
    let mut group = vec![0.0_f32; GROUP * width];
    for first in (0..height).step_by(GROUP) {
        let count = GROUP.min(height - first);
        if !sums.iter().any(|sums| sums.needs(first, count)) {
            continue;
        }
        let group = &mut group[..count * width];
        for (row, line) in group.chunks_exact_mut(width).enumerate() {
            rows.read(first + row, line);
        }
        for sums in &mut sums {
            arch.dispatch(Add { sums, group, first });
        }
    }
}

/// The picture of `[height, width]` at one size, row-major; otherwise as [`reduce`].
pub(crate) fn reduced(rows: &impl Rows, dimensions: [usize; 2], target: Target) -> Vec<f32> {
    let mut out = Vec::with_capacity(target.size[0] * target.size[1]);
    reduce(rows, dimensions, [(target, &mut |rows| out.extend_from_slice(rows))]);
    out
}

/// All rows of a picture of `[height, width]`, row-major.
pub(crate) fn plane(rows: &impl Rows, [height, width]: [usize; 2]) -> Vec<f32> {
    let mut pixels = vec![0.0; height * width];
    for (row, line) in pixels.chunks_exact_mut(width.max(1)).enumerate() {
        rows.read(row, line);
    }
    pixels
}

/// Compiled for each kind of processor, which a closure of this size would not be.
struct Add<'a, 'b> {
    sums: &'a mut Sums<'b>,
    group: &'a [f32],
    first: usize,
}

impl pulp::NullaryFnOnce for Add<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.sums.add(self.group, self.first);
    }
}

/// A result at work.
struct Sums<'a> {
    width: usize,
    rows: Axis,
    columns: Axis,
    /// The result's rows that rows of the picture were added to and that are not whole, from `next` on.
    open: VecDeque<Vec<f32>>,
    next: usize,
    /// Lines that are free.
    spare: Vec<Vec<f32>>,
    /// Whole lines, waiting for others.
    whole: Vec<Vec<f32>>,
    /// The same side by side, `[width, LANES]`.
    turned: Vec<[f32; LANES]>,
    /// Their results, likewise.
    columns_out: Vec<[f32; LANES]>,
    /// The same as rows.
    rows_out: Vec<f32>,
    sink: Sink<'a>,
}

impl<'a> Sums<'a> {
    fn new(target: &Target, [height, width]: [usize; 2], sink: Sink<'a>) -> Self {
        let [top, left, box_height, box_width] = target.source;
        let taps = match target.filter {
            Filter::CatmullRom => axis_taps,
            Filter::Area => area_taps,
        };
        Self {
            width,
            rows: taps(height, top, box_height, target.size[0]),
            columns: taps(width, left, box_width, target.size[1]),
            open: VecDeque::new(),
            next: 0,
            spare: Vec::new(),
            whole: Vec::with_capacity(LANES),
            turned: vec![[0.0; LANES]; width],
            columns_out: vec![[0.0; LANES]; target.size[1]],
            rows_out: vec![0.0; LANES * target.size[1]],
            sink,
        }
    }

    /// Whether any of the rows goes into the result.
    fn needs(&self, first: usize, count: usize) -> bool {
        self.rows.get(self.next).is_some_and(|taps| taps.first < first + count)
    }

    /// Adds rows of the picture, of which `first` is the number of the first.
    #[inline(always)]
    fn add(&mut self, group: &[f32], first: usize) {
        let count = group.len() / self.width;
        // First and last rows of the sums ascend, so those that these rows go into lie together.
        while let Some(taps) = self.rows.get(self.next + self.open.len())
            && taps.first < first + count
        {
            let mut line = self.spare.pop().unwrap_or_default();
            line.clear();
            line.resize(self.width, 0.0);
            self.open.push_back(line);
        }
        let weights = |taps: Taps<'_>| -> [Option<f32>; GROUP] {
            std::array::from_fn(|row| {
                let place = (first + row).checked_sub(taps.first).filter(|_| row < count)?;
                taps.weights.get(place).copied()
            })
        };
        let all = |weights: [Option<f32>; GROUP]| match weights {
            [Some(a), Some(b), Some(c), Some(d)] => Some([a, b, c, d]),
            _ => None,
        };
        let lines = self.open.iter_mut().zip(self.rows.iter_from(self.next));
        let weighted = |(line, taps)| {
            let some = weights(taps);
            (line, some, all(some))
        };
        let mut lines = lines.map(weighted).peekable();
        while let Some((line, some, four)) = lines.next() {
            let Some(four) = four else {
                add_some(line, group, &some[..count]);
                continue;
            };
            // Two sums at once: the rows are read half as often.
            match lines.next_if(|(.., next)| next.is_some()) {
                Some((other, _, Some(next))) => add_four_to_two([line, other], group, [four, next]),
                _ => add_four(line, group, four),
            }
        }
        drop(lines);
        while self.rows.get(self.next).is_some_and(|taps| taps.end() <= first + count) {
            let Some(line) = self.open.pop_front() else { break };
            self.next += 1;
            self.whole.push(line);
            if self.whole.len() == LANES || self.next == self.rows.len() {
                self.reduce_columns();
            }
        }
    }

    /// Reduces the whole lines along their columns.
    #[inline(always)]
    fn reduce_columns(&mut self) {
        let (num_whole, new_width) = (self.whole.len(), self.columns.len());
        if let [a, b, c, d, e, f, g, h] = &self.whole[..] {
            let lines = a.iter().zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h);
            for (out, (((((((a, b), c), d), e), f), g), h)) in self.turned.iter_mut().zip(lines) {
                *out = [*a, *b, *c, *d, *e, *f, *g, *h];
            }
        } else {
            for (lane, line) in self.whole.iter().enumerate() {
                for (out, value) in self.turned.iter_mut().zip(line) {
                    out[lane] = *value;
                }
            }
        }
        self.spare.append(&mut self.whole);
        for (out, taps) in self.columns_out.iter_mut().zip(self.columns.iter_from(0)) {
            let mut sums = [0.0_f32; LANES];
            for (lanes, &weight) in self.turned[taps.first..].iter().zip(taps.weights) {
                for (sum, value) in sums.iter_mut().zip(lanes) {
                    *sum += value * weight;
                }
            }
            *out = sums.map(|sum| sum.clamp(0.0, 1.0));
        }
        let rows_out = &mut self.rows_out[..num_whole * new_width];
        let (blocks, rest) = self.columns_out.as_chunks();
        for (number, block) in blocks.iter().enumerate() {
            let turned = turned(block);
            for (line, out) in turned.iter().zip(rows_out.chunks_exact_mut(new_width)) {
                out[number * LANES..][..LANES].copy_from_slice(line);
            }
        }
        for (lane, line) in rows_out.chunks_exact_mut(new_width).enumerate() {
            for (out, column) in line[blocks.len() * LANES..].iter_mut().zip(rest) {
                *out = column[lane];
            }
        }
        (self.sink)(rows_out);
    }
}

/// Rows become columns; spelled out, which the compiler then does with vectors.
#[inline(always)]
fn turned([a, b, c, d, e, f, g, h]: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
    std::array::from_fn(|lane| [a[lane], b[lane], c[lane], d[lane], e[lane], f[lane], g[lane], h[lane]])
}

#[inline(always)]
fn add_four(line: &mut [f32], group: &[f32], weights: [f32; GROUP]) {
    let [a, b, c, d] = rows_of(group, line.len());
    for ((((sum, a), b), c), d) in line.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum = *sum + weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d;
    }
}

#[inline(always)]
fn add_four_to_two([one, two]: [&mut [f32]; 2], group: &[f32], [v, w]: [[f32; GROUP]; 2]) {
    let [a, b, c, d] = rows_of(group, one.len());
    for (((((one, two), a), b), c), d) in one.iter_mut().zip(two).zip(a).zip(b).zip(c).zip(d) {
        *one = *one + v[0] * a + v[1] * b + v[2] * c + v[3] * d;
        *two = *two + w[0] * a + w[1] * b + w[2] * c + w[3] * d;
    }
}

#[inline(always)]
fn rows_of(group: &[f32], width: usize) -> [&[f32]; GROUP] {
    let (a, rest) = group.split_at(width);
    let (b, rest) = rest.split_at(width);
    let (c, d) = rest.split_at(width);
    [a, b, c, d]
}

#[inline(always)]
fn add_some(line: &mut [f32], group: &[f32], weights: &[Option<f32>]) {
    let width = line.len();
    for (row, weight) in group.chunks_exact(width).zip(weights) {
        if let Some(weight) = *weight {
            for (sum, value) in line.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
    }
}
