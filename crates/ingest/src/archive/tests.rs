use std::io::Write as _;

use ::zip::CompressionMethod;
use ::zip::write::{SimpleFileOptions, ZipWriter};
use flate2::Compression;
use flate2::write::GzEncoder;
use radiograph::DecodeOptions;

use super::*;

/// A zip file of these members.
pub(crate) fn zip_bytes(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A tar file of these members, under whatever names.
pub(crate) fn tar_bytes(members: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The archive with these bytes, in a folder of its own.
fn opened(name: &str, bytes: &[u8]) -> (tempfile::TempDir, Option<Arc<Archive>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let archive = Archives::default().open(&path);
    (dir, archive)
}

/// Names and contents in the order of the list.
fn contents(archive: &Arc<Archive>) -> Vec<(String, Result<Vec<u8>, String>)> {
    let of = |number| FileSource::member(archive, number).read_bytes(1000);
    archive.below("").map(|(number, name)| (name.to_owned(), of(number))).collect()
}

fn reasons(archive: &Archive) -> Vec<(String, String)> {
    archive.problems_below("").map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
}

#[test]
fn every_kind_of_archive_gives_the_same_list_and_the_same_bytes() {
    let members: [(&str, &[u8]); 6] = [
        ("b.png", b"bee"),
        ("a/z.png", b""),
        ("./a/b/c.png", b"sea"),
        ("a-b.png", b"dash"),
        ("a/.hidden/x.png", b"no"),
        (".DS_Store", b"no"),
    ];
    let raw: Vec<(&[u8], &[u8])> = members.iter().map(|(name, bytes)| (name.as_bytes(), *bytes)).collect();
    let expected: Vec<(String, Result<Vec<u8>, String>)> =
        [("a/b/c.png", "sea"), ("a/z.png", ""), ("a-b.png", "dash"), ("b.png", "bee")]
            .map(|(name, bytes)| (name.to_owned(), Ok(bytes.as_bytes().to_vec())))
            .to_vec();
    for (name, bytes) in [
        ("stored.zip", zip_bytes(&members, CompressionMethod::Stored)),
        ("deflated.zip", zip_bytes(&members, CompressionMethod::Deflated)),
        ("plain.tar", tar_bytes(&raw)),
        ("packed.tar.gz", gzipped(&tar_bytes(&raw))),
        ("packed.tgz", gzipped(&tar_bytes(&raw))),
        // What a file is, its content says.
        ("really-a-tar.zip", tar_bytes(&raw)),
    ] {
        let (_dir, archive) = opened(name, &bytes);
        let archive = archive.unwrap();
        assert_eq!(contents(&archive), expected, "{name}");
        assert_eq!(reasons(&archive), [], "{name}");
        // In any order, and again.
        for number in [3, 0, 2, 2, 1] {
            assert_eq!(FileSource::member(&archive, number).read_bytes(1000), expected[number].1, "{name}");
        }
        assert!(FileSource::member(&archive, 3).read_bytes(2).unwrap_err().contains("more than 2 bytes"));
    }
}

#[test]
fn other_files_are_no_archives() {
    for (name, bytes) in [("a.zip", &b"text"[..]), ("a.tar", &[0; 1024]), ("a.png", b""), ("a.gz", &gzipped(b"text"))] {
        assert!(opened(name, bytes).1.is_none(), "{name}");
    }
    assert!(Archives::default().open(Path::new("/no/such.zip")).is_none());
    let named = |name| is_named_like_one(Path::new(name));
    assert!(named("a.ZIP") && named("x/images_001.tar.gz") && named("a.tgz") && named("a.tar"));
    assert!(!named("a.zip/b.png") && !named("a.gz") && !named("zip"));
}

#[test]
fn names_that_lead_out_are_refused_and_later_members_replace_earlier_ones() {
    let members: [(&[u8], &[u8]); 5] = [
        (b"a.png", b"old"),
        (b"../../etc/passwd", b"x"),
        (b"/etc/shadow", b"y"),
        (b"\xff\xfe.png", b"odd"),
        (b"./a.png", b"new"),
    ];
    for name in ["a.tar", "a.tgz"] {
        let bytes = if name == "a.tar" { tar_bytes(&members) } else { gzipped(&tar_bytes(&members)) };
        let (_dir, archive) = opened(name, &bytes);
        let archive = archive.unwrap();
        let found = contents(&archive);
        let found: Vec<_> = found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_deref().unwrap())).collect();
        assert_eq!(found, [("\\xff\\xfe.png", &b"odd"[..]), ("a.png", b"new"), ("etc/shadow", b"y")], "{name}");
        let reasons = reasons(&archive);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].0 == "../../etc/passwd" && reasons[0].1.contains("leads out"), "{reasons:?}");
    }
}

