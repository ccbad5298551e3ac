"""The order of runs: on one base model one after another, each from the newest model, and only the last one decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.errors import RunError
from expunge.requests.chain import Chain, Event
from expunge.requests.states import STATE_AFTER, name_of


def newest_passed(chain: Chain, base: str) -> Event | None:
    """The event of the run that passed last, of those from a base model; None if none passed."""
    bases = {each.content["name"]: each.content["base"] for each in chain.events("kind = 'started'")}
    passed = reversed(chain.events("kind = 'passed'"))
    return next((each for each in passed if bases.get(each.content["name"]) == base), None)


def refuse_fork(chain: Chain, body: Mapping[str, Any]) -> None:
    """Raise unless a run may start: with two at once, neither model would have forgotten the other's requests.

    Args:
        body: of the event `started`.
    """
    for request, started in _running(chain).items():
        if started.content["base"] == body["base"]:
            name = name_of(request)
            raise RunError(
                f"the run {started.content['name']} on {body['base']} has not ended, and the next one starts from its model",
                seen=f"{name} is running",
                next_step=f"expunge request run {name} --recipe FILE; or: expunge request reopen {name} --reason TEXT",
            )
    newest = newest_passed(chain, body["base"])
    if body.get("from", now := newest and newest.content["model"]) != now:
        raise RunError(f"another run on {body['base']} passed just now", next_step="run the command again")


def refuse_late_end(chain: Chain, kind: str, numbers: Sequence[int], body: Mapping[str, Any]) -> None:
    """Raise unless a run may decide its requests: it is the last one that each was started in, and none passed since.

    Args:
        kind: `passed` or `failed`.
        body: of that event.
    """
    for number in numbers:
        started = _last_started(chain, number)
        if started.content["name"] != body["name"]:
            raise RunError(
                f"the run {body['name']} was given up: it decides nothing for {name_of(number)}",
                seen=f"{name_of(number)} is running as {started.content['name']}",
                next_step=f"expunge request show {name_of(number)}",
            )
    if kind == "failed":
        return
    started = _last_started(chain, numbers[0])
    newest = newest_passed(chain, started.content["base"])
    if newest is not None and newest.seq > started.seq:
        raise RunError(
            f"{newest.content['name']} passed since {body['name']} began: each model lacks what the other one forgot",
            next_step=f"expunge request reopen {name_of(numbers[0])} --reason TEXT, and run it again from the newest model",
        )


def note_returned(chain: Chain, body: Mapping[str, Any]) -> None:
    """Append `returned` to each earlier request that came back in a model that passed, unless it was closed since.

    Args:
        body: of the event `passed`.
    """
    states = _states(chain)
    for run in body.get("earlier", ()):
        for number in run["requests"] if run["back"] else ():
            if states[number] == "passed":
                chain.append("returned", number, {"name": body["name"], "model": body["model"], "checks": run["back"]})


def _last_started(chain: Chain, number: int) -> Event:
    return chain.events("request = ? AND kind = 'started'", (number,))[-1]


def _running(chain: Chain) -> dict[int, Event]:
    """Request -> the start of the run that it is in."""
    states = _states(chain)
    return {request: _last_started(chain, request) for request, state in states.items() if state == "running"}


def _states(chain: Chain) -> dict[int, str]:
    rows = chain.query("SELECT request, kind FROM events WHERE request > 0 ORDER BY request, seq")
    return {request: STATE_AFTER[kind] for request, kind in rows if kind in STATE_AFTER}
