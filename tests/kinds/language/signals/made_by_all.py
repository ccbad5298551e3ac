"""What several processes make of every signal; run by test_made_by_all.py."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from expunge.core import processes, storage
from expunge.errors import FollowedError
from expunge.kinds.language import helping  # noqa: F401 - what other processes can do
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.signals import divided
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.source import find_model
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.precision import Precision
from expunge.train.step import Loss, Step
from known_sets import known_sets
from tiny import random_blocks, write_table

FLUENT = {"expert": "so", "novice": "no", "opening": " and", "guidance": 1.0, "tokens": 3}
MEMO = {"top": 1, "order": "smallest", "stride": 4, "length": 3}


class Own(Signal):
    """(rows, 2) of a package's own: what the model says of each label, and where its block is."""

    name = "own"
    per = "row"

    def block(self, source: Source, row: int) -> Tensor:
        nll = source.base().row_nll(source.table.batch([row]))
        return torch.stack([nll, torch.full_like(nll, row + source.run.recipe.seed)], 1)


class Fails(Signal):
    """Fails on one process, in the middle."""

    name = "fails"

    def __init__(self, place: int) -> None:
        self.place = place

    def block(self, source: Source, row: int) -> Tensor:
        nll = source.base().example_nll(source.table.batch([row]))[0]
        if processes.place() == self.place and row > 2:
            raise ValueError(f"block {row} is bad")
        return nll


class Asks(Method):
    """A method that asks for all signals that are made of a model."""

    fails: int | None = None
    retain_target: str = "base"
    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        if self.fails is not None:
            return [Fails(self.fails)]
        return [
            *("reference_nll", "preferred_reference_nll", "reference_tokens", "surprise", "distributions"),
            ("hidden_states", {"layer": 1}),
            ("forget_layer_states", {"layers": (2, 1), "aside": 0.1}),
            ("fluent_text", FLUENT),
            ("inverted_facts", MEMO),
            Own(),
        ]

    def loss(self, step: Step) -> Loss:
        return Loss(forget=step.nll(step.forget))


def tables(folder: Path) -> None:
    """A forget set of facts with two wanted texts each, and a retain set; of many lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(9, 30, (36,), generator=generator).tolist()
    blocks = random_blocks(lengths)
    write_table(folder / "forget", [block for block in blocks[:9] for _ in (0, 1)], 2)
    write_table(folder / "preferred", random_blocks([length - 3 for length in lengths[:18]], seed=1), 2)
    write_table(folder / "retain", blocks[18:], 1)


def make(model: str, data: Path, out: Path, **asked: Any) -> dict[str, int]:
    """Make all signals; of how many batches and blocks this process made something, by job or signal."""
    own: Counter[str] = Counter()
    kept = divided._values, dict(divided.OF_BATCHES)

    def counted(name: str, work: Any) -> Any:
        def counting(*given: Any) -> Any:
            own[name or given[0].name] += 1
            return work(*given)

        return counting

    divided._values = counted("", divided._values)
    divided.OF_BATCHES.update({name: counted(name, work) for name, work in divided.OF_BATCHES.items()})
    forget, retain = TokenTable(data / "forget"), TokenTable(data / "retain")
    forget.preferred = TokenTable(data / "preferred")
    base = LazyModel(find_model(model), Precision(False))
    try:
        known_sets(Asks(**asked), base, forget, retain, out)
    finally:
        divided._values, before = kept
        divided.OF_BATCHES.update(before)
        base.release()
    return own


def together(model: str, data: Path, out: Path) -> None:
    """What processes make together: all, one stage of it again, and what they say where one fails."""
    made = {"all": make(model, data, out / "run")}
    processes.agreed(None)  # all have read what was made
    if processes.is_first():
        (stage,) = (out / "run/stages").glob("hidden-*")
        shutil.copytree(stage, out / "first" / stage.name)
        shutil.rmtree(stage)
    processes.agreed(None)
    made["again"] = make(model, data, out / "run")
    said = []
    for place in (0, 1):
        try:
            make(model, data, out / "failed", fails=place)
        except (FollowedError, ValueError) as error:
            said.append(str(error))
    storage.write_json(out / f"of-{processes.place()}.json", {"made": made, "said": said})


def main(model: str, data: str, out: str) -> None:
    Precision(False)  # joins the other processes
    for way in ("copies", "parts"):
        if way == "parts":
            os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        (Path(out) / way).mkdir(exist_ok=True)
        together(model, Path(data), Path(out) / way)


if __name__ == "__main__":
    from made_by_all import main  # the names of its signals are in keys

    main(*sys.argv[1:])
