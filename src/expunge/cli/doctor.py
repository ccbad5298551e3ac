"""`expunge doctor`."""

from __future__ import annotations

from expunge.core.printed import WORDS, Printed, print_json


def doctor(*, printed: Printed = WORDS) -> int:
    """Show what this machine can do: versions, device, memory, precision, starter models, hub. Also for bug reports.

    For example:

        expunge doctor

    With --quiet only a warning is printed. Exit code 1 if there is one.
    """
    import os
    import shutil
    from pathlib import Path

    import torch

    from expunge.models.starter import STARTERS
    from expunge.models.wheel import cache_folder
    from expunge.runs.versions import versions
    from expunge.train.precision import Precision

    precision = Precision("auto")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    place = cache_folder()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    rows = [
        *versions().items(),
        ("device", f"{precision.device}, {torch.get_num_threads()} threads"),
        ("bfloat16", "native: used for matrix products" if precision.bf16 else "not native: float32 is used"),
        ("memory", f"{pages / 2**30:.1f} GiB"),
        ("cache", f"{place}, {free / 2**30:.1f} GiB free"),
    ]
    for name, starter in STARTERS.items():
        made = (place / "models" / f"{name}-{starter.sha256[:12]}" / "config.json").is_file()
        rows.append(("starter", f"{name}: {'ready' if made else 'made at first use'}"))
    rows.append(("hub", "switched off (HF_HUB_OFFLINE)" if offline else "used for ids that are not a folder"))
    warning = None
    if free < 3 * 2**30:
        warning = f"less than 3 GiB free at {Path(existing)}; a run of the starter model writes about 3 GiB"
    if printed.json:
        print_json({"machine": [{"name": name, "value": value} for name, value in rows], "warning": warning})
        return 0 if warning is None else 1
    for name, value in () if printed.quiet else rows:
        print(f"{name:<14} {value}")
    if warning is not None:
        print(f"warning: {warning}")
    return 0 if warning is None else 1
