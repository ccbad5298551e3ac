"""Token probabilities over the steps of unlearning: which tokens and which steps are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.core.safe_text import visible

TOKENS = 7
"tokens shown for a prompt: the number of colours that everyone can distinguish"
COLUMNS = 7
"steps shown in a table, as in the paper's"


@dataclass(frozen=True)
class Probe:
    """One prompt tracked through unlearning.

    `tokens` maps a printable token to its probabilities, one a step of `steps`, None if it was not recorded;
    `columns` are the places in `steps` that the table shows; `left_out` counts tokens beyond the shown ones.
    """

    prompt: str
    steps: tuple[int, ...]
    tokens: dict[str, tuple[float | None, ...]]
    columns: tuple[int, ...]
    left_out: int


def probes(events: Sequence[Mapping[str, Any]]) -> list[Probe]:
    """One `Probe` per prompt, in the order they were first recorded."""
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for event in events:
        for row in event.get("prompts") or ():
            found.setdefault(str(row["prompt"]), {})[int(event["step"])] = row["tokens"]
    return [_probe(prompt, by_step) for prompt, by_step in found.items()]


def _probe(prompt: str, by_step: Mapping[int, Mapping[str, float]]) -> Probe:
    steps = tuple(sorted(by_step))
    tokens = list(dict.fromkeys(token for step in steps for token in by_step[step]))
    series = {token: tuple(by_step[step].get(token) for step in steps) for token in tokens}
    largest = sorted(tokens, key=lambda token: -max(p for p in series[token] if p is not None))[:TOKENS]
    largest.sort(key=lambda token: -(series[token][0] or 0.0))
    names = _names(largest)
    return Probe(
        prompt=prompt,
        steps=steps,
        tokens={names[token]: series[token] for token in largest},
        columns=tuple(evenly(len(steps), COLUMNS)),
        left_out=len(tokens) - len(largest),
    )


def evenly(length: int, wanted: int) -> list[int]:
    """At most `wanted` indices out of `length`, evenly spread, including the first and the last."""
    if length <= wanted:
        return list(range(length))
    return sorted({round(place * (length - 1) / (wanted - 1)) for place in range(wanted)})


def _names(tokens: Sequence[str]) -> dict[str, str]:
    """Printable names: the leading space is dropped, and shown only if two tokens would look the same."""
    bare = {token: visible(token.strip(" ")) for token in tokens}
    alike = [name for name in bare.values() if list(bare.values()).count(name) > 1]
    return {
        token: visible(token.replace(" ", "␣")) if name in alike or not name else name for token, name in bare.items()
    }
