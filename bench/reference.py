"""The PyTorch side of the comparison: each measurement as people would write it with diffusers and transformers.

    reference.py TASK --work FOLDER --threads N

prints one line of JSON. `compare.py` runs it; networks and images come from `make-networks` and `make-images`.
"""

import argparse
import json
import time
from pathlib import Path

import reference_pretraining

STEPS, GUIDANCE, NUM_GENERATED = 30, 1.5, 8
TRAIN_SECS, TRAIN_BATCH = 30.0, 32


def make_networks(work):
    """Full-size networks with random weights, in the folders that both sides read."""
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    torch.manual_seed(0)
    vit = ViTModel(ViTConfig(), add_pooling_layer=False)  # the defaults are ViT-B/16 at 224 px
    vit.save_pretrained(work / "vit-b-16")
    preprocessing = dict(do_resize=True, size=dict(height=224, width=224), resample=2, do_rescale=True,
                         rescale_factor=1 / 255, do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                         image_processor_type="ViTImageProcessor")
    (work / "vit-b-16/preprocessor_config.json").write_text(json.dumps(preprocessing))
    AutoencoderKL(  # Stable Diffusion 1
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
    ).save_pretrained(work / "sd-vae")
    AutoencoderTiny(latent_channels=32).save_pretrained(work / "tiny-32")
    UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_pretrained(work / "sd-unet")  # 1.5
    Dinov2Model(Dinov2Config(patch_size=14, image_size=518)).save_pretrained(work / "dinov2-b-14")
    (work / "dinov2-b-14/preprocessor_config.json").write_text(json.dumps(preprocessing))
    from reference_operations import NETWORKS, torchvision_network

    for name in ("densenet121", "inception-v3"):
        torch.save(torchvision_network(name).state_dict(), work / NETWORKS[name])


def make_images(work, number=192, size=1024):
    """Smooth grey pictures of the size and compressibility of radiographs, as 8-bit PNG."""
    import numpy as np
    from PIL import Image

    folder = work / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for i in range(number):
        coarse = Image.fromarray(random.integers(30, 220, (12, 12), dtype=np.uint8)).resize((size, size), 3)
        picture = np.asarray(coarse, dtype=np.float32) + random.normal(0, 3, (size, size))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.png")


def prepare(work, threads):
    """Decode, reduce to 256 px, keep as one array: what `prepare` does without manifest, checks and splits."""
    from multiprocessing import Pool

    import numpy as np

    paths = sorted((work / "pictures").glob("*.png"))
    with Pool(threads) as pool:
        pool.map(_noop, range(threads))
        begun = time.perf_counter()
        pictures = np.stack(pool.map(_prepare_one, paths, chunksize=8))
        np.save(work / "prepared.npy", pictures)
        return dict(rate=len(paths) / (time.perf_counter() - begun))


def _noop(_):
    import numpy  # noqa: F401  (imported before the clock starts)
    from PIL import Image  # noqa: F401


def _prepare_one(path):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert("L").resize((256, 256), Image.Resampling.BILINEAR))


def pictures_of(dataset):
    """The images of a prepared dataset, `[n, 1, size, size]` in 0..=1."""
    import torch
    from safetensors.torch import load_file

    shards = sorted(dataset.glob("images-*.safetensors"))
    pictures = torch.cat([load_file(shard)["images"] for shard in shards])
    return pictures.unsqueeze(1).float() / 255


def encode_vit(work, batch_size=8):
    import torch
    from transformers import ViTModel

    vit = ViTModel.from_pretrained(work / "vit-b-16", add_pooling_layer=False).eval()
    pictures = pictures_of(work / "dataset-vit")
    begun = time.perf_counter()
    with torch.inference_mode():
        tokens = [vit((batch.expand(-1, 3, -1, -1) - 0.5) / 0.5).last_hidden_state[:, :1]
                  for batch in pictures.split(batch_size)]
    rate = len(pictures) / (time.perf_counter() - begun)
    return dict(rate=rate, difference=difference(work / "dataset-vit", "embeddings", torch.cat(tokens)))


