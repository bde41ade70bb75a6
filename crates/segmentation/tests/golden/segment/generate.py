"""Writes segment.safetensors: small attention maps and features, and what plain NumPy and SciPy make of them.

DiffSeg is written here from its description (every distance by its definition, not by matrix products), normalised
cuts by the dense generalised eigenproblem of scipy.linalg.eigh and a search through all places of the eigenvector.
Inputs are stored in f32 and computed on in f64. Choices that hang on a threshold are refused where a value lies so
near to it that rounding in f32 could turn them. Needs numpy, scipy and safetensors: `python generate.py`.
"""

import pathlib

import numpy as np
from safetensors.numpy import save_file
from scipy import linalg, ndimage

rng = np.random.default_rng(3)
record = {}


def keep(name, values, dtype=np.float32):
    record[name] = np.ascontiguousarray(np.asarray(values).astype(dtype))
    return record[name].astype(np.float64)


def attention(height, width, regions, sharpness):
    """Smooth maps: a token looks at its region and its neighbourhood, with some noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    place = np.stack([rows.ravel() / height, columns.ravel() / width], 1)
    region = regions(place[:, 0], place[:, 1])
    apart = ((place[:, None] - place[None]) ** 2).sum(-1)
    noise = ndimage.gaussian_filter(rng.normal(size=(height * width, height, width)), (0, 1, 1))
    scores = sharpness * (region[:, None] == region[None]) - 3 * apart + 0.5 * noise.reshape(apart.shape)
    scores = np.exp(scores)
    return scores / scores.sum(1, keepdims=True)


def lungs(row, column):
    left = ((row - 0.5) / 0.38) ** 2 + ((column - 0.28) / 0.17) ** 2 < 1
    right = ((row - 0.5) / 0.38) ** 2 + ((column - 0.72) / 0.17) ** 2 < 1
    return left + 2 * right


def bilinear(maps, height, width):
    """The last two axes enlarged, pixel centres at half-integers, edges repeated."""
    def along(values, axis, size):
        source = values.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * source / size - 0.5, 0, source - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, source - 1)
        shape = [1] * values.ndim
        shape[axis] = size
        share = (at - low).reshape(shape)
        return values.take(low, axis) * (1 - share) + values.take(high, axis) * share

    return along(along(maps, -2, height), -1, width)


def aggregate(maps, finest):
    """`maps`: pairs of grid and [tokens, tokens]."""
    height, width = finest
    total, weights = 0, 0
    for (rows, columns), values in maps:
        fine = bilinear(values.reshape(rows * columns, rows, columns), height, width)
        fine /= fine.sum((1, 2), keepdims=True)
        row = ((np.arange(height) + 0.5) * rows / height).astype(int)
        column = ((np.arange(width) + 0.5) * columns / width).astype(int)
        token = (row[:, None] * columns + column[None]).ravel()
        weight = np.sqrt(rows * columns)
        total = total + weight * fine[token].reshape(height * width, height * width)
        weights += weight
    return total / weights


def apart(p, q):
    log_p, log_q = np.log(np.maximum(p, 1e-12)), np.log(np.maximum(q, 1e-12))
    return 0.5 * ((p * (log_p - log_q)).sum(-1) + (q * (log_q - log_p)).sum(-1))


def near(p, q, threshold):
    distance = apart(p, q)
    assert (np.abs(distance - threshold) > 2e-5).all(), "a distance lies too near to the threshold"
    return distance < threshold


def diffseg(maps, grid, anchors, threshold, iterations):
    height, width = grid
    rows, columns = (np.floor((np.arange(anchors) + 0.5) * side / anchors - 0.5).astype(int) for side in grid)
    positions = (rows[:, None] * width + columns[None]).ravel()
    proposals = [maps[near(maps[position], maps, threshold)].mean(0) for position in positions]
    for _ in range(1, iterations):
        proposals = np.array(proposals)
        matched, merged = set(), []
        for index in range(len(proposals)):
            if index not in matched:
                close = near(proposals[index], proposals, threshold)
                matched.update(np.flatnonzero(close))
                merged.append(proposals[close].mean(0))
        proposals = merged
    return np.array(proposals)


def labels(proposals, grid, size):
    return bilinear(proposals.reshape(-1, *grid), *size).argmax(0)


def case(name, maps, finest, anchors, threshold, iterations, size):
    maps = [(grid, keep(f"{name}.maps.{index}", values)) for index, (grid, values) in enumerate(maps)]
    joined = aggregate(maps, finest)
    if len(maps) > 1:
        keep(f"{name}.joined", joined)
    proposals = diffseg(joined, finest, anchors, threshold, iterations)
    keep(f"{name}.proposals", proposals)
    found = labels(proposals, finest, size)
    top = np.sort(bilinear(proposals.reshape(-1, *finest), *size), 0)
    # Where the two largest maps are within rounding, the label says nothing; -1 there.
    if len(top) > 1:
        found = np.where(top[-1] - top[-2] > 1e-5 * top[-1], found, -1)
    assert (found >= 0).mean() > 0.99
    record[f"{name}.labels"] = found.astype(np.int32)
    print(name, "proposals", len(proposals), "labels", len(np.unique(found)))


case("two", [((8, 8), attention(8, 8, lungs, 1.5)), ((4, 4), attention(4, 4, lungs, 1.0))], (8, 8), 4, 0.15, 3, (37, 41))
case("one", [((16, 16), attention(16, 16, lungs, 2.0))], (16, 16), 8, 0.30, 3, (64, 64))
# Sides that are no multiples of each other, and not square.
case("odd", [((9, 7), attention(9, 7, lungs, 1.5)), ((5, 4), attention(5, 4, lungs, 1.0))], (9, 7), 3, 0.12, 2, (30, 25))


def second(weights):
    degrees = weights.sum(1)
    values, vectors = linalg.eigh(np.diag(degrees) - weights, np.diag(degrees))
    assert len(values) < 3 or values[2] - values[1] > 1e-4, "the second eigenvector is not well determined"
    vector = vectors[:, 1]
    return vector * np.sign(vector[np.abs(vector).argmax()])


def best(weights, vector):
    degrees = weights.sum(1)
    costs = []
    for limit in np.sort(vector)[:-1]:
        side = (vector <= limit).astype(float)
        cut = side @ weights @ (1 - side)
        costs.append(cut / (degrees @ side) + cut / (degrees @ (1 - side)))
    cost = min(costs)
    return cost, vector <= np.sort(vector)[int(np.argmin(costs))]


def recursive(weights, tokens, threshold, found):
    if len(tokens) > 1:
        part = weights[np.ix_(tokens, tokens)]
        cost, side = best(part, second(part))
        assert abs(cost - threshold) > 1e-4, "a cost lies too near to the threshold"
        if cost < threshold:
            found.append(cost)
            return recursive(weights, tokens[side], threshold, found) + recursive(weights, tokens[~side], threshold, found)
    return [tokens]


def partition(weights, threshold):
    found = []
    result = np.empty(len(weights), int)
    parts = recursive(weights, np.arange(len(weights)), threshold, found)
    for label, part in enumerate(sorted(parts, key=min)):
        result[part] = label
    return result, sorted(found)


def cosine_weights(features, alpha):
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = directions @ directions.T
    return ((similarity - similarity.min()) / (similarity.max() - similarity.min())) ** alpha


GRID = (14, 12)  # More tokens than are solved whole.
rows, columns = np.mgrid[0:14, 0:12]
regions = lungs(rows.ravel() / 14, columns.ravel() / 12)
centres = rng.normal(size=(3, 10))
features = keep("cut.features", centres[regions] + 0.45 * rng.normal(size=(len(regions), 10)))
weights = cosine_weights(features, 10)
keep("cut.eigenvector", second(weights))
for threshold in (0.2, 0.5):
    found, costs = partition(weights, threshold)
    record[f"cut.labels.{threshold}"] = found.astype(np.int32)
    keep(f"cut.costs.{threshold}", costs)
    print("cut", threshold, "segments", found.max() + 1, costs)

# The walk of two steps on the attention of case "one", its flow and its cut.
walk = record["one.maps.0"].astype(np.float64)
walk /= walk.sum(1, keepdims=True)
values, vectors = linalg.eig(walk, left=True, right=False)
long_run = np.abs(vectors[:, np.argmax(values.real)].real)
long_run /= long_run.sum()
flow = long_run[:, None] * (walk @ walk)
flow = (flow + flow.T) / 2
keep("walk.long_run", long_run)
cost, side = best(flow, second(flow))
keep("walk.cost", [cost])
leaving = (walk @ walk)[side][:, ~side].sum(1) @ long_run[side] / long_run[side].sum()
entering = (walk @ walk)[~side][:, side].sum(1) @ long_run[~side] / long_run[~side].sum()
keep("walk.leaving", [leaving, entering])
print("walk", cost, leaving + entering)


def objects(features, grid, threshold, count, corners_rule):
    """MaskCut as published, except that it ends with the first object that is left out, and that the smallest size
    is asked of what is new in an object."""
    features = features.copy()
    painted = np.zeros(len(features), bool)
    masks, before = [], None
    for _ in range(count):
        length = np.linalg.norm(features, axis=1, keepdims=True)
        directions = features / np.where(length > 0, length, 1)
        similarity = directions @ directions.T
        assert (np.abs(similarity - threshold) > 1e-6).all()
        vector = second(np.where(similarity > threshold, 1.0, 1e-5))
        side = vector > vector.mean()
        assert (np.abs(vector - vector.mean()) > 1e-5 * np.abs(vector).max()).all()
        corners = side.reshape(grid)[[0, 0, -1, -1], [0, -1, 0, -1]].sum()
        if corners_rule and corners >= 3:
            side, vector = ~side, -vector
        pieces, _ = ndimage.label(side.reshape(grid))
        piece = (pieces == pieces.ravel()[vector.argmax()]).ravel()
        if before is not None:
            overlap = (before & piece).sum() / (before | piece).sum()
            if overlap > 0.5 or (piece & ~painted).mean() <= 0.01:
                break
        masks.append(piece & ~painted)
        painted |= piece
        features[piece] = 0
        before = piece
    return np.array(masks)


# Two objects that are unlike the background and each other.
patches = keep("objects.features", np.eye(3, 10)[regions] + 0.13 * rng.normal(size=(len(regions), 10)))
for name, threshold, count, rule in (("token_cut", 0.2, 1, False), ("mask_cut", 0.15, 3, True)):
    found = objects(patches, GRID, threshold, count, rule)
    record[f"objects.{name}"] = found.astype(np.int32)
    print(name, found.sum(1), [(found[i] & (regions == r)).sum() for i in range(len(found)) for r in range(3)])

save_file(record, pathlib.Path(__file__).with_name("segment.safetensors"))
print(sum(values.nbytes for values in record.values()) // 1024, "KiB")
