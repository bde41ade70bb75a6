"""Encoders of full size with random weights: transformers against Rust, by hand, because they are too large for the
tests: `python full_size.py` in this folder (1 GB of disk for the moment, 2 GB of memory).

What it printed (the cores were busy with other work, so the times say little):

    transformers 5.23.0, torch 2.9.1+cu128
    DINOv2-B/14: 86.6 million parameters
    Python ran [1, 224, 224, 3] in 4.98 s
    Python ran [1, 224, 280, 3] in 6.19 s
    Rust loaded in 1.34 s
    Rust ran [1, 224, 224, 3] in 1.50 s
    Rust ran [1, 224, 280, 3] in 1.73 s
    published.tokens [1, 257, 768]: relative error 1.0e-06
    wide.tokens [1, 321, 768]: relative error 1.1e-06
    ViT-B/16: 85.8 million parameters
    Python ran [1, 224, 224, 3] in 4.05 s
    Python ran [1, 256, 256, 3] in 3.73 s
    Rust loaded in 1.10 s
    Rust ran [1, 256, 256, 3] in 1.21 s
    Rust ran [1, 224, 224, 3] in 0.95 s
    native.tokens [1, 197, 768]: relative error 8.9e-07
    larger.tokens [1, 257, 768]: relative error 9.5e-07
"""

import gc
import pathlib
import subprocess
import tempfile
import time

import torch
import transformers
from check import REPOSITORY, largest_difference
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel


@torch.no_grad()
def compare(title, model, sizes, **options):
    model.eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{title}: {count / 1e6:.1f} million parameters", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model.save_pretrained(folder)
        inputs, expected = {}, {}
        for name, (height, width) in sizes.items():
            images = torch.randn(1, height, width, 3)
            start = time.monotonic()
            tokens = model(images.permute(0, 3, 1, 2), **options).last_hidden_state
            print(f"Python ran {list(images.shape)} in {time.monotonic() - start:.2f} s", flush=True)
            inputs[f"{name}.images"] = images
            expected[f"{name}.tokens"] = tokens
        del model
        gc.collect()
        save_file(inputs, folder / "inputs.safetensors")
        command = ["cargo", "run", "-q", "-p", "dino-diffusion-nets", "--example", "full_size_vit", "--"]
        subprocess.run([*command, folder, folder / "inputs.safetensors", folder], cwd=REPOSITORY, check=True)
        found = load_file(folder / "tokens.safetensors")
        for key, value in expected.items():
            error = largest_difference(found[key], value)
            print(f"{key} {list(value.shape)}: relative error {error:.1e}", flush=True)
            assert error <= 1e-4


def randomised(model):
    """Position embeddings and tokens that matter, since fresh ones are near zero."""
    for name, parameter in model.named_parameters():
        if "embedding" in name or "token" in name:
            parameter.data.normal_(std=0.5)
    return model


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    dinov2 = Dinov2Config(image_size=518, patch_size=14)
    compare("DINOv2-B/14", randomised(Dinov2Model(dinov2)), {"published": (224, 224), "wide": (224, 280)})
    vit = ViTModel(ViTConfig(), add_pooling_layer=False)
    sizes = {"native": (224, 224), "larger": (256, 256)}
    compare("ViT-B/16", randomised(vit), sizes, interpolate_pos_encoding=True)
