//! Archives, media and troubled file systems as sources.

use std::fs;
use std::sync::atomic::AtomicUsize;

use radiograph::encode_png_u8;
use zip::CompressionMethod;

use super::session::BATCH;
use super::tests::{KillAfter, config, rows};
use super::*;
use crate::archive::tests::{gzipped, tar_bytes, zip_bytes};
use messages::Silent;

/// A small picture that no other number has.
fn png(number: usize) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..120).map(|pixel| (pixel * 2 + number * 7 + pixel / 60 * (number / 256) * 31) as u8).collect();
    encode_png_u8(&pixels, 10, 12).unwrap()
}

/// Files by name, in an order that is not that of their names.
fn files(num: usize) -> Vec<(String, Vec<u8>)> {
    let name = |number: usize| format!("{}/{:03}.png", ["normal", "effusion"][number % 2], number);
    (0..num).map(|number| (name(number * 7 % num), png(number * 7 % num))).collect()
}

fn write_folder(dir: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn as_zip(files: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let members: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    zip_bytes(&members, method)
}

fn as_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<(&[u8], &[u8])> = files.iter().map(|(name, bytes)| (name.as_bytes(), &bytes[..])).collect();
    tar_bytes(&members)
}

fn with_salt(config: PrepareConfig, dir: &Path) -> PrepareConfig {
    let salt = dir.join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    PrepareConfig { salt_file: Some(salt), ..config }
}

fn reasons(summary: &PrepareSummary) -> Vec<(&str, &str)> {
    summary.skipped.iter().map(|skipped| (skipped.item.as_str(), skipped.reason.as_str())).collect()
}

#[test]
fn an_archive_is_prepared_like_the_folder_that_was_packed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut files = files(41);
    files.push(("notes.txt".into(), b"not an image".to_vec()));
    write_folder(&at("folder"), &files);
    fs::write(at("stored.zip"), as_zip(&files, CompressionMethod::Stored)).unwrap();
    fs::write(at("deflated.zip"), as_zip(&files, CompressionMethod::Deflated)).unwrap();
    fs::write(at("plain.tar"), as_tar(&files)).unwrap();
    fs::write(at("packed.tar.gz"), gzipped(&as_tar(&files))).unwrap();
    // One folder deeper, which is then given with the archive.
    let deeper: Vec<_> = files.iter().map(|(name, bytes)| (format!("top/{name}"), bytes.clone())).collect();
    fs::write(at("deeper.zip"), as_zip(&deeper, CompressionMethod::Deflated)).unwrap();

    let prepare = |source: &str| {
        let out = at(&format!("out-{}", source.replace('/', "-")));
        let summary = run(&with_salt(config(&at(source), &out), dir.path()), &Silent).unwrap();
        (summary, out)
    };
    let (expected, expected_out) = prepare("folder");
    assert_eq!((expected.num_images, expected.labels.len(), expected.skipped.len()), (41, 2, 1));
    for source in ["stored.zip", "deflated.zip", "plain.tar", "packed.tar.gz", "deeper.zip/top"] {
        let (summary, out) = prepare(source);
        assert_eq!(summary.skipped, expected.skipped, "{source}");
        for entry in fs::read_dir(&expected_out).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            // The settings name the source.
            if entry.file_name() != "dataset.toml" {
                let found = fs::read(out.join(entry.file_name())).unwrap();
                assert!(found == fs::read(entry.path()).unwrap(), "{source}: {}", entry.path().display());
            }
        }
    }
}

#[test]
fn archives_in_a_folder_count_as_if_they_had_been_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write_folder(&source, &[("train/normal/0.png".into(), png(0))]);
    let members = [("normal/1.png".to_owned(), png(1)), ("__MACOSX/._1.png".to_owned(), b"x".to_vec())];
    fs::write(source.join("train/more.zip"), as_zip(&members, CompressionMethod::Deflated)).unwrap();
    fs::write(source.join("all.tgz"), gzipped(&as_tar(&[("val/effusion/2.png".into(), png(2))]))).unwrap();
    let nested = as_zip(&[("3.png".into(), png(3))], CompressionMethod::Stored);
    fs::write(source.join("z.tar"), as_tar(&[("inner.zip".into(), nested), ("4.png".into(), png(4))])).unwrap();
    // Named like an archive, and an image.
    fs::write(source.join("y.zip"), png(5)).unwrap();
    let summary = run(&config(&source, &dir.path().join("out")), &Silent).unwrap();
    let rows = rows(&summary.dataset);
    let found: Vec<_> =
        rows.iter().map(|row| (row.source_file.as_str(), row.labels.first().map(String::as_str))).collect();
    assert_eq!(
        found,
        [
            ("all.tgz/val/effusion/2.png", Some("effusion")),
            ("train/more.zip/normal/1.png", Some("normal")),
            ("train/normal/0.png", Some("normal")),
            ("y.zip", None),
            ("z.tar/4.png", None),
        ]
    );
    assert_eq!((rows[0].split, rows[1].split), (dataset::Split::Val, dataset::Split::Train));
    let reasons = reasons(&summary);
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].0 == "z.tar/inner.zip" && reasons[0].1.contains("a ZIP archive"), "{reasons:?}");
}

