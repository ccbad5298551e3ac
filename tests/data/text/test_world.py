"""The generated world: the same for a seed, other people for another, true and false answers told apart, and no fact that
others give away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from expunge.data.text.world import WorldFact, make_world
from expunge.data.text.world_relations import INSTRUMENTS, OF_PERSON, OF_PLACE, PROFESSIONS, TRADES

SHARED = {"profession": PROFESSIONS, "instrument": INSTRUMENTS, "trade": TRADES}
"relation -> what its value is one of"


def test_a_world_is_a_function_of_seed_and_size() -> None:
    assert make_world(4, 1, 2) == make_world(4, 1, 2)
    assert make_world(6, 1)[:20] == make_world(4, 1)


def test_people_share_nothing_but_the_form() -> None:
    one, other = make_world(30, 0), make_world(30, 1)
    people = {fact.subject for fact in one}
    assert len(people) == 30
    assert not people & {fact.subject for fact in other}
    assert len({fact.question for fact in one}) == len(one) == 150


@pytest.mark.parametrize("relation", [*OF_PERSON, *OF_PLACE], ids=lambda relation: relation.name)
def test_every_form_names_the_subject_and_only_answers_the_value(relation: object) -> None:
    found = [fact for fact in make_world(8, 3, 8) if fact.relation is relation]
    assert len(found) == 8
    for fact in found:
        asked = [fact.question, *fact.paraphrases, fact.cloze]
        assert len(set(asked)) == 3
        for text in asked:
            assert fact.subject in text
            assert fact.value not in text
        for text in (fact.answer, fact.paraphrased_answer):
            assert fact.subject in text
            assert fact.value.lower() in text.lower()
        assert len({fact.value, *fact.false_values}) == 4
        assert len({fact.answer, *fact.false_answers}) == 4
        choices = fact.choice.partition(" Choose one: ")[2].rstrip(".").split("; ")
        assert set(choices) == {fact.value, *fact.false_values}
        assert choices[fact.place] == fact.value
        if fact.reversed is not None:
            assert fact.value in fact.reversed
            assert fact.subject not in fact.reversed
        assert set(fact.row()) == {"question", "answer"}
        assert fact.forms()["statement"] == fact.answer
    assert len({fact.place for fact in found}) > 1


@pytest.fixture(scope="module")
def world() -> list[WorldFact]:
    return make_world(260, 7, 130)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_a_name_occurs_in_one_fact_alone(world: Sequence[WorldFact]) -> None:
    """So that of an answer that is a name, no other fact tells anything."""
    told = Counter(word for fact in world for word in words(fact.answer) | words(fact.question))
    subjects = {word for fact in world for word in words(fact.subject)}
    named = [fact for fact in world if fact.relation.reversed is not None]
    assert len(named) == 2 * 260 + 3 * 130
    for fact in named:
        assert {told[word] for word in words(fact.value)} == {1}
        assert not words(fact.value) & subjects


def predicted(facts: Sequence[WorldFact], relation: str) -> list[float]:
    """The accuracy, on the second half of the subjects, of predictors that read the first: what is most frequent there,
    alone and with each other shared value of the subject, the first letters of its name, and the subject before."""
    by_subject: dict[str, dict[str, str]] = defaultdict(dict)
    for fact in facts:
        by_subject[fact.subject][fact.relation.name] = fact.value
    rows = [(name, values) for name, values in by_subject.items() if relation in values]
    clues: list[Callable[[int], str]] = [
        lambda i: "",
        lambda i: rows[i][0][0],
        lambda i: rows[i][0].split()[-1][:2],
        lambda i: rows[i - 1][1][relation],
        *(
            lambda i, other=other: rows[i][1].get(other, "")  # type: ignore[misc]
            for other in SHARED
            if other != relation
        ),
        lambda i: next((v[:3] for name, v in rows[i][1].items() if "year" in name), ""),
    ]
    half, accuracies = len(rows) // 2, []
    for clue in clues:
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for i in range(1, half):
            seen[clue(i)][rows[i][1][relation]] += 1
            seen[""][rows[i][1][relation]] += clue(i) != ""
        right = [
            max(seen[clue(i)] or seen[""], key=(seen[clue(i)] or seen[""]).__getitem__) == rows[i][1][relation]
            for i in range(half, len(rows))
        ]
        accuracies.append(sum(right) / len(right))
    return accuracies


def most_by_chance(relation: str, n: int) -> float:
    """What an accuracy by chance exceeds in fewer than one of 10,000 cases."""
    chance = 1 / len(SHARED[relation])
    return chance + 3.8 * (chance * (1 - chance) / n) ** 0.5 + 0.5 / n


@pytest.mark.parametrize("relation", SHARED)
def test_values_that_are_shared_are_predicted_by_chance_from_the_other_half(
    relation: str, world: Sequence[WorldFact]
) -> None:
    number = sum(fact.relation.name == relation for fact in world)
    assert max(predicted(world, relation)) < most_by_chance(relation, number // 2)


def test_a_world_that_gave_facts_away_would_be_found_out(world: Sequence[WorldFact]) -> None:
    leaking = [
        fact
        if fact.relation.name != "profession"
        else WorldFact(fact.subject, fact.relation, PROFESSIONS[ord(fact.subject[0]) % 12], fact.false_values)
        for fact in world
    ]
    assert max(predicted(leaking, "profession")) > 0.9


def test_years_are_spread_evenly(world: Sequence[WorldFact]) -> None:
    from scipy.stats import kstest

    for name, first, width in (("birth year", 1700, 250), ("founding year", 1100, 550)):
        years = [int(fact.value) for fact in world if fact.relation.name == name]
        assert kstest([(year - first) / width for year in years], "uniform").pvalue > 1e-3
        steps = [b - a for a, b in pairwise(years)]
        assert abs(sum(steps)) < width
