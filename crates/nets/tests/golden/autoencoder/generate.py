"""Makes tiny random autoencoders with diffusers, and a TAESD pair with a PyTorch re-statement of its description,
and stores beside each what it computes.

    python generate.py            writes one folder for each case
"""

import json
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file
from torch import nn

HERE = Path(__file__).parent
torch.set_num_threads(1)


def randomise(model):
    """Weights of a size that keeps signals alive; normalisation layers differ from 1 and 0."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        if parameter.ndim > 1:
            parameter.data = noise / parameter[0].numel() ** 0.5
        elif name.endswith("weight"):
            parameter.data = 1 + 0.2 * noise
        else:
            parameter.data = 0.2 * noise


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1).contiguous()


def store(folder, images, latents, mean, std, decoded):
    """Latents are normalised here as this project normalises them."""
    tensors = {"images": nhwc(images), "mean": nhwc(mean), "latents": nhwc(latents), "decoded": nhwc(decoded)}
    if std is not None:
        tensors["std"] = nhwc(std)
    save_file(tensors, folder / "expected.safetensors")


@torch.no_grad()
def kl(name, old_keys=False, size=(32, 24), grey=False, **config):
    model = diffusers.AutoencoderKL(**config).eval()
    randomise(model)
    # Spread the logarithm of the variance over its clamp at -30 and to the sizes of real networks.
    model.encoder.conv_out.bias.data[config["latent_channels"]] = -32.0
    folder = HERE / name
    model.save_pretrained(folder)
    images = torch.rand(2, 1 if grey else config["in_channels"], *size) * 2 - 1
    distribution = model.encode(images.expand(-1, config["in_channels"], -1, -1)).latent_dist
    config = model.config
    if config.latents_mean is not None:
        shift = torch.tensor(config.latents_mean).view(1, -1, 1, 1)
        scale = config.scaling_factor / torch.tensor(config.latents_std).view(1, -1, 1, 1)
    else:
        shift, scale = config.shift_factor or 0.0, config.scaling_factor
    latents = torch.randn(distribution.mean.shape)
    decoded = model.decode(latents / scale + shift).sample
    store(folder, images, latents, (distribution.mean - shift) * scale, distribution.std * scale, decoded)
    if old_keys:
        path = folder / "diffusion_pytorch_model.safetensors"
        new = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
        weights = {}
        for key, tensor in load_file(path).items():
            for present, old in new:
                key = key.replace(present, old)
            weights[key] = tensor
        save_file(weights, path, metadata={"format": "pt"})
        diffusers.AutoencoderKL.from_pretrained(folder)


@torch.no_grad()
def tiny(name, grey=False, **config):
    model = diffusers.AutoencoderTiny(**config).eval()
    randomise(model)
    folder = HERE / name
    model.save_pretrained(folder)
    images = torch.rand(2, 1 if grey else config["in_channels"], 24, 16) * 2 - 1
    shift, scale = model.config.shift_factor, model.config.scaling_factor
    mean = model.encode(images.expand(-1, config["in_channels"], -1, -1)).latents
    # Large enough for the soft clamp of the decoder to matter.
    latents = 2 * torch.randn(mean.shape) * scale
    store(folder, images, latents, (mean - shift) * scale, None, model.decode(latents / scale + shift).sample)


class Block(nn.Module):
    def __init__(self, channels_in, channels_out, has_pool=False):
        super().__init__()
        conv = lambda channels: nn.Conv2d(channels, channels_out, 3, padding=1)
        self.conv = nn.Sequential(
            conv(channels_in), nn.ReLU(), conv(channels_out), nn.ReLU(), conv(channels_out)
        )
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, bias=False)
        if has_pool:
            wide = 4 * channels_in
            self.pool = nn.Sequential(
                nn.Conv2d(channels_in, wide, 1, bias=False), nn.GroupNorm(4, wide), nn.ReLU(),
                nn.Conv2d(wide, channels_in, 1, bias=False),
            )

    def forward(self, x):
        if hasattr(self, "pool"):
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + self.skip(x))


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


@torch.no_grad()
def raw(name):
    """Two halvings; a block that changes the number of channels; the extra branch at the lowest resolution."""
    latent_channels, width = 6, 8
    down = lambda: nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False)
    enlarge = lambda: (nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False))
    encoder = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), Block(4, width), down(), Block(width, width), down(),
        Block(width, width, True), Block(width, width, True), nn.Conv2d(width, latent_channels, 3, padding=1),
    )
    decoder = nn.Sequential(
        Clamp(), nn.Conv2d(latent_channels, width, 3, padding=1), nn.ReLU(), Block(width, width, True),
        Block(width, width, True), *enlarge(), Block(width, width), *enlarge(), Block(width, 4),
        nn.Conv2d(4, 3, 3, padding=1),
    )
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for module, file in [(encoder, "encoder"), (decoder, "decoder")]:
        randomise(module)
        save_file({key: tensor.half() for key, tensor in module.state_dict().items()}, folder / f"{file}.safetensors")
        module.load_state_dict({key: tensor.half().float() for key, tensor in module.state_dict().items()})
    statistics = {"mean": torch.randn(latent_channels).tolist(), "std": (0.5 + torch.rand(latent_channels)).tolist()}
    (folder / "latent_statistics.json").write_text(json.dumps(statistics))
    mean, std = (torch.tensor(statistics[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    images = torch.rand(2, 1, 24, 16) * 2 - 1
    encoded = encoder((images.expand(-1, 3, -1, -1) + 1) / 2)
    latents = 2 * torch.randn(encoded.shape)
    store(folder, images, latents, (encoded - mean) / std, None, decoder(latents * std + mean) * 2 - 1)


def main():
    torch.manual_seed(0)
    three = dict(down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3)
    two = dict(down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
    kl("kl_attention", **three, block_out_channels=[8, 8, 16], layers_per_block=2, norm_num_groups=4, in_channels=3,
       latent_channels=4, sample_size=32, grey=True)
    kl("kl_old_keys", **two, old_keys=True, block_out_channels=[8, 12], layers_per_block=1, norm_num_groups=4,
       in_channels=1, out_channels=1, latent_channels=3, sample_size=32, scaling_factor=0.5, shift_factor=0.3)
    kl("kl_without_quant_conv", **two, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=2,
       in_channels=3, latent_channels=4, use_quant_conv=False, use_post_quant_conv=False,
       mid_block_add_attention=False, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
       scaling_factor=0.8, sample_size=[32, 32])
    tiny("tiny_rgb", in_channels=3, encoder_block_out_channels=[8] * 4, decoder_block_out_channels=[8] * 4,
         num_encoder_blocks=[1, 1, 2, 1], num_decoder_blocks=[2, 1, 1, 1], latent_channels=4, grey=True)
    tiny("tiny_grey", in_channels=1, out_channels=1, encoder_block_out_channels=[12] * 2,
         decoder_block_out_channels=[8] * 2, num_encoder_blocks=[0, 2], num_decoder_blocks=[1, 0], latent_channels=5,
         latent_magnitude=2, latent_shift=0.25, scaling_factor=1.7, shift_factor=0.2, upsampling_scaling_factor=3)
    raw("raw_taesd")


if __name__ == "__main__":
    main()
