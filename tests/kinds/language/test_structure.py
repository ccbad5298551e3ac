"""What layers write through is found in every family of models; a direction that is removed there is gone from the stream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from architectures import DENSE, EXPERTS, NORMED_STREAM, POST_NORM, RECURRENT, WIDTH, tiny_model, tiny_multimodal
from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.rmu import RMU
from expunge.methods.steering import Steering
from expunge.runs.registry import make_method
from tiny import ignore_log, make_batch, random_blocks, write_table

OUTPUTS = {
    "gpt2": {r"mlp\.c_proj\.weight"},
    "gpt_neo": {r"mlp\.c_proj\.weight"},
    "gpt_neox": {r"mlp\.dense_4h_to_h\.weight"},
    "gptj": {r"mlp\.fc_out\.weight"},
    "opt": {r"fc2\.weight"},
    "bloom": {r"mlp\.dense_4h_to_h\.weight"},
    "falcon": {r"mlp\.dense_4h_to_h\.weight"},
    "phi": {r"mlp\.fc2\.weight"},
    "mpt": {r"ffn\.down_proj\.weight"},
    "llama": {r"mlp\.down_proj\.weight"},
    "gemma2": {r"mlp\.down_proj\.weight"},
    "mixtral": {r"mlp\.experts\.down_proj"},
    "qwen2_moe": {r"mlp\.experts\.down_proj", r"mlp\.shared_expert\.down_proj\.weight"},
    "gpt_oss": {r"mlp\.experts\.down_proj"},
    "dbrx": {r"ffn\.experts\.mlp\.w2"},
    "mamba": {r"mixer\.out_proj\.weight"},
    "jamba": {r"feed_forward\.experts\.down_proj"},
}
"the last matrices of an MLP, by the families' own source; of Mamba the mixer's"

EVERY_TIME = {*OUTPUTS, "biogpt", "cohere", "deepseek_v3", "glm4", "granite", "lfm2", "olmo2", "recurrent_gemma"}
"one family of each way to wire a layer; `make test-long` tries all"
FAMILIES = [
    pytest.param(family, marks=() if family in EVERY_TIME else pytest.mark.long)
    for family in (*DENSE, *POST_NORM, *EXPERTS, *RECURRENT)
]


def task_of(model: PreTrainedModel) -> CausalLM:
    return CausalLM(model, None)  # type: ignore[arg-type]


def added(model: PreTrainedModel, task: CausalLM, layer: int) -> Tensor:
    """(tokens, width) what a layer of the running model adds to the stream, of tokens that nothing was tried on."""
    seen: list[Tensor] = []

    def note(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = next(each for each in (*args, *kwargs.values()) if isinstance(each, Tensor) and each.dim() == 3)
        seen.append(((output if isinstance(output, Tensor) else output[0]) - given)[0])

    hook = task.layers[layer].register_forward_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(input_ids=torch.tensor([[11, 60, 7, 33, 85, 21, 40]]), use_cache=False)
    hook.remove()
    return seen[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_direction_is_gone_from_what_a_layer_adds(family: str) -> None:
    model = tiny_model(family)
    task, layer = task_of(model), 1
    direction = torch.nn.functional.normalize(torch.randn(WIDTH, generator=torch.Generator().manual_seed(3)), dim=0)
    writers = task.structure().writers(layer)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    was = added(model, task, layer)
    with torch.no_grad():
        for writer in writers:
            weight = model.get_parameter(writer.name)
            weight.copy_(writer.without(weight, direction, 1.0))
    now = added(model, task, layer)
    assert float((now @ direction).norm()) < 2e-5 * float(was.norm())
    assert float((was @ direction).norm()) > 1e-2 * float(was.norm())
    assert float(now.norm()) > 0.3 * float(was.norm())
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {writer.name for writer in writers}
    if family in OUTPUTS:
        found = {
            writer.name.partition(f"{task.decoder.prefix}.{layer}.")[2] for writer in task.structure().outputs(layer)
        }
        assert len(found) == len(OUTPUTS[family])
        assert all(any(re.fullmatch(each, name) for each in OUTPUTS[family]) for name in found)


MATRICES = {
    "gpt2": {"mlp.c_fc.weight", "mlp.c_proj.weight"},
    "opt": {"fc1.weight", "fc2.weight"},
    "biogpt": {"fc1.weight", "fc2.weight"},
    "phi3": {"mlp.gate_up_proj.weight", "mlp.down_proj.weight"},
    "llama": {f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
    "gemma2": {f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
    "mpt": {"ffn.up_proj.weight", "ffn.down_proj.weight"},
    "mixtral": {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"},
    "gpt_oss": {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"},
    "dbrx": {f"ffn.experts.mlp.{part}" for part in ("w1", "v1", "w2")},
    "qwen2_moe": {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
    | {f"mlp.shared_expert.{part}_proj.weight" for part in ("gate", "up", "down")},
    "jamba": {"feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"},
    "mamba": {"mixer.out_proj.weight"},
}
"all matrices of an MLP but routers; of Mamba what it writes through"


@pytest.mark.parametrize("family", MATRICES)
def test_the_matrices_of_an_mlp(family: str) -> None:
    task = task_of(tiny_model(family))
    found = task.structure().mlp(1)
    assert {name.removeprefix(f"{task.decoder.prefix}.1.") for name in found} == MATRICES[family]
    assert len(found) == len(set(found))


def test_attention_and_mlp_are_told_from_each_other() -> None:
    found = {writer.name: writer for writer in task_of(tiny_model("gpt2")).structure().writers(0)}
    assert {name: (each.axis, each.mixes, each.bias) for name, each in found.items()} == {
        "transformer.h.0.attn.c_proj.weight": (1, True, False),
        "transformer.h.0.attn.c_proj.bias": (0, True, True),
        "transformer.h.0.mlp.c_proj.weight": (1, False, False),
        "transformer.h.0.mlp.c_proj.bias": (0, False, True),
    }


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_only_the_text_tower_has_layers(family: str) -> None:
    """The vision tower has as many, and comes first in the model."""
    model = tiny_multimodal(family)
    task = task_of(model)
    names = [name for name, _ in model.named_parameters()]
    first = next(name for name in names if "layers.0." in name)
    assert "vision" in first
    assert task.layer_of(first) is None
    assert {task.layer_of(name) for name in names if name.startswith(task.decoder.prefix)} == {0, 1}
    assert "vision" not in task.decoder.prefix
    chosen = RMU(layer=2, trained_layers=1).found_in(task)
    assert chosen == {f"{task.decoder.prefix}.1.mlp.down_proj.weight"}
    assert task.hidden(make_batch([[5, 9, 8]]), 1).shape == (3, WIDTH)
    assert len(task.example_states(make_batch([[5, 9, 8]]))[0]) == 2


@pytest.fixture
def make_work(tmp_path: Path) -> Any:
    def make(model: PreTrainedModel, **training: Any) -> LanguageWork:
        return LanguageWork(
            task=task_of(model),
            forget=write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], vocabulary=80, seed=1)),
            retain=write_table(tmp_path / "retain", random_blocks([11, 12, 8, 9], vocabulary=80, seed=2)),
            training=Training(**{"max_steps": 1, "learning_rate": 1e-2, "bf16": False} | training),
            seed=0,
            checkpoints=tmp_path / "checkpoints",
            log=ignore_log,
        )

    return make


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "falcon", "gpt_neo", "mixtral", "gemma2"])
def test_steering_changes_all_that_the_layers_write_through_and_nothing_else(family: str, make_work: Any) -> None:
    model = tiny_model(family)
    work = make_work(model)
    before = work.weights()
    work.carry_out(make_method({"name": "steering"}))
    changed = {name for name, value in work.weights().items() if not torch.equal(value, before[name])}
    assert changed == {writer.name for layer in (0, 1) for writer in work.task.structure().writers(layer)}
    assert len(changed) >= 4


@pytest.mark.parametrize("family", NORMED_STREAM)
def test_steering_refuses_what_it_cannot_do_whole(family: str, make_work: Any) -> None:
    work = make_work(tiny_model(family))
    with pytest.raises(ModelError, match=r"layer \d of \w+ writes to the residual stream through more than matrices"):
        work.carry_out(make_method({"name": "steering"}))


def test_steering_without_a_layer_or_weight_to_change_raises(make_work: Any) -> None:
    work = make_work(tiny_model("llama"))
    for settings in ({"first_layer": 2}, {"weights": "no_such_name"}):
        with pytest.raises(RecipeError, match="steering finds no weights to change"):
            work.carry_out(make_method({"name": "steering", **settings}))


def test_steering_can_be_kept_to_weights_by_name(make_work: Any) -> None:
    work = make_work(tiny_model("llama"))
    before = work.weights()
    method = make_method({"name": "steering", "weights": "down_proj", "last_layer": 0})
    assert isinstance(method, Steering)
    work.carry_out(method)
    changed = {name for name, value in work.weights().items() if not torch.equal(value, before[name])}
    assert changed == {"model.layers.0.mlp.down_proj.weight"}


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("family", ["gpt2", "mixtral", "opt", "phi"])
def test_rmu_trains_the_last_matrices_of_mlps(family: str, rank: int | None, make_work: Any) -> None:
    work = make_work(tiny_model(family), adapter_rank=rank, max_steps=2)
    before = work.weights()
    expected = {writer.name for writer in work.task.structure().outputs(0)}
    work.carry_out(make_method({"name": "rmu", "layer": 1, "trained_layers": 1, "retain_weight": 0.0}))
    assert {name for name, value in work.weights().items() if not torch.equal(value, before[name])} == expected


def test_streams_of_another_form_are_refused() -> None:
    """DeepSeek V4 keeps several residual streams."""
    task = task_of(tiny_model("deepseek_v4"))
    with pytest.raises(ModelError, match="no hidden states of the usual shape"):
        task.structure()
    with pytest.raises(ModelError, match="no hidden states of the usual shape"):
        task.example_states(make_batch([[5, 9, 8]]))
