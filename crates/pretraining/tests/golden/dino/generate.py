"""Makes `steps.safetensors`, the golden numbers of the encoder's pre-training: `python generate.py` in this folder.

Two whole optimiser steps of DINO written down from the papers in PyTorch, with transformers' `ViTModel` as the network:
multi-crop views, head with a weight-normalised last layer, centring and sharpening, cross-entropy over all pairs of
different views, KoLeo on the global views, clipping of each gradient, AdamW without decay of biases and normalisations,
the teacher's moving average, the centre's update. Networks are tiny and random.
"""

import copy
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import ViTConfig, ViTModel

HERE = pathlib.Path(__file__).parent
BATCH, GLOBAL, LOCAL, NUM_LOCAL, NUM_STEPS = 3, 24, 16, 2, 2
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE, CENTRE_MOMENTUM, KOLEO_WEIGHT = 0.2, 0.1, 0.9, 0.1
LEARNING_RATE, WEIGHT_DECAY, EPSILON, CLIP = 1e-2, 0.3, 1e-3, 0.5
TEACHER_MOMENTUM = 0.9
MEAN, DEVIATION = 0.4, 0.2


class Head(torch.nn.Module):
    def __init__(self, dim, hidden, bottleneck, prototypes):
        super().__init__()
        self.mlp = torch.nn.ModuleList([torch.nn.Linear(dim, hidden), torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, bottleneck)])
        last = torch.nn.Linear(bottleneck, prototypes, bias=False)
        self.last_layer = torch.nn.utils.parametrizations.weight_norm(last)
        self.last_layer.parametrizations.weight.original0.data.fill_(1.0)
        self.last_layer.parametrizations.weight.original0.requires_grad = False

    def forward(self, x):
        x = self.mlp[2](F.gelu(self.mlp[1](F.gelu(self.mlp[0](x)))))
        return self.last_layer(F.normalize(x, dim=-1, p=2))


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                           image_size=32, patch_size=8, layer_norm_eps=1e-6, hidden_dropout_prob=0.0,
                           attention_probs_dropout_prob=0.0)
        self.encoder = ViTModel(config, add_pooling_layer=False)
        self.head = Head(16, 24, 8, 20)

    def embed(self, images):
        images = ((images - MEAN) / DEVIATION)[:, None].repeat(1, 3, 1, 1)
        return self.encoder(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]


def ours(state):
    """The names and the layout of this project's files."""
    renamed = {}
    for name, tensor in state.items():
        if name.endswith("weight.original0"):
            continue  # the fixed gain
        name = name.replace("parametrizations.weight.original1", "weight")
        name = name.replace("encoder.layers.", "encoder.encoder.layer.")
        for theirs, mine in [("q_proj", "attention.query"), ("k_proj", "attention.key"), ("v_proj", "attention.value"),
                             ("o_proj", "output.dense"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2")]:
            name = name.replace(theirs, mine)
        renamed[name] = tensor.detach().clone().contiguous()
    return renamed


def dino_loss(student, teacher, centre):
    """Algorithm 1 of the paper, for all pairs of views but equal ones."""
    student = [s / STUDENT_TEMPERATURE for s in student.chunk(2 + NUM_LOCAL)]
    teacher = [F.softmax((t - centre) / TEACHER_TEMPERATURE, dim=-1).detach() for t in teacher.chunk(2)]
    terms = [
        torch.sum(-q * F.log_softmax(s, dim=-1), dim=-1).mean()
        for iq, q in enumerate(teacher) for v, s in enumerate(student) if v != iq
    ]
    entropy = torch.stack([-(q * q.log()).sum(-1).mean() for q in teacher]).mean()
    return sum(terms) / len(terms), entropy


def koleo(x):
    x = F.normalize(x, eps=1e-8, p=2, dim=-1)
    with torch.no_grad():
        dots = x @ x.T
        dots.fill_diagonal_(-1)
        nearest = dots.argmax(dim=1)
    return -torch.log(torch.nn.PairwiseDistance(2, eps=1e-8)(x, x[nearest]) + 1e-8).mean()


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    network = Network()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            noise = torch.randn_like(parameter)
            parameter.data = 1.0 + 0.3 * noise if "norm" in name and name.endswith("weight") and "encoder" in name else 0.25 * noise
    teacher = copy.deepcopy(network)
    out = {f"before.{name}": tensor for name, tensor in ours(network.state_dict()).items()}
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=(0.9, 0.999), eps=EPSILON)
    centre = 0.1 * torch.randn(20)
    out["centre.0"] = centre.clone()
    for step in range(NUM_STEPS):
        images = torch.rand(2 * BATCH, GLOBAL, GLOBAL)
        local = torch.rand(NUM_LOCAL * BATCH, LOCAL, LOCAL)
        out[f"global.{step}"], out[f"local.{step}"] = images.clone(), local.clone()
        with torch.no_grad():
            answers = teacher.head(teacher.embed(images))
        tokens = network.embed(images)
        outputs = network.head(torch.cat([tokens, network.embed(local)]))
        loss, entropy = dino_loss(outputs, answers, centre)
        spread = sum(koleo(part) for part in tokens.chunk(2))
        optimiser.zero_grad()
        (loss + KOLEO_WEIGHT * spread).backward()
        clipped = 0
        for parameter in network.parameters():
            if parameter.grad is not None and parameter.grad.norm() > CLIP:
                parameter.grad.mul_(CLIP / parameter.grad.norm())
                clipped += 1
        assert clipped > 0, "the clipping is not tested"
        optimiser.step()
        with torch.no_grad():
            for average, parameter in zip(teacher.parameters(), network.parameters()):
                average.mul_(TEACHER_MOMENTUM).add_((1 - TEACHER_MOMENTUM) * parameter)
            centre = centre * CENTRE_MOMENTUM + answers.mean(dim=0) * (1 - CENTRE_MOMENTUM)
        out[f"losses.{step}"] = torch.tensor([loss.item(), entropy.item(), spread.item()])
        print(f"step {step}: loss {loss.item():.6f}, entropy {entropy.item():.6f} of {math.log(20):.3f}, "
              f"KoLeo {spread.item():.6f}, {clipped} gradients clipped")
    out["centre.after"] = centre.clone()
    out |= {f"student.{name}": tensor for name, tensor in ours(network.state_dict()).items()}
    out |= {f"teacher.{name}": tensor for name, tensor in ours(teacher.state_dict()).items()}
    save_file(out, HERE / "steps.safetensors")


if __name__ == "__main__":
    main()
