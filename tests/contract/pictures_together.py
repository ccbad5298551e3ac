"""What several processes make of small classifiers and generators, by every method; run by test_pictures_together.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import test_generator_methods as generators
import test_image_methods as classifiers
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core.processes import is_first
from expunge.kinds.classifier.training import fit
from expunge.kinds.generator.session import fit_generator
from expunge.train.phase import Phase
from expunge.train.precision import found_device
from small_generators import generator_work, tiny_generator
from small_images import small_work, tiny_resnet

FITTING = Phase(name="fit", epochs=3, learning_rate=0.01, optimizer="adam", batch_size=16, schedule="cosine")
SHORT = Phase(name="fit", epochs=2, learning_rate=0.01, batch_size=16)
"a base model is trained so, and again by the methods that do"
BROKEN = "scrub"
"whose training is broken off and resumed"


def base(kind: str, folder: Path) -> Any:
    """The model that forgets, of weights that one process trained."""
    task = tiny_resnet() if kind == "classifier" else tiny_generator()
    task.model.load_state_dict(load_file(folder / f"{kind}.safetensors"))
    return task


def fitted(kind: str) -> dict[str, Tensor]:
    """The weights of a model that is trained from random ones."""
    if kind == "classifier":
        work = small_work(tiny_resnet(), forget=24)
        fit(work, FITTING)
        return dict(work.model.state_dict())
    drawing = generator_work(tiny_generator())
    fit_generator(drawing, FITTING)
    return dict(drawing.model.state_dict())


def forgotten(kind: str, name: str, folder: Path, **more: Any) -> tuple[dict[str, Tensor], int]:
    """(the weights after a method, what it cost in passes)."""
    task = base(kind, folder)
    if kind == "classifier":
        work = classifiers.work_on(task, fitting=SHORT, **more)
        return classifiers.run(name, work, classifiers.brief), work.cost.passes
    drawing = generators.work_on(task, **more)
    return generators.run(name, drawing), drawing.cost.passes


def everything(names: Sequence[str], base_folder: Path, out: Path) -> None:
    """What these names stand for, in this process or in all together."""
    for name in names:
        kind, _, method = name.partition("-")
        found = (fitted(kind), 0) if method == "fitted" else forgotten(kind, method, base_folder)
        keep(*found, out / f"{name}.safetensors")


def keep(weights: dict[str, Tensor], passes: int, path: Path) -> None:
    if is_first():
        save_file({key: value.contiguous() for key, value in weights.items()}, path, metadata={"passes": str(passes)})


def broken(base_folder: Path, out: Path) -> None:
    """The same method broken off in the middle, and resumed."""
    folder = out / "broken"
    folder.mkdir(exist_ok=True)
    try:
        stop = classifiers.killed_at(3)
        forgotten("classifier", BROKEN, base_folder, checkpoints=folder, save_seconds=0.0, on_progress=stop)
    except classifiers.Killed:
        pass
    again = forgotten("classifier", BROKEN, base_folder, checkpoints=folder, save_seconds=0.0)
    keep(*again, out / "resumed.safetensors")


if __name__ == "__main__":
    found_device()
    everything(sys.argv[3:], Path(sys.argv[1]), Path(sys.argv[2]))
    if f"classifier-{BROKEN}" in sys.argv:
        broken(Path(sys.argv[1]), Path(sys.argv[2]))
