#!/usr/bin/env bash
# safetensors 0.8.0 (the library behind diffusers' and transformers' weight files): the same tensors with the same
# metadata give other bytes from call to call, so files cannot be compared, or cached, by their hash. The entries of
# `__metadata__` come in the order of a Rust HashMap with a random seed. Sorted keys in the Python dict change nothing,
# and one entry, as most files have ("format": "pt"), hides it.
# Seen: 20 calls gave 19 or 20 different files with six entries, and one with a single entry.
# Ends with 0 as long as it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import hashlib
import sys

import numpy
from safetensors.numpy import load, save

tensors = {"x": numpy.arange(3, dtype=numpy.float32)}


def kinds(metadata):
    files = [save(tensors, metadata=metadata) for _ in range(20)]
    assert all((load(file)["x"] == tensors["x"]).all() for file in files)
    return len({hashlib.sha256(file).hexdigest() for file in files})


one = kinds({"format": "pt"})
six = kinds({name: name for name in sorted("abcdef")})
print(f"different files of 20: {one} with one entry, {six} with six entries")
sys.exit(0 if one == 1 and six > 1 else 1)
PYTHON
