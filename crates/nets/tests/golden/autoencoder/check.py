"""Loads autoencoders written by this crate in diffusers and compares.

    cargo run -p dino-diffusion-nets --example autoencoder_folders -- FOLDER
    python check.py FOLDER

What it printed (diffusers 0.42.1, torch 2.9.1): largest difference, relative to the largest value.

    demo (AutoencoderTiny): decoded 1.1e-07, mean 7.2e-07
    kl_attention (AutoencoderKL): decoded 0.0e+00, mean 0.0e+00, std 0.0e+00
    kl_old_keys (AutoencoderKL): decoded 0.0e+00, mean 1.9e-07, std 8.7e-10
    kl_without_quant_conv (AutoencoderKL): decoded 0.0e+00, mean 0.0e+00, std 0.0e+00
    tiny_grey (AutoencoderTiny): decoded 0.0e+00, mean 3.5e-07
    tiny_rgb (AutoencoderTiny): decoded 0.0e+00, mean 0.0e+00

For the golden cases both sides are diffusers, before and after this crate loaded and saved the weights, so that zero
says that the weights came through exactly; this crate's own outputs are compared by `tests/autoencoder.rs`. For `demo`
and `half` the numbers compared with are this crate's. `raw_taesd` is not in a layout of diffusers and is left out.
"""

import json
import sys
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
torch.set_num_threads(1)


def nchw(tensor):
    return tensor.permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def check(folder):
    config = json.loads((folder / "config.json").read_text())
    model = getattr(diffusers, config["_class_name"])
    model, info = model.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
    assert not any(info.values()), info
    model.eval()
    config = model.config
    stored = folder / "expected.safetensors"
    expected = load_file(stored if stored.exists() else HERE / folder.name / stored.name)
    shift, scale = config.shift_factor or 0.0, config.scaling_factor
    if getattr(config, "latents_mean", None) is not None:
        shift = torch.tensor(config.latents_mean).view(1, -1, 1, 1)
        scale = scale / torch.tensor(config.latents_std).view(1, -1, 1, 1)
    images = nchw(expected["images"]).expand(-1, config.in_channels, -1, -1)
    encoded = model.encode(images)
    found = {"decoded": model.decode(nchw(expected["latents"]) / scale + shift).sample}
    if hasattr(encoded, "latent_dist"):
        found["mean"] = (encoded.latent_dist.mean - shift) * scale
        found["std"] = encoded.latent_dist.std * scale
    else:
        found["mean"] = (encoded.latents - shift) * scale
    differences = []
    for key, tensor in sorted(found.items()):
        error = (tensor - nchw(expected[key])).abs().max() / expected[key].abs().max()
        assert error < 1e-4, (folder.name, key, error)
        differences.append(f"{key} {error:.1e}")
    print(f"{folder.name} ({type(model).__name__}): {', '.join(differences)}")


for path in sorted(Path(sys.argv[1]).iterdir()):
    if (path / "config.json").exists():
        check(path)
