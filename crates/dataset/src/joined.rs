//! Splits drawn by patient, corrected so that images that look alike are on one side.
//!
//! Patients are joined where they have near duplicates, and a joined group goes where one of its patients was drawn
//! to. Everything follows from the rows and nothing from their order in time: the pixel hashes choose the patient, not
//! the salted identifiers, so another salt gives the same splits.

use std::collections::HashMap;

use crate::split::patient_key;
use crate::{ManifestRow, NearIndex, Result, Split, pixel_key};

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
    /// Patients (see [`patient_key`]) who go to another split than the one that their images were written with.
    moves: HashMap<u64, Split>,
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
        if let Some(&split) = self.moves.get(&patient_key(&row.patient)) {
            row.split = split;
        }
        row
    }
}

struct Patient {
    origin: SplitOrigin,
    split: Split,
    /// The lowest pixel hash of the patient's images.
    key: [u8; 16],
    /// The patient with whom this one was joined: a union-find forest, in which a root is its own parent.
    parent: u32,
}

/// Joins patients who have near duplicates (see [`NearIndex`]), also over several steps. Each group goes to the split of
/// one of its patients: of those with the origin that binds most, the one with the lowest pixel hash. Patients stay
/// where their own origin forbids the move, so near duplicates between given splits remain.
///
/// A patient counts as bound as the most bound of the patient's images. Takes about 50 bytes for each image and 100 for
/// each patient while it runs.
///
/// # Errors
/// Those of `rows`.
pub fn join_near_duplicates(
    rows: impl IntoIterator<Item = Result<ManifestRow>>,
    origin: impl Fn(&ManifestRow) -> SplitOrigin,
) -> Result<JoinedSplits> {
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut patients: Vec<Patient> = Vec::new();
    let mut index = NearIndex::default();
    for row in rows {
        let row = row?;
        let (origin, key) = (origin(&row), pixel_key(&row.sha256));
        let number = *numbers.entry(patient_key(&row.patient)).or_insert(patients.len() as u32);
        match patients.get_mut(number as usize) {
            Some(patient) => {
                patient.origin = patient.origin.min(origin);
                patient.key = patient.key.min(key);
            }
            None => patients.push(Patient { origin, split: row.split, key, parent: number }),
        }
        let Some(hash) = row.perceptual_hash else { continue };
        for other in index.all_near(hash) {
            join(&mut patients, number, other as u32);
        }
        index.insert(hash, number as usize);
    }
    drop(index);

    let num_patients = patients.len() as u32;
    let roots: Vec<u32> = (0..num_patients).map(|number| root(&mut patients, number)).collect();
    // The leader and the size of each group, at the place of its root.
    let mut groups: Vec<(u32, u32)> = (0..num_patients).map(|number| (number, 0)).collect();
    for (number, &root) in (0..).zip(&roots) {
        let rank = |number: u32| {
            let Patient { origin, key, .. } = &patients[number as usize];
            (*origin, *key, number)
        };
        let (leader, size) = &mut groups[root as usize];
        *size += 1;
        if rank(number) < rank(*leader) {
            *leader = number;
        }
    }
    let mut joined = JoinedSplits {
        num_joined: groups.iter().filter(|(_, size)| *size > 1).map(|(_, size)| *size as usize).sum(),
        largest_group: groups.iter().map(|(_, size)| *size as usize).max().unwrap_or(0),
        ..Default::default()
    };
    for (patient, number) in numbers {
        let leader = groups[roots[number as usize] as usize].0;
        let wanted = patients[leader as usize].split;
        let Patient { origin, split, .. } = patients[number as usize];
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

/// The root of a patient's tree; halves the path to it.
fn root(patients: &mut [Patient], mut number: u32) -> u32 {
    loop {
        let parent = patients[number as usize].parent;
        if parent == number {
            return number;
        }
        let above = patients[parent as usize].parent;
        patients[number as usize].parent = above;
        number = above;
    }
}

fn join(patients: &mut [Patient], a: u32, b: u32) {
    let (a, b) = (root(patients, a), root(patients, b));
    // The earlier patient is the root, whichever image joined the two.
    patients[a.max(b) as usize].parent = a.min(b);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Images as patient, pixels (one digit), perceptual hash, split.
    type Image = (&'static str, &'static str, Option<u64>, Split);

    fn row(&(patient, pixels, perceptual_hash, split): &Image) -> Result<ManifestRow> {
        Ok(ManifestRow { sha256: pixels.repeat(64), perceptual_hash, ..ManifestRow::bare(patient, split) })
    }

    /// The moves, sorted, where the origin of an image is given by its patient.
    fn moves(images: &[Image], origin: impl Fn(&str) -> SplitOrigin) -> Vec<(String, Split)> {
        let joined = join_near_duplicates(images.iter().map(row), |row| origin(&row.patient)).unwrap();
        let patients: BTreeSet<&str> = images.iter().map(|image| image.0).collect();
        let split = |patient: &str| joined.moves.get(&patient_key(patient)).copied();
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
        let joined = join_near_duplicates(CHAIN.iter().map(row), |_| Drawn).unwrap();
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
        let first_is_given = |row: &ManifestRow| if row.perceptual_hash.is_none() { Given } else { Drawn };
        let joined = join_near_duplicates(images.iter().map(row), first_is_given).unwrap();
        assert_eq!(joined.moves, HashMap::from([(patient_key("bob"), Val)]));
    }

    #[test]
    fn flat_images_and_nobody_join_nothing() {
        assert_eq!(join_near_duplicates([], |_| Drawn).unwrap(), JoinedSplits::default());
        let images = [("ann", "1", None, Val), ("bob", "0", None, Test)];
        let joined = join_near_duplicates(images.iter().map(row), |_| Drawn).unwrap();
        assert_eq!(joined, JoinedSplits { largest_group: 1, ..Default::default() });
    }
}
