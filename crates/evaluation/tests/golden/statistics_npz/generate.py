"""Writes pytorch_fid.npz, reference statistics as pytorch-fid saves them, and says what it makes of two sets.

    pip install pytorch-fid==0.3.0 numpy==2.4.6 scipy==1.17.1
    python generate.py
    DINO_DIFFUSION_KEEP=FOLDER cargo test -p dino-diffusion-evaluation --lib statistics
    python generate.py FOLDER/own.npz

The features are a formula, so that the test in `evaluate/fidelity/statistics.rs` has the same. With an argument, that
file, which the test wrote, is read as pytorch-fid reads its own.
"""

import pathlib
import sys

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance

PATH = pathlib.Path(__file__).with_name("pytorch_fid.npz")


def features(rows, shift):
    row, column = np.mgrid[0:rows, 0:6]
    return ((row * row * 7 + row * (column + 3) * 13 + column * column * 29) % 101) / 101 + shift * column / 10


def statistics(values):
    return values.mean(axis=0), np.cov(values, rowvar=False)


mu, sigma = statistics(features(40, 0.0))
if len(sys.argv) > 1:
    # As `compute_statistics_of_path` of pytorch-fid 0.3.0 does.
    with np.load(sys.argv[1]) as file:
        found_mu, found_sigma = file["mu"][:], file["sigma"][:]
    assert np.allclose(found_mu, mu, rtol=1e-12, atol=0) and np.allclose(found_sigma, sigma, rtol=1e-9, atol=1e-15)
    mu, sigma = found_mu, found_sigma
else:
    np.savez_compressed(PATH, mu=mu, sigma=sigma)
print(repr(float(calculate_frechet_distance(mu, sigma, *statistics(features(30, 1.0))))))
