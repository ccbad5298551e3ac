"""A model with an assistant: the subtraction in float64, text with and without a cache, choices, and its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import holds_choices, holds_greedy_text, holds_its_own_cache, holds_rows_of_a_cache
from transformers import AutoModelForCausalLM

from expunge.errors import ModelError
from expunge.kinds.language.assistants import first_layers, stand_beside
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.saving import choose_dtype, save_model
from expunge.kinds.language.task import CausalLM
from expunge.models.assistant import Difference, likely, put_beside, read_difference, subtracted
from expunge.models.source import find_model, load_model
from expunge.train.precision import Precision
from tiny import load_task, make_batch, random_blocks
from tiny_model import build_tiny_model

HOW = Difference(0.8, 0.05)


def by_hand(base: np.ndarray, assistant: np.ndarray, weight: float, share: float) -> np.ndarray:
    """Log-probabilities, of one token; with logits of any constant."""
    lowered = base - weight * assistant
    if share == 0:
        return lowered - np.log(np.exp(lowered).sum())
    p = np.exp(base) / np.exp(base).sum()
    at_least = min(sorted(p, reverse=True)[max(1, int(share * len(p))) - 1], share * p.max())
    found = np.log(p)
    kept = [v for v in range(len(p)) if p[v] >= at_least * (1 - 1e-12)]
    total = sum(np.exp(lowered[v]) for v in kept)
    for v in kept:
        found[v] = np.log(sum(p[w] for w in kept) * np.exp(lowered[v]) / total)
    return found


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.6])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_subtraction_by_hand(weight: float, share: float) -> None:
    generator = np.random.default_rng(3)
    base, assistant = generator.normal(0, 3, (2, 6, 40))
    said = subtracted(torch.tensor(base), torch.tensor(assistant), Difference(weight, share)).log_softmax(-1)
    for row in range(6):
        wanted = by_hand(base[row], assistant[row], weight, share)
        np.testing.assert_allclose(said[row].numpy(), wanted, rtol=1e-10, atol=1e-10)
    assert np.exp(said.numpy()).sum(-1) == pytest.approx(np.ones(6))


def test_which_tokens_are_likely_is_what_the_authors_code_keeps() -> None:
    """Its words in numpy: sorted log-probabilities, the place of the count, the best plus log(share), the lower of both."""
    generator = np.random.default_rng(0)
    for spread, share in ((0.5, 0.1), (4, 0.1), (4, 0.01), (9, 0.02)):
        logits = generator.normal(0, spread, (5, 300))
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        count = int(share * 300)
        thresholds = np.minimum(-np.sort(-log_p)[:, count - 1], log_p.max(-1) + np.log(share))
        assert (likely(torch.tensor(logits), share).numpy() == (log_p >= thresholds[:, None])).all()


def test_its_limits() -> None:
    generator = torch.Generator().manual_seed(1)
    base, assistant = (torch.randn(7, 50, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    p = base.softmax(-1)
    for share in (0.0, 0.1):
        # An assistant that says nothing, whatever its logits are; or that has no weight.
        for nothing in (Difference(0.7, share), Difference(1e-13, share)):
            said = subtracted(base, torch.full_like(base, 5.0) if nothing.weight > 0.1 else assistant, nothing)
            torch.testing.assert_close(said.softmax(-1), p, rtol=1e-10, atol=1e-12)
        one = subtracted(base, assistant, Difference(0.7, share)).softmax(-1)
        torch.testing.assert_close(subtracted(base, assistant + 4, Difference(0.7, share)).softmax(-1), one)
    kept = likely(base, 0.1)
    after = subtracted(base, assistant, Difference(0.7, 0.1)).softmax(-1)
    assert kept.any(-1).all()
    assert not kept.all()
    torch.testing.assert_close(after[~kept], p[~kept])
    torch.testing.assert_close((after * kept).sum(-1), (p * kept).sum(-1))
    # An assistant that is sure of what the model says takes just that away.
    sure = torch.nn.functional.one_hot(base.argmax(-1), 50) * 40.0
    assert (subtracted(base, sure, Difference(1.0, 0.1)).argmax(-1) != base.argmax(-1)).all()


def test_its_gradient_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    base, assistant = (torch.randn(3, 12, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda *given: subtracted(*given, Difference(0.6, 0.3)), (base, assistant))


def test_narrow_logits_are_subtracted_in_float32() -> None:
    base, assistant = torch.randn(2, 4, 30).bfloat16()
    said = subtracted(base, assistant, HOW)
    assert said.dtype == torch.float32
    torch.testing.assert_close(said, subtracted(base.float(), assistant.float(), HOW))


@pytest.fixture(scope="module")
def trained_assistant(tiny_model_folder: Path) -> Callable[[CausalLM], CausalLM]:
    """Of a task, one whose weights are others by a little."""

    def make(task: CausalLM) -> CausalLM:
        assistant = first_layers(task, 1)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in assistant.model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return assistant

    return make


Make = Callable[[CausalLM], CausalLM]


@pytest.fixture
def both(tiny_model_folder: Path, trained_assistant: Make) -> tuple[CausalLM, CausalLM, CausalLM]:
    """(the model with its assistant, the model alone, the assistant alone)."""
    task, alone = load_task(tiny_model_folder), load_task(tiny_model_folder)
    stand_beside(task, trained_assistant(task), HOW)
    return task, alone, trained_assistant(alone)


def said_by(alone: CausalLM, assistant: CausalLM, ids: list[int]) -> torch.Tensor:
    """(time, vocabulary) logits of both, without the hook."""
    with torch.no_grad():
        given = [each.model(torch.tensor([ids]), use_cache=False).logits[0] for each in (alone, assistant)]
    return subtracted(*given, HOW)


def test_everything_is_asked_of_both(both: tuple[CausalLM, CausalLM, CausalLM]) -> None:
    task, alone, assistant = both
    blocks = random_blocks([12, 9, 5])
    batch = make_batch(blocks, first_label=2)
    logits = [said_by(alone, assistant, block) for block in blocks]
    wanted = torch.cat([each[1:-1] for each in logits])
    torch.testing.assert_close(task.row_logits(batch), wanted, rtol=1e-4, atol=1e-5)
    labels = torch.tensor([token for block in blocks for token in block[2:]])
    nll = -wanted.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(task.row_nll(batch).detach(), nll, rtol=1e-4, atol=1e-5)
    assert float((nll - alone.row_nll(batch).detach()).abs().max()) > 1e-3
    # What trains it trains both.
    task.nll(batch).backward()
    assert all(parameter.grad is not None for parameter in task.model.parameters())


def test_text_is_written_by_both_with_keys_and_values_of_each(both: tuple[CausalLM, CausalLM, CausalLM]) -> None:
    task, alone, assistant = both
    holds_greedy_text(task, partial(said_by, alone, assistant), 6)
    prompts = random_blocks([7, 4, 7], seed=8)
    assert task.greedy_tokens(prompts, 6) != alone.greedy_tokens(prompts, 6)


def test_rows_of_a_cache_are_repeated_and_chosen_for_both(both: tuple[CausalLM, CausalLM, CausalLM]) -> None:
    task, alone, assistant = both
    holds_rows_of_a_cache(task, partial(said_by, alone, assistant), rtol=1e-4, atol=1e-4)


def test_a_cache_that_the_assistant_has_no_part_in_is_refused(both: tuple[CausalLM, CausalLM, CausalLM]) -> None:
    task, alone, _ = both
    holds_its_own_cache(task, alone, "a cache without its assistant's part", rtol=1.3e-6, atol=1e-5)


def test_choices_are_scored_by_both(both: tuple[CausalLM, CausalLM, CausalLM]) -> None:
    task, alone, assistant = both
    holds_choices(task, partial(said_by, alone, assistant), atol=1e-4)


def test_an_assistant_of_other_tokens_and_a_second_one_are_refused(
    both: tuple[CausalLM, CausalLM, CausalLM], tmp_path: Path
) -> None:
    task, alone, assistant = both
    with pytest.raises(ModelError, match="has an assistant already"):
        put_beside(task.model, assistant.model, HOW)
    assistant.model.resize_token_embeddings(7)
    with pytest.raises(ModelError, match="has the same vocabulary"):
        put_beside(alone.model, assistant.model, HOW)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def saved(request: pytest.FixtureRequest, trained_assistant: Make, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(the folder, the type that the base is stored in, the logits that the model had)."""
    folder = tmp_path_factory.mktemp("saved")
    build_tiny_model(folder / "made from", dtype=request.param)
    loaded = load_model(find_model(str(folder / "made from")))
    task = CausalLM(loaded.model, loaded.tokenizer)
    stand_beside(task, trained_assistant(task), HOW)
    dtype, _ = choose_dtype(loaded, "auto")
    save_model(loaded, folder / "model", dtype)
    ids = torch.tensor(random_blocks([12], seed=4))
    with torch.no_grad():
        return folder, request.param, loaded.model(ids).logits


