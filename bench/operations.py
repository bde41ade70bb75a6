"""Single operations and whole networks, this program's and PyTorch's in turns: part of `compare.py`."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

# Title, case, whether forward with backward is measured too.
OPERATIONS = [
    ("3x3 convolution, 4 x 320>320 x 32²", "conv 3 1 4 320 320 32", True),
    ("3x3 convolution, 4 x 640>640 x 16²", "conv 3 1 4 640 640 16", True),
    ("3x3 convolution, 4 x 1280>1280 x 8²", "conv 3 1 4 1280 1280 8", True),
    ("3x3 convolution, 1 x 128>128 x 256²", "conv 3 1 1 128 128 256", True),
    ("3x3 convolution, 8 x 64>64 x 32²", "conv 3 1 8 64 64 32", True),
    ("3x3 convolution, 32 x 128>128 x 16²", "conv 3 1 32 128 128 16", True),
    ("3x3 convolution, stride 2, 4 x 320>320 x 32²", "conv 3 2 4 320 320 32", True),
    ("attention, 4 x 1024:1024 x 320, 8 heads", "attention 4 1024 1024 320 8", True),
    ("attention, 32 x 256:256 x 128, 4 heads", "attention 32 256 256 128 4", True),
    ("attention, 4 x 1024:77 x 320, 8 heads", "attention 4 1024 77 320 8", True),
    ("GroupNorm + SiLU, 4 x 320 x 32²", "group_norm_silu 4 32 320", True),
    ("GroupNorm + SiLU, 1 x 128 x 256²", "group_norm_silu 1 256 128", True),
    ("linear, 4096 x 320>320", "linear 4096 320 320", True),
    ("linear, 1576 x 768>3072", "linear 1576 768 3072", True),
    ("1x1 convolution, 4 x 320>320 x 32²", "conv 1 1 4 320 320 32", True),
    ("LayerNorm, 4096 x 320", "layer_norm 4096 320", True),
    ("GEGLU, 4096 x 1280", "geglu 4096 1280", True),
    ("upsample, 4 x 320 x 32²", "upsample 4 32 320", False),
    ("AdamW + average, 15 million", "adamw 15335424", False),
]
NETWORKS = [
    ("SD 1.5 UNet forward, batch 2, 32² latents", "unet-32"),
    ("SD 1.5 UNet forward, batch 2, 64² latents", "unet-64"),
    ("SD VAE encode, 256 px", "vae-encode"),
    ("SD VAE decode, 256 px", "vae-decode"),
    ("ViT-B/16 forward, 224 px, batch 8", "vit-b-16"),
    ("DINOv2-B/14 forward, 224 px, batch 8", "dinov2-b-14"),
    ("DenseNet-121 forward, 224 px, batch 8", "densenet121"),
    ("Inception-v3 forward, 299 px, batch 8", "inception-v3"),
]
# OpenMP's threads go on turning for up to 0.2 s after their work, which would be taken from whoever runs next.
PAUSE_SECS = 0.3
LAYOUT_MATTERS = ("conv", "group_norm_silu", "upsample", "network unet", "network vae", "network densenet",
                  "network inception")


def environment(threads):
    """Both sides compute with the same number of threads, whichever pool they use."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return dict(os.environ, **{name: str(threads) for name in names})


class Side:
    """A process that runs its operation once for each line it gets."""

    def __init__(self, command, threads):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment(threads))
        self.times = []
        if (line := self.process.stdout.readline().strip()) != "ready":
            sys.exit(f"{' '.join(self.command)}: {line or 'ended'}")

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.times.append(float(self.process.stdout.readline()))
        return self.times[-1]

    def median(self):
        return statistics.median(self.times)

    def finish(self):
        """Ends it; its peak memory in MB."""
        self.process.stdin.close()
        _, _, usage = os.wait4(self.process.pid, 0)
        return usage.ru_maxrss / 1024


