"""Texts end to end in one row: the same figures and gradients as padded ones, within rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen2Config

from expunge.kinds.language.task import CausalLM
from expunge.ops.packing import LONGEST, SHARE, TOKENS, packed_hidden, packs, worth_packing
from expunge.train.step import IGNORED, Batch

SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0),
    "llama": LlamaConfig(**SMALL, intermediate_size=48, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SMALL, intermediate_size=48, num_key_value_heads=2),
    "neox": GPTNeoXConfig(**SMALL, intermediate_size=48),
}


def model_of(kind: str, attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind], attn_implementation=attention)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    return model.double().eval()


def batch_of() -> Batch:
    torch.manual_seed(1)
    lengths = torch.tensor([20, 3, 7, 1, 5])
    ids = torch.randint(2, 60, (5, 20))
    for row, length in enumerate(lengths.tolist()):
        ids[row, length:] = 0
    labels = ids.clone()
    labels[:, 0] = IGNORED
    labels[torch.arange(20) >= lengths[:, None]] = IGNORED
    return Batch(ids=ids, labels=labels, lengths=lengths, normaliser=31.0, examples=5.0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_same_hidden_states_and_gradients(kind: str, attention: str) -> None:
    model, batch = model_of(kind, attention), batch_of()
    assert packs(model)
    assert worth_packing(batch.lengths, 20)
    task = CausalLM(model, None)  # type: ignore[arg-type]
    assert task.packs
    found = []
    for task.packs in (True, False):
        model.zero_grad()
        loss = task.nll(batch) + 0.1 * task.example_nll(batch).square().sum()
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-9)
    assert len(found[0][1]) == len(found[1][1]) > 10
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)  # norms and rotations are float32 inside


def test_a_text_sees_only_itself() -> None:
    model, batch = model_of("llama"), batch_of()
    with torch.no_grad():
        first = packed_hidden(model.base_model, batch.ids, batch.lengths)
        other = batch.ids.clone()
        other[0, 4] = 61
        changed = packed_hidden(model.base_model, other, batch.lengths)
    assert not torch.equal(first[0, 4:], changed[0, 4:])
    assert torch.equal(first[0, :4], changed[0, :4])
    torch.testing.assert_close(first[1:], changed[1:], rtol=0, atol=1e-12)
    assert not first[1, 3:].any(), "nothing in place of padding"


def test_what_is_told_of_every_layer_lies_as_the_batch_does() -> None:
    task, batch = CausalLM(model_of("llama"), None), batch_of()  # type: ignore[arg-type]
    with torch.no_grad():
        hidden, states = task.hidden(batch, 1), task.example_states(batch)
        task.packs = False
        torch.testing.assert_close(hidden, task.hidden(batch, 1))
        torch.testing.assert_close(states, task.example_states(batch))


def test_a_model_that_does_not_take_a_mask_is_left_alone() -> None:
    class Deaf(torch.nn.Module):
        """Ignores the mask and the places that it is given."""

        def __init__(self, body: Any) -> None:
            super().__init__()
            self.body = body

        def forward(self, input_ids: torch.Tensor, use_cache: bool = False, **_: Any) -> Any:
            return self.body(input_ids=input_ids, use_cache=use_cache)

    class Strict(Deaf):
        def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:  # type: ignore[override]
            return self.body(input_ids=input_ids, use_cache=use_cache)

    for kind in (Deaf, Strict):
        model = model_of("llama")
        model.model = kind(model.model)
        assert not packs(model)


@pytest.mark.parametrize(
    ("lengths", "width", "worth"),
    [
        ([5, 20], 20, True),
        ([20], 20, False),
        ([20, 19, 18], 20, False),
        ([5, LONGEST + 1], LONGEST + 1, False),
        ([LONGEST] * 8 + [1], LONGEST, False),
    ],
)
def test_where_it_is_worth_it(lengths: list[int], width: int, worth: bool) -> None:
    assert worth_packing(torch.tensor(lengths), width) is worth
    assert 0 < SHARE < 1
    assert TOKENS >= LONGEST


def test_soft_labels_come_to_the_same() -> None:
    task, batch = CausalLM(model_of("gpt2"), None), batch_of()  # type: ignore[arg-type]
    soft = replace(
        batch,
        soft_ids=torch.randint(0, 60, (5, 20, 3)),
        soft_weights=torch.full((5, 20, 3), 1 / 3, dtype=torch.float64),
    )
    packed = task.nll(soft)
    task.packs = False
    torch.testing.assert_close(packed, task.nll(soft), rtol=1e-9, atol=1e-9)
