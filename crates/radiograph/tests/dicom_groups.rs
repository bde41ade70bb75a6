//! Functional groups of enhanced objects with one frame, and segmented palettes.

mod written;

use written::*;

/// The sequence of a functional group, and what its item holds.
type Group = ([u16; 2], Vec<Element>);

/// A way to write items.
type Wrap = fn(Vec<Vec<Element>>) -> Value;

/// Attributes of the root that enhanced objects have in functional groups, and the groups.
fn moved(table: bool) -> (Vec<Element>, Vec<Group>) {
    let lut = vec![
        element([0x28, 0x3002], b"US", Words(vec![4096, 0, 12])),
        element([0x28, 0x3006], b"OW", Words((0..4096).map(|at| at * at / 4097).map(|at: u32| at as u16).collect())),
    ];
    let voi = if table {
        vec![element([0x28, 0x3010], b"SQ", Items(vec![lut], false))]
    } else {
        let [center, width, function] = [(0x1050, "1000"), (0x1051, "3000"), (0x1056, "SIGMOID ")]
            .map(|(number, value)| text([0x28, number], if number == 0x1056 { b"CS" } else { b"DS" }, value));
        vec![center, width, function]
    };
    let rescale = vec![text([0x28, 0x1052], b"DS", "-20 "), text([0x28, 0x1053], b"DS", "0.5 ")];
    let spacing = vec![text([0x28, 0x30], b"DS", "0.3\\0.3 ")];
    let groups =
        vec![([0x28, 0x9110], spacing.clone()), ([0x28, 0x9132], voi.clone()), ([0x28, 0x9145], rescale.clone())];
    ([spacing, voi, rescale].concat(), groups)
}

/// The image without a window and spacing, with more elements.
fn with(more: &[Element]) -> Vec<Element> {
    let mut elements = image(EXPLICIT);
    elements.retain(|element| !matches!(element.tag, [0x28, 0x30 | 0x1050 | 0x1051]));
    elements.extend(more.to_vec());
    elements.sort_by_key(|element| element.tag);
    elements
}

#[test]
fn functional_groups_stand_for_attributes_of_the_root() {
    for table in [false, true] {
        let (root, groups) = moved(table);
        let expected = decode(&file(EXPLICIT, &with(&root))).unwrap();
        assert_ne!(expected.pixels, decode(&file(EXPLICIT, &with(&[]))).unwrap().pixels);
        assert_eq!(expected.pixel_spacing_mm, Some([0.3, 0.3]));
        let kinds: [Wrap; 3] = [|items| Items(items, true), |items| Items(items, false), Unknown];
        for kind in kinds {
            for inner in kinds {
                // All shared, all of the frame, and some of each.
                for frame in 0..8_usize {
                    let of = |is_frame: bool| {
                        let chosen = groups.iter().enumerate().filter(|(at, _)| (frame >> at & 1 == 1) == is_frame);
                        let elements = chosen.map(|(_, (tag, group))| element(*tag, b"SQ", inner(vec![group.clone()])));
                        vec![elements.collect()]
                    };
                    let shared = element([0x5200, 0x9229], b"SQ", kind(of(false)));
                    let of_frame = element([0x5200, 0x9230], b"SQ", kind(of(true)));
                    let elements = with(&[shared, of_frame]);
                    for syntax in [EXPLICIT, IMPLICIT, BIG] {
                        assert_is_control(&expected, &file(syntax, &elements), &(table, frame, syntax));
                    }
                }
            }
        }
    }
}

/// Writers of enhanced objects leave empty attributes at the root.
#[test]
fn attributes_of_the_root_without_a_value_do_not_hide_functional_groups() {
    let (root, groups) = moved(false);
    let expected = decode(&file(EXPLICIT, &with(&root))).unwrap();
    let groups = groups.iter().map(|(tag, group)| element(*tag, b"SQ", Items(vec![group.clone()], false))).collect();
    let shared = element([0x5200, 0x9229], b"SQ", Items(vec![groups], false));
    for blank in ["", "  "] {
        let mut elements: Vec<Element> = [0x30, 0x1050, 0x1051, 0x1052, 0x1053]
            .into_iter()
            .map(|number| text([0x28, number], b"DS", blank))
            .collect();
        elements.push(shared.clone());
        for syntax in [EXPLICIT, IMPLICIT, BIG] {
            assert_is_control(&expected, &file(syntax, &with(&elements)), &(blank, syntax));
        }
    }
}

