"""Writes expected.safetensors: random pictures, what the reconstruction losses are on them, and their gradients by
PyTorch's autograd. The structural similarity is written out with a two-dimensional window and checked against
scikit-image.

Needs torch, safetensors and scikit-image: `python generate.py`.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from skimage import metrics
from torch.nn.functional import conv2d

torch.manual_seed(0)


def gradient_difference(x, y):
    along = lambda image, dim: image.diff(dim=dim)
    return sum((along(x, dim) - along(y, dim)).abs().mean() for dim in (2, 3))


def structural_similarity(x, y):
    axis = torch.arange(11, dtype=x.dtype) - 5
    window = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    mean = lambda image: conv2d(image, (window / window.sum())[None, None])
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def latent_moments(z, _):
    std = (z.var(dim=(0, 2, 3), correction=0) + 1e-6).sqrt()
    return (z.mean(dim=(0, 2, 3)) ** 2 + (std - 1) ** 2).mean()


def nhwc(tensor):
    return tensor.float().permute(0, 2, 3, 1).contiguous()


# Smooth pictures with a part that differs, in double precision from the numbers that are stored.
coarse = torch.rand(2, 1, 5, 6)
originals = torch.nn.functional.interpolate(coarse, size=(24, 19), mode="bicubic").clamp(0, 1)
pictures = (originals + 0.08 * torch.randn(originals.shape)).clamp(0, 1)
latents = 0.3 + 1.7 * torch.randn(2, 3, 4, 5)
stored = {"originals": nhwc(originals), "pictures": nhwc(pictures), "latents": nhwc(latents)}
for function, name in [
    (gradient_difference, "pictures"), (structural_similarity, "pictures"), (latent_moments, "latents")
]:
    x = {"pictures": pictures, "latents": latents}[name].double().requires_grad_()
    value = function(x, originals.double())
    value.backward()
    stored[function.__name__] = value.detach().float().reshape(1)
    stored[f"{function.__name__}.gradient"] = nhwc(x.grad)

reference = [
    metrics.structural_similarity(
        x.numpy(), y.numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    for x, y in zip(pictures[:, 0].double(), originals[:, 0].double())
]
assert abs(sum(reference) / 2 - stored["structural_similarity"].item()) < 1e-6, reference
save_file(stored, Path(__file__).with_name("expected.safetensors"))
