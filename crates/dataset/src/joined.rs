//! Splits drawn by patient, corrected so that images that look alike are on one side.
//!
//! Patients are joined where they have near duplicates, and a joined group goes where one of its patients was drawn
//! to. Everything follows from the rows and nothing from their order in time: the pixel hashes choose the patient, not
//! the salted identifiers, so another salt gives the same splits.

use std::collections::BTreeMap;

use crate::near::for_each_near_pair;
use crate::split::text_key;
use crate::{KeyMap, ManifestRow, NearHashes, Result, Split, pixel_key};

/// How an image came to its split; the first ones bind more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SplitOrigin {
    /// Whoever made the images says so: it stays where it is.
    Given,
    /// Drawn among training and validation, because an official test set does not have it: it never goes to the test
    /// split.
    DrawnWithoutTest,
    /// Drawn by the program: it may go anywhere.
    Drawn,
}

/// What joining came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedSplits {
    /// Patients (see [`text_key`]) who go to another split than the one that their images were written with.
    moves: KeyMap<Split>,
    /// Patients with an image that looks like one of another patient.
    pub num_joined: usize,
    /// Patients in the largest of the joined groups.
    pub largest_group: usize,
}

impl JoinedSplits {
    /// Patients who go to another split than the one that their images were written with.
    pub fn num_moved(&self) -> usize {
        self.moves.len()
    }

    /// The row with its patient's final split.
    pub(crate) fn apply(&self, mut row: ManifestRow) -> ManifestRow {
        if let Some(&split) = self.moves.get(text_key(&row.patient)) {
            row.split = split;
        }
        row
    }
}

/// A patient who was joined with others.
struct Patient {
    /// The root of the patient's group.
    group: u32,
    /// The number of the patient's first image, and its split.
    first: Option<(u32, Split)>,
    /// That of the image that is bound most.
    origin: SplitOrigin,
    /// The lowest pixel hash of the patient's images.
    key: u64,
}

