//! DICOM files whose elements are encoded in every way that writers are known for: one image, always the same pixels.

mod written;

use std::io::Write as _;
use std::path::Path;

use written::*;

/// What a sequence holds, its tag, and its items.
type Content = (&'static str, [u16; 2], Vec<Vec<Element>>);

fn contents() -> Vec<Content> {
    let reference = || vec![text([8, 0x1150], b"UI", "1.2.840.1\0"), text([8, 0x1155], b"UI", "1.2.3\0")];
    let private = || vec![element([9, 0x1011], b"OB", Bytes(vec![1, 2, 3, 4])), text([9, 0x1012], b"LO", "AB")];
    let nested = |defined| vec![element([8, 0x1115], b"SQ", Items(vec![reference(), vec![], reference()], defined))];
    let misleading = || vec![element([0x28, 0x10], b"US", Words(vec![1])), text([0x28, 0x1050], b"DS", "1 ")];
    vec![
        ("private", [9, 0x1010], vec![private()]),
        ("standard", [8, 0x1140], vec![reference()]),
        ("nested", [9, 0x1010], vec![nested(false), nested(true)]),
        ("misleading", [8, 0x1140], vec![misleading()]),
        ("empty items", [9, 0x1010], vec![vec![], vec![]]),
        ("no items", [8, 0x1140], vec![]),
    ]
}

#[test]
fn unknown_representation_of_undefined_length_is_a_sequence() {
    let control = control();
    let mut cases = 0;
    for syntax in SYNTAXES {
        for (name, tag, items) in contents() {
            let unknown = element(tag, b"UN", Unknown(items));
            let within = |value: fn(Vec<Vec<Element>>) -> Value| {
                element([8, 0x1199], b"SQ", value(vec![vec![unknown.clone()], vec![unknown.clone()]]))
            };
            let places = [
                ("root", unknown.clone()),
                ("sequence", within(|items| Items(items, false))),
                ("sequence of defined length", within(|items| Items(items, true))),
                ("unknown", within(Unknown)),
            ];
            for (place, element) in places {
                let mut elements = image(syntax);
                elements.insert(3, element);
                assert_is_control(&control, &file(syntax, &elements), &(syntax, name, place));
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 5 * 6 * 4);
}

#[test]
fn elements_are_read_as_they_are_and_not_as_claimed() {
    let control = control();
    for claimed in SYNTAXES {
        let mut elements = image(claimed);
        for (_, tag, items) in contents() {
            elements.insert(3, element(tag, b"SQ", Items(items.clone(), false)));
            elements.insert(3, element(tag, b"UN", Unknown(items)));
        }
        elements.sort_by_key(|element| element.tag);
        for (first, then) in [(Explicit, Implicit), (Implicit, Explicit), (Explicit, Explicit), (Big, Big)] {
            for switch in 0..=elements.len() {
                // From an element on; for one element alone; in the items of sequences alone.
                let mut after = |depth, place, coding: Coding| match depth {
                    0 if place < switch => first,
                    0 => then,
                    _ => coding,
                };
                let mut alone = |depth, place, coding| match depth {
                    0 if place == switch => then,
                    0 => first,
                    _ => coding,
                };
                let mut inside = |depth, place, _: Coding| if depth > 0 && place >= switch % 3 { then } else { first };
                let choices: [&mut dyn FnMut(usize, usize, Coding) -> Coding; 3] =
                    [&mut after, &mut alone, &mut inside];
                for (way, choose) in choices.into_iter().enumerate() {
                    let mut out = Vec::new();
                    put(&mut out, &elements, first, 0, choose);
                    assert_is_control(&control, &with_meta(claimed, &out), &(claimed, first, then, switch, way));
                }
            }
        }
    }
}

#[test]
fn lengths_of_pixel_data_that_look_like_representations_are_lengths() {
    for representation in [b"DA", b"DS", b"DT", b"FD", b"FL", b"LO", b"LT", b"PN", b"TM"] {
        let length = u16::from_le_bytes(*representation);
        let values: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut elements = image(IMPLICIT);
        for (number, value) in [(0x10, 1), (0x11, length), (0x100, 8), (0x101, 8), (0x102, 7)] {
            let at = elements.iter().position(|element| element.tag == [0x28, number]).unwrap();
            elements[at].value = Words(vec![value]);
        }
        let last = elements.len() - 1;
        elements[last].value = Bytes(values);
        let expected = decode(&file(EXPLICIT, &elements)).unwrap();
        assert_is_control(&expected, &file(IMPLICIT, &elements), representation);
        let mut out = Vec::new();
        put(&mut out, &elements, Explicit, 0, &mut |_, place, _| if place == last { Implicit } else { Explicit });
        assert_is_control(&expected, &with_meta(EXPLICIT, &out), &(representation, "the last element alone"));
        // The same length of a sequence, in implicit items.
        let inner = element([9, 0x1011], b"OB", Bytes(vec![0; usize::from(length) - 16]));
        let sequence = element([8, 0x1115], b"SQ", Items(vec![vec![inner]], true));
        let mut elements = image(EXPLICIT);
        elements.insert(4, element([9, 0x1010], b"UN", Unknown(vec![vec![sequence]])));
        assert_is_control(&control(), &file(EXPLICIT, &elements), &(representation, "sequence"));
        // The same length in front of other elements.
        let mut elements = image(IMPLICIT);
        elements.insert(4, element([9, 0x1002], b"OB", Bytes(vec![b'A'; usize::from(length)])));
        assert_is_control(&control(), &file(IMPLICIT, &elements), &(representation, "private"));
    }
}

#[test]
fn representations_that_the_standard_does_not_know_are_passed_over() {
    let control = control();
    let (before, after) = halves(4);
    for header in [
        // Long ones with a short length; one of the future; what old writers put for none.
        &b"UN\x04\0abcd"[..],
        b"OB\x04\0abcd",
        b"UT\0\0",
        b"ZZ\0\0\x04\0\0\0abcd",
        b"ZZ\x04\0abcd",
        b"??\x04\0abcd",
        b"\0\0\x04\0abcd",
        b"  \x04\0abcd",
    ] {
        let odd = [&[9, 0, 2, 0x10][..], header].concat();
        let out = [body(&before, Explicit), odd, body(&after, Explicit)].concat();
        assert_is_control(&control, &with_meta(EXPLICIT, &out), &String::from_utf8_lossy(header));
    }
}

#[test]
fn deflated_data_sets_with_a_header_of_zlib_or_not_deflated_are_read() {
    let control = control();
    for coding in [Explicit, Implicit, Big] {
        let body = body(&image(DEFLATED), coding);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&body).unwrap();
        let head = &with_meta(DEFLATED, &[])[..];
        let head = &head[..head.len() - deflated(&[]).len()];
        for packed in [zlib.finish().unwrap(), deflated(&body), body] {
            assert_is_control(&control, &[head, &packed].concat(), &coding);
        }
    }
}

#[test]
fn file_meta_groups_of_every_kind_are_read() {
    let control = control();
    for syntax in SYNTAXES {
        let bare = body(&image(syntax), coding_of(syntax));
        let packed = if syntax == DEFLATED { deflated(&bare) } else { bare.clone() };
        let mut uid = syntax.to_string();
        uid.extend((uid.len() % 2 == 1).then_some('\0'));
        let version = element([2, 1], b"OB", Bytes(vec![0, 1]));
        let class = text([2, 2], b"UI", "1.2.840.10008.5.1.4.1.1.1\0");
        let rest = [version, class, text([2, 0x10], b"UI", &uid), text([2, 0x12], b"UI", "1.2.3\0")];
        for coding in [Explicit, Implicit] {
            for length in [None, Some(0), Some(8), Some(20), Some(1 << 30)] {
                let length = length.map(|length: u32| element([2, 0], b"UL", Bytes(length.to_le_bytes().to_vec())));
                let meta: Vec<Element> = length.into_iter().chain(rest.clone()).collect();
                let part10 = [body(&meta, coding), packed.clone()].concat();
                let marked = [&[0; 128][..], b"DICM", &part10].concat();
                assert_is_control(&control, &marked, &(syntax, coding));
                assert_is_control(&control, &marked[128..], &(syntax, coding, "without preamble"));
                assert_is_control(&control, &part10, &(syntax, coding, "without preamble and mark"));
            }
        }
        if syntax != DEFLATED {
            let without = [body(&rest[..2], Explicit), bare.clone()].concat();
            let marked = [&[0; 128][..], b"DICM", &without].concat();
            assert_is_control(&control, &marked, &(syntax, "no transfer syntax"));
            assert_is_control(&control, &bare, &(syntax, "bare"));
        }
    }
}

#[test]
fn pixel_data_are_what_they_are_and_not_as_claimed() {
    let control = control();
    for claimed in SYNTAXES {
        let coding = coding_of(claimed);
        let native = body(&[element([9, 9], b"OW", Words(pixels()))], coding)
            [if coding == Implicit { 8 } else { 12 }..]
            .to_vec();
        let (first, second) = native.split_at(100);
        let split = [first.to_vec(), second.to_vec()];
        let of_pixels = |fragments: &[Vec<u8>]| element([0x7fe0, 0x10], b"OB", Fragments(fragments.to_vec()));
        let mut values = vec![of_pixels(&[Vec::new(), rle()]), of_pixels(&[vec![0; 4], rle()]), of_pixels(&[rle()])];
        values.push(of_pixels(&[Vec::new(), rle()[..80].to_vec(), rle()[80..].to_vec()]));
        if claimed == RLE {
            // A frame, or fragments, of a defined length.
            values.push(element([0x7fe0, 0x10], b"OB", Bytes(rle())));
            let fragments = body(&[of_pixels(&[Vec::new(), rle()])], Explicit);
            values.push(element([0x7fe0, 0x10], b"OB", Bytes(fragments[12..fragments.len() - 8].to_vec())));
            values.push(element([0x7fe0, 0x10], b"OW", Words(pixels())));
        } else {
            values.push(of_pixels(&[Vec::new(), native.clone()]));
            values.push(of_pixels(&[Vec::new(), split[0].clone(), split[1].clone()]));
        }
        for (number, value) in values.into_iter().enumerate() {
            let mut elements = image(claimed);
            elements.pop();
            elements.push(value);
            assert_is_control(&control, &file(claimed, &elements), &(claimed, number));
        }
    }
    // A JPEG under the label of explicit little endian.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dicom/jpeg_lossless_u8.dcm");
    let mut bytes = std::fs::read(path).unwrap();
    let expected = decode(&bytes).unwrap();
    let at = bytes.windows(22).position(|window| window.starts_with(b"1.2.840.10008.1.2.4.")).unwrap();
    bytes[at..at + 22].copy_from_slice(b"1.2.840.10008.1.2.1\0\0\0");
    assert_is_control(&expected, &bytes, &"JPEG");
}

/// Knuth's MMIX linear congruential generator.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Elements with rising tags, among them sequences.
fn random_elements(draw: &mut Draw, groups: std::ops::Range<u16>, depth: usize) -> Vec<Element> {
    let mut tags: Vec<[u16; 2]> = (0..draw.below(7))
        .map(|_| [groups.start + draw.below(groups.len()) as u16, 0x1000 + draw.below(0xe000) as u16])
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let make = |tag| {
        let length = 2 * [0, 1, 3, 20, 5000, 8354, 10_150, 30_000][draw.below(if depth == 0 { 8 } else { 5 })];
        let bytes: Vec<u8> = (0..length).map(|_| draw.below(256) as u8).collect();
        let kinds = [b"LO", b"UI", b"DS", b"US", b"SQ", b"OB", b"OW", b"UN", b"UT", b"PN", b"SQ"];
        let representation = kinds[draw.below(kinds.len())];
        let mut items = || (0..draw.below(4)).map(|_| random_elements(draw, 8..0x7fff, depth + 1)).collect();
        let value = match representation {
            b"SQ" | b"UN" if depth < 4 => {
                let items = items();
                match draw.below(3) {
                    0 => Items(items, true),
                    1 => Items(items, false),
                    _ => Unknown(items),
                }
            }
            b"SQ" => Items(Vec::new(), true),
            b"OB" if draw.below(4) == 0 => Fragments(vec![Vec::new(), bytes]),
            _ => Bytes(bytes),
        };
        element(tag, representation, value)
    };
    tags.into_iter().map(make).collect()
}

#[test]
fn random_data_sets_hide_nothing() {
    let control = control();
    let mut draw = Draw(42);
    for number in 0..1500 {
        let syntax = SYNTAXES[draw.below(SYNTAXES.len())];
        let mut elements = image(syntax);
        // Private groups, none of which holds anything wanted.
        for groups in [0x0009..0x0010, 0x0011..0x0018, 0x0019..0x0027, 0x0029..0x7fdf] {
            elements
                .extend(random_elements(&mut draw, groups, 0).into_iter().filter(|element| element.tag[0] % 2 == 1));
        }
        elements.sort_by_key(|element| element.tag);
        // Now and then another way to write, in the same byte order.
        let (mut chance, mut explicit) = (Draw(number), draw.below(2) == 0);
        let is_mixed = number % 3 > 0 && syntax != BIG;
        let mut choose = |_: usize, _: usize, coding: Coding| {
            explicit ^= chance.below(4) == 0;
            match (is_mixed, explicit) {
                (false, _) => coding,
                (true, true) => Explicit,
                (true, false) => Implicit,
            }
        };
        let mut out = Vec::new();
        put(&mut out, &elements, coding_of(syntax), 0, &mut choose);
        assert_is_control(&control, &with_meta(syntax, &out), &(number, syntax));
    }
}

#[test]
fn nesting_and_lengths_that_lie_end_in_sentences() {
    for (representation, coding) in [(b"SQ", Explicit), (b"SQ", Big), (b"UN", Explicit), (b"UN", Implicit)] {
        let inner = if representation == b"UN" { Implicit } else { coding };
        let (mut open, mut close) = (Vec::new(), Vec::new());
        for depth in 0..100_000 {
            put_header(&mut open, if depth == 0 { coding } else { inner }, [9, 0x1010], representation, u32::MAX);
            put_header(&mut open, inner, [0xfffe, 0xe000], b"  ", u32::MAX);
            put_header(&mut close, inner, [0xfffe, 0xe00d], b"  ", 0);
            put_header(&mut close, inner, END, b"  ", 0);
        }
        let (before, after) = halves(3);
        for end in [[&close[..], &body(&after, coding)].concat(), Vec::new()] {
            let bytes = with_meta(EXPLICIT, &[&body(&before, coding)[..], &open, &end].concat());
            let message = decode(&bytes).unwrap_err();
            assert!(message.contains("sequence"), "{message}");
        }
    }
    // A length beyond the end, of an element that is wanted and of one that is not.
    for tag in [[9, 0x1002], [0x28, 0x30]] {
        for coding in [Explicit, Implicit] {
            let (before, after) = halves(4);
            let mut out = body(&before, coding);
            put_header(&mut out, coding, tag, b"UT", 0x7fff_fff0);
            out.extend(body(&after, coding));
            let message = decode(&with_meta(EXPLICIT, &out)).unwrap_err();
            assert!(message.contains("should have 2147483632 bytes, the file has only"), "{message}");
        }
    }
}
