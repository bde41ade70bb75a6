#!/usr/bin/env bash
# What a small network should learn: prediction target, learning rate, EMA horizon and latent scale, each trained for
# the same number of images from the same seed. Leaves one run folder per variant, with its sample grid, and prints a
# table of distances: 512 reconstructions of validation images against the training images, beside held-out real ones.
#
#   bench/targets.sh DATASET WORK_FOLDER        an encoded dataset of 128 px images; 5 minutes a variant on 2 cores
#
# BINARY   the program [dino-diffusion of the release build]
# IMAGES   training images of each variant [16000]
# ONLY     variants to run, separated by spaces [all]
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
dataset="$1"
work="$2"
images="${IMAGES:-16000}"
binary="${BINARY:-$root/target/release/dino-diffusion}"
noise=(diffusion.prediction=noise 'diffusion.schedule={ kind = "scaled_linear", zero_terminal_snr = false }')
velocity=(diffusion.prediction=velocity 'diffusion.schedule={ kind = "scaled_linear", zero_terminal_snr = true }')
flow=(diffusion.prediction=flow 'diffusion.schedule={ kind = "rectified_flow" }'
    'diffusion.time_distribution={ logit_normal = { mean = 0.0, std = 1.0 } }')
# Every setting compared is said here, so that a change of the recipe does not change what a row of the table means.
base=(diffusion.time_distribution=uniform optimiser.learning_rate=3e-4 optimiser.final_learning_rate_ratio=1
    ema.ramp_up_ratio=0.1 data.standardise_latents=true)

variant() {
    local name="$1"
    shift
    names+=("$name")
    if [[ -n "${ONLY:-}" && " $ONLY " != *" $name "* ]] || [[ -f "$work/$name/model/model.json" ]]; then return; fi
    echo "== $name"
    rm -rf "${work:?}/$name"
    local settings=()
    for setting in "${base[@]}" "$@" "training.total_images=$images" "training.sample_every_images=$images" \
        "training.checkpoint_every_images=$images"; do
        settings+=(--set "$setting")
    done
    "$binary" train "$dataset" --recipe small-128 --out "$work/$name" "${settings[@]}" 2>&1 | tail -n 5
}

# One line of the table. Euler steps without guidance: the plainest way from the network to a picture.
measure() {
    local name="$1" made="$work/$1-made"
    [[ -f "$work/$name/model/model.json" ]] || return 0
    if [[ ! -f "$made.json" ]]; then
        rm -rf "$made"
        "$binary" -q generate "$work/$name" "$dataset" reconstruct --num-images 512 --sampler euler --num-steps 20 \
            --guidance-scale 1 --out "$made" >/dev/null
        "$binary" -q evaluate fidelity "$dataset" "$made" --features "$work/$name" --out "$made.json" >/dev/null
    fi
    # Both sets' own figures, from JSON with one value a line; that of the drift comes after the set's own brightness.
    awk -v name="$name" -F '[:,]' '
        /"synthetic":/ { set = 1 }
        /"held_out":/ { set = 2 }
        /"kernel_distance":/ { kernel[set] = $2 }
        /"frechet_distance":/ { frechet[set] = $2 }
        /"brightness":/ && !(set in brightness) { brightness[set] = $2 }
        END { printf "| %s | %.3f / %.3f | %.1f / %.1f | %.3f / %.3f |\n", name, kernel[1], kernel[2], frechet[1],
              frechet[2], brightness[1], brightness[2] }' "$made.json"
}

names=()
mkdir -p "$work"
variant noise "${noise[@]}"
variant velocity "${velocity[@]}"
variant flow "${flow[@]}"
variant flow-1e-3 "${flow[@]}" optimiser.learning_rate=1e-3
variant velocity-1e-3 "${velocity[@]}" optimiser.learning_rate=1e-3
variant raw-latents "${velocity[@]}" optimiser.learning_rate=1e-3 data.standardise_latents=false
variant short-average "${velocity[@]}" optimiser.learning_rate=1e-3 ema.ramp_up_ratio=0.02
variant long-average "${velocity[@]}" optimiser.learning_rate=1e-3 ema.ramp_up_ratio=0.4

echo "| variant | kernel distance / floor | Frechet distance / floor | brightness / held-out |"
echo "| --- | --- | --- | --- |"
for name in "${names[@]}"; do
    measure "$name"
done
