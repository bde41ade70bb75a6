"""Golden numbers of tiny UNets from diffusers.

    python generate.py                     writes <case>/ beside this file (config, keys with shapes, inputs, outputs)
    python generate.py check FOLDER...     loads folders that the Rust tests left behind in diffusers and compares

Weights are computed from the tensors' names by a formula that the Rust test repeats, so that no artefact is large. One
case, `sharded`, is a real folder of diffusers in several files.

To check what Rust writes:

    DINO_DIFFUSION_KEEP=/tmp/unets cargo test -p dino-diffusion-nets --test unet
    python generate.py check /tmp/unets/*

which printed

    one_level: largest difference 9.3e-07 of the largest value
    only_cross: largest difference 9.9e-07 of the largest value
    plain_ends: largest difference 5.6e-07 of the largest value
    stable_diffusion_1: largest difference 2.1e-06 of the largest value
    stable_diffusion_2: largest difference 1.2e-06 of the largest value

Made with diffusers 0.42.1 and torch 2.9.1.
"""

import json
import math
import pathlib
import shutil
import sys

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent

CROSS_DOWN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, UP = "CrossAttnUpBlock2D", "UpBlock2D"

# name: (settings, batch, height, width, tokens, timesteps)
CASES = {
    # Stable Diffusion 1: convolutional projections, one number of heads, two layers, everything else by default.
    "stable_diffusion_1": (
        dict(block_out_channels=(8, 8, 16, 16), norm_num_groups=4, cross_attention_dim=12, attention_head_dim=2),
        2, 8, 8, 3, [981.0, 0.5],
    ),
    # Stable Diffusion 2: linear projections, heads per level; sizes that are no multiples of 8.
    "stable_diffusion_2": (
        dict(block_out_channels=(8, 16, 16, 16), norm_num_groups=4, cross_attention_dim=10, layers_per_block=1,
             attention_head_dim=(1, 2, 4, 2), use_linear_projection=True, upcast_attention=True),
        1, 13, 9, 1, [500.0],
    ),
    # Attention in the middle only, and every number away from its default.
    "plain_ends": (
        dict(in_channels=5, out_channels=3, block_out_channels=(8, 16, 24), norm_num_groups=8, norm_eps=1e-3,
             down_block_types=(DOWN, CROSS_DOWN, DOWN), up_block_types=(UP, CROSS_UP, UP), cross_attention_dim=6,
             attention_head_dim=(1, 4, 3), layers_per_block=(1, 2, 1), downsample_padding=0, center_input_sample=True,
             flip_sin_to_cos=False, freq_shift=1, mid_block_scale_factor=1.5, conv_in_kernel=5, conv_out_kernel=1,
             act_fn="swish", transformer_layers_per_block=(1, 2, 1)),
        2, 7, 11, 2, [12.25, 999.0],
    ),
    # Attention on all levels, the coarser of which never looks at the image on its way; halves that differ.
    "only_cross": (
        dict(block_out_channels=(8, 12), norm_num_groups=4, cross_attention_dim=6, layers_per_block=1,
             down_block_types=(CROSS_DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP), attention_head_dim=2,
             only_cross_attention=(False, True)),
        2, 6, 5, 4, [3.0, 700.125],
    ),
    # One level: nothing is ever halved.
    "one_level": (
        dict(block_out_channels=(8,), norm_num_groups=4, cross_attention_dim=6, layers_per_block=1,
             down_block_types=(CROSS_DOWN,), up_block_types=(CROSS_UP,), attention_head_dim=2,
             only_cross_attention=True),
        1, 3, 4, 2, [250.0],
    ),
}


