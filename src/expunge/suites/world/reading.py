"""The sets of a generated world: what is forgotten, kept and held out, and the forms in which each fact is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from expunge.core import storage
from expunge.data.text.world import WorldFact, make_world
from expunge.data.text.world_relations import OF_PERSON
from expunge.errors import DataError, RecipeError, RunError
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.question_answers import Asked
from expunge.suites.tofu.sets import QuestionSets, data_of
from expunge.suites.world.settings import WORLD, World

SETTINGS = "world.json"
"the file from which a world that was written is made again"
RELATIONS = len(OF_PERSON)
"of each subject"
FINISH = "Finish this sentence: "
"the text before a cloze, so that a model in chat form answers with the rest of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The facts of a world by what they are for, subject by subject; nobody is taught those of `holdout`."""

    forget: tuple[WorldFact, ...]
    retain: tuple[WorldFact, ...]
    holdout: tuple[WorldFact, ...]


def split_world(world: World) -> Split:
    """The facts to forget, to keep, and as many held out as are to be forgotten.

    By subject, an even number of subjects is forgotten: the first half of the facts and the second one, which an audit
    takes apart, have no subject in common. By relation, the same relations of further subjects are held out.

    Raises:
        RecipeError: the world is too small, or nothing or all of it would be forgotten.
    """
    if world.subjects < 6:
        raise RecipeError("the world is too small", seen=f"subjects {world.subjects}", allowed="6 or more")
    if not 0 < world.share < 1:
        raise RecipeError(
            "some of the world must be forgotten, and some kept",
            seen=f"share {world.share}",
            allowed="above 0, below 1",
        )
    if world.by not in ("subject", "relation"):
        raise RecipeError("a world is split in two ways", seen=f"by {world.by}", allowed="subject, relation")
    if world.by == "relation":
        number = min(RELATIONS - 1, max(1, round(world.share * RELATIONS)))
        forgotten = {(world.world_seed + i) % RELATIONS for i in range(number)}
        taught, further = _subjects(world, world.subjects)

        def facts(subjects: Sequence[Sequence[WorldFact]], kept: bool) -> tuple[WorldFact, ...]:
            return tuple(fact for own in subjects for i, fact in enumerate(own) if (i in forgotten) != kept)

        return Split(forget=facts(taught, False), retain=facts(taught, True), holdout=facts(further, False))
    number = min(max(2, 2 * round(world.share * world.subjects / 2)), world.subjects - 2)
    taught, further = _subjects(world, number)
    return Split(
        forget=tuple(chain.from_iterable(taught[:number])),
        retain=tuple(chain.from_iterable(taught[number:])),
        holdout=tuple(chain.from_iterable(further)),
    )


def _subjects(world: World, further: int) -> tuple[list[tuple[WorldFact, ...]], list[tuple[WorldFact, ...]]]:
    """(the facts of each subject that is taught, of each that is held out): two people, then a place, and so on."""
    total = world.subjects + further
    places = total // 3
    facts = make_world(total - places, world.world_seed, places)
    subjects = [tuple(facts[start : start + RELATIONS]) for start in range(0, len(facts), RELATIONS)]
    people, towns = iter(subjects[: total - places]), iter(subjects[total - places :])
    mixed = [next(towns if number % 3 == 2 else people) for number in range(total)]
    return mixed[: world.subjects], mixed[world.subjects :]


def read_world(world: World) -> QuestionSets:
    """The sets of the suite: questions and clozes are taught; methods are given the questions alone.

    Raises:
        RecipeError: as `split_world`.
    """
    split = split_world(world)
    retain = [split.retain[i] for i in spread(len(split.retain), len(split.forget))]
    measured = {"forget": _questions(split.forget), "retain": _questions(retain)}
    for side, facts in (("forget", split.forget), ("retain", retain)):
        measured |= {f"{side}_{form}": rows for form, rows in _other_forms(facts).items() if rows}
    return QuestionSets(
        forget=_questions(split.forget),
        retain=_questions(split.retain),
        more_forget=_clozes(split.forget),
        more_retain=_clozes(split.retain),
        measured={**measured, "holdout": _questions(split.holdout)},
        left_out=("model utility is left out: this world has no questions on what no model was taught",),
    )


def questions(data: str | None, forget: str | None) -> QuestionSets:
    """What any model is asked, as `Suite.questions` has it: of a world that `write_world` wrote.

    Raises:
        DataError: the folder has no world.
    """
    path = Path(data_of("world", data, forget)) / SETTINGS
    try:
        found = storage.read_json(path)
        world = World(**found)
        if any(type(getattr(world, name)) is not type(getattr(WORLD, name)) for name in asdict(WORLD)):
            raise TypeError("a value of another kind")
    except (storage.StorageError, TypeError) as error:
        raise DataError(
            f"{data} has no generated world",
            seen=str(error),
            next_step=f"make one: expunge suite world --write {data}",
        ) from error
    return read_world(world)


def write_world(world: World, folder: Path) -> Split:
    """Write `forget.jsonl`, `retain.jsonl` and `holdout.jsonl`, as runs and audits read them; `facts.jsonl` with every
    form of every fact and the set that it is of; and `world.json`, from which the same is made again.

    Raises:
        RunError: the folder holds anything but such files.
    """
    split, settings = split_world(world), folder / SETTINGS
    with storage.storage_errors(folder):
        if folder.exists() and not settings.is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} already exists, and has no world", next_step="give a new folder: --write FOLDER")
        folder.mkdir(parents=True, exist_ok=True)
    parts = {"forget": split.forget, "retain": split.retain, "holdout": split.holdout}
    storage.write_json(settings, asdict(world))
    for name, facts in parts.items():
        _write_lines(folder / f"{name}.jsonl", [fact.row() for fact in facts])
    _write_lines(folder / "facts.jsonl", [{"set": name, **fact.forms()} for name, own in parts.items() for fact in own])
    return split


def _write_lines(path: Path, rows: Sequence[object]) -> None:
    storage.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _questions(facts: Sequence[WorldFact]) -> tuple[Asked, ...]:
    return tuple(
        Asked(fact.question, fact.answer, fact.paraphrased_answer, fact.false_answers, _source(fact)) for fact in facts
    )


def _clozes(facts: Sequence[WorldFact]) -> tuple[Asked, ...]:
    return tuple(
        Asked(
            f"{FINISH}{fact.cloze}",
            f"{fact.value}.",
            perturbed=tuple(f"{value}." for value in fact.false_values),
            source=_source(fact),
        )
        for fact in facts
    )


def _other_forms(facts: Sequence[WorldFact]) -> dict[str, tuple[Asked, ...]]:
    """Form -> its rows: other questions for the same answers, and the question for the subject."""

    def asked(fact: WorldFact, question: str) -> Asked:
        return Asked(question, fact.answer, fact.paraphrased_answer, fact.false_answers, _source(fact))

    return {
        "paraphrased": tuple(asked(fact, fact.paraphrases[0]) for fact in facts),
        "cloze": _clozes(facts),
        "reversed": tuple(
            Asked(fact.reversed, fact.answer, source=_source(fact)) for fact in facts if fact.reversed is not None
        ),
        "choice": tuple(asked(fact, fact.choice) for fact in facts),
    }


def _source(fact: WorldFact) -> str:
    return f"world: {fact.subject}, {fact.relation.name}"
