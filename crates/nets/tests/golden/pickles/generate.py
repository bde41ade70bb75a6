"""Makes PyTorch pickles of weights that lie in other golden folders as safetensors: `python generate.py` in this folder.

Networks were published so before safetensors came: `diffusion_pytorch_model.bin`, whole or in shards with an index, and the
two `.pth` files of TAESD. The tests compare what is read with the safetensors files.
"""

import json
import pathlib

import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent


def main():
    for name in ("tiny_grey", "kl_old_keys"):
        state = load_file(GOLDEN / "autoencoder" / name / "diffusion_pytorch_model.safetensors")
        torch.save(state, HERE / f"{name}.bin")
    for part in ("encoder", "decoder"):
        torch.save(load_file(GOLDEN / "autoencoder/raw_taesd" / f"{part}.safetensors"), HERE / f"taesd_{part}.pth")
    index = json.loads((GOLDEN / "unet/sharded/unet/diffusion_pytorch_model.safetensors.index.json").read_text())
    shards = {}
    for key, file in index["weight_map"].items():
        shards.setdefault(file, []).append(key)
    weight_map = {}
    for file, keys in shards.items():
        state = load_file(GOLDEN / "unet/sharded/unet" / file)
        name = file.replace(".safetensors", ".bin")
        torch.save({key: state[key] for key in keys}, HERE / name)
        weight_map |= dict.fromkeys(keys, name)
    index = {"metadata": index["metadata"], "weight_map": weight_map}
    (HERE / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