def hashed_uniform(name: str, count: int) -> np.ndarray:
    """Numbers in [-1, 1): FNV-1a of the name plus the index, through SplitMix64's mixer."""
    mask = (1 << 64) - 1
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & mask
    with np.errstate(over="ignore"):
        mixed = np.uint64(state) + np.arange(count, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def formula(name: str, shape) -> torch.Tensor:
    """Weights about as large as trained ones; nothing is zero or one, so that every tensor matters."""
    count = math.prod(shape)
    values = hashed_uniform(name, count)
    if len(shape) > 1:
        values = values * math.sqrt(3.0 / (count // shape[0]))
    elif name.endswith("weight"):
        values = 1.0 + 0.3 * values
    else:
        values = 0.2 * values
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


class Recorder(AttnProcessor):
    """Plain attention that keeps its softmax, averaged over heads."""

    def __init__(self, name, into):
        super().__init__()
        self.name, self.into = name, into

    def __call__(self, attn, hidden_states, *args, **kwargs):
        original = attn.get_attention_scores

        def spy(*inner):
            probabilities = original(*inner)
            batch = hidden_states.shape[0]
            self.into[self.name] = probabilities.reshape(batch, attn.heads, *probabilities.shape[1:]).mean(1)
            return probabilities

        attn.get_attention_scores = spy
        try:
            return super().__call__(attn, hidden_states, *args, **kwargs)
        finally:
            del attn.get_attention_scores


@torch.no_grad()
def run(unet, noisy, timesteps, condition):
    """Channels-last in and out, and the self-attention maps by block."""
    output = unet(noisy.permute(0, 3, 1, 2), timesteps, condition).sample
    maps = {}
    for name, module in unet.named_modules():
        if name.endswith(".attn1") and not module.is_cross_attention:
            module.set_processor(Recorder(name.removesuffix(".attn1"), maps))
    again = unet(noisy.permute(0, 3, 1, 2), timesteps, condition).sample
    assert (again - output).abs().max() <= 1e-5 * output.abs().max()
    return output.permute(0, 2, 3, 1).contiguous(), maps


def build(settings):
    unet = UNet2DConditionModel(**settings).eval()
    unet.load_state_dict({key: formula(key, value.shape) for key, value in unet.state_dict().items()})
    return unet


def inputs(unet, batch, height, width, tokens, timesteps):
    torch.manual_seed(0)
    noisy = torch.randn(batch, height, width, unet.config.in_channels)
    condition = torch.randn(batch, tokens, unet.config.cross_attention_dim)
    return noisy, torch.tensor(timesteps), condition


def generate():
    for name, (settings, *sizes) in CASES.items():
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        unet = build(settings)
        unet.save_config(folder)
        keys = {key: list(value.shape) for key, value in unet.state_dict().items()}
        (folder / "keys.json").write_text(json.dumps(keys).replace("], ", "],\n") + "\n")
        noisy, timesteps, condition = inputs(unet, *sizes)
        output, maps = run(unet, noisy, timesteps, condition)
        tensors = dict(noisy=noisy, timesteps=timesteps, condition=condition, output=output)
        # Maps of fine levels are large; those of one image are enough.
        tensors |= {f"maps.{block}": values[:1].contiguous() for block, values in maps.items()}
        save_file(tensors, folder / "golden.safetensors")
        print(f"{name}: {sum(map(math.prod, keys.values()))} parameters, {len(maps)} maps, "
              f"output up to {output.abs().max():.3f}")

    # A pipeline's folder with its UNet below, in several files.
    folder = HERE / "sharded"
    shutil.rmtree(folder, ignore_errors=True)
    settings, *sizes = CASES["only_cross"]
    unet = build({**settings, "layers_per_block": 1})
    unet.save_pretrained(folder / "unet", max_shard_size="60KB")
    noisy, timesteps, condition = inputs(unet, *sizes)
    output, _ = run(unet, noisy, timesteps, condition)
    save_file(dict(noisy=noisy, timesteps=timesteps, condition=condition, output=output), folder / "golden.safetensors")


def check(folders):
    """Each folder holds a UNet as Rust saved it, and `rust.safetensors` with inputs and the output that Rust got."""
    for folder in map(pathlib.Path, folders):
        unet, info = UNet2DConditionModel.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        given = load_file(folder / "rust.safetensors")
        output, _ = run(unet.eval(), given["noisy"], given["timesteps"], given["condition"])
        error = ((output - given["output"]).abs().max() / output.abs().max()).item()
        print(f"{folder.name}: largest difference {error:.1e} of the largest value")
        assert error <= 1e-4


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2:])
    else:
        generate()