#[test]
fn the_root_comes_before_functional_groups_and_the_first_frame_before_others() {
    let (root, _) = moved(false);
    let expected = decode(&file(EXPLICIT, &with(&root))).unwrap();
    let (_, groups) = moved(true);
    let others = |groups: &[Group]| -> Vec<Element> {
        groups.iter().map(|(tag, group)| element(*tag, b"SQ", Items(vec![group.clone()], false))).collect()
    };
    let spacing = [([0x28, 0x9110], vec![text([0x28, 0x30], b"DS", "9\\9 ")])];
    let shared = element([0x5200, 0x9229], b"SQ", Items(vec![[others(&groups), others(&spacing)].concat()], false));
    let elements = with(&[root, vec![shared.clone()]].concat());
    assert_is_control(&expected, &file(EXPLICIT, &elements), &"root");
    // The first frame's groups, then those of frames that are not there.
    let (_, first) = moved(false);
    let frames = element([0x5200, 0x9230], b"SQ", Items(vec![others(&first), others(&groups)], false));
    assert_is_control(&expected, &file(EXPLICIT, &with(&[shared, frames])), &"frames");
}

/// Words of bytes, the first in the low half.
fn packed(bytes: &[u16]) -> Vec<u16> {
    bytes.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 8).collect()
}

#[test]
fn segmented_palettes_are_the_palettes_that_they_stand_for() {
    let line = |from: f64, to: f64, length: u32| {
        (1..=length).map(move |at| (from + (to - from) * f64::from(at) / f64::from(length)).round_ties_even() as u16)
    };
    for (bits, top) in [(8, 255_u16), (16, 60_000)] {
        let stretch = [0, top / 3, 7, top];
        // A stretch, a line down, the line again from its end, both again, and lines up to the end.
        let start: Vec<u16> = stretch.into_iter().chain(line(f64::from(top), 20.0, 50)).collect();
        let mut expanded = start.clone();
        expanded.extend(line(20.0, 20.0, 50));
        expanded.extend(&start);
        expanded.extend(line(20.0, f64::from(top), 256 - expanded.len() as u32));
        assert_eq!(expanded.len(), 256);
        let width = if bits == 8 { 1 } else { 2 };
        let place = |bytes: u16| if bits == 8 { vec![bytes, 0, 0, 0] } else { vec![bytes, 0] };
        let segments = [
            [&[0, 4], &stretch[..], &[1, 50, 20]].concat(),
            [vec![2, 1], place(6 * width)].concat(),
            [vec![2, 2], place(0)].concat(),
            vec![1, 98, top],
        ]
        .concat();
        let palette = |is_segmented: bool| {
            let mut elements = image(EXPLICIT);
            for element in &mut elements {
                match element.tag {
                    [0x28, 0x04] => element.value = Bytes(b"PALETTE COLOR ".to_vec()),
                    [0x28, 0x100 | 0x101] => element.value = Words(vec![16]),
                    [0x28, 0x102] => element.value = Words(vec![15]),
                    [0x7fe0, _] => element.value = Words(pixels().iter().map(|value| value % 260).collect()),
                    _ => {}
                }
            }
            for color in 1..=3 {
                elements.push(element([0x28, 0x1100 + color], b"US", Words(vec![256, 0, bits])));
                let (number, data) = if is_segmented { (0x1220, &segments) } else { (0x1200, &expanded) };
                let data = if is_segmented && bits == 8 { packed(data) } else { data.clone() };
                elements.push(element([0x28, number + color], b"OW", Words(data)));
            }
            elements.sort_by_key(|element| element.tag);
            elements
        };
        let expected = decode(&file(EXPLICIT, &palette(false))).unwrap();
        for syntax in [EXPLICIT, IMPLICIT, BIG, DEFLATED] {
            assert_is_control(&expected, &file(syntax, &palette(true)), &(bits, syntax));
        }
        // Segments that end too soon.
        let mut short = palette(true);
        let at = short.iter().position(|element| element.tag == [0x28, 0x1222]).unwrap();
        short[at].value = Words(vec![0, 2]);
        assert!(decode(&file(EXPLICIT, &short)).unwrap_err().contains("segmented palette"), "{bits} bits");
    }
}
