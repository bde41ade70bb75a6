"""Makes the golden files of `tests/vit.rs` with transformers: `python generate.py` in this folder.

Each case is a folder as transformers saves it, with `io.safetensors` beside it: images `[n, height, width, 3]` and the
tokens that the model gives for them. Networks are tiny and random; every parameter (normalisations and layer scales
too) is drawn far from its initial value, so that none can be forgotten unnoticed.
"""

import argparse
import json
import pathlib
import shutil

import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

HERE = pathlib.Path(__file__).parent
TINY = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8)
# Native; wide with remainders; as many patches as native in another shape; smaller than native.
SIZES = {"native": (32, 32), "wide": (27, 61), "reshaped": (16, 64), "small": (17, 8)}


def scramble(model):
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        is_scale = "norm" in name and name.endswith("weight") or "layer_scale" in name
        parameter.data = 1.0 + 0.3 * noise if is_scale else 0.25 * noise
    return model.eval()


def tokens_of(model, images, **options):
    with torch.no_grad():
        return model(images.permute(0, 3, 1, 2), **options).last_hidden_state.contiguous()


def save_io(folder, model, sizes=SIZES, **options):
    tensors = {}
    for name, (height, width) in sizes.items():
        images = torch.randn(2, height, width, 3)
        tensors[f"{name}.images"] = images
        tensors[f"{name}.tokens"] = tokens_of(model, images, **options)
    save_file(tensors, folder / "io.safetensors")


def case(name, model, base=None, **options):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    scramble(model).save_pretrained(folder)
    save_io(folder, base or model, **options)