#[test]
fn a_preparation_from_archives_that_is_killed_continues() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let files = files(600);
    fs::create_dir(at("source")).unwrap();
    fs::write(at("source/a.tgz"), gzipped(&as_tar(&files[..400]))).unwrap();
    fs::write(at("source/b.zip"), as_zip(&files[400..], CompressionMethod::Deflated)).unwrap();
    let to = |out: &str| with_salt(config(&at("source"), &at(out)), dir.path());
    run(&to("undisturbed"), &Silent).unwrap();
    // What is there already takes no batch.
    for batches in [1, 1] {
        let killed = std::panic::catch_unwind(|| run(&to("out"), &KillAfter(AtomicUsize::new(batches))));
        assert!(killed.is_err());
    }
    let summary = run(&to("out"), &Silent).unwrap();
    assert!(summary.num_continued > 0 && summary.num_continued < summary.num_images, "{}", summary.num_continued);
    for file in ["manifest.parquet", "dataset.toml", "images-00003.safetensors"] {
        assert!(fs::read(at("out").join(file)).unwrap() == fs::read(at("undisturbed").join(file)).unwrap(), "{file}");
    }
}

#[test]
fn what_is_wrong_with_archives_is_listed_and_the_rest_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write_folder(&source, &[("0.png".into(), png(0))]);
    let good = as_zip(&[("1.png".into(), png(1)), ("2.png".into(), png(2))], CompressionMethod::Stored);
    let mut flipped = good.clone();
    let at = flipped.windows(4).position(|window| window == b"IDAT").unwrap();
    flipped[at + 6] ^= 1;
    fs::write(source.join("flipped.zip"), &flipped).unwrap();
    fs::write(source.join("cut.zip"), &good[..good.len() - 30]).unwrap();
    fs::write(source.join("out.tar"), as_tar(&[("../3.png".into(), png(3)), ("4.png".into(), png(4))])).unwrap();
    // Sixteen megabytes of zeros behind the head of an image, in some kilobytes.
    let bomb = [png(5), vec![0; 16 << 20]].concat();
    fs::write(source.join("bomb.zip"), as_zip(&[("5.png".into(), bomb.clone())], CompressionMethod::Deflated)).unwrap();
    fs::write(source.join("bomb.tgz"), gzipped(&as_tar(&[("5.png".into(), bomb)]))).unwrap();

    let mut config = config(&source, &dir.path().join("out"));
    let lowest = DecodeOptions { max_pixels: 0, ..Default::default() }.max_bytes();
    assert_eq!(lowest, 64 << 20, "sixteen megabytes are allowed, and read as what they are");
    config.max_pixels = 119;
    assert!(run(&config, &Silent).unwrap_err().to_string().contains("none of the"));
    config.max_pixels = 120;
    let summary = run(&config, &Silent).unwrap();
    let names: Vec<_> = rows(&summary.dataset).into_iter().map(|row| row.source_file).collect();
    assert_eq!(names, ["0.png", "bomb.tgz/5.png", "flipped.zip/2.png", "out.tar/4.png"]);
    let reasons = reasons(&summary);
    assert_eq!(
        reasons.iter().map(|(item, _)| *item).collect::<Vec<_>>(),
        ["bomb.zip/5.png", "cut.zip", "flipped.zip/1.png", "out.tar/../3.png"],
        "{reasons:?}"
    );
    assert!(reasons[0].1.starts_with("it has the same pixels as"), "{reasons:?}");
    assert!(reasons[1].1.contains("download it again"), "{reasons:?}");
    assert!(reasons[2].1.contains("cannot be read from the archive"), "{reasons:?}");
    assert!(reasons[3].1.contains("leads out of the archive"), "{reasons:?}");
}

