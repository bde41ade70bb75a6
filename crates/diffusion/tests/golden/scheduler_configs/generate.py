"""Writes numbers.safetensors: what diffusers samples by the scheduler configurations in configs.json.

    pip install torch==2.9.1 diffusers==0.42.0 safetensors numpy
    python generate.py

Each configuration is put into a model folder as `scheduler/scheduler_config.json` and loaded as a pipeline does, without
a word of warning. The network is a formula (see `network`), so that nothing but the schedulers is compared. All start
from unit noise in the scheduler's own scale; the factor of pipelines (`init_noise_sigma`) is 0.2 % smaller for Euler and
Heun where timesteps are `trailing` or `linspace`. A flow is also run with its noise levels given, as `sigmas` of a
pipeline: `NAME.given`. Any other scheduler must accept the configuration too, since people swap them.
"""

import json
import logging
import pathlib
import tempfile

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent
NUM_STEPS = 20
SHAPE = (2, 4, 3, 2)
noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
generator = torch.Generator().manual_seed(1)
record = {
    "noise": noise,
    # What DDPM draws itself, one tensor a step, from a generator of the same seed.
    "step_noise": torch.stack([torch.randn(SHAPE, generator=generator) for _ in range(NUM_STEPS)]),
}
said = []
handler = logging.Handler()
handler.emit = lambda entry: said.append(entry.getMessage())
diffusers.utils.logging.get_logger("diffusers").addHandler(handler)


def network(x, timestep):
    time = torch.as_tensor(timestep, dtype=torch.float32) / 1000
    return 0.6 * torch.sin(1.3 * x + 0.8 * time) + 0.4 * torch.tanh(x.flip(2)) * torch.cos(2 * time)


def sampled(scheduler, sample):
    arguments = {"generator": torch.Generator().manual_seed(1)} if "DDPM" in type(scheduler).__name__ else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        sample = scheduler.step(network(scaled, timestep), timestep, sample, **arguments).prev_sample
    assert sample.isfinite().all()
    return sample.clone()


def loaded(config):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "scheduler").mkdir()
        (pathlib.Path(folder) / "scheduler/scheduler_config.json").write_text(json.dumps(config))
        return getattr(diffusers, config["_class_name"]).from_pretrained(folder, subfolder="scheduler")


configs = json.loads((HERE / "configs.json").read_text())
for name, config in configs.items():
    scheduler = loaded(config)
    assert type(scheduler).__name__ == config["_class_name"] and not said, (name, said)
    assert all(scheduler.config[key] == value for key, value in config.items()), name
    scheduler.set_timesteps(NUM_STEPS)
    start = noise
    if "Euler" in config["_class_name"] and "Flow" not in config["_class_name"] or "Heun" in config["_class_name"]:
        start = noise * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    record[f"{name}.final"] = sampled(scheduler, start)
    if name.startswith("flow") and ("-euler-" in name or "-ddim-" in name) and "karras" not in name:
        end = 1 / NUM_STEPS if "trailing" in name else 0.001
        given = loaded(config)
        given.set_timesteps(sigmas=np.linspace(1, end, NUM_STEPS).tolist())
        record[f"{name}.given"] = sampled(given, noise)
    if "Flow" not in config["_class_name"]:
        for other in (diffusers.DDIMScheduler, diffusers.DPMSolverMultistepScheduler, diffusers.UniPCMultistepScheduler):
            swapped = other.from_config(scheduler.config)
            assert swapped.config.prediction_type == config["prediction_type"], name
            assert torch.equal(swapped.betas, scheduler.betas), name
    said.clear()

save_file(record, HERE / "numbers.safetensors", {"diffusers": diffusers.__version__})
print(len(configs), "configurations,", (HERE / "numbers.safetensors").stat().st_size // 1024, "KiB")