class Comparison:
    def __init__(self, work, threads, rounds):
        self.work, self.threads, self.rounds = work, threads, rounds
        self.operations, self.networks = self.built("operations", "networks")
        self.peaks = {count: self.peak(count) for count in {1, threads}}

    def built(self, *benches):
        """The paths of the benchmarks' executables."""
        command = ["cargo", "bench", "--no-run", "--locked", "--message-format=json", "-p", "dino-diffusion-kernels",
                   "-p", "dino-diffusion-nets", *(word for bench in benches for word in ("--bench", bench))]
        output = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
        messages = [json.loads(line) for line in output.splitlines()]
        paths = {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
        return [paths[bench] for bench in benches]

    def peak(self, threads):
        """10^9 operations per second."""
        command = [self.operations, "--peak"]
        return float(subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE,
                                    text=True).stdout)

    def theirs(self, case, direction, layout, threads, *more):
        return [sys.executable, HERE / "reference_operations.py", case, direction, layout, "--work", self.work,
                "--threads", threads, *more]

    def ours(self, case, direction):
        if not case.startswith("network"):
            return [self.operations, "--serve", case, direction]
        name = case.split()[1]
        from reference_operations import NETWORKS as FOLDERS

        kinds = {"vit-b-16": "vit", "dinov2-b-14": "vit", "densenet121": "densenet", "inception-v3": "inception"}
        return [self.networks, kinds.get(name, name), self.work / FOLDERS[name]]

    def better_layout(self, case, direction):
        if not case.startswith(LAYOUT_MATTERS):
            return "contiguous"
        times = {}
        for layout in ("contiguous", "channels_last"):
            side = Side(self.theirs(case, direction, layout, self.threads), self.threads)
            times[layout] = min(side.run() for _ in range(3))
            side.finish()
        return min(times, key=times.get)

    def row(self, case, direction="forward"):
        """Medians in turns, with all threads and with one."""
        layout = self.better_layout(case, direction)
        sides = {}
        for threads in sorted({self.threads, 1}, reverse=True):
            sides["ours", threads] = Side(self.ours(case, direction), threads)
            sides["theirs", threads] = Side(self.theirs(case, direction, layout, threads), threads)
        for _ in range(self.rounds):
            for side in sides.values():
                time.sleep(PAUSE_SECS)
                side.run()
        medians = {key: side.median() for key, side in sides.items()}
        memory = {key: side.finish() for key, side in sides.items()}
        flops = self.flops(case, direction)
        shares = {threads: flops / medians["ours", threads] / 1e6 / self.peaks[threads] for threads in self.peaks}
        return dict(medians=medians, memory=memory, shares=shares)

    def flops(self, case, direction):
        name, *sizes = case.split()
        if name == "network":
            command = [str(word) for word in self.theirs(case, direction, "contiguous", self.threads, "--count")]
            return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        sizes = [int(size) for size in sizes]
        if name == "conv":
            kernel, stride, batch, channels_in, channels_out, side = sizes
            return 2 * batch * (side // stride) ** 2 * kernel**2 * channels_in * channels_out * (3 if direction == "both" else 1)
        if name == "linear":
            return 2 * sizes[0] * sizes[1] * sizes[2] * (3 if direction == "both" else 1)
        if name == "attention":
            batch, queries, keys, dim, _ = sizes
            return 4 * batch * queries * keys * dim * (3.5 if direction == "both" else 1)
        return 0  # bounded by memory, not by arithmetic

    def line(self, title, result):
        medians, threads = result["medians"], self.threads
        ours, theirs = medians["ours", threads], medians["theirs", threads]
        share = f"{100 * result['shares'][threads]:.0f} %" if result["shares"][threads] else ""
        return (f"| {title} | {milliseconds(theirs)} | {milliseconds(ours)} | {theirs / ours:.2f} | "
                f"{milliseconds(medians['theirs', 1])} | {milliseconds(medians['ours', 1])} | "
                f"{medians['ours', 1] / ours:.2f} | {share} |")

    def head(self):
        return ("| operation | PyTorch ms | ours ms | ratio | PyTorch, 1 thread | ours, 1 thread | "
                f"speed-up from 1 to {self.threads} | share of peak |\n"
                "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")

    def run(self, wanted):
        """Prints both tables; ratios of time and peak memories of the networks."""
        peaks = ", ".join(f"{peak:.0f} on {count}" for count, peak in sorted(self.peaks.items()))
        print(f"\nMeasured peak in f32, 10^9 operations per second by threads: {peaks}. Shares count the operations of "
              "the direct algorithm, of which Winograd's needs fewer.\n")
        print(self.head())
        for title, case, both in OPERATIONS:
            for direction in ("forward", "both") if both else ("forward",):
                if wanted and not any(word in case for word in wanted):
                    continue
                name = f"{title}, forward" + (" + backward" if direction == "both" else "") if both else title
                print(f"{name}", file=sys.stderr)
                print(self.line(name, self.row(case, direction)), flush=True)
        ends = []
        for title, name in NETWORKS:
            if wanted and not any(word in name for word in wanted):
                continue
            print(f"{title}", file=sys.stderr)
            result = self.row(f"network {name}")
            print(self.line(f"*{title}*", result), flush=True)
            medians, memory = result["medians"], result["memory"]
            ends.append((title, medians["theirs", self.threads] / medians["ours", self.threads],
                         memory["ours", self.threads], memory["theirs", self.threads]))
        return ends


def milliseconds(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
