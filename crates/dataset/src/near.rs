//! Near duplicates by their perceptual hashes, without comparing everything with everything.

use std::collections::HashMap;
use std::mem;

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

/// Hashes, of which those that have others near them are wanted: some 9 bytes for each. Few images look like others, so
/// whatever is to be known about these alone takes little.
#[derive(Debug)]
pub struct NearHashes {
    /// By the highest byte of the band that is looked at; each is sorted on its own.
    shards: Vec<Vec<u64>>,
}

impl Default for NearHashes {
    fn default() -> Self {
        Self { shards: vec![Vec::new(); 256] }
    }
}

impl NearHashes {
    /// Adds a hash.
    pub fn push(&mut self, hash: u64) {
        let shard = &mut self.shards[usize::from(hash.to_be_bytes()[0])];
        if shard.len() == shard.capacity() {
            // Not twice as much, as a vector does by itself.
            shard.reserve_exact(16.max(shard.len() / 8));
        }
        shard.push(hash);
    }

    /// The hashes that were added more than once, or together with another one within [`MAX_NEAR_DISTANCE`]: sorted, each
    /// once.
    pub fn with_neighbours(mut self) -> Vec<u64> {
        let mut found = Vec::new();
        for band in 0..BANDS {
            // The band is in the highest bits.
            for shard in &mut self.shards {
                shard.sort_unstable();
                if band == 0 {
                    found.extend(shard.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
                    shard.dedup();
                }
                for candidates in shard.chunk_by(|a, b| a >> 48 == b >> 48) {
                    let near = have_neighbours(candidates).map(|hash| hash.rotate_right(16 * band as u32));
                    found.extend(near);
                }
            }
            found.sort_unstable();
            found.dedup();
            let mut next = Self::default();
            for shard in &mut self.shards {
                mem::take(shard).into_iter().for_each(|hash| next.push(hash.rotate_left(16)));
            }
            self = next;
        }
        found
    }
}

/// Of different hashes, those that are near another one.
fn have_neighbours(hashes: &[u64]) -> impl Iterator<Item = u64> {
    let mut have = vec![false; hashes.len()];
    for (a, &hash) in hashes.iter().enumerate() {
        for (b, &other) in hashes.iter().enumerate().skip(a + 1) {
            if are_near(hash, other) {
                (have[a], have[b]) = (true, true);
            }
        }
    }
    hashes.iter().copied().zip(have).filter_map(|(hash, has)| has.then_some(hash))
}

/// Tells `meet` the places of any two of some hashes that are near each other; of some pairs several times. Takes 4 bytes
/// for each hash.
pub(crate) fn for_each_near_pair(hashes: &[u64], mut meet: impl FnMut(u32, u32)) {
    let mut places: Vec<u32> = (0..hashes.len() as u32).collect();
    for band in 0..BANDS {
        let band = |place: u32| band_of(hashes[place as usize], band);
        places.sort_unstable_by_key(|&place| band(place));
        for candidates in places.chunk_by(|&a, &b| band(a) == band(b)) {
            for (at, &a) in candidates.iter().enumerate() {
                let others = candidates[at + 1..].iter();
                others.filter(|b| are_near(hashes[a as usize], hashes[**b as usize])).for_each(|&b| meet(a, b));
            }
        }
    }
}

fn are_near(hash: u64, other: u64) -> bool {
    (hash ^ other).count_ones() <= MAX_NEAR_DISTANCE
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
            found += usize::from(expected.is_some());
            index.insert(hash, number);
        }
        assert!((300..600).contains(&found), "{found} of 600 are near");

        let mut all = NearHashes::default();
        hashes.iter().for_each(|&hash| all.push(hash));
        let near = |a: u64, b: u64| (a ^ b).count_ones() <= 3;
        let is_met = |at: usize| (0..hashes.len()).any(|other| other != at && near(hashes[at], hashes[other]));
        let expected: BTreeSet<u64> = (0..hashes.len()).filter(|&at| is_met(at)).map(|at| hashes[at]).collect();
        let found = all.with_neighbours();
        assert!(found.iter().eq(&expected) && found.len() > 300, "{} of {}", found.len(), expected.len());

        let mut pairs = BTreeSet::new();
        for_each_near_pair(&found, |a, b| _ = pairs.insert((a.min(b), a.max(b))));
        let places = 0..found.len() as u32;
        let all = places.clone().flat_map(|a| places.clone().skip(a as usize + 1).map(move |b| (a, b)));
        let expected = all.filter(|&(a, b)| near(found[a as usize], found[b as usize]));
        assert!(pairs.into_iter().eq(expected));
        assert!(NearHashes::default().with_neighbours().is_empty());
    }
}
