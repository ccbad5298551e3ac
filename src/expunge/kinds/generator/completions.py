"""What one generator draws and gives away, as stages; and what of it a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from expunge.core import storage
from expunge.core.score import Score, Which
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.feature_network import LAYERS, FeatureNetwork
from expunge.kinds.generator.judge_network import measured_part, perceptual, seen
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
from expunge.kinds.generator.model import load_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import evaluation_keys
from expunge.kinds.generator.sets import GeneratorSets
from expunge.models.source import ModelSource
from expunge.runs.context import Run


def measure(
    run: Run[GeneratorRecipe],
    source: ModelSource,
    sets: GeneratorSets,
    corruption: Corruption,
    network: FeatureNetwork,
    digest: str,
    which: Which,
) -> dict[str, Completions]:
    """One model's completions of every split, and the network's outputs on them, as a stage."""

    def make(path: Path) -> None:
        task = load_generator(source, sets.size, corruption)
        found = {}
        for split in SPLITS:
            pictures = measured_part(sets.tensors[split], run.recipe.evaluation.pictures)
            if not len(pictures):
                continue
            keys = evaluation_keys(run.recipe.seed, split, len(pictures))
            completed = task.completions(pictures, keys)
            hidden = corruption.hidden(keys, sets.size)
            said = seen(network, completed, hidden, corruption.patch)
            found[split] = Completions(completed.numpy(), said, perceptual(network, completed, pictures.pixels))
        save_completions(found, path / "completions.npz")

    made_from = {
        "which": which,
        "model": source.digest,
        "sets": sets.digests(),
        "corruption": [corruption.name, corruption.value, corruption.patch],
        "network": digest,
        "pictures": run.recipe.evaluation.pictures,
        "perceptual": LAYERS,
        "seed": run.recipe.seed,
    }
    return load_completions(
        run.cached(f"measured-{which}", made_from, make, f"measuring the {which} model") / "completions.npz"
    )


def attacker_of(recipe: GeneratorRecipe, sets: GeneratorSets) -> Attacker | None:
    """The relearning attacker; None if attacks are off or there are too few pictures."""
    count, lost = recipe.evaluation.attack_pictures, sets.tensors["forget"]
    count = min(count, len(lost) // 2)
    if not count:
        return None
    end = min(len(lost), count + recipe.evaluation.pictures)
    return Attacker(
        owned=lost.take(torch.arange(count)),
        others=measured_part(sets.tensors["retain"], recipe.evaluation.pictures),
        aimed=lost.take(torch.arange(count, end)),
        steps=recipe.evaluation.attack_steps,
        seed=recipe.seed,
    )


def attack(
    run: Run[GeneratorRecipe],
    source: ModelSource,
    sets: GeneratorSets,
    corruption: Corruption,
    attacker: Attacker,
    which: Which,
) -> list[Score]:
    """What attacks bring back from one model, as a stage."""

    def make(path: Path) -> None:
        found = leaks(load_generator(source, sets.size, corruption), attacker)
        storage.write_json(path / "leaks.json", {name: values.tolist() for name, values in found.items()})

    made_from = {
        "which": which,
        "model": source.digest,
        "sets": sets.digests(),
        "corruption": [corruption.name, corruption.value, corruption.patch],
        "evaluation": [
            run.recipe.evaluation.pictures,
            run.recipe.evaluation.attack_pictures,
            run.recipe.evaluation.attack_steps,
        ],
        "seed": run.recipe.seed,
    }
    stored = storage.read_json(
        run.cached(f"attacked-{which}", made_from, make, f"attacking the {which} model") / "leaks.json"
    )
    return leak_scores({name: np.array(values) for name, values in stored.items()}, which)


def draw_pictures(
    run: Run[GeneratorRecipe],
    sets: GeneratorSets,
    corruption: Corruption,
    originals: Mapping[str, Originals],
    completions: Mapping[Which, Mapping[str, Completions]],
) -> None:
    """The pictures and features that the report shows, as `stages/shown/shown.npz`, rewritten each time."""
    arrays: dict[str, np.ndarray] = {}
    for split in ("forget", "retain_test"):
        count = min(run.recipe.evaluation.grid, len(originals[split].pictures))
        pixels = torch.from_numpy(originals[split].pictures[:count])
        keys = evaluation_keys(run.recipe.seed, split, len(originals[split].pictures))[:count]
        unit = pixels.float() / 255
        shown = corruption.shown(unit, keys, corruption.hidden(keys, sets.size)) if count else unit
        arrays[f"original-{split}"] = pixels.numpy()
        arrays[f"corrupted-{split}"] = (shown * 255).round().to(torch.uint8).numpy()
        for which, found in completions.items():
            arrays[f"{which}-{split}"] = found[split].pictures[:count]
    groups = {f"original-{split}": originals[split].seen.features for split in ("retain_test", "forget")}
    for which, found in completions.items():
        groups |= {f"{which}-{split}": found[split].seen.features for split in ("retain_test", "forget")}
    arrays |= {f"plane-{name}": plane for name, plane in principal_components(groups).items()}
    path = run.folder.stages / "shown"
    with storage.folder_aside(path) as aside:
        np.savez(aside / "shown.npz", allow_pickle=False, **arrays)