/// Joins patients who have near duplicates (see [`NearHashes`]), also over several steps. Each group goes to the split of
/// one of its patients: of those with the origin that binds most, the one with the lowest pixel hash. Patients stay
/// where their own origin forbids the move, so near duplicates between given splits remain.
///
/// A patient counts as bound as the most bound of the patient's images. `rows` begins the rows anew, of which it is told
/// the columns that are needed; `origin` gets the number and the source file of an image. Takes about 9 bytes for each
/// image while it runs, and 70 for each that has a near duplicate.
///
/// # Errors
/// Those of `rows`.
pub fn join_near_duplicates<I>(
    rows: impl Fn(&'static [&'static str]) -> Result<I>,
    origin: impl Fn(usize, &str) -> SplitOrigin,
) -> Result<JoinedSplits>
where
    I: Iterator<Item = Result<ManifestRow>>,
{
    let (mut hashes, mut num_rows) = (NearHashes::default(), 0);
    for row in rows(&["perceptual_hash"])? {
        row?.perceptual_hash.into_iter().for_each(|hash| hashes.push(hash));
        num_rows += 1;
    }
    let nobody_joined = JoinedSplits { largest_group: usize::from(num_rows > 0), ..Default::default() };
    let hashes = hashes.with_neighbours();
    if hashes.is_empty() {
        return Ok(nobody_joined);
    }

    // Hashes are joined where they are near each other, and where a patient has both.
    let mut groups = Groups::new(hashes.len());
    for_each_near_pair(&hashes, |a, b| groups.join(a, b));
    let mut places: KeyMap<u32> = KeyMap::default();
    for row in rows(&["perceptual_hash", "patient"])? {
        let row = row?;
        let Some(place) = row.perceptual_hash.and_then(|hash| hashes.binary_search(&hash).ok()) else { continue };
        if let Some(other) = places.insert(text_key(&row.patient), place as u32) {
            groups.join(place as u32, other);
        }
    }
    drop(hashes);
    let mut sizes = vec![0_u32; groups.0.len()];
    places.iter().for_each(|(_, &place)| sizes[groups.root(place) as usize] += 1);
    let mut patients: KeyMap<Patient> = KeyMap::default();
    for (patient, &place) in places.iter() {
        let group = groups.root(place);
        if sizes[group as usize] > 1 {
            patients.insert(patient, Patient { group, first: None, origin: SplitOrigin::Drawn, key: u64::MAX });
        }
    }
    drop((places, groups));
    if patients.is_empty() {
        return Ok(nobody_joined);
    }
    let largest_group = sizes.into_iter().max().unwrap_or(0) as usize;

    for (number, row) in rows(&["patient", "pixel_hash", "source_file", "split"])?.enumerate() {
        let row = row?;
        if let Some(patient) = patients.get_mut(text_key(&row.patient)) {
            patient.first.get_or_insert((number as u32, row.split));
            patient.origin = patient.origin.min(origin(number, &row.source_file));
            patient.key = patient.key.min(pixel_key(&row.pixel_hash));
        }
    }
    // Of each group the rank and the split of the leader, who has the lowest rank.
    let mut leaders: BTreeMap<u32, ((SplitOrigin, u64, u32), Split)> = BTreeMap::new();
    for (_, &Patient { group, first, origin, key }) in patients.iter() {
        let Some((first, split)) = first else { continue };
        let candidate = ((origin, key, first), split);
        let leader = leaders.entry(group).or_insert(candidate);
        if candidate.0 < leader.0 {
            *leader = candidate;
        }
    }
    let mut joined = JoinedSplits { num_joined: patients.len(), largest_group, ..Default::default() };
    for (patient, Patient { group, first, origin, .. }) in patients.iter() {
        let (Some((_, split)), Some(&(_, wanted))) = (*first, leaders.get(group)) else { continue };
        let may_go = match origin {
            SplitOrigin::Given => false,
            SplitOrigin::DrawnWithoutTest => wanted != Split::Test,
            SplitOrigin::Drawn => true,
        };
        if may_go && wanted != split {
            joined.moves.insert(patient, wanted);
        }
    }
    Ok(joined)
}

/// A union-find forest: the parent of each number, of a root the number itself.
struct Groups(Vec<u32>);

impl Groups {
    fn new(len: usize) -> Self {
        Self((0..len as u32).collect())
    }

