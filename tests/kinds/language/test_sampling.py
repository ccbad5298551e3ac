"""Continuations: each as if it were sampled alone, whatever is batched, shared or sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from architectures import tiny_model
from expunge.kinds.language import sampling
from expunge.kinds.language.sampling import Continuation, continue_prompts, draw
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from tiny import load_task

PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [5, 6, 7], [20, 21, 22]]


@pytest.fixture(autouse=True, params=[2, 16], ids=["prefill by two", "prefill by sixteen"])
def prefill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sampling, "PREFILL", request.param)
    return int(request.param)


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    task = load_task(tiny_model_folder)
    with torch.no_grad():  # random weights predict nearly the same everywhere; larger ones tell contexts apart
        for parameter in task.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return task


def alone(
    task: CausalLM, prompt: Sequence[int], stream: Sequence[float], temperature: float, top_p: float
) -> Iterator[int]:
    """The definition: all tokens read again at each step, every token sorted, the first whose sum passes the number."""
    ids = list(prompt)
    for number in stream:
        with torch.no_grad():
            logits = task.model(torch.tensor([ids])).logits[0, -1].double().numpy()
        p = np.exp(logits / temperature - (logits / temperature).max())
        p /= p.sum()
        order = np.argsort(-p)
        sums = np.cumsum(p[order])
        nucleus = int(np.searchsorted(sums, top_p)) + 1 if top_p < 1 else len(p)
        token = int(order[np.searchsorted(sums[:nucleus], number * sums[nucleus - 1], side="right")])
        if token == task.tokenizer.eos_token_id:
            return
        ids.append(token)
        yield token


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 0.9), (0.7, 1.0), (1.3, 0.5)])
def test_equals_sampling_alone(task: CausalLM, temperature: float, top_p: float) -> None:
    drawn = Sampling(samples=3, temperature=temperature, top_p=top_p, seed=4)
    found = continue_prompts(task, PROMPTS, 9, drawn)
    streams = sampling._streams(PROMPTS, 3, 9, 4)
    ended = 0
    for prompt, of_prompt, texts in zip(PROMPTS, streams, found, strict=True):
        assert len(texts) == 3
        for stream, text in zip(of_prompt, texts, strict=True):
            ids = list(alone(task, prompt, stream, temperature, top_p))
            assert text == Continuation(task.tokenizer.decode(ids, skip_special_tokens=True), len(ids))
            ended += len(ids) < 9
    assert found[0] != found[3], "the same prompt again is another one"
    for rows in (1, 4, 7):
        assert continue_prompts(task, PROMPTS, 9, drawn, rows=rows) == found


def test_other_prompts_and_their_order_change_nothing(task: CausalLM) -> None:
    drawn = Sampling(samples=2, top_p=0.95, seed=1)
    found = continue_prompts(task, PROMPTS, 6, drawn)
    assert continue_prompts(task, [PROMPTS[2]], 6, drawn) == [found[2]]
    turned = continue_prompts(task, PROMPTS[4:0:-1], 6, drawn)
    assert [turned[0], turned[2], turned[3]] == [found[4], found[2], found[1]]
    assert turned[1] == found[0], "the first of equal prompts has the first stream"
    more = continue_prompts(task, PROMPTS, 6, replace(drawn, samples=4))
    assert [texts[:2] for texts in more] == found, "further samples leave the first ones"
    assert continue_prompts(task, PROMPTS, 6, replace(drawn, seed=2)) != found


def test_it_ends_before_the_end_token_and_the_others_go_on(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Sampling(samples=6)
    free = continue_prompts(task, PROMPTS[:2], 8, drawn)
    assert {text.tokens for texts in free for text in texts} == {8}
    streams = sampling._streams(PROMPTS[:2], 6, 8, 0)
    ids = [
        list(alone(task, prompt, stream, 1.0, 1.0))
        for prompt, of in zip(PROMPTS, streams, strict=False)
        for stream in of
    ]
    end = ids[3][2]
    monkeypatch.setattr(task.model.generation_config, "eos_token_id", [end, 2])
    expected = [row[: row.index(end)] if end in row else row for row in ids]
    found = [text for texts in continue_prompts(task, PROMPTS[:2], 8, drawn) for text in texts]
    assert [text.tokens for text in found] == [len(row) for row in expected]
    assert len({text.tokens for text in found}) > 1
    assert [text.text for text in found] == [task.tokenizer.decode(row, skip_special_tokens=True) for row in expected]


def test_a_model_without_numbers_says_nothing(tiny_model_folder: Path) -> None:
    broken = load_task(tiny_model_folder)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    found = continue_prompts(broken, PROMPTS[:2], 4, Sampling(samples=2))
    assert found == [[Continuation("", 0)] * 2] * 2


def test_a_head_of_its_own_kind_is_asked(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = continue_prompts(task, PROMPTS, 5, Sampling(samples=2))
    monkeypatch.setattr(task, "plain_head", False)
    assert continue_prompts(task, PROMPTS, 5, Sampling(samples=2)) == expected


def test_a_prompt_longer_than_the_model_loses_its_beginning(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(tiny_model_folder)
    monkeypatch.setattr(task.model.config, "max_position_embeddings", 16)
    long = [int(i) for i in np.random.default_rng(0).integers(5, 200, 40)]
    read: list[int] = []
    hook = task.model.model.embed_tokens.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1]))
    try:
        continue_prompts(task, [long], 4, Sampling(samples=1))
    finally:
        hook.remove()
    assert read[0] == 12


def test_a_prompt_is_read_once_for_all_its_samples(task: CausalLM, prefill: int) -> None:
    shapes: list[tuple[int, ...]] = []
    hook = task.model.model.embed_tokens.register_forward_pre_hook(
        lambda _, inputs: shapes.append(tuple(inputs[0].shape))
    )
    try:
        continue_prompts(task, [PROMPTS[0], PROMPTS[2], PROMPTS[1]], 3, Sampling(samples=5, seed=3))
    finally:
        hook.remove()
    groups = [(2, 3), (1, 7)] if prefill == 2 else [(3, 7)]
    assert shapes == [*groups, (15, 1), (15, 1)], "and not padded further than in its group"


COMMON = {"vocab_size": 500, "initializer_range": 0.2, "eos_token_id": 2}
OTHERS = [
    (MistralForCausalLM, MistralConfig, {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "sliding_window": 6,
    }),
    (GPT2LMHeadModel, GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    (BloomForCausalLM, BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "sizes"), OTHERS, ids=[kind.__name__ for kind, *_ in OTHERS])
def test_other_kinds_of_attention(kind: Any, config: Any, sizes: dict[str, int], tiny_model_folder: Path) -> None:
    """A window, learned positions, ALiBi."""
    torch.manual_seed(0)
    task = CausalLM(kind(config(**COMMON, **sizes)).eval(), load_task(tiny_model_folder).tokenizer)
    found = continue_prompts(task, PROMPTS, 8, Sampling(samples=2, seed=2))
    streams = sampling._streams(PROMPTS, 2, 8, 2)
    for prompt, of_prompt, texts in zip(PROMPTS, streams, found, strict=True):
        said = [list(alone(task, prompt, stream, 1.0, 1.0)) for stream in of_prompt]
        assert [text.tokens for text in texts] == [len(ids) for ids in said]
        assert [text.text for text in texts] == task.tokenizer.batch_decode(said, skip_special_tokens=True)


@pytest.mark.parametrize("sorted_first", [(256, 4096), (2, 3), (1,), ()])
def test_tokens_are_drawn_as_often_as_they_are_likely(
    sorted_first: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "SORTED", sorted_first)
    p = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    logits = (2.0 * p.log() + 7).expand(1000, 5)  # at temperature 2 these are p
    tokens, right = draw(logits, uniform, 2.0, 1.0)
    assert right.all()
    assert torch.bincount(tokens, minlength=5).tolist() == pytest.approx([50, 400, 250, 200, 100], abs=1)
    tokens, _ = draw(logits, uniform, 2.0, 0.7)  # 0.4 + 0.25 is less, with 0.2 it is enough
    assert torch.bincount(tokens, minlength=5).tolist() == pytest.approx([0, 471, 294, 235, 0], abs=1)
    tokens, _ = draw(logits, uniform, 2.0, 1e-9)
    assert set(tokens.tolist()) == {1}


def test_rows_that_are_no_numbers_are_told() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [float("nan"), 0, 0], [float("inf"), 0, 0], [float("-inf"), 0, 0]])
    tokens, right = draw(logits, torch.full((4,), 0.999), 1.0, 1.0)
    assert right.tolist() == [True, False, False, True]
    assert tokens.tolist() == [0, 0, 0, 2]


def test_bfloat16_autocast(tiny_model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval()
    task = CausalLM(model, load_task(tiny_model_folder).tokenizer, lambda: torch.autocast("cpu", torch.bfloat16))
    found = continue_prompts(task, PROMPTS, 5, Sampling(samples=2))
    assert [len(texts) for texts in found] == [2] * 5
    assert found == continue_prompts(task, PROMPTS, 5, Sampling(samples=2))


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1"])
def test_a_model_with_a_state_in_place_of_keys_or_beside_them(kind: str, tiny_model_folder: Path) -> None:
    """Such a cache cannot be copied row by row; what is likeliest is said all the same."""
    tokenizer = load_task(tiny_model_folder).tokenizer
    task = CausalLM(tiny_model(kind), tokenizer)
    shares: list[float] = []
    found = continue_prompts(
        task, PROMPTS, 4, Sampling(samples=2, top_p=1e-6), progress=lambda share, _: shares.append(share)
    )
    greedy = list(task.generate(PROMPTS, 4))
    assert [[each.text for each in of_prompt] for of_prompt in found] == [[said[0]] * 2 for said in greedy]
    assert all(each.tokens <= 4 for of_prompt in found for each in of_prompt)
    assert shares == sorted(shares)
