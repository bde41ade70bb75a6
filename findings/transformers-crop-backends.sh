#!/usr/bin/env bash
# One preprocessor_config.json, two images: where an image is smaller than the centre crop by an odd number of pixels,
# transformers 5.24.0 puts the odd black row and column at the end with its torchvision backend (the default where
# torchvision is installed) and at the start with its Pillow backend (used where it is not). A guess would be that a
# backend changes rounding of grey values at most; here a 14 px patch grid sees everything moved by one pixel.
# Cutting, where the image is larger, agrees.
#
# Seen on 30 November 2026: "torchvision: rows 1 to 4, columns 1 to 5" and "Pillow: rows 2 to 5, columns 2 to 6" for an
# image of 4 x 5 pixels in a crop of 7 x 8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.9.1 torchvision==0.24.1 transformers==5.24.0 numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import numpy
from transformers import BitImageProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

image = numpy.full((4, 5, 3), 255, numpy.uint8)
options = dict(
    do_resize=False, do_rescale=False, do_normalize=False, do_convert_rgb=False, crop_size={"height": 7, "width": 8}
)
expected = {"torchvision": (1, 4, 1, 5), "Pillow": (2, 5, 2, 6)}
for name, processor in (("torchvision", BitImageProcessor), ("Pillow", BitImageProcessorPil)):
    pixels = processor(**options)(image, return_tensors="np", input_data_format="channels_last").pixel_values
    rows, columns = numpy.nonzero(numpy.asarray(pixels)[0, 0])
    found = tuple(int(value) for value in (rows.min(), rows.max(), columns.min(), columns.max()))
    print(f"{name}: rows {found[0]} to {found[1]}, columns {found[2]} to {found[3]}")
    assert found == expected[name], f"{name} pads otherwise now: {found}"
PYTHON
