#!/usr/bin/env bash
# How `prepare` grows with the number of images: time and peak memory for 1,000 to 100,000 (or more) tiny images, for
# adding 1 % to a finished dataset, and for joining four parts. Prints a table in Markdown; removes what it generates.
#
#   bench/scale.sh [WORK FOLDER]        five minutes on 2 cores; a work folder that is given is kept, but for the images
#
# SIZES    numbers of images, separated by spaces ["1000 10000 100000"]; each image is a file of some 300 bytes
# BINARY   the program; built where not given
# THREADS  [2]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(dirname "$here")"
if [[ -z "${BINARY:-}" ]]; then
    (cd "$root" && cargo build --release --locked)
    BINARY="$root/target/release/dino-diffusion"
fi
if [[ -n "${1:-}" ]]; then
    work="$1"
    mkdir -p "$work"
else
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
fi
# shellcheck disable=SC2086
python3 "$here/scale.py" --binary "$BINARY" --work "$work" --threads "${THREADS:-2}" ${SIZES:-1000 10000 100000}
