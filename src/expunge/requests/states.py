"""The states of a request, and which events lead from one to another."""

from __future__ import annotations

import calendar
import re
from datetime import MAXYEAR, date

from expunge.errors import RecipeError, RunError

STATE_AFTER = {
    "added": "open",
    "started": "running",
    "reopened": "open",
    "passed": "passed",
    "failed": "failed",
    "returned": "failed",
    "refused": "refused",
    "closed": "closed",
}
"event -> state; other events do not change the state"
ALLOWED = {
    "added": ("new",),
    "extended": ("open", "running", "failed"),
    "refused": ("open", "failed"),
    "started": ("open", "failed"),
    "reopened": ("running",),
    "passed": ("running",),
    "failed": ("running",),
    "returned": ("passed",),
    "told": ("open", "running", "passed", "failed", "refused"),
    "closed": ("open", "passed", "failed", "refused"),
}
"event -> the states in which it is allowed"
MONTHS, MORE_MONTHS = 1, 2
"GDPR Art. 12(3): one month from receipt, extendable by two further months"


def refuse_event(kind: str, request: int, state: str) -> None:
    """Raise unless an event is allowed in a state."""
    if state not in ALLOWED[kind]:
        raise RunError(
            f"{name_of(request)} is {state}: it cannot be {kind}",
            allowed=f"a request that is {' or '.join(ALLOWED[kind])}",
            next_step=f"expunge request show {name_of(request)}",
        )


def name_of(request: int) -> str:
    """R000012"""
    return f"R{request:06d}"


def number_of(name: str) -> int:
    """The number in R000012, R12 or 12."""
    found = re.fullmatch(r"[Rr]?(\d{1,12})", name)
    if found is None or int(found[1]) == 0:
        raise RecipeError(
            f"{name!r} is not a request", allowed="an id such as R000012", next_step="expunge request list"
        )
    return int(found[1])


def read_date(text: str) -> date:
    """A date as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise RecipeError(f"{text!r} is not a date", allowed="YYYY-MM-DD") from error


def add_months(day: date, months: int) -> date:
    """The same day `months` months later, or the last day of a month without it. Raises `RecipeError` after 9999."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    if year > MAXYEAR:
        raise RecipeError(f"{months} months after {day} is not a date", allowed=f"years up to {MAXYEAR}")
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
