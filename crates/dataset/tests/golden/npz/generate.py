"""Writes NumPy archives in every layout that is read, and some that are refused; checks the one that Rust wrote.

    pip install numpy==2.4.6
    python generate.py
    DINO_DIFFUSION_KEEP=FOLDER cargo test -p dino-diffusion-dataset --test npz
    python generate.py FOLDER/written.npz

All hold `mu` (3 values) and `sigma` (3 x 3), which is not symmetric here, so that a mistaken order shows. The numbers
have few bits: they are the same in float32. `written.npz` is what `dataset::write_npz` made of them.
"""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
mu = np.arange(3) * 0.5 - 1
sigma = np.arange(3)[:, None] * 10.0 + np.arange(3) + 0.25

if len(sys.argv) > 1:
    with np.load(sys.argv[1]) as found:
        assert sorted(found.files) == ["mu", "sigma"], found.files
        for name, expected in (("mu", mu), ("sigma", sigma)):
            assert found[name].dtype == np.float64 and found[name].flags.c_contiguous
            assert (found[name] == expected).all(), name
    print("sound:", sys.argv[1])
    sys.exit()

for save in (np.savez, np.savez_compressed):
    for order in "CF":
        for kind in ("<f4", "<f8", ">f8"):
            arrays = {name: np.asarray(value, kind, order=order) for name, value in (("mu", mu), ("sigma", sigma))}
            label = {"<f4": "f32", "<f8": "f64", ">f8": "big_endian"}[kind]
            save(HERE / f"{'stored' if save is np.savez else 'deflated'}_{order}_{label}.npz", **arrays)
np.savez(HERE / "with_others.npz", names=np.array(["a", "b"]), mu=mu, sigma=sigma, count=np.int64(7))
np.savez(HERE / "refused_integers.npz", mu=mu, sigma=sigma.astype(int))
np.savez(HERE / "refused_f16.npz", mu=mu.astype(np.float16), sigma=sigma)
np.savez(HERE / "refused_names.npz", mean=mu, covariance=sigma)
np.savez(HERE / "refused_object.npz", mu=np.array([None, {}], dtype=object), sigma=sigma)
