"""Networks of full size with random weights: Python against Rust, by hand, because they are too large for the tests.

    python full_size.py NETWORK FOLDER

makes the network in FOLDER, runs it in Python, frees it, runs `examples/full_size.rs` on the same folder and compares.
NETWORK is one of the functions below (`unet`: 860 million parameters, 3.4 GB on disk and about 11 GB of memory).

What it printed (diffusers 0.42.1, torch 2.9.1, 2 cores that were busy with other work, so the times say little):

    unet
    859.5 million parameters; Python ran in 20.20 s
    loaded in 24.37 s
    ran in 18.43 s
    output [1, 32, 32, 4]: largest difference 1.8e-06 of the largest value 1.273
"""

import gc
import pathlib
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(2)
REPOSITORY = pathlib.Path(__file__).resolve().parents[4]


@torch.no_grad()
def unet(folder):
    """Stable Diffusion 1.5's UNet on latents of 32 x 32 (an image of 256 x 256)."""
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).eval()
    network.save_pretrained(folder)
    inputs = dict(
        noisy=torch.randn(1, 32, 32, 4), timesteps=torch.tensor([431.5]), condition=torch.randn(1, 5, 768)
    )
    start = time.monotonic()
    output = network(inputs["noisy"].permute(0, 3, 1, 2), inputs["timesteps"], inputs["condition"]).sample
    report(network, time.monotonic() - start)
    return inputs, dict(output=output.permute(0, 2, 3, 1))


def report(network, seconds):
    parameters = sum(tensor.numel() for tensor in network.parameters())
    print(f"{parameters / 1e6:.1f} million parameters; Python ran in {seconds:.2f} s", flush=True)


# One function for each arm of `examples/full_size.rs`: folder -> (inputs, expected outputs), both channels last.
NETWORKS = dict(unet=unet)


def main(name, folder):
    folder = pathlib.Path(folder)
    torch.manual_seed(0)
    inputs, expected = NETWORKS[name](folder)
    gc.collect()
    save_file({key: value.contiguous() for key, value in inputs.items()}, folder / "inputs.safetensors")
    command = ["cargo", "run", "-q", "-p", "dino-diffusion-nets", "--example", "full_size", "--", name, str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    found = load_file(folder / "rust.safetensors")
    assert found.keys() == expected.keys(), found.keys()
    for key, value in expected.items():
        assert found[key].shape == value.shape, (found[key].shape, value.shape)
        error = ((found[key] - value).abs().max() / value.abs().max()).item()
        print(f"{key} {list(value.shape)}: largest difference {error:.1e} of the largest value {value.abs().max():.3f}")
        assert error <= 1e-4


if __name__ == "__main__":
    main(*sys.argv[1:])
