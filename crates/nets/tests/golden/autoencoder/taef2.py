"""How well real X-rays survive the published tiny autoencoder in PyTorch: the numbers in `tests/autoencoder.rs`.

    python taef2.py FOLDER_OF_TAEF2 FOLDER_OF_PICTURES

Printed for torch 2.9.1 and Pillow, 16 of 40 full-size pictures made 128 x 128:

    LANCZOS: 32.80 dB, latents: mean 0.040, std 0.818
    BILINEAR: 34.25 dB, latents: mean 0.033, std 0.807
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from generate import Block, Clamp

torch.set_num_threads(1)


def down():
    return nn.Conv2d(64, 64, 3, padding=1, stride=2, bias=False)


def up():
    return nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1, bias=False)


def blocks(count, has_pool=False):
    return [Block(64, 64, has_pool) for _ in range(count)]


@torch.no_grad()
def main(weights, pictures):
    encoder = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), *blocks(1), down(), *blocks(3), down(), *blocks(3), down(),
        *blocks(3, True), nn.Conv2d(64, 32, 3, padding=1),
    )
    decoder = nn.Sequential(
        Clamp(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), *blocks(3, True), *up(), *blocks(3), *up(),
        *blocks(3), *up(), *blocks(1), nn.Conv2d(64, 3, 3, padding=1),
    )
    for module, name in [(encoder, "encoder"), (decoder, "decoder")]:
        module.load_state_dict({k: v.float() for k, v in load_file(weights / f"{name}.safetensors").items()})
    paths = sorted(pictures.iterdir())
    for name in ["LANCZOS", "BILINEAR"]:
        images = [
            np.asarray(Image.open(path).convert("L").resize((128, 128), Image.Resampling[name]), np.float32) / 255
            for path in paths[:: len(paths) // 16][:16]
        ]
        images = torch.tensor(np.stack(images))[:, None]
        latents = encoder(images.expand(-1, 3, -1, -1))
        restored = decoder(latents).mean(1, keepdim=True).clamp(0, 1)
        decibels = -10 * ((restored - images) ** 2).mean((1, 2, 3)).log10()
        print(f"{name}: {decibels.mean():.2f} dB, latents: mean {latents.mean():.3f}, std {latents.std():.3f}")


main(Path(sys.argv[1]), Path(sys.argv[2]))
