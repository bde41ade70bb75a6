"""Does by hand, with diffusers and scikit-image, what `evaluate autoencoder` and the report of `pretrain autoencoder`
say, and compares.

    dino-diffusion pretrain autoencoder DATASET --out RUN
    python check.py DATASET RUN/model RUN/evaluation/autoencoder.json

Needs diffusers, torch, scikit-image and pyarrow. For networks in diffusers' layout with one channel.
"""

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import pyarrow.parquet
import torch
from safetensors.numpy import load_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

dataset, folder, report = map(Path, sys.argv[1:4])
report = json.loads(report.read_text())
model, info = diffusers.AutoencoderTiny.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
assert not any(info.values()), info
model.eval()
images = np.concatenate([load_file(path)["images"] for path in sorted(dataset.glob("images-*.safetensors"))])
splits = pyarrow.parquet.read_table(dataset / "manifest.parquet", columns=["split"])["split"].to_pylist()
images = images[[split == report["split"] for split in splits]]
assert len(images) == report["quality"]["num_images"], "the report must be on all images of the split"

ratios, similarities, latents = [], [], []
with torch.no_grad():
    for batch in np.array_split(images, len(images) // 16 + 1):
        batch = batch.astype(np.float64) / 255
        encoded = model.encode(torch.tensor(2 * batch - 1, dtype=torch.float32)[:, None]).latents
        decoded = model.decode(encoded).sample[:, 0]
        decoded = ((decoded + 1) / 2).clamp(0, 1).double().numpy()
        latents.append((encoded - model.config.shift_factor) * model.config.scaling_factor)
        for original, picture in zip(batch, decoded):
            ratios.append(peak_signal_noise_ratio(original, picture, data_range=1))
            similarities.append(structural_similarity(
                original, picture, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            ))
latents = torch.cat(latents).double()
for name, found in [
    ("peak_signal_to_noise", np.mean(ratios)),
    ("structural_similarity", np.mean(similarities)),
    ("latent_mean", latents.mean().item()),
    ("latent_std", latents.std(correction=0).item()),
    ("latent_largest", latents.abs().max().item()),
]:
    expected = report["quality"][name]
    print(f"{name}: {found:.7g} here, {expected:.7g} there")
    assert abs(found - expected) < 1e-4 * max(1, abs(expected)), name
