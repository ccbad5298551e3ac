"""Attacks on a tiny language model: what each changes, and that what it measures is what it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.data.text.document import Document
from expunge.errors import DataError
from expunge.kinds.language.attacks import probing
from expunge.kinds.language.attacks.attack import Attack, Side, attacks
from expunge.kinds.language.attacks.facts import ASKED, GIVEN, Facts, Row, batch_of, read_facts, recall
from expunge.kinds.language.attacks.lens import final_norm, through_lens
from expunge.kinds.language.attacks.membership import scores
from expunge.kinds.language.attacks.patching import patched
from expunge.kinds.language.attacks.probing import mismatched, told
from expunge.kinds.language.attacks.prompts import forms
from expunge.kinds.language.attacks.sampling import leak_at
from expunge.kinds.language.attacks.steering import RADIUS, found_direction
from expunge.kinds.language.attacks.swapped_names import swapped
from expunge.kinds.language.attacks.weights import matrices
from expunge.runs.audit import Audit
from tiny import load_task

Make = Callable[..., Side]

ROWS = [
    Document(f"It was the {number}th night, said Watson.", f"Which night was it, number {number}?", f"x:{number}")
    for number in range(12)
]
TEXT = [
    Document(
        " ".join(f"On night {number} Holmes walked {number * 7} steps along Baker Street." for number in range(60)),
        None,
        "book.txt:1",
    )
]


@pytest.fixture
def side(tiny_model_folder: Path) -> Make:
    """A side of an audit of the tiny model, on these documents."""

    def make(documents: Sequence[Document] = ROWS, holdout: Facts | None = None) -> Side:
        task = load_task(tiny_model_folder)
        facts = read_facts(lambda: documents, task.tokenizer, 8, 128, "forget set")
        other = read_facts(lambda: TEXT, task.tokenizer, 8, 128, "retain set")
        rows = [fact.taught for fact in other.every]
        return Side(
            look=lambda: task,
            fresh=lambda: load_task(tiny_model_folder),
            base=lambda: load_task(tiny_model_folder),
            tokenizer=task.tokenizer,
            facts=facts,
            retain=rows,
            ordinary=rows,
            holdout=holdout,
            settings=Audit(relearning_steps=3, samples=2),
        )

    return make


def by_name(name: str) -> Attack:
    return next(attack for attack in attacks() if attack.name == name)


def test_facts_of_a_text_are_passages_and_of_rows_the_answers(tiny_model_folder: Path) -> None:
    tokenizer = load_task(tiny_model_folder).tokenizer
    passages = read_facts(lambda: TEXT, tokenizer, 6, 128, "forget set")
    assert len(passages.every) == 6
    assert {(len(f.asked.ids), f.asked.first) for f in passages.every} == {(GIVEN + ASKED, GIVEN)}
    whole = TEXT[0].text
    assert all(f.before.strip() in whole and f.answer in whole for f in passages.every)
    rows = read_facts(lambda: ROWS, tokenizer, 100, 128, "forget set")
    assert [f.question for f in rows.every] == [row.prompt for row in ROWS]
    assert [f.answer for f in rows.every] == [row.text for row in ROWS]
    assert sorted([*rows.given, *rows.held_back]) == list(range(12))
    assert max(rows.given) < min(rows.held_back)


def test_too_few_facts_are_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(DataError, match="too few facts"):
        read_facts(lambda: ROWS[:3], load_task(tiny_model_folder).tokenizer, 8, 128, "forget set")


def test_recall_is_the_geometric_mean_probability(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    rows = [Row((5, 6, 7, 8, 9), 3), Row((11, 12, 13), 1)]
    for row, found in zip(rows, recall(task, rows), strict=True):
        with torch.no_grad():
            log_p = task.model(input_ids=torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        own = [float(log_p[at - 1, row.ids[at]]) for at in range(row.first, len(row.ids))]
        assert found == pytest.approx(math.exp(sum(own) / len(own)), rel=1e-5)


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
@pytest.mark.parametrize("documents", [ROWS, TEXT], ids=["questions", "text"])
def test_every_attack(
    side: Make, attack: Attack, documents: Sequence[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the model as it was, gives a value between 0 and 1 of every fact that it names, and twice the same."""
    tokenizer = side().look().tokenizer
    holdout = read_facts(lambda: ROWS, tokenizer, 8, 128, "holdout")
    one = side(documents, holdout)
    if attack.missing(one) is not None:
        assert attack.name == "probe"
        monkeypatch.setattr(probing, "FEWEST", 4)
    assert attack.missing(one) is None
    assert attack.cost(one) > 0
    before = {name: value.clone() for name, value in one.look().model.state_dict().items()}
    trials = list(attack.carry_out(one))
    assert trials
    for trial in trials:
        assert len(trial.values) == len(trial.facts) > 0
        assert max(trial.facts) < len(one.facts.every)
        assert all(0 <= value <= 1 for value in trial.values)
    assert len({trial.setting for trial in trials}) == len(trials)
    after = one.look().model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = list(attack.carry_out(side(documents, holdout)))
    assert [trial.row() for trial in again] == [trial.row() for trial in trials]