#[test]
fn zip_files_that_cannot_be_read_say_why() {
    let members: [(&str, &[u8]); 3] = [("a.png", b"aaaa"), ("b.png", b"bbbb"), ("c/d.png", b"dddd")];
    let good = zip_bytes(&members, CompressionMethod::Stored);
    // A bit of a member: its checksum tells.
    let mut flipped = good.clone();
    let at = flipped.windows(4).position(|window| window == b"bbbb").unwrap();
    flipped[at] ^= 1;
    let (_dir, archive) = opened("a.zip", &flipped);
    let found = contents(&archive.unwrap());
    assert!(found[0].1.is_ok() && found[2].1.is_ok());
    let reason = found[1].1.as_ref().unwrap_err();
    assert!(reason.contains("cannot be read from the archive") && reason.contains("download"), "{reason}");

    // The directory's entry of a member: encrypted, of an unknown method, of a size that is not true.
    let central =
        |number| good.windows(4).enumerate().filter(|(_, window)| window == b"PK\x01\x02").nth(number).unwrap().0;
    let patched = |number: usize, offset: usize, patch: &[u8]| {
        let mut bytes = good.clone();
        let at = central(number) + offset;
        bytes[at..at + patch.len()].copy_from_slice(patch);
        opened("a.zip", &bytes)
    };
    let (_dir, archive) = patched(0, 8, &[1, 0]);
    assert!(reasons(&archive.unwrap())[0].1.contains("encrypted"));
    let (_dir, archive) = patched(1, 10, &[12, 0]);
    assert!(reasons(&archive.unwrap())[0].1.contains("compressed by the method"));
    let (_dir, archive) = patched(2, 24, &[0xff, 0xff, 0xff, 0x7f]);
    let source = FileSource::member(&archive.unwrap(), 2);
    assert!(source.read_image(&DecodeOptions::default()).is_err());

    for length in [0, 3, good.len() / 2, good.len() - 1] {
        let (_dir, archive) = opened("a.zip", &good[..length]);
        let Some(archive) = archive else {
            assert!(length < 4, "{length}");
            continue;
        };
        assert!(contents(&archive).is_empty());
        assert!(reasons(&archive)[0].1.contains("download it again"), "{:?}", reasons(&archive));
    }
}

#[test]
fn names_in_the_character_set_of_dos_are_read() {
    let mut bytes = zip_bytes(&[("dir\\M?ller.png", b"x")], CompressionMethod::Stored);
    for at in 0..bytes.len() - 6 {
        if &bytes[at..at + 6] == b"M?ller" {
            bytes[at + 1] = 0x81;
        }
    }
    let (_dir, archive) = opened("a.zip", &bytes);
    assert_eq!(contents(&archive.unwrap())[0].0, "dir/Müller.png");
}

