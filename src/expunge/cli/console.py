"""Print a finished run's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expunge.core import storage
from expunge.core.printed import WORDS, Printed, print_json
from expunge.core.processes import is_first
from expunge.core.safe_text import clean
from expunge.core.score import Score, Which
from expunge.runs.folder import RunFolder

STATES = {True: "passed", False: "FAILED", None: "not made"}


def print_summary(folder: RunFolder, printed: Printed = WORDS) -> int:
    """Print before and after, the verdict, and the paths; return the exit code (0 passed, 3 failed).

    Only the first of several processes prints.
    """
    if not is_first():
        return 0
    if not (printed.json or printed.quiet):
        _print_tables(folder)
    found = summary_row(folder)
    if printed.json:
        print_json(found)
    return 0 if found["verdict"]["passed"] else 3


def summary_row(folder: RunFolder) -> dict[str, Any]:
    """A finished run's results, as JSON."""
    record = storage.read_json(folder.record)
    return {
        "run": str(folder.path),
        "verdict": record["verdict"],
        "warnings": record.get("warnings") or [],
        "scores": storage.read_json(folder.scores),
        "cost": record["cost"],
        "report": str(folder.report),
        "model": str(folder.model),
    }


def _print_tables(folder: RunFolder) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from expunge.report import wording
    from expunge.report.scores_table import Row
    from expunge.report.verdict_words import is_unknown, secrets_alone
    from expunge.runs.check import NOT_KNOWN
    from expunge.runs.measures import shown_apart

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width: nothing is cut off
    scores = {(s.measure, s.split, s.model): s for s in folder.read_scores()}
    later: list[Which] = ["unlearned"]
    if any(model == "retrained" for _, _, model in scores):
        later.append("retrained")
    table = Table(box=None, pad_edge=False)
    names = ("measure", "split", "n", wording.MODELS["base"], "control", *(wording.MODELS[model] for model in later))
    for header in (*names, "better is"):
        table.add_column(header, no_wrap=True)
    for (measure, split, model), before in scores.items():
        if model != "base" or (measure, split, "unlearned") not in scores or split == "control" or shown_apart(split):
            continue
        control = scores.get((measure, "control", "base")) if split == "forget" else None
        row = [before, control, *(scores.get((measure, split, which)) for which in later)]
        figures = [
            f"{s.value:.3f}" + (f" [{s.low:.3f}, {s.high:.3f}]" if s.low < s.high else "") if s else "" for s in row
        ]
        better = Row(measure, split, {"base": before}).better
        table.add_row(measure, split, str(before.n), *figures, better)
    answers = storage.read_json(folder.answers) if folder.answers.is_file() else []  # language models only
    completions = [row for row in answers if row["group"] == "completion prompt" and row["terms_before"]]
    completions.sort(key=lambda row: (len(row["terms_after"]), -len(row["terms_before"])))
    general = [row for row in answers if row["group"] == "general question"]
    for row in [*completions[:4], *general[:2]]:
        console.print(f"\n[bold]{escape(_one_line(row['prompt']))}[/bold]")
        console.print(f"  before: {_one_line(row['before'])}", markup=False)
        console.print(f"  after:  {_one_line(row['after'])}", markup=False)
    console.print()
    console.print(table)
    record = storage.read_json(folder.record)
    verdict = record["verdict"]
    console.print()
    for check in verdict["checks"]:
        words = " ".join(clean(check["explain"]).split())
        state = STATES[check["passed"]]
        if is_unknown(check):
            state, words = NOT_KNOWN.partition(" well")[0], words.removeprefix(f"{NOT_KNOWN}: ")
        console.print(f"  {state}  {check['name']}: {words}", markup=False, soft_wrap=True)
    for warning in record.get("warnings") or []:
        console.print(f"  warning {clean(warning)}", markup=False, soft_wrap=True)
    cost = record["cost"]
    state = "passed" if verdict["passed"] else "FAILED"
    if verdict.get("not_known"):
        than = "chance" if secrets_alone(verdict) else "the control"
        state = f"{NOT_KNOWN}: the base model knew the target no better than {than}"
    elif verdict["passed"] and can_be_audited(folder):
        state += ", not audited (expunge audit tries to bring it back)"
    console.print(f"\nVerdict: {state}", soft_wrap=True)
    if record.get("measured_later"):
        console.print(
            "The thresholds were fixed before the run; some of what they are compared with was set after it: "
            + ", ".join(record["measured_later"]),
            soft_wrap=True,
        )
    speed = f", {cost['tokens_per_second']:.0f} tokens/s while unlearning" if "tokens_per_second" in cost else ""
    if (share := cost.get("share_of_retraining")) is not None and "tokens_trained" in cost:
        speed += f", {share:.0%} of the tokens of retraining"
    minutes, peak = cost["seconds_total"] / 60, cost["peak_memory_bytes"] / 2**30
    gpu = f", {cost['device_peak_bytes'] / 2**30:.1f} GiB of the GPU" if "device_peak_bytes" in cost else ""
    console.print(f"{minutes:.1f} minutes{speed}, peak memory {peak:.1f} GiB{gpu}")
    console.print(f"Report: {folder.report}\nModel:  {folder.model}", soft_wrap=True)


def print_scores(scores: Sequence[Score]) -> None:
    """Scores of one model as a table."""
    from rich.console import Console
    from rich.table import Table

    from expunge.report.scores_table import Row

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=None, pad_edge=False)
    for header in ("measure", "split", "n", "value", "better is"):
        table.add_column(header, no_wrap=True)
    for each in scores:
        value = f"{each.value:.3f}" + (f" [{each.low:.3f}, {each.high:.3f}]" if each.low < each.high else "")
        better = Row(each.measure, each.split, {each.model: each}).better
        table.add_row(each.measure, clean(each.split), str(each.n), value, better)
    console.print(table)


def can_be_audited(folder: RunFolder) -> bool:
    """Whether `expunge audit` could audit a run's model, and has not."""
    from expunge.runs.kinds import main_kind, read_recipe

    return not folder.audit.is_dir() and main_kind(read_recipe(folder.recipe)).audit is not None


def _one_line(text: str, width: int = 150) -> str:
    """On one line of at most `width` characters, with � for terminal control characters."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
