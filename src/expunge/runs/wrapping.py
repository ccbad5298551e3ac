"""Methods that carry out another method."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from expunge.runs.method import Method
from expunge.runs.registry import make_wrapped


class Wrapping(Method):
    """A method for language models that carries out another one, which its field `of` names."""

    of: str | dict[str, Any] = "npo"
    "the method U: its name, or its name and hyper-parameters"

    @field_validator("of")
    @classmethod
    def _can_be_wrapped(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        make_wrapped(of, cls.__name__.lower())
        return of

    @property
    def carried_out(self) -> Method:
        return make_wrapped(self.of, type(self).__name__.lower())
