"""Whether `views` finds images that lie wrongly: turns or inverts some files of a collection, prepares it, and compares
the list with what was done. Prints a line for each of these files and the sums.

    python bench/turned.py BINARY WORK [--images ../shared/data/cxr] [--number 20] [--seed 11]

The folder has a `manifest.csv` with columns `image` and `source`, as the preset `csv` reads it. Half of the files are from
the largest source, the others from the rest in equal parts; each pose (three rotations, inverted grey values) comes as
often as the others. Files keep their format (JPEG at quality 95). Needs Pillow; two minutes on 2 cores.
"""

import argparse
import collections
import csv
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

from PIL import Image, ImageOps

# What is done, by the names of `views.json`. Pillow turns counter-clockwise.
POSES = {
    "counter_clockwise": lambda image: image.rotate(90, expand=True),
    "upside_down": lambda image: image.rotate(180, expand=True),
    "clockwise": lambda image: image.rotate(270, expand=True),
    "inverted": ImageOps.invert,
}


def choose(images, number, seed):
    """Names of files: half of the largest source, the rest from the others."""
    by_source = collections.defaultdict(list)
    with open(images / "manifest.csv", newline="") as table:
        for row in csv.DictReader(table):
            by_source[row["source"]].append(row["image"])
    first, *others = sorted(by_source, key=lambda source: (-len(by_source[source]), source))
    draw = random.Random(seed)
    chosen = draw.sample(by_source[first], number if not others else number // 2)
    for place, source in enumerate(others):
        chosen += draw.sample(by_source[source], (number - number // 2 + place) // len(others))
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[2] / "shared/data/cxr")
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    source, turned = arguments.images.resolve(), arguments.work.resolve() / "turned"
    binary = arguments.binary.resolve()
    for name in ("turned", "dataset", "found"):
        shutil.rmtree(arguments.work / name, ignore_errors=True)
    shutil.copytree(source, turned, copy_function=os.symlink)
    poses = {}
    for place, name in enumerate(choose(source, arguments.number, arguments.seed)):
        pose = list(POSES)[place % len(POSES)]
        path = turned / name
        image = POSES[pose](Image.open(path).convert("L"))
        path.unlink()
        image.save(path, **({"quality": 95} if path.suffix in (".jpg", ".jpeg") else {}))
        poses[name] = pose

    def run(*words, accepted=(0,)):
        done = subprocess.run([binary, "-q", *words], cwd=arguments.work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode not in accepted:
            raise SystemExit(f"status {done.returncode}: {' '.join(words)}")
        return done.stdout

    # Patients hash alike in each run, so that copies are drawn alike.
    (arguments.work / "salt").write_text("0123456789abcdef" * 4)
    # Some files of the collection are duplicates, which status 1 says.
    run("prepare", "turned", "--preset", "csv", "--image-size", "128", "--salt-file", "salt", "--out", "dataset",
        accepted=(0, 1))
    run("encode", "dataset", "--encoder", "cxr-small-128")
    report = json.loads(run("views", "dataset", "--out", "found", "--json"))
    suspects = {suspect["source_file"]: suspect["pose"] for kind in report["orientation"] for suspect in kind["suspects"]}
    for name, pose in poses.items():
        print(f"{pose:17}  told as {suspects.get(name, 'upright'):17}  {name}")
    found = [name for name in poses if name in suspects]
    right = sum(suspects[name] == poses[name] for name in found)
    print(f"{len(found)} of {len(poses)} found, {right} with the right pose, in a list of {len(suspects)}")


if __name__ == "__main__":
    main()
