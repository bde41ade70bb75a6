//! A table by 64-bit keys that takes little more memory than what is in it.
//!
//! Hash tables double, and hold both halves while they do; the standard library's trees take 17 bytes for a key of 8.
//! Here the keys lie in sorted runs of at most [`MAX_RUN`], which grow in small steps and are cut in two when they are
//! full: about 10 bytes for each key, in blocks so small that the next table takes the place of one that is gone.

use std::mem;

/// Keys of a run: enough that the list of runs stays short, few enough that making room in one is quick.
const MAX_RUN: usize = 512;

/// Keys that a run makes room for at a time.
const STEP: usize = MAX_RUN / 16;

/// A map from 64-bit hashes to something small; a set where that is `()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap<V> {
    /// Not empty, each sorted, and in order.
    runs: Vec<Run<V>>,
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run<V> {
    keys: Vec<u64>,
    values: Vec<V>,
}

impl<V> Default for KeyMap<V> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<V> KeyMap<V> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a key stands for, `None` where it is not there.
    pub fn get(&self, key: u64) -> Option<&V> {
        let run = &self.runs.get(self.run_of(key))?;
        run.keys.binary_search(&key).ok().map(|at| &run.values[at])
    }

    /// As [`KeyMap::get`], to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let run = self.run_of(key);
        let run = self.runs.get_mut(run)?;
        run.keys.binary_search(&key).ok().map(|at| &mut run.values[at])
    }

    /// Puts a value in, and gives back the one that the key had.
    pub fn insert(&mut self, key: u64, value: V) -> Option<V> {
        if let Some(was) = self.get_mut(key) {
            return Some(mem::replace(was, value));
        }
        if self.runs.is_empty() {
            self.runs.push(Run { keys: Vec::new(), values: Vec::new() });
        }
        let mut at = self.run_of(key);
        if self.runs[at].keys.len() == MAX_RUN {
            let second = self.runs[at].cut();
            self.runs.insert(at + 1, second);
            at = self.run_of(key);
        }
        self.runs[at].insert(key, value);
        self.len += 1;
        None
    }

    /// The keys with their values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.runs.iter().flat_map(|run| run.keys.iter().copied().zip(&run.values))
    }

    /// The run that has a key, or would have it.
    fn run_of(&self, key: u64) -> usize {
        self.runs.partition_point(|run| run.keys.first().is_some_and(|first| *first <= key)).saturating_sub(1)
    }
}

impl<V> Run<V> {
    /// The key is not there, and the run is not full.
    fn insert(&mut self, key: u64, value: V) {
        if self.keys.len() == self.keys.capacity() {
            self.keys.reserve_exact(STEP);
            self.values.reserve_exact(STEP);
        }
        let at = self.keys.partition_point(|other| *other < key);
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    /// Keeps the first half and gives back the second.
    fn cut(&mut self) -> Self {
        let half = self.keys.len() / 2;
        let second = Self { keys: self.keys.split_off(half), values: self.values.split_off(half) };
        self.keys.shrink_to(half + STEP);
        self.values.shrink_to(half + STEP);
        second
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against the standard library's map: keys in any order, ascending and descending, and twice.
    #[test]
    fn a_table_holds_what_was_put_in() {
        let scattered = (0..20_000_u64).map(|number| (number % 15_000).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let orders: [Vec<u64>; 3] = [scattered.collect(), (0..3000).collect(), (0..3000).rev().collect()];
        for keys in orders {
            let (mut map, mut expected) = (KeyMap::default(), BTreeMap::new());
            for (value, &key) in keys.iter().enumerate() {
                assert_eq!(map.get(key), expected.get(&key));
                assert_eq!(map.insert(key, value), expected.insert(key, value));
                assert_eq!(map.len(), expected.len());
            }
            for key in keys.iter().step_by(7) {
                *map.get_mut(*key).unwrap() += 1;
                *expected.get_mut(key).unwrap() += 1;
            }
            assert!(map.iter().eq(expected.iter().map(|(&key, value)| (key, value))));
            assert_eq!(map.get(1 << 63 | 12_345), None);
            assert_eq!(map.get_mut(1 << 63 | 12_345), None);
            let room: usize = map.runs.iter().map(|run| run.keys.capacity()).sum();
            assert!(room < 2 * map.len(), "{room} for {}", map.len());
        }
        assert!(KeyMap::<()>::default().is_empty());
    }
}
