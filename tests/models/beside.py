"""A model that something beside it takes part in, held against what both say to a whole text: `said`, (time, vocabulary)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from expunge.errors import ModelError
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.multiple_choice import choice_log_probs
from expunge.kinds.language.sampling import next_logits, prefill
from expunge.kinds.language.task import CausalLM
from expunge.models.assistant import CACHES
from tiny import random_blocks

Said = Callable[[list[int]], torch.Tensor]


def holds_greedy_text(task: CausalLM, said: Said, tokens: int) -> None:
    prompts = random_blocks([7, 4, 7], seed=8)
    for prompt, own in zip(prompts, task.greedy_tokens(prompts, tokens), strict=True):
        ids = list(prompt)
        for _ in own:
            ids.append(int(said(ids)[-1].argmax()))
        assert own == ids[len(prompt) :]


def holds_rows_of_a_cache(task: CausalLM, said: Said, rtol: float, atol: float) -> None:
    """They are repeated and chosen in all caches together."""
    prompts = random_blocks([7, 4, 6], seed=9)
    with torch.no_grad():
        logits, mask, cache = prefill(task, prompts)
        for row, prompt in enumerate(prompts):
            torch.testing.assert_close(logits[row], said(prompt)[-1], rtol=rtol, atol=atol)
        cache.batch_repeat_interleave(2)
        chosen = torch.tensor([5, 0, 3])
        cache.batch_select_indices(chosen)
        mask = torch.cat([mask.repeat_interleave(2, 0)[chosen], mask.new_ones(3, 1)], 1)
        later = next_logits(task, torch.tensor([[11], [12], [13]]), mask, cache)
    for row, (prompt, token) in enumerate(((2, 11), (0, 12), (1, 13))):
        torch.testing.assert_close(later[row], said([*prompts[prompt], token])[-1], rtol=rtol, atol=atol)


def holds_its_own_cache(task: CausalLM, alone: CausalLM, refused: str, rtol: float, atol: float) -> None:
    """A cache of the model alone is refused; one that both made goes on."""
    others, own = (each.model(torch.tensor([[5, 6, 7, 8]]), use_cache=True) for each in (alone, task))
    name = next(name for name in CACHES if name in own.keys())  # noqa: SIM118 - its values are iterated over, too
    with pytest.raises(ModelError, match=refused):
        task.model(input_ids=torch.tensor([[9]]), **{name: others[name]})
    whole = task.model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits[:, -1]
    later = task.model(input_ids=torch.tensor([[9]]), **{name: own[name]}).logits[:, -1]
    torch.testing.assert_close(later, whole, rtol=rtol, atol=atol)


def holds_choices(task: CausalLM, said: Said, atol: float) -> None:
    question = Question(("Sherlock Holmes walked along",), (" Baker Street", " the man", " Paris"), 0)
    (scores,) = choice_log_probs(task.model, task.tokenizer, [question])
    for choice, score in zip(question.choices(), scores, strict=True):
        context, whole = (task.tokenizer(text)["input_ids"] for text in (choice[0], "".join(choice)))
        log_p = said(whole).log_softmax(-1)
        assert whole[: len(context)] == context
        places = range(len(context), len(whole))
        assert score == pytest.approx(sum(float(log_p[t - 1, whole[t]]) for t in places), abs=atol)
