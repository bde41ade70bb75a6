//! Near duplicates by their perceptual hashes, without comparing everything with everything.

use std::collections::HashMap;

/// Bits in which the perceptual hashes of near duplicates differ at most.
pub const MAX_NEAR_DISTANCE: u32 = 3;

/// Bands of a hash. Hashes that differ in at most [`MAX_NEAR_DISTANCE`] bits agree in at least one of one band more.
const BANDS: usize = MAX_NEAR_DISTANCE as usize + 1;

/// Finds the nearest of the hashes that it holds: those that share a band of 16 bits are candidates (M. Norouzi et al.,
/// "Fast search in Hamming space with multi-index hashing", CVPR 2012), of which each is compared in full. About 50
/// bytes for each different hash.
#[derive(Debug, Default)]
pub struct NearIndex {
    /// Each different hash with the number that it was first inserted with.
    hashes: Vec<(u64, usize)>,
    bands: [HashMap<u16, Vec<u32>>; BANDS],
}

impl NearIndex {
    /// Adds a hash under a number; a hash that is there keeps the number it has.
    pub fn insert(&mut self, hash: u64, number: usize) {
        let same_band = self.bands[0].get(&band_of(hash, 0));
        if same_band.is_some_and(|places| places.iter().any(|&place| self.hashes[place as usize].0 == hash)) {
            return;
        }
        let place = self.hashes.len();
        self.hashes.push((hash, number));
        for (band, places) in self.bands.iter_mut().enumerate() {
            places.entry(band_of(hash, band)).or_default().push(place as u32);
        }
    }

    /// The numbers of all hashes within [`MAX_NEAR_DISTANCE`], in no particular order; some may come several times.
    pub fn all_near(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        self.candidates(hash)
            .map(|place| self.hashes[place as usize])
            .filter(move |(other, _)| (other ^ hash).count_ones() <= MAX_NEAR_DISTANCE)
            .map(|(_, number)| number)
    }

    /// The number of the nearest hash within [`MAX_NEAR_DISTANCE`] and its distance in bits; of several the one that
    /// was inserted first.
    pub fn nearest(&self, hash: u64) -> Option<(usize, u32)> {
        self.candidates(hash)
            .map(|place| ((self.hashes[place as usize].0 ^ hash).count_ones(), place))
            .filter(|&(distance, _)| distance <= MAX_NEAR_DISTANCE)
            .min()
            .map(|(distance, place)| (self.hashes[place as usize].1, distance))
    }

    /// The places of the hashes that share a band with this one.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let shared = self.bands.iter().enumerate();
        shared.filter_map(move |(band, places)| places.get(&band_of(hash, band))).flatten().copied()
    }
}

fn band_of(hash: u64, band: usize) -> u16 {
    (hash >> (16 * band)) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against the comparison of everything with everything, on hashes that were made to be near each other.
    #[test]
    fn nothing_near_is_missed_and_nothing_far_is_found() {
        let mut state = 7_u64;
        let mut next = || {
            // Knuth's MMIX generator; its high bits are good enough here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 32
        };
        let mut hashes: Vec<u64> = (0..300).map(|_| next() << 32 | next()).collect();
        for number in 0..600 {
            let flips = next() % 6;
            let hash = (0..flips).fold(hashes[number % 300], |hash, _| hash ^ 1 << (next() % 64));
            hashes.push(hash);
        }
        let mut index = NearIndex::default();
        let mut found = 0;
        for (number, &hash) in hashes.iter().enumerate() {
            let all = hashes[..number].iter().enumerate().map(|(at, other)| ((hash ^ other).count_ones(), at));
            let expected = all.filter(|&(distance, _)| distance <= 3).min().map(|(distance, at)| (at, distance));
            assert_eq!(index.nearest(hash), expected, "hash {number}");
            let near = |other: &u64| (hash ^ other).count_ones() <= 3;
            let all: BTreeSet<u64> = hashes[..number].iter().copied().filter(near).collect();
            assert_eq!(index.all_near(hash).map(|at| hashes[at]).collect::<BTreeSet<_>>(), all, "hash {number}");
            found += usize::from(expected.is_some());
            index.insert(hash, number);
        }
        assert!((300..600).contains(&found), "{found} of 600 are near");
    }
}
