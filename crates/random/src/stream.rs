//! Random numbers one after the other, where their count is not known beforehand.

use crate::{Purpose, normal_pair, unit_interval, words};

/// The numbers of one seed, index and purpose, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    index: u64,
    purpose: Purpose,
    /// Uniform numbers drawn so far, of at most 2^33.
    position: u64,
}

impl Stream {
    /// The stream from its beginning.
    pub fn new(seed: u64, index: u64, purpose: Purpose) -> Self {
        Self { seed, index, purpose, position: 0 }
    }

    /// The next uniform number, strictly between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        let pair = words(self.seed, self.index, self.purpose, (self.position / 2) as u32);
        let word = pair[(self.position % 2) as usize];
        self.position += 1;
        unit_interval(word)
    }

    /// The next uniform number from `low` to `high`, in single precision.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        (f64::from(low) + f64::from(high - low) * self.uniform()) as f32
    }

    /// All uniform numbers of the stream from its beginning, those of [`Stream::uniform`].
    pub fn uniforms(self) -> impl Iterator<Item = f64> {
        let Self { seed, index, purpose, .. } = self;
        (0..=u32::MAX).flat_map(move |block| words(seed, index, purpose, block).map(unit_interval))
    }

    /// All nearly normal numbers of the stream from its beginning, of mean 0 and variance 1 and never beyond 3.5: each is
    /// the sum of four uniform numbers of 16 bits. They take half the time of [`Stream::normals`], and noise of pixels
    /// has no outliers.
    pub fn bounded_normals(self) -> impl Iterator<Item = f32> {
        let Self { seed, index, purpose, .. } = self;
        (0..=u32::MAX).flat_map(move |block| words(seed, index, purpose, block).map(bounded_normal))
    }

    /// All standard normal numbers of the stream from its beginning.
    ///
    /// They come from the words of the uniform numbers: draw one kind alone from one stream.
    pub fn normals(self) -> impl Iterator<Item = f64> {
        let Self { seed, index, purpose, .. } = self;
        (0..=u32::MAX).flat_map(move |block| normal_pair(seed, index, purpose, block))
    }
}

fn bounded_normal(word: u64) -> f32 {
    let sum: u64 = (0..4).map(|part| word >> (16 * part) & 0xffff).sum();
    // Each part has mean 32,767.5 and variance 65,536^2 / 12.
    (sum as f32 - 131_070.0) / 37_837.23
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_normal_numbers_have_mean_0_and_variance_1() {
        let count = 100_000;
        let numbers = || Stream::new(1, 2, Purpose::Other(0)).bounded_normals().take(count).map(f64::from);
        let mean = numbers().sum::<f64>() / count as f64;
        let variance = numbers().map(|number| number * number).sum::<f64>() / count as f64 - mean * mean;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(bounded_normal(0) > -3.5 && bounded_normal(u64::MAX) < 3.5);
    }

    #[test]
    fn numbers_one_by_one_are_those_of_the_whole_stream() {
        let mut stream = Stream::new(5, 6, Purpose::Phantom(1));
        let one_by_one: Vec<f64> = (0..9).map(|_| stream.uniform()).collect();
        assert_eq!(one_by_one, stream.uniforms().take(9).collect::<Vec<_>>());
        assert_eq!(one_by_one, crate::uniforms(5, 6, Purpose::Phantom(1), 9));
        let scaled = Stream::new(5, 6, Purpose::Phantom(1)).between(2.0, 4.0);
        assert_eq!(scaled, (2.0 + 2.0 * one_by_one[0]) as f32);
    }
}
