"""Several targets: which blocks of the forget set, prompts and secrets belong to which.

Targets are several paths or ids, topics, or the lines of one list of facts.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.data.text.document import Document
from expunge.data.text.notes import Notes
from expunge.data.text.readers import how_lines_are_read, read_documents
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.by_target import Target, share_of_each
from expunge.kinds.language.measures.familiarity import TargetTerms
from expunge.kinds.language.measures.prompts import cut_prompts
from expunge.kinds.language.measures.secret import Secret
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.context import Run

MOST = 100
"targets measured separately, at most: the limit of names in a list"


def targets_apart(
    run: Run[Recipe],
    forget: TextSet,
    table: TokenTable,
    base: LazyModel,
    terms: TargetTerms | None,
    secrets: Sequence[Secret],
) -> list[Target]:
    """Each of several targets with its blocks, prompts and secrets; empty if there is only one.

    Args:
        table: the forget set as tokens.
        terms: terms that prompts are cut before; None: without prompts.
        secrets: the run's secrets, looked up in each target.
    """
    recipe = run.recipe
    names = _names(recipe, forget)
    if len(names) < 2:
        return []

    def make() -> list[tuple[int, int]]:
        of_each = itertools.groupby(_documents(recipe, forget), lambda each: each[0])
        return [
            (of, sum(1 for _ in iterate_blocks((each for _, each in group), base.tokenizer, recipe.data.block_size)))
            for of, group in of_each
        ]

    made_from = {"tokens": table.folder.name, "targets": storage.digest_value([names, _topics(forget)])}
    runs = run.cached_json("targets", made_from, make, "targets.json")
    owners = [of for of, count in runs for _ in range(count)]
    if len(names) > MOST:
        run.notice(f"{MOST} of the {len(names)} targets are measured separately, and all of them together")
        names = names[:MOST]
    wanted = min(share_of_each(len(names)), recipe.evaluation.max_prompts or len(owners))
    held = _holders(recipe, forget, secrets)
    found = []
    for number, name in enumerate(names):
        own = table.take([row for row, of in enumerate(owners) if of == number])
        cut = cut_prompts(base(), own, terms, wanted, recipe.seed) if terms is not None and len(own) else ([], [])
        found.append(Target(name=name, table=own, completion=cut[0], probability=cut[1], secrets=held.get(number, ())))
    return found


def sizes_of(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """For the record: each target's name, split, blocks and tokens."""
    return [
        {"name": each.name, "split": each.split, "blocks": len(each.table), "tokens": each.table.tokens}
        for each in targets
    ]


def _names(recipe: Recipe, forget: TextSet) -> list[str]:
    """The name of each target: the last part of a file's path, the line number of a fact, since its text is private."""
    if forget.generated:
        return list(recipe.targets)
    if len(forget.targets) == 1:
        return [f"line {source.rpartition(':')[2]}" for source in _facts(forget)]
    names = [Path(each).name if recipe.forget_kind == "path" else each for each in forget.targets]
    twice = Counter(names)
    return [name if twice[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def _facts(forget: TextSet) -> list[str]:
    """The line of each fact of a set that is a list of facts; empty if it is not."""
    path = Path(forget.target).expanduser()
    if not path.is_file() or how_lines_are_read(path, forget.columns.lines) != "facts":
        return []
    return list(dict.fromkeys(document.source for document in forget.documents()))


def _topics(forget: TextSet) -> list[str | None]:
    """The topic of each line of the model's answers."""
    if not forget.generated:
        return []
    lines = Path(forget.target).read_text(encoding="utf-8").splitlines()
    return [json.loads(line).get("topic") if line.strip() else None for line in lines]


def _documents(recipe: Recipe, forget: TextSet) -> Iterator[tuple[int, Document]]:
    """The forget set's documents, each with the number of its target; -1 if that is unknown."""
    if forget.generated:
        numbers = {topic: number for number, topic in enumerate(recipe.targets)}
        of_line = [numbers.get(str(topic), -1) for topic in _topics(forget)]
        for document in forget.documents():
            yield of_line[int(document.source.rpartition(":")[2]) - 1], document
    elif len(forget.targets) == 1:
        of_source = {source: number for number, source in enumerate(_facts(forget))}
        for document in forget.documents():
            yield of_source[document.source], document
    else:
        for number, target in enumerate(forget.targets):
            for document in read_documents(target, Notes(forget.columns)):
                yield number, document


def _holders(recipe: Recipe, forget: TextSet, secrets: Sequence[Secret]) -> dict[int, list[int]]:
    """Number of a target -> indices of the secrets in it."""
    found: dict[int, list[int]] = {}
    for number, document in _documents(recipe, forget) if secrets else ():
        text = f"{document.prompt or ''}\n{document.text}"
        for place, secret in enumerate(secrets):
            if secret.text in text and place not in found.setdefault(number, []):
                found[number].append(place)
    return found
