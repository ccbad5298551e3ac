"""Make a trained model forget, and measure how well it forgot.

`forget`, `run`, `plan`, `evaluate`, `audit`, `compare` and `load_run` work on recipes and run folders; `unlearn` and
`prepare` on a model in memory, with `Training` and the classes in `methods`. They load what they need when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge import methods
    from expunge.api import audit, compare, evaluate, forget, load_run, plan, prepare, run, unlearn
    from expunge.kinds.language.recipe import Training

__version__ = "0.1.0"
__all__ = [
    "Training",
    "audit",
    "compare",
    "evaluate",
    "forget",
    "load_run",
    "methods",
    "plan",
    "prepare",
    "run",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'expunge' has no attribute {name!r}")
    import importlib

    if name == "methods":
        return importlib.import_module("expunge.methods")
    return getattr(
        importlib.import_module("expunge.kinds.language.recipe" if name == "Training" else "expunge.api"), name
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
