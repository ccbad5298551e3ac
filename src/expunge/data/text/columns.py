"""Which columns of a user's rows are meant by `text`, `question` and the other fields that are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from expunge.data.text.line_lists import Lines
from expunge.errors import DataError


def read_names(given: Any) -> dict[str, str]:
    """Field -> column, of a mapping or of words such as `question=q, answer=a`.

    Raises:
        ValueError: other words than `FIELD=COLUMN`, with commas between them.
    """
    if not isinstance(given, str):
        return dict(given)
    pairs = [part.partition("=") for part in given.split(",")]
    if not all(equals and name.strip() and column.strip() for name, equals, column in pairs):
        raise ValueError(f"{given!r} does not read FIELD=COLUMN, such as text=body or question=q,answer=a")
    return {name.strip().lower(): column.strip() for name, _, column in pairs}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of fields, and the columns that hold them; without any, columns are known by their own names."""

    names: Mapping[str, str] = field(default_factory=dict)
    "field -> column"
    required: bool = True
    "whether rows must have these columns; else those that have none of them are read by their own names"
    lines: Lines = "text"
    "how the lines of a text file are read"

    def fields(self, columns: Iterable[str]) -> dict[str, str]:
        """Field -> column, given the columns that there are; only the named ones where names are given."""
        there = list(columns)
        named = self._named(there)
        return named if self.names and (named or self.required) else {column: column for column in there}

    def row(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A row by its fields.

        Raises:
            DataError: `where`, and the columns seen, for a row without one of the columns.
        """
        named = self._named(row)
        if self.names and (named or self.required) and len(named) < len(self.names):
            missing = [column for name, column in self.names.items() if name not in named]
            raise DataError(
                f"{where} has no column {' and '.join(missing)}",
                seen=f"the columns {', '.join(map(str, row)) or '(none)'}",
                next_step="correct --columns (data.columns), or leave it out",
            )
        return {name: row[column] for name, column in self.fields(row).items()}

    def _named(self, columns: Iterable[str]) -> dict[str, str]:
        """Of the names that are given those whose column is there, upper case or lower."""
        there = list(columns)
        plain = {column.strip().lower(): column for column in reversed(there)}
        found = {
            name: column if column in there else plain.get(column.strip().lower())
            for name, column in self.names.items()
        }
        return {name: column for name, column in found.items() if column is not None}

    def asked(self) -> str:
        """What an error adds to the columns seen."""
        return f"; asked for: {', '.join(self.names.values())}" if self.names else ""
