"""A contest's folder with made-up models: logits of forgotten pictures, and the figures computed from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.measures.privacy.confidence import logit_scaled_confidence
from expunge.measures.privacy.thresholds import epsilon_of
from expunge.runs.folder import RunFolder

CLASSES = ("cat", "dog", "fox")


def write_pictures(folder: Path, count: int) -> str:
    """Grey squares in class folders; the data of a recipe."""
    for number in range(count):
        path = folder / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 9 % 256,) * 3).save(path)
    return str(folder)


def known(value: float, width: float = 0.02) -> dict[str, float | None]:
    return {"value": value, "low": max(0.0, value - width), "high": value + width}


def row(name: str, epsilons: list[float], place: int, **more: Any) -> dict[str, Any]:
    forgetting = float(np.mean(2.0 / 2.0 ** (1 + np.floor(2 * np.minimum(epsilons, 6)))))
    return {
        "name": name,
        "citation": f"The method {name} (Somebody 2023).",
        "settings": {"method": {"name": name, "epochs": 3 + place}, "unlearning": {}},
        "group": f"{name}-0123abcd",
        "forgetting": known(forgetting),
        "retain_ratio": known(1.0 - 0.01 * place),
        "test_ratio": known(1.0 - 0.015 * place),
        "score": known(forgetting * 0.9),
        "share_of_ceiling": known(0.8 - 0.02 * place, 0.1),
        "compute_share": 0.05 + 0.01 * place,
        "over_budget": False,
        "cpu_seconds": 1.0,
        "cpu_share": 0.1,
        "epsilons": epsilons,
        "notes": [],
        "accuracy": {"forget": 0.7, "retain": 0.9, "test": 0.6},
        "tug_of_war": 0.9,
        "ulira": {"auc": known(0.6), "accuracy": known(0.55)},
        "ruli": {"auc": known(0.61)},
        "membership_auc": 0.51,
        **more,
    }


def make_contest(
    path: Path, methods: int = 3, models: int = 12, pictures: int = 15, data: str = "nowhere", **fields: Any
) -> RunFolder:
    """Write a finished contest to `path`: method 0 is near to retraining, later ones are further away."""
    generator = np.random.default_rng(0)
    folder = RunFolder(path).create()
    folder.recipe.write_text(ImageRecipe(data=data, forget="random:0.02").to_yaml(), encoding="utf-8")
    labels = np.arange(pictures) % 3

    def group(name: str, shift: np.ndarray) -> np.ndarray:
        place = folder.path / "results" / name
        place.mkdir(parents=True)
        found = []
        for seed in range(models):
            logits = generator.normal(size=(pictures, 3))
            logits[np.arange(pictures), labels] += shift
            np.savez(place / f"{seed:04d}.npz", logits_forget=logits.astype(np.float32))
            found.append(logit_scaled_confidence(logits, labels))
        return np.stack(found, axis=1)

    hard = np.linspace(0, 2, pictures)
    oracle, again = group("retrained", hard), group("independent", hard)

    def against(ours: np.ndarray) -> list[float]:
        return [float(epsilon_of(a, b)) for a, b in zip(ours, oracle, strict=True)]

    rows = []
    for place in range(methods):
        name = f"method_{place}"
        rows.append(row(name, against(group(f"{name}-0123abcd", hard + 0.4 * place * hard)), place))
    if methods > 1:
        rows[-1] |= {"over_budget": True, "compute_share": 0.31, "notes": ["Over budget: the score is 0."],
                     "score": {"value": 0.0, "low": 0.0, "high": 0.0}}  # fmt: skip
    ceiling = row("retrained again", against(again), 0, share_of_ceiling=None, compute_share=1.0, cpu_share=1.0)
    figures = {
        "models": models,
        "examples": pictures,
        "budget": 0.2,
        "retrained_accuracy": {"forget": 0.6, "retain": 0.95, "test": 0.6},
        "ceiling": ceiling,
        "methods": rows,
        "classes": list(CLASSES),
        "forget_labels": labels.tolist(),
        "data": {"forget": {"pictures": pictures, "classes": 3}, "retain": {"pictures": 900, "classes": 3}},
        "notes": [],
        "forget_ids": [f"{CLASSES[n % 3]}/{n}.png" for n in range(pictures)],
        "versions": {"expunge": "0.1.0"},
        "peak_memory_bytes": 1 << 30,
        **fields,
    }
    (folder.path / "contest.json").write_text(json.dumps(figures), encoding="utf-8")
    return folder
