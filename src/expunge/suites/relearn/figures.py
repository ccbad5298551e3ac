"""Figures of the suite, from its models' results; no model is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expunge.kinds.language.attacks.relearning import OfTraining
from expunge.kinds.language.damage import summed_up
from expunge.measures.audit.excess import Known, excess, knows_more
from expunge.runs.audit import Attacked, Trial
from expunge.suites.relearn.attacking import Found
from expunge.suites.tofu.cells import Cell, is_tuned

Seeds = Mapping[int, Found]
"seed -> the results of a model with it"


def method_row(
    cells: Sequence[tuple[Cell, Mapping[str, Any], Found | None]],
    oracle: Seeds,
    base: Seeds,
    attacks: Sequence[OfTraining],
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(the figures of a method's models, and which of them failed); None if there are none."""
    first = cells[0][0]
    settings = first.recipe.model_dump(mode="json", include={"method", "training"})
    row = {"name": first.method, "group": first.group, "settings": settings, "tuned": is_tuned(first.method, settings)}
    made = {cell.seed: found for cell, _, found in cells if found is not None}
    reasons = sorted({spent["failed"] for _, spent, _ in cells if spent["failed"]})
    failed = None
    if reasons:
        failed = row | {"models": len(cells) - len(made), "of": len(cells), "reason": "; ".join(reasons)}
    if not made:
        return None, failed
    spent = [each for _, each, found in cells if found is not None]
    scales = [found.scale for found in made.values() if found.scale is not None]
    notes = sorted({each[name] for each in spent for name in ("stopped", "warning") if each[name]})
    return row | model_row(made, oracle, base, attacks) | {
        "seconds": float(np.mean([each["seconds"] for each in spent])), "notes": notes,
        "scale": float(np.mean(scales)) if scales else None}, failed  # fmt: skip


def model_row(models: Seeds, oracle: Seeds, base: Seeds, attacks: Sequence[OfTraining]) -> dict[str, Any]:
    """Results over seeds. Each fact counts with its mean over seeds, and the oracle's over the same seeds; intervals
    are over facts. A setting counts by its mean over seeds, so that the worst one is the same for all.

    Args:
        models, oracle, base: the models, those that never saw the facts, the taught one.
    """
    row = _over(list(models.values()), [oracle[seed] for seed in models], base, attacks)
    singles = []
    for seed, found in models.items():
        own = _over([found], [oracle[seed]], base, attacks)
        values = {name: each["value"] for name, each in own["excess"].items()}
        singles.append({"seed": seed, **values, "kl": own["damage"]["kl"][0]})
    return {**row, "seeds": singles}


def _over(
    models: Sequence[Found], oracle: Sequence[Found], base: Seeds, attacks: Sequence[OfTraining]
) -> dict[str, Any]:
    known = {
        "unlearned": mean_trial([each.known for each in models]),
        "control": mean_trial([each.known for each in oracle]),
        "base": next(iter(base.values())).known,
    }
    attacked = [
        Attacked(
            name=attack.name,
            title=attack.title,
            sentence=attack.sentence,
            unlearned=mean_trials([each.trials[attack.name] for each in models]),
            control=mean_trials([each.trials[attack.name] for each in oracle]),
        )
        for attack in attacks
    ]
    found = {"as_is": strongest([known["unlearned"]], [known["control"]], known)}
    found |= {each.name: strongest(each.unlearned, each.control, known) for each in attacked}
    return {
        "excess": found,
        "damage": summed_up(mean_values([each.damage for each in models])),
        "attacks": [each.row() for each in attacked],
    }


def strongest(unlearned: Sequence[Trial], control: Sequence[Trial], known: Mapping[str, Trial]) -> dict[str, Any]:
    """The setting of an attack with the most recovery: its excess with the interval of that setting, what the model
    knows under it, and the control; the excess is None if the taught model knew no more than the control.

    Args:
        known: without an attack, of all facts: `base` and `control`.
    """
    rows = []
    for own, other in zip(unlearned, control, strict=True):
        values = Known(
            unlearned=own.values,
            control=other.values,
            base=[known["base"].values[i] for i in own.facts],
            control_base=[known["control"].values[i] for i in own.facts],
        )
        row: dict[str, Any] = {"known": own.mean, "control": other.mean, "setting": own.setting, "n": len(own.values)}
        share = excess(values).share if knows_more(values) else None
        row |= {part: None if share is None else getattr(share, part) for part in ("value", "low", "high")}
        rows.append({name: value if name == "setting" or _is_number(value) else None for name, value in row.items()})
    return max(rows, key=lambda row: (row["value"] is not None, row["value"] or 0.0, row["known"]))


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def mean_trial(trials: Sequence[Trial]) -> Trial:
    """The same setting over several models: the mean of each fact."""
    first = trials[0]
    values = np.mean([trial.values for trial in trials], axis=0)
    return Trial(
        setting=first.setting, values=values.tolist(), facts=list(first.facts), family=first.family, at=first.at
    )


def mean_trials(every: Sequence[Sequence[Trial]]) -> list[Trial]:
    """The settings of an attack over several models."""
    return [mean_trial(of_setting) for of_setting in zip(*every, strict=True)]


def mean_values(damages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`damage.measured` of several models: the mean of each row."""
    over = {
        part: {who: np.mean([each[part][who] for each in damages], axis=0).tolist() for who in damages[0][part]}
        for part in ("retain", "nats")
    }
    return {**over, "kl": np.mean([each["kl"] for each in damages], axis=0).tolist()}
