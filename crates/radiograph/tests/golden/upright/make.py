"""Writes an oblong picture with each Exif orientation, as JPEG and PNG in turn, and what Pillow's `exif_transpose` makes of it.

`expected.txt` has one block for each file: a line `NAME height width` and the grey of every pixel in 0..=255.

    pip install pillow numpy
    python make.py

Made with Pillow 13.0.0.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent

y, x = np.mgrid[0:19, 0:26]
grey = Image.fromarray((9 * y + 3 * x + 7).astype(np.uint8))
with open(HERE / "expected.txt", "w") as expected:
    for orientation in range(1, 9):
        name = f"{orientation}.{('jpg', 'png')[orientation % 2]}"
        exif = Image.Exif()
        exif[0x0112] = orientation
        grey.save(HERE / name, exif=exif, **({"quality": 95} if name.endswith("jpg") else {}))
        upright = np.asarray(ImageOps.exif_transpose(Image.open(HERE / name)))
        print(name, *upright.shape, file=expected)
        for row in upright:
            print(*row, file=expected)
