"""Adapters: where they go, in what type, and that what they learnt is in the plain model afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from architectures import tiny_model, tiny_multimodal
from expunge.kinds.language.lora import Adapter, adapted_weights, adapter, inject, merge, switch, targets
from expunge.kinds.language.saving import choose_dtype
from expunge.kinds.language.task import CausalLM
from expunge.models.source import LoadedModel, ModelSource

EXPERTS = ("mixtral", "gpt_oss", "qwen2_moe")
IDS = torch.tensor([[11, 60, 7, 33, 85, 21, 40]])


def task_of(model: PreTrainedModel) -> CausalLM:
    return CausalLM(model, None)  # type: ignore[arg-type]


def disturb(model: PreTrainedModel, size: float) -> None:
    """Give every adapter's matrices random values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits.float()
    return found


@pytest.mark.parametrize(
    "family", ["gpt2", "falcon", "mixtral", "gpt_oss", "qwen2_moe", "olmoe", "granitemoe", "mamba", "jamba"]
)
def test_what_an_adapter_says_the_merged_model_says_and_it_can_be_saved(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    task = task_of(model)
    plain, kinds = logits(model), [type(module) for module in model.modules()]
    names = {name for name, _ in model.named_parameters()}
    with adapter(task, Adapter(rank=2), 0):
        torch.testing.assert_close(logits(model), plain)  # B begins at 0
        weights = adapted_weights(model)
        assert set(weights) == {name for name, p in model.named_parameters() if p.requires_grad}
        assert set(weights.values()) <= names
        if family in EXPERTS:
            assert any("experts" in weight and "gate_up_proj" in weight for weight in weights.values())
            assert any("experts" in weight and "down_proj" in weight for weight in weights.values())
        disturb(model, 0.05)
        learnt = logits(model)
        switch(model, False)
        torch.testing.assert_close(logits(model), plain)
        switch(model, True)
    assert [type(module) for module in model.modules()] == kinds
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert float((learnt - plain).abs().max()) > 0.01
    torch.testing.assert_close(logits(model), learnt, rtol=1e-3, atol=1e-4)
    model.save_pretrained(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    torch.testing.assert_close(logits(again), learnt, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_an_adapter_on_experts_learns(family: str) -> None:
    model = tiny_model(family)
    with adapter(task_of(model), Adapter(rank=2), 0):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-2)
        losses = []
        for _ in range(8):
            loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.5
    with torch.no_grad():
        assert float(model(input_ids=IDS, labels=IDS, use_cache=False).loss) < losses[0] - 0.5


def test_what_mambas_kernels_read_past_an_adapter_gets_none_and_it_is_said() -> None:
    found = targets(task_of(tiny_model("mamba")))
    assert {name.rpartition(".")[2] for name in found.left} == {"dt_proj", "out_proj"}
    assert {name.rpartition(".")[2] for name in found.modules} == {"in_proj", "x_proj"}
    assert "out_proj" in str(found.note())
    assert targets(task_of(tiny_model("llama"))).note() is None


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_only_the_text_tower_is_adapted(family: str) -> None:
    task = task_of(tiny_multimodal(family))
    inject(task, "reinforced", Adapter(rank=2), 0)
    adapted = adapted_weights(task.model)
    assert adapted
    assert all(name.startswith(task.decoder.prefix + ".") for name in adapted)
    assert {task.layer_of(name) for name in adapted} == {0, 1}


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_on_a_bfloat16_base_nothing_of_the_merge_is_lost(family: str, tmp_path: Path) -> None:
    """Adapters are float32; the merged weights are the base's plus the update in float32, and rounding them is noticed."""
    base = tiny_model(family).bfloat16()
    base.save_pretrained(tmp_path / "base")
    before = {name: parameter.detach().clone().float() for name, parameter in base.named_parameters()}
    inject(task_of(base), "unlearning", Adapter(rank=4), 0)
    adapters = [parameter for name, parameter in base.named_parameters() if ".lora_" in name]
    assert {parameter.dtype for parameter in adapters} == {torch.float32}
    disturb(base, 0.01)
    weights = dict(base.named_parameters())
    a, b = ("model.layers.0.self_attn.q_proj.lora_" + each + ".unlearning.weight" for each in "AB")
    expected = 2 * weights[b].detach() @ weights[a].detach()  # alpha / rank = 2
    merge(base)
    after = dict(base.named_parameters())
    assert {parameter.dtype for parameter in after.values()} == {torch.float32}
    name = "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(after[name] - before[name], expected, rtol=1e-3, atol=1e-7)
    rounded = after[name].bfloat16().float()
    assert float((rounded != before[name]).float().mean()) < 0.9 * float((after[name] != before[name]).float().mean())
    loaded = LoadedModel(base, None, ModelSource("base", tmp_path / "base", {}), torch.bfloat16)  # type: ignore[arg-type]
    dtype, warning = choose_dtype(loaded, "auto")
    assert dtype == torch.float32
    assert warning is not None
