"""Options of a verb that are fields of the recipe: `--training.learning_rate 1e-5`, `--method.alpha=3`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, get_args

import yaml

from expunge.core.settings import Part
from expunge.data.text.targets import classify_target
from expunge.errors import RecipeError
from expunge.runs.kinds import DEFAULT_TASK, kinds_of

SHORT = {
    "prompts": "evaluation.prompts",
    "benchmarks": "evaluation.benchmarks",
    "toxicity-prompts": "toxicity.prompts",
    "toxicity-groups": "toxicity.groups",
    "scorer": "toxicity.scorer",
    "anchors": "anchors.path",
    "anchors-from": "anchors.url",
    "columns": "data.columns",
    "lines": "data.lines",
}
"short options for longer field names; an underscore works like a hyphen"
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"numbers such as 1e-5, which YAML 1.1 takes for text if point or sign is missing"


def further_targets(first: str, tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """(all targets: the first one, and those before the options or given as --forget; the other tokens).

    Raises:
        RecipeError: several words, one of them a topic of a single word: the quotes may be missing.
    """
    targets, rest = [first], list(tokens)
    while rest and not rest[0].startswith("--"):
        targets.append(rest.pop(0))
    in_a_row, others = list(targets), list[str]()
    while rest:
        token = rest.pop(0)
        if token.startswith("--forget="):
            targets.append(token.partition("=")[2])
        elif token == "--forget" and rest:
            targets.append(rest.pop(0))
        else:
            others.append(token)
    for each in [*in_a_row[1:], first] if len(in_a_row) > 1 else ():
        if " " not in each and classify_target(each) == "topic":
            raise RecipeError(
                f"unexpected argument {each!r}",
                allowed="several targets in one run: files, folders and dataset ids, or topics",
                next_step='put text with spaces in quotes: "Harry Potter"; a further topic of one word is --forget WORD',
            )
    return targets, others


def read_overrides(tokens: Sequence[str], kind: type[Part] | None = None) -> dict[str, Any]:
    """Pairs of `--field value` (or `--field=value`) as a mapping; values are read as YAML, except those of text fields.

    `--forget` and `--columns` may be given several times: all of them count.

    Args:
        kind: the recipe whose fields they are; that of language models if not given.

    Raises:
        RecipeError: a value without a field, or a field without a value.
    """
    kind = kinds_of(DEFAULT_TASK)[0].recipe if kind is None else kind
    overrides: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise RecipeError(
                f"unexpected argument {token!r}",
                allowed="--FIELD VALUE, with a field of the recipe",
                next_step='put text with spaces in quotes: "Harry Potter"',
            )
        name, equals, value = token[2:].partition("=")
        if not equals:
            if not rest:
                raise RecipeError(f"the option --{name} has no value", next_step=f"give one: --{name} VALUE")
            value = rest.pop(0)
        name = SHORT.get(name.replace("_", "-"), name.replace("-", "_"))
        if name == "data" and _holds_fields(kind, name) and not isinstance(_value(value, None), dict):
            name = "forget"  # a part of that name holds settings; of a recipe for pictures it is the data
        read = _value(value, _text_field(kind, name))
        if name in overrides and name == "forget":
            before = overrides[name]
            read = [*(before if isinstance(before, list) else [before]), read]
        elif name in overrides and name == "data.columns":
            read = f"{overrides[name]},{read}"
        overrides[name] = read
    return overrides


def _holds_fields(kind: type[Part], name: str) -> bool:
    found = kind.model_fields[name].annotation if name in kind.model_fields else None
    return isinstance(found, type) and issubclass(found, Part)


def _text_field(kind: Any, name: str) -> str | None:
    """Whether a field of a recipe is text ("always"), text or nothing ("optional"), or something else (None)."""
    for part in name.split("."):
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, Part) else {}
        kind = fields[part].annotation if part in fields else None
    if kind is str:
        return "always"
    members = get_args(kind)  # of a union, as in `str | None`
    return None if str not in members else "optional" if type(None) in members else "always"


def _value(text: str, text_field: str | None) -> Any:
    if text_field == "always" or (text_field == "optional" and text not in ("null", "~")):
        return text  # a file or topic may be called 1984
    if SCIENTIFIC.fullmatch(text):
        return float(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, date) else value
