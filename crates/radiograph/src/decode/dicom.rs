use super::DecodeOptions;
use crate::{DecodeError, Radiograph};
pub(super) fn starts_without_preamble(_bytes: &[u8]) -> bool {
    false
}
pub(super) fn decode(_bytes: &[u8], _options: &DecodeOptions) -> Result<Radiograph, DecodeError> {
    Err(DecodeError::Empty)
}
