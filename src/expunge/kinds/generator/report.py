"""Report sections that only generators have: pictures side by side, features on a plane."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from expunge.core import storage
from expunge.kinds.classifier.report.sections import picture_parts
from expunge.report import numbers, wording
from expunge.report.contents import Contents
from expunge.report.figures import MODEL_DOTS, WIDTH
from expunge.report.svg import BLUE, GREEN, MUTED, draw
from expunge.runs.folder import RunFolder

HEADLINES = (
    ("frechet", "retain_test"),
    ("frechet", "forget"),
    ("psnr", "retain_test"),
    ("group_recognition", "forget"),
    ("identity_recognition", "forget"),
)
"measures and splits shown large"

SPLITS = {"forget": "to forget", "retain_test": "to keep, held back"}
SHOWN = 150
"points of each kind on the plane, at most"
COLUMNS = {"original": "original", "corrupted": "what the model is shown", **wording.MODELS}


@dataclass(frozen=True)
class GridRow:
    """Pictures of one row of the grid: (column, `data:` URI)."""

    kind: str
    pictures: list[tuple[str, str]]


def generator_parts(contents: Contents, folder: RunFolder) -> dict[str, Any]:
    """Values of `generator.html.jinja` that other kinds of run do not have."""
    shown, chances = _shown(folder), contents.part("chances") or {}
    parts = picture_parts(contents, folder, HEADLINES)
    return parts | {
        "grid": _grid(shown),
        "columns": [name for key, name in COLUMNS.items() if f"{key}-forget" in shown],
        "plane": _plane(shown),
        "front": _front(contents),
        "cost": parts["cost"] + _training_cost(contents),
        "network": _network(contents),
        "chances": [
            (wording.split(split), numbers.share(value)) for split, value in chances.items() if split != "group"
        ],
        "group_chance": numbers.share(chances["group"]) if "group" in chances else None,
    }


def _shown(folder: RunFolder) -> dict[str, np.ndarray]:
    """The pictures and features that the run stored for the report; empty if they are damaged or gone."""
    try:
        with np.load(folder.stages / "shown" / "shown.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except PermissionError as error:
        raise storage.unreadable(error) from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return {}


def _grid(shown: Mapping[str, np.ndarray]) -> list[GridRow]:
    found = []
    for split, kind in SPLITS.items():
        there = {name: shown[f"{key}-{split}"] for key, name in COLUMNS.items() if f"{key}-{split}" in shown}
        for number in range(min((len(pictures) for pictures in there.values()), default=0)):
            found.append(GridRow(kind, [(name, _uri(pictures[number])) for name, pictures in there.items()]))
    return found


def _uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, 2)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _plane(shown: Mapping[str, np.ndarray]) -> Markup | None:
    """Features on the two principal axes of the originals to keep, one panel a model."""
    panels = {"original": "originals", **{model: dot.label for model, dot in MODEL_DOTS.items()}}
    there = {key: label for key, label in panels.items() if f"plane-{key}-forget" in shown}
    if not there:
        return None
    kinds = (("retain_test", MUTED, "o", "to keep"), ("forget", GREEN, "^", "to forget"))
    everything = np.concatenate([shown[f"plane-{key}-{split}"] for key in there for split, *_ in kinds])
    low, high = np.percentile(everything, [0.5, 99.5], axis=0)
    margin = 0.08 * (high - low) + 1e-6

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.3))
        axes = figure.subplots(1, len(there), squeeze=False, sharex=True, sharey=True)[0]
        figure.subplots_adjust(left=0.08, right=0.99, wspace=0.08, top=0.88, bottom=0.19)
        for axis, (key, label) in zip(axes, there.items(), strict=True):
            for split, colour, mark, name in kinds:
                points = shown[f"plane-{key}-{split}"][:SHOWN]
                axis.scatter(points[:, 0], points[:, 1], s=7, color=colour, marker=mark, alpha=0.6, linewidths=0,
                             label=f"{name}, n = {len(points)}")  # fmt: skip
            axis.set_title(label, weight="bold")
            axis.set(
                xlabel="first axis",
                xlim=(low[0] - margin[0], high[0] + margin[0]),
                ylim=(low[1] - margin[1], high[1] + margin[1]),
            )
        axes[0].set_ylabel("second axis")
        axes[0].legend(fontsize=7, loc="lower left", framealpha=0.6)
        return figure

    description = "; ".join(
        f"{label}: those to forget lie {numbers.plain(_apart(shown, key))} from those to keep"
        for key, label in there.items()
    )
    return draw(
        "plane", "Features of originals and completions", f"Distances of the means on the plane: {description}.", paint
    )


def _front(contents: Contents) -> Markup | None:
    """Fréchet distance on the retain set against that on the forget set, a point for each value of the trade-off
    field."""
    found = contents.part("front")
    if not found:
        return None
    points = [point for point in found["points"] if all(f"frechet-{split}" in point for split in SPLITS)]
    others = []
    for model, label in (("base", "before"), ("retrained", "retrained")):
        scores = {s.split: s.value for s in contents.scores if s.measure == "frechet" and s.model == model}
        if all(split in scores for split in SPLITS):
            others.append((label, scores["retain_test"], scores["forget"]))
    if not points:
        return None

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.4))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.95, bottom=0.2)
        retain = [point["frechet-retain_test"] for point in points]
        forget = [point["frechet-forget"] for point in points]
        axis.plot(retain, forget, color=BLUE, linewidth=1.1, marker="o", markersize=4)
        for point, x, y in zip(points, retain, forget, strict=True):
            axis.annotate(
                f"{found['field']} {point['value']:g}", (x, y), (5, -9), textcoords="offset points", fontsize=7
            )
        for label, x, y in others:
            axis.plot([x], [y], color=MUTED, marker="s", markersize=4, linestyle="none")
            axis.annotate(label, (x, y), (5, 4), textcoords="offset points", fontsize=7, color=MUTED)
        axis.set(xlabel=f"Fréchet distance, pictures to keep, held back{_n(contents, 'retain_test')}",
                 ylabel=f"Fréchet distance, to forget{_n(contents, 'forget')}")  # fmt: skip
        return figure

    description = "; ".join(
        f"{found['field']} {point['value']:g}: {numbers.plain(point['frechet-retain_test'])} to keep, "
        f"{numbers.plain(point['frechet-forget'])} to forget"
        for point in points
    )
    return draw("front", "The trade-off between retaining and forgetting", f"Fréchet distances: {description}.", paint)


def _n(contents: Contents, split: str) -> str:
    """The number of pictures behind a Fréchet distance, as a suffix of a label."""
    found = {s.n for s in contents.scores if s.measure == "frechet" and s.split == split}
    return f" (n = {found.pop()})" if len(found) == 1 else ""


def _apart(shown: Mapping[str, np.ndarray], key: str) -> float:
    one, other = (shown[f"plane-{key}-{split}"].mean(0) for split in SPLITS)
    return float(np.linalg.norm(one - other))


def _training_cost(contents: Contents) -> list[tuple[str, str]]:
    training = contents.part("training") or {}
    if not contents.part("cost") or not training.get("seconds"):
        return []
    share = training["unlearning_seconds"] / training["seconds"]
    return [
        ("Training the model took", numbers.seconds(training["seconds"])),
        ("Unlearning took", f"{numbers.seconds(training['unlearning_seconds'])}, {numbers.share(share)} of that"),
    ]


def _network(contents: Contents) -> str:
    about = contents.part("network")
    if not about:
        return ""
    text = f"The network that measures is {about['name']}"
    for key, words in (
        ("accuracy", "of held-back originals it classifies"),
        ("accuracy_of_drawn_parts", "and of those with only the part left that a model has to draw,"),
    ):
        if key in about:
            accuracy = about[key]
            low, high = numbers.share(accuracy["low"]), numbers.share(accuracy["high"])
            text += f"; {words} {numbers.share(accuracy['value'])} correctly ({low} to {high}, n = {accuracy['n']})"
    return text + "."
