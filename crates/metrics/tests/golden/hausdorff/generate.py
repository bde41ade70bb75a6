"""Writes hausdorff.json: painted masks and what three programs call their 95 % Hausdorff distance, and MONAI's alone of
real lung masks.

    pip install monai==1.6.1 torch==2.9.1 medpy==0.5.2 surface-distance==0.1 numpy==2.4.6 pillow
    python generate.py [FOLDER WITH LUNG MASKS]

MONAI takes the larger of the two directions' percentiles, medpy one percentile of both directions together, and
surface-distance weights each element of a surface by its area and takes the larger direction. Of the real masks
(V7 Labs covid-19-xray-dataset, CC BY 4.0) only names and distances are written: without the folder those that are in the
file stay. A painted mask is a string of 0 and 1, row after row.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from medpy.metric.binary import hd95
from monai.metrics import HausdorffDistanceMetric
from PIL import Image
from surface_distance import compute_robust_hausdorff, compute_surface_distances

PATH = pathlib.Path(__file__).with_name("hausdorff.json")
rng = np.random.default_rng(11)
y, x = np.mgrid[0:44, 0:40]


def monai(a, b, spacing=(1.0, 1.0)):
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    masks = [torch.tensor(mask.astype(np.float32))[None, None] for mask in (a, b)]
    return float(metric(*masks, spacing=list(spacing)))


def ellipse(top, left, height, width):
    return ((y - top) / height) ** 2 + ((x - left) / width) ** 2 <= 1


lungs = ellipse(22, 11, 15, 7) | ellipse(22, 29, 14, 6)
shifted = ellipse(24, 12, 14, 8) | ellipse(20, 28, 15, 6)
# Something small and far away: little of one surface, but all of the distance.
speck = lungs | ((y > 39) & (x > 36))
larger_speck = lungs | ((y > 36) & (x > 34))
cut = lungs & (y < 24)
ring = ellipse(22, 20, 18, 16) & ~ellipse(22, 20, 9, 8)
at_border = (y < 20) & (x < 17)
noise = rng.uniform(size=y.shape) < 0.02
dot = (y == 5) & (x == 33)
everything = np.ones_like(dot)
pairs = {
    "equal": (lungs, lungs),
    "shifted": (lungs, shifted),
    "speck": (lungs, speck),
    "larger speck": (shifted, larger_speck),
    "half": (lungs, cut),
    "ring and disc": (ring, ellipse(22, 20, 18, 16)),
    "at the border": (at_border, lungs),
    "two at the border": (at_border, (y > 30) | (x > 30)),
    "noise": (noise, lungs),
    "one pixel": (dot, lungs),
    "two pixels": (dot, (y == 40) & (x == 2)),
    "everything": (everything, lungs),
}
record = {"height": y.shape[0], "width": y.shape[1], "pairs": []}
for name, (a, b) in pairs.items():
    strings = ["".join(map(str, mask.astype(int).ravel())) for mask in (a, b)]
    pair = {"name": name, "a": strings[0], "b": strings[1], "distances": []}
    for spacing in ((1.0, 1.0), (0.7, 1.9)):
        found = {
            "monai": monai(a, b, spacing), "medpy": float(hd95(a, b, spacing)),
            "surface_distance": float(compute_robust_hausdorff(compute_surface_distances(a, b, spacing), 95)),
        }
        assert abs(found["monai"] - monai(b, a, spacing)) < 1e-5, name
        pair["distances"].append({"spacing": spacing, **found})
        print(name, spacing, *(f"{value:.4f}" for value in found.values()))
    record["pairs"].append(pair)

if len(sys.argv) > 1:
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.png"))[:41]
    masks = [(path.name, np.array(Image.open(path)).astype(bool)) for path in paths]
    record["real"] = [
        {"a": first, "b": second, "monai": monai(a, b)} for (first, a), (second, b) in zip(masks, masks[1:])
    ]
else:
    record["real"] = json.loads(PATH.read_text())["real"]
PATH.write_text(json.dumps(record, separators=(",", ":")) + "\n")
print(PATH.stat().st_size // 1024, "KiB,", len(record["real"]), "real pairs")
