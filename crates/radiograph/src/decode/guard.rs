//! A panic inside a decoder as an error that names the decoder, and nothing on the screen.
//!
//! Decoders are meant not to panic; where one does, the next file must still be read, and a list of a hundred thousand
//! files is no place for the text that Rust prints.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::{DecodeError, SourceFormat};

thread_local! {
    /// What a thread that is inside of [`guarded`] knows of a panic.
    static GUARD: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Where a panic came from, and what it said.
#[derive(Default)]
struct Panic {
    decoder: String,
    detail: String,
}

/// Runs a decoder; a panic inside it is an error and prints nothing. Panics elsewhere, of other threads too, go to the
/// hook that was there before.
pub(super) fn guarded<T>(
    format: SourceFormat,
    decode: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            let is_guarded = GUARD.with_borrow_mut(|guard| match guard {
                Some(panic) => {
                    *panic = Panic { decoder: decoder(info), detail: detail(info) };
                    true
                }
                None => false,
            });
            if !is_guarded {
                previous(info);
            }
        }));
    });
    let outer = GUARD.replace(Some(Panic::default()));
    let result = catch_unwind(AssertUnwindSafe(decode));
    let panic = GUARD.replace(outer);
    result.unwrap_or_else(|_| {
        let Panic { decoder, detail } = panic.unwrap_or_default();
        Err(DecodeError::DecoderFailed { format, decoder, detail })
    })
}

/// The crate that panicked, with its version, from the path of its source: the folder above `src`.
fn decoder(info: &PanicHookInfo<'_>) -> String {
    let Some(location) = info.location() else { return "of an unknown crate".into() };
    let parts: Vec<&str> = location.file().split(['/', '\\']).collect();
    let above = parts.iter().rposition(|&part| part == "src").and_then(|at| at.checked_sub(1));
    above.map_or(location.file(), |at| parts[at]).to_string()
}

fn detail(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("without a message");
    // Some messages end in lines of values.
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The variable that makes a test of this module the process that the other one looks at.
    const CHILD: &str = "DINO_DIFFUSION_GUARD_CHILD";

    fn give_up() -> Result<(), DecodeError> {
        let numbers: Vec<u8> = (1..4).collect();
        let index = numbers.len() + 4;
        assert_eq!(numbers[index], 0);
        Ok(())
    }

    #[test]
    fn a_panic_is_an_error_that_names_the_decoder() {
        let error = guarded(SourceFormat::Dicom, give_up).unwrap_err().to_string();
        assert!(
            error.starts_with("the decoder radiograph gave up on this DICOM (index out of bounds: the len is 3"),
            "{error}"
        );
        assert!(!error.contains("copy the file"), "{error}");
        assert_eq!(guarded(SourceFormat::Png, || Ok(7)).unwrap(), 7);
    }

    /// In a process of its own, for the hook is one for all tests.
    #[test]
    fn guarded_panics_print_nothing_and_others_what_they_always_did() {
        if std::env::var_os(CHILD).is_some() {
            assert!(guarded(SourceFormat::Png, give_up).is_err());
            // One inside of another, as a decoder that calls decoders has it.
            let nested = guarded(SourceFormat::Png, || guarded(SourceFormat::Jpeg, give_up).or_else(|_| give_up()));
            assert!(nested.is_err());
            assert!(std::thread::spawn(|| panic!("another thread")).join().is_err());
            assert!(catch_unwind(|| panic!("outside of the guard")).is_err());
            return;
        }
        let name = "decode::guard::tests::guarded_panics_print_nothing_and_others_what_they_always_did";
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}");
        assert!(printed.contains("another thread") && printed.contains("outside of the guard"), "{printed}");
        assert!(!printed.contains("index out of bounds"), "{printed}");
    }
}
