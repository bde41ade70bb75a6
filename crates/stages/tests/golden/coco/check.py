"""Loads the annotations that `segment` wrote with pycocotools, as viewers do, and compares them with the PNG masks.

    pip install pycocotools==2.0.11 pillow numpy
    python check.py MASKS
"""

import pathlib
import sys

import numpy as np
from PIL import Image
from pycocotools import mask as coding
from pycocotools.coco import COCO

folder = pathlib.Path(sys.argv[1])
coco = COCO(folder / "lungs.coco.json")
num_masks = 0
for image in coco.loadImgs(coco.getImgIds()):
    picture = Image.open(folder / image["file_name"])
    assert picture.mode == "L" and picture.size == (image["width"], image["height"]), image
    for category in coco.loadCats(coco.getCatIds()):
        path = folder / category["name"] / pathlib.Path(image["file_name"]).name
        expected = np.array(Image.open(path)) > 0
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], catIds=category["id"]))
        assert len(found) == int(expected.any()), (path, len(found))
        for annotation in found:
            assert (coco.annToMask(annotation).astype(bool) == expected).all(), path
            assert annotation["area"] == expected.sum() == coding.area(annotation["segmentation"]), path
            assert annotation["bbox"] == coding.toBbox(annotation["segmentation"]).tolist(), path
            num_masks += 1
print(len(coco.getImgIds()), "images and", num_masks, "masks are sound")
