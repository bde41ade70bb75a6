#!/usr/bin/env bash
# pure_jpegls 2.0.0 and dicom-toolkit-codec 0.5.0 (crates.io) on streams of CharLS (imagecodecs 2026.3.6, PyPI).
#
# One would guess that a JPEG-LS decoder in Rust can stand in for CharLS. For grey pictures of 8 and 16 bits and a colour
# picture, all lossless and smooth, pure_jpegls reads the grey ones exactly and refuses every stream of more than one
# component. dicom-toolkit-codec refuses all three as damaged. CharLS reads back its own. Needs cargo and a network.
# Ends non-zero when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import imagecodecs
import numpy as np

folder = Path(sys.argv[1])
rows, columns = np.mgrid[0:48, 0:40]
wave = 0.5 + 0.25 * np.sin(rows / 7) + 0.25 * np.cos(columns / 5)
pictures = {
    "grey8": (wave * 255).astype(np.uint8),
    "grey16": (wave * 65535).astype(np.uint16),
    "colour8": np.stack([wave * 255, wave * 200, wave * 100], axis=-1).astype(np.uint8),
}
for name, picture in pictures.items():
    stream = imagecodecs.jpegls_encode(picture)
    assert (imagecodecs.jpegls_decode(stream) == picture).all(), name
    (folder / f"{name}.jls").write_bytes(stream)
    (folder / f"{name}.raw").write_bytes(picture.astype("<u2").tobytes())
PYTHON
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
dicom-toolkit-codec = "=0.5.0"
pure_jpegls = "=2.0.0"

[workspace]
TOML
cat > "$folder/src/main.rs" <<'RUST'
use std::fs::read;

fn main() {
    for name in ["grey8", "grey16", "colour8"] {
        let stream = read(format!("{name}.jls")).unwrap();
        let raw = read(format!("{name}.raw")).unwrap();
        let first = match jpegls::decode(&stream, 40, 48) {
            Ok((samples, ..)) => {
                let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                if bytes == raw { "exact".to_owned() } else { "wrong".to_owned() }
            }
            Err(_) => "refused".to_owned(),
        };
        let second = match dicom_toolkit_codec::jpeg_ls::decoder::decode_jpeg_ls(&stream) {
            Ok(frame) => format!("{} bytes", frame.pixels.len()),
            Err(_) => "refused".to_owned(),
        };
        println!("{name}: pure_jpegls {first}, dicom-toolkit-codec {second}");
    }
}
RUST
(cd "$folder" && CARGO_TARGET_DIR="$folder/target" cargo run --quiet --release) | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN'
grey8: pure_jpegls exact, dicom-toolkit-codec refused
grey16: pure_jpegls exact, dicom-toolkit-codec refused
colour8: pure_jpegls refused, dicom-toolkit-codec refused
SEEN
