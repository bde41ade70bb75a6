//! Which pictures a dataset has already, and the ids of new ones: one rule for preparing and for joining parts, which must
//! come to the same bytes.

use dataset::{KeyMap, pixel_key};

/// Hexadecimal digits of the pixel hash in an id.
const ID_DIGITS: usize = 16;

/// The pictures met so far: 10 bytes for each, since ids are no longer than keys either. See [`pixel_key`] for how
/// seldom two pictures have one key.
#[derive(Debug)]
pub(super) struct Seen {
    keys: KeyMap<()>,
    deduplicate: bool,
}

impl Seen {
    /// None yet; `deduplicate` leaves out those with equal pixels.
    pub(super) fn new(deduplicate: bool) -> Self {
        Self { keys: KeyMap::default(), deduplicate }
    }

    /// A picture that is in the dataset.
    pub(super) fn note(&mut self, pixel_hash: &str) {
        self.keys.insert(pixel_key(pixel_hash), ());
    }

    /// The id of a picture that would be the dataset's image `number`. Blank pictures, which have no perceptual hash, are
    /// equal without being copies of one another, and all are kept.
    ///
    /// # Errors
    /// The id of the image that has the same pixels, where such pictures are left out.
    pub(super) fn id(
        &mut self,
        pixel_hash: &str,
        perceptual_hash: Option<u64>,
        number: usize,
    ) -> Result<String, String> {
        let id = pixel_hash.get(..ID_DIGITS).unwrap_or(pixel_hash).to_owned();
        let is_left_out = self.deduplicate && perceptual_hash.is_some();
        match (self.keys.insert(pixel_key(pixel_hash), ()).is_none(), is_left_out) {
            (true, _) => Ok(id),
            (false, true) => Err(id),
            (false, false) => Ok(format!("{id}-{number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_are_left_out_or_numbered() {
        let (one, other) = ("1".repeat(64), "2".repeat(64));
        let mut seen = Seen::new(true);
        seen.note(&other);
        assert_eq!(seen.id(&one, Some(3), 1), Ok("1".repeat(16)));
        assert_eq!(
            [seen.id(&one, Some(3), 2), seen.id(&other, Some(3), 2)],
            [Err("1".repeat(16)), Err("2".repeat(16))]
        );
        // Blank ones are kept.
        assert_eq!(seen.id(&one, None, 2), Ok("1111111111111111-2".into()));
        let mut seen = Seen::new(false);
        let found = [seen.id(&one, Some(3), 0), seen.id(&one, Some(3), 1)];
        assert_eq!(found, [Ok("1".repeat(16)), Ok("1111111111111111-1".into())]);
    }
}
