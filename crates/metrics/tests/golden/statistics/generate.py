"""Writes statistics.json: small inputs and what scipy, scikit-learn and statsmodels make of them.

Needs numpy, scipy (1.17), scikit-learn and statsmodels (0.14): `python generate.py`. DeLong's variance, Cliff's delta,
Nadeau and Bengio's test and the effect sizes are written out from the papers, over all pairs. Inputs are rounded and
stored, so that the test computes from the very same numbers.
"""

import json
import pathlib

import numpy as np
from scipy import stats
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(1)


def delong(scores, positive):
    """Areas and their covariance by the definition of DeLong et al. (1988), from all pairs."""
    above = lambda x, y: (x > y) + 0.5 * (x == y)
    pairs = np.stack([above(s[positive][:, None], s[~positive][None, :]) for s in scores])
    v10, v01 = pairs.mean(2), pairs.mean(1)
    covariance = np.cov(v10) / positive.sum() + np.cov(v01) / (~positive).sum()
    return pairs.mean((1, 2)), np.atleast_2d(covariance)


def signed_rank(differences):
    """As documented: exact up to 25 without ties and 13 with them, scipy's normal approximation beyond."""
    others = differences[differences != 0]
    ties = len(np.unique(np.abs(others))) < len(others)
    if len(others) > (13 if ties else 25):
        found = stats.wilcoxon(differences, correction=True, method="asymptotic")
    elif ties:
        found = stats.wilcoxon(others, correction=True, method="auto")  # all assignments of signs
    else:
        found = stats.wilcoxon(others, method="exact")
    ranks = stats.rankdata(np.abs(others))
    above, below = ranks[others > 0].sum(), ranks[others < 0].sum()
    return {
        "differences": differences.tolist(),
        "above": above,
        "below": below,
        "p": found.pvalue,
        "biserial": (above - below) / ranks.sum(),
    }


def corrected_t(differences, ratio, confidence):
    count = len(differences)
    error = np.sqrt((1 / count + ratio) * differences.var(ddof=1))
    half = stats.t.ppf(0.5 * (1 + confidence), count - 1) * error
    mean = differences.mean()
    return {
        "differences": differences.tolist(),
        "ratio": ratio,
        "confidence": confidence,
        "t": mean / error,
        "p": 2 * stats.t.sf(abs(mean / error), count - 1),
        "low": mean - half,
        "high": mean + half,
        "d": mean / differences.std(ddof=1),
    }


def plain_t(differences, confidence):
    found = stats.ttest_1samp(differences, 0)
    interval = found.confidence_interval(confidence)
    return {
        "differences": differences.tolist(),
        "ratio": 0.0,
        "confidence": confidence,
        "t": found.statistic,
        "p": found.pvalue,
        "low": interval.low,
        "high": interval.high,
        "d": found.statistic / np.sqrt(len(differences)),
    }


# Three classifiers of one task, with ties within and across classes.
positive = rng.uniform(size=70) < 0.35
noise = rng.normal(size=(3, 70))
scores = np.round(positive * [[0.4], [0.9], [1.4]] + noise + 0.8 * noise[:1], 1)
areas, covariance = delong(scores, positive)
error = lambda a, b: np.sqrt(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b])
delong_z = [(areas[a] - areas[b]) / error(a, b) for a, b in [(0, 1), (0, 2), (1, 2)]]

label_truth = rng.uniform(size=(60, 4)) < [0.2, 0.5, 0.7, 0.3]
label_scores = np.round(label_truth * 0.5 + rng.normal(size=(60, 4)), 2)
classes = rng.integers(0, 3, size=60)
class_scores = np.round(np.eye(3)[classes] * 0.7 + rng.uniform(size=(60, 3)), 3)
class_shares = class_scores / class_scores.sum(1, keepdims=True)

differences = [
    rng.normal(0.3, 1, size=5),
    np.abs(rng.normal(size=6)),
    rng.normal(0.2, 1, size=25),
    rng.normal(-0.3, 1, size=26),
    rng.normal(0.1, 1, size=120),
]
differences = [np.round(values, 6) for values in differences]
differences += [
    np.array([0.0, 0.5, -0.25, 0.0, 1.5, 0.75, 3.0]),  # zeros, no ties
    np.array([1.0, 1.0, -1.0, 2.0, 0.0, 2.0, 3.0, -0.5, 1.0]),  # ties: all signs
    np.array([0.01] * 5),
    np.round(rng.normal(0.2, 1, size=14), 0),  # ties and zeros
    np.round(rng.normal(0.4, 1, size=40), 1),
    np.round(rng.normal(0.1, 1, size=300), 1),
]
first, second = np.round(rng.normal(0.3, 1, size=31), 1), np.round(rng.normal(size=18), 1)
p_values = [0.012, 0.03, 0.0004, 0.03, 0.9, 0.011, 0.2, 1.0, 0.0]

golden = {
    "positive": positive.tolist(),
    "scores": scores.tolist(),
    "areas": [metrics.roc_auc_score(positive, s) for s in scores],
    "covariance": covariance.ravel().tolist(),
    "delong_p": [2 * stats.norm.sf(abs(z)) for z in delong_z],
    "delong_z": delong_z,
    "delong_low": stats.norm.ppf(0.05, areas[1], np.sqrt(covariance[1, 1])),
    "delong_high": stats.norm.ppf(0.95, areas[1], np.sqrt(covariance[1, 1])),
    "label_truth": label_truth.ravel().tolist(),
    "label_scores": label_scores.ravel().tolist(),
    "label_areas": metrics.roc_auc_score(label_truth, label_scores, average=None).tolist(),
    "label_macro": metrics.roc_auc_score(label_truth, label_scores, average="macro"),
    "classes": classes.tolist(),
    "class_scores": class_shares.ravel().tolist(),
    "class_areas": metrics.roc_auc_score(classes, class_shares, multi_class="ovr", average=None).tolist(),
    "class_macro": metrics.roc_auc_score(classes, class_shares, multi_class="ovr", average="macro"),
    "signed_rank": [signed_rank(values) for values in differences],
    "t": [corrected_t(differences[2], 0.25, 0.95), corrected_t(differences[0], 1 / 9, 0.8)]
    + [plain_t(differences[index], 0.99) for index in [0, 2, 4]]
    # Far out: what a distribution function gets wrong first.
    + [plain_t(differences[4] + shift, 0.9999) for shift in [1.0, 5.0]],
    "p_values": p_values,
    "holm": multipletests(p_values, method="holm")[1].tolist(),
    "first": first.tolist(),
    "second": second.tolist(),
    "cliffs_delta": np.sign(first[:, None] - second[None, :]).mean(),
    "shares": [
        [count, total, confidence, *stats.binomtest(count, total).proportion_ci(confidence, method="wilson")]
        for count, total, confidence in [(0, 40, 0.95), (3, 40, 0.95), (40, 40, 0.9), (517, 1000, 0.99), (1, 1, 0.5)]
    ],
}
pathlib.Path(__file__).with_name("statistics.json").write_text(json.dumps(golden) + "\n")
