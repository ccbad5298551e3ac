"""What attacks on a request's model found, as it stands in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EARLIER = "earlier"
"in a run folder: a folder for each earlier run whose text its model was attacked with"


@dataclass(frozen=True, slots=True)
class Withstood:
    """What attacks found.

    Attributes:
        passed: None if undecided, as with few facts.
        failed: names of the findings that are beyond their limits.
        why: why the model was not attacked; None if it was.
    """

    passed: bool | None
    failed: tuple[str, ...] = ()
    why: str | None = None

    def row(self) -> dict[str, Any]:
        """As JSON, for the ledger. `why` stays out of it: an error may name a file."""
        return {"passed": self.passed, "failed": list(self.failed), "attacked": self.why is None}

    @property
    def words(self) -> str:
        """A few words."""
        if self.why is not None:
            return f"NOT AUDITED: {self.why}".removesuffix(": ")
        if self.failed:
            return f"audit: FAILED ({', '.join(self.failed)})"
        return "audit: passed" if self.passed else "audit: undecided, which is not passed"
