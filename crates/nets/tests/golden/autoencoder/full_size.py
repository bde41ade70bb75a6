"""The autoencoder of Stable Diffusion at full size with random weights, 256 x 256 pixels: diffusers against this crate.
By hand, because it is too large for the tests (84 million parameters, 335 MB on disk).

    python full_size.py FOLDER

What it printed (diffusers 0.42.1, torch 2.9.1, 2 cores that were busy with other work; PyTorch
had one thread and this crate both cores, so the times are no comparison):

    83.7 million parameters
    PyTorch: encoded in 3.83 s, decoded in 8.20 s
    loaded in 1.18 s
    encoded in 2.22 s
    decoded in 3.68 s
    mean [1, 32, 32, 4]: largest difference 6.7e-06 of 0.479
    std [1, 32, 32, 4]: largest difference 2.8e-06 of 0.374
    decoded [1, 256, 256, 3]: largest difference 9.9e-06 of 3.224
"""

import subprocess
import sys
import time
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

from generate import nhwc, randomise

torch.set_num_threads(1)
REPOSITORY = Path(__file__).resolve().parents[5]


@torch.no_grad()
def main(folder):
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512], layers_per_block=2, sample_size=512,
    ).eval()
    randomise(model)
    model.save_pretrained(folder)
    scale = model.config.scaling_factor
    images = torch.rand(1, 3, 256, 256) * 2 - 1
    latents = torch.randn(1, 4, 32, 32)
    save_file({"images": nhwc(images), "latents": nhwc(latents)}, folder / "inputs.safetensors")
    start = time.monotonic()
    distribution = model.encode(images).latent_dist
    middle = time.monotonic()
    decoded = model.decode(latents / scale).sample
    end = time.monotonic()
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters / 1e6:.1f} million parameters", flush=True)
    print(f"PyTorch: encoded in {middle - start:.2f} s, decoded in {end - middle:.2f} s", flush=True)
    expected = {"mean": distribution.mean * scale, "std": distribution.std * scale, "decoded": decoded}
    command = ["cargo", "run", "-q", "-p", "dino-diffusion-nets", "--example", "full_size_autoencoder", "--", folder]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    outputs = load_file(folder / "outputs.safetensors")
    for key, tensor in expected.items():
        error = (outputs[key] - nhwc(tensor)).abs().max() / tensor.abs().max()
        print(f"{key} {list(outputs[key].shape)}: largest difference {error:.1e} of {tensor.abs().max():.3f}")


main(Path(sys.argv[1]).resolve())
