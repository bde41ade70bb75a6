//! Opening the file of a feature network: safetensors or a pickle, of a state dict or a whole module, on its own or
//! inside a training checkpoint.

use crate::error::Error;
use crate::{
    checkpoint::Checkpoint,
    pickle::{is_pickle, open_pickle},
};
use std::path::Path;

/// What tells a network's file from others.
pub(super) struct Kind {
    /// Its name in sentences, with what it is for.
    pub network: &'static str,
    /// The end of the name of a tensor that it always has.
    pub marker: &'static str,
    /// What to give instead of a file without that tensor.
    pub remedy: &'static str,
    /// Whether a tensor, named without what stands before the marker, is left aside.
    pub is_ignored: fn(&str) -> bool,
}

/// The network's tensors under their own names. What stands before the marker's name (`module.`, `model.`,
/// `state_dict.`) is taken off, tensors without it are left aside.
///
/// # Errors
/// A file that cannot be read or is none of this network.
pub(super) fn open(path: &Path, kind: &Kind) -> Result<Checkpoint, Error> {
    let own_name = |names: &[String], name: &str| -> Option<String> {
        let own = name.strip_prefix(prefix(names, kind)?.as_str())?;
        let counts_batches = own.ends_with(".num_batches_tracked"); // an integer that only training asks for
        (!counts_batches && !(kind.is_ignored)(own)).then(|| own.to_owned())
    };
    let (checkpoint, names) = if is_pickle(path) {
        let all = std::cell::RefCell::new(Vec::new());
        let wanted = |names: &[String], name: &str| {
            let mut all = all.borrow_mut();
            if all.is_empty() {
                all.extend_from_slice(names);
            }
            own_name(names, name).is_some()
        };
        let checkpoint = open_pickle(path, wanted)?;
        (checkpoint, all.into_inner())
    } else {
        let checkpoint = Checkpoint::open(path)?;
        let names = checkpoint.keys().map(str::to_owned).collect();
        (checkpoint, names)
    };
    if prefix(&names, kind).is_none() {
        let shown: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
        let marked = names.iter().filter(|name| name.ends_with(kind.marker)).count();
        let found = match (marked, names.len()) {
            (_, 0) => "no tensors".to_owned(),
            (0, count) => format!("{count} tensors ({} ...) and no `{}`", shown.join(", "), kind.marker),
            (several, _) => format!("{several} networks with a `{}`", kind.marker),
        };
        let (network, remedy) = (kind.network, kind.remedy);
        return Err(Error::OtherNetwork { network, found, remedy, path: path.into() });
    }
    Ok(checkpoint.rename(|name| own_name(&names, name)))
}

/// What stands before the marker, where exactly one tensor has it.
fn prefix(names: &[String], kind: &Kind) -> Option<String> {
    let mut marked = names.iter().filter_map(|name| name.strip_suffix(kind.marker));
    let prefix = marked.next().filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))?;
    marked.next().is_none().then(|| prefix.to_owned())
}

/// What went wrong while the tensors of a file were read; `to_file_name` gives a field's name in the file.
pub(super) fn in_file(
    error: Error,
    network: &'static str,
    path: &Path,
    to_file_name: impl Fn(&str) -> String,
) -> Error {
    let Error::Mismatch { problems } = error else { return error };
    // Names stand between backticks.
    let renamed = |problem: String| {
        let parts = problem.split('`').enumerate();
        let parts = parts.map(|(i, part)| if i % 2 == 1 { to_file_name(part) } else { part.to_owned() });
        parts.collect::<Vec<_>>().join("`")
    };
    let problems = problems.into_iter().map(renamed).collect();
    Error::Incomplete { network, problems, path: path.into() }
}
