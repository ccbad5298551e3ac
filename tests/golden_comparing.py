"""A golden run held against its recording."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from golden_recording import Recording

CLOSE = 1e-6
"how far numbers may lie apart, relative or absolute"


@dataclass
class Found:
    """What a comparison found of a run: what differs, what differs a little, and what is worth a word."""

    different: list[str]
    little: list[str]
    notes: list[str]

    def verdict(self) -> str:
        return "DIFFERENT" if self.different else "within 1e-6" if self.little else "same bits"


WITH_WEIGHTS = ("per_example.json", "model/sisa.json")
"files that hold values behind the scores, or digests of weights: when bits differ, they must; what a model says need not"


def compare(before: Recording, after: Recording, shown: set[str]) -> Found:
    """Hold a run against its recording.

    Args:
        shown: differences of text that were shown before; they are counted only.
    """
    found = Found([], [], [])
    for name in sorted({*before, *after} - {"texts", "weights", "stages", "digests"}):
        compare_values(name, before.get(name), after.get(name), found)
    compare_weights(before.get("weights", {}), after.get("weights", {}), found)
    same = not found.different and not found.little
    for name, old in before.get("digests", {}).items():
        if (new := after.get("digests", {}).get(name)) != old:
            what = f"{name}: {'not there' if new is None else 'other content'}"
            (found.little if name in WITH_WEIGHTS and new is not None else found.different).append(what)
    for name, old_lines in before.get("texts", {}).items():
        compare_texts(name, old_lines, after.get("texts", {}).get(name, []), found, shown, exact=same)
    for name in sorted(set(after.get("texts", {})) - set(before.get("texts", {}))):
        found.different.append(f"{name}: a text that was not recorded")
    old_stages, new_stages = before.get("stages", {}), after.get("stages", {})
    for name in sorted({*old_stages, *new_stages}):
        if old_stages.get(name) != new_stages.get(name):
            there = "other bits" if name in old_stages and name in new_stages else (
                "not there any more" if name in old_stages else "new"
            )  # fmt: skip
            found.notes.append(f"stages/{name}: {there}")
    return found


def compare_values(name: str, old: Any, new: Any, found: Found) -> None:
    """Nested values: numbers, and texts of numbers, may differ a little."""
    if old == new and type(old) is type(new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if key not in new:
                found.different.append(f"{name}: {key} is gone")
            elif key not in old:
                found.different.append(f"{name}: {key} is new")
            else:
                compare_values(f"{name}: {key}", old[key], new[key], found)
    elif isinstance(old, list) and isinstance(new, list) and all(isinstance(each, str) for each in [*old, *new]):
        if gone := [each for each in old if each not in new]:
            found.different.append(f"{name}: gone: {', '.join(gone)}")
        if added := [each for each in new if each not in old]:
            found.different.append(f"{name}: new: {', '.join(added)}")
        if not gone and not added:
            found.different.append(f"{name}: in another order")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            compare_values(f"{name}[{number}]", one, other, found)
    else:
        one, other = numbers(old), numbers(new)
        if one is not None and other is not None and len(one) == len(other) and all(map(close, one, other)):
            found.little.append(f"{name}: {old} is now {new}")
        else:
            found.different.append(f"{name}: {old} is now {new}")


def numbers(value: Any) -> list[float] | None:
    """The numbers of a value, or of a text of numbers; None where it is something else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return [float(word) for word in value.split()] if isinstance(value, str) else [float(value)]
    except (TypeError, ValueError):
        return None


def close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def compare_weights(old: Mapping[str, Any], new: Mapping[str, Any], found: Found) -> None:
    """Digests of the tensors; where they differ, how far their figures lie apart."""
    flat_old = {f"{file}: {name}": told.split() for file, tensors in old.items() for name, told in tensors.items()}
    flat_new = {f"{file}: {name}": told.split() for file, tensors in new.items() for name, told in tensors.items()}
    for what, names in (("gone", flat_old.keys() - flat_new.keys()), ("new", flat_new.keys() - flat_old.keys())):
        if names:
            found.different.append(f"weights: {len(names)} tensors {what}: {', '.join(sorted(names)[:3])}")
    changed = [name for name in flat_old if name in flat_new and flat_old[name][0] != flat_new[name][0]]
    if not changed:
        return
    absolute, relative, where = 0.0, 0.0, ""
    for name in changed:
        one, other = ([float(figure) for figure in told[name][1:]] for told in (flat_old, flat_new))
        if len(one) != len(other) or not one:
            absolute = relative = math.inf
            where = name
            continue
        size = max(one[1], other[1], 1e-30)
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            off = abs(a - b) if math.isfinite(a - b) else (0.0 if repr(a) == repr(b) else math.inf)
            share = off / (max(abs(a), abs(b), 1e-30) if number == 2 else size)
            absolute = max(absolute, off)
            if share > relative:
                relative, where = share, name
    what = (
        f"weights: {len(changed)} of {len(flat_old)} tensors have other bits; their sums, sums of sizes and largest "
        f"sizes differ by at most {absolute:.3g}, relative {relative:.3g}" + (f" ({where})" if where else "")
    )
    (found.little if relative <= CLOSE else found.different).append(what)


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def compare_texts(
    name: str, old: Sequence[str], new: Sequence[str], found: Found, shown: set[str], *, exact: bool
) -> None:
    """Lines of text, as a diff. Unless `exact`, a number may differ by one in its last digit."""
    if list(old) == list(new):
        return
    if not exact and len(old) == len(new) and all(map(nearly, old, new)):
        count = sum(a != b for a, b in zip(old, new, strict=True))
        found.little.append(f"{name}: {count} lines differ in a last digit")
        return
    told, again = [], 0
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        gone, added = old[i:j], new[k:m]
        for number in range(max(len(gone), len(added))):
            pair = [lines[number] if number < len(lines) else "" for lines in (gone, added)]
            start = next((at for at, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
            for sign, line in zip("-+", pair, strict=True):
                if line and sign + line in shown:
                    again += 1
                elif line:
                    shown.add(sign + line)
                    told.append(sign + around(line, start))
    head = f"{name}: the text differs" + (f" ({again} lines as shown above)" if again else "")
    most = 40
    if len(told) > most:
        told[most:] = [f"… and {len(told) - most} lines more"]
    found.different.append("\n      ".join([head, *told]))


def around(line: str, start: int, width: int = 200) -> str:
    """What a long line has near a place."""
    first = max(0, min(start - 60, len(line) - width))
    return ("… " if first else "") + line[first : first + width] + (" …" if first + width < len(line) else "")


def nearly(one: str, other: str) -> bool:
    """Whether two lines are the same but for last digits of their numbers."""
    if one == other:
        return True
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        digits = max(len(text.partition(".")[2]) for text in (a, b)) if "e" not in a + b else 0
        step = 10.0**-digits if "e" not in a + b else CLOSE
        if abs(float(a.replace(",", "")) - float(b.replace(",", ""))) > 1.001 * step:
            return False
    return True
