"""What verbs print: words, JSON, or nothing; and their progress display."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from expunge.core.progress import Silent

Quiet = Annotated[bool, Parameter(help="Show no progress and no notes: only errors, and what is asked for.")]
"the option of every verb"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """How a verb prints its results."""

    json: bool = False
    "Print JSON instead of tables or lines."
    quiet: Quiet = False

    def show(self) -> Silent:
        """The progress display."""
        from expunge.core.progress import Live

        return Silent() if self.quiet else Live()


WORDS = Printed()


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    print(json_.dumps(value, indent=2, ensure_ascii=False))
