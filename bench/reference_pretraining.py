"""The PyTorch side of both pre-trainings: the steps of the recipes `dino-tiny-128` and `autoencoder-128`, with the
networks of transformers and diffusers. Only the step is timed here, on views and crops that are made beforehand, while
the other side also draws and renders its own: the comparison favours PyTorch by that.
"""

import copy
import time

SECS = 30.0
# The recipes' settings.
ENCODER_BATCH, GLOBAL_SIZE, LOCAL_SIZE, NUM_LOCAL = 32, 96, 48, 4
HIDDEN, BOTTLENECK, PROTOTYPES, KOLEO_WEIGHT = 512, 256, 1024, 0.1
CROP_BATCH, CROP_SIZE = 16, 64
WARM_UP_STEPS = 2


def _rate(step, batch):
    for _ in range(WARM_UP_STEPS):
        step()
    seen, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECS:
        step()
        seen += batch
    return dict(rate=seen / (time.perf_counter() - begun))


def encoder():
    """DINO: multi-crop, centring, sharpening, KoLeo; AdamW, clipping of each gradient, moving average."""
    import torch
    import torch.nn.functional as F
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            config = ViTConfig(hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768,
                               image_size=128, patch_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
            self.encoder = ViTModel._from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
            norm = lambda: torch.nn.BatchNorm1d(HIDDEN, affine=False, track_running_stats=False)  # noqa: E731
            self.head = torch.nn.Sequential(
                torch.nn.Linear(192, HIDDEN), norm(), torch.nn.GELU(), torch.nn.Linear(HIDDEN, HIDDEN), norm(),
                torch.nn.GELU(), torch.nn.Linear(HIDDEN, BOTTLENECK))
            self.prototypes = torch.nn.Parameter(torch.randn(PROTOTYPES, BOTTLENECK))

        def embed(self, images):
            return self.encoder(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]

        def answer(self, tokens):
            return F.normalize(self.head(tokens), dim=-1) @ F.normalize(self.prototypes, dim=-1).T

    student = Network()
    teacher = copy.deepcopy(student).requires_grad_(False)
    parameters, averages = list(student.parameters()), list(teacher.parameters())
    decayed, plain = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim == 1]
    optimiser = torch.optim.AdamW([dict(params=decayed, weight_decay=0.04), dict(params=plain, weight_decay=0.0)], lr=1e-4)
    global_views = torch.randn(2 * ENCODER_BATCH, 3, GLOBAL_SIZE, GLOBAL_SIZE)
    local_views = torch.randn(NUM_LOCAL * ENCODER_BATCH, 3, LOCAL_SIZE, LOCAL_SIZE)
    state = dict(centre=torch.zeros(PROTOTYPES))

    def koleo(tokens):
        units = F.normalize(tokens, dim=-1)
        with torch.no_grad():
            nearest = (units @ units.T).fill_diagonal_(-1).argmax(dim=1)
        return -torch.log(torch.nn.functional.pairwise_distance(units, units[nearest]) + 1e-8).mean()

    def step():
        with torch.no_grad():
            answers = teacher.answer(teacher.embed(global_views))
            targets = F.softmax((answers - state["centre"]) / 0.04, dim=-1).chunk(2)
            state["centre"] = 0.9 * state["centre"] + 0.1 * answers.mean(dim=0)
        tokens = student.embed(global_views)
        outputs = student.answer(torch.cat([tokens, student.embed(local_views)]))
        guesses = F.log_softmax(outputs / 0.1, dim=-1).chunk(2 + NUM_LOCAL)
        terms = [-(target * guess).sum(-1).mean()
                 for own, target in enumerate(targets) for view, guess in enumerate(guesses) if view != own]
        loss = sum(terms) / len(terms) + KOLEO_WEIGHT * sum(koleo(part) for part in tokens.chunk(2))
        optimiser.zero_grad()
        loss.backward()
        norms = torch._foreach_norm([p.grad for p in parameters])
        torch._foreach_mul_([p.grad for p in parameters], [(3.0 / (n + 1e-6)).clamp(max=1.0) for n in norms])
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.01)

    return _rate(step, ENCODER_BATCH)


def autoencoder():
    """Absolute error, differences between neighbours, structural similarity, moments of the latents; AdamW, average."""
    import torch
    import torch.nn.functional as F
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    network = AutoencoderTiny(
        in_channels=1, out_channels=1, latent_channels=16, encoder_block_out_channels=(64,) * 4,
        decoder_block_out_channels=(64,) * 4, num_encoder_blocks=(0, 2, 3, 3), num_decoder_blocks=(3, 3, 2, 0))
    network = network.to(memory_format=torch.channels_last)
    parameters = list(network.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    crops = torch.rand(CROP_BATCH, 1, CROP_SIZE, CROP_SIZE).contiguous(memory_format=torch.channels_last)
    window = torch.exp(-0.5 * ((torch.arange(11.0) - 5) / 1.5) ** 2)
    window = window / window.sum()

    def smooth(maps):
        return F.conv2d(F.conv2d(maps, window.view(1, 1, 1, 11)), window.view(1, 1, 11, 1))

    def similarity(x, y):
        mean_x, mean_y = smooth(x), smooth(y)
        xx, yy, xy = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2, smooth(x * y) - mean_x * mean_y
        return ((2 * mean_x * mean_y + 1e-4) * (2 * xy + 9e-4)
                / ((mean_x**2 + mean_y**2 + 1e-4) * (xx + yy + 9e-4))).mean()

    def step():
        latents = network.encoder(crops * 2 - 1)
        pictures = (network.decoder(latents + 0.05 * torch.randn_like(latents)) + 1) / 2
        error = pictures - crops
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        moments = (latents.mean((0, 2, 3)) ** 2 + ((latents.var((0, 2, 3)) + 1e-6).sqrt() - 1) ** 2).mean()
        loss = error.abs().mean() + 0.5 * edges + 0.1 * (1 - similarity(pictures, crops)) + 0.05 * moments
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.001)

    return _rate(step, CROP_BATCH)