def encode_vae(work, batch_size=2):
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(work / "sd-vae").eval()
    pictures = pictures_of(work / "dataset-vae")
    begun = time.perf_counter()
    with torch.inference_mode():
        means = [vae.encode(batch.expand(-1, 3, -1, -1) * 2 - 1).latent_dist.mean for batch in pictures.split(batch_size)]
    rate = len(pictures) / (time.perf_counter() - begun)
    latents = (torch.cat(means) * vae.config.scaling_factor).permute(0, 2, 3, 1)
    return dict(rate=rate, difference=difference(work / "dataset-vae", "mean", latents))


def difference(dataset, name, ours):
    """Largest difference from what the other side stored (in f16), relative to the largest value."""
    import torch
    from safetensors.torch import load_file

    shards = [load_file(path) for path in sorted(dataset.glob("encodings/*/*.safetensors"))]
    stored = [shard[name].float() for shard in shards if name in shard]
    if not stored:
        return None
    stored = torch.cat(stored)
    return ((stored - ours.reshape(stored.shape)).abs().max() / ours.abs().max()).item()


def train(work):
    """The training loop of `small-128` on latents and embeddings in memory; the network is the other side's export."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(work / "run/model/unet"))
    average = [p.detach().clone() for p in unet.parameters()]
    parameters = list(unet.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=3e-4, weight_decay=0.01)
    latents, embeddings = torch.randn(512, 32, 16, 16), torch.randn(512, 1, 384)
    null = torch.zeros(1, 1, 384)
    seen, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < TRAIN_SECS:
        pick = torch.randint(512, (TRAIN_BATCH,))
        clean, noise = latents[pick], torch.randn(TRAIN_BATCH, 32, 16, 16)
        times = torch.sigmoid(torch.randn(TRAIN_BATCH))
        share = times.view(-1, 1, 1, 1)
        condition = torch.where(torch.rand(TRAIN_BATCH, 1, 1) < 0.1, null, embeddings[pick])
        output = unet((1 - share) * clean + share * noise, times * 1000, condition).sample
        loss = torch.nn.functional.mse_loss(output, noise - clean)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.002)
        seen += TRAIN_BATCH
    return dict(rate=seen / (time.perf_counter() - begun))


def generate(work):
    """Euler steps of a flow with guidance, and the decoder."""
    import torch
    from diffusers import AutoencoderTiny, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(work / "run/model/unet").eval()
    decoder = AutoencoderTiny.from_pretrained(work / "tiny-32").eval()
    condition = torch.cat([torch.randn(NUM_GENERATED, 1, 384), torch.zeros(NUM_GENERATED, 1, 384)])
    sigmas = torch.linspace(1, 0, STEPS + 1)
    begun = time.perf_counter()
    with torch.inference_mode():
        latents = torch.randn(NUM_GENERATED, 32, 16, 16)
        for now, then in zip(sigmas[:-1], sigmas[1:]):
            both = unet(torch.cat([latents, latents]), now * 1000, condition).sample
            with_condition, without = both.chunk(2)
            latents = latents + (then - now) * (without + GUIDANCE * (with_condition - without))
        decoder.decode(latents)
    return dict(secs=(time.perf_counter() - begun) / NUM_GENERATED)


def start():
    """What every script of the other kinds waits for before it does anything."""
    import diffusers  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import UNet2DConditionModel  # noqa: F401
    from transformers import ViTModel  # noqa: F401
    return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    work, threads = arguments.work, arguments.threads
    if arguments.task not in ("prepare", "start", "make-images"):
        import torch

        torch.set_num_threads(threads)
    tasks = {
        "make-networks": lambda: make_networks(work), "make-images": lambda: make_images(work),
        "prepare": lambda: prepare(work, threads), "encode-vit": lambda: encode_vit(work),
        "encode-vae": lambda: encode_vae(work), "train": lambda: train(work), "generate": lambda: generate(work),
        "pretrain-encoder": reference_pretraining.encoder, "pretrain-autoencoder": reference_pretraining.autoencoder,
        "start": start,
    }
    print(json.dumps(tasks[arguments.task]() or {}))


if __name__ == "__main__":
    main()
