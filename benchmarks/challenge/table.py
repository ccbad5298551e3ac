"""Write contests' figures into a page, so that none is typed by hand; or see that the page has those of the contests.

python benchmarks/challenge/table.py RUN... --into docs/results.md --plot docs/challenge.svg

The page keeps its text; what lies between `<!-- NAME -->` and `<!-- end of NAME -->` is written anew, where NAME is
`contest: FOLDER` for a table of the run in FOLDER, `contests` for the methods of all runs side by side, and `plot` for the
picture of the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TARGET = {"share_of_ceiling": 0.8, "retain_ratio": 0.97, "test_ratio": 0.97}
"what is called reached: at least so much"


def shown(found: Mapping[str, float | None] | None, digits: int = 3) -> str:
    if found is None or found["value"] is None:
        return "–"
    low, high = found["low"], found["high"]
    limits = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{found['value']:.{digits}f}{limits}"


def cells(row: Mapping[str, Any], ceiling: bool = False) -> list[str]:
    return [
        "*retrained again, the ceiling*" if ceiling else row["name"],
        "over budget" if row["over_budget"] else f"{row['score']['value']:.3f}",
        shown(row["forgetting"]),
        "" if ceiling else shown(row["share_of_ceiling"], 2),
        shown(row["retain_ratio"]),
        shown(row["test_ratio"]),
        f"{row['compute_share']:.1%}",
        shown((row.get("ulira") or {}).get("auc"), 2),
    ]


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def contest(figures: Mapping[str, Any]) -> str:
    """Every method of one contest, best first."""
    header = ["method", "score", "F", "F / ceiling", "retain ratio", "test ratio", "compute", "U-LiRA AUC"]
    lines = [cells(figures["ceiling"], ceiling=True), *[cells(row) for row in figures["methods"]]]
    lines += [[row["name"], "diverged", *[""] * 6] for row in figures["diverged"]]
    sizes = ", ".join(f"{name} {found['pictures']}" for name, found in figures["data"].items())
    about = (
        f"{figures['models']} models of each kind, {figures['examples']} forgotten pictures ({sizes}); 95 % intervals."
    )
    return f"{markdown(header, lines)}\n\n{about}"


def contests(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The methods that took part in every contest, with their share of the ceiling, best mean first."""
    rows = [{row["name"]: row for row in figures["methods"]} for figures in runs.values()]
    common = [name for name in rows[0] if all(name in each and not each[name]["over_budget"] for each in rows)]
    common = [name for name in common if all(each[name]["share_of_ceiling"]["value"] is not None for each in rows)]
    common.sort(key=lambda name: -sum(each[name]["share_of_ceiling"]["value"] for each in rows))
    header = ["method", *[f"{run}: F / ceiling" for run in runs], "lowest retain ratio", "lowest test ratio", "reached"]
    lines = []
    for name in common:
        found = [each[name] for each in rows]
        lowest = {key: min(row[key]["value"] for row in found) for key in TARGET}
        lines.append(
            [
                name,
                *[shown(row["share_of_ceiling"], 2) for row in found],
                f"{lowest['retain_ratio']:.3f}",
                f"{lowest['test_ratio']:.3f}",
                "yes" if all(lowest[key] >= least for key, least in TARGET.items()) else "no",
            ]
        )
    return markdown(header, lines)


def filled(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks of `name`."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(first) + r".*?" + re.escape(last), re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page has no {first} … {last}")
    return pattern.sub(lambda _: f"{first}\n{text}\n{last}", page)


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """F against utility, without any picture of the data."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "expunge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    ceiling = figures["ceiling"]["forgetting"]
    axes.axhline(ceiling["value"], color="0.3", linestyle="--", linewidth=1)
    if ceiling["low"] is not None:
        axes.axhspan(ceiling["low"], ceiling["high"], color="0.9")
    axes.text(0.01, ceiling["value"], "models retrained again", transform=axes.get_yaxis_transform(), va="bottom")
    for row in figures["methods"]:
        x = row["retain_ratio"]["value"] * row["test_ratio"]["value"]
        colour = "0.6" if row["over_budget"] else "tab:blue"
        axes.plot(x, row["forgetting"]["value"], "x" if row["over_budget"] else "o", color=colour, markersize=5)
        axes.annotate(row["name"], (x, row["forgetting"]["value"]), (3, 3), textcoords="offset points", fontsize=7)
    axes.set_xlabel("retain ratio × test ratio")
    axes.set_ylabel("forgetting quality F")
    axes.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, default=None, help="the page; the tables are printed where absent")
    parser.add_argument("--plot", type=Path, default=None, help="a picture of the first run")
    options = parser.parse_args()
    runs = {run.name: json.loads((run / "contest.json").read_text(encoding="utf-8")) for run in options.runs}
    tables = {f"contest: {name}": contest(figures) for name, figures in runs.items()}
    if len(runs) > 1:
        tables["contests"] = contests(runs)
    if options.plot is not None:
        plot(next(iter(runs.values())), options.plot)
        if options.into is not None:
            place = os.path.relpath(options.plot, options.into.parent)
            tables["plot"] = f"![Forgetting quality against utility]({place})"
    if options.into is None:
        print("\n\n".join(tables.values()))
        return
    page = options.into.read_text(encoding="utf-8")
    for name, text in tables.items():
        page = filled(page, name, text)
    options.into.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
