"""What forgetting cost a classifier: accuracy on pictures that were to stay, beside the base model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.measures.statistics import paired_share_interval
from expunge.runs.findings import DAMAGE, Finding

TITLES = {"retain": "Accuracy on the retain set kept", "test": "Accuracy on the test set kept"}


def right(task: ImageClassifier, pictures: Pictures) -> list[float]:
    """(pictures,) 1 where the likeliest class is the true one, else 0; 0 where outputs are no numbers."""
    logits = task.outputs(pictures).cpu()
    found = (logits.argmax(1) == pictures.labels) & logits.isfinite().all(1)
    return [float(value) for value in found]


def summed_up(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """Accuracy of both models on the same pictures, and what is kept of it with its 95 % interval; None of nothing."""
    mean, lost = sum(before) / len(before), paired_share_interval(before, after)
    return {
        "before": mean,
        "after": sum(after) / len(after),
        "kept": [1 + limit / mean for limit in lost] if mean > 0 else None,
        "n": len(before),
    }


def damage_findings(settings: ImageAudit, damage: Mapping[str, Any]) -> list[Finding]:
    """What `summed_up` gives of each set, beside the limits; not yet judged."""
    limits = {"retain": settings.retain_kept, "test": settings.test_kept}
    found = []
    for name, row in damage.items():
        kept = row["kept"] or (None, None, None)
        found.append(
            Finding(
                name=f"{name}_kept",
                kind=DAMAGE,
                title=TITLES[name],
                limit=limits[name],
                value=kept[0],
                low=kept[1],
                high=kept[2],
                bound="at least",
                unit="share of before",
                n=row["n"],
                explain=f"{row['before']:.1%} right before, {row['after']:.1%} after",
            )
        )
    return found
