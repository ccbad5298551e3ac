"""Saving: the forgetting survives the type it is saved in, and plain transformers loads the result."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.saving import choose_dtype, lost_by_rounding, save_model
from expunge.models.source import LoadedModel, find_model, load_model, load_weights
from expunge.train.precision import Precision


@pytest.fixture(scope="module")
def bfloat16_folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bfloat16") / "model"
    shutil.copytree(tiny_model_folder, folder)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def updated(folder: Path, size: float) -> LoadedModel:
    """The model with every weight moved by about `size`, as training would."""
    loaded = load_model(find_model(str(folder)))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(torch.randn_like(parameter) * size)
    return loaded


def test_a_small_update_would_be_undone_by_rounding_so_it_is_saved_as_float32(
    bfloat16_folder: Path, tmp_path: Path
) -> None:
    """Unlearning moves weights by about 1e-5; half a unit in the last place of bfloat16 is 6e-5 at a weight of 0.02."""
    loaded = updated(bfloat16_folder, 1e-5)
    dtype, warning = choose_dtype(loaded, "auto")
    assert dtype == torch.float32
    assert warning is not None
    assert "rounding to the base model's bfloat16 would undo" in warning
    save_model(loaded, tmp_path / "model", dtype)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.dtype == torch.float32
    for (name, saved), (_, trained) in zip(again.named_parameters(), loaded.model.named_parameters(), strict=True):
        assert torch.equal(saved, trained), name
    # what the warning is about: in bfloat16 most of the update would be gone
    save_model(loaded, tmp_path / "rounded", torch.bfloat16)
    base, rounded = load_file(bfloat16_folder / "model.safetensors"), load_file(tmp_path / "rounded/model.safetensors")
    kept = sum(int((base[name] != rounded[name]).sum()) for name in base)
    assert kept < 0.5 * sum(tensor.numel() for tensor in base.values())


def test_a_large_update_is_saved_in_the_models_own_type(bfloat16_folder: Path, tmp_path: Path) -> None:
    loaded = updated(bfloat16_folder, 0.05)
    assert choose_dtype(loaded, "auto") == (torch.bfloat16, None)
    save_model(loaded, tmp_path / "model", torch.bfloat16)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.dtype == torch.bfloat16
    for (name, saved), (_, trained) in zip(again.named_parameters(), loaded.model.named_parameters(), strict=True):
        assert torch.equal(saved, trained.to(torch.bfloat16)), name
    assert loaded.model.dtype == loaded.model.config.dtype == torch.float32, "the model in memory is as it was"


def test_a_float32_model_stays_one(tiny_model_folder: Path) -> None:
    assert choose_dtype(updated(tiny_model_folder, 1e-5), "auto") == (torch.float32, None)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_a_type_that_was_asked_for_is_taken(wanted: str, bfloat16_folder: Path) -> None:
    assert choose_dtype(updated(bfloat16_folder, 0.05), wanted) == (getattr(torch, wanted), None)


def test_a_type_that_was_asked_for_and_rounds_the_change_away_is_taken_and_said(bfloat16_folder: Path) -> None:
    loaded = updated(bfloat16_folder, 1e-5)
    assert choose_dtype(loaded, "float32") == (torch.float32, None)
    dtype, warning = choose_dtype(loaded, "bfloat16")
    assert dtype == torch.bfloat16
    base = load_weights(loaded.source, torch.bfloat16)
    lost = min(1, lost_by_rounding(loaded.model, base, torch.bfloat16))
    assert lost > 0.5
    assert f"rounding to it undoes {lost:.0%} of the change to the weights" in str(warning)


def test_the_share_that_rounding_loses(bfloat16_folder: Path, tiny_model_folder: Path) -> None:
    untouched = load_model(find_model(str(bfloat16_folder)))
    base = load_weights(untouched.source, torch.bfloat16)
    assert lost_by_rounding(untouched.model, base, torch.bfloat16) == 0
    wide = load_model(find_model(str(tiny_model_folder)))
    assert lost_by_rounding(wide.model, load_weights(wide.source, torch.float32), torch.bfloat16) == float("inf")
    with torch.no_grad():  # one weight moved by a whole unit in the last place and a quarter more
        weight = untouched.model.model.layers[0].mlp.up_proj.weight
        weight[0, 0] = 1.0
        untouched.model.save_pretrained(bfloat16_folder.parent / "one")
        weight[0, 0] += 1.25 * 2**-7
    one = AutoModelForCausalLM.from_pretrained(bfloat16_folder.parent / "one", dtype=torch.bfloat16)
    lost = lost_by_rounding(untouched.model, one, torch.bfloat16)
    assert lost == pytest.approx(0.25 / 1.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_saved_folder_is_an_ordinary_one(dtype: torch.dtype, bfloat16_folder: Path, tmp_path: Path) -> None:
    loaded = updated(bfloat16_folder, 0.05)
    (bfloat16_folder / "LICENSE").write_text("a licence")
    save_model(loaded, tmp_path / "model", dtype)
    (bfloat16_folder / "LICENSE").unlink()
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files >= {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"}
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert "lm_head.weight" not in stored, "tied to the embedding, so stored once"
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer("Sherlock Holmes and Doctor Watson", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        difference = (again(ids).logits - loaded.model(ids).logits).abs().max().item()
    assert difference == 0 if dtype == torch.float32 else difference < 0.1
    assert tokenizer.chat_template == loaded.tokenizer.chat_template
    assert again.generation_config.eos_token_id == loaded.model.generation_config.eos_token_id


def test_a_failing_save_leaves_the_model_that_was_there(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = updated(tiny_model_folder, 0.01)
    save_model(first, tmp_path / "model", torch.float32)
    second = updated(tiny_model_folder, 0.02)

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(second.tokenizer), "save_pretrained", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(second, tmp_path / "model", torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(again.model.embed_tokens.weight, first.model.model.embed_tokens.weight)


def test_a_lazy_model_is_loaded_when_it_is_called_and_again_after_its_release(tiny_model_folder: Path) -> None:
    lazy = LazyModel(find_model(str(tiny_model_folder)), Precision(False))
    assert lazy.loaded is None
    assert lazy.tokenizer("Holmes")["input_ids"]
    assert lazy.loaded is None
    task = lazy()
    assert lazy() is task
    with torch.no_grad():
        task.model.model.norm.weight.zero_()
    lazy.release()
    assert lazy.loaded is None
    assert lazy().model.model.norm.weight.abs().sum() > 0
    assert lazy.digest == lazy.source.digest
