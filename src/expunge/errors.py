"""Every error a user can meet: what happened, what was seen, what is allowed, and the next step.

Anything raised on purpose derives from `Explained`, so the command line prints one clear message and no traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Explained(BaseException):
    """An exception that explains itself.

    Args:
        what: what happened and where, one sentence without a full stop.
        seen: the value found.
        allowed: the valid values.
        next_step: what the user can do or type now.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, seen: object = None, allowed: str | None = None, next_step: str | None = None
    ) -> None:
        self.what, self.seen, self.allowed, self.next_step = what, seen, allowed, next_step
        parts = {"seen:": seen, "allowed:": allowed, "next:": next_step}
        lines = [f"  {name:<8} {part}" for name, part in parts.items() if part is not None]
        super().__init__("\n".join([what, *lines]))


class ExpungeError(Explained, Exception):
    """An error that a user can meet."""


class DataError(ExpungeError):
    """Input text that cannot be used: the file, the line and the reason are named."""


class ModelError(ExpungeError):
    """A model that cannot be found, loaded or used for the task."""


class RecipeError(ExpungeError):
    """A recipe or option that does not exist or does not fit."""

    exit_code = 2


class RunError(ExpungeError):
    """A run folder that is not what the command expects."""


class StorageError(ExpungeError):
    """A file that could not be written or read: disk full, no permission, damaged."""


class DivergedError(ExpungeError):
    """Training left the safe region (NaN, or a retain loss that ran away). Earlier results stay."""


class UnchangedError(RunError):
    """A method that changed no weight of the model."""


class FollowedError(ExpungeError):
    """A process that stops because another one did; that one gives the reason."""


class Interrupted(Explained):
    """SIGINT or SIGTERM arrived; the run can be resumed by the same command.

    Not an `Exception`: libraries catch those, and the request would be lost.
    """

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to `name`, or abbreviated by it; None if nothing is close."""
    names = list(known)
    if same := [each for each in names if each.lower() == name.lower()]:
        return same[0]
    if found := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return found[0]
    short = name.lower()
    meant = [
        each for each in names if len(short) > 1 and short == "".join(word[:1] for word in each.lower().split("_"))
    ]
    meant += [each for each in names if len(short) > 2 and each.lower().startswith(short)]
    return meant[0] if len(meant) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The next step after a name that does not exist; None if nothing is close."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else None


def near_names(name: str, known: Iterable[str], every: str) -> str:
    """The next step after a name that does not exist, if there are too many to list: the nearest first.

    Args:
        every: how to list all of them, such as "expunge methods lists all".
    """
    names = list(known)
    best = nearest(name, names)
    if best is None:
        return every
    others = [each for each in difflib.get_close_matches(name, names, n=4, cutoff=0.75) if each != best]
    also = f" Similar: {', '.join(others)}." if others else ""
    return f"did you mean {best}?{also} {every}"


def first_line(error: BaseException) -> str:
    """The first line of another library's error, shortened; its type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
