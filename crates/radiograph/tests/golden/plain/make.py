"""Writes small JPEG and PNG files and what Pillow makes of them, and a resized picture.

`expected.txt` has one block for each file, a line `NAME height width` and the brightness of every pixel in 0..=1
(Pillow's conversion to grey); block `resized` is `resize_source.png` made 20 x 15 pixels (width x height) by Pillow's
antialiased bicubic filter in floating point, clamped to 0..=1.

`scans.jpg` is `color.jpg` with a scan for each component, brightness second, by `jpegtran` (libjpeg-turbo 2.1.5).

    pip install pillow numpy
    python make.py

Made with Pillow 13.0.0.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def main():
    y, x = np.mgrid[0:37, 0:53].astype(np.float64)
    hill = 30 + 190 * np.exp(-((x - 25) ** 2 + (y - 18) ** 2) / 200) + 8 * np.sin(x) * np.cos(0.7 * y)
    grey = Image.fromarray(hill.round().astype(np.uint8))
    color = Image.merge("RGB", [grey, grey.transpose(Image.ROTATE_180), grey.point(lambda value: value // 2)])
    grey.save(HERE / "grey.jpg", quality=92)
    grey.save(HERE / "progressive.jpg", quality=92, progressive=True)
    color.save(HERE / "color.jpg", quality=92, subsampling=2)
    color.save(HERE / "color.png")
    with tempfile.NamedTemporaryFile("w") as scans, open(HERE / "scans.jpg", "wb") as out:
        print("1;\n0;\n2;", file=scans, flush=True)
        subprocess.run(["jpegtran", "-scans", scans.name, HERE / "color.jpg"], stdout=out, check=True)
    grey.convert("CMYK").save(HERE / "cmyk.jpg")
    grey.save(HERE / "resize_source.png")
    with open(HERE / "expected.txt", "w") as expected:

        def write(name, values):
            print(name, *values.shape, file=expected)
            for row in values:
                print(*(f"{value:.6g}" for value in row), file=expected)

        for name in ["grey.jpg", "progressive.jpg", "color.jpg", "color.png"]:
            values = np.asarray(Image.open(HERE / name).convert("RGB"), dtype=np.float64)
            write(name, values @ [0.299, 0.587, 0.114] / 255)
        floating = Image.fromarray(np.asarray(grey, dtype=np.float32) / np.float32(255))
        write("resized", np.asarray(floating.resize((20, 15), Image.BICUBIC)).clip(0, 1))


if __name__ == "__main__":
    main()
