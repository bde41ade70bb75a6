//! What a stage says without printing: how far it is ([`Progress`]), what it passed over ([`Skipped`]), and an error with
//! its causes as one sentence ([`sentence()`]), and how long it took ([`duration()`]).

mod duration;
mod progress;
mod sentence;

pub use duration::duration;
pub use progress::{Progress, Silent};
pub use sentence::sentence;

use serde::{Deserialize, Serialize};

/// Something that a stage passed over, and why. The stage goes on; the program ends with status 1 and lists these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file or row.
    pub item: String,
    /// A sentence.
    pub reason: String,
}
