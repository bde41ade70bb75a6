"""Writes segmentation.json: small masks and grey values, and what scipy.ndimage and scikit-image make of them.

Needs numpy, scipy and scikit-image (0.26): `python generate.py`. Surfaces are a mask without its erosion, distances
come from `distance_transform_edt`, percentiles from NumPy.
"""

import json
import pathlib

import numpy as np
from scipy import ndimage
from skimage import filters

rng = np.random.default_rng(5)


def blob(height, width, level):
    return ndimage.gaussian_filter(rng.normal(size=(height, width)), 2.5) > level


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


def distances(a, b, spacing):
    a, b = surface(a), surface(b)
    there = ndimage.distance_transform_edt(~b, sampling=spacing)[a]
    back = ndimage.distance_transform_edt(~a, sampling=spacing)[b]
    return {
        "hausdorff": max(there.max(), back.max()),
        "hausdorff_95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "average": np.concatenate([there, back]).mean(),
    }


def flat(values):
    return np.asarray(values).astype(int).ravel().tolist()


record = {"pairs": []}
for height, width, spacing in ((31, 37, (1.0, 1.0)), (24, 40, (0.7, 1.9)), (19, 5, (2.5, 0.4))):
    a, b = blob(height, width, 0.02), blob(height, width, 0.01)
    both, either = (a & b).sum(), (a | b).sum()
    record["pairs"].append({
        "height": height, "width": width, "spacing": spacing, "a": flat(a), "b": flat(b),
        "dice": 2 * both / (a.sum() + b.sum()), "iou": both / either,
        "transform": ndimage.distance_transform_edt(~a, sampling=spacing).ravel().tolist(),
        "four": flat(ndimage.label(a)[0]), "eight": flat(ndimage.label(a, np.ones((3, 3)))[0]),
        "filled": flat(ndimage.binary_fill_holes(a)), **distances(a, b, spacing)})

# A ring and speckles, so that some holes are closed by corners only.
y, x = np.mgrid[0:26, 0:22]
ring = (np.abs(np.hypot(y - 12, x - 10) - 6) < 1) | (rng.uniform(size=(26, 22)) < 0.3)
record["ring"] = {"height": 26, "width": 22, "mask": flat(ring), "filled": flat(ndimage.binary_fill_holes(ring))}
assert record["ring"]["mask"] != record["ring"]["filled"]

grey = np.concatenate([rng.normal(60, 15, 300), rng.normal(150, 25, 200)]).clip(0, 255)
record["grey"] = flat(grey.round())
record["otsu_u8"] = int(filters.threshold_otsu(grey.round().astype(np.uint8)))
record["values"] = np.round(grey / 255, 4).tolist()
record["otsu"] = float(filters.threshold_otsu(np.array(record["values"]), nbins=256))
for pair in record["pairs"]:
    print({key: value for key, value in pair.items() if isinstance(value, float)})

path = pathlib.Path(__file__).with_name("segmentation.json")
path.write_text(json.dumps(record, separators=(",", ":")) + "\n")
print(path.stat().st_size // 1024, "KiB")
