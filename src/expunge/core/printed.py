"""What verbs print: words, JSON, or nothing; and what they show while they work."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from expunge.core.progress import Silent


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """How a verb that works for a while says what came of it."""

    json: bool = False
    "Print JSON in place of tables."
    quiet: bool = False
    "Show no progress and print no tables: errors alone. The exit code says how it went."

    def show(self) -> Silent:
        """What is shown while it works."""
        from expunge.core.progress import Live

        return Silent() if self.quiet else Live()


WORDS = Printed()


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    print(json_.dumps(value, indent=2, ensure_ascii=False))