#[test]
fn archives_that_are_cut_short_give_what_is_whole() {
    let big = vec![7; 700];
    let members: [(&[u8], &[u8]); 3] = [(b"a.png", b"a"), (b"b.png", &big), (b"c.png", &big)];
    let tar = tar_bytes(&members);
    // In the middle of the last member, of which the header is whole: 512 + 512, 512 + 1024, 512 + 300.
    let (_dir, archive) = opened("a.tar", &tar[..2 * 512 + 3 * 512 + 512 + 300]);
    let archive = archive.unwrap();
    assert_eq!(contents(&archive).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.png", "b.png"]);
    assert!(reasons(&archive)[0].1.contains("the first 2 are whole"), "{:?}", reasons(&archive));

    let mut stored = GzEncoder::new(Vec::new(), Compression::none());
    stored.write_all(&tar).unwrap();
    let stored = stored.finish().unwrap();
    let (_dir, archive) = opened("a.tgz", &stored[..2 * 512 + 3 * 512 + 512 + 300]);
    let archive = archive.unwrap();
    assert_eq!(contents(&archive).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.png", "b.png"]);
    assert!(reasons(&archive)[0].1.contains("cut short"), "{:?}", reasons(&archive));

    // All is there and the checksum is another: nobody knows which of them is wrong.
    let mut wrong = gzipped(&tar);
    let at = wrong.len() - 8;
    wrong[at] ^= 1;
    let (_dir, archive) = opened("a.tgz", &wrong);
    let archive = archive.unwrap();
    assert!(contents(&archive).is_empty() && reasons(&archive)[0].1.contains("checksum"), "{:?}", reasons(&archive));
}

#[test]
fn tar_files_have_long_names_links_and_claims() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let long = format!("{}/a.png", "folder-".repeat(30));
    let mut header = ::tar::Header::new_gnu();
    header.set_size(1);
    header.set_cksum();
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    builder.append_pax_extensions([("path", &b"pax/\xc3\xb6.png"[..])]).unwrap();
    builder.append_data(&mut header, "short.png", &b"y"[..]).unwrap();
    let mut link = ::tar::Header::new_gnu();
    link.set_entry_type(::tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "link.png", "/etc/passwd").unwrap();
    // A name that claims to have two gigabytes.
    let mut claim = ::tar::Header::new_gnu();
    claim.set_entry_type(::tar::EntryType::GNULongName);
    claim.set_size(2 << 30);
    claim.set_cksum();
    builder.append(&claim, &b"short"[..]).unwrap();
    let (_dir, archive) = opened("a.tar", &builder.into_inner().unwrap());
    let archive = archive.unwrap();
    let found = contents(&archive);
    let found: Vec<_> = found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_deref().unwrap())).collect();
    assert_eq!(found, [(long.as_str(), &b"x"[..]), ("pax/ö.png", b"y")]);
    let reasons = reasons(&archive);
    assert!(reasons[0].0 == "link.png" && reasons[0].1.contains("link"), "{reasons:?}");
    assert!(reasons[1].1.contains("a name of 2147483648 bytes, the limit is 1048576"), "{reasons:?}");
}

#[test]
fn damage_anywhere_is_no_panic() {
    let members: [(&str, &[u8]); 2] = [("a/b.png", b"some bytes"), ("c.png", b"more of them")];
    let raw: Vec<(&[u8], &[u8])> = members.iter().map(|(name, bytes)| (name.as_bytes(), *bytes)).collect();
    let tar = tar_bytes(&raw);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zip");
    for good in [zip_bytes(&members, CompressionMethod::Deflated), gzipped(&tar), tar] {
        // The ends of tar files are zeros, which tell nothing.
        for at in 0..good.len().min(1600) {
            let mut bad = good.clone();
            bad[at] ^= [0xff, 0x01, 0x80][at % 3];
            std::fs::write(&path, &bad).unwrap();
            if let Some(archive) = Archives::default().open(&path) {
                assert!(contents(&archive).len() <= 2);
                assert!(reasons(&archive).iter().all(|(_, reason)| reason.len() > 20), "{:?}", reasons(&archive));
            }
        }
    }
}

#[test]
fn files_are_found_in_archives_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("images.zip"), zip_bytes(&[("x/1.png", b"one"), ("2.png", b"two")], CompressionMethod::Stored))
        .unwrap();
    std::fs::write(at("3.png"), "three").unwrap();
    let archives = Archives::default();
    let find = |name: &str| archives.find(dir.path(), name).and_then(|file| file.read_bytes(9).ok());
    assert_eq!(find("x/1.png").unwrap(), b"one", "as unpacked here");
    assert_eq!(find("images/x/1.png").unwrap(), b"one", "as unpacked into a folder of its own");
    assert_eq!(find("images.zip/2.png").unwrap(), b"two");
    assert_eq!(find(".\\x\\1.png").unwrap(), b"one");
    assert_eq!(find("3.png").unwrap(), b"three");
    assert_eq!((find("4.png"), find("../images.zip")), (None, None));
    assert_eq!(archives.locate(dir.path(), "4.png"), FileSource::from(at("4.png")));

    let enter = |name: &str| archives.enter(&at(name)).map(|(_, folder)| folder);
    assert_eq!(enter("images.zip").as_deref(), Some(""));
    assert_eq!(enter("images.zip/x").as_deref(), Some("x"));
    assert_eq!((enter("images.zip/y"), enter("3.png"), enter("no.zip"), enter("")), (None, None, None, None));
}
