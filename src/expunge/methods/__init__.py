"""One method, one file: `expunge methods` lists this folder and installed packages' methods.

`expunge.methods.NPO` is the class in `npo.py`: a class is found by its name, and its file is read only then.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The class of this name, of a built-in method or an installed one."""
    if not name.startswith("_"):
        from expunge.runs.registry import built_in, installed, method_class

        for each in (*built_in(), *installed()):
            if each.replace("_", "") == name.lower() and (found := method_class(each)).__name__ == name:
                return found
    raise AttributeError(f"there is no method class {name!r} in expunge.methods")


def __dir__() -> list[str]:
    from expunge.runs.registry import built_in, method_class

    return sorted([*globals(), *(method_class(each).__name__ for each in built_in())])