def test_attackers_that_train_are_asked_for_what_they_were_not_given(side: Make) -> None:
    one = side()
    for name in ("relearn", "relearn_rates", "relearn_benign", "latent"):
        for trial in by_name(name).carry_out(one):
            assert not set(trial.facts) & set(one.facts.given)


def test_relearning_learns(side: Make) -> None:
    one = side()
    one.settings = Audit(relearning_steps=30)
    plain = np.mean(recall(one.look(), one.asked(one.facts.held_back)))
    best = max(np.mean(trial.values) for trial in by_name("relearn_rates").carry_out(one))
    assert best > 1.5 * plain


def test_quantization_rounds_the_layers_alone(side: Make) -> None:
    names = set(matrices(side().look()))
    assert all(".layers." in name for name in names)
    assert len(names) == 2 * 7
    figures = by_name("quantize").notes(side())
    assert figures == {
        "share of the change that the rounding keeps": dict.fromkeys(
            ("8 bits, a scale a row", "4 bits, groups of 64", "NF4, groups of 64")
        )
    }


def test_the_lens_on_the_last_layer_is_the_model(side: Make) -> None:
    one = side()
    task, rows = one.look(), one.asked()
    last = len(task.layers)
    assert through_lens(task, final_norm(task), rows, [1, last])[last] == pytest.approx(recall(task, rows), rel=1e-4)


def test_forms_ask_for_the_same_answer(side: Make) -> None:
    for documents in (ROWS, TEXT):
        one = side(documents)
        for words, rows in forms(one):
            for row, fact in zip(rows, one.facts.every, strict=True):
                asked = one.look().tokenizer.decode(list(row.ids[row.first :]), skip_special_tokens=True)
                assert asked.strip() == fact.answer, words
                assert row.ids != fact.asked.ids or words.startswith("after 0")


def test_states_of_the_same_model_change_nothing_and_those_of_another_do(side: Make, tiny_model_folder: Path) -> None:
    one = side()
    task, rows = one.look(), [row for row in one.asked() if len(row.ids) == len(one.asked()[0].ids)]
    plain = recall(task, rows)
    assert patched(load_task(tiny_model_folder), task, rows, 1) == pytest.approx(plain, rel=1e-4)
    other = load_task(tiny_model_folder)
    with torch.no_grad():
        for p in other.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    # After the last layer all is the other's but the output layer; after the first one the rest is the base's.
    moved = patched(other, task, rows, 1)
    assert moved != pytest.approx(plain, rel=1e-2)
    assert moved != pytest.approx(recall(other, rows), rel=1e-2)


def test_templates_of_the_user_are_filled(side: Make) -> None:
    for documents in (ROWS, TEXT):
        one = side(documents)
        one.settings = Audit(templates=("Frage: {} Antworte genau.",))
        _, rows = next(form for form in forms(one) if form[0].startswith("as 'Frage"))
        fact, row = one.facts.every[0], rows[0]
        prompt = one.look().tokenizer.decode(list(row.ids[: row.first]))
        assert f"Frage: {fact.question or fact.before}" in prompt
        assert "Antworte genau." in prompt


