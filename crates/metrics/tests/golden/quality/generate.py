"""Writes quality.json: small sets of rows and what plain NumPy, written out from the papers, makes of them.

Needs numpy, scipy and scikit-learn: `python generate.py`. Inputs are rounded to three digits and stored, so that the test
computes from the very same numbers. Distances are summed from differences, one pair at a time.
"""

import json
import pathlib

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

rng = np.random.default_rng(2)
DIM = 6


def distances(a, b):
    """Euclidean distance of each row of one table to each of another."""
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(2))


def radii(rows, k):
    """Distance of each row to its k-th nearest other row: a row itself comes first."""
    return np.sort(distances(rows, rows), axis=1)[:, k]


def quality(real, generated, k):
    pairs = distances(real, generated)
    in_real = pairs <= radii(real, k)[:, None]  # ball around the real row
    in_generated = pairs <= radii(generated, k)[None, :]  # ball around the generated row
    return {
        "k": k,
        "precision": in_real.any(0).mean(),
        "recall": in_generated.any(1).mean(),
        "density": in_real.sum() / (k * len(generated)),
        "coverage": in_real.any(1).mean(),
    }


def standardised_rank_sum(held_out, generated):
    """How far the generated rows' distances rank above the held-out rows', in standard deviations."""
    n, m = len(held_out), len(generated)
    u = stats.mannwhitneyu(generated, held_out).statistic
    return (u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)


def data_copying(training, held_out, generated, centres, fewest):
    cells = [distances(rows, centres).argmin(1) for rows in (training, held_out, generated)]
    found, weighted, weights = [], 0.0, 0.0
    for cell in range(len(centres)):
        t, p, q = (rows[c == cell] for rows, c in zip((training, held_out, generated), cells))
        z = None
        if min(len(t), len(p), len(q)):
            z = standardised_rank_sum(distances(p, t).min(1), distances(q, t).min(1))
        if z is not None and len(q) >= fewest:
            weighted += len(p) / len(held_out) * z
            weights += len(p) / len(held_out)
        found.append({"counts": [len(t), len(p), len(q)], "z": z})
    return {"fewest": fewest, "cells": found, "statistic": weighted / weights}


def authentic(training, generated):
    among = distances(training, training)
    np.fill_diagonal(among, np.inf)
    to_training = distances(generated, training)
    return to_training.min(1) > among.min(1)[to_training.argmin(1)]


training = np.round(rng.normal(size=(90, DIM)) + 2.5 * rng.integers(0, 3, size=(90, 1)), 3)
held_out = np.round(rng.normal(size=(50, DIM)) + 2.5 * rng.integers(0, 3, size=(50, 1)), 3)
# A third new, a third near copies, a third exact copies.
fresh = rng.normal(size=(25, DIM)) * 0.8 + 2.5 * rng.integers(0, 3, size=(25, 1)) + 0.3
generated = np.round(np.concatenate([fresh, training[:25] + 0.2 * rng.normal(size=(25, DIM)), training[30:50]]), 3)
groups = rng.integers(0, 12, size=len(training))

start = training[[3, 40, 77]]
clusters = KMeans(3, init=start, n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(training)
# Given to the test as they are, so that the statistic is compared in the very same cells.
centres = np.round(clusters.cluster_centers_, 2)

pairs = cdist(training, training)[np.triu_indices(len(training), 1)]
across = pairs[(groups[:, None] != groups[None, :])[np.triu_indices(len(training), 1)]]
near = np.argsort(distances(held_out, training), axis=1, kind="stable")[:, :4]

golden = {
    "dim": DIM,
    "training": training.ravel().tolist(),
    "held_out": held_out.ravel().tolist(),
    "generated": generated.ravel().tolist(),
    "groups": groups.tolist(),
    "nearest": near.tolist(),
    "nearest_distances": np.take_along_axis(distances(held_out, training), near, 1).tolist(),
    "quality": [quality(training, generated, k) for k in (1, 3, 5)] + [quality(held_out, generated * 0.5, 5)],
    "start": start.ravel().tolist(),
    "centres": clusters.cluster_centers_.ravel().tolist(),
    "cells": clusters.predict(held_out).tolist(),
    "rounded_centres": centres.ravel().tolist(),
    "data_copying": [data_copying(training, held_out, generated, centres, fewest) for fewest in (20, 25)]
    + [data_copying(training, held_out, fresh.round(3), training[:1], 1)],
    "fresh": fresh.round(3).ravel().tolist(),
    "authentic": authentic(training, generated).tolist(),
    "across": [[share, np.quantile(across, share)] for share in (0.01, 0.05, 0.5, 0.973)],
}
pathlib.Path(__file__).with_name("quality.json").write_text(json.dumps(golden) + "\n")
