"""ELM and SHRED against their formulas in float64, their limits, and what the original is asked before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from expunge.errors import RecipeError
from expunge.kinds.language.distributions import FrozenHead
from expunge.kinds.language.signals.fluent_text import FluentText
from expunge.kinds.language.targets import Demoted, DemotedTargets, Guided, least_likely, said_after, top
from expunge.kinds.language.task import CausalLM
from expunge.methods.elm import ELM
from expunge.methods.shred import SHRED
from expunge.train.step import IGNORED, Batch, Step
from known_sets import known_sets
from small_language import (
    FORGET,
    RETAIN,
    check_by_finite_differences,
    gradient,
    log_softmax,
    loss_of,
    nll,
    row_log_p,
    small_gpt2,
    targets,
)
from tiny import load_task, make_batch, random_blocks, write_table

EXPERT, NOVICE = (7, 31, 12), (90, 4)
FLUENT = make_batch(random_blocks([8, 5], seed=5), first_label=3)
PLAIN = {"retain_weight": 0.0, "fluency_weight": 0.0}


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


@pytest.fixture(scope="module")
def original() -> CausalLM:
    """Another model, so that no target is what the model says."""
    return small_gpt2(1)


def states(original: CausalLM, batch: Batch, before: tuple[int, ...] = ()) -> torch.Tensor:
    """(rows, width) its head's inputs before each label, with a text put before each block."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        ids = torch.tensor([[*before, *batch.ids[row, :length].tolist()]])
        with torch.no_grad():
            hidden = original.model.transformer(ids).last_hidden_state[0]
        found += [hidden[len(before) + t - 1] for t in range(1, length) if batch.labels[row, t] != IGNORED]
    return torch.stack(found)


def frozen(original: CausalLM) -> FrozenHead:
    return FrozenHead(original.model.get_output_embeddings().weight.detach())


def guided(original: CausalLM, batch: Batch, strengths: np.ndarray, temperature: float, top_k: int | None) -> Batch:
    three = torch.stack([states(original, batch, before) for before in ((), EXPERT, NOVICE)], 1)
    target = Guided(three, frozen(original), torch.from_numpy(strengths), temperature, top_k)
    return replace(batch, signals={"distributions": target, "fluent_text": replace(FLUENT, examples=2.0)})


def kl(log_q: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.where(np.isneginf(log_q), 0, np.exp(log_q) * (log_q - log_p)).sum(-1)
    return found


def truncated(logits: np.ndarray, count: int | None) -> np.ndarray:
    if count is not None:
        least = np.sort(logits, -1)[:, -count, None]
        logits = np.where(logits >= least, logits, -np.inf)
    return log_softmax(logits)


STRENGTHS = np.linspace(0.3, 4, len(targets(FORGET)))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (1.2, 5)])
@pytest.mark.parametrize(("alpha", "phi"), [(1.0, 1.0), (0.0, 0.4), (0.3, 0.0)])
def test_elm(
    task: CausalLM, original: CausalLM, temperature: float, top_k: int | None, alpha: float, phi: float
) -> None:
    method = ELM(retain_weight=alpha, fluency_weight=phi)
    plain, expert, novice = (log_softmax(row_log_p(original, FORGET, b) / temperature) for b in ((), EXPERT, NOVICE))
    log_q = truncated(plain + STRENGTHS[:, None] * (novice - expert), top_k)
    fluent = np.split(nll(task, FLUENT), [5])  # five labels, two labels
    expected = (
        kl(log_q, row_log_p(task, FORGET)).mean()
        + alpha * nll(task, RETAIN).mean()
        + phi * np.mean([each.mean() for each in fluent])
    )
    found = loss_of(task, method, guided(original, FORGET, STRENGTHS, temperature, top_k))
    assert found == pytest.approx(expected, rel=1e-6)


