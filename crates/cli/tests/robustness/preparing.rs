//! `prepare` killed again and again, and `inspect` as a gate between two datasets.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{fail, program, run, succeed};

/// Kills before the preparation may end.
const NUM_KILLS: u64 = 40;

/// All files below a folder, by their paths in it.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Drawn chests, times a factor of brightness.
fn write_images(folder: &Path, seed: u64, number: u64, size: usize, factor: f32) {
    std::fs::create_dir_all(folder).unwrap();
    for index in 0..number {
        let picture = radiograph::Phantom::from_seed(seed, index).render(size).radiograph;
        let path = folder.join(format!("{index:03}.png"));
        let pixels: Vec<f32> = picture.pixels.iter().map(|pixel| pixel * factor).collect();
        radiograph::write_png_u8(&path, &radiograph::to_u8(&pixels), size, size).unwrap();
    }
}

/// Forty kills in the first tenths of a second, at moments that differ between runs of the test by what the machine is
/// doing and between kills by a stride that visits them all.
#[test]
fn a_preparation_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(&folder.join("images"), 1, 300, 96, 1.0);
    // Darker copies of some, which must end on the side of their originals, and of some with a split of their own.
    write_images(&folder.join("images/darker"), 1, 40, 96, 0.95);
    write_images(&folder.join("images/test"), 1, 10, 96, 0.9);
    // A bad file, so that the list of what was skipped is compared too.
    std::fs::write(folder.join("images/100-bad.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    std::fs::write(folder.join("salt"), "0123456789abcdef".repeat(4)).unwrap();
    let words = |out| {
        ["prepare", "images", "--image-size", "64", "--salt-file", "salt", "--set", "shard_size=16", "--out", out]
    };
    assert_eq!(run(folder, &words("whole")).status.code(), Some(1), "one file is skipped");

    let (mut num_killed, mut num_continued) = (0, 0);
    for kill in 0..NUM_KILLS {
        let mut child = program(folder, &words("parts")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(3 + kill * 37 % 160));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        num_killed += u64::from(status.code().is_none());
        num_continued += u64::from(folder.join("parts/partial").is_dir());
        assert!(matches!(status.code(), None | Some(1)), "kill {kill}: {status}");
    }
    assert_eq!(run(folder, &words("parts")).status.code(), Some(1));
    assert!(num_killed > 0 && num_continued > 0, "{num_killed} kills, {num_continued} of which left something begun");
    let (whole, parts) = (contents(&folder.join("whole")), contents(&folder.join("parts")));
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(bytes == &parts[name], "{name} differs after {num_killed} kills");
    }
    let mut drawn = words("drawn").to_vec();
    drawn.extend(["--set", "join_near_duplicates=false"]);
    assert_eq!(run(folder, &drawn).status.code(), Some(1));
    let manifest = |name: &str| std::fs::read(folder.join(name).join("manifest.parquet")).unwrap();
    assert!(manifest("drawn") != manifest("whole"), "nobody was moved, so that nothing was tested");
}

/// From an archive, since what is read of it must be found again.
#[cfg(unix)]
#[test]
fn a_preparation_on_a_full_disk_keeps_what_was_written_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(&folder.join("images"), 1, 300, 32, 1.0);
    let packed = std::process::Command::new("tar").args(["-czf", "images.tgz", "images"]).current_dir(folder).status();
    assert!(packed.unwrap().success());
    std::fs::write(folder.join("salt"), "0123456789abcdef".repeat(4)).unwrap();
    let words = |out| {
        let source = "images.tgz/images";
        ["prepare", source, "--image-size", "8", "--salt-file", "salt", "--set", "shard_size=16", "--out", out]
    };
    // No file may grow beyond 32 blocks, which the manifest does and shards do not: writing fails as on a full disk.
    let limited = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_dino-diffusion")])
        .args(words("parts"))
        .current_dir(folder)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(2), "{message}");
    assert!(message.contains("manifest.parquet") && !message.contains("panicked"), "{message}");
    let output = run(folder, &["inspect", "parts"]);
    let message = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("300 images so far") && message.contains("again to continue"), "{message}");

    succeed(folder, &words("parts"));
    succeed(folder, &words("whole"));
    assert!(contents(&folder.join("whole")) == contents(&folder.join("parts")));
}

#[test]
fn datasets_that_share_something_fail_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(&folder.join("train-images"), 1, 4, 64, 1.0);
    write_images(&folder.join("same-images"), 1, 2, 64, 1.0);
    write_images(&folder.join("other-images"), 2, 1, 64, 1.0);
    for name in ["train", "same", "other"] {
        succeed(folder, &["prepare", &format!("{name}-images"), "--image-size", "32", "--out", name]);
    }
    let message = fail(folder, &["inspect", "train", "same", "--json", "--fail-on-leaks"]);
    assert!(message.contains("the datasets share patients or images"), "{message}");
    let output = run(folder, &["inspect", "train", "same", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["exact_duplicates"]["count"], 2);
    // Each was prepared with a salt of its own.
    assert!(found["patients"].is_null());
    let shown = run(folder, &["inspect", "train", "same"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("equal pixels      2"));

    succeed(folder, &["inspect", "train", "other", "--fail-on-leaks"]);
    let message = fail(folder, &["inspect", "train", "--json"]);
    assert!(message.contains("give the folders of two finished ones"), "{message}");
}
