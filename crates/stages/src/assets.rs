//! What comes with the program: networks that are known by a name instead of a folder.
//!
//! They are looked for where [`FOLDER_VARIABLE`] says, beside the binary, and in the folders above it and above the
//! current one, which covers an installed program, a build inside the repository and `cargo run` alike.

use std::path::{Path, PathBuf};

/// Names that are understood wherever a run, a model, an encoder or an autoencoder is asked for.
pub const NAMES: [&str; 1] = ["cxr-small-128"];

/// Environment variable with the folder that holds a folder for each of the [`NAMES`].
pub const FOLDER_VARIABLE: &str = "DINO_DIFFUSION_ASSETS";

/// Folders above the binary that are searched: `target/release/deps` lies three below the repository.
const LEVELS: usize = 4;

/// The folder that `path` means: that of a shipped network if it is one of the [`NAMES`] and no folder of this name
/// lies in the current one, else `path` itself.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    if !is_name(path) || path.exists() {
        return path.to_path_buf();
    }
    search(path, &roots()).unwrap_or_else(|| path.to_path_buf())
}

/// Whether a path is nothing but the name of something shipped.
pub(crate) fn is_name(path: &Path) -> bool {
    NAMES.iter().any(|name| path == Path::new(name))
}

/// The first root that has a folder of this name.
fn search(name: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    roots.iter().map(|root| root.join(name)).find(|folder| folder.is_dir())
}

fn roots() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from).into_iter().collect();
    // A link to the binary stands for the binary: assets lie beside the file itself.
    let binary = std::env::current_exe().and_then(|path| path.canonicalize());
    let starts = [binary.ok().and_then(|path| path.parent().map(Path::to_path_buf)), std::env::current_dir().ok()];
    for start in starts.into_iter().flatten() {
        roots.extend(start.ancestors().take(LEVELS).map(|folder| folder.join("assets")));
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_root_with_the_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> = ["a", "b", "c"].map(|root| folder.path().join(root)).into();
        let name = Path::new(NAMES[0]);
        assert_eq!(search(name, &roots), None);
        for root in &roots[1..] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        assert_eq!(search(name, &roots), Some(roots[1].join(name)));
    }

    #[test]
    fn folders_are_left_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(resolve(folder.path()), folder.path());
        let named_alike = folder.path().join(NAMES[0]);
        assert_eq!(resolve(&named_alike), named_alike, "a path with folders in it is no name");
    }

    #[test]
    fn the_shipped_autoencoder_is_found_by_name() {
        let folder = crate::model::network_of(Path::new(NAMES[0]), "autoencoder").unwrap();
        assert!(folder.join("config.json").is_file(), "{}", folder.display());
    }
}
