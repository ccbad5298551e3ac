"""Versions of what a run's figures depend on."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "expunge", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy", "scipy",
    "scikit-learn", "wordfreq", "py3langid",
)  # fmt: skip
PAGE_PACKAGES = ("jinja2", "latex2mathml")
"what a report's bytes depend on, and no figure"


def versions() -> dict[str, str]:
    """Versions of Python, of the processor and of the packages above."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}
    for package in (*PACKAGES, *PAGE_PACKAGES):
        if (installed := version_of(package)) is not None:
            found[package] = installed
    return found


@cache
def version_of(package: str) -> str | None:
    """The version of a package, None if it is not installed. Its description is read once in a process."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def newer_versions(used: Mapping[str, str]) -> list[str]:
    """What to say where a model is measured with other versions than those it was made with."""
    newer = {name: now for name, now in versions().items() if used.get(name) != now and name not in PAGE_PACKAGES}
    if not newer:
        return []
    listed = ", ".join(f"{name} {now} ({used.get(name, 'none')})" for name, now in newer.items())
    return [f"measured with other versions than it was trained with (in brackets): {listed}"]


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
