"""Measures that compare pictures with pictures: pure functions of arrays."""

from __future__ import annotations

import math

import numpy as np

from expunge.errors import DataError
from expunge.measures.statistics import RESAMPLES, Estimate, bootstrap_interval, share_interval

FRECHET_RESAMPLES = 100
"bootstrap resamples of a Fréchet distance, each of which costs a decomposition"
FEWEST = 8
"pictures below which a covariance is meaningless"
LARGEST_PSNR = 100.0
"dB that stand for no error"


def frechet_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2)) of features (n, d) and (m, d) (Heusel et al. 2017, arXiv:1706.08500).

    0 for the same features. With few pictures it is too large for every model, so only values over the same
    number of pictures are comparable.
    """
    return _frechet(*_features(ours, theirs))


def _frechet(a: np.ndarray, b: np.ndarray) -> float:
    difference = a.mean(0) - b.mean(0)
    one, other = _root(a), _root(b)
    # tr((S S')^(1/2)) is the sum of the singular values of the product of the roots, and needs no root of a product
    mixed = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return float(max(0.0, difference @ difference + (one**2).sum() + (other**2).sum() - 2 * mixed))


def _root(x: np.ndarray) -> np.ndarray:
    """(rows, d) whose product with itself is the covariance of x (n, d); at most d rows."""
    scaled = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(scaled, mode="r")) if len(x) > x.shape[1] else scaled


def frechet(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """`frechet_distance` of features of completions and of their originals, row by row, with a 95 % interval.

    Pictures are resampled with their originals, which repeats pictures and so raises the distance: see
        `_with_interval`.
    """
    a, b = _features(ours, theirs)
    value, generator = _frechet(a, b), np.random.default_rng(0)
    if len(a) != len(b):
        raise DataError("Completions and originals do not match", seen=f"{len(a)} and {len(b)}")
    rows = (generator.integers(0, len(a), len(a)) for _ in range(FRECHET_RESAMPLES))
    return _with_interval(value, [_frechet(a[chosen], b[chosen]) for chosen in rows], least=0.0)


def inception_style(probabilities: np.ndarray) -> Estimate:
    """exp of the mean KL divergence of each picture's classes from those of all (Salimans et al. 2016,
    arXiv:1606.03498).

    From 1 (every picture has the classes of all together) to the number of classes. (n, classes) probabilities.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    value, generator = _inception(p), np.random.default_rng(0)
    drawn = [_inception(p[generator.integers(0, len(p), len(p))]) for _ in range(RESAMPLES // 10)]
    return _with_interval(value, drawn, least=1.0)


def _with_interval(value: float, drawn: list[float], least: float) -> Estimate:
    """A value with the interval of its resampled values, moved so that their median is the value."""
    low, middle, high = np.percentile(drawn, [2.5, 50, 97.5])
    return Estimate(value, max(least, value - (middle - low)), value + (high - middle))


def _inception(p: np.ndarray) -> float:
    mean = p.mean(0, keepdims=True)
    terms = p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(mean, 1e-300)))
    return float(max(1.0, math.exp(terms.sum(1).mean())))


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n,) cosine of the features of each completion and its original; 0 if one of them is 0."""
    a, b = _features(ours, theirs, 1)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.divide((a * b).sum(1), norms, out=np.zeros(len(a)), where=norms > 0))


def psnr(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n,) peak signal-to-noise ratio in dB of uint8 pictures (n, ...): 10 log10(255^2 / mean squared error)."""
    a, b = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (ours, theirs))
    error = ((a - b) ** 2).mean(1)
    return np.asarray(np.minimum(LARGEST_PSNR, 10 * np.log10(255.0**2 / np.maximum(error, 1e-12))))


def ssim(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n,) structural similarity of uint8 pictures (n, channels, height, width) (Wang et al. 2004, equation 13).

    Gaussian window of 11 pixels with standard deviation 1.5, at places where it fits whole; K1 = 0.01, K2 = 0.03; the
    mean over places and channels. 1 for the same picture.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (ours, theirs))
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < 11:
        raise DataError("Pictures do not match", seen=f"{a.shape} and {b.shape}", allowed="the same, 11 pixels or more")
    return np.concatenate([_ssim(a[i : i + 64], b[i : i + 64]) for i in range(0, len(a), 64)] or [np.empty(0)])


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    found = (2 * mean_a * mean_b + one) * (2 * both + two) / ((mean_a**2 + mean_b**2 + one) * (var_a + var_b + two))
    return np.asarray(found.mean((1, 2, 3)))


def _blurred(pictures: np.ndarray) -> np.ndarray:
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    height, width = pictures.shape[2] - 10, pictures.shape[3] - 10
    rows = sum(weight * pictures[:, :, i : i + height] for i, weight in enumerate(window))
    return np.asarray(sum(weight * rows[:, :, :, i : i + width] for i, weight in enumerate(window)))


def nearest_rows(
    queries: np.ndarray, gallery: np.ndarray, weights: np.ndarray, barred: np.ndarray | None = None
) -> np.ndarray:
    """(n,) row of the gallery nearest to each query by squared difference, over the pixels that count for the query.

    Args:
        queries: (n, channels, pixels) completions; gallery: (m, channels, pixels) originals.
        weights: (n, pixels) 1 where the model drew, 0 if it was shown the original.
        barred: (n,) a row of the gallery that is excluded for the query.
    """
    found = np.empty(len(queries), np.int64)
    flat = gallery.reshape(len(gallery), -1).astype(np.float32)
    squares = flat**2
    for start in range(0, len(queries), 64):
        part = slice(start, start + 64)
        weight = np.repeat(weights[part][:, None], gallery.shape[1], 1).reshape(len(queries[part]), -1)
        weight = weight.astype(np.float32)
        query = queries[part].reshape(len(weight), -1).astype(np.float32)
        distance = weight @ squares.T - 2 * (weight * query) @ flat.T  # the query's own square is the same for all
        if barred is not None:
            distance[np.arange(len(distance)), barred[part]] = np.inf
        found[part] = distance.argmin(1)
    return found


def finds_itself(queries: np.ndarray, gallery: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) 1 where the row of the gallery nearest to a query (see `nearest_rows`) is the query's own, else 0."""
    return (nearest_rows(queries, gallery, weights) == np.arange(len(queries))).astype(float)


def mean(values: np.ndarray) -> Estimate:
    """Mean of unbounded values, one a picture."""
    return Estimate(*bootstrap_interval(values.tolist()))


def share(values: np.ndarray) -> Estimate:
    """Mean of values from 0 to 1, one a picture."""
    return Estimate(*share_interval(values.tolist()))


def _features(ours: np.ndarray, theirs: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise DataError(
            "Features do not match", seen=f"{a.shape} and {b.shape}", allowed=f"(n, d), (m, d), n {least} or more"
        )
    return a, b
