#!/usr/bin/env bash
# This program against PyTorch with diffusers and transformers, on this machine, at equal precision (f32) and with equal
# threads. Prints the tables of the README: commands, then single operations and whole networks. Nothing is downloaded
# but the Python packages: the networks are full-size with random weights, the images drawn.
#
#   bench/compare.sh [WORK FOLDER]        about an hour on 2 cores
#
# VENV     a Python environment with torch, torchvision, diffusers, transformers, safetensors, numpy and pillow; made where missing
# BINARY   the program; built where not given
# THREADS  for both sides [2]
# REPEATS  of each measurement, taken in turns; the tables show medians [5]
# ROWS     commands to measure, separated by commas, may be empty [all]
# OPERATIONS  words, separated by commas, one of which must be in an operation's or network's name; may be empty [all]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(dirname "$here")"
work="${1:-$(mktemp -d)}"
venv="${VENV:-${TMPDIR:-/tmp}/dino-diffusion-bench-venv}"

if [[ ! -x "$venv/bin/python" ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch torchvision diffusers transformers safetensors numpy pillow
fi
if [[ -z "${BINARY:-}" ]]; then
    (cd "$root" && cargo build --release --locked)
    BINARY="$root/target/release/dino-diffusion"
fi
exec "$venv/bin/python" "$here/compare.py" --binary "$BINARY" --work "$work" \
    --threads "${THREADS:-2}" --repeats "${REPEATS:-5}" --rows "${ROWS-all}" --operations "${OPERATIONS-all}"
