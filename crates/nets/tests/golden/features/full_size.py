"""Feature networks of full size, PyTorch and Rust in turn on as many threads: `python full_size.py` in this folder.

Each side runs batches of eight images; the least and the middle of the times count. What it printed:

"""

import pathlib
import statistics
import subprocess
import tempfile
import time

import pytorch_fid.inception
import torch
import torchxrayvision
from generate import filled

REPOSITORY = pathlib.Path(__file__).resolve().parents[5]
ROUNDS = 7


@torch.no_grad()
def compare(kind, model, run, images):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.pt"
        torch.save(model.state_dict(), path)
        # The development profile, whose dependencies are optimised too and mostly built already.
        command = ["cargo", "bench", "-q", "--profile", "dev", "-p", "dino-diffusion-nets", "--bench", "networks", "--"]
        process = subprocess.Popen(
            [*command, kind, path], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        run(images)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            start = time.monotonic()
            run(images)
            theirs.append((time.monotonic() - start) * 1e3)
            process.stdin.write("\n")
            process.stdin.flush()
            ours.append(float(process.stdout.readline()))
        process.stdin.close()
        process.wait()
    shown = {name: f"{min(times):.0f} ms ({statistics.median(times):.0f})" for name, times in
             {"PyTorch": theirs, "Rust": ours}.items()}
    print(f"{kind}, {len(images)} images on {torch.get_num_threads()} threads: {shown}", flush=True)


if __name__ == "__main__":
    dense = filled(torchxrayvision.models.DenseNet())
    compare("densenet", dense, dense.features2, torch.randn(8, 1, 224, 224).clamp(-1, 1) * 1024)
    inception = filled(pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None))
    inception.fc = torch.nn.Identity()
    whole = filled(pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None))
    compare("inception", whole, inception, torch.randn(8, 3, 299, 299).clamp(-1, 1))
