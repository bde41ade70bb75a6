//! From files to a dataset: public collections ([`presets`]), archives that are read in place ([`archive`]), and
//! [`prepare`], which decodes, checks, splits and writes; and what two datasets share ([`mod@compare`]). No networks,
//! so that it is quick to build, to test and to fuzz. It never prints: what it has to say goes through
//! [`progress::Progress`].

pub mod archive;
pub mod compare;
mod notes;
pub mod prepare;
pub mod presets;
pub mod progress;
mod spelling;
mod tables;

use serde::{Deserialize, Serialize};

/// Something that a stage passed over, and why. The stage goes on; the program ends with status 1 and lists these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file or row.
    pub item: String,
    /// A sentence.
    pub reason: String,
}
