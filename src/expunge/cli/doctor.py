"""`expunge doctor`."""

from __future__ import annotations


def doctor() -> int:
    """Say what this machine can do: versions, device, memory, precision, starter models, hub. For bug reports too.

    For example:

        expunge doctor
    """
    import os
    import shutil
    from pathlib import Path

    from expunge.models.starter import STARTERS
    from expunge.models.wheel import cache_folder
    from expunge.runs.versions import versions
    from expunge.train.precision import Precision

    for name, value in versions().items():
        print(f"{name:<14} {value}")
    import torch

    precision = Precision("auto")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    print(f"{'device':<14} {precision.device}, {torch.get_num_threads()} threads")
    print(f"{'bfloat16':<14} {'native: used for matrix products' if precision.bf16 else 'not native: float32 is used'}")
    print(f"{'memory':<14} {pages / 2**30:.1f} GiB")
    place = cache_folder()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    print(f"{'cache':<14} {place}, {free / 2**30:.1f} GiB free")
    for name, starter in STARTERS.items():
        made = (place / "models" / f"{name}-{starter.sha256[:12]}" / "config.json").is_file()
        print(f"{'starter':<14} {name}: {'ready' if made else 'made at first use'}")
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    print(f"{'hub':<14} {'switched off (HF_HUB_OFFLINE)' if offline else 'used for ids that are no folder'}")
    if free < 3 * 2**30:
        print(f"warning: less than 3 GiB free at {Path(existing)}; a run of the starter model writes about 3 GiB")
        return 1
    return 0
