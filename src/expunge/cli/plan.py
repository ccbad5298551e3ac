"""`expunge plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json

if TYPE_CHECKING:
    from expunge.kinds.language.plan.plan import Plan

LAST = "estimated from"
"the last column"


def plan(
    recipe: Path,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    device: str | None = None,
    gpus: str | None = None,
    rate: float | None = None,
    fsdp: Literal["shard", "offload"] | None = None,
    printed: Printed = WORDS,
) -> int:
    """Plan a run of a recipe, before it runs: memory, time, tokens, disk, and the options with which it fits;
    and its audit, attack by attack.

    A language model's configuration is enough: no weight is loaded. A training step is run with the method's own
    loss on tensors without values. The exit code is 0 if the run fits as it is, and 3 if it does not.

    For example:

        expunge plan whos_harry_potter --forget book.txt

        expunge plan whos_harry_potter --forget book.txt --model FOLDER --device a100-80gb

        expunge plan whos_harry_potter --forget book.txt --model FOLDER --gpus 4x80 --fsdp shard

        expunge plan demo --model FOLDER --gpus 8x24 --rate 60e12 --training.adapter_rank 16 --json

    Parameters
    ----------
    recipe:
        A YAML file of recipe fields, or a name that `expunge recipes` lists; any field can be given as an option, as
        for `expunge run`.
    device:
        Such as a100-80gb, h200 or rtx-4090; default: this machine.
    gpus:
        Instead of a device: number of cards, and gigabytes each. Each holds the whole model, unless --fsdp is given.
    rate:
        Floating-point operations a second that a device is known to reach, instead of its published rate.
    fsdp:
        Shard weights, gradients and moments over the cards in training, as `accelerate launch --use_fsdp
        --fsdp_version 2` does (shard), and keep them in main memory until a layer is run (offload:
        --fsdp_offload_params true). Measuring and sampling use the parts of all cards, too.
    """
    from expunge.api import plan as plan_

    found = plan_(recipe, options, device=device, gpus=gpus, rate=rate, fsdp=fsdp)
    if printed.json:
        print_json(found.row())
    else:
        _print_plan(found, notes=not printed.quiet)
    return 0 if found.fits == {} else 3


def _print_plan(found: Plan, notes: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from expunge.kinds.language.plan.words import duration, gib, head, scientific, verdict

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width: nothing is cut off
    console.print(head(found), markup=False)
    for first, stages in (("stage", found.stages), ("of expunge audit", found.audit)):
        table = Table(box=None, pad_edge=False)
        for header in (first, "memory", "tokens", "FLOPs", "time", "estimated from"):
            table.add_column(header, no_wrap=header != LAST, justify="left" if header in (first, LAST) else "right")
        for stage in stages:
            seconds = stage.seconds(found.device)
            table.add_row(
                stage.name,
                gib(stage.peak),
                f"{stage.tokens:,}" if stage.tokens else "",
                scientific(stage.flops) if stage.flops else "",
                duration(seconds) if stage.flops else "",
                stage.how,
            )
        if stages:
            console.print(table)
            console.print()
    if found.audit and found.audit_seconds is not None:
        console.print(f"  the audit takes {duration(found.audit_seconds)} in all, loading of models not counted\n")
    rows = Table(box=None, pad_edge=False, show_header=False)
    for name, value in found.disk.items():
        rows.add_row("disk", name, gib(value))
    console.print(rows)
    console.print()
    for note in found.notes if notes else ():
        console.print(f"  {note}", markup=False)
    console.print(verdict(found), markup=False)
