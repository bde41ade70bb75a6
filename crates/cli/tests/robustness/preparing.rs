//! `prepare` killed again and again, and `inspect` as a gate between two datasets.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Moments, contents, fail, program, run, succeed};

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

/// A drawn chest of 12 bits as an uncompressed DICOM file.
fn write_dicom(path: &Path, seed: u64, index: u64, size: usize) {
    let picture = radiograph::Phantom::from_seed(seed, index).render(size).radiograph;
    let stored: Vec<u8> = picture.pixels.iter().flat_map(|pixel| ((pixel * 4095.0) as u16).to_le_bytes()).collect();
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    let mut element = |group: u16, number: u16, representation: &[u8; 2], value: &[u8]| {
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(if representation == b"UI" { 0 } else { b' ' });
        }
        bytes.extend([group.to_le_bytes(), number.to_le_bytes()].concat());
        bytes.extend(representation);
        match representation {
            b"OW" => bytes.extend([&[0_u8, 0][..], &(value.len() as u32).to_le_bytes()].concat()),
            _ => bytes.extend((value.len() as u16).to_le_bytes()),
        }
        bytes.extend(value);
    };
    // Explicit VR little endian, after the length of the 28 bytes that say so.
    element(0x0002, 0x0000, b"UL", &28_u32.to_le_bytes());
    element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1");
    element(0x0010, 0x0020, b"LO", format!("patient {}", index / 2).as_bytes());
    element(0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
    element(0x0028, 0x0004, b"CS", b"MONOCHROME2");
    for (number, value) in [(0x10, size as u16), (0x11, size as u16), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, 0)]
    {
        element(0x0028, number, b"US", &value.to_le_bytes());
    }
    element(0x7FE0, 0x0010, b"OW", &stored);
    std::fs::write(path, bytes).unwrap();
}

#[allow(clippy::print_stdout)] // the result is documented
/// Runs the program again and again, kills it at random moments, and compares what it ends with, as often as it ends, with
/// the undisturbed result in the folder `whole`.
fn kill_again_and_again(folder: &Path, words: &dyn Fn(&str) -> Vec<String>, num_kills: u64) {
    let mut moments = Moments::new();
    let seed = moments.seed;
    let run_in = |out: &str| {
        let words = words(out);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        program(folder, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begun = Instant::now();
    assert_eq!(run_in("whole").wait().unwrap().code(), Some(1), "one file is skipped");
    let whole_secs = begun.elapsed().as_secs_f64();
    let whole = contents(&folder.join("whole"));

    let (mut num_killed, mut num_compared, mut num_continued) = (0, 0, 0);
    while num_killed < num_kills || num_compared == 0 {
        let wants_kill = num_killed < num_kills;
        let mut child = run_in("killed");
        if wants_kill {
            std::thread::sleep(Duration::from_secs_f64(moments.next() * 0.6 * whole_secs));
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let told = format!("KILL_SEED={seed}, after {num_killed} kills");
        assert!(matches!(status.code(), None | Some(1)), "{status}; {told}");
        num_killed += u64::from(status.code().is_none());
        num_continued += u64::from(folder.join("killed/partial/rows-00000.parquet").is_file());
        if status.code() == Some(1) {
            let killed = contents(&folder.join("killed"));
            assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>(), "{told}");
            for (name, bytes) in &whole {
                assert!(bytes == &killed[name], "{name} differs; {told}");
            }
            std::fs::remove_dir_all(folder.join("killed")).unwrap();
            num_compared += 1;
        }
    }
    assert!(num_continued * 4 > num_kills, "only {num_continued} kills left something begun; KILL_SEED={seed}");
    println!(
        "KILL_SEED={seed}: {num_killed} kills, {num_continued} left something to continue, {num_compared} results compared"
    );
}

/// `KILLS` is their number.
#[test]
fn a_preparation_that_is_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(&folder.join("images"), 1, 200, 96, 1.0);
    for index in 0..100 {
        write_dicom(&folder.join(format!("images/{index:03}.dcm")), 2, index, 96);
    }
    // Darker copies of some, which must end on the side of their originals, and of some with a split of their own.
    write_images(&folder.join("images/darker"), 1, 40, 96, 0.95);
    write_images(&folder.join("images/test"), 1, 10, 96, 0.9);
    // A bad file, so that the list of what was skipped is compared too.
    std::fs::write(folder.join("images/100-bad.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    std::fs::write(folder.join("salt"), "0123456789abcdef".repeat(4)).unwrap();
    let prepare = "prepare images --image-size 64 --salt-file salt --set shard_size=16 --out";
    let words =
        |command: &str, out: &str| -> Vec<String> { command.split(' ').chain([out]).map(str::to_owned).collect() };
    let num_kills = std::env::var("KILLS").map_or(100, |number| number.parse().unwrap());
    kill_again_and_again(folder, &|out| words(prepare, out), num_kills);
    let drawn =
        words("prepare images --image-size 64 --salt-file salt --set join_near_duplicates=false --out", "drawn");
    let drawn: Vec<&str> = drawn.iter().map(String::as_str).collect();
    assert_eq!(run(folder, &drawn).status.code(), Some(1));
    let manifest = |name: &str| std::fs::read(folder.join(name).join("manifest.parquet")).unwrap();
    assert!(manifest("drawn") != manifest("whole"), "nobody was moved, so that nothing was tested");

    // The same for parts that are joined, and their result is the single run's.
    for part in ["1", "2", "3"] {
        let words = words(&format!("{prepare} parts/{part} --part"), &format!("{part}/3"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(matches!(run(folder, &words).status.code(), Some(0 | 1)));
    }
    let single = contents(&folder.join("whole"));
    std::fs::remove_dir_all(folder.join("whole")).unwrap();
    kill_again_and_again(folder, &|out| words("prepare --merge parts --out", out), num_kills / 5);
    assert!(single == contents(&folder.join("whole")), "parts must join to what a single run makes");
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
