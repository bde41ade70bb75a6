"""Writes samplers.safetensors: what diffusers' schedulers feed to a toy network, and what they make of its output.

The network is a formula (see `network`), so that nothing but the schedulers is compared. Of each case this records
every network input and timestep, in order of calls, and the final sample. All states start from unit noise in the
variance-preserving convention. Needs torch, diffusers 0.42 and safetensors: `python generate.py`.
"""

import pathlib

import diffusers
import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
NUM_STEPS = 20
SHAPE = (2, 4, 3, 2)
STABLE_DIFFUSION = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
COSINE = dict(beta_schedule="squaredcos_cap_v2")
NAMES = {"noise": "epsilon", "velocity": "v_prediction"}
noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
record = {"noise": noise}


def network(x, timestep):
    time = torch.as_tensor(timestep, dtype=torch.float32) / 1000
    return 0.6 * torch.sin(1.3 * x + 0.8 * time) + 0.4 * torch.tanh(x.flip(2)) * torch.cos(2 * time)


def run(name, scheduler, sample, **kwargs):
    inputs, timesteps = [], []
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        inputs.append(scaled.float())
        timesteps.append(float(timestep))
        sample = scheduler.step(network(scaled, timestep), timestep, sample, **kwargs).prev_sample
    record[f"{name}.inputs"] = torch.stack(inputs)
    record[f"{name}.timesteps"] = torch.tensor(timesteps)
    record[f"{name}.final"] = sample.clone()


def ddim(name, prediction, spacing, schedule, **kwargs):
    scheduler = diffusers.DDIMScheduler(
        **schedule, prediction_type=NAMES[prediction], timestep_spacing=spacing, clip_sample=False,
        set_alpha_to_one=True, steps_offset=1, **kwargs)
    scheduler.set_timesteps(NUM_STEPS)
    run(name, scheduler, noise)


def ddpm(name, prediction, spacing):
    scheduler = diffusers.DDPMScheduler(
        **STABLE_DIFFUSION, prediction_type=NAMES[prediction], timestep_spacing=spacing, clip_sample=False,
        steps_offset=1, variance_type="fixed_small")
    scheduler.set_timesteps(NUM_STEPS)
    # The scheduler draws this noise itself, one tensor a step, from a generator of the same seed.
    generator = torch.Generator().manual_seed(1)
    record[f"{name}.step_noise"] = torch.stack([torch.randn(SHAPE, generator=generator) for _ in range(NUM_STEPS)])
    run(name, scheduler, noise, generator=torch.Generator().manual_seed(1))


def exploding(name, kind, prediction, spacing, **kwargs):
    scheduler = kind(**STABLE_DIFFUSION, prediction_type=NAMES[prediction], timestep_spacing=spacing, steps_offset=1,
                     **kwargs)
    scheduler.set_timesteps(NUM_STEPS)
    run(name, scheduler, noise * (scheduler.sigmas[0] ** 2 + 1) ** 0.5)


def dpmpp_2m(name, prediction, schedule):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **schedule, prediction_type=NAMES[prediction], timestep_spacing="trailing", algorithm_type="dpmsolver++",
        solver_order=2, solver_type="midpoint", final_sigmas_type="zero")
    scheduler.set_timesteps(NUM_STEPS)
    run(name, scheduler, noise)


def flow(name, shift, sigmas):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(**({"num_inference_steps": NUM_STEPS} if sigmas is None else {"sigmas": sigmas}))
    run(name, scheduler, noise)


ddim("ddim_leading_noise", "noise", "leading", STABLE_DIFFUSION)
ddim("ddim_leading_velocity", "velocity", "leading", STABLE_DIFFUSION)
ddim("ddim_trailing_noise", "noise", "trailing", STABLE_DIFFUSION)
ddim("ddim_cosine_velocity", "velocity", "trailing", COSINE)
ddim("ddim_zero_terminal_velocity", "velocity", "trailing", STABLE_DIFFUSION, rescale_betas_zero_snr=True)
ddpm("ddpm_leading_noise", "noise", "leading")
ddpm("ddpm_trailing_velocity", "velocity", "trailing")
exploding("euler_linspace_noise", diffusers.EulerDiscreteScheduler, "noise", "linspace")
exploding("euler_leading_noise", diffusers.EulerDiscreteScheduler, "noise", "leading")
exploding("euler_trailing_velocity", diffusers.EulerDiscreteScheduler, "velocity", "trailing")
exploding("euler_karras_velocity", diffusers.EulerDiscreteScheduler, "velocity", "linspace", use_karras_sigmas=True)
exploding("heun_linspace_noise", diffusers.HeunDiscreteScheduler, "noise", "linspace")
exploding("heun_trailing_velocity", diffusers.HeunDiscreteScheduler, "velocity", "trailing")
dpmpp_2m("dpmpp_2m_trailing_noise", "noise", STABLE_DIFFUSION)
dpmpp_2m("dpmpp_2m_trailing_velocity", "velocity", STABLE_DIFFUSION)
dpmpp_2m("dpmpp_2m_cosine_velocity", "velocity", COSINE)
flow("flow_linspace", 1.0, None)
flow("flow_trailing_shifted", 3.0, [1 - step / NUM_STEPS for step in range(NUM_STEPS)])
save_file(record, pathlib.Path(__file__).with_name("samplers.safetensors"), {"diffusers": diffusers.__version__})
