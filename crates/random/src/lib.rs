//! Random numbers that are a function of (seed, image index, purpose) and of nothing else.
//!
//! A generator with a state gives a number that depends on everything drawn before it: on the batch size, on the
//! order of threads, on where a run was resumed. A counter-based one is a keyed hash: number `i` of image `n` can be
//! computed alone, anywhere. The hash is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
//! 3"); normal numbers come from it by Box and Muller's transform in f64, with elementary functions written in Rust,
//! so that every machine draws the same bits.
//!
//! It is the only generator of the workspace. Functions give numbers of a known count; a [`Stream`] gives one after the
//! other where the count is not known beforehand.
//!
//! ```
//! use random::{Purpose, Stream};
//!
//! let noise = random::normal(7, 0, Purpose::InitialNoise, 16);
//! assert_eq!(noise[..4], random::normal(7, 0, Purpose::InitialNoise, 4)[..]);
//! let mut stream = Stream::new(7, 0, Purpose::Selection);
//! assert_eq!(stream.uniform(), random::uniform(7, 0, Purpose::Selection));
//! ```

mod stream;

pub use stream::Stream;

/// What a random number is for. Numbers of different purposes are independent of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// The latent from which sampling starts.
    InitialNoise,
    /// Noise that an ancestral sampler adds after the step with this index.
    StepNoise(u16),
    /// Noise mixed into a training example.
    TrainingNoise,
    /// Time of a training example.
    TrainingTime,
    /// Whether a training example loses its condition.
    ConditionDropout,
    /// The position of the autoencoder's sample within its latent distribution.
    LatentSample,
    /// The order of the training data.
    DataOrder,
    /// Flips, crops and other changes of a training example.
    Augmentation,
    /// Choice of partners, fractions and other decisions about a generated image.
    Selection,
    /// A network's first weights; the index is a hash of the parameter's name.
    Initialisation,
    /// Anything else, told apart by the caller's own number.
    Other(u16),
    /// Draws with replacement for the set with this number; the index counts replicates.
    Bootstrap(u16),
    /// The first centres of k-means; the index counts centres.
    Centres,
    /// A part of a phantom: anatomy, findings, vessels, texture, noise.
    Phantom(u16),
    /// A part of how one view of a picture differs from the picture.
    View {
        /// Number of the view of this image.
        view: u16,
        /// Number of what is drawn: its place, its noise and the like, below 2^15.
        part: u16,
    },
}

impl Purpose {
    /// The word of the counter for this purpose. These numbers are part of every stored result: never reuse one.
    fn word(self) -> u32 {
        let (kind, detail) = match self {
            Purpose::InitialNoise => (1, 0),
            Purpose::StepNoise(step) => (2, step),
            Purpose::TrainingNoise => (3, 0),
            Purpose::TrainingTime => (4, 0),
            Purpose::ConditionDropout => (5, 0),
            Purpose::LatentSample => (6, 0),
            Purpose::DataOrder => (7, 0),
            Purpose::Augmentation => (8, 0),
            Purpose::Selection => (9, 0),
            Purpose::Initialisation => (10, 0),
            Purpose::Other(number) => (11, number),
            Purpose::Bootstrap(set) => (12, set),
            Purpose::Centres => (13, 0),
            Purpose::Phantom(part) => (14, part),
            // Parts share the upper half of all kinds.
            Purpose::View { view, part } => (0x8000 | u32::from(part), view),
        };
        (kind << 16) | u32::from(detail)
    }
}

/// Philox4x32 with 10 rounds: four random words from a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    // Multipliers and key increments of the paper's table 2 and section 3.2 (the latter: golden ratio, sqrt(3) - 1).
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    const NUM_ROUNDS: usize = 10;
    for round in 0..NUM_ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(INCREMENTS[0]), key[1].wrapping_add(INCREMENTS[1])];
        }
        let product =
            [u64::from(MULTIPLIERS[0]) * u64::from(counter[0]), u64::from(MULTIPLIERS[1]) * u64::from(counter[2])];
        let (high, low) = (product.map(|value| (value >> 32) as u32), product.map(|value| value as u32));
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]];
    }
    counter
}

/// The four words of a block.
fn block_words(seed: u64, index: u64, purpose: Purpose, block: u32) -> [u32; 4] {
    let counter = [block, purpose.word(), index as u32, (index >> 32) as u32];
    philox4x32(counter, [seed as u32, (seed >> 32) as u32])
}

/// The 64-bit random numbers at `2 * block` and `2 * block + 1` of a stream.
fn words(seed: u64, index: u64, purpose: Purpose, block: u32) -> [u64; 2] {
    let [a, b, c, d] = block_words(seed, index, purpose, block);
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}

