//! The numbers of a part's images: ascending, and most of them close to the one before.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits of a distance in a byte; the highest one says that the next byte goes on.
const BITS: u32 = 7;

/// Ascending numbers in a byte or two each: what each is beyond the one before. Written as a plain list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    bytes: Vec<u8>,
    len: usize,
    last: u64,
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a number; does nothing and is `false` where it is not above the last one.
    #[must_use]
    pub(super) fn push(&mut self, number: u64) -> bool {
        if self.len > 0 && number <= self.last {
            return false;
        }
        let mut distance = number - self.last;
        while distance >> BITS > 0 {
            self.bytes.push(distance as u8 | 1 << BITS);
            distance >>= BITS;
        }
        self.bytes.push(distance as u8);
        (self.len, self.last) = (self.len + 1, number);
        true
    }

    pub(super) fn iter(&self) -> Walk<&[u8]> {
        Walk { bytes: &self.bytes, at: 0, number: 0 }
    }
}

impl IntoIterator for Numbers {
    type Item = u64;
    type IntoIter = Walk<Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        Walk { bytes: self.bytes, at: 0, number: 0 }
    }
}

/// Goes through [`Numbers`].
#[derive(Debug)]
pub(super) struct Walk<B> {
    bytes: B,
    at: usize,
    number: u64,
}

impl<B: AsRef<[u8]>> Iterator for Walk<B> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let bytes = self.bytes.as_ref().get(self.at..)?;
        let len = bytes.iter().position(|byte| byte >> BITS == 0)? + 1;
        let distance = bytes[..len].iter().rev().fold(0, |all, byte| all << BITS | u64::from(byte & !(1 << BITS)));
        (self.at, self.number) = (self.at + len, self.number + distance);
        Some(self.number)
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Ascending)
    }
}

struct Ascending;

impl<'de> Visitor<'de> for Ascending {
    type Value = Numbers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ascending numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
        let mut numbers = Numbers::default();
        while let Some(number) = list.next_element()? {
            if !numbers.push(number) {
                return Err(A::Error::custom(format_args!("{number} comes after {}", numbers.last)));
            }
        }
        numbers.bytes.shrink_to_fit();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_return_and_are_written_as_a_list() {
        let all = [0, 1, 128, 255, 256, 16_639, 16_640, 1 << 40, u64::MAX - 1, u64::MAX];
        let mut numbers = Numbers::default();
        assert!(all.iter().all(|&number| numbers.push(number)));
        assert!(!numbers.push(u64::MAX) && !numbers.push(3));
        assert!(numbers.len() == all.len() && numbers.iter().eq(all));
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(text, serde_json::to_string(&all).unwrap());
        assert_eq!(serde_json::from_str::<Numbers>(&text).unwrap(), {
            numbers.bytes.shrink_to_fit();
            numbers.clone()
        });
        assert!(numbers.into_iter().eq(all));
        let error = serde_json::from_str::<Numbers>("[7, 7]").unwrap_err().to_string();
        assert!(error.starts_with("7 comes after 7"), "{error}");
        let near: Vec<u64> = (0..1000).map(|number| 4 * number).collect();
        let numbers: Numbers = serde_json::from_str(&serde_json::to_string(&near).unwrap()).unwrap();
        assert_eq!(numbers.bytes.len(), near.len());
    }
}
