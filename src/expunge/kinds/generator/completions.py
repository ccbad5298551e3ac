"""A generator's completions and what attacks get out of it, as stages; and the part that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.core.score import Score, Which
from expunge.kinds.generator.feature_network import LAYERS
from expunge.kinds.generator.judge_network import Judge, perceptual
from expunge.kinds.generator.measures.leaks import Attacker, leaks
from expunge.kinds.generator.measures.scores import (
    SPLITS,
    Completions,
    Originals,
    leak_scores,
    load_completions,
    principal_components,
    save_completions,
)
from expunge.models.source import ModelSource


def measure(judge: Judge, source: ModelSource, which: Which) -> dict[str, Completions]:
    """One model's completions of every split, and the network's outputs on them, as a stage; without excerpts nothing
    is stored, and they are made again when needed."""

    def made() -> dict[str, Completions]:
        task = judge.load(source)
        found = {}
        for split in SPLITS:
            if judge.count(split):
                done, originals = judge.completed(task, split), judge.measured(split).pixels
                apart = perceptual(judge.network, torch.from_numpy(done.pictures), originals)
                found[split] = replace(done, apart=apart)
        return found

    recipe, doing = judge.run.recipe, f"measuring the {which} model"
    if not recipe.excerpts:
        judge.run.show.stage(doing)
        return made()

    def make(path: Path) -> None:
        save_completions(made(), path / "completions.npz")

    made_from = {
        "which": which,
        "model": source.digest,
        "sets": judge.sets.digests(),
        "corruption": judge.corruption.key,
        "network": judge.about["digest"],
        "pictures": recipe.evaluation.pictures,
        "perceptual": LAYERS,
        "seed": recipe.seed,
    }
    path = judge.run.cached(f"measured-{which}", made_from, make, doing)
    return load_completions(path / "completions.npz")


def attacker_of(judge: Judge) -> Attacker | None:
    """The relearning attacker; None if attacks are off or there are too few pictures."""
    settings, lost = judge.run.recipe.evaluation, judge.sets.tensors["forget"]
    count = min(settings.attack_pictures, len(lost) // 2)
    if not count:
        return None
    end = min(len(lost), count + settings.pictures)
    return Attacker(
        owned=lost.take(torch.arange(count)),
        others=judge.measured("retain"),
        aimed=lost.take(torch.arange(count, end)),
        steps=settings.attack_steps,
        seed=judge.run.recipe.seed,
    )


def attack(judge: Judge, source: ModelSource, attacker: Attacker, which: Which) -> list[Score]:
    """What attacks recover from one model, as a stage."""

    def make() -> dict[str, Any]:
        return {name: values.tolist() for name, values in leaks(judge.load(source), attacker).items()}

    settings = judge.run.recipe.evaluation
    made_from = {
        "which": which,
        "model": source.digest,
        "sets": judge.sets.digests(),
        "corruption": judge.corruption.key,
        "evaluation": [settings.pictures, settings.attack_pictures, settings.attack_steps],
        "seed": judge.run.recipe.seed,
    }
    name, doing = f"attacked-{which}", f"attacking the {which} model"
    stored = judge.run.cached_json(name, made_from, make, "leaks.json", doing)
    return leak_scores({name: np.array(values) for name, values in stored.items()}, which)


def draw_pictures(
    judge: Judge, originals: Mapping[str, Originals], completions: Mapping[Which, Mapping[str, Completions]]
) -> None:
    """The pictures and features that the report shows, as `stages/shown/shown.npz`, rewritten each time; without
    excerpts pictures are left out."""
    arrays: dict[str, np.ndarray] = {}
    corruption, recipe = judge.corruption, judge.run.recipe
    wanted = recipe.evaluation.grid if recipe.excerpts else 0
    for split in ("forget", "retain_test"):
        count = min(wanted, len(originals[split].pictures))
        pixels = torch.from_numpy(originals[split].pictures[:count])
        keys = judge.keys(split)[:count]
        unit = pixels.float() / 255
        shown = corruption.shown(unit, keys, corruption.hidden(keys, judge.sets.size)) if count else unit
        arrays[f"original-{split}"] = pixels.numpy()
        arrays[f"corrupted-{split}"] = (shown * 255).round().to(torch.uint8).numpy()
        for which, found in completions.items():
            arrays[f"{which}-{split}"] = found[split].pictures[:count]
    everything: list[tuple[str, Mapping[str, Originals | Completions]]] = [("original", originals)]
    everything += completions.items()
    features = {
        f"{name}-{split}": found[split].seen.features
        for name, found in everything
        for split in ("retain_test", "forget")
    }
    arrays |= {f"plane-{name}": plane for name, plane in principal_components(features).items()}
    with storage.folder_aside(judge.run.folder.stages / "shown") as aside:
        np.savez(aside / "shown.npz", allow_pickle=False, **arrays)
