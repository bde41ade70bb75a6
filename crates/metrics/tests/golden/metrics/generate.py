"""Writes metrics.json: small inputs and what scipy, scikit-learn and scikit-image make of them.

Needs numpy, scipy, scikit-learn and scikit-image (0.26): `python generate.py`. Inputs are rounded to four digits and
stored, so that the test computes from the very same numbers.
"""

import json
import pathlib

import numpy as np
from scipy import linalg
from scipy.spatial import distance
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn import decomposition, linear_model, metrics, neighbors

rng = np.random.default_rng(0)
DIM = 12


def rounded(values):
    return np.round(values, 4)


def frechet(a, b):
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariance_a @ covariance_b)
    difference = a.mean(0) - b.mean(0)
    return difference @ difference + np.trace(covariance_a + covariance_b - 2 * root.real)


def kernel(a, b):
    k = lambda x, y: metrics.pairwise.polynomial_kernel(x, y, degree=3, gamma=1 / DIM, coef0=1)
    off_diagonal = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return off_diagonal(k(a, a)) + off_diagonal(k(b, b)) - 2 * k(a, b).mean()


mixing = rng.normal(size=(DIM, DIM))
a = rounded(rng.normal(size=(60, DIM)))
b = rounded(rng.normal(size=(45, DIM)) @ mixing * 0.4 + 0.5)
picture = rounded(rng.uniform(size=(19, 23)))
reference = rounded(np.clip(picture + 0.1 * rng.normal(size=picture.shape), 0, 1))
scores = np.round(rng.normal(size=80), 1)  # coarse, for ties
labels = scores + rng.normal(size=80) > 0.3
masks = rng.uniform(size=(2, 200)) < [[0.4], [0.6]]
similarity, indices = neighbors.NearestNeighbors(n_neighbors=3, metric="cosine").fit(a).kneighbors(b)

probe_labels = a[:, 0] + 0.5 * a[:, 1] + rng.normal(size=len(a)) > 0
probe = linear_model.LogisticRegression(C=0.7, tol=1e-12, solver="newton-cholesky", max_iter=1000).fit(a, probe_labels)
components = decomposition.PCA(n_components=3, svd_solver="full").fit(a)

golden = {
    "dim": DIM,
    "features_a": a.ravel().tolist(),
    "features_b": b.ravel().tolist(),
    "covariance_b": np.cov(b, rowvar=False).ravel().tolist(),
    "frechet": frechet(a, b),
    "kernel": kernel(a, b),
    "neighbour_indices": indices.tolist(),
    "neighbour_similarities": (1 - similarity).tolist(),
    "shape": list(picture.shape),
    "picture": picture.ravel().tolist(),
    "reference": reference.ravel().tolist(),
    "brightness": picture.mean(),
    "contrast": picture.std(),
    "peak_signal_to_noise": peak_signal_noise_ratio(reference, picture, data_range=1.0),
    "structural_similarity": structural_similarity(
        picture, reference, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    ),
    "scores": scores.tolist(),
    "labels": labels.tolist(),
    "area_under_curve": metrics.roc_auc_score(labels, scores),
    "masks": masks.tolist(),
    "probe_labels": probe_labels.tolist(),
    "probe_scores": probe.decision_function(b).tolist(),
    # Their signs mean nothing.
    "component_sizes": np.abs(components.transform(b)).ravel().tolist(),
    "dice": 1 - distance.dice(*masks),
}
pathlib.Path(__file__).with_name("metrics.json").write_text(json.dumps(golden) + "\n")
