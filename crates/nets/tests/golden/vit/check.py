"""Loads in transformers what this program wrote, by hand: `python check.py` in this folder.

For each golden case, `examples/full_size_vit.rs` loads the folder, saves it again and computes tokens; transformers
then loads the saved folder and must give the tokens of the original network: to the bit, since every tensor comes back
unchanged. The statistics of the image processor are compared too.

What it printed:

    transformers 5.23.0, torch 2.9.1+cu128
    vit: loads as ViTModel; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    vit_classifier: loads as ViTModel; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    dinov2: loads as Dinov2Model; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    dinov2_swiglu: loads as Dinov2Model; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    registers: loads as Dinov2WithRegistersModel; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    dino_original: loads as ViTModel; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    dino_training: loads as ViTModel; relative error native 0.0e+00, reshaped 0.0e+00, small 0.0e+00, wide 0.0e+00
    dinov2_original: loads as Dinov2WithRegistersModel; relative error native 0.0e+00, small 0.0e+00, wide 0.0e+00
"""

import pathlib
import subprocess
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[4]
PATHS = {
    "vit": "vit",
    "vit_classifier": "vit_classifier",
    "dinov2": "dinov2",
    "dinov2_swiglu": "dinov2_swiglu",
    "registers": "registers",
    "dino_original": "dino_original/dino.safetensors",
    "dino_training": "dino_training/checkpoint.pth",
    "dinov2_original": "dinov2_original/dinov2.pth",
}


def run_rust(encoder, inputs, folder):
    command = ["cargo", "run", "-q", "-p", "dino-diffusion-nets", "--example", "full_size_vit", "--"]
    subprocess.run([*command, encoder, inputs, folder], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def largest_difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def check(case, encoder):
    with tempfile.TemporaryDirectory() as folder:
        if case == "dino_training":  # its heads are not 64 wide, so it needs its configuration
            staged = pathlib.Path(folder) / "staged"
            staged.mkdir()
            for name in ("config.json", "checkpoint.pth"):
                (staged / name).write_bytes((HERE / case / name).read_bytes())
            encoder = staged
        run_rust(encoder, HERE / case / "io.safetensors", folder)
        saved = pathlib.Path(folder) / "encoder"
        is_vit = AutoConfig.from_pretrained(saved).model_type == "vit"
        options = dict(add_pooling_layer=False) if is_vit else {}
        model, info = AutoModel.from_pretrained(saved, output_loading_info=True, **options)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
        processor = AutoImageProcessor.from_pretrained(saved)
        assert list(processor.image_mean) == [0.485, 0.456, 0.406], processor
        options = dict(interpolate_pos_encoding=True) if is_vit else {}
        golden = load_file(HERE / case / "io.safetensors")
        errors = []
        for name in sorted(key.removesuffix(".images") for key in golden if key.endswith(".images")):
            images = golden[f"{name}.images"].permute(0, 3, 1, 2)
            tokens = model.eval()(images, **options).last_hidden_state
            errors.append(f"{name} {largest_difference(tokens, golden[f'{name}.tokens']):.1e}")
            assert largest_difference(tokens, golden[f"{name}.tokens"]) <= 1e-4
        print(f"{case}: loads as {type(model).__name__}; relative error {', '.join(errors)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for case, path in PATHS.items():
        check(case, HERE / path)
