"""Report sections that only classifiers have: accuracies, confidences, the method's losses, image passes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from expunge.core import storage
from expunge.errors import DataError
from expunge.kinds.classifier.measures.scores import Outputs
from expunge.kinds.classifier.report import figures as classifier_figures
from expunge.measures.privacy.confidence import logit_scaled_confidence
from expunge.report import numbers, wording
from expunge.report.contents import Contents
from expunge.report.scores_table import rows
from expunge.runs.folder import RunFolder

HEADLINES = (
    ("image_accuracy", "forget"),
    ("image_accuracy", "test"),
    ("image_accuracy", "retain"),
    ("membership_auc", "forget"),
)
"measures and splits shown large"


def classifier_parts(contents: Contents, folder: RunFolder) -> dict[str, Any]:
    """Values of `classifier.html.jinja` that a run on a language model lacks."""
    return picture_parts(contents, folder, HEADLINES) | {"confidences": _confidences(folder)}


def picture_parts(contents: Contents, folder: RunFolder, headlines: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Shared by the reports of all models of pictures."""
    table = {(row.measure, row.split): row for row in rows(contents.scores)}
    values = _losses(folder)
    return {
        "asked_and_done": _asked_and_done(contents),
        "headlines": [table[name] for name in headlines if name in table and "base" in table[name].by_model],
        "losses": classifier_figures.losses("losses", values) if values else None,
        "cost": _cost(contents),
    }


def _asked_and_done(contents: Contents) -> str:
    spent = contents.part("cost") or {}
    method = f"The method “{contents.method_title}”"
    if contents.record is None:
        return f"{method} was chosen. The run has not ended."
    text = f"{method} was applied to the model"
    if spent.get("image_passes") is not None:
        text += f" in {numbers.count(spent['image_passes'])} image passes"
    if spent.get("share_of_retraining") is not None:
        text += f", {numbers.share(spent['share_of_retraining'])} of those of retraining"
    if spent.get("seconds_total") is not None:
        text += f"; the run took {numbers.seconds(spent['seconds_total'])}"
    return f"{text}.{wording.sizes(contents.part('sets') or {}, ('pictures', 'classes'))}"


def _stage_file(folder: RunFolder, name: str, file: str) -> Path | None:
    """A file of the only stage of this name; None if there is none, or more than one it could be."""
    found = sorted(folder.stages.glob(f"{name}-*/{file}"))
    return found[0] if len(found) == 1 else None


def _confidences(folder: RunFolder) -> Markup | None:
    """The figure of confidences in the right class, of the models whose outputs still exist."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for model in wording.MODELS:
        if (path := _stage_file(folder, f"measured-{model}", "outputs.npz")) is None:
            continue
        try:
            outputs = Outputs.load(path)
            found[model] = {
                split: logit_scaled_confidence(outputs.logits[split], outputs.labels[split])
                for split in ("forget", "test")
                if len(outputs.labels[split])
            }
        except PermissionError as error:
            raise storage.unreadable(error) from error
        except (OSError, EOFError, KeyError, ValueError, DataError, zipfile.BadZipFile):  # damaged: shown as missing
            continue
    return classifier_figures.confidences("confidences", found) if found else None


def _losses(folder: RunFolder) -> dict[str, list[float]]:
    """The method's losses, phase by phase in their order."""
    path = _stage_file(folder, "unlearned", "trained.json")
    found = storage.read_json(path).get("losses") if path else None
    return {str(phase): list(values) for phase, values in (found or {}).items() if values}


def _cost(contents: Contents) -> list[tuple[str, str]]:
    spent = contents.part("cost")
    if not spent:
        return []
    passes, share = spent.get("image_passes"), spent.get("share_of_retraining")
    return [
        ("Time in all", numbers.seconds(spent.get("seconds_total"))),
        ("Unlearning ended", str(contents.part("stopped") or "not recorded")),
        ("Image passes of unlearning", numbers.UNKNOWN if passes is None else numbers.count(passes)),
        ("Image passes, of those of retraining", "not known" if share is None else numbers.share(share)),
        ("Peak memory", numbers.peaks(spent)),
    ]