/// The middle of one of the 2^53 equal parts of `0..1`, so neither end is ever drawn.
fn unit_interval(word: u64) -> f64 {
    // The lowest of 53 bits gives way to the half that keeps the sum exact.
    ((word >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Two independent standard normal numbers (Box and Muller 1958).
fn normal_pair(seed: u64, index: u64, purpose: Purpose, block: u32) -> [f64; 2] {
    let [first, second] = words(seed, index, purpose, block).map(unit_interval);
    let radius = libm::sqrt(-2.0 * libm::log(first));
    let (sine, cosine) = libm::sincos(std::f64::consts::TAU * second);
    [radius * cosine, radius * sine]
}

/// One uniform number, strictly between 0 and 1.
pub fn uniform(seed: u64, index: u64, purpose: Purpose) -> f64 {
    unit_interval(words(seed, index, purpose, 0)[0])
}

/// `len` uniform numbers, strictly between 0 and 1; the first is that of [`uniform`].
pub fn uniforms(seed: u64, index: u64, purpose: Purpose, len: usize) -> Vec<f64> {
    Stream::new(seed, index, purpose).uniforms().take(len).collect()
}

/// One standard normal number in full precision.
pub fn normal_f64(seed: u64, index: u64, purpose: Purpose) -> f64 {
    normal_pair(seed, index, purpose, 0)[0]
}

/// `len` standard normal numbers. A shorter request gives the beginning of a longer one.
pub fn normal(seed: u64, index: u64, purpose: Purpose, len: usize) -> Vec<f32> {
    Stream::new(seed, index, purpose).normals().take(len).map(|value| value as f32).collect()
}

/// Fills `positions` with draws from `0..positions.len()` with replacement; there may be up to 2^32 of them.
///
/// Each block of the generator gives four positions. A position is drawn more or less often than its neighbours by at
/// most `positions.len() / 2^32` of its probability.
pub fn draw_positions(seed: u64, index: u64, purpose: Purpose, positions: &mut [usize]) {
    let num_items = positions.len() as u64;
    for (block, drawn) in positions.chunks_mut(4).enumerate() {
        for (position, word) in drawn.iter_mut().zip(block_words(seed, index, purpose, block as u32)) {
            // The upper half of the product: a share of 1 in 32 bits, times the number of items.
            *position = ((u64::from(word) * num_items) >> 32) as usize;
        }
    }
}

/// The order in which epoch `epoch` visits `len` items: each of `0..len` once.
pub fn permutation(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    // Sorting by a keyed hash is a uniform shuffle up to ties of 64-bit words, which the item's number breaks.
    let mut keyed: Vec<(u64, usize)> =
        (0..len).map(|item| (words(seed, epoch, Purpose::DataOrder, item as u32)[0], item)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, item)| item).collect()
}

/// At most `count` of some items, each at most once: the first ones in the order of [`permutation`].
pub fn choice<T: Copy>(seed: u64, epoch: u64, items: &[T], count: usize) -> Vec<T> {
    permutation(seed, epoch, items.len()).into_iter().take(count).map(|position| items[position]).collect()
}

/// Whether the training example `index` is shown the null condition instead of its own, which happens with
/// probability `rate` (0 never, 1 always).
pub fn drops_condition(seed: u64, index: u64, rate: f64) -> bool {
    uniform(seed, index, Purpose::ConditionDropout) < rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_its_authors() {
        // The vectors for "philox4x32 10" of the Random123 distribution.
        let known = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in known {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
        let count = values.clone().count() as f64;
        values.sum::<f64>() / count
    }

    #[test]
    fn normal_numbers_have_the_moments_of_a_normal_distribution() {
        let numbers = normal(3, 5, Purpose::InitialNoise, 400_000);
        let moment = |power: i32| mean(numbers.iter().map(move |value| f64::from(*value).powi(power)));
        // Standard errors are 0.0016, 0.0022, 0.0061 and 0.0155; four of each.
        assert!(moment(1).abs() < 0.0064, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.009, "{}", moment(2));
        assert!(moment(3).abs() < 0.025, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.062, "{}", moment(4));
    }

    #[test]
    fn uniform_numbers_fill_every_tenth_alike() {
        let mut counts = [0_i64; 10];
        for index in 0..100_000 {
            let value = uniform(11, index, Purpose::TrainingTime);
            assert!(value > 0.0 && value < 1.0);
            counts[(value * 10.0) as usize] += 1;
        }
        // The standard deviation of a count is 95.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 400), "{counts:?}");
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_never_drawn() {
        assert!(unit_interval(0) > 0.0);
        assert!(unit_interval(u64::MAX) < 1.0);
    }

    #[test]
    fn streams_of_other_seeds_images_and_purposes_are_uncorrelated() {
        let len = 40_000;
        let base = normal(1, 1, Purpose::InitialNoise, len);
        let others = [
            normal(2, 1, Purpose::InitialNoise, len),
            normal(1 << 32 | 1, 1, Purpose::InitialNoise, len),
            normal(1, 2, Purpose::InitialNoise, len),
            normal(1, 1 << 32 | 1, Purpose::InitialNoise, len),
            normal(1, 1, Purpose::StepNoise(0), len),
            normal(1, 1, Purpose::StepNoise(1), len),
            normal(1, 1, Purpose::TrainingNoise, len),
        ];
        for other in &others {
            let correlation = mean(base.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)));
            assert!(correlation.abs() < 4.0 / (len as f64).sqrt(), "{correlation}");
        }
    }

    #[test]
    fn a_short_request_is_the_beginning_of_a_long_one() {
        assert_eq!(normal(9, 4, Purpose::InitialNoise, 7)[..5], normal(9, 4, Purpose::InitialNoise, 5)[..]);
        assert_eq!(uniforms(9, 4, Purpose::Selection, 1), [uniform(9, 4, Purpose::Selection)]);
        assert_eq!(normal(9, 4, Purpose::Selection, 1), [normal_f64(9, 4, Purpose::Selection) as f32]);
    }

    #[test]
    fn no_two_purposes_share_a_word() {
        let mut words: Vec<u32> = (0..300)
            .flat_map(|number| {
                [
                    Purpose::StepNoise(number),
                    Purpose::Other(number),
                    Purpose::Bootstrap(number),
                    Purpose::Phantom(number),
                ]
                .into_iter()
                .chain((0..12).map(move |part| Purpose::View { view: number, part }))
            })
            .chain([
                Purpose::InitialNoise,
                Purpose::TrainingNoise,
                Purpose::TrainingTime,
                Purpose::ConditionDropout,
                Purpose::LatentSample,
                Purpose::DataOrder,
                Purpose::Augmentation,
                Purpose::Selection,
                Purpose::Initialisation,
                Purpose::Centres,
            ])
            .map(Purpose::word)
            .collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn positions_are_drawn_alike_and_anew_for_each_replicate() {
        let mut positions = [0; 50];
        let mut counts = [0_i64; 50];
        for replicate in 0..2000 {
            draw_positions(3, replicate, Purpose::Bootstrap(0), &mut positions);
            positions.iter().for_each(|position| counts[*position] += 1);
        }
        // The standard deviation of a count is 45.
        assert!(counts.iter().all(|count| (count - 2000).abs() < 200), "{counts:?}");
        let draw = |replicate, set| {
            let mut positions = vec![0; 1001];
            draw_positions(3, replicate, Purpose::Bootstrap(set), &mut positions);
            positions
        };
        let same = |left: &[usize], right: &[usize]| left.iter().zip(right).filter(|(a, b)| a == b).count();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert!(same(&draw(1, 0), &draw(2, 0)) < 10 && same(&draw(1, 0), &draw(1, 1)) < 10);
        draw_positions(3, 0, Purpose::Bootstrap(0), &mut []);
    }

    #[test]
    fn the_bits_never_change() {
        // A stored result must be drawn again by every later version. Computed by the same formulas in Python.
        let bits: Vec<u32> = normal(42, 1000, Purpose::InitialNoise, 4).into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, [1_034_258_342, 1_061_809_407, 3_184_078_303, 3_191_671_202]);
    }

    #[test]
    fn a_permutation_visits_everything_once_and_changes_with_the_epoch() {
        let order = permutation(1, 0, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_eq!(order, permutation(1, 0, 1000));
        for other in [permutation(1, 1, 1000), permutation(2, 0, 1000)] {
            let fixed = order.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(fixed < 8, "{fixed} of 1000 items at the same place; 1 is expected");
        }
        assert!(permutation(1, 0, 0).is_empty());
    }

    #[test]
    fn conditions_are_dropped_at_the_given_rate() {
        let dropped = (0..20_000).filter(|index| drops_condition(5, *index, 0.1)).count();
        assert!((dropped as f64 - 2000.0).abs() < 4.0 * 42.0, "{dropped}");
        assert!((0..100).all(|index| drops_condition(5, index, 1.0) && !drops_condition(5, index, 0.0)));
    }
}
