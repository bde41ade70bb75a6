#!/usr/bin/env bash
# `prepare` against a PyTorch DataLoader that does the same: decode, window to 8 bits, pad to a square, reduce with
# antialiasing, tensor. Small and full-size JPEG, uncompressed 16-bit DICOM and JPEG 2000 in DICOM, both sides in turns in
# one run, files in the cache. Prints a table in Markdown of medians, and how far the pixels of both sides differ.
#
#   bench/ingest.sh [WORK FOLDER]        ten minutes on 2 cores that do nothing else; 1.5 GB in the work folder
#
# VENV     a Python environment with torch, torchvision, numpy, pillow, pydicom, pylibjpeg, pylibjpeg-openjpeg and
#          imagecodecs; made where missing
# BINARY   the program; built where not given
# IMAGES   a folder of radiographs as JPEG or PNG, with full-size ones in its folder `originals` [../shared/data/cxr]
# THREADS  of the program, and workers of the DataLoader [2]
# REPEATS  [3]
# FILES    at most so many files of each kind; few for trying it out [the number in ingest.py]
# KINDS    small, jpeg, dicom, jpeg2000, separated by commas [all]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(dirname "$here")"
venv="${VENV:-${TMPDIR:-/tmp}/dino-diffusion-bench-venv}"
if [[ ! -x "$venv/bin/python" ]]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import torch, torchvision, numpy, PIL, pydicom, openjpeg, imagecodecs' 2>/dev/null; then
    "$venv/bin/pip" install --quiet torch torchvision numpy pillow pydicom pylibjpeg pylibjpeg-openjpeg imagecodecs
fi
if [[ -z "${BINARY:-}" ]]; then
    (cd "$root" && cargo build --release --locked)
    BINARY="$root/target/release/dino-diffusion"
fi
if [[ -n "${1:-}" ]]; then
    work="$1"
else
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
fi
"$venv/bin/python" "$here/ingest.py" --binary "$BINARY" --work "$work" --images "${IMAGES:-$root/../shared/data/cxr}" \
    --threads "${THREADS:-2}" --repeats "${REPEATS:-3}" --files "${FILES:-0}" --kinds "${KINDS:-all}"