#[test]
fn members_beyond_the_limit_are_skipped_with_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("a.zip");
    // More than the 64 MiB that a limit of one pixel leaves: seen by what is claimed. A claim that is not true is seen
    // once more comes.
    let bomb = [png(1), vec![0; 64 << 20]].concat();
    let mut bytes = as_zip(&[("0.png".into(), png(0)), ("1.png".into(), bomb)], CompressionMethod::Deflated);
    for (claim, parts) in
        [(None, ["67108872 bytes", "raise `max_pixels`"]), (Some(1000_u32), ["declared uncompressed size", "damaged"])]
    {
        if let Some(size) = claim {
            let central = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
            bytes[central + 24..central + 28].copy_from_slice(&size.to_le_bytes());
        }
        fs::write(&source, &bytes).unwrap();
        let file = crate::archive::Archives::default().open(&source).unwrap();
        let file = crate::archive::FileSource::Member(file, 1);
        let error = file.read_image(&DecodeOptions { max_pixels: 1, ..Default::default() }).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn tables_name_files_in_archives() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let members = [("images/1.png".to_owned(), png(1)), ("images/2.png".to_owned(), png(2))];
    write_folder(&source, &[("images/0.png".into(), png(0))]);
    fs::write(source.join("scans.tar.gz"), gzipped(&as_tar(&members))).unwrap();
    fs::write(source.join("cut.zip"), &as_zip(&members, CompressionMethod::Stored)[..100]).unwrap();
    fs::write(source.join("out.tar"), as_tar(&[("../3.png".into(), png(3))])).unwrap();
    let table = "path,patient\nimages/2.png,b\nscans.tar.gz/images/1.png,a\nimages/0.png,c\nimages/3.png,d\n";
    fs::write(source.join("list.csv"), table).unwrap();
    let config = PrepareConfig { preset: "csv".into(), ..config(&source, &dir.path().join("out")) };
    let summary = run(&config, &Silent).unwrap();
    let names: Vec<_> = rows(&summary.dataset).into_iter().map(|row| row.source_file).collect();
    assert_eq!(names, ["images/2.png", "scans.tar.gz/images/1.png", "images/0.png"]);
    let reasons = reasons(&summary);
    let items: Vec<_> = reasons.iter().map(|(item, _)| *item).collect();
    assert_eq!(items, ["images/3.png", "cut.zip", "out.tar"]);
    assert!(reasons[1].1.contains("download it again"), "{reasons:?}");
    assert!(reasons[2].1.contains("1 of its files are left out (for example ../3.png: "), "{reasons:?}");
}

/// A directory of a medium that names these files, in explicit little endian.
fn dicomdir(files: &[&str]) -> Vec<u8> {
    let element = |tag: [u8; 4], kind: &[u8; 2], value: &[u8]| {
        let mut value = value.to_vec();
        value.resize(value.len().next_multiple_of(2), b' ');
        let length = value.len() as u32;
        let is_long = kind == b"SQ";
        let length =
            if is_long { [&[0, 0][..], &length.to_le_bytes()].concat() } else { length.to_le_bytes()[..2].to_vec() };
        [&tag[..], kind, &length, &value].concat()
    };
    let patient = element([0x10, 0, 0x10, 0], b"PN", b"Doe^Jane");
    let mut records = Vec::new();
    for file in files {
        let record = [patient.clone(), element([4, 0, 0, 0x15], b"CS", file.replace('/', "\\").as_bytes())].concat();
        records.extend([0xfe, 0xff, 0x00, 0xe0]);
        records.extend((record.len() as u32).to_le_bytes());
        records.extend(record);
    }
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    bytes.extend(element([2, 0, 0x10, 0], b"UI", b"1.2.840.10008.1.2.1\0"));
    bytes.extend(element([4, 0, 0x20, 0x12], b"SQ", &records));
    bytes
}

