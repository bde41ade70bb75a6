"""Makes the golden files of `tests/oblong.rs` with transformers: `python generate.py` in this folder.

Images that are not square go through each layout of an encoder's `preprocessor_config.json`, then through the tiny networks
of `crates/nets/tests/golden/vit`. Kept: the images (PNG), the configurations, and the class tokens.

Needs Pillow before 13, which resizes along rows first, always, as when networks were trained (see `vit/resample.rs`).
"""

import json
import pathlib

import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

HERE = pathlib.Path(__file__).resolve().parent
NETWORKS = HERE.parents[3] / "nets/tests/golden/vit"
STATISTICS = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
# Name: network, processor, options of it. A size of height and width stretches; the shortest edge keeps the aspect.
CASES = {
    "dino": ("vit", ViTImageProcessorPil, dict(size={"height": 32, "width": 32}, resample=3, **STATISTICS)),
    "dino_bilinear": ("vit", ViTImageProcessorPil, dict(size={"height": 32, "width": 32})),
    "dinov2_crop": ("dinov2", BitImageProcessorPil, dict(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, resample=3, **STATISTICS)),
    "swiglu_crop": ("dinov2_swiglu", BitImageProcessorPil, dict(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, resample=3, **STATISTICS)),
    "registers_stretch": ("registers", BitImageProcessorPil, dict(
        size={"height": 32, "width": 32}, do_center_crop=False, resample=3, **STATISTICS)),
    # As RAD-DINO has it, smaller: the crop is as large as the shortest edge, one mean for all channels.
    "rad_dino": ("dinov2", BitImageProcessorPil, dict(
        size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}, resample=3,
        image_mean=[0.5307] * 3, image_std=[0.2583] * 3)),
}
# Height, width.
IMAGES = {"wide": (40, 60), "tall": (75, 50), "narrow": (90, 34), "square": (48, 48)}


def main():
    assert int(Image.__version__.split(".")[0]) < 13, "Pillow 13 resizes some images along columns first"
    torch.set_num_threads(1)
    generator = numpy.random.default_rng(11)
    images = {}
    for name, (height, width) in IMAGES.items():
        rows, columns = numpy.mgrid[0:height, 0:width]
        smooth = 120 + 80 * numpy.sin(rows / 6.0) * numpy.cos(columns / 4.0)
        image = (smooth + generator.normal(0, 12, (height, width))).clip(0, 255).astype(numpy.uint8)
        Image.fromarray(image).save(HERE / f"{name}.png")
        images[name] = Image.fromarray(numpy.stack([image] * 3, 2))
    tensors = {}
    for case, (network, processor_class, options) in CASES.items():
        model = AutoModel.from_pretrained(NETWORKS / network).eval()
        processor = processor_class(**options)
        processor.save_pretrained(HERE)
        (HERE / "preprocessor_config.json").rename(HERE / f"{case}.json")
        for name, image in images.items():
            pixels = processor(image, return_tensors="pt").pixel_values
            more = {"interpolate_pos_encoding": True} if network == "vit" else {}
            with torch.no_grad():
                tensors[f"{case}.{name}"] = model(pixels, **more).last_hidden_state[0, 0].contiguous()
    save_file(tensors, HERE / "tokens.safetensors")
    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "pillow": Image.__version__}
    networks = {case: network for case, (network, _, _) in CASES.items()}
    (HERE / "cases.json").write_text(json.dumps({"versions": versions, "networks": networks}, indent=2) + "\n")


if __name__ == "__main__":
    main()
