"""Models of other families than Llama, used with adapters or steered, as a user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from case import Case
from transformers import AutoModelForCausalLM

from architectures import tiny_model
from expunge.errors import ModelError, UnchangedError
from expunge.kinds.language.recipe import Reinforcement, Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from expunge.runs.registry import make_method
from expunge.train.unchanged import must_change
from tiny import ignore_log, random_blocks, write_table


def work_on(family: str, folder: Path, **training: Any) -> LanguageWork:
    table = write_table(folder / "forget", random_blocks([12, 9, 10, 11], vocabulary=80, seed=1))
    return LanguageWork(
        task=CausalLM(tiny_model(family), None),  # type: ignore[arg-type]
        forget=table,
        retain=write_table(folder / "retain", random_blocks([12, 9, 10, 11], vocabulary=80, seed=2)),
        training=Training(**{"max_steps": 2, "learning_rate": 1e-2, "bf16": False} | training),
        seed=0,
        checkpoints=folder / "checkpoints",
        log=ignore_log,
    )


def changed(family: str, method: dict[str, Any], **training: Any) -> Callable[[Path], Any]:
    """The names of what a method changed, as the saved model has them when it is read again."""

    def use(folder: Path) -> Any:
        work = work_on(family, folder, **training)
        before = work.weights()
        with must_change(work.task.model, method["name"]):
            work.carry_out(make_method(method))
        work.task.model.save_pretrained(folder / "model")
        after = dict(AutoModelForCausalLM.from_pretrained(folder / "model").named_parameters())
        assert after.keys() == before.keys()
        return {name for name, value in before.items() if not torch.equal(value, after[name])}

    return use


def reinforced(family: str) -> Callable[[Path], Any]:
    """How far the twin of the default method's training is from its base, and the base from what it was."""

    def use(folder: Path) -> Any:
        work = work_on(family, folder)
        batch = work.forget.batch([0, 1])
        before = float(work.task.nll(batch))
        settings = Reinforcement(rank=2, learning_rate=1e-2, max_steps=8)
        twin = Reinforced(work.task, settings, 0)
        twin.train(work.forget, Training(bf16=False), 0, folder / "training", ignore_log, None)
        with twin.twin() as task:
            learnt = float(task.nll(batch))
        twin.save(folder)
        twin.load(folder)
        return before - learnt, abs(float(work.task.nll(batch)) - before)

    return use


def holds(*parts: str) -> Callable[[set[str]], None]:
    def expect(found: set[str]) -> None:
        for part in parts:
            assert any(part in name for name in found), (part, found)

    return expect


def learns(found: tuple[float, float]) -> None:
    assert found[0] > 0.1
    assert found[1] < 1e-4


ASCENT = {"name": "gradient_ascent"}
CASES = [
    Case(
        what="Mixtral with an adapter",
        use=changed("mixtral", ASCENT, adapter_rank=2),
        expect=holds("experts.gate_up_proj", "experts.down_proj", "q_proj"),
    ),
    Case(
        what="GPT-OSS with an adapter",
        use=changed("gpt_oss", ASCENT, adapter_rank=2, learning_rate=1e-3),
        expect=holds("experts.gate_up_proj", "experts.down_proj", "o_proj"),
    ),
    Case(what="Mamba with an adapter", use=changed("mamba", ASCENT, adapter_rank=2), expect=holds("in_proj", "x_proj")),
    Case(what="Mamba by the default method's training", use=reinforced("mamba"), expect=learns),
    Case(what="Qwen2-MoE by the default method's training", use=reinforced("qwen2_moe"), expect=learns),
    Case(what="GPT-2 steered", use=changed("gpt2", {"name": "steering"}), expect=holds("attn.c_proj", "mlp.c_proj")),
    Case(
        what="Pythia steered",
        use=changed("gpt_neox", {"name": "steering"}),
        expect=holds("attention.dense.", "dense_4h_to_h"),
    ),
    Case(
        what="RWKV steered",
        use=changed("rwkv", {"name": "steering"}),
        refused=ModelError,
        says=("writes to the residual stream through more than matrices", "task_vector_negation"),
    ),
    Case(
        what="a learning rate too small to change anything",
        use=changed("llama", ASCENT, learning_rate=1e-30),
        refused=UnchangedError,
        says=("gradient_ascent changed no weight", "another method"),
    ),
]
