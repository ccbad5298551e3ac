"""The record of a run: what was done with what, what it cost, and the verdict."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.core.score import Score
from expunge.kinds.language.overshoot import overshoot
from expunge.kinds.language.recipe import Recipe, Verdict
from expunge.kinds.language.verdict import judge
from expunge.report.cost import cost
from expunge.runs.folder import RunFolder

if TYPE_CHECKING:
    from expunge.train.loop import Trained

PACKAGES = (
    "expunge",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "tokenizers",
    "numpy",
    "wordfreq",
    "py3langid",
)
PAGE_PACKAGES = ("jinja2", "latex2mathml")
"what a report's bytes depend on, and no figure"

NOT_TESTED = [
    "Whether the forgotten can be brought back by training the model again on related text (relearning).",
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Prompts that are made to extract it: role play, translation, many attempts, hints in the context.",
    "Whether traces can be read from the model's inner states.",
    "Membership inference: whether one can tell that the text was once trained on.",
    "Other languages than that of the target.",
]


def versions() -> dict[str, str]:
    """Versions of what a run's figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}
    for package in (*PACKAGES, *PAGE_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def newer_versions(used: Mapping[str, str]) -> list[str]:
    """What to tell where a model is measured with other versions than those it was made with."""
    newer = {name: now for name, now in versions().items() if used.get(name) != now and name not in PAGE_PACKAGES}
    if not newer:
        return []
    listed = ", ".join(f"{name} {now} ({used.get(name, 'none')})" for name, now in newer.items())
    return [f"measured with other versions than it was trained with (in brackets): {listed}"]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def vouched(folder: RunFolder) -> tuple[Path, ...]:
    """The files whose digests the record holds; the report is made from them and the record."""
    return folder.recipe, folder.scores, folder.per_example, folder.answers, folder.toxicity, folder.anchors


def measured_later(recipe: Recipe, trained: Mapping[str, Any]) -> list[str] | None:
    """What the recipe says is measured, and did not say when the model was trained; None where that was not noted.

    Args:
        trained: what was noted when the model was saved.
    """
    if "measuring" not in trained:
        return None
    now, later = recipe.model_dump(mode="json"), []
    for name, before in trained["measuring"].items():
        if isinstance(before, dict):
            changed = [field for field, value in before.items() if now[name].get(field) != value]
            later += [field if name == "evaluation" else f"{name} {field}" for field in changed]
        elif now[name] != before:
            later.append(f"{name} model")
    return [field.replace("_", " ") for field in later]


def as_dict(trained: Trained) -> dict[str, Any]:
    return {"steps": trained.steps, "seconds": trained.seconds, "tokens": trained.seen, "stopped": trained.stopped}


def make_record(
    folder: RunFolder,
    recipe: Recipe,
    scores: Sequence[Score],
    *,
    method: dict[str, Any],
    sets: dict[str, Any],
    language: dict[str, Any],
    digests: dict[str, Any],
    trained: dict[str, Any],
    oracle: dict[str, float] | None,
    license_name: str | None,
    arithmetic: str,
    warnings: Sequence[str],
    inputs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The content of `record.json`.

    Thresholds and versions are those with which the model was trained, whoever measures it again.

    Args:
        language: of the forget set, as `Language.row` says it.
        trained: what was noted when the model was saved.
        oracle: tokens and seconds that the retrained model took, where known.
        inputs: of each set that was given, the files that were read and those that were not.
        arithmetic: what training and every measure computed in, in words.
    """
    # through the class, so that a threshold that came with a later version is one that was not set
    thresholds = Verdict(**trained.get("thresholds", recipe.verdict.model_dump())).model_dump()
    used = trained.get("versions", versions())
    told = list(warnings)
    if thresholds != recipe.verdict.model_dump():
        told.append("the thresholds in recipe.yaml were changed after the training; those from before it count")
    told += newer_versions(used)
    told += [further] if (further := overshoot(scores)) is not None else []
    not_tested = list(NOT_TESTED)
    if not any(score.measure == "accuracy" for score in scores):
        not_tested.insert(0, "General ability on benchmarks: give --benchmarks FOLDER to `expunge evaluate`.")
    if not any(score.measure == "verbatim_recall" and score.split == "forget" for score in scores):
        not_tested.insert(0, "Verbatim recall: the forget set holds no passage of plain text that is long enough.")
    elif not any(score.measure == "rouge_l_recall" for score in scores):
        not_tested.insert(0, "ROUGE-L as published: the package rouge-score knows the letters a to z alone.")
    if not any(score.model == "retrained" for score in scores):
        not_tested.insert(0, "Comparison with a model retrained without the forget set: none was given.")
    return {
        "name": folder.path.resolve().name,
        "title": Path(recipe.forget).name if recipe.forget_kind in ("path", "toxicity") else recipe.forget,
        "verdict": judge(scores, Verdict(**thresholds)),
        "thresholds": thresholds,
        "measured_later": measured_later(recipe, trained),
        "cost": cost(folder, trained, oracle),
        "stopped": trained["stopped"],
        "method": method,
        "sets": sets,
        "language": language,
        "inputs": list(inputs),
        "versions": used,
        "arithmetic": arithmetic,
        "digests": digests,
        "license": license_name,
        "not_tested": not_tested,
        "warnings": told,
    }
