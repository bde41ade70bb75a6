//! Random numbers from a counter keyed by (seed, image index, purpose): what one purpose draws never shifts another,
//! and no result depends on the order in which images are drawn.

/// Sebastiano Vigna's SplitMix64 finaliser: turns a counter into 64 well-mixed bits.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The golden ratio in 64 bits, SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random numbers of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    key: u64,
}

impl Counter {
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        Self { key: mix(mix(seed.wrapping_add(STEP)).wrapping_add(index.wrapping_mul(STEP))) }
    }

    /// The numbers for one purpose.
    pub(crate) fn stream(self, purpose: &str) -> Stream {
        let key = purpose.bytes().fold(self.key, |key, byte| mix(key.wrapping_add(STEP) ^ u64::from(byte)));
        Stream { key, position: 0 }
    }
}

/// A sequence of random numbers that can also be asked for by position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    key: u64,
    position: u64,
}

impl Stream {
    fn bits_at(&self, position: u64) -> u64 {
        mix(self.key.wrapping_add(position.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// The number at a position, in `0..1` (24 bits, exact in `f32`).
    pub(crate) fn uniform_at(&self, position: u64) -> f32 {
        (self.bits_at(position) >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// A nearly normal number (mean 0, variance 1) at a position: the sum of four 16-bit uniforms, which needs no
    /// logarithm and so rounds alike on every machine. Never beyond 3.5.
    pub(crate) fn normal_at(&self, position: u64) -> f32 {
        let bits = self.bits_at(position);
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        // Each part has mean 32,767.5 and variance 65,536^2 / 12.
        (sum as f32 - 131_070.0) / 37_837.23
    }

    /// The next number in `0..1`.
    pub(crate) fn uniform(&mut self) -> f32 {
        let value = self.uniform_at(self.position);
        self.position += 1;
        value
    }

    /// The next number in `low..high`.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right() {
        let stream = Counter::new(1, 2).stream("test");
        let count = 100_000;
        let moments = |draw: &dyn Fn(u64) -> f32| {
            let (sum, squares) =
                (0..count).map(|i| f64::from(draw(i))).fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
            let mean = sum / count as f64;
            (mean, squares / count as f64 - mean * mean)
        };
        let (mean, variance) = moments(&|i| stream.uniform_at(i));
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
        let (mean, variance) = moments(&|i| stream.normal_at(i));
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn purposes_and_images_are_independent() {
        let first = |seed, index, purpose: &str| Counter::new(seed, index).stream(purpose).uniform();
        let mut seen: Vec<f32> = Vec::new();
        for seed in 0..4 {
            for index in 0..4 {
                seen.extend([first(seed, index, "noise"), first(seed, index, "ribs")]);
            }
        }
        seen.sort_by(f32::total_cmp);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