#[test]
fn directories_of_media_are_no_broken_images_and_miss_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let files = |named: &[&str], directory: &str| {
        vec![("cd/DICOM/IM1".to_owned(), png(1)), (format!("cd/{directory}"), dicomdir(named))]
    };
    let complete = files(&["DICOM/IM1"], "DICOMDIR");
    let lacking = files(&["DICOM/IM1", "DICOM/IM2", "../../etc/passwd"], "dicomdir");
    for (name, files, num_missing) in [("complete", &complete, 0), ("lacking", &lacking, 2)] {
        let [folder, zip] = ["", ".zip"].map(|end| dir.path().join(format!("{name}{end}")));
        write_folder(&folder, files);
        fs::write(&zip, as_zip(files, CompressionMethod::Deflated)).unwrap();
        for source in [folder, zip] {
            let mut out = source.clone().into_os_string();
            out.push("-out");
            let summary = run(&config(&source, Path::new(&out)), &Silent).unwrap();
            assert_eq!(summary.num_images, 1);
            let reasons = reasons(&summary);
            if num_missing == 0 {
                assert_eq!(reasons, []);
            } else {
                assert_eq!(reasons[0].0, "cd/dicomdir");
                assert!(reasons[0].1.contains("names 3 files, of which 2 are not there"), "{reasons:?}");
                assert!(reasons.len() == 1 && !reasons[0].1.contains("Doe"), "{reasons:?}");
            }
        }
    }
    // Under another name it is told by its content.
    let source = dir.path().join("renamed");
    write_folder(&source, &[("INDEX".into(), dicomdir(&["A"])), ("1.png".into(), png(1))]);
    let summary = run(&config(&source, &dir.path().join("renamed-out")), &Silent).unwrap();
    assert!(reasons(&summary)[0].1.contains("DICOMDIR"), "{:?}", summary.skipped);
}

#[cfg(unix)]
#[test]
fn odd_things_in_folders_are_listed() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let dir = tempfile::tempdir().unwrap();
    let (source, outside) = (dir.path().join("source"), dir.path().join("outside"));
    write_folder(&source, &[("a/1.png".into(), png(1)), ("secret.png".into(), png(9))]);
    write_folder(&outside, &[("2.png".into(), png(2))]);
    symlink(&source, source.join("a/loop")).unwrap();
    symlink(&outside, source.join("b")).unwrap();
    symlink(dir.path().join("nowhere.png"), source.join("c.png")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("d.sock")).unwrap();
    for (byte, number) in [(b'\xfe', 3), (b'\xff', 4)] {
        fs::write(source.join(std::ffi::OsStr::from_bytes(&[b'e', byte])), png(number)).unwrap();
    }
    fs::set_permissions(source.join("secret.png"), fs::Permissions::from_mode(0o000)).unwrap();
    // The administrator may read everything.
    let is_readable = fs::File::open(source.join("secret.png")).is_ok();

    let out = dir.path().join("out");
    let summary = run(&config(&source, &out), &Silent).unwrap();
    let mut names: Vec<_> = rows(&out).into_iter().map(|row| row.source_file).collect();
    let mut reasons = reasons(&summary);
    if is_readable {
        assert_eq!(names.pop().as_deref(), Some("secret.png"));
    } else {
        let (item, reason) = reasons.pop().unwrap();
        assert!(item == "secret.png" && reason.contains("that you may read it"), "{reason}");
    }
    assert_eq!(names, ["a/1.png", "b/2.png", "e\\xfe", "e\\xff"]);
    let expected = [("a/loop", "leads back"), ("c.png", "leads nowhere"), ("d.sock", "a socket")];
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for ((item, reason), (name, part)) in reasons.iter().zip(expected) {
        assert!(*item == name && reason.contains(part), "{reasons:?}");
    }
}

/// Meddles with the files once the first batch is done, when all names are known, and the second one is decoded.
struct Meddle(PathBuf);

impl Progress for Meddle {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {
        if fs::remove_file(self.0.join("b.png")).is_ok() {
            fs::write(self.0.join("c.png"), &png(601)[..40]).unwrap();
            fs::write(self.0.join("a.zip"), &as_zip(&files(3), CompressionMethod::Stored)[..100]).unwrap();
        }
    }
    fn end(&self) {}
    fn say(&self, _sentence: &str) {}
}

#[test]
fn files_that_vanish_or_change_meanwhile_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let mut all: Vec<_> = (0..2 * BATCH).map(|number| (format!("0/{number:03}.png"), png(number))).collect();
    all.extend([("b.png".to_owned(), png(600)), ("c.png".to_owned(), png(601))]);
    write_folder(&source, &all);
    fs::write(source.join("a.zip"), as_zip(&files(3), CompressionMethod::Stored)).unwrap();
    let summary = run(&config(&source, &dir.path().join("out")), &Meddle(source.clone())).unwrap();
    assert_eq!(summary.num_images, 2 * BATCH);
    let reasons = reasons(&summary);
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    let of = |item: &str| reasons.iter().find(|(name, _)| *name == item).unwrap().1;
    assert!(of("b.png").contains("check that it exists") && of("c.png").contains("cut short"), "{reasons:?}");
    assert!(of("a.zip/normal/000.png").contains("changed meanwhile"), "{reasons:?}");
}
