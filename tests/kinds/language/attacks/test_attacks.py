"""Attacks on a tiny language model: what each changes, and that what it measures is what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sides import PEOPLE, ROWS, TEXT, Make, side_of
from transformers import LlamaConfig

from architectures import tiny_model
from expunge.data.text.document import Document
from expunge.errors import DataError
from expunge.kinds.language.attacks import probing, suffixes
from expunge.kinds.language.attacks.attack import Attack, Side, attacks, missing_on
from expunge.kinds.language.attacks.facts import ASKED, GIVEN, Row, batch_of, read_facts, recall, recall_or_none
from expunge.kinds.language.attacks.forms import Forms
from expunge.kinds.language.attacks.lens import final_norm, through_lens
from expunge.kinds.language.attacks.membership import SHOTS, fitting, gradient_norms, prefixed, scores
from expunge.kinds.language.attacks.other_questions import Cloze, Reversed
from expunge.kinds.language.attacks.paraphrases import paraphrases
from expunge.kinds.language.attacks.patching import patched
from expunge.kinds.language.attacks.probing import mismatched, probe_choices
from expunge.kinds.language.attacks.prompts import forms
from expunge.kinds.language.attacks.sampling import leak_at
from expunge.kinds.language.attacks.steering import RADIUS, found_direction, usual_length
from expunge.kinds.language.attacks.swapped_names import swapped
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.matrices import by_column, matrices
from expunge.kinds.language.task import CausalLM
from expunge.runs.attacks.quantization import roundings
from expunge.runs.attacks.weights import held
from expunge.runs.audit import Audit
from expunge.runs.work import KINDS, Work, total
from tiny import load_task


@pytest.fixture
def side(tiny_model_folder: Path) -> Make:
    """Makes sides."""
    return partial(side_of, tiny_model_folder)


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
    if attack.missing(one) is not None and attack.name in ("choice", "reversed"):
        one = side(PEOPLE, holdout)
        documents = PEOPLE
        assert attack.missing(side(ROWS, holdout)) is not None, "no names, or no other answers"
    elif attack.missing(one) is not None:
        assert attack.name == "probe"
        monkeypatch.setattr(probing, "FEWEST", 4)
    assert attack.missing(one) is None
    pieces = attack.pieces(one)
    assert total(pieces).seconds(Work(**dict.fromkeys(KINDS, 1.0))) > 0
    before = {name: value.clone() for name, value in one.look().model.state_dict().items()}
    trials = list(attack.carry_out(one))
    assert trials
    counts = [piece.trials for piece in pieces]
    assert None in counts or len(trials) == sum(filter(None, counts))
    if len(pieces) > 1 and attack.name != "prompts":  # of prompts there may be none in other words
        assert [piece.words for piece in pieces] == [trial.setting for trial in trials]
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
            ("8 bits, a scale a row", "4 bits, groups of 64", "NF4, groups of 64", "GGUF Q4_0, blocks of 32")
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
                assert row.ids != fact.asked.ids


def test_no_form_shows_the_answer_that_it_asks_for(side: Make) -> None:
    one = side(PEOPLE)
    for words, rows in [*forms(one), *((kind.name, kind.rows(one).values()) for kind in (Cloze(), Reversed()))]:
        for row in rows:
            before = one.look().tokenizer.decode(list(row.ids[: row.first]))
            asked = one.look().tokenizer.decode(list(row.ids[row.first :]), skip_special_tokens=True)
            assert asked.strip() not in before, words


def test_the_models_own_words_are_asked_too(side: Make) -> None:
    one = side(PEOPLE)
    assert "in the base model's words" not in {trial.setting for trial in by_name("prompts").carry_out(one)}
    one.paraphrases = lambda: ["Born where, Ada Holt?", *[None] * 4]
    (trial,) = (t for t in by_name("prompts").carry_out(one) if t.setting == "in the base model's words")
    plain = recall(one.look(), one.asked())
    assert trial.values[0] != plain[0]
    assert trial.values[1:] == pytest.approx(plain[1:], rel=1e-5)
    written = paraphrases(one.look(), one.facts)
    assert len(written) == 5
    assert written == paraphrases(one.look(), one.facts)


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


def test_the_usual_length_knows_no_first_tokens() -> None:
    states = torch.ones(7, 4)
    states[0] = states[3] = 1000.0
    states[6] = 3.0
    assert usual_length(states, torch.tensor([3, 4])) == pytest.approx(2.0)
    assert usual_length(states, torch.tensor([7])) == pytest.approx(2.0)


def test_the_perturbation_stays_in_its_ball_and_helps(side: Make) -> None:
    one = side()
    task = one.fresh()
    task.model.requires_grad_(False)
    direction = found_direction(task, one, 1)
    rows = [one.facts.every[i].taught for i in one.facts.given]
    with torch.no_grad():
        length = usual_length(task.hidden(batch_of(rows), 1), batch_of(rows).lengths)
    assert 0 < float(direction.norm()) <= RADIUS * length * 1.001
    values = {trial.setting: np.mean(trial.values) for trial in by_name("latent").carry_out(one)}
    assert max(values.values()) > np.mean(recall(task, one.asked(one.facts.held_back)))


@pytest.mark.parametrize(
    ("family", "turned"), [("gpt2", 8), ("llama", 0), ("gpt_oss", 4), ("mixtral", 0), ("llama4_text", 4)]
)
def test_weights_are_rounded_along_what_they_are_given(family: str, turned: int) -> None:
    """Each output has scales of its own, whichever way round its weights lie."""
    task = _of_family(family)
    names = by_column(task)
    assert len(names) == turned
    name, parameter = next((n, p) for n, p in matrices(task).items() if n in names or not turned)
    weight = parameter.detach().clone()
    (weight if turned else weight.mT)[..., 0] *= 100  # of one output
    one = Side.__new__(Side)
    for words in ("8 bits, a scale a row", "GGUF Q4_0, blocks of 32"):
        assert words in roundings(task, one)
    rounded = roundings(task, one)["8 bits, a scale a row"](name, weight)
    rest = (rounded - weight)[..., 1:] if turned else (rounded - weight)[..., 1:, :]
    others = weight[..., 1:] if turned else weight[..., 1:, :]
    assert rest.abs().max() <= others.abs().max() / 127 / 2 * 1.001


@pytest.mark.parametrize("family", ["mamba", "rwkv"])
def test_convolutions_and_vectors_are_no_matrices(family: str) -> None:
    found = matrices(_of_family(family))
    assert found
    assert all(p.dim() == 2 for p in found.values())


def _of_family(family: str) -> CausalLM:
    task = CausalLM.__new__(CausalLM)
    task.model, task.autocast = tiny_model(family), nullcontext
    return task


def test_a_copy_of_narrow_weights_takes_half_and_is_exact() -> None:
    wide = torch.randn(8, 8)
    for dtype in (torch.bfloat16, torch.float16):
        assert held(wide.to(dtype).float()).dtype == dtype
        assert torch.equal(held(wide.to(dtype).float()).float(), wide.to(dtype).float())
    assert torch.equal(held(wide), wide)


def test_weights_move_towards_those_of_the_same_name(side: Make, tiny_model_folder: Path) -> None:
    one = side()
    base = load_task(tiny_model_folder)
    for layer in base.layers:
        gate = layer.mlp.gate_proj
        del layer.mlp.gate_proj
        layer.mlp.gate_proj = gate  # listed last now
    assert list(matrices(base)) != list(matrices(one.look()))
    one.base = lambda: base
    plain = recall(one.look(), one.asked())
    for trial in by_name("interpolate").carry_out(one):
        assert trial.values == pytest.approx(plain, rel=1e-5)


def test_every_side_is_asked_before_the_first_attack(side: Make) -> None:
    one, other = side(), side()
    more = LlamaConfig(**{**one.config().to_dict(), "num_hidden_layers": 3})
    other.config = lambda: more
    sides = [("the unlearned model", one), ("the control", other)]
    for name in ("lens", "patch", "latent"):
        assert "different numbers of layers" in (missing_on(by_name(name), sides) or "")
    assert missing_on(by_name("interpolate"), sides) == (
        "the control: the model has another shape than the base model: num_hidden_layers 3, not 2"
    )
    assert missing_on(by_name("quantize"), sides) is None


def test_one_layer_leaves_out_what_reads_the_others(tiny_model_folder: Path) -> None:
    one = side_of(tiny_model_folder)
    alone = LlamaConfig(**{**one.config().to_dict(), "num_hidden_layers": 1})
    one.config = one.base_config = lambda: alone
    for name in ("lens", "patch"):
        assert by_name(name).missing(one) == "left out: the model has one layer"


def test_what_is_no_number_is_told_from_what_is_forbidden(side: Make) -> None:
    one = side()
    task = one.look()
    head = task.model.get_output_embeddings()
    row = one.asked()[0]

    def forbid(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        output[..., row.ids[row.first]] = -math.inf
        return output

    with head.register_forward_hook(forbid):
        assert recall_or_none(task, [row]) == [0.0]
    for value in (math.nan, math.inf):
        with head.register_forward_hook(lambda _m, _i, output, value=value: output.fill_(value)):
            assert recall_or_none(task, [row]) == [None]
            assert recall(task, [row]) == [0.0]


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


def test_recall_by_a_prefix_and_the_gradients_norm_are_those_written_out(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    rows, before = [Row(tuple(range(5, 25)), 1), Row(tuple(range(30, 42)), 4)], Row((50, 60, 70), 1)

    def log_p(ids: tuple[int, ...], first: int) -> float:
        with torch.no_grad():
            found = task.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return sum(float(found[at - 1, ids[at]]) for at in range(first, len(ids)))

    wanted = [log_p((*before.ids, *r.ids), 3 + r.first) / log_p(r.ids, r.first) for r in rows]
    assert prefixed(task, rows, [[before]] * 2) == pytest.approx(wanted, rel=1e-5)
    for row, norm in zip(rows, gradient_norms(task, rows), strict=True):
        labels = torch.tensor([[-100] * row.first + list(row.ids[row.first :])])
        loss = task.model(input_ids=torch.tensor([row.ids]), labels=labels).loss
        gradients = torch.autograd.grad(loss, list(task.model.parameters()))
        assert norm == pytest.approx(-math.sqrt(sum(float(g.double().square().sum()) for g in gradients)), rel=1e-4)
    assert all(p.grad is None for p in task.model.parameters())


def test_unseen_texts_before_a_text_are_others_and_fit(side: Make) -> None:
    texts = [Row(tuple(range(10)), 1) for _ in range(9)]
    assert len(fitting(texts, 12, None)) == SHOTS + 1
    assert len(fitting(texts, 12, 33)) == 2


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
    assert np.mean(probe_choices(shifted[:200], shifted[200:])) > 0.6
    assert abs(np.mean(probe_choices(noise[:200], noise[200:])) - 0.5) < 0.1
    assert probe_choices(np.zeros((4, 3)), np.zeros((2, 3))) == [0.5, 0.5]


def test_the_gradient_of_a_suffix_is_that_of_finite_differences(side: Make) -> None:
    """Of the loss, as the embedding in one place moves towards that of another token."""
    one = side(ROWS)
    task = one.look()
    places = [suffixes.place(fact, Forms(one.tokenizer)) for fact in one.facts.every[:3]]
    rows = [
        suffixes.with_suffix(fact.asked, at, [33] * suffixes.LENGTH)
        for fact, at in zip(one.facts.every[:3], places, strict=True)
    ]
    embedding = task.model.get_input_embeddings()
    every = embedding.weight.detach()
    found = suffixes.token_gradients(task, rows, places, every)

    def loss(place: int, token: int, share: float) -> float:
        def moved(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            for row, at in enumerate(places):
                output[row, at + place] += share * every[token]
            return output

        with hooked([embedding.register_forward_hook(moved)]), torch.no_grad():
            return float(task.nll(batch_of(rows)))

    for place, token in ((0, 7), (3, 40), (7, 90)):
        slope = (loss(place, token, 0.2) - loss(place, token, -0.2)) / 0.4
        assert float(found[place, token]) == pytest.approx(slope, rel=5e-2, abs=1e-5)  # in float32


def test_a_suffix_stands_after_the_question_and_lowers_the_loss(side: Make) -> None:
    one = side(ROWS)
    task, made = one.fresh(), Forms(one.tokenizer)
    task.model.requires_grad_(False)
    places = [suffixes.place(fact, made) for fact in one.facts.every]
    for fact, at in zip(one.facts.every, places, strict=True):
        assert one.tokenizer.decode(fact.asked.ids[:at]).endswith((fact.question or "").rstrip("?!")[-6:] + "?")

    def nats(suffix: list[int]) -> float:
        rows = [suffixes.with_suffix(one.facts.every[i].asked, places[i], suffix) for i in one.facts.given]
        return float(task.nll(batch_of(rows)))

    begun = made.ids(suffixes.BEGUN)
    found = suffixes.found_suffix(task, one, places)
    assert len(found) == suffixes.LENGTH
    assert not set(found) & set(one.tokenizer.all_special_ids)
    assert nats(found) < nats([begun[at % len(begun)] for at in range(suffixes.LENGTH)])
