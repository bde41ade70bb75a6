//! What preparing changes in a picture beyond reducing it.

use serde::{Deserialize, Serialize};

/// One value for each kind of change. In files: a list of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "[T; 2]",
    into = "[T; 2]",
    bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>")
)]
pub(super) struct Changes<T> {
    /// Borders were cut off.
    pub cropped: T,
    /// Something that looks like text was painted over.
    pub text_masked: T,
}

impl<T> Changes<T> {
    pub(super) fn as_mut(&mut self) -> Changes<&mut T> {
        Changes { cropped: &mut self.cropped, text_masked: &mut self.text_masked }
    }

    pub(super) fn map<U>(self, mut value: impl FnMut(T) -> U) -> Changes<U> {
        Changes { cropped: value(self.cropped), text_masked: value(self.text_masked) }
    }
}

impl Changes<usize> {
    /// Counts an image.
    pub(super) fn count(&mut self, is_changed: Changes<bool>) {
        self.cropped += usize::from(is_changed.cropped);
        self.text_masked += usize::from(is_changed.text_masked);
    }
}

impl<T> From<[T; 2]> for Changes<T> {
    fn from([cropped, text_masked]: [T; 2]) -> Self {
        Self { cropped, text_masked }
    }
}

impl<T> From<Changes<T>> for [T; 2] {
    fn from(changes: Changes<T>) -> Self {
        [changes.cropped, changes.text_masked]
    }
}
