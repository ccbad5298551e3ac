"""Plans with weights in 8 and 4 bits: where the library is missing, and of models that have none or transposed ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_plan import config, setting, training_step

from architectures import tiny_model
from expunge.errors import ModelError
from expunge.kinds.language.plan import check
from expunge.kinds.language.plan.check import check_memory
from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.plan import make_plan
from expunge.kinds.language.recipe import Recipe, make_recipe
from expunge.models.language_kind import LanguageKind
from expunge.models.source import find_model
from expunge.ops import quantised

TINY = Device(name="small", memory=1 << 10, usable=1 << 10, bf16=False)
"nothing fits into it"
QUANTISED: dict[str, Any] = {"training.adapter_rank": 4, "training.quantization": "8bit"}


def recipe(model: Path, folder: Path, **fields: Any) -> Recipe:
    book = folder / "book.txt"
    book.write_text("It was a dark and stormy night. " * 80)
    usual = {"model": str(model), "forget": str(book), "data.block_size": 32, "data.retain_answers": 16}
    return make_recipe({}, usual | {"method.name": "gradient_difference"} | fields)


@pytest.fixture
def without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_bitsandbytes")
def test_options_that_need_a_missing_library_are_not_tried_and_it_is_said(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    config(2, architectures=["LlamaForCausalLM"], dtype="bfloat16").save_pretrained(folder)
    plan = make_plan(recipe(folder, tmp_path), TINY)
    assert plan.fits is None
    assert any("was not tried, as that needs the extra bitsandbytes" in note for note in plan.notes)


def test_a_model_that_cannot_be_quantised_is_planned_without_and_refused_with_it(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    tiny_model("mamba", vocab_size=400).bfloat16().save_pretrained(folder)
    for file in tiny_model_folder.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    assert make_plan(recipe(folder, tmp_path), TINY).fits is None
    said = "MambaForCausalLM has no linear layers that can be quantised"
    wanted = recipe(folder, tmp_path, **QUANTISED)
    monkeypatch.setattr(check, "SMALLEST", 0)
    monkeypatch.setattr(check, "this_machine", lambda: replace(TINY, memory=1 << 40, free=1 << 40))
    with pytest.raises(ModelError, match=said) as refused:
        check_memory(wanted, find_model(str(folder)))
    assert "leave training.quantization out" in str(refused.value)


def test_transposed_matrices_take_a_byte_a_number() -> None:
    model = LanguageKind("AutoModelForCausalLM", tiny_model("gpt2").config)
    bits = {None: 0, "8bit": 0}
    for each in bits:
        taken = training_step(replace(setting(adapter_rank=4, quantization=each), model=model)).numbers
        bits[each] = taken["weight_bytes"]
    matrices = 2 * (32 * 96 + 32 * 32 + 32 * 48 + 48 * 32)
    scales = 2 * (96 + 32 + 48 + 32) * 4
    assert bits[None] - bits["8bit"] == matrices - scales
