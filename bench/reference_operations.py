"""The PyTorch side of single operations and whole networks: loads or makes one of them, runs it once, and then once more
for each line on standard input, answering with milliseconds. `operations.py` runs it beside this program's benchmark.

    reference_operations.py CASE forward|both contiguous|channels_last --work FOLDER --threads N

CASE is one of `crates/kernels/benches/operations/cases.rs`, or `network NAME` with a name of `NETWORKS`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

NETWORKS = {"unet-32": "sd-unet", "unet-64": "sd-unet", "vae-encode": "sd-vae", "vae-decode": "sd-vae",
            "vit-b-16": "vit-b-16", "dinov2-b-14": "dinov2-b-14", "densenet121": "densenet121.pth",
            "inception-v3": "inception-v3.pth"}


def conv(layout, kernel, stride, batch, channels_in, channels_out, side):
    images = torch.randn(batch, channels_in, side, side).to(memory_format=layout)
    weight = torch.randn(channels_out, channels_in, kernel, kernel).to(memory_format=layout)
    inputs = [images, weight, torch.randn(channels_out)]
    return inputs, lambda x, w, b: F.conv2d(x, w, b, stride=stride, padding=kernel // 2)


def linear(layout, rows, dim_in, dim_out):
    return [torch.randn(rows, dim_in), torch.randn(dim_out, dim_in), torch.randn(dim_out)], F.linear


def attention(layout, batch, queries, keys, dim, heads):
    def run(query, key, value):
        split = lambda x: x.view(batch, -1, heads, dim // heads).transpose(1, 2)  # noqa: E731
        output = F.scaled_dot_product_attention(split(query), split(key), split(value))
        return output.transpose(1, 2).reshape(batch, queries, dim)

    return [torch.randn(batch, queries, dim), torch.randn(batch, keys, dim), torch.randn(batch, keys, dim)], run


def group_norm_silu(layout, batch, side, channels):
    images = torch.randn(batch, channels, side, side).to(memory_format=layout)
    return [images, torch.randn(channels), torch.randn(channels)], lambda x, w, b: F.silu(F.group_norm(x, 32, w, b))


def layer_norm(layout, rows, dim):
    return [torch.randn(rows, dim), torch.randn(dim), torch.randn(dim)], lambda x, w, b: F.layer_norm(x, (dim,), w, b)


def silu(layout, values):
    return [torch.randn(values)], F.silu


def gelu(layout, values):
    return [torch.randn(values)], F.gelu


def geglu(layout, rows, dim):
    def run(x):
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)

    return [torch.randn(1, rows, 2 * dim)], run


def upsample(layout, batch, side, channels):
    images = torch.randn(batch, channels, side, side).to(memory_format=layout)
    return [images], lambda x: F.interpolate(x, scale_factor=2, mode="nearest")


def adamw(values):
    """The fused optimiser and the moving average, on tensors of 589,824 values."""
    parameters = [torch.randn(9, 256, 256, requires_grad=True) for _ in range(-(-values // 589_824))]
    averages = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run():
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.001)

    return run


def operation(case, direction, layout):
    name, *sizes = case.split()
    sizes = [int(size) for size in sizes]
    if name == "adamw":
        return adamw(*sizes)
    functions = dict(conv=conv, linear=linear, attention=attention, group_norm_silu=group_norm_silu,
                     layer_norm=layer_norm, silu=silu, gelu=gelu, geglu=geglu, upsample=upsample)
    inputs, function = functions[name](layout, *sizes)
    if direction == "forward":
        def run():
            with torch.inference_mode():
                return function(*inputs)
    else:
        inputs = [tensor.requires_grad_() for tensor in inputs]
        ones = torch.ones_like(function(*inputs))

        def run():
            for tensor in inputs:
                tensor.grad = None
            function(*inputs).backward(ones)
    return run


def torchvision_network(name):
    """With random weights, which timings do not care about."""
    import torchvision

    if name == "densenet121":
        return torchvision.models.densenet121(weights=None)
    return torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False)


def network(name, layout, work):
    folder = work / NETWORKS[name]
    if name.startswith("unet"):
        from diffusers import UNet2DConditionModel

        side = int(name.split("-")[1])
        unet = UNet2DConditionModel.from_pretrained(folder).eval().to(memory_format=layout)
        latents = torch.randn(2, 4, side, side).to(memory_format=layout)
        times, condition = torch.tensor([100.0, 700.0]), torch.randn(2, 77, 768)
        function = lambda: unet(latents, times, condition).sample  # noqa: E731
    elif name.startswith("vae"):
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(folder).eval().to(memory_format=layout)
        images = torch.randn(1, 3, 256, 256).to(memory_format=layout)
        latents = torch.randn(1, 4, 32, 32).to(memory_format=layout)
        function = (lambda: vae.encode(images).latent_dist.mean) if name == "vae-encode" else (
            lambda: vae.decode(latents).sample)
    elif name in ("densenet121", "inception-v3"):
        # Up to the features, as the other side: without the classifier, of torchvision's own forward otherwise.
        model = torchvision_network(name).eval()
        model.load_state_dict(torch.load(folder, weights_only=True))
        setattr(model, "classifier" if name == "densenet121" else "fc", torch.nn.Identity())
        model = model.to(memory_format=layout)
        side = 224 if name == "densenet121" else 299
        images = torch.randn(8, 3, side, side).to(memory_format=layout)
        function = lambda: model(images)  # noqa: E731
    else:
        from transformers import Dinov2Model, ViTModel

        vit = (ViTModel.from_pretrained(folder, add_pooling_layer=False) if name.startswith("vit")
               else Dinov2Model.from_pretrained(folder)).eval()
        images = torch.randn(8, 3, 224, 224)
        function = lambda: vit(images).last_hidden_state  # noqa: E731

    def run():
        with torch.inference_mode():
            return function()

    return run


def count_flops(run):
    """Operations of the convolutions and matrix products, with the attention written as such."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


# Single operations run this long before their time counts: after a pause, a (virtual) machine takes a while until all its
# cores are at work. The other side does the same.
RUN_UP_SECS = 0.1


def timed(run, run_up):
    """Milliseconds of one run: repeated until the clock can be trusted."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < run_up:
        run()
    begun, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begun < 0.05:
        run()
        count += 1
    return (time.perf_counter() - begun) * 1e3 / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("direction")
    parser.add_argument("layout")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--count", action="store_true", help="print the operations of a run and end")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layout = getattr(torch, f"{arguments.layout}_format" if arguments.layout == "contiguous" else arguments.layout)
    words = arguments.case.split()
    if words[0] == "network":
        run = network(words[1], layout, arguments.work)
    else:
        run = operation(arguments.case, arguments.direction, layout)
    if arguments.count:
        print(json.dumps(count_flops(run)))
        return
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(timed(run, 0 if words[0] == "network" else RUN_UP_SECS), flush=True)


if __name__ == "__main__":
    main()
