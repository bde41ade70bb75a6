"""Runs both sides in turns and prints the table. Called by `ingest.sh`, which says what the options mean."""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from compare import processor, significant  # noqa: E402
from reference_ingest import DICOM_SIDE, files_of  # noqa: E402

SIZE = 256  # pixels of the images made

# Title, files of each kind unless asked otherwise, and the decoders that PyTorch's side is tried with: first the one that
# people use (Pillow, pydicom with its handlers), then the fastest that we know of.
KINDS = {
    "small": ("radiographs as they are in the folder, JPEG and PNG", 2000, ["pillow", "imagecodecs"]),
    "jpeg": ("full-size JPEG", 1280, ["pillow", "imagecodecs"]),
    "dicom": (f"DICOM, {DICOM_SIDE} x {DICOM_SIDE}, 16 bits, uncompressed", 64, ["pydicom"]),
    "jpeg2000": (f"DICOM, {DICOM_SIDE} x {DICOM_SIDE}, 16 bits, JPEG 2000", 32, ["pydicom", "pydicom+imagecodecs"]),
}


class Bench:
    def __init__(self, arguments):
        self.binary, self.work = arguments.binary.resolve(), arguments.work.resolve()
        self.images, self.threads = arguments.images, arguments.threads
        self.work.mkdir(parents=True, exist_ok=True)

    def measured(self, command, successes=(0,)):
        """Standard output, and peak memory of the process and its workers, the largest of them, in MB."""
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        stdout = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) not in successes:
            sys.exit(f"status {os.waitstatus_to_exitcode(status)}: {' '.join(map(str, command))}")
        return stdout, usage.ru_maxrss / 1024

    def python(self, *words):
        return self.measured([sys.executable, HERE / "reference_ingest.py", *words])

    def make(self, kind, number):
        """A folder of `number` files; links where they exist already."""
        folder = self.work / f"{kind}-{number}"
        if (folder / ".complete").is_file():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if kind in ("dicom", "jpeg2000"):
            self.python("generate", kind, "--images", self.images, "--number", number, "--out", folder)
        else:
            originals = self.images / "originals"
            sources = files_of(originals) if kind == "jpeg" else [
                path for path in files_of(self.images)
                if path.suffix in (".jpeg", ".jpg", ".png") and not {"originals", "masks"} & set(path.parts)]
            if not sources:
                sys.exit(f"there are no images for the row `{kind}`; give a folder by IMAGES: {self.images}")
            step = max(1, len(sources) // number)  # from all over the folder
            for copy in range(number if kind == "jpeg" else min(number, len(sources))):
                source = sources[copy * step % len(sources)]
                (folder / f"{copy:05}{source.suffix}").symlink_to(source.resolve())
        (folder / ".complete").touch()
        return folder

    def ours(self, folder, *options):
        out = self.work / "dataset"
        shutil.rmtree(out, ignore_errors=True)
        # The few full-size files are there several times.
        stdout, memory = self.measured(
            [self.binary, "-q", "--threads", self.threads, "prepare", folder, "--image-size", SIZE,
             "--keep-duplicates", *options, "--out", out])
        return tomllib.loads(stdout)["images_per_sec"], memory

    def theirs(self, folder, decoder):
        stdout, memory = self.python("load", folder, "--decoder", decoder, "--workers", self.threads, "--size", SIZE,
                                     "--out", self.work / "loaded.npy")
        return json.loads(stdout.splitlines()[-1])["rate"], memory

    def difference(self):
        """Mean and largest difference of the pixels that both sides made last, of 255."""
        # By another process: what this one takes would count as the peak of those that it starts.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(pixels_apart, (self.work,))


def pixels_apart(work):
    import numpy as np

    shards = sorted((work / "dataset").glob("images-*.safetensors"))
    ours = np.concatenate([read_images(shard) for shard in shards]).astype(np.int16)
    difference = np.abs(ours - np.load(work / "loaded.npy"))
    return difference.mean(), difference.max()


def read_images(shard):
    """The tensor `images` of a safetensors file."""
    import numpy as np

    data = shard.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])["images"]
    begin, end = header["data_offsets"]
    return np.frombuffer(data[8 + length + begin:8 + length + end], np.uint8).reshape(header["shape"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--kinds", default="all")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    kinds = list(KINDS) if arguments.kinds == "all" else arguments.kinds.split(",")
    numbers = {kind: min(arguments.files or KINDS[kind][1], KINDS[kind][1]) for kind in kinds}
    folders = {kind: bench.make(kind, numbers[kind]) for kind in kinds}
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"warning: the machine is busy (load {busy:.1f}); timings will not be worth much", file=sys.stderr)
    ours = {kind: [] for kind in kinds}
    reduced = {kind: [] for kind in kinds}
    theirs = {kind: {decoder: [] for decoder in KINDS[kind][2]} for kind in kinds}
    differences = {}
    for kind, folder in folders.items():
        bench.ours(folder)  # files come into the cache: not counted
        for repeat in range(arguments.repeats):
            print(f"{kind}, {repeat + 1} of {arguments.repeats}", file=sys.stderr)
            reduced[kind].append(bench.ours(folder, "--reduced-decoding"))
            ours[kind].append(bench.ours(folder))
            for decoder in theirs[kind]:
                theirs[kind][decoder].append(bench.theirs(folder, decoder))
        differences[kind] = [bench.difference()]
        bench.ours(folder, "--reduced-decoding")
        differences[kind].append(bench.difference())

    import numpy
    import PIL
    import pydicom
    import torch

    print(f"{processor()}, {arguments.threads} threads and workers, to {SIZE} px, medians of {arguments.repeats}; "
          f"torch {torch.__version__}, pillow {PIL.__version__}, pydicom {pydicom.__version__}, "
          f"numpy {numpy.__version__}; load before: {busy:.1f}\n")
    print("| files | number | this program, images/s | with `--reduced-decoding` | DataLoader with Pillow or pydicom "
          "| ratio (above 1: this program is better) | reduced | DataLoader with imagecodecs | ratio | reduced "
          "| peak memory, MB: this program | the DataLoader's largest process |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind in kinds:
        rate, memory = (statistics.median(result[item] for result in ours[kind]) for item in (0, 1))
        reduced_rate = statistics.median(rate for rate, _ in reduced[kind])
        their_rates = [statistics.median(result[0] for result in theirs[kind][decoder]) for decoder in KINDS[kind][2]]
        cells = [f"{significant(their_rate)} | {rate / their_rate:.2f} | {reduced_rate / their_rate:.2f}"
                 for their_rate in their_rates]
        cells += [" |  | "] * (2 - len(cells))
        their_memory = statistics.median(result[1] for result in theirs[kind][KINDS[kind][2][0]])
        number = len(files_of(folders[kind]))
        print(f"| {KINDS[kind][0]} | {number} | {significant(rate)} | {significant(reduced_rate)} | {' | '.join(cells)} "
              f"| {memory:.0f} | {their_memory:.0f} |")
    print()
    for kind, ((mean, largest), (reduced_mean, reduced_largest)) in differences.items():
        print(f"{KINDS[kind][0]}: pixels differ from PyTorch's by {mean:.2f} of 255 on average, {largest} at most; with "
              f"reduced decoding by {reduced_mean:.2f}, {reduced_largest} at most.")


if __name__ == "__main__":
    main()
