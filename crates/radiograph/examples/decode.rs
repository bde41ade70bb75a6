//! Decodes one image: `cargo run -p dino-diffusion-radiograph --example decode -- FILE OUTPUT`.
//!
//! Writes brightness in 0 to 1 as 32-bit floats, little endian, row by row, and prints `HEIGHT WIDTH`. Where the image is
//! not read, prints the reason and exits with status 2. For comparisons with other readers.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, run by scripts")]

use std::process::ExitCode;

use radiograph::{DecodeOptions, decode_file};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, output] = &arguments[..] else {
        eprintln!("usage: decode FILE OUTPUT");
        return ExitCode::FAILURE;
    };
    let picture = match decode_file(input, &DecodeOptions::default()) {
        Ok(picture) => picture,
        Err(error) => {
            // The path is known to whoever asked.
            match error {
                radiograph::DecodeError::InFile { reason, .. } => println!("{reason}"),
                other => println!("{other}"),
            }
            return ExitCode::from(2);
        }
    };
    let bytes: Vec<u8> = picture.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    if let Err(error) = std::fs::write(output, bytes) {
        eprintln!("the output cannot be written ({error})");
        return ExitCode::FAILURE;
    }
    println!("{} {}", picture.height, picture.width);
    ExitCode::SUCCESS
}
