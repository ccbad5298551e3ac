"""A model with gated adapters: what they add by hand, with and without a cache, choices, copies, and the files."""

from __future__ import annotations

import copy
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import holds_choices, holds_greedy_text, holds_its_own_cache, holds_rows_of_a_cache
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from expunge.errors import ModelError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.saving import choose_dtype, save_model
from expunge.kinds.language.task import CausalLM
from expunge.models.detector import Detector, made
from expunge.models.gate import Gate, GatedAdapter, put_gate
from expunge.models.source import find_model, load_model
from expunge.train.precision import Precision
from tiny import load_task, make_batch, random_blocks
from tiny_model import build_tiny_model

PLACES = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "model.layers.1.self_attn.o_proj")


def drawn_gate(task: CausalLM, seed: int = 0, adapters: int = 2) -> Gate:
    """Adapters with random matrices, whose detectors say something between 0 and 1 at most tokens."""
    generator = torch.Generator().manual_seed(seed)
    there, found = dict(task.model.named_modules()), []
    with torch.no_grad():
        ids = torch.tensor(random_blocks([9] * 8, seed=seed))
        states = task.model(ids, output_hidden_states=True).hidden_states[1]
        means = states.cumsum(1) / torch.arange(1, 10)[:, None]
    for number in range(adapters):
        matrices = {}
        for place in PLACES[number:]:
            outputs, inputs = there[place].weight.shape
            matrices[place] = tuple(torch.randn(*size, generator=generator) / 4 for size in ((2, inputs), (outputs, 2)))
        features = means[number::2, 1:].flatten(0, 1)[:, None]
        texts, others = torch.arange(len(features)), features.flip(2) + 0.3  # the second adapter has another set
        tensors = made((features, texts), (others, texts) if number else None)
        detector = Detector(tensors, boundary=12 if number == 0 else 0, steepness=0.15)
        found.append(GatedAdapter(matrices, 1.5, detector))  # type: ignore[arg-type]
    return Gate(found, "model.layers", "0")


@pytest.fixture
def both(tiny_model_folder: Path) -> tuple[CausalLM, CausalLM, Gate]:
    """(with gated adapters, the model alone, the gate)."""
    alone, task = load_task(tiny_model_folder), load_task(tiny_model_folder)
    gate = drawn_gate(alone)
    put_gate(task.model, gate)
    return CausalLM(task.model.eval(), task.tokenizer), alone, gate


def held_against(feature: np.ndarray, parts: dict[str, np.ndarray], before: str) -> np.ndarray:
    """Both distances from a set, by the inverse of its covariance."""
    mean, scale, v, variances, floor, bank = (
        parts[f"{before}{name}"][0] for name in ("mean", "scale", "directions", "variances", "floor", "bank")
    )
    z = (feature - mean) / scale
    covariance = floor * np.eye(len(z)) + v.T @ np.diag((variances - floor) * (v**2).sum(1)) @ v
    return np.array([z @ np.linalg.inv(covariance) @ z / len(z), 1 - max(row @ z / np.linalg.norm(z) for row in bank)])


def weights_of(alone: CausalLM, adapter: GatedAdapter, ids: list[int]) -> np.ndarray:
    """(time,) in numpy and float64: distances in the covariance itself, and cosines, of means up to each token."""
    parts = {name: value.double().numpy() for name, value in adapter.detector.tensors.items()}
    with torch.no_grad():
        states = alone.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0].double().numpy()
    scores = []
    for t in range(len(ids)):
        figures = held_against(states[: t + 1].mean(0), parts, "")
        if "other_mean" in parts:
            figures = figures - held_against(states[: t + 1].mean(0), parts, "other_")
        usual, spread = parts["usual"][0]
        scores.append(np.mean((figures - usual) / spread))
    mean, spread, _ = parts["scores"]
    bound, steepness = adapter.detector.boundary, adapter.detector.steepness
    return 1 / (1 + np.exp(-steepness * (bound - (np.array(scores) - mean) / spread)))


