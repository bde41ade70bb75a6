"""Makes the golden files of `tests/features.rs` with torchxrayvision, pytorch-fid and scikit-image: `python generate.py`
in this folder, after `pip install --no-deps torchxrayvision pytorch-fid` and `pip install pandas imageio requests tqdm
scikit-image scipy torchvision`.

Weights and pixels come from a formula that both sides know (`uniform` below), so that only what the networks give is
kept: one JSON file for each case, and two pickles that PyTorch wrote.
"""

import hashlib
import json
import pathlib
import warnings

import numpy
import pytorch_fid.inception
import torch
import torchxrayvision
from torchxrayvision.datasets import XRayCenterCrop, XRayResizer

HERE = pathlib.Path(__file__).parent


def uniform(name, count):
    """Values in -1..1 that depend on a name and a place: SplitMix64 (Steele et al. 2014) from the FNV-1a hash of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with numpy.errstate(over="ignore"):
        mixed = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> numpy.uint64(31))
    return 2.0 * ((mixed >> numpy.uint64(11)).astype(numpy.float64) / 2.0**53) - 1.0


def tensor_of(name, shape):
    """A weight that keeps signals at their size, far enough from its initial value that none can be forgotten."""
    values = uniform(name, int(numpy.prod(shape)))
    if name.endswith("running_var"):
        values = 1.0 + 0.5 * values
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1.0 + 0.3 * values
    elif len(shape) == 1:
        values = 0.2 * values
    else:
        values = values * numpy.sqrt(6.0 / numpy.prod(shape[1:]))
    return torch.from_numpy(values.astype(numpy.float32).reshape(shape))


def filled(model):
    state = {
        name: tensor_of(name, tuple(value.shape)) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval()


def pixels(name, height, width):
    """A grey picture of 8 bits."""
    return numpy.floor((uniform(name, height * width) + 1.0) * 128.0).astype(numpy.uint8).reshape(height, width)


def names_of(model):
    """SHA-256 of the sorted lines `name [shape]` of all tensors but the counters of batches."""
    lines = sorted(
        f"{name} {list(value.shape)}"
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def numbers(tensor):
    return [float(f"{value:.8g}") for value in numpy.asarray(tensor, dtype=numpy.float64).ravel()]


def write(name, **content):
    (HERE / f"{name}.json").write_text(json.dumps(content) + "\n")
    print(name, {key: len(value) if hasattr(value, "__len__") else value for key, value in content.items()})


@torch.no_grad()
def dense(name, side, batch, **config):
    model = filled(torchxrayvision.models.DenseNet(**config)).double()
    channels = config["in_channels"]
    images = torch.from_numpy(uniform(f"{name}.images", batch * side * side * channels))
    images = images.reshape(batch, side, side, channels).permute(0, 3, 1, 2).contiguous()
    features, logits = model.features2(images), model(images)
    model.train()
    trained = model(images)
    state = model.state_dict()
    write(
        name,
        config=config,
        side=side,
        batch=batch,
        names=names_of(model),
        features=numbers(features),
        logits=numbers(logits),
        trained_logits=numbers(trained),
        statistics={key: numbers(state[key]) for key in state if "running" in key},
    )


@torch.no_grad()
def inception():
    def weights(*_arguments, **_options):
        model = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
        return {key: tensor_of(key, tuple(value.shape)) for key, value in model.state_dict().items() if "num_" not in key}

    loading = pytorch_fid.inception.load_state_dict_from_url
    pytorch_fid.inception.load_state_dict_from_url = weights
    whole = pytorch_fid.inception.fid_inception_v3()
    model = pytorch_fid.inception.InceptionV3([3], resize_input=True, normalize_input=True).eval().double()
    pytorch_fid.inception.load_state_dict_from_url = loading
    height, width = 60, 44
    images = torch.from_numpy(pixels("inception.image", height, width) / 255.0)
    features = model(images.expand(1, 3, height, width))[0].reshape(-1)
    logits = whole.fc.double()(features)
    write(
        "inception",
        size=[height, width],
        names=names_of(whole),
        features=numbers(features),
        logits=numbers(logits[:32]),
    )


def preprocessing():
    xrv, fid = [], []
    for height, width in [(24, 24), (17, 17), (20, 13), (31, 40), (61, 60), (120, 97)]:
        picture = pixels(f"preprocessing {height} {width}", height, width)
        centre = XRayCenterCrop()(torchxrayvision.datasets.normalize(picture, 255)[None])
        resized = XRayResizer(24)(centre)
        xrv.append({"size": [height, width], "values": numbers(resized)})
        tensor = torch.from_numpy(picture / numpy.float32(255.0))[None, None]
        resized = torch.nn.functional.interpolate(tensor, size=(23, 19), mode="bilinear", align_corners=False)
        fid.append({"size": [height, width], "values": numbers(resized)})
    # Bright and dark pictures without a 0 in their range, where the zeros beyond the border do not reach the result, and
    # where they do: a picture of which little more than the border is left.
    for name, (height, width) in {"bright": (19, 19), "dark": (50, 50)}.items():
        values = 300.0 + 200.0 * uniform(name, height * width).astype(numpy.float32).reshape(1, height, width)
        values = values if name == "bright" else -values
        xrv.append({"name": name, "size": [height, width], "values": numbers(XRayResizer(24)(values))})
    write("preprocessing", xrv=xrv, fid=fid)


def pickles():
    torch.manual_seed(0)
    config = dict(growth_rate=4, block_config=(1, 1), num_init_features=4, bn_size=2, num_classes=2, in_channels=1)
    model = filled(torchxrayvision.models.DenseNet(**config))
    torch.save(model, HERE / "whole_module.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}, "epoch": 3},
               HERE / "training.pth")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    tiny = dict(growth_rate=4, block_config=(2, 3), num_init_features=8, bn_size=2, num_classes=3, in_channels=1)
    dense("dense_grey", 40, 3, **tiny)
    dense("dense_colour", 35, 2, growth_rate=6, block_config=(1, 2, 2), num_init_features=6, bn_size=3, num_classes=5,
          in_channels=3)
    inception()
    preprocessing()
    pickles()
