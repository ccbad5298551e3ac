"""Weights trained in bfloat16: what is refused and said, and that a model moves by steps below its last place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from architectures import tiny_model
from expunge.core import processes
from expunge.errors import RecipeError
from expunge.kinds.language.narrow_training import check_narrow, narrow_notes, trains_narrow
from expunge.kinds.language.recipe import Training
from expunge.runs.registry import make_method

NARROW = Training(
    weight_dtype="bfloat16", max_steps=3, num_train_epochs=9, learning_rate=1e-5, warmup_ratio=0, bf16=False
)
TEXTS = ["the harbour of the old town", "a lantern on the northern pier", "ten boats and one bell"]


@pytest.mark.parametrize("name", ["task_vector_negation", "npo_sam", "cir"])
def test_methods_that_do_more_than_steps_of_a_loss_are_refused(name: str) -> None:
    method = make_method({"name": name}, "causal_lm")
    assert not trains_narrow(method)
    with pytest.raises(RecipeError, match="small changes are lost") as refused:
        check_narrow(NARROW, method, name)
    assert "leave training.weight_dtype out" in str(refused.value)
    check_narrow(Training(), method, name)


def test_adapters_and_spread_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_method({"name": "npo"}, "causal_lm")
    check_narrow(NARROW, method, "npo")
    with pytest.raises(RecipeError, match="only the adapter is trained"):
        check_narrow(NARROW, method, "npo", adapted=True)
    monkeypatch.setattr(processes, "asked_to_spread", lambda: True)
    with pytest.raises(RecipeError, match="sharded over processes are trained in float32"):
        check_narrow(NARROW, method, "npo")
    with pytest.raises(RecipeError, match="leave weight_dtype or adapter_rank out"):
        Training(weight_dtype="bfloat16", adapter_rank=4)


def test_what_stays_float32_is_said() -> None:
    (note,) = narrow_notes(tiny_model("mamba").float(), torch.bfloat16)
    assert note.startswith("100% of the weights are still trained in float32")
    model = tiny_model("llama").bfloat16()
    assert narrow_notes(model, torch.bfloat16) == []
    assert "stored as float16" in narrow_notes(model, torch.float16)[0]


def test_a_model_in_memory_keeps_steps_that_rounding_to_nearest_would_lose(tiny_model_folder: Path) -> None:
    def unlearned() -> tuple[dict[str, torch.Tensor], list[str]]:
        model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)
        result = expunge.unlearn(
            model,
            AutoTokenizer.from_pretrained(tiny_model_folder),
            forget=TEXTS,
            method="gradient_ascent",
            training=NARROW,
        )
        assert result.steps == 3
        assert not any("Narrow" in type(module).__name__ for module in model.modules())
        return {name: weight.detach() for name, weight in model.named_parameters()}, result.notices

    before = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)
    (one, notices), (again, _) = unlearned(), unlearned()
    assert all(weight.dtype == torch.bfloat16 for weight in one.values())
    assert all(torch.equal(weight, again[name]) for name, weight in one.items())
    assert not any("round" in notice for notice in notices)
    moved = {name: (one[name].float() - weight.detach().float()) for name, weight in before.named_parameters()}
    large = torch.cat([m[w.abs() > 0.02].flatten() for m, w in zip(moved.values(), before.parameters(), strict=True)])
    # No step of 1e-5 reaches half of the last place of these, which is 6e-5; some have moved by a whole one all the same.
    assert 0.02 < float((large != 0).double().mean()) < 0.5