def said_by(alone: CausalLM, gate: Gate, ids: list[int]) -> torch.Tensor:
    """(time, vocabulary) logits: the model with each adapted layer's outputs changed by hand."""
    weights = [torch.tensor(weights_of(alone, each, ids)).float() for each in gate.every]

    def change(place: str) -> Any:
        def at(_module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
            for each, w in zip(gate.every, weights, strict=True):
                if place in each.matrices:
                    a, b = each.matrices[place]
                    output = (
                        output + torch.stack([1.5 * w[t] * (b @ (a @ given[0][0, t])) for t in range(len(ids))])[None]
                    )
            return output

        return at

    hooks = [alone.model.get_submodule(place).register_forward_hook(change(place)) for place in PLACES]
    try:
        with torch.no_grad():
            return alone.model(torch.tensor([ids])).logits[0]
    finally:
        for hook in hooks:
            hook.remove()


def test_each_token_is_changed_as_far_as_the_text_up_to_it_is_like(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, gate = both
    ids = random_blocks([10], seed=5)[0]
    weights = np.stack([weights_of(alone, each, ids) for each in gate.every])
    assert ((weights > 0.02) & (weights < 0.98)).sum() > 8, "neither off nor on"
    wanted = said_by(alone, gate, ids)
    with torch.no_grad():
        torch.testing.assert_close(task.model(torch.tensor([ids])).logits[0], wanted, rtol=1e-3, atol=1e-3)
        assert float((wanted - alone.model(torch.tensor([ids])).logits[0]).abs().max()) > 0.05
    batch = make_batch([ids], first_label=2)
    nll = -wanted[1:-1].log_softmax(-1).gather(1, batch.ids[0, 2:, None])[:, 0]
    torch.testing.assert_close(task.row_nll(batch).detach(), nll, rtol=1e-3, atol=1e-3)


def test_its_limits(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    """Far beyond the boundary it is the model as it was, far inside the model with the adapters merged."""
    task, alone, gate = both
    ids = torch.tensor(random_blocks([8], seed=6))
    with torch.no_grad():
        before = alone.model(ids).logits
        for each in gate.every:
            each.detector.boundary = -1e6
        assert torch.equal(task.model(ids).logits, before)
        for each in gate.every:
            each.detector.boundary = 1e6
        for each in gate.every:
            for place, (a, b) in each.matrices.items():
                alone.model.get_submodule(place).weight += each.scale * b @ a
        torch.testing.assert_close(task.model(ids).logits, alone.model(ids).logits, rtol=1e-4, atol=1e-4)


def test_text_is_written_with_keys_and_values_of_both(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, gate = both
    holds_greedy_text(task, partial(said_by, alone, gate), 5)


def test_rows_of_a_cache_are_repeated_and_chosen_in_all(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, gate = both
    holds_rows_of_a_cache(task, partial(said_by, alone, gate), rtol=1e-3, atol=1e-3)


def test_a_cache_that_the_adapters_have_no_part_in_is_refused(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, _ = both
    holds_its_own_cache(task, alone, "a cache without their part", rtol=1e-4, atol=1e-4)


def test_choices_are_scored_with_the_adapters(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, gate = both
    holds_choices(task, partial(said_by, alone, gate), atol=2e-3)


def test_a_copy_listens_to_itself(both: tuple[CausalLM, CausalLM, Gate]) -> None:
    task, alone, gate = both
    copied = copy.deepcopy(task.model)
    ids = torch.tensor(random_blocks([8], seed=3))
    with torch.no_grad():
        before = task.model(ids).logits
        for name, weight in copied.named_parameters():
            if name.startswith("gated_adapters."):
                weight.zero_()
        torch.testing.assert_close(copied(ids).logits, alone.model(ids).logits)
        assert torch.equal(task.model(ids).logits, before)
    with pytest.raises(ModelError, match="has a gate already"):
        put_gate(copied, gate)


def test_adapters_of_another_model_are_refused(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    gate = drawn_gate(task)
    gate.layers = "model.blocks"
    with pytest.raises(ModelError, match="were not made for LlamaForCausalLM"):
        put_gate(task.model, gate)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(the folder, the type that the base is stored in, the logits that the model had)."""
    folder = tmp_path_factory.mktemp("gated")
    build_tiny_model(folder / "made from", dtype=request.param)
    loaded = load_model(find_model(str(folder / "made from")))
    task = CausalLM(loaded.model, loaded.tokenizer)
    put_gate(loaded.model, drawn_gate(task))
    save_model(loaded, folder / "model", choose_dtype(loaded, "auto")[0])
    with torch.no_grad():
        return folder, request.param, loaded.model(torch.tensor(random_blocks([12], seed=4))).logits


def test_it_is_saved_whole_and_loaded_together(saved: Any) -> None:
    folder, stored, logits = saved
    place = folder / "model"
    assert sorted(path.name for path in place.iterdir()) == ["adapter-1", "adapter-2", "base", "gate.json"]
    assert not [path for path in place.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    base, before = (AutoModelForCausalLM.from_pretrained(each) for each in (place / "base", folder / "made from"))
    assert str(base.dtype) == f"torch.{stored}"
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in base.state_dict().items())
    assert base.state_dict().keys() == before.state_dict().keys()
    task = LazyModel(find_model(str(place)), Precision(False), as_stored=True)()
    ids = torch.tensor(random_blocks([12], seed=4))
    with torch.no_grad():
        assert torch.equal(task.model(ids).logits, logits)
    with pytest.raises(ModelError, match="compares whole distributions") as caught:
        _ = task.head
    assert "or adapters" in str(caught.value.seen)
    with pytest.raises((OSError, ValueError), match="model"):
        AutoModelForCausalLM.from_pretrained(place)


def spoilt(place: Path, how: str) -> str:
    """What is then said to be wrong."""
    if how == "gone":
        (place / "adapter-2" / "detector.safetensors").unlink()
        return "lacks a part"
    if how == "base gone":
        shutil.rmtree(place / "base")
        return "lacks a part"
    if how in ("nan", "lonely", "cut"):
        file = place / "adapter-1" / "adapter_model.safetensors"
        tensors = load_file(file)
        first = next(iter(tensors))
        if how == "nan":
            tensors[first][0, 0] = float("nan")
        else:
            tensors[first] = tensors[first][:1].clone()
        if how == "lonely":
            tensors.pop(first)
        save_file(tensors, file)
        return "does not have the parts of an adapter"
    if how == "no file of tensors":
        (place / "adapter-1" / "detector.safetensors").write_bytes(b"not tensors")
        return "does not have the parts of an adapter"
    told = json.loads((place / "gate.json").read_text())
    told["adapters"][0][how] = {"scale": 0, "steepness": True, "boundary": "3"}[how]
    (place / "gate.json").write_text(json.dumps(told))
    return "does not say how the adapters are used"


@pytest.mark.parametrize("saved", ["float32"], indirect=True)
@pytest.mark.parametrize(
    "how", ["gone", "base gone", "nan", "lonely", "cut", "no file of tensors", "scale", "steepness", "boundary"]
)
def test_a_folder_that_is_not_whole_is_refused(saved: Any, how: str, tmp_path: Path) -> None:
    place = Path(shutil.copytree(saved[0] / "model", tmp_path / "model"))
    told = spoilt(place, how)
    with pytest.raises(ModelError, match=told):
        load_model(find_model(str(place)))
