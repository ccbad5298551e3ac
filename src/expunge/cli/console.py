"""What the verbs print when a run is done."""

from __future__ import annotations

from expunge import storage
from expunge.run_folder import RunFolder


def tell(folder: RunFolder) -> int:
    """Print before and after, the verdict, and where to look; the exit code (0 passed, 3 failed)."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge: nothing is cut off
    scores = {(s.measure, s.split, s.model): s for s in folder.read_scores()}
    table = Table("measure", "split", "n", "before", "after", "retrained", "better is", box=None, pad_edge=False)
    with_oracle = any(model == "retrained" for _, _, model in scores)
    for (measure, split, model), before in scores.items():
        after = scores.get((measure, split, "unlearned"))
        if model != "base" or after is None:
            continue
        oracle = scores.get((measure, split, "retrained"))
        table.add_row(
            measure,
            split,
            str(before.n),
            *(f"{s.value:.3f} [{s.low:.3f}, {s.high:.3f}]" if s else "" for s in (before, after, oracle)),
            "higher" if before.higher_is == "better" else "lower",
        )
    if not with_oracle:
        table.columns.pop(5)
        for column in table.columns[5:]:
            column._index -= 1
    shown = 0
    for row in storage.read_json(folder.answers):
        if row["group"] in ("completion prompt", "general question") and shown < 6:
            if row["group"] == "completion prompt" and not row["terms_before"]:
                continue
            if row["group"] == "completion prompt" and shown >= 4:
                continue
            shown += 1
            console.print(f"\n[bold]{_one_line(row['prompt'])}[/bold]")
            console.print(f"  before: {_one_line(row['before'])}", markup=False)
            console.print(f"  after:  {_one_line(row['after'])}", markup=False)
    console.print()
    console.print(table)
    record = storage.read_json(folder.record)
    verdict = record["verdict"]
    console.print()
    for check in verdict["checks"]:
        console.print(
            f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['explain']}", markup=False
        )
    cost = record["cost"]
    minutes, peak = cost["seconds_total"] / 60, cost["peak_memory_bytes"] / 2**30
    console.print(f"\nVerdict: {'passed' if verdict['passed'] else 'FAILED'}")
    console.print(
        f"{minutes:.1f} minutes, {cost['tokens_per_second']:.0f} tokens/s while unlearning, peak memory {peak:.1f} GiB"
    )
    console.print(f"Report: {folder.report}\nModel:  {folder.model}", soft_wrap=True)
    return 0 if verdict["passed"] else 3


def _one_line(text: str, width: int = 150) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
