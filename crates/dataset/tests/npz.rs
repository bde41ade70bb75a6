//! NumPy archives that NumPy wrote (`golden/npz/generate.py`), that are written for it, and damaged ones.

use std::path::{Path, PathBuf};

use dataset::{NumpyArray, read_npz, write_npz};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/npz")
}

fn expected() -> [NumpyArray; 2] {
    let sigma = (0..9).map(|at| f64::from(at / 3) * 10.0 + f64::from(at % 3) + 0.25).collect();
    [NumpyArray { shape: vec![3], values: vec![-1.0, -0.5, 0.0] }, NumpyArray { shape: vec![3, 3], values: sigma }]
}

fn message(path: &Path) -> String {
    read_npz(path, ["mu", "sigma"]).unwrap_err().to_string()
}

#[test]
fn archives_of_numpy_are_read_in_every_layout() {
    let mut names: Vec<String> = Vec::new();
    for method in ["stored", "deflated"] {
        for order in ["C", "F"] {
            names.extend(["f32", "f64", "big_endian"].map(|kind| format!("{method}_{order}_{kind}")));
        }
    }
    names.push("with_others".to_owned());
    for name in names {
        let path = folder().join(format!("{name}.npz"));
        assert_eq!(read_npz(&path, ["mu", "sigma"]).unwrap(), expected(), "{name}");
        let [mu, sigma] = expected();
        assert_eq!(read_npz(&path, ["sigma", "mu"]).unwrap(), [sigma, mu], "{name}: in the order asked for");
    }
}

/// That NumPy reads it says `generate.py`; the bytes do not change with time or place.
#[test]
fn what_is_written_is_what_numpy_was_shown() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("DINO_DIFFUSION_KEEP").map(PathBuf::from);
    let path = kept.as_deref().unwrap_or(temporary.path()).join("written.npz");
    let [mu, sigma] = expected();
    write_npz(&path, &[("mu", &mu), ("sigma", &sigma)]).unwrap();
    assert_eq!(read_npz(&path, ["mu", "sigma"]).unwrap(), expected());
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(folder().join("written.npz")).unwrap());
    let short = NumpyArray { shape: vec![4], values: vec![0.0; 3] };
    assert!(write_npz(&path, &[("mu", &short)]).unwrap_err().to_string().contains("has 3 values, expected 4"));
}

#[test]
fn shapes_of_any_number_of_axes_come_back() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("shapes.npz");
    for shape in [vec![], vec![0], vec![1], vec![2, 0], vec![1, 300], vec![2, 3, 4], vec![70_000]] {
        let count: usize = shape.iter().product();
        let array = NumpyArray { values: (0..count).map(|value| value as f64).collect(), shape };
        write_npz(&path, &[("array", &array)]).unwrap();
        assert_eq!(read_npz(&path, ["array"]).unwrap(), [array]);
    }
}

#[test]
fn what_is_no_such_archive_is_refused_with_a_reason() {
    for (name, reason) in [
        ("refused_integers", "`sigma`: values of type `<i8`"),
        ("refused_f16", "`mu`: values of type `<f2`"),
        ("refused_names", "no array `mu` among [\"mean\", \"covariance\"]"),
        ("refused_object", "`mu`: values of type `|O`"),
    ] {
        let path = folder().join(format!("{name}.npz"));
        let found = message(&path);
        assert!(found.contains(reason) && found.contains("numpy.savez") && found.ends_with(".npz"), "{found}");
    }
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("text.npz");
    std::fs::write(&path, "mu, sigma").unwrap();
    assert!(message(&path).contains("NumPy archive is damaged"), "{}", message(&path));
    assert!(message(&temporary.path().join("none.npz")).contains("does not exist"));
}

/// A damaged file is an error, or what was damaged did not matter.
#[test]
fn damage_is_noticed() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("damaged.npz");
    for name in ["deflated_F_f32", "with_others", "written"] {
        let whole = std::fs::read(folder().join(format!("{name}.npz"))).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read_npz(&path, ["mu", "sigma"]).is_err(), "{name}: {length} bytes of {}", whole.len());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(found) = read_npz(&path, ["mu", "sigma"]) {
                assert_eq!(found, expected(), "{name}: byte {at} changed");
            }
        }
    }
}
