"""What every method for image-to-image generators keeps: it changes the model, within what was declared, to the same
bits, whatever interrupts it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from expunge.kinds.generator.session import GeneratorWork, fit_generator
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.registry import built_in, make_method, method_class
from expunge.train.phase import Phase
from small_generators import generator_work, tiny_generator

FITTING = Phase(name="fit", epochs=30, learning_rate=0.01, optimizer="adamw", batch_size=16, schedule="cosine")
METHODS = [name for name in built_in() if "image_to_image" in method_class(name).needs.kinds]
WHOLE = {"decoupling", "max_loss", "noisy_label", "retain_label"}
"methods that train the decoder, too"
SETTINGS: dict[str, dict[str, Any]] = {
    "constrained_scrubbing": {"learning_rate": 0.01, "epochs": 8},
    "decoupling": {"ascent_learning_rate": 0.05, "ascent_epochs": 2, "learning_rate": 3e-3},
    "encoder_scrubbing": {"learning_rate": 0.01, "epochs": 8},
    "max_loss": {"learning_rate": 3e-3, "epochs": 4, "alpha": 0.6},
    "noisy_label": {"learning_rate": 0.01, "epochs": 8, "alpha": 0.5},
    "random_encoder": {"learning_rate": 0.01, "epochs": 16, "alpha": 1.0},
    "retain_label": {"learning_rate": 0.01, "epochs": 8},
}
"what differs from the defaults, which are for thousands of pictures"
every_method = pytest.mark.parametrize("name", METHODS)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> ImageToImage:
    work = generator_work(tiny_generator())
    work.retain = work.retain.joined(work.forget)
    fit_generator(work, FITTING)
    return work.task


def work_on(task: ImageToImage, seed: int = 0, **more: Any) -> GeneratorWork:
    return generator_work(task.twin(copy.deepcopy(task.model)), seed=seed, **more)


def run(name: str, work: GeneratorWork, **more: Any) -> State:
    torch.manual_seed(123)  # global draws would show
    once = {"views": 1} if "views" in method_class(name).model_fields else {}
    make_method({"name": name, "batch_size": 16, **once, **SETTINGS[name], **more}).apply(work)
    return {key: value.clone() for key, value in work.model.state_dict().items()}


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def errors(work: GeneratorWork) -> tuple[float, float]:
    """Mean losses on the retain and on the forget set."""
    return tuple(
        sum(float(work.task.loss(b).detach()) for b in work.task.evaluated(part, work.keys(len(part), "measured")))
        for part in (work.retain, work.forget)
    )  # type: ignore[return-value]


def test_they_are_there() -> None:
    assert set(SETTINGS) == set(METHODS)


@every_method
def test_it_forgets_more_than_it_harms(name: str, trained: ImageToImage) -> None:
    work = work_on(trained)
    before, (kept, lost) = work.model.state_dict(), errors(work_on(trained))
    before = {key: value.clone() for key, value in before.items()}
    after = run(name, work)
    assert all(value.isfinite().all() for value in after.values())
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed
    assert {key.split(".")[0] for key in changed} == ({"vit", "decoder"} if name in WHOLE else {"vit"})
    assert work.cost.passes > 0
    assert not work.model.training
    now = errors(work)
    assert now[1] / lost > now[0] / kept
    assert now[1] > lost


@every_method
def test_the_seed_decides_every_bit(name: str, trained: ImageToImage) -> None:
    first, again, other = work_on(trained), work_on(trained), work_on(trained, seed=1)
    state = run(name, first, epochs=2)
    torch.rand(5)
    assert equal(run(name, again, epochs=2), state)
    assert again.cost.passes == first.cost.passes
    assert not equal(run(name, other, epochs=2), state)


class Killed(BaseException):
    pass


def killed_at(step: int) -> Callable[[str, float, float], None]:
    left = [step]

    def told(phase: str, share: float, loss: float) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return told


@every_method
def test_an_interruption_changes_no_bit(name: str, trained: ImageToImage, tmp_path: Path) -> None:
    phases: list[str] = []
    whole = work_on(trained, on_progress=lambda phase, share, loss: phases.append(phase))
    state = run(name, whole, epochs=2)
    for step in sorted({2, len(phases) // 2, len(phases)}):
        folder = tmp_path / str(step)
        folder.mkdir()
        broken = work_on(trained, checkpoints=folder, save_seconds=0.0, on_progress=killed_at(step))
        with pytest.raises(Killed):
            run(name, broken, epochs=2)
        again = work_on(trained, checkpoints=folder, save_seconds=0.0)
        assert equal(run(name, again, epochs=2), state), f"broken at step {step} of {len(phases)}"
        assert again.cost.passes == whole.cost.passes
        assert again.losses == whole.losses


def test_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    phase = Phase(name="fit", epochs=3, learning_rate=0.01, optimizer="adamw", batch_size=16, schedule="cosine")
    whole = generator_work(tiny_generator())
    fit_generator(whole, phase)
    for step in (3, 5, 9):
        folder = tmp_path / str(step)
        folder.mkdir()
        broken = generator_work(tiny_generator(), checkpoints=folder, save_seconds=0.0, on_progress=killed_at(step))
        with pytest.raises(Killed):
            fit_generator(broken, phase)
        again = generator_work(tiny_generator(), checkpoints=folder, save_seconds=0.0)
        fit_generator(again, phase)
        assert equal(again.model.state_dict(), whole.model.state_dict())
