//! Largest value and mean of square windows of NHWC images, and their gradients.
//!
//! Channels run along memory, so that the inner loops are ones that the compiler vectorises; memory sets the pace.

use crate::reference::PoolOptions;
use rayon::prelude::*;
use std::ops::Range;

/// Extents of the images that go in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    height: usize,
    width: usize,
    channels: usize,
    options: PoolOptions,
}

/// Windows of one output row: for each its first output value, and the input pixels under it.
type Window = (Range<usize>, Range<usize>);

impl Pool {
    /// Images of `[batch, height, width, channels]`.
    pub(crate) fn new(options: PoolOptions, images: &[usize]) -> Self {
        let PoolOptions { size, stride, padding } = options;
        assert!(stride > 0 && 2 * padding <= size, "windows must move on and must not lie beyond a border");
        assert!(images[1] + 2 * padding >= size && images[2] + 2 * padding >= size, "windows must fit the image");
        Self { height: images[1], width: images[2], channels: images[3], options }
    }

    /// `[height, width]` of the output.
    pub(crate) fn size_out(&self) -> [usize; 2] {
        let PoolOptions { size, stride, padding } = self.options;
        [self.height, self.width].map(|length| (length + 2 * padding - size) / stride + 1)
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn image_len_out(&self) -> usize {
        let [height, width] = self.size_out();
        height * width * self.channels
    }

    /// Rows or columns of an axis of `length` under the window at `place`.
    fn span(&self, place: usize, length: usize) -> Range<usize> {
        let PoolOptions { size, stride, padding } = self.options;
        let start = place * stride;
        start.saturating_sub(padding)..(start + size - padding).min(length)
    }

    /// Rows and columns under an output pixel.
    fn window(&self, row: usize, column: usize) -> Window {
        (self.span(row, self.height), self.span(column, self.width))
    }

    /// The pixels of a window, as offsets of their first channels in the image.
    fn pixels(&self, (rows, columns): Window) -> impl Iterator<Item = usize> {
        let (width, channels) = (self.width, self.channels);
        rows.flat_map(move |row| columns.clone().map(move |column| (row * width + column) * channels))
    }

    /// Joins the pixels of each window by `join(sum, pixel)`, beginning with `first`; then `finish(sum, pixels)`.
    fn forward(
        &self,
        images: &[f32],
        first: f32,
        join: impl Fn(&mut f32, f32) + Sync,
        finish: impl Fn(&mut [f32], usize) + Sync,
    ) -> Vec<f32> {
        let [height_out, width_out] = self.size_out();
        let channels = self.channels;
        let batch = images.len() / self.image_len().max(1);
        let mut output = vec![first; batch * self.image_len_out()];
        output.par_chunks_exact_mut((width_out * channels).max(1)).enumerate().for_each(|(line, output)| {
            let (index, row) = (line / height_out, line % height_out);
            let image = &images[index * self.image_len()..(index + 1) * self.image_len()];
            for (column, output) in output.chunks_exact_mut(channels).enumerate() {
                let (rows, columns) = self.window(row, column);
                let num_pixels = rows.len() * columns.len();
                for pixel in self.pixels((rows, columns)) {
                    for (sum, value) in output.iter_mut().zip(&image[pixel..pixel + channels]) {
                        join(sum, *value);
                    }
                }
                finish(output, num_pixels);
            }
        });
        output
    }

    /// Calls `give(image's gradient, image's number, offset of the output pixel, its window)` for each output pixel;
    /// windows overlap, so that one task adds up a whole image.
    fn backward(&self, num_values: usize, give: impl Fn(&mut [f32], usize, usize, Window) + Sync) -> Vec<f32> {
        let [height_out, width_out] = self.size_out();
        let batch = num_values / self.image_len_out().max(1);
        let mut images = vec![0f32; batch * self.image_len()];
        images.par_chunks_exact_mut(self.image_len().max(1)).enumerate().for_each(|(index, image)| {
            for row in 0..height_out {
                for column in 0..width_out {
                    let output = ((index * height_out + row) * width_out + column) * self.channels;
                    give(image, index, output, self.window(row, column));
                }
            }
        });
        images
    }
}

/// Largest value of each window.
pub(crate) fn max_forward(shape: &Pool, images: &[f32]) -> Vec<f32> {
    let larger = |largest: &mut f32, value: f32| {
        if value > *largest {
            *largest = value;
        }
    };
    shape.forward(images, f32::NEG_INFINITY, larger, |_, _| {})
}

/// Gradient of the images of [`max_forward`]: to the first of the largest pixels.
pub(crate) fn max_backward(shape: &Pool, images: &[f32], gradient: &[f32]) -> Vec<f32> {
    let channels = shape.channels;
    shape.backward(gradient.len(), |target, index, output, window| {
        let image = &images[index * shape.image_len()..(index + 1) * shape.image_len()];
        for channel in 0..channels {
            let (mut best, mut largest) = (None, f32::NEG_INFINITY);
            for pixel in shape.pixels(window.clone()) {
                let value = image[pixel + channel];
                if best.is_none() || value > largest {
                    (best, largest) = (Some(pixel), value);
                }
            }
            if let Some(pixel) = best {
                target[pixel + channel] += gradient[output + channel];
            }
        }
    })
}

/// Mean of each window's pixels inside the image.
pub(crate) fn average_forward(shape: &Pool, images: &[f32]) -> Vec<f32> {
    let mean = |sums: &mut [f32], num_pixels: usize| {
        let share = 1.0 / num_pixels as f32;
        sums.iter_mut().for_each(|sum| *sum *= share);
    };
    shape.forward(images, 0.0, |sum, value| *sum += value, mean)
}

/// Gradient of the images of [`average_forward`].
pub(crate) fn average_backward(shape: &Pool, gradient: &[f32]) -> Vec<f32> {
    let channels = shape.channels;
    shape.backward(gradient.len(), |target, _, output, window| {
        let share = 1.0 / (window.0.len() * window.1.len()) as f32;
        for pixel in shape.pixels(window) {
            let values = &gradient[output..output + channels];
            for (sum, value) in target[pixel..pixel + channels].iter_mut().zip(values) {
                *sum += share * value;
            }
        }
    })
}
