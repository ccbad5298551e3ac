"""DExperts: its logits against the formula, with and without a cache, and generation with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DynamicCache, LlamaConfig, LlamaForCausalLM

from expunge.kinds.language.dexperts import DExperts, in_nucleus
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.task import CausalLM


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def three() -> list[LlamaForCausalLM]:
    return [llama(seed) for seed in range(3)]


def softmax(logits: np.ndarray) -> np.ndarray:
    made = np.exp(logits - logits.max())
    return np.asarray(made / made.sum())


@torch.inference_mode()
def test_logits_against_the_formula(three: list[LlamaForCausalLM]) -> None:
    ids = torch.tensor([[5, 9, 17, 100]])
    together = DExperts(*three, alpha=1.5, top_p=0.7)(ids).logits[0, -1].numpy()
    base, expert, anti = (model(ids).logits[0, -1].double().numpy() for model in three)
    p = softmax(base)
    kept, mass = set(), 0.0
    for token in np.argsort(-p):
        if mass >= 0.7:
            break
        kept.add(int(token))
        mass += p[token]
    assert {int(token) for token in np.flatnonzero(np.isfinite(together))} == kept
    places = sorted(kept)
    np.testing.assert_allclose(together[places], (base + 1.5 * (expert - anti))[places], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_equal_experts_and_alpha_zero_leave_the_base(three: list[LlamaForCausalLM]) -> None:
    ids = torch.tensor([[5, 9, 17, 100]])
    base = three[0](ids).logits
    torch.testing.assert_close(DExperts(three[0], three[1], three[1], alpha=2.0, top_p=1.0)(ids).logits, base)
    torch.testing.assert_close(DExperts(*three, alpha=0.0, top_p=1.0)(ids).logits, base)


@torch.inference_mode()
def test_a_cache_changes_nothing(three: list[LlamaForCausalLM]) -> None:
    model = DExperts(*three)
    ids = torch.tensor([[5, 9, 17, 100, 30]])
    cache = DynamicCache(config=model.config)
    model(ids[:, :3], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(2)
    cached = model(ids[:, 3:].repeat(2, 1), past_key_values=cache, use_cache=True).logits
    whole = model(ids).logits[:, 3:]
    torch.testing.assert_close(cached[:1], whole)
    torch.testing.assert_close(cached[1:], whole)


def test_it_generates_as_a_task(three: list[LlamaForCausalLM], tiny_model_folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    task = CausalLM(DExperts(*three), tokenizer)  # type: ignore[arg-type]
    assert not task.plain_head
    said = continue_prompts(task, [[5, 9], [7, 8, 9]], samples=3, max_new_tokens=4, seed=1)
    alone = continue_prompts(task, [[7, 8, 9]], samples=3, max_new_tokens=4, seed=1)
    assert [each.text for each in said[1]] == [each.text for each in alone[0]]
    assert all(0 < each.tokens <= 4 for of_prompt in said for each in of_prompt)


def test_the_nucleus() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert torch.isfinite(in_nucleus(logits, 0.5)).tolist() == [True, False, False, False]
    assert torch.isfinite(in_nucleus(logits, 0.81)).tolist() == [True, True, True, False]
    assert torch.equal(in_nucleus(logits, 1.0), logits)
