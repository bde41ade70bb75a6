"""Writes expected.txt: a picture, a mask and the mask after the guided filter, written in NumPy from the paper's
algorithm 1 with windows cut off at the ends of the picture.

Blocks as in ../plain: a line `NAME height width` and the values row by row.

    pip install numpy
    python make.py
"""

from pathlib import Path

import numpy as np

HEIGHT, WIDTH, RADIUS, EPSILON = 19, 26, 3, 0.01


def box(plane):
    out = np.empty_like(plane)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            window = plane[max(row - RADIUS, 0):row + RADIUS + 1, max(column - RADIUS, 0):column + RADIUS + 1]
            out[row, column] = window.mean()
    return out


rng = np.random.default_rng(0)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
disc = (y - 9) ** 2 + (x - 13) ** 2 < 40
guide = np.round(0.2 + 0.5 * disc + 0.03 * rng.normal(size=disc.shape), 4)
mask = np.round(1 / (1 + np.exp(np.hypot(y - 8, x - 11) - 7)), 4)
slope = (box(guide * mask) - box(guide) * box(mask)) / (box(guide**2) - box(guide) ** 2 + EPSILON)
refined = box(slope) * guide + box(box(mask) - slope * box(guide))

with open(Path(__file__).parent / "expected.txt", "w") as file:
    for name, plane in (("guide", guide), ("mask", mask), ("refined", refined)):
        file.write(f"{name} {HEIGHT} {WIDTH}\n")
        for row in plane:
            file.write(" ".join(f"{value:.7g}" for value in row) + "\n")
