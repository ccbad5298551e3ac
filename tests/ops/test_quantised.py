"""Frozen weights in 8 and 4 bits: what they stand for, their gradients, and an adapter that is merged into the originals."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from architectures import tiny_model
from expunge.errors import ModelError
from expunge.kinds.language.lora import ADAPTER, Adapter, adapter, is_adapters
from expunge.kinds.language.task import CausalLM
from expunge.ops.narrow import hold_narrow
from expunge.ops.quantised import BLOCK, Quantised, QuantisedLinear, hold_quantised, linear_below, put_back
from tiny import make_batch, random_blocks

IDS = torch.tensor([[11, 60, 7, 33]])
CPU = torch.device("cpu")
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
"QLoRA, appendix E"


def quantised(weight: torch.Tensor, bits: int) -> QuantisedLinear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.clone())
    hold_quantised({"": layer}, bits, CPU)
    assert isinstance(layer, QuantisedLinear)
    return layer


def test_eight_bits_are_rounded_rows() -> None:
    weight = torch.randn(6, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    wide = weight.double()
    scale = wide.abs().amax(1, keepdim=True) / 127
    expected = (wide / scale).round() * scale
    found = quantised(weight, 8)
    assert found.weight.dtype == torch.int8
    torch.testing.assert_close(found.widened(torch.float32).double(), expected, rtol=1e-5, atol=1e-6)


def test_four_bits_are_the_nearest_levels_of_each_block() -> None:
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(1))
    blocks = weight.double().reshape(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    levels = torch.tensor(NF4, dtype=torch.float64)
    expected = (levels[(blocks[..., None] / largest[..., None] - levels).abs().argmin(-1)] * largest).reshape_as(weight)
    found = quantised(weight, 4)
    assert found.weight.numel() == weight.numel() // 2
    # The scales are rounded to 8 bits themselves, by one maximum for 256 of them.
    torch.testing.assert_close(found.widened(torch.float32).double(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_gradient_is_that_of_the_widened_weight(bits: int) -> None:
    layer = quantised(torch.randn(64, 64, generator=torch.Generator().manual_seed(2)), bits)
    inputs = torch.randn(3, 64, requires_grad=True)
    layer(inputs).square().sum().backward()
    assert inputs.grad is not None
    given = inputs.detach().requires_grad_()
    nn.functional.linear(given, layer.widened(torch.float32)).square().sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(inputs.grad, given.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16


def held(model: nn.Module, layers: str, bits: int) -> dict[str, nn.Linear | Conv1D]:
    found = linear_below(model, hold_narrow(model, partial(model, IDS)), layers)
    hold_quantised(found, bits, CPU)
    return found


LAYERS = {"llama": ("model.layers", 14), "gpt2": ("transformer.h", 8)}
"where the layers of a family are, and how many matrices two of them have; GPT-2's are transposed"


@pytest.mark.parametrize("bits", [8, 4])
def test_transposed_weights_are_held_as_others_are(bits: int) -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(3))
    turned, inputs = Conv1D(64, 128), torch.randn(2, 3, 128)
    turned.weight, turned.bias = nn.Parameter(weight.T.clone()), nn.Parameter(torch.randn(64))
    hold_quantised({"": turned}, bits, CPU)
    plain = quantised(weight, bits)
    assert torch.equal(turned.weight, plain.weight)
    assert torch.equal(turned(inputs), plain(inputs) + turned.bias)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", LAYERS)
def test_an_adapter_learns_on_them_and_is_merged_into_the_originals(
    family: str, bits: int, checkpointing: bool
) -> None:
    stored = tiny_model(family).bfloat16()
    model = copy.deepcopy(stored)
    layers, count = LAYERS[family]
    assert len(held(model, layers, bits)) == count
    task = CausalLM(model, None)  # type: ignore[arg-type]
    batch = make_batch(random_blocks([12, 5, 9], vocabulary=80))
    losses = []
    with adapter(task, Adapter(rank=2), 0, lambda: stored):
        trained = {name: p for name, p in model.named_parameters() if is_adapters(name, ADAPTER)}
        assert all(p.dtype == torch.float32 for p in trained.values())
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
        for _ in range(4):
            loss = task.nll(batch)
            loss.backward()
            assert all(p.grad is not None for p in trained.values())
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        name = f"{layers}.0.mlp.{'c_fc' if family == 'gpt2' else 'up_proj'}"
        change = 2.0 * trained[f"{name}.lora_B.{ADAPTER}.weight"] @ trained[f"{name}.lora_A.{ADAPTER}.weight"]
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not any(isinstance(module, Quantised) for module in model.modules())
    change = change.T if family == "gpt2" else change
    expected = stored.get_parameter(f"{name}.weight").double() + change.detach().double()
    torch.testing.assert_close(model.get_parameter(f"{name}.weight").double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", LAYERS)
def test_the_originals_are_put_back_with_their_bits(family: str) -> None:
    stored = tiny_model(family).bfloat16()
    model = copy.deepcopy(stored)
    held(model, LAYERS[family][0], 4)
    put_back(model, stored)
    for name, value in stored.named_parameters():
        assert torch.equal(model.get_parameter(name).to(value.dtype), value)


def test_a_model_without_linear_layers_is_refused() -> None:
    model = tiny_model("mamba").bfloat16()
    with pytest.raises(ModelError, match="MambaForCausalLM has no linear layers that can be quantised"):
        held(model, "backbone.layers", 8)