    /// The root of a number's tree; halves the path to it.
    fn root(&mut self, mut number: u32) -> u32 {
        loop {
            let parent = self.0[number as usize];
            if parent == number {
                return number;
            }
            let above = self.0[parent as usize];
            self.0[number as usize] = above;
            number = above;
        }
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Images as patient, pixels (one digit), perceptual hash, split.
    type Image = (&'static str, &'static str, Option<u64>, Split);

    fn row(&(patient, pixels, perceptual_hash, split): &Image) -> Result<ManifestRow> {
        Ok(ManifestRow { pixel_hash: pixels.repeat(64), perceptual_hash, ..ManifestRow::bare(patient, split) })
    }

    /// The moves, sorted, where the origin of an image is given by its patient.
    fn moves(images: &[Image], origin: impl Fn(&str) -> SplitOrigin) -> Vec<(String, Split)> {
        let joined =
            join_near_duplicates(|_| Ok(images.iter().map(row)), |number, _| origin(images[number].0)).unwrap();
        let patients: BTreeSet<&str> = images.iter().map(|image| image.0).collect();
        let split = |patient: &str| joined.moves.get(text_key(patient)).copied();
        let moves: Vec<_> =
            patients.into_iter().filter_map(|patient| Some((patient.to_owned(), split(patient)?))).collect();
        assert_eq!(moves.len(), joined.num_moved());
        moves
    }

    use Split::{Test, Train, Val};
    use SplitOrigin::{Drawn, DrawnWithoutTest, Given};

    /// Ann and Cid are 4 bits apart and joined by Bob, and Dan by another image of Cid; Eve looks like nobody.
    const CHAIN: [Image; 6] = [
        ("ann", "7", Some(0b0000), Train),
        ("cid", "8", Some(0b1111), Test),
        ("bob", "3", Some(0b0011), Val),
        ("cid", "9", Some(0xffff_0000), Test),
        ("dan", "a", Some(0xfffe_0000), Train),
        ("eve", "0", Some(0xf0f0_f0f0_f0f0), Train),
    ];

    #[test]
    fn a_chain_of_near_duplicates_goes_where_the_lowest_pixel_hash_was_drawn_to() {
        let bobs = ["ann", "cid", "dan"].map(|patient| (patient.to_owned(), Val));
        let mut images = CHAIN.to_vec();
        for _ in 0..images.len() {
            assert_eq!(moves(&images, |_| Drawn), bobs, "{images:?}");
            images.rotate_left(1);
        }
        images.reverse();
        assert_eq!(moves(&images, |_| Drawn), bobs);
        let joined = join_near_duplicates(|_| Ok(CHAIN.iter().map(row)), |_, _| Drawn).unwrap();
        assert_eq!((joined.num_joined, joined.largest_group), (4, 4));
        let moved = joined.apply(row(&CHAIN[1]).unwrap());
        assert_eq!(moved.split, Val);
        assert_eq!(joined.apply(row(&CHAIN[5]).unwrap()).split, Train);
    }

    #[test]
    fn given_splits_stay_and_draw_the_others_to_them() {
        let given = |wanted: &'static str| move |patient: &str| if patient == wanted { Given } else { Drawn };
        assert_eq!(moves(&CHAIN, given("cid")), ["ann", "bob", "dan"].map(|patient| (patient.to_owned(), Test)));
        // Two that contradict each other both stay.
        let both = |patient: &str| if ["cid", "dan"].contains(&patient) { Given } else { Drawn };
        assert_eq!(moves(&CHAIN, both), ["ann", "bob"].map(|patient| (patient.to_owned(), Test)));
        assert_eq!(moves(&CHAIN, |_| Given), []);
    }

    #[test]
    fn who_is_not_in_an_official_test_set_never_gets_there() {
        let origin = |patient: &str| match patient {
            "cid" => Given,
            "ann" | "dan" => DrawnWithoutTest,
            _ => Drawn,
        };
        assert_eq!(moves(&CHAIN, origin), [("bob".to_owned(), Test)]);
        // Without a given one, the bound ones draw the others to them.
        let origin = |patient: &str| if patient == "ann" { DrawnWithoutTest } else { Drawn };
        assert_eq!(moves(&CHAIN, origin), [("bob".to_owned(), Train), ("cid".to_owned(), Train)]);
    }

    #[test]
    fn one_bound_image_binds_the_patient() {
        let images = [("ann", "1", None, Val), ("ann", "5", Some(1), Val), ("bob", "0", Some(1), Test)];
        let first_is_given = |number: usize, _: &str| if number == 0 { Given } else { Drawn };
        let joined = join_near_duplicates(|_| Ok(images.iter().map(row)), first_is_given).unwrap();
        assert!(joined.moves.iter().eq([(text_key("bob"), &Val)]));
    }

    #[test]
    fn flat_images_and_nobody_join_nothing() {
        let nobody = join_near_duplicates(|_| Ok([].iter().map(row)), |_, _| Drawn).unwrap();
        assert_eq!(nobody, JoinedSplits::default());
        let images = [("ann", "1", None, Val), ("bob", "0", None, Test)];
        let joined = join_near_duplicates(|_| Ok(images.iter().map(row)), |_, _| Drawn).unwrap();
        assert_eq!(joined, JoinedSplits { largest_group: 1, ..Default::default() });
    }
}
