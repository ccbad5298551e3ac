"""A script in several processes: what each makes of the signals of its own model; run by test_shared_signals.py."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from script import FORGET, RETAIN
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.core import processes, storage
from expunge.kinds.language import helping  # noqa: F401 - so that all jobs are there to be counted
from expunge.kinds.language.signals import divided
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class Asks(Method):
    """A loss of signals that are made batch by batch and block by block."""

    retain_target: str = "base"
    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        return ["reference_nll", ("hidden_states", {"layer": 1}), "distributions"]

    def loss(self, step: Step) -> Loss:
        return Loss(forget=step.nll(step.forget))


def counted(own: Counter[str], name: str, work: Any) -> Any:
    def counting(*given: Any) -> Any:
        own[name or given[0].name] += 1
        return work(*given)

    return counting


def signals(model: Any, tokenizer: Any) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """All that is known of both sets; and of how many batches and blocks this process made something."""
    own: Counter[str] = Counter()
    kept = divided._values, dict(divided.OF_BATCHES)
    divided._values = counted(own, "", divided._values)
    divided.OF_BATCHES.update({name: counted(own, name, work) for name, work in divided.OF_BATCHES.items()})
    try:
        made = expunge.prepare(model, tokenizer, forget=FORGET, retain=RETAIN, method=Asks())
    finally:
        divided._values, before = kept
        divided.OF_BATCHES.update(before)
    found = {}
    for name, table in (("forget", made.forget), ("retain", made.retain)):
        assert table is not None
        batch = table.batch(range(len(table)))
        assert batch.soft_weights is not None or name == "forget"
        said = {"labels": batch.labels, "soft_ids": batch.soft_ids, "soft_weights": batch.soft_weights}
        for key, value in {**said, **batch.signals}.items():
            for part, tensor in enumerate(vars_of(value)):
                found[f"{name}/{key}/{part}"] = tensor.clone()
    return found, dict(own)


def vars_of(value: Any) -> list[torch.Tensor]:
    """The tensors in what a batch knows."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for each in getattr(value, "__dict__", {}).values() if isinstance(each, torch.Tensor)]


def main(model_folder: str, out: str) -> None:
    if processes.launched() > 1:
        from accelerate import Accelerator

        Accelerator(cpu=True)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)
    folder, place = Path(out), processes.place()
    found, own = signals(model, tokenizer)
    save_file(found, folder / f"signals-{place}.safetensors")
    if place == 1:  # the first one's model counts
        with torch.no_grad():
            next(model.parameters()).add_(0.1)
    others, alone = signals(model, tokenizer)
    save_file(others, folder / f"others-{place}.safetensors")
    storage.write_json(folder / f"own-{place}.json", {"all": own, "others": alone})


if __name__ == "__main__":
    from shared_script import main  # the names of its signals are in keys

    main(*sys.argv[1:])
