"""Every method for generators on the same faces, over seeds: what is kept, what is forgotten, what it costs.

    python benchmarks/image_to_image/run.py --data FOLDER --out runs/generators [--recipe faces] \
        [--forget "age <= 12"] [--seeds 0 1 2]

Each seed parts the pictures anew and trains a base and a retrained model; all methods start from that base, with the
recipe's settings of training as far as they have them, or those of --set METHOD.FIELD=VALUE. The run folders stay in
--out, and a run that was broken off goes on. `--plot FILE.svg` draws what is forgotten against what is kept.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import yaml

import expunge
from expunge.core.progress import Live
from expunge.kinds.generator.recipe import GeneratorRecipe, GeneratorVerdict
from expunge.measures.statistics import t_quantile
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make, read_fields
from expunge.runs.registry import method_class

METHODS = ("encoder_scrubbing", "max_loss", "noisy_label", "retain_label", "random_encoder")
MORE = ("constrained_scrubbing", "decoupling")
AGAINST_BASE = {
    "Fréchet kept, of base": ("frechet", "retain_test", lambda ours, base: ours / base),
    "PSNR kept, dB lost": ("psnr", "retain_test", lambda ours, base: base - ours),
    "Fréchet forgotten, of base": ("frechet", "forget", lambda ours, base: ours / base),
}
"columns against the base model of the same seed: pictures differ from seed to seed, and so do their Fréchet distances"
COLUMNS = {
    "identified, forgotten": ("identity_recognition", "forget"),
    "identified, forgotten, held back": ("identity_recognition", "forget_test"),
    "taken for the group, forgotten": ("group_recognition", "forget"),
    "taken for the group, held back": ("group_recognition", "forget_test"),
    "after decoder attack": ("leak_decoder", "forget"),
}
"columns of the model's own; of the group where the forgotten are one without names"
PASSED = "verdicts passed"
LIMITS = GeneratorVerdict()
PANELS = {
    "Fréchet kept, of base": (LIMITS.retain_frechet, 1.4),
    "PSNR kept, dB lost": (LIMITS.retain_psnr, 1.0),
    "Fréchet forgotten, of base": (LIMITS.forget_frechet, 8.0),
}
"what is drawn besides recognition, whose limit is chance: the verdict's limit, and where the axis ends"


def stage_model(run: RunFolder, name: str) -> str:
    (found,) = run.stages.glob(f"fitted-{name}-*/model")
    return str(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", type=Path, default=Path("faces"))
    parser.add_argument("--forget", default="age <= 12")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *MORE])
    parser.add_argument("--set", nargs="*", default=[], help="METHOD.FIELD=VALUE, or .FIELD=VALUE for the recipe")
    parser.add_argument("--without-retrained", action="store_true", help="no retrained model: half the time")
    parser.add_argument("--plot", type=Path, help="an SVG of what is kept and what is forgotten, by method")
    given = parser.parse_args()
    content = read_fields(given.recipe)
    shared = content.pop("method")
    shared = {} if isinstance(shared, str) else shared
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        first: RunFolder | None = None
        for method in given.methods:
            settings: dict[str, Any] = {"seed": seed, "method": method, "evaluation.grid": 0 if first else 6}
            fields = method_class(method).model_fields
            settings |= {f"method.{name}": value for name, value in shared.items() if name in fields}
            for entry in given.set:
                name, _, value = entry.partition("=")
                owner, _, field = name.partition(".")
                if owner in ("", method):
                    settings[f"method.{field}" if owner else field] = yaml.safe_load(value)
            settings["retrained"] = "none" if given.without_retrained else "train"
            if first is not None:
                settings |= {"model": stage_model(first, "base"), "network.model": stage_model(first, "network")}
                if not given.without_retrained:
                    settings["retrained"] = stage_model(first, "retrained")
            recipe = make(GeneratorRecipe, content | {"data": given.data, "forget": given.forget}, settings)
            run = expunge.run(recipe, given.out / f"{method}-{seed}", Live())
            first = first or run
            rows += rows_of(run, method, seed, first is run)
    table = summary(rows)
    (given.out / "table.json").write_text(json.dumps({"rows": rows, "table": table}, indent=2), encoding="utf-8")
    print(markdown(table))
    if given.plot is not None:
        chances = record_of(run)["chances"]
        recognised = (
            ("taken for the group, forgotten", "group") if "group" in chances else ("identified, forgotten", "forget")
        )
        plot(table, PANELS | {recognised[0]: (chances[recognised[1]], 1.0)}, given.plot)


def record_of(run: RunFolder) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(run.record.read_text(encoding="utf-8"))
    return record


def rows_of(run: RunFolder, method: str, seed: int, with_others: bool) -> list[dict[str, Any]]:
    """The figures of the unlearned model; of the base and the retrained one, too, where asked for."""
    record = record_of(run)
    scores = {(s.measure, s.split, s.model): s.value for s in run.read_scores()}
    named = {"unlearned": method, **({"base": "base", "retrained": "retrained"} if with_others else {})}
    rows = []
    for model, name in named.items():
        if ("frechet", "retain_test", model) not in scores:
            continue
        row: dict[str, Any] = {"method": name, "seed": seed}
        for column, (measure, split, against) in AGAINST_BASE.items():
            row[column] = against(scores[measure, split, model], scores[measure, split, "base"])
        row |= {column: scores[m, s, model] for column, (m, s) in COLUMNS.items() if (m, s, model) in scores}
        if model == "unlearned":
            row["passes, of training"] = record["cost"]["share_of_retraining"]
            row[PASSED] = record["verdict"]["passed"]
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """(mean, half of the 95 % interval over seeds by Student's law) of every column, by method; of verdicts (passed, all)."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        for column in dict.fromkeys(key for row in mine for key in row if key not in ("method", "seed")):
            values = [row[column] for row in mine if column in row]
            if column == PASSED:
                table[name][column] = (sum(values), len(values))
                continue
            mean = sum(values) / len(values)
            half = math.nan
            if len(values) > 1:
                spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
                half = t_quantile(len(values) - 1) * spread / math.sqrt(len(values))
            table.setdefault(name, {})[column] = (mean, half)
    return table


def plot(table: dict[str, dict[str, tuple[float, float]]], drawn: dict[str, tuple[float, float]], path: Path) -> None:
    """A row a method, a panel a measure; the verdict's limit as a line, intervals over seeds where they fit."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "expunge"
    from matplotlib import pyplot

    names = list(table)[::-1]
    figure, panels = pyplot.subplots(1, len(drawn), figsize=(9.6, 3.4), sharey=True, layout="constrained")
    for axes, (column, (limit, most)) in zip(panels, drawn.items(), strict=True):
        for row, name in enumerate(names):
            mean, half = table[name][column]
            colour = "tab:grey" if name in ("base", "retrained") else "tab:blue"
            if mean > most:
                axes.annotate(f"{mean:.2g} →", (most, row), ha="right", va="center", fontsize=8, color=colour)
                continue
            axes.errorbar(mean, row, xerr=half, fmt="o", color=colour, markersize=5, linewidth=0.9)
        axes.axvline(limit, color="tab:red", linewidth=0.8, linestyle="--")
        axes.set_xlim(right=most)
        if column not in PANELS:
            axes.set_xlim(left=-0.03)
        axes.set_title(column, fontsize=9)
        axes.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(names)), names)
    figure.savefig(path, metadata={"Date": None})


def markdown(table: dict[str, dict[str, tuple[float, float]]]) -> str:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = ["| model | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in table.items():
        cells = [
            ""
            if c not in row
            else f"{row[c][0]} of {row[c][1]}"
            if c == PASSED
            else f"{row[c][0]:.3g}" + ("" if math.isnan(row[c][1]) else f" ± {row[c][1]:.2g}")
            for c in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
