"""Make a trained model forget, and measure how well it forgot.

`forget`, `run`, `evaluate`, `compare` and `load_run` are the whole public surface; they load what they need when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.api import compare, evaluate, forget, load_run, run

__version__ = "0.1.0"
__all__ = ["compare", "evaluate", "forget", "load_run", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from expunge import api

        return getattr(api, name)
    raise AttributeError(f"module 'expunge' has no attribute {name!r}")
