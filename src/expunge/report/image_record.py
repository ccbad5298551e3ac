"""The record of a run on a model of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core.memory import peak_memory_bytes
from expunge.core.score import Score
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.measures.privacy.membership import NOTE
from expunge.report.record import newer_versions
from expunge.runs.folder import RunFolder

NOT_TESTED = [
    "Attacks on single pictures, which need many models (U-LiRA, RULI, the 2023 challenge): `expunge suite challenge`.",
    "Whether the forgotten can be brought back by training the model again on like pictures (relearning).",
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Whether traces can be read from the model's inner features.",
]

NOT_TESTED_OF_GENERATORS = [
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Whether a stronger network, or a person, recognises somebody in a completion.",
]


def image_record(
    folder: RunFolder,
    recipe: ImageRecipe | GeneratorRecipe,
    scores: Sequence[Score],
    *,
    judge: Callable[[Mapping[str, Any]], dict[str, Any]],
    method: dict[str, Any],
    sets: dict[str, Any],
    read_as: dict[str, Any],
    digests: dict[str, Any],
    trained: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The content of `record.json`.

    Thresholds and versions are those with which the model was made, whoever measures it again.

    Args:
        judge: the verdict under thresholds.
        read_as: size of the pictures, and names of the classes, in their order.
        trained: what was noted when the model was saved.
        more: further parts of the record.
    """
    generator = isinstance(recipe, GeneratorRecipe)
    not_tested = list(NOT_TESTED_OF_GENERATORS if generator else NOT_TESTED)
    if not any(score.model == "retrained" for score in scores):
        not_tested.insert(0, "Comparison with a model retrained without the forget set: `--retrained train` makes one.")
    if any(score.measure == "group_recognition" for score in scores):
        not_tested.insert(0, "Whether the group is recognised after an attack: attacks seek single pictures.")
    seconds = {
        row["name"]: round(float(row["seconds"]), 2) for row in folder.read_events("stage") if not row.get("reused")
    }
    peaks = [int(row["peak_memory_bytes"]) for row in folder.read_events("peak")]
    notes = list(dict.fromkeys(row["text"] for row in folder.read_events("notice")))
    # through the class, so that a threshold that came with a later version is one that was not set
    thresholds, used = type(recipe.verdict)(**trained["thresholds"]).model_dump(), trained["versions"]
    if thresholds != recipe.verdict.model_dump():
        notes.append("the thresholds in recipe.yaml were changed after the unlearning; those from before it count")
    notes += newer_versions(used)
    forget = Path(recipe.forget).name if Path(recipe.forget).is_file() else recipe.forget
    return {
        "name": folder.path.resolve().name,
        "title": f"{forget} of {Path(recipe.data).name}",
        "verdict": judge(thresholds),
        "thresholds": thresholds,
        "cost": {
            "seconds_total": round(sum(seconds.values()), 1),
            "seconds": seconds,
            "peak_memory_bytes": max([*peaks, peak_memory_bytes()]),
            "image_passes": trained["passes"],
            "share_of_retraining": trained["share_of_retraining"],
        },
        "exact": trained.get("exact"),
        "stopped": "all phases done",
        "method": method,
        "sets": sets,
        "read_as": read_as,
        "versions": used,
        "digests": digests,
        "license": None,
        "not_tested": not_tested,
        "warnings": notes if generator else [*notes, NOTE],
        **more,
    }
