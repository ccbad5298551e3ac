"""What verbs print: words, JSON, or nothing; and their progress display."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from expunge.core.progress import Silent


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """How a long-running verb prints its results."""

    json: bool = False
    "Print JSON instead of tables."
    quiet: bool = False
    "Show no progress and print no tables, only errors. The exit code shows the result."

    def show(self) -> Silent:
        """The progress display."""
        from expunge.core.progress import Live

        return Silent() if self.quiet else Live()


WORDS = Printed()


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    print(json_.dumps(value, indent=2, ensure_ascii=False))
