"""Frozen weights in a narrow type: the bits of wide ones, in half the memory."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import nn

from architectures import tiny_model
from expunge.kinds.language.lora import ADAPTER, Adapter, adapter, is_adapters
from expunge.kinds.language.task import CausalLM
from expunge.ops.narrow import NarrowConv1D, NarrowLinear, computing_dtype, hold_narrow, widen
from tiny import make_batch, random_blocks

IDS = torch.tensor([[11, 60, 7, 33]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_product_has_the_value_and_the_gradient_of_a_wide_one(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide = nn.Linear(7, 5).to(dtype).float()
    narrow = copy.deepcopy(wide).to(dtype)
    hold_narrow(narrow, lambda: narrow(torch.ones(1, 7, dtype=dtype)))
    assert type(narrow) is NarrowLinear
    inputs = [torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(1), requires_grad=True) for _ in range(2)]
    outputs = [layer(each) for layer, each in zip((wide, narrow), inputs, strict=True)]
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(*outputs)
    assert inputs[0].grad is not None
    assert inputs[1].grad is not None
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-6, atol=1e-6)
    assert narrow.weight.dtype == dtype
    assert narrow.weight.grad is None


def test_the_gradient_against_finite_differences() -> None:
    layer = nn.Linear(4, 3).half()
    hold_narrow(layer, lambda: layer(torch.ones(1, 4).half()))
    inputs = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (inputs,))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2_moe", "mamba", "gemma2"])
@pytest.mark.parametrize("variant", ["lora", "rslora"])
def test_an_adapter_on_narrow_weights_learns_what_it_learns_on_wide_ones(family: str, variant: str) -> None:
    stored = tiny_model(family).bfloat16()
    batch = make_batch(random_blocks([12, 5, 9], vocabulary=80))
    begun: dict[str, torch.Tensor] = {}
    losses: list[list[float]] = []
    merged: list[dict[str, torch.Tensor]] = []
    for narrow, checkpointing in ((True, False), (False, False), (True, True)):
        model = copy.deepcopy(stored)
        if narrow:
            hold_narrow(model, partial(model, IDS))
            wanted = NarrowConv1D if family == "gpt2" else NarrowLinear
            held = any(isinstance(module, wanted) for module in model.modules())
            assert held == (family != "mamba")  # which reads a weight past its layer
        else:
            model.float()
        assert computing_dtype(model) == torch.float32
        task = CausalLM(model, None)  # type: ignore[arg-type]
        with adapter(task, Adapter(rank=2, variant=variant), 0):
            trained = {name: p for name, p in model.named_parameters() if is_adapters(name, ADAPTER)}
            with torch.no_grad():
                for name, value in trained.items():
                    value.copy_(begun.setdefault(name, value.detach().clone()))
            if checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": False})
            model.train()
            optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
            losses.append([])
            for _ in range(4):
                loss = task.nll(batch)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses[-1].append(loss.item())
        merged.append({name: p.detach() for name, p in model.named_parameters()})
    assert losses[0][-1] < losses[0][0]
    for other, weights in zip(losses[1:], merged[1:], strict=True):
        assert other == pytest.approx(losses[0], rel=1e-4)
        for name, value in weights.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, merged[0][name], rtol=1e-3, atol=1e-4)


def test_what_was_narrow_is_plain_again() -> None:
    model = tiny_model("llama").bfloat16()
    kinds = [type(module) for module in model.modules()]
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    hold_narrow(model, partial(model, IDS))
    assert not any(p.requires_grad for p in model.parameters())
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert size < 2.2 * sum(p.numel() for p in model.parameters())
    widen(model)
    assert [type(module) for module in model.modules()] == kinds
    for (name, value), before in zip(model.named_parameters(), itertools.repeat(values), strict=False):
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name].float())


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2_moe", "gemma2"])
@pytest.mark.parametrize("autocast", [False, True])
def test_trained_narrow_weights_have_the_loss_of_wide_ones_and_their_gradients_rounded(
    family: str, autocast: bool
) -> None:
    def context() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False)

    wide, narrow = (tiny_model(family).bfloat16() for _ in range(2))
    narrow.load_state_dict(wide.state_dict())
    names = hold_narrow(narrow, partial(narrow, IDS), trained=torch.bfloat16)
    assert names
    wide.float()
    batch, losses = make_batch(random_blocks([12, 5, 9], vocabulary=80)), []
    for model in (narrow, wide):
        task = CausalLM(model, None, context)  # type: ignore[arg-type]
        loss = task.nll(batch) + task.row_nll(batch).sigmoid().mean()
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    wanted = dict(wide.named_parameters())
    kinds = set()
    for name, weight in narrow.named_parameters():
        kinds.add(weight.dtype)
        found, expected = weight.grad, wanted[name].grad
        if expected is None:
            assert found is None or not found.any()
            continue
        assert found is not None
        assert found.dtype == weight.dtype
        # Rounded once by each term that a weight is in: 2^-9 of the length.
        assert float((found.float() - expected).norm()) <= 3 * 2.0**-9 * float(expected.norm()), name
    assert kinds == {torch.bfloat16, torch.float32}
    if family == "gemma2":  # its embedding, which is tied to the head, is read in a way of its own
        assert narrow.get_output_embeddings().weight.dtype == torch.float32


def test_the_gradients_of_trained_products_and_look_ups_against_finite_differences() -> None:
    torch.manual_seed(0)
    for layer in (NarrowLinear(4, 3), NarrowConv1D(3, 4)):
        layer.double()
        inputs = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)

        def product(x: torch.Tensor, *weights: torch.Tensor, layer: nn.Module = layer) -> torch.Tensor:
            return torch.func.functional_call(layer, dict(zip(("weight", "bias"), weights, strict=True)), (x,))

        assert torch.autograd.gradcheck(product, (inputs, layer.weight, layer.bias))


def test_a_frequent_tokens_gradient_is_summed_before_it_is_rounded() -> None:
    """1000 rows of 2^-9 beside one of 1: added up one by one in bfloat16 they would be lost."""
    embedding = nn.Embedding(5, 3, padding_idx=4).bfloat16()
    hold_narrow(embedding, lambda: embedding(torch.tensor([1])), trained=torch.bfloat16)
    ids = torch.tensor([[2] * 1001 + [0, 4]])
    weight = torch.full((1, 1003, 1), 2.0**-9)
    weight[0, 0] = 1
    found = embedding(ids)
    assert found.dtype == torch.float32
    (found * weight).sum().backward()
    gradient = embedding.weight.grad
    assert gradient is not None
    assert gradient.dtype == torch.bfloat16
    assert gradient[:, 0].tolist() == [2.0**-9, 0, float(torch.tensor(1 + 1000 * 2.0**-9).bfloat16()), 0, 0]
