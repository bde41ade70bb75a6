#!/usr/bin/env bash
# diffusers 0.42.0 (torch 2.9.1): one `timestep_spacing` is not one set of timesteps.
#
# One would guess that a scheduler_config.json read by another scheduler class visits the same timesteps. With 20 steps of
# 1000, offset 1: "leading" is 951, 901, ..., 1 for DDIM, DDPM, Euler and Heun, and 941, 894, ..., 48 for
# DPMSolverMultistep and UniPC, which divide by one step more and leave out the lowest. "linspace" ends at 0 for the first
# four and at 50 for the other two, before the clean image. Only "trailing" is the same everywhere, 999, 949, ..., 49.
# Ends non-zero when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.9.1 diffusers==0.42.0 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import diffusers

assert diffusers.__version__ == "0.42.0", diffusers.__version__
one_way = ("DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler")
other_way = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
found = {}
for spacing in ("leading", "linspace", "trailing"):
    for name in one_way + other_way:
        offset = 1 if spacing == "leading" else 0
        scheduler = getattr(diffusers, name)(timestep_spacing=spacing, steps_offset=offset)
        scheduler.set_timesteps(20)
        times = [round(float(time)) for time in scheduler.timesteps]
        found[spacing, name] = (times[0], times[-1])
        print(spacing, name, *times[:2], "...", times[-1])
for name in one_way:
    assert found["leading", name] == (951, 1) and found["linspace", name] == (999, 0)
for name in other_way:
    assert found["leading", name] == (941, 48) and found["linspace", name] == (999, 50)
for name in one_way + other_way:
    assert found["trailing", name] == (999, 49)
PYTHON
