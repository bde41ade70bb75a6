"""Loads in transformers what `pretrain encoder` exported, by hand: `python check.py PROGRAM RUN` in any folder.

PROGRAM is the built `dino-diffusion`, RUN a run of `pretrain encoder`. The program embeds some pictures; transformers'
image processor and model must give the same class tokens.

What it printed for a run of the recipe `dino-tiny-128`:

    transformers 5.24.0, torch 2.9.1+cu128
    loads as ViTModel with 5,499,072 parameters; relative error of class tokens 1.0e-06
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoModel


@torch.no_grad()
def main(program, run):
    folder = pathlib.Path(run) / "model"
    size = json.loads((folder / "config.json").read_text())["image_size"]
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True, add_pooling_layer=False)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    processor = AutoImageProcessor.from_pretrained(folder)
    random = numpy.random.default_rng(1)
    with tempfile.TemporaryDirectory() as pictures:
        paths = [pathlib.Path(pictures) / f"{index}.png" for index in range(4)]
        for path in paths:
            coarse = random.integers(0, 256, (8, 8), dtype=numpy.uint8)
            Image.fromarray(coarse).resize((size, size), Image.BICUBIC).save(path)
        out = pathlib.Path(pictures) / "embeddings.safetensors"
        subprocess.run([program, "embed", "-q", "--encoder", run, "--out", out, *paths], check=True)
        with safe_open(out, "pt") as file:
            found = file.get_tensor("embeddings")
        inputs = processor(images=[Image.open(path).convert("RGB") for path in paths], return_tensors="pt")
        expected = model.eval()(**inputs).last_hidden_state[:, 0]
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"loads as {type(model).__name__} with {sum(p.numel() for p in model.parameters()):,} parameters; "
          f"relative error of class tokens {error:.1e}")
    assert error < 1e-4


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
