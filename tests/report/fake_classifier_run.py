"""A run folder as a finished run on an image classifier leaves it, with made-up figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from expunge.core.score import Score
from expunge.kinds.classifier.measures.scores import Outputs, image_scores
from expunge.kinds.classifier.recipe import ImageRecipe, ImageVerdict
from expunge.runs.folder import RunFolder
from verdicts import judge_images

SIZES = {"forget": 40, "retain": 120, "test": 60}
CITATION = "SCRUB (Kurmanji, Triantafillou et al. 2023, arXiv:2302.09880, equation 3 and algorithm 1)."


def outputs(seed: int, forget: float, retain: float = 3.0, test: float = 1.5) -> Outputs:
    """Logits of four classes; the numbers are how far the right one stands out."""
    generator = np.random.default_rng(seed)
    logits, labels = {}, {}
    for (split, count), stands_out in zip(SIZES.items(), (forget, retain, test), strict=True):
        labels[split] = np.arange(count) % 4
        logits[split] = generator.normal(size=(count, 4))
        logits[split][np.arange(count), labels[split]] += stands_out
    return Outputs(logits, labels)


def make_classifier_run(path: Path, retrained: bool = True, **record: Any) -> RunFolder:
    """Write a finished run to `path`; `record` replaces parts of the record."""
    folder = RunFolder(path).create()
    recipe = ImageRecipe(data="faces", forget="age <= 12", model="models/age", method={"name": "scrub"})
    folder.recipe.write_text(recipe.to_yaml(), encoding="utf-8")
    models = {"base": outputs(0, 3.0), "unlearned": outputs(1, 1.6), "retrained": outputs(2, 1.5)}
    oracle = models["retrained"] if retrained else models.pop("retrained") and None
    scores: list[Score] = []
    for name, found in models.items():
        stage = folder.stages / f"measured-{name}-0123456789abcdef"
        stage.mkdir()
        found.save(stage / "outputs.npz")
        scores += image_scores(found, name, None if name == "retrained" else oracle, outputs(3, 0.0, 0.0, 0.0))  # type: ignore[arg-type]
    folder.write_scores(scores)
    trained = folder.stages / "unlearned-0123456789abcdef"
    trained.mkdir()
    losses = {"ascent 1": [-0.1, -0.4], "descent 1": [1.2, 1.0, 0.9], "ascent 2": [-0.6], "descent 2": [0.8, 0.7, 0.7]}
    (trained / "trained.json").write_text(json.dumps({"losses": losses}), encoding="utf-8")
    content = {
        "title": "age <= 12 of faces",
        "verdict": judge_images(scores, ImageVerdict(), 0.13),
        "cost": {"seconds_total": 71.0, "seconds": {"unlearned": 8.5}, "peak_memory_bytes": 700 << 20,
                 "image_passes": 4321, "share_of_retraining": 0.13},
        "stopped": "all phases done",
        "method": {"name": "scrub", "settings": {"alpha": 0.001}, "citation": CITATION, "formula": "x = y"},
        "sets": {name: {"pictures": count, "classes": 4} for name, count in SIZES.items()},
        "versions": {"expunge": "0.1.0"},
        "digests": {"forget set": "07" * 32},
        "not_tested": ["Attacks on single pictures."],
        "warnings": ["Near-duplicates: 3 pictures of the retain set look like one of the forget set."],
        **record,
    }  # fmt: skip
    folder.record.write_text(json.dumps(content), encoding="utf-8")
    return folder