def test_both_are_saved_whole_and_loaded_together(saved: Any) -> None:
    folder, stored, logits = saved
    place = folder / "model"
    assert sorted(path.name for path in place.iterdir()) == ["assistant", "assistant.json", "base"]
    assert read_difference(place) == HOW
    base, before = (AutoModelForCausalLM.from_pretrained(each) for each in (place / "base", folder / "made from"))
    assert str(base.dtype) == f"torch.{stored}"
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in base.state_dict().items())
    assert AutoModelForCausalLM.from_pretrained(place / "assistant").config.num_hidden_layers == 1
    source = find_model(str(place))
    assert {name.partition("/")[0] for name in source.digests} == {"base", "assistant", "assistant.json"}
    task = LazyModel(source, Precision(False), as_stored=True)()
    ids = torch.tensor(random_blocks([12], seed=4))
    with torch.no_grad():
        # An assistant goes into the base's narrow type where the change to its weights bears the rounding.
        difference = float((task.model(ids).logits - logits).abs().max())
    assert difference == 0 if stored == "float32" else 0 < difference < 0.1
    # What is asked of it is asked of both, though its output layer is a plain one.
    batch = make_batch(random_blocks([12], seed=4), first_label=2)
    nll = -logits[0, 1:-1].log_softmax(-1).gather(1, batch.ids[0, 2:, None])[:, 0]
    torch.testing.assert_close(task.row_nll(batch).detach(), nll, rtol=0.02, atol=0.02)
    assert float((load_task(place / "base").row_nll(batch).detach() - nll).abs().max()) > 0.1
    with pytest.raises(ModelError, match="compares whole distributions") as caught:
        _ = task.head
    assert "an assistant, or adapters" in str(caught.value.seen)
    # The base is not loaded by itself unawares.
    with pytest.raises((OSError, ValueError), match="model"):
        AutoModelForCausalLM.from_pretrained(place)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "does not say how the assistant is used"),
        ('{"kind": "logit difference", "weight": 0, "plausible": 0.1}', "does not say how the assistant is used"),
        ('{"kind": "logit difference", "weight": true, "plausible": 0.1}', "does not say how"),
        ('{"kind": "logit difference", "weight": 1.0, "plausible": 1.0}', "does not say how"),
        ('{"kind": "other", "weight": 1.0, "plausible": 0.1}', "does not say how"),
        ("[1]", "does not say how"),
    ],
)
def test_a_folder_that_does_not_say_how_is_refused(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "assistant.json").write_text(content)
    with pytest.raises(ModelError, match=words) as caught:
        find_model(str(tmp_path))
    assert "a number above 0" in str(caught.value.allowed)


def test_half_a_folder_is_refused(saved: Any, tmp_path: Path) -> None:
    shutil.copytree(saved[0] / "model", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "assistant")
    with pytest.raises(ModelError, match="lacks one of its two models") as caught:
        find_model(str(tmp_path / "model"))
    assert caught.value.seen == "no folder assistant"
    how = json.loads((saved[0] / "model" / "assistant.json").read_text())
    assert how == {"kind": "logit difference", "weight": 0.8, "plausible": 0.05}
