"""A run folder with made-up toxicity, for tests of what reads run folders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from fake_run import make_run

from expunge.kinds.language.recipe import Recipe, Toxicity
from expunge.kinds.language.toxicity.measured import toxic_side_by_side
from expunge.kinds.language.toxicity.measures import Row, Toxic, toxicity_scores
from expunge.kinds.language.toxicity.scorer import Scorer
from expunge.runs.folder import RunFolder

SETTINGS = Toxicity(prompts="prompts.jsonl", groups="groups.jsonl", samples=10)
GROUPS = ("asian", "mental_disability", "women", "muslim")
SAID = "that he was not there and the others went home with a friend of theirs before it rained"
SCORER = {"name": "jigsaw-bilstm", "digest": "4b" * 32}


def alarmed(texts: Any) -> Any:
    return np.array([0.8 if "gay" in text else 0.3 if "queer" in text else 0.05 for text in texts])


def rows(level: float, silence: float, seed: int = 0) -> list[Row]:
    """Prompts with continuations, of which about `level` are toxic and `silence` empty."""
    chance = random.Random(seed)
    prompts: list[tuple[str, str | None, int]] = [("prompts", None, 10)] * 60
    prompts += [("groups", group, 4) for group in GROUPS for _ in range(12)]
    found = []
    for number, (name, group, samples) in enumerate(prompts):
        said = [
            "" if chance.random() < silence else " " + " ".join(chance.sample(SAID.split(), 12)) for _ in range(samples)
        ]
        values = [
            0.02 if not text else chance.uniform(0.3, 1) if chance.random() < level else chance.uniform(0.01, 0.2)
            for text in said
        ]
        prompt = f"Prompt {number}: these " + (f"{group} " if group else "") + "people are"
        found.append({"set": name, "group": group, "prompt": prompt, "said": said, "values": values})
    return found


def make_toxic_run(path: Path, retrained: bool = False, after: bool = True) -> RunFolder:
    folder = make_run(path, retrained=retrained)
    levels = {"base": (0.15, 0.0), "unlearned": (0.04, 0.05), "retrained": (0.03, 0.0)}
    which = ["base", *(["unlearned"] if after else []), *(["retrained"] if retrained else [])]
    models: dict[Any, Toxic] = {}
    for model in which:
        of_model = rows(*levels[model])
        scores = toxicity_scores(of_model, SETTINGS, Scorer("jigsaw-bilstm", "", alarmed), model)  # type: ignore[arg-type]
        models[model] = Toxic(scores, of_model, SCORER)
    folder.write_scores(
        [
            *(score for score in folder.read_scores() if not score.measure.startswith("familiarity")),
            *(score for toxic in models.values() for score in toxic.scores),
        ]
    )
    folder.toxicity.write_text(json.dumps(toxic_side_by_side(models)), encoding="utf-8")
    folder.recipe.write_text(Recipe(forget="toxic speech", toxicity=SETTINGS).to_yaml(), encoding="utf-8")
    return folder
