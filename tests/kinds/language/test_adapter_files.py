"""Adapters that are saved by themselves, and read as models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import expunge
from expunge.errors import ExpungeError, ModelError, RecipeError, RunError
from expunge.models.source import find_model, load_model
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from small import SMALL, write_texts
from tiny_model import build_tiny_model

IDS = torch.tensor([[11, 60, 7, 33, 85, 21, 40]])
ADAPTED: dict[str, Any] = {"method": "gradient_difference", "training.adapter_rank": 4, "training.learning_rate": 1e-2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored in bfloat16, as large models are."""
    return build_tiny_model(tmp_path_factory.mktemp("base") / "model", dtype="bfloat16")


def forget(base: Path, folder: Path, **options: Any) -> RunFolder:
    target, retain = write_texts(folder)
    usual = SMALL | ADAPTED | {"retain": str(retain), "model": str(base)}
    return expunge.forget(str(target), out=folder / "run", **usual | options)


@pytest.fixture(scope="module")
def both(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that saves the merged model and the adapter."""
    return forget(base, tmp_path_factory.mktemp("both"), save="both", save_dtype="float32")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS, use_cache=False).logits.float()
    return found


def test_peft_loads_it_and_it_says_what_the_merged_model_says(both: RunFolder, base: Path) -> None:
    config = json.loads((both.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base.resolve())
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    assert (config["peft_type"], config["task_type"], config["r"], config["lora_alpha"]) == ("LORA", "CAUSAL_LM", 4, 8)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = logits(plain)
    adapted = PeftModel.from_pretrained(plain, both.adapter)
    merged = AutoModelForCausalLM.from_pretrained(both.model)
    torch.testing.assert_close(logits(adapted), logits(merged), rtol=1e-4, atol=1e-5)
    assert float((logits(merged) - before).abs().max()) > 0.01


def test_its_folder_is_the_model_that_it_makes_of_its_base(both: RunFolder) -> None:
    source = find_model(str(both.adapter))
    assert {"adapter/adapter_model.safetensors", "model.safetensors"} <= set(source.digests)
    model = load_model(source, None).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not hasattr(model, "peft_config")
    saved = load_file(both.model / "model.safetensors")
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, saved[name], rtol=1e-5, atol=1e-7)


def test_an_adapter_alone_is_measured_and_verified_as_a_model_is(both: RunFolder, base: Path, tmp_path: Path) -> None:
    alone = forget(base, tmp_path, save="adapter")
    assert not alone.adapter.exists()
    assert {path.name for path in alone.model.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }
    assert not list(alone.model.glob("model*.safetensors"))
    ours, theirs = ({(s.measure, s.split, s.model): s.value for s in folder.read_scores()} for folder in (alone, both))
    assert ours == {key: pytest.approx(value, rel=1e-5) for key, value in theirs.items()}
    assert "AutoPeftModelForCausalLM" in (alone.model / "README.md").read_text()
    assert not [found for found in verify_run(alone) if found.ok is False]


def test_it_forgets_more(both: RunFolder, tmp_path: Path) -> None:
    again = forget(both.adapter, tmp_path, method="npo")
    before = next(
        s.value for s in again.read_scores() if (s.measure, s.split, s.model) == ("perplexity", "forget", "base")
    )
    after = next(
        s.value for s in both.read_scores() if (s.measure, s.split, s.model) == ("perplexity", "forget", "unlearned")
    )
    assert before == pytest.approx(after, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_model_name_or_path": "gone/model"}, "the base model of the adapter in .* cannot be used"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"peft_type": "PROMPT_TUNING"}, "a kind that cannot be merged"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_named(
    change: dict[str, Any], said: str, both: RunFolder, tmp_path: Path
) -> None:
    folder = shutil.copytree(both.adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=said) as caught:
        find_model(str(folder))
    assert caught.value.next_step or caught.value.allowed


def test_an_adapter_of_another_base_and_one_as_pickle_are_refused(both: RunFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(both.adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    other = build_wide(tmp_path / "wide")
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(other)}))
    with pytest.raises(ModelError, match="does not fit LlamaForCausalLM"):
        load_model(find_model(str(folder)))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        find_model(str(folder))


def build_wide(folder: Path) -> Path:
    """A model of twice the width."""
    build_tiny_model(folder)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    config.hidden_size, config.head_dim = 64, 32
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_an_adapter_trained_on_quantised_weights_is_added_to_the_stored_ones(
    bits: str, base: Path, tmp_path: Path
) -> None:
    options = {"training.quantization": bits, "training.bf16": True, "save": "both", "save_dtype": "float32"}
    run = forget(base, tmp_path, **options)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), run.adapter)
    merged = AutoModelForCausalLM.from_pretrained(run.model)
    torch.testing.assert_close(logits(adapted), logits(merged), rtol=1e-4, atol=1e-5)
    assert not [found for found in verify_run(run) if found.ok is False]


def test_quantised_weights_need_an_adapter_and_a_library(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised = {"training.quantization": "4bit"}
    with pytest.raises(RecipeError, match="give adapter_rank too"):
        forget(base, tmp_path, **quantised | {"training.adapter_rank": None})
    with pytest.raises(RecipeError, match="lora or rslora"):
        forget(base, tmp_path, **quantised, **{"training.adapter_variant": "dora"})
    with pytest.raises(RecipeError, match="quantised weights cannot be trained"):
        forget(base, tmp_path, **quantised, method="task_vector_negation")
    monkeypatch.setattr("expunge.ops.quantised.find_spec", lambda name: None)
    with pytest.raises(RunError, match="need the extra bitsandbytes") as caught:
        forget(base, tmp_path, **quantised)
    assert "expunge[bitsandbytes]" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"training.adapter_rank": None}, {"method": "task_vector_negation"}])
def test_where_there_is_none_it_cannot_be_saved(options: dict[str, Any], base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no adapter to save") as caught:
        forget(base, tmp_path, save="adapter", **options)
    assert isinstance(caught.value, ExpungeError)
    assert not (tmp_path / "run").exists()
