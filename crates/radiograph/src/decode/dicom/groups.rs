//! Where wanted values are: at the root, in the tables there, or in the functional groups of an enhanced object (PS3.3,
//! C.7.6.16), which has what concerns frames in sequences for each frame and for all.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::elements::Open;

/// The values of the root or of a functional group.
#[derive(Default)]
pub(super) struct Values {
    pub(super) values: BTreeMap<Tag, Vec<u8>>,
    /// Those of the first item of a sequence with a look-up table, by sequence and attribute.
    pub(super) tables: BTreeMap<(Tag, Tag), Vec<u8>>,
}

/// Places of [`Found`].
pub(super) const ROOT: usize = 0;
const OF_FRAME: usize = 1;
const SHARED: usize = 2;

/// The values of the root, the groups of the first frame and the groups of all frames.
pub(super) type Found = [Values; 3];

/// What to do with an element.
pub(super) enum Place {
    /// Go through its items.
    Sequence,
    /// Keep it, if it is wanted, among the values at this index of [`Found`].
    Value(usize),
    /// Keep it as part of the table in this sequence.
    Table(usize, Tag),
    Nowhere,
}

/// Functional groups and what is taken from each.
const MACROS: [(Tag, &[Tag]); 4] = [
    (tags::FRAME_VOILUT_SEQUENCE, &[tags::WINDOW_CENTER, tags::WINDOW_WIDTH, tags::VOILUT_FUNCTION]),
    (tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, &[tags::RESCALE_INTERCEPT, tags::RESCALE_SLOPE]),
    (tags::PIXEL_MEASURES_SEQUENCE, &[tags::PIXEL_SPACING]),
    (tags::FRAME_PIXEL_DATA_PROPERTIES_SEQUENCE, &[tags::IMAGER_PIXEL_SPACING]),
];

/// Where an element in some sequences belongs.
pub(super) fn place(path: &[Open], tag: Tag) -> Place {
    if path.iter().any(|sequence| sequence.items != 1) {
        return Place::Nowhere;
    }
    match path {
        [] => match tag {
            tags::MODALITY_LUT_SEQUENCE
            | tags::VOILUT_SEQUENCE
            | tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE
            | tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE => Place::Sequence,
            _ => Place::Value(ROOT),
        },
        [table] if matches!(table.tag, tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE) => {
            in_table(ROOT, table.tag, tag)
        }
        [group, path @ ..] => {
            let group = match group.tag {
                tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE => OF_FRAME,
                tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE => SHARED,
                _ => return Place::Nowhere,
            };
            let of = |sequence: Tag| MACROS.iter().find(|(of, _)| *of == sequence);
            match path {
                [] if of(tag).is_some() => Place::Sequence,
                [sequence] if of(sequence.tag).is_some_and(|(_, wanted)| wanted.contains(&tag)) => Place::Value(group),
                [frame] if (frame.tag, tag) == (tags::FRAME_VOILUT_SEQUENCE, tags::VOILUT_SEQUENCE) => Place::Sequence,
                [frame, table] if (frame.tag, table.tag) == (tags::FRAME_VOILUT_SEQUENCE, tags::VOILUT_SEQUENCE) => {
                    in_table(group, table.tag, tag)
                }
                _ => Place::Nowhere,
            }
        }
    }
}

fn in_table(values: usize, table: Tag, tag: Tag) -> Place {
    match tag {
        tags::LUT_DESCRIPTOR | tags::LUT_DATA => Place::Table(values, table),
        _ => Place::Nowhere,
    }
}

/// An attribute without a value is as good as none.
fn has_text(value: &[u8]) -> bool {
    value.iter().any(|byte| !matches!(byte, b' ' | 0))
}

/// The values of the root, and those of functional groups that the root has nothing in place of. What belongs together
/// is taken together: a table of a group does not compete with a window of the root.
pub(super) fn merged(found: Found) -> Values {
    let [mut root, of_frame, shared] = found;
    for mut group in [of_frame, shared] {
        for (sequence, wanted) in MACROS {
            let is_voi = sequence == tags::FRAME_VOILUT_SEQUENCE;
            let table =
                |values: &Values| is_voi && values.tables.keys().any(|(table, _)| *table == tags::VOILUT_SEQUENCE);
            if table(&root) || wanted.iter().any(|tag| root.values.get(tag).is_some_and(|value| has_text(value))) {
                continue;
            }
            let taken = wanted.iter().filter_map(|tag| group.values.remove_entry(tag));
            root.values.extend(taken);
            if is_voi {
                root.tables.append(&mut group.tables);
            }
        }
    }
    root
}