def test_elms_gradient_by_finite_differences(task: CausalLM, original: CausalLM) -> None:
    batch = guided(original, FORGET, STRENGTHS, 1.2, 5)
    names = ("transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.h.2.ln_2.bias")
    check_by_finite_differences(task, lambda: ELM().loss(Step(task, batch, RETAIN)).total, names)


def test_without_strength_elm_asks_for_what_the_original_says(task: CausalLM) -> None:
    batch = guided(task, FORGET, np.zeros(len(STRENGTHS)), 1.0, None)
    found = gradient(task, lambda: ELM(**PLAIN).loss(Step(task, batch, None)).total)
    assert loss_of(task, ELM(**PLAIN), batch, None) == pytest.approx(0, abs=1e-12)
    assert max(float(each.abs().max()) for each in found.values()) < 1e-12


def test_with_much_strength_one_token_is_left(original: CausalLM) -> None:
    batch = guided(original, FORGET, np.full(len(STRENGTHS), 1e4), 1.0, None)
    log_q = batch.signals["distributions"].log_q(original.head)
    apart = row_log_p(original, FORGET, NOVICE) - row_log_p(original, FORGET, EXPERT)
    assert log_q.argmax(1).tolist() == apart.argmax(1).tolist()
    assert float(log_q.max(1).values.exp().min()) > 0.99


class Words:
    """A tokenizer of words that are numbers."""

    bos_token_id, eos_token_id = 0, 1

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


@pytest.mark.parametrize("begins", [False, True])
def test_what_stands_before_a_block_comes_after_the_token_that_begins_a_text(task: CausalLM, begins: bool) -> None:
    speaking = CausalLM(task.model, Words())  # type: ignore[arg-type]
    block = [0, 5, 9, 40, 7] if begins else [5, 9, 40, 7, 8]
    batch = make_batch([block], first_label=2)
    found = said_after(speaking, batch, "7 31 12")
    ids = [0, 7, 31, 12, 5, 9, 40, 7] if begins else [7, 31, 12, *block]
    with torch.no_grad():
        hidden = task.model.transformer(torch.tensor([ids])).last_hidden_state[0]
    torch.testing.assert_close(found.detach(), hidden[-4:-1], rtol=1e-10, atol=1e-12)
    long = make_batch([list(range(2, 48))])
    with pytest.raises(RecipeError, match="no positions for a block"):
        said_after(speaking, long, "7 31 12")


