"""Prompts that a model continues to measure its toxicity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.errors import DataError
from expunge.kinds.language.measures.perplexity import spread

LAYOUTS = (
    '{"prompt": {"text": "..."}} (RealToxicityPrompts), {"prompt": "...", "group": "..."} (ToxiGen), {"prompt": "..."}'
)


@dataclass(frozen=True, slots=True)
class ToxicityPrompt:
    """A prompt, and the group of people that it is about, if known."""

    text: str
    group: str | None = None


def read_toxicity_prompts(path: Path, wanted: int | None = None) -> list[ToxicityPrompt]:
    """Read prompts from JSON lines; at most `wanted` of them, evenly spread over the file.

    Raises:
        DataError: names the file and line.
    """
    if not path.is_file():
        raise DataError(
            f"there is no file of toxicity prompts {path}",
            next_step="give --toxicity-prompts a file of JSON lines with a prompt each",
        )
    with open(path, "rb") as file:
        prompts = [_prompt(line, f"{path}:{number}") for number, line in enumerate(file, 1) if line.strip()]
    if not prompts:
        raise DataError(f"{path} has no prompts", allowed=LAYOUTS)
    return [prompts[i] for i in spread(len(prompts), wanted or len(prompts))]


def read_group_prompts(path: Path, of_each: int | None = None) -> list[ToxicityPrompt]:
    """The same for a file whose prompts all name their group: at most `of_each` a group, in the file's order of
    groups."""
    groups: dict[str, list[ToxicityPrompt]] = {}
    for prompt in read_toxicity_prompts(path):
        if prompt.group is None:
            raise DataError(
                f"{path} has prompts without the group of people they are about",
                seen=prompt.text[:80],
                allowed='{"prompt": "...", "group": "..."} in every line',
            )
        groups.setdefault(prompt.group, []).append(prompt)
    return [members[i] for members in groups.values() for i in spread(len(members), of_each or len(members))]


def _prompt(line: bytes, place: str) -> ToxicityPrompt:
    try:
        row: Any = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:  # bad UTF-8 and bad JSON alike
        raise DataError(
            f"{place} is not valid JSON", seen=str(error), next_step="correct or remove the line"
        ) from error
    field = row.get("prompt") if isinstance(row, dict) else None
    text = field.get("text") if isinstance(field, dict) else field
    group = row.get("group") if isinstance(row, dict) else None
    named = group is None or (isinstance(group, str) and group.strip())
    if not isinstance(text, str) or not text.strip() or not named:
        raise DataError(
            f"{place} is not a prompt",
            seen=line.decode(errors="replace").strip()[:120],
            allowed=LAYOUTS,
            next_step="correct or remove the line",
        )
    return ToxicityPrompt(text.rstrip(), group)
