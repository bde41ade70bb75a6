"""Runs both sides in turns and prints the table. Called by `compare.sh`, which says what the options mean."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from operations import Comparison, environment  # noqa: E402
from reference import GUIDANCE, NUM_GENERATED, STEPS, TRAIN_SECS  # noqa: E402

NUM_VIT, NUM_VAE = 64, 6


class Bench:
    def __init__(self, arguments):
        self.binary, self.work = Path(arguments.binary).resolve(), Path(arguments.work).resolve()
        self.threads, self.repeats = arguments.threads, arguments.repeats
        self.work.mkdir(parents=True, exist_ok=True)

    def measured(self, command, successes=(0, 1)):
        """Runs a command; its standard output, seconds and peak memory in MB. Of ours, status 1 is success with skipped
        items."""
        begun = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment(self.threads), text=True)
        stdout = process.stdout.read()
        stderr = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        secs = time.perf_counter() - begun
        if os.waitstatus_to_exitcode(status) not in successes:
            sys.exit(f"{' '.join(map(str, command))}\n{stderr}")
        return stdout, secs, usage.ru_maxrss / 1024

    def ours(self, *words):
        stdout, secs, memory = self.measured([self.binary, "-q", "--threads", self.threads, *words])
        return (tomllib.loads(stdout) if stdout else {}), secs, memory

    def theirs(self, task):
        command = [sys.executable, HERE / "reference.py", task, "--work", self.work, "--threads", self.threads]
        stdout, secs, memory = self.measured(command, successes=(0,))
        return json.loads(stdout.splitlines()[-1]), secs, memory

    def fresh(self, name):
        shutil.rmtree(self.work / name, ignore_errors=True)
        return self.work / name

    def prepare_dataset(self, name, size, number):
        if not (self.work / name / "dataset.toml").is_file():
            pictures = sorted((self.work / "pictures").glob("*.png"))[:number]
            self.ours("prepare", *pictures, "--image-size", size, "--split", "1,0,0", "--out", self.fresh(name))
        return self.work / name

    # Each measurement: (value of ours, memory of ours), (value of theirs, memory of theirs), difference or None.

    def prepare(self):
        summary, _, memory = self.ours(
            "prepare", self.work / "pictures", "--image-size", 256, "--out", self.fresh("dataset-prepare"))
        reference, _, their_memory = self.theirs("prepare")
        return (summary["images_per_sec"], memory), (reference["rate"], their_memory), None

    def encode_vit(self):
        dataset = self.prepare_dataset("dataset-vit", 224, NUM_VIT)
        self.fresh("dataset-vit/encodings")
        summary, _, memory = self.ours("encode", dataset, "--encoder", self.work / "vit-b-16", "--batch-size", 8)
        reference, _, their_memory = self.theirs("encode-vit")
        return (summary["embeddings_per_sec"], memory), (reference["rate"], their_memory), reference["difference"]

    def encode_vae(self):
        dataset = self.prepare_dataset("dataset-vae", 256, NUM_VAE)
        self.fresh("dataset-vae/encodings")
        summary, _, memory = self.ours("encode", dataset, "--autoencoder", self.work / "sd-vae", "--batch-size", 2)
        reference, _, their_memory = self.theirs("encode-vae")
        return (summary["latents_per_sec"], memory), (reference["rate"], their_memory), reference["difference"]

    def train(self):
        dataset = self.prepare_dataset("dataset-train", 128, 192)
        networks = ["--autoencoder", self.work / "tiny-32", "--encoder", "random:vit-small/16"]
        self.ours("encode", dataset, *networks)
        summary, _, memory = self.ours(
            "train", dataset, "--recipe", "small-128", "--out", self.fresh("run"), "--max-minutes", TRAIN_SECS / 60,
            "--set", "training.sample_every_images=0", "--set", "training.fidelity_every_images=0")
        reference, _, their_memory = self.theirs("train")
        return (summary["images_per_sec"], memory), (reference["rate"], their_memory), None

    def generate(self):
        if not (self.work / "run/model/model.json").is_file():
            sys.exit("the row `generate` needs the row `train`")
        summary, _, memory = self.ours(
            "generate", self.work / "run", self.work / "dataset-train", "reconstruct", "--split", "train",
            "--num-images", NUM_GENERATED, "--batch-size", NUM_GENERATED, "--sampler", "euler", "--num-steps", STEPS,
            "--guidance-scale", GUIDANCE, "--out", self.fresh("generated"))
        reference, _, their_memory = self.theirs("generate")
        return (summary["secs_per_image"], memory), (reference["secs"], their_memory), None

    def pretrain(self, network, recipe):
        dataset = self.prepare_dataset("dataset-train", 128, 192)
        summary, _, memory = self.ours(
            "pretrain", network, dataset, "--recipe", recipe, "--out", self.fresh(f"pretrain-{network}"),
            "--max-minutes", TRAIN_SECS / 60)
        reference, _, their_memory = self.theirs(f"pretrain-{network}")
        return (summary["images_per_sec"], memory), (reference["rate"], their_memory), None

    def pretrain_encoder(self):
        return self.pretrain("encoder", "dino-tiny-128")

    def pretrain_autoencoder(self):
        return self.pretrain("autoencoder", "autoencoder-128")

    def start(self):
        _, secs, memory = self.measured([self.binary, "--version"])
        _, their_secs, their_memory = self.theirs("start")
        return (secs, memory), (their_secs, their_memory), None


ROWS = {
    "start": ("start-up, s", False),
    "prepare": ("prepare, 1024 px PNG to 256 px, images/s", True),
    "encode_vit": ("encode ViT-B/16, 224 px, images/s", True),
    "encode_vae": ("encode SD-VAE, 256 px, images/s", True),
    "train": ("train `small-128`, batch 32, images/s", True),
    "pretrain_encoder": ("pretrain encoder `dino-tiny-128`, batch 32, images/s", True),
    "pretrain_autoencoder": ("pretrain autoencoder `autoencoder-128`, batch 16, crops/s", True),
    "generate": (f"generate `small-128`, {STEPS} Euler steps with guidance, s/image", False),
}


def significant(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", default="all")
    parser.add_argument("--operations", default="all")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if not (bench.work / "inception-v3.pth").is_file():
        bench.theirs("make-networks")
    if not (bench.work / "pictures").is_dir():
        bench.theirs("make-images")

    chosen = list(ROWS) if arguments.rows == "all" else arguments.rows.split(",") if arguments.rows else []
    comparison = Comparison(bench.work, arguments.threads, arguments.repeats) if arguments.operations else None
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"warning: the machine is busy (load {busy:.1f}); timings will not be worth much, PyTorch's least of all",
              file=sys.stderr)
    results = {name: [] for name in chosen}
    for repeat in range(arguments.repeats):
        for name in chosen:
            print(f"{name}, {repeat + 1} of {arguments.repeats}", file=sys.stderr)
            result = getattr(bench, name)()
            results[name].append(result)
            print(f"  {result}", file=sys.stderr)

    import diffusers
    import torch
    import torchvision
    import transformers

    print(f"{processor()}, {arguments.threads} threads, f32, medians of {arguments.repeats}; torch {torch.__version__}, "
          f"torchvision {torchvision.__version__}, diffusers {diffusers.__version__}, "
          f"transformers {transformers.__version__}; load before: {busy:.1f}\n")
    if chosen:
        print("| | this program | PyTorch | ratio (above 1: this program is better) | peak memory, MB: this program | PyTorch |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ends = []
    for name in chosen:
        title, more_is_better = ROWS[name]
        median = lambda side, item: statistics.median(result[side][item] for result in results[name])  # noqa: E731
        ours, theirs = median(0, 0), median(1, 0)
        ratio = ours / theirs if more_is_better else theirs / ours
        print(f"| {title} | {significant(ours)} | {significant(theirs)} | {ratio:.2f} | "
              f"{median(0, 1):.0f} | {median(1, 1):.0f} |")
        if name in ("train", "generate"):
            ends.append((title, ratio, median(0, 1), median(1, 1)))
    for name in chosen:
        differences = [result[2] for result in results[name] if result[2] is not None]
        if differences:
            print(f"\n{ROWS[name][0].split(',')[0]}: the outputs of both sides differ by at most {max(differences):.1e} of "
                  "the largest value (stored in f16).")
    if comparison:
        ends += comparison.run([] if arguments.operations == "all" else arguments.operations.split(","))
        print_ends(ends)


def print_ends(ends):
    """The rows that a user waits for: ratio of time, memory, and the mean of the ratios."""
    if not ends:
        return
    print("\n| end to end | ratio | peak memory, MB: this program | PyTorch | share |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for title, ratio, ours, theirs in ends:
        print(f"| {title} | {ratio:.2f} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")
    print(f"\ngeometric mean {statistics.geometric_mean(ratio for _, ratio, _, _ in ends):.2f}")


if __name__ == "__main__":
    main()