def test_elm_knows_both_introductions_before(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 5], seed=1), first_label=2)
    retain = write_table(tmp_path / "retain", random_blocks([11, 12], seed=2))
    method = ELM(concept="Sherlock Holmes", fluency_tokens=4, first_strength=1, strength=3, retain_target="text")
    found = known_sets(method, task, forget, retain, tmp_path / "run").forget.batch([2, 0])
    target = found.signals["distributions"]
    assert target.strengths.tolist() == pytest.approx([*np.linspace(1, 3, 3), *np.linspace(1, 3, 10)])
    for row, place in ((2, slice(0, 3)), (0, slice(3, 13))):
        for at, text in enumerate(("", method.expert, method.novice)):
            words = text.replace("{concept}", "Sherlock Holmes")
            expected = said_after(task, forget.batch([row]), words).detach()
            torch.testing.assert_close(target.states[place, at], expected, rtol=1e-5, atol=1e-6)
    fluent = found.signals["fluent_text"]
    opening = task.tokenizer(method.opening, add_special_tokens=False)["input_ids"]
    for row, block in enumerate((2, 0)):
        start = forget.ids_of(block)[: len(forget.ids_of(block)) // 2]
        length = int(fluent.lengths[row])
        assert fluent.ids[row, : len(start) + len(opening)].tolist() == start + opening
        assert 1 <= length - len(start) - len(opening) <= 4
        labelled = (fluent.labels[row] != IGNORED).nonzero()[:, 0].tolist()
        assert labelled == list(range(len(start), length))
    assert fluent.examples == found.examples


def test_what_stands_before_fluent_text_comes_after_the_token_that_begins_a_text(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, asked = load_task(tiny_model_folder), []
    begin = task.tokenizer.bos_token_id
    assert begin is not None
    blocks = [[begin, 9, 40, 7, 8, 11], [9, 40, 7, 8]]
    forget = write_table(tmp_path / "forget", blocks)

    def written(_self: FluentText, _task: CausalLM, contexts: list[list[int]], _seed: int) -> list[int]:
        asked.append(contexts)
        return [5]

    monkeypatch.setattr(FluentText, "written", written)
    method = ELM(expert="An expert", novice="A novice", opening="But", retain_weight=0.0)
    known_sets(method, task, forget, write_table(tmp_path / "retain", blocks), tmp_path / "run")
    expert, novice, opening = (
        task.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("An expert", "A novice", "But")
    )
    starts = [([begin], [9, 40]), ([], [9, 40])]
    assert asked == [[[*first, *before, *rest, *opening] for before in ([], expert, novice)] for first, rest in starts]


def test_the_fluent_text_is_drawn_from_guided_distributions() -> None:
    """At a guidance so strong that one token is left, each is the one that a pass over the whole text says."""
    task = small_gpt2(2)
    speaking = CausalLM(task.model.float(), Words())  # type: ignore[arg-type]
    contexts = [[5, 9], [7, 31, 5, 9], [90, 5, 9]]
    made = FluentText("", "", "", 1e6, 5).written(speaking, contexts, 0)
    for at, token in enumerate(made):
        with torch.no_grad():
            said = [task.model(torch.tensor([[*each, *made[:at]]])).logits[0, -1].log_softmax(-1) for each in contexts]
        assert token == int((said[2] - said[1]).argmax())
    assert len(made) == 5 or made[-1] == 1
    drawn = [FluentText("", "", "", 0.0, 3).written(speaking, contexts, seed) for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each) for each in drawn}) > 1


def demoted(
    original: CausalLM, forgotten: np.ndarray, top_k: int | None, nucleus: float, batch: Batch = FORGET
) -> Batch:
    labels = torch.from_numpy(targets(batch))
    target = Demoted(states(original, batch), frozen(original), labels, torch.from_numpy(forgotten), top_k, nucleus)
    return replace(batch, signals={"distributions": target})


def written_out(original: CausalLM, forgotten: np.ndarray, top_k: int | None, nucleus: float) -> np.ndarray:
    """log q of the forget set, a row at a time."""
    rows = []
    for log_p, label, goes in zip(row_log_p(original, FORGET), targets(FORGET), forgotten, strict=True):
        places = np.argsort(-log_p)[:top_k]
        taken, held = set(), 0.0
        for place in places:
            if held >= nucleus:
                break
            taken.add(int(place))
            held += np.exp(log_p[place])
        taken.add(int(label))
        left = [v for v in places if not (goes and int(v) in taken)] or [[v for v in places if v != label][-1]]
        log_q = np.full(len(log_p), -np.inf)
        log_q[left] = log_p[left] - np.log(np.exp(log_p[left]).sum())
        rows.append(log_q)
    return np.array(rows)


@pytest.mark.parametrize("top_k", [2, 7, None])
@pytest.mark.parametrize("nucleus", [0.0, 0.3, 0.999])
def test_shred(task: CausalLM, original: CausalLM, top_k: int | None, nucleus: float) -> None:
    forgotten = np.arange(len(targets(FORGET))) % 3 != 0
    expected = kl(written_out(original, forgotten, top_k, nucleus), row_log_p(task, FORGET)).mean()
    found = loss_of(task, SHRED(), demoted(original, forgotten, top_k, nucleus), None)
    assert found == pytest.approx(expected, rel=1e-6)


