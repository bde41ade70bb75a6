//! Runs that are killed, and disks that are full: nothing that was written is lost, and what is continued ends with the
//! same bytes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{Moments, encoded_phantoms, newest_checkpoint, program, succeed, train};

fn exported(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model/unet/diffusion_pytorch_model.safetensors")).unwrap()
}

#[test]
fn a_run_that_is_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    succeed(folder, &train("data", "whole", &[]));

    let mut kills = 0;
    let mut random = Moments::new();
    let mut moments = Vec::new();
    loop {
        let begun = folder.join("parts/recipe.toml").is_file();
        let words = train("data", "parts", if begun { &["--resume"] } else { &[] });
        let mut child = program(folder, &words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if kills < 4 {
            let millis = 100 + (random.next() * 900.0) as u64;
            moments.push(millis);
            std::thread::sleep(Duration::from_millis(millis));
            child.kill().unwrap();
            kills += 1;
        }
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // Killed by the signal.
            None => {}
            Some(0) => break,
            Some(code) => panic!("status {code} after kills at {moments:?} ms: {message}"),
        }
    }
    assert!(newest_checkpoint(&folder.join("whole")) == newest_checkpoint(&folder.join("parts")), "{moments:?} ms");
    assert!(exported(&folder.join("whole")) == exported(&folder.join("parts")), "{moments:?} ms");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_costs_nothing_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    succeed(folder, &train("data", "whole", &[]));
    succeed(folder, &train("data", "parts", &["--set", "training.total_images=80"]));
    let before = newest_checkpoint(&folder.join("parts"));

    // No file may grow beyond 64 blocks, which a checkpoint does: writing fails as on a full disk. The signal that goes
    // with it is ignored, so that the program sees the error.
    let words = train("data", "parts", &["--resume"]);
    let limited = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_dino-diffusion")])
        .args(&words)
        .current_dir(folder)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(2), "{message}");
    assert!(message.contains("safetensors") && !message.contains("panicked"), "{message}");
    assert!(before == newest_checkpoint(&folder.join("parts")), "the checkpoint of before is as it was");

    succeed(folder, &words);
    assert!(newest_checkpoint(&folder.join("whole")) == newest_checkpoint(&folder.join("parts")));
}
