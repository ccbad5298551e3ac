"""The generated world: the same for a seed, other people for another, true and false answers told apart."""

from __future__ import annotations

from expunge.data.text.world import make_world


def test_a_world_is_a_function_of_seed_and_size() -> None:
    assert make_world(4, 1) == make_world(4, 1)
    assert make_world(6, 1)[:20] == make_world(4, 1)


def test_people_share_nothing_but_the_form() -> None:
    one, other = make_world(30, 0), make_world(30, 1)
    people = {fact.person for fact in one}
    assert len(people) == 30
    assert not people & {fact.person for fact in other}
    assert len({fact.question for fact in one}) == len(one) == 150


def test_answers_name_the_person_and_false_ones_are_others() -> None:
    for fact in make_world(20, 3):
        assert fact.person in fact.question
        assert fact.person in fact.answer
        assert all(fact.person in paraphrase for paraphrase in fact.paraphrases)
        assert len(set(fact.false_answers)) == 3
        assert fact.answer not in fact.false_answers
        assert set(fact.row()) == {"question", "answer"}
