"""Writes frechet.json: Fréchet distances by pytorch-fid's formula and standard errors by numerical derivatives.

Needs numpy and scipy: `python generate.py`. Inputs are rounded to four digits and stored. Of sets with fewer images than
features the root has no unique `sqrtm`; its trace is that of the singular values of the product of the centred rows.
"""

import json
import pathlib

import numpy as np
from scipy import linalg

rng = np.random.default_rng(0)
DIM = 14


def weighted(rows, weights):
    """Mean, and centred rows whose sum of products is the covariance; the divisor is that of equal weights."""
    weights = weights / weights.sum()
    mean = weights @ rows
    return mean, (rows - mean) * np.sqrt(weights * len(rows) / (len(rows) - 1))[:, None]


def distance(a, b, weights_a, weights_b):
    (mean_a, rows_a), (mean_b, rows_b) = weighted(a, weights_a), weighted(b, weights_b)
    overlap = linalg.svdvals(rows_a @ rows_b.T).sum()
    return ((mean_a - mean_b) ** 2).sum() + (rows_a**2).sum() + (rows_b**2).sum() - 2 * overlap


def pytorch_fid(a, b):
    """`calculate_frechet_distance` of pytorch-fid 0.3.0, for covariances that are not singular."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariance_a @ covariance_b)
    difference = mean_a - mean_b
    return difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.trace(root.real)


def variance(a, b, step=1e-4):
    """Squared standard error by the images of `a`: of derivatives towards the weight of each image (Efron 1982)."""
    count, equal_b = len(a), np.ones(len(b)) / len(b)
    changes = []
    for image in range(count):
        def moved(amount):
            weights = np.ones(count) / count * (1 - amount)
            weights[image] += amount
            return distance(a, b, weights, equal_b)
        changes.append((moved(step / count) - moved(-step / count)) * count / (2 * step))
    return (np.array(changes) ** 2).sum() / (count * (count - 1))


def case(count_a, count_b, dead=0):
    mixing = rng.normal(size=(DIM, DIM))
    a = np.round(rng.normal(size=(count_a, DIM)), 4)
    b = np.round(rng.normal(size=(count_b, DIM)) @ mixing * 0.4 + 0.5, 4)
    a[:, DIM - dead:] = 0
    b[:, DIM - dead:] = 0
    expected = distance(a, b, np.ones(count_a), np.ones(count_b))
    if min(count_a, count_b) > DIM and not dead:
        assert abs(expected - pytorch_fid(a, b)) < 1e-9 * expected
        expected = pytorch_fid(a, b)
    return {
        "dim": DIM,
        "a": a.ravel().tolist(),
        "b": b.ravel().tolist(),
        "distance": expected,
        "variances": [variance(a, b), variance(b, a)],
    }


cases = {
    "many": case(60, 45),
    "few": case(9, 11),
    "few_against_many": case(8, 45),
    "many_against_few": case(45, 8),
    "as_many_as_features": case(DIM, DIM + 1),
    "dead_features": case(60, 45, dead=2),
}
pathlib.Path(__file__).with_name("frechet.json").write_text(json.dumps(cases) + "\n")
