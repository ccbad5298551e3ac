"""The classifier as Keras defines it, step by step over all of the padding, in float64: what the quick one must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LENGTH, UNITS = 100, 50
SHAPES = {
    "forward.kernel": (50, 200),
    "forward.recurrent": (50, 200),
    "forward.bias": (200,),
    "backward.kernel": (50, 200),
    "backward.recurrent": (50, 200),
    "backward.bias": (200,),
    "dense.weight": (100, 50),
    "dense.bias": (50,),
    "labels.weight": (50, 6),
    "labels.bias": (6,),
}


def random_weights(words: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Large enough that gates saturate and states differ."""
    draw = np.random.default_rng(seed)
    shapes = {"embedding": (words, 50), **SHAPES}
    sizes = {"labels.weight": 0.1}
    return {name: (draw.normal(size=shape) * sizes.get(name, 0.4)).astype(np.float32) for name, shape in shapes.items()}


def probabilities(weights: Mapping[str, np.ndarray], tokens: Sequence[int]) -> np.ndarray:
    """(6,) of one text's tokens, at most 100."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    padded = [0] * (LENGTH - len(tokens)) + list(tokens)
    vectors = w["embedding"][padded]
    pooled = np.concatenate([_lstm(vectors, w, "forward"), _lstm(vectors[::-1], w, "backward")], axis=1).max(axis=0)
    hidden = np.maximum(0, pooled @ w["dense.weight"] + w["dense.bias"])
    return 1 / (1 + np.exp(-(hidden @ w["labels.weight"] + w["labels.bias"])))


def _lstm(vectors: np.ndarray, w: Mapping[str, np.ndarray], direction: str) -> np.ndarray:
    """(time, units) output at every step; the maximum over time does not care in which order the steps are told."""
    h, c, told = np.zeros(UNITS), np.zeros(UNITS), []
    for x in vectors:
        z = x @ w[f"{direction}.kernel"] + h @ w[f"{direction}.recurrent"] + w[f"{direction}.bias"]
        i, f = (np.clip(0.2 * z[at : at + UNITS] + 0.5, 0, 1) for at in (0, UNITS))
        o = np.clip(0.2 * z[3 * UNITS :] + 0.5, 0, 1)
        c = f * c + i * np.tanh(z[2 * UNITS : 3 * UNITS])
        h = o * np.tanh(c)
        told.append(h)
    return np.array(told)
