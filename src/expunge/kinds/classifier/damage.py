"""Damage of a model of pictures: its results on the retain set, compared with the base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.measures.statistics import paired_share_interval
from expunge.runs.findings import DAMAGE, Finding


def right(task: ImageClassifier, pictures: Pictures) -> list[float]:
    """(pictures,) 1 where the likeliest class is the true one, else 0; 0 if outputs are not numbers."""
    logits = task.outputs(pictures).cpu()
    found = (logits.argmax(1) == pictures.labels) & logits.isfinite().all(1)
    return [float(value) for value in found]


def summed_up(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """Means of both models on the same pictures, and the retained share with its 95 % interval; None without
    pictures."""
    mean, lost = sum(before) / len(before), paired_share_interval(before, after)
    return {
        "before": mean,
        "after": sum(after) / len(after),
        "kept": [1 + limit / mean for limit in lost] if mean > 0 else None,
        "n": len(before),
    }


def damage_findings(
    settings: ImageAudit, damage: Mapping[str, Any], titles: Mapping[str, str], explained: str
) -> list[Finding]:
    """The results of `summed_up` for each set, with the limits; not yet judged.

    Args:
        titles: of the findings, by set; explained: with places for `before` and `after`.
    """
    limits = {"retain": settings.retain_kept, "test": settings.test_kept}
    found = []
    for name, row in damage.items():
        kept = row["kept"] or (None, None, None)
        found.append(
            Finding(
                name=f"{name}_kept",
                kind=DAMAGE,
                title=titles[name],
                limit=limits[name],
                value=kept[0],
                low=kept[1],
                high=kept[2],
                bound="at least",
                unit="share of before",
                n=row["n"],
                explain=explained.format(before=row["before"], after=row["after"]),
            )
        )
    return found
