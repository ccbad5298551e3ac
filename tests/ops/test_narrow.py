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