def test_shreds_gradient_by_finite_differences(task: CausalLM, original: CausalLM) -> None:
    batch = demoted(original, np.arange(len(targets(FORGET))) % 2 == 0, 7, 0.0)
    names = ("transformer.wte.weight", "transformer.h.1.mlp.c_fc.weight")
    check_by_finite_differences(task, lambda: SHRED().loss(Step(task, batch, None)).total, names)


def test_where_nothing_is_forgotten_shred_moves_nothing(task: CausalLM) -> None:
    batch = demoted(task, np.zeros(len(targets(FORGET)), bool), None, 0.0)
    found = gradient(task, lambda: SHRED().loss(Step(task, batch, None)).total)
    assert max(float(each.abs().max()) for each in found.values()) < 1e-12


def test_where_all_is_forgotten_shreds_gradient_is_that_of_the_odds(task: CausalLM) -> None:
    """KL(p without y || p) = -log(1 - p(y)) at the original itself."""
    batch = demoted(task, np.ones(len(targets(FORGET)), bool), None, 0.0)
    expected = -np.log1p(-np.exp(-nll(task, FORGET))).mean()
    assert loss_of(task, SHRED(), batch, None) == pytest.approx(expected, rel=1e-9)


def test_the_least_likely_share_of_each_block_is_forgotten(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 6], seed=1), first_label=3)
    retain = write_table(tmp_path / "retain", random_blocks([11], seed=2))
    seen: list[int] = []
    with task.model.base_model.register_forward_hook(
        lambda _module, _given, said: seen.append(said.last_hidden_state.shape[1])
    ):
        found = known_sets(SHRED(share=0.4, skip=2), task, forget, retain, tmp_path / "run").forget.batch([2, 0])
    assert [seen.count(tokens) for tokens in (12, 9, 6)] == [1, 1, 1]  # a pass a block, for states and likelihoods
    target = found.signals["distributions"]
    start = 0
    for row, labels in ((2, 3), (0, 9)):
        own = target.forgotten[start : start + labels]
        with torch.no_grad():
            cost = task.row_nll(forget.batch([row]))
        assert int(own.sum()) == int(np.ceil(0.4 * (labels - 2)))
        assert not own[:2].any()
        assert float(cost[own].min()) >= max(cost[2:][~own[2:]].tolist(), default=0.0) - 1e-6
        assert target.labels[start : start + labels].tolist() == forget.ids_of(row)[3:]
        start += labels
    assert target.states.shape == (12, 32)


def test_the_least_likely_tokens_are_ranked_in_float32_where_states_are_bfloat16(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    task = load_task(tiny_model_folder)
    task.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    table = write_table(tmp_path / "forget", random_blocks([24], seed=1))
    signal = DemotedTargets(0.5, None, 0.0, 0)
    source: Any = SimpleNamespace(base=lambda: task, table=table)
    with torch.no_grad():
        made = signal.block(source, 0)
    assert made.dtype == torch.float32
    head = task.model.get_output_embeddings().weight.detach().double()
    log_p = (made[:, :-1].double() @ head.T).log_softmax(-1)[torch.arange(23), torch.tensor(table.ids_of(0)[1:])]
    torch.testing.assert_close(made[:, -1].double(), log_p, rtol=1e-5, atol=0)
    assert not torch.equal(made[:, -1], made[:, -1].bfloat16().float())


def test_the_share_is_rounded_up_and_the_skip_may_be_all() -> None:
    cost = torch.tensor([3.0, 1.0, 2.0, 5.0])
    assert least_likely(cost, 0.5, 0).tolist() == [True, False, False, True]
    assert least_likely(cost, 0.26, 0).tolist() == [True, False, False, True]
    assert least_likely(cost, 1.0, 1).tolist() == [False, True, True, True]
    assert not least_likely(cost, 1.0, 9).any()
    assert top(torch.tensor([[0.0, 1.0, 2.0]]), 2).exp().sum().item() == pytest.approx(1)
