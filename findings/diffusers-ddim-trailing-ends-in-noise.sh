#!/usr/bin/env bash
# diffusers 0.42.0, DDIMScheduler with timestep_spacing="trailing" (torch 2.9.1).
#
# One would guess that the last step ends at the clean image whatever the number of steps. The timesteps are spaced by
# 1000 / n, but each step goes back by 1000 // n: with 7 steps the last goes from 142 to 0, not to -1, and a perfect
# network is left with noise of the first timestep (a clean value of 3 and noise of 1 end at 3.0279). With 10, 20 and 30
# steps it ends at 3. 43 of the numbers from 1 to 100 end so. Ends non-zero when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.9.1 diffusers==0.42.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import diffusers
import torch

assert diffusers.__version__ == "0.42.0", diffusers.__version__


def end(steps):
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="trailing",
        clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    timestep = scheduler.timesteps[-1]
    clean, noise = torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1)
    signal = scheduler.alphas_cumprod[timestep]
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    return float(scheduler.step(noise, timestep, noisy).prev_sample), int(timestep) - 1000 // steps


found = {steps: end(steps) for steps in range(1, 101)}
short = [steps for steps, (value, previous) in found.items() if previous >= 0]
print("7 steps end at", found[7], "and 20 at", found[20])
print(len(short), "of 100 numbers of steps end in noise:", short)
assert abs(found[7][0] - 3.0279) < 1e-3 and found[7][1] == 0
assert all(abs(found[steps][0] - 3) < 1e-4 for steps in (10, 20, 30))
assert len(short) == 43 and all(abs(found[steps][0] - 3) > 0.02 for steps in short)
PYTHON