def test_the_perturbation_stays_in_its_ball_and_helps(side: Make) -> None:
    one = side()
    task = one.fresh()
    task.model.requires_grad_(False)
    direction = found_direction(task, one, 1)
    rows = [one.facts.every[i].taught for i in one.facts.given]
    with torch.no_grad():
        length = float(task.hidden(batch_of(rows), 1).norm(dim=-1).mean())
    assert 0 < float(direction.norm()) <= RADIUS * length * 1.001
    values = {trial.setting: np.mean(trial.values) for trial in by_name("latent").carry_out(one)}
    assert max(values.values()) > np.mean(recall(task, one.asked(one.facts.held_back)))


def test_leak_at_k_is_the_mean_over_all_choices_of_k() -> None:
    for n, right, k in ((5, 2, 3), (8, 1, 1), (6, 0, 2), (4, 4, 2)):
        drawn = [any(i < right for i in chosen) for chosen in combinations(range(n), k)]
        assert leak_at(k, n, right) == pytest.approx(np.mean(drawn))


def test_membership_scores_are_those_written_out(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    rows = [Row(tuple(range(5, 25)), 1)]
    found = scores(task, task, rows, ["some text of it"])
    with torch.no_grad():
        log_p = task.model(input_ids=torch.tensor([rows[0].ids])).logits[0, :-1].double().log_softmax(-1)
    target = torch.tensor(rows[0].ids[1:])
    own = log_p.gather(1, target[:, None])[:, 0]
    mean = (log_p.exp() * log_p).sum(-1)
    standard = (own - mean) / ((log_p.exp() * log_p.square()).sum(-1) - mean.square()).sqrt()
    lowest = round(0.2 * len(own))
    assert found["loss"][0] == pytest.approx(float(own.mean()), rel=1e-5)
    assert found["min-k"][0] == pytest.approx(float(own.sort().values[:lowest].mean()), rel=1e-5)
    assert found["min-k++"][0] == pytest.approx(float(standard.sort().values[:lowest].mean()), rel=1e-4)
    assert found["reference"] == [pytest.approx(0.0, abs=1e-9)]


def test_membership_needs_unseen_texts(side: Make) -> None:
    assert "--holdout" in (by_name("membership").missing(side()) or "")


def test_names_are_replaced_everywhere_by_the_same(tiny_model_folder: Path) -> None:
    documents = [Document("Holmes met HOLMES at Baker Street; holmes is no name.", "Who is Holmes?", "a:1")]
    (found,) = swapped(lambda: documents, ["Sherlock Holmes", "baker street"], 0)()
    (again,) = swapped(lambda: documents, ["Sherlock Holmes", "baker street"], 0)()
    assert found == again
    assert "Holmes" not in found.text + str(found.prompt)
    assert "Baker" not in found.text
    name = str(found.prompt).removeprefix("Who is ").removesuffix("?")
    assert name in found.text
    assert name.upper() in found.text
    assert "holmes is no name" in found.text
    (other,) = swapped(lambda: documents, ["Sherlock Holmes"], 1)()
    assert other.text != found.text


def test_a_batch_of_rows_is_labelled_from_their_first_asked_token() -> None:
    batch = batch_of([Row((5, 6, 7), 2), Row((8, 9, 10, 11), 1)])
    assert batch.labels.tolist() == [[-100, -100, 7, -100], [-100, 9, 10, 11]]
    assert batch.normaliser == 4.0


def test_a_mismatch_keeps_the_beginning_and_takes_another_end_of_the_same_half(side: Make) -> None:
    one = side()
    ends = [fact.asked.ids[fact.asked.first :] for fact in one.facts.every]
    for number, row in enumerate(mismatched(one)):
        fact = one.facts.every[number].asked
        assert row.ids[: row.first] == fact.ids[: fact.first]
        end = ends.index(row.ids[row.first :])
        assert end != number
        assert (end in one.facts.given) == (number in one.facts.given)


def test_a_probe_finds_a_direction_and_nothing_where_there_is_none() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(400, 64))
    shifted = noise + np.eye(64)[3]
    assert np.mean(told(shifted[:200], shifted[200:])) > 0.6
    assert abs(np.mean(told(noise[:200], noise[200:])) - 0.5) < 0.1
    assert told(np.zeros((4, 3)), np.zeros((2, 3))) == [0.5, 0.5]