def original_names(state, num_layers):
    """The state dict of `ViTModel` (transformers' file names) under the names of facebookresearch/dino."""
    original = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    parts = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for layer in range(num_layers):
        here = f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            for ours, theirs in parts.items():
                original[f"blocks.{layer}.{ours}.{kind}"] = state[f"{here}.{theirs}.{kind}"]
            fused = [state[f"{here}.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            original[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(fused)
    return {key: value.contiguous() for key, value in original.items()}


def file_state(model, folder):
    """The state dict under the names that lie in files, which are not those in memory."""
    from safetensors.torch import load_file

    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    shutil.rmtree(folder)
    return state


def dino_cases():
    # As published by the DINO code: a bare state dict, 64 entries per head, layer_norm_eps 1e-6.
    config = ViTConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=1, image_size=32, patch_size=8,
        intermediate_size=128, layer_norm_eps=1e-6,
    )
    model = scramble(ViTModel(config, add_pooling_layer=False))
    original = original_names(file_state(model, HERE / "scratch"), 1)
    folder = HERE / "dino_original"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file(original, folder / "dino.safetensors")
    save_io(folder, model, interpolate_pos_encoding=True)

    # The checkpoint of a whole training, as a pickle; here in a folder with a configuration.
    config = ViTConfig(**TINY, intermediate_size=40, layer_norm_eps=1e-6)
    model = scramble(ViTModel(config, add_pooling_layer=False))
    original = original_names(file_state(model, HERE / "scratch"), TINY["num_hidden_layers"])
    checkpoint = {
        "student": {f"module.backbone.{key}": torch.zeros(1) for key in original},
        "teacher": {f"backbone.{key}": value for key, value in original.items()}
        | {"head.mlp.0.weight": torch.zeros(3, 3), "head.last_layer.weight_g": torch.zeros(3, 1)},
        "optimizer": {"state": {0: {"step": 5, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_small", patch_size=8),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    folder = HERE / "dino_training"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config.save_pretrained(folder)
    torch.save(checkpoint, folder / "checkpoint.pth")
    save_io(folder, model, interpolate_pos_encoding=True)


def dinov2_original():
    """A bare state dict of facebookresearch/dinov2 with registers and SwiGLU."""
    config = Dinov2WithRegistersConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=4,
        mlp_ratio=4, num_register_tokens=2, use_swiglu_ffn=True,
    )
    model = scramble(Dinov2WithRegistersModel(config))
    state = file_state(model, HERE / "scratch")
    # f16, as much for the size of the file as for reading it; the model gets the same rounded numbers.
    model.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    names = {
        "encoder.layer.": "blocks.", "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "embeddings.position_embeddings": "pos_embed", "embeddings.": "", "layernorm.": "norm.",
        "attention.output.dense": "attn.proj", "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
        "mlp.weights_in": "mlp.w12", "mlp.weights_out": "mlp.w3",
    }
    original = {}
    for key, value in state.items():
        if ".attention.attention." in key:
            continue
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        original[key] = value.half()
    for kind in ("weight", "bias"):
        fused = [state[f"encoder.layer.0.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
        original[f"blocks.0.attn.qkv.{kind}"] = torch.cat(fused).half()
    folder = HERE / "dinov2_original"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    torch.save(original, folder / "dinov2.pth")
    save_io(folder, model, sizes={"native": (16, 16), "wide": (13, 31), "small": (9, 8)})


def in_memory_names():
    """`torch.save(model.state_dict())` beside `config.json`: since transformers 5 other names than those in files."""
    cases = {
        "vit": (ViTModel(ViTConfig(**TINY, intermediate_size=40)), dict(interpolate_pos_encoding=True)),
        "dinov2_swiglu": (Dinov2Model(Dinov2Config(**TINY, mlp_ratio=3, use_swiglu_ffn=True)), {}),
        # No register at all, which is valid.
        "registers_none": (
            Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**TINY, mlp_ratio=2, num_register_tokens=0)), {},
        ),
    }
    for name, (model, options) in cases.items():
        folder = HERE / "in_memory" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        scramble(model).config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        save_io(folder, model, sizes={"native": (32, 32), "wide": (27, 61)}, **options)


def preprocessing():
    """Pillow's resizing, bit for bit, and whole image processors."""
    generator = numpy.random.default_rng(5)
    height, width = 61, 83
    rows, columns = numpy.mgrid[0:height, 0:width]
    smooth = 127 + 90 * numpy.sin(rows / 5.0) * numpy.cos(columns / 7.0)
    picture = (smooth + generator.normal(0, 30, (height, width))).clip(0, 255).astype(numpy.uint8)
    picture[20:40, 30:50] = generator.choice([0, 255], (20, 20))  # overshoots of the kernel are clipped
    grey = Image.fromarray(picture)
    tensors = {"picture": torch.from_numpy(picture)}
    for name, code in (("bilinear", 2), ("bicubic", 3)):
        for new_height, new_width in ((32, 32), (61, 20), (100, 83), (97, 131), (220, 7)):
            resized = numpy.array(grey.resize((new_width, new_height), code))
            tensors[f"{name}.{new_height}x{new_width}"] = torch.from_numpy(resized)
    statistics = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    cases = {
        "square": (ViTImageProcessor, ViTImageProcessorPil, dict(size={"height": 32, "width": 32}, **statistics)),
        "halves": (ViTImageProcessor, ViTImageProcessorPil, dict(size={"height": 24, "width": 40}, resample=3)),
        "cropped": (
            BitImageProcessor, BitImageProcessorPil,
            dict(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, **statistics),
        ),
        "padded": (
            BitImageProcessor, BitImageProcessorPil,
            dict(size={"shortest_edge": 20}, crop_size={"height": 32, "width": 24}),
        ),
    }
    folder = HERE / "preprocessing"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    colour = Image.fromarray(numpy.stack([picture] * 3, 2))
    for name, (torchvision_class, pillow_class, options) in cases.items():
        torchvision_class(**options).save_pretrained(folder)
        (folder / "preprocessor_config.json").rename(folder / f"{name}.json")
        for kind, processor in (("torchvision", torchvision_class(**options)), ("pillow", pillow_class(**options))):
            pixels = processor(colour, return_tensors="pt").pixel_values
            tensors[f"{name}.{kind}"] = pixels.float().permute(0, 2, 3, 1).contiguous()
    save_file(tensors, folder / "io.safetensors")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(7)
    case("vit", ViTModel(ViTConfig(**TINY, intermediate_size=40)), interpolate_pos_encoding=True)
    config = ViTConfig(**TINY, intermediate_size=56, qkv_bias=False, layer_norm_eps=1e-3, num_labels=2)
    classifier = ViTForImageClassification(config)
    case("vit_classifier", classifier, base=classifier.vit, interpolate_pos_encoding=True)
    case("dinov2", Dinov2Model(Dinov2Config(**TINY, mlp_ratio=2)))
    swiglu = dict(mlp_ratio=3, use_swiglu_ffn=True, qkv_bias=False, layer_norm_eps=1e-2)
    case("dinov2_swiglu", Dinov2Model(Dinov2Config(**TINY, **swiglu, use_mask_token=False)))
    config = Dinov2WithRegistersConfig(**TINY, mlp_ratio=2, num_register_tokens=3, layerscale_value=0.5)
    case("registers", Dinov2WithRegistersModel(config))
    dino_cases()
    dinov2_original()
    preprocessing()
    in_memory_names()
    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "pillow": Image.__version__}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
