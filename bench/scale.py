"""Times `prepare` on more and more tiny images. Called by `scale.sh`, which says what the options mean; needs nothing but
Python."""

import argparse
import filecmp
import os
import platform
import random
import shutil
import struct
import subprocess
import sys
import time
import tomllib
import zlib
from pathlib import Path

SIDE = 16  # pixels, of the files and of the datasets
PARTS = 4
PER_FOLDER = 1000


def png(pixels):
    """An 8-bit grey PNG of SIDE x SIDE pixels."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + pixels[row * SIDE:(row + 1) * SIDE] for row in range(SIDE))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def generate(folder, numbers):
    """Images of noise, no two alike, so that nothing is left out and nobody is moved."""
    for number in numbers:
        if number % PER_FOLDER == 0 or number == numbers.start:
            inside = folder / f"{number // PER_FOLDER:05}"
            inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number % PER_FOLDER:03}.png").write_bytes(png(random.Random(number).randbytes(SIDE * SIDE)))


def measured(command):
    """The summary that the program prints, seconds, and peak memory in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    summary = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"status {os.waitstatus_to_exitcode(status)}: {' '.join(map(str, command))}")
    # Kilobytes on Linux, bytes on macOS.
    megabyte = 2**20 if platform.system() == "Darwin" else 2**10
    return tomllib.loads(summary), time.perf_counter() - begun, usage.ru_maxrss / megabyte


def shards(dataset):
    return {path.name: path.stat().st_mtime_ns for path in dataset.glob("images-*.safetensors")}


def measure(arguments, number):
    work = arguments.work
    images, dataset, key = work / "images", work / f"dataset-{number}", work / "patient-key"
    parts, joined = work / f"parts-{number}", work / f"joined-{number}"
    for folder in (images, dataset, parts, joined):
        shutil.rmtree(folder, ignore_errors=True)
    key.write_text("0123456789abcdef" * 4)
    print(f"{number}: generating", file=sys.stderr)
    generate(images, range(number))
    prepare = [arguments.binary, "-q", "--threads", arguments.threads, "prepare"]
    settings = ["--image-size", SIDE, "--salt-file", key]
    print(f"{number}: preparing", file=sys.stderr)
    summary, secs, memory = measured([*prepare, images, *settings, "--out", dataset])
    assert summary["num_images"] == number, summary

    print(f"{number}: parts", file=sys.stderr)
    worst_secs = worst_memory = 0
    for part in range(1, PARTS + 1):
        share = ["--part", f"{part}/{PARTS}", "--out", parts / str(part)]
        _, part_secs, part_memory = measured([*prepare, images, *settings, *share])
        worst_secs, worst_memory = max(worst_secs, part_secs), max(worst_memory, part_memory)
    _, merge_secs, merge_memory = measured([*prepare, "--merge", parts, "--out", joined])
    # Piece by piece: what this process takes would count as the peak of those that it starts.
    same = all(filecmp.cmp(joined / name, dataset / name, shallow=False)
               for name in ["manifest.parquet", "dataset.toml", *shards(dataset)])
    assert same, "the joined parts differ from the single run"
    shutil.rmtree(parts)
    shutil.rmtree(joined)

    print(f"{number}: adding", file=sys.stderr)
    generate(images, range(number, number + number // 100))
    before = shards(dataset)
    grown, add_secs, add_memory = measured([*prepare, images, *settings, "--add", "--out", dataset])
    after = shards(dataset)
    decoded = grown["num_images"] - grown["num_continued"]
    rewritten = sum(after[name] != moment for name, moment in before.items())
    shutil.rmtree(images)
    shutil.rmtree(dataset)
    return (number, secs, number / secs, memory, worst_secs, worst_memory, merge_secs, merge_memory, decoded, rewritten,
            len(before), add_secs, add_memory)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("sizes", type=int, nargs="+")
    arguments = parser.parse_args()
    rows = [measure(arguments, number) for number in arguments.sizes]
    print(f"| images | prepare, s | images/s | peak, MB | a part of {PARTS}, s | peak, MB | joining {PARTS} parts, s | peak, MB "
          "| 1 % added: decoded | shards rewritten | s | peak, MB |")
    print("| ---: " * 12 + "|")
    for (number, secs, rate, memory, part_secs, part_memory, merge_secs, merge_memory, decoded, rewritten, num_shards,
         add_secs, add_memory) in rows:
        print(f"| {number:,} | {secs:.1f} | {rate:.0f} | {memory:.0f} | {part_secs:.1f} | {part_memory:.0f} | {merge_secs:.1f} "
              f"| {merge_memory:.0f} | {decoded:,} | {rewritten} of {num_shards} | {add_secs:.1f} | {add_memory:.0f} |")


if __name__ == "__main__":
    main()
