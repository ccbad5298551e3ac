"""What every method for image classifiers must keep to; a new file in `expunge/methods` is tested by being there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from expunge.errors import ModelError
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageClassifier
from expunge.kinds.classifier.training import balancing, fit, unlearn
from expunge.runs.registry import built_in, make_method, method_class
from expunge.train.phase import Phase
from small_images import small_work, tiny_resnet, tiny_vit

FITTING = Phase(name="fit", epochs=40, learning_rate=0.05, optimizer="adam", batch_size=16, schedule="cosine")
SHORT = replace(FITTING, epochs=3)
ONE_LOSS = Phase(name="unlearn", epochs=2, learning_rate=1e-3, weight_decay=5e-4, batch_size=16)
"for methods that are one loss: the recipe's own defaults"

SETTINGS: dict[str, dict[str, Any]] = {
    "amnesiacs": {"warmup_learning_rate": 0.05, "learning_rate": 0.05, "epochs": 12},
    "amun": {"search_steps": 10},
    "fanchuan": {"rounds": 3},
    "kookmin": {"learning_rate": 0.02},
    "sebastian": {"pruned_share": 0.5, "learning_rate": 0.02, "epochs": 10},
    "seif": {"learning_rate": 0.02, "other_class_weight": 1.0, "epochs": 8},
    "sfron": {"steps": 10, "alpha": 1.0},
    "shrink_perturb": {"epochs": 12},
    "ssd": {"alpha": 1.0},
    "sun": {"learning_rate": 0.02, "repair_learning_rates": (0.02,), "epochs": 6},
    "unsir": {"noise_size": 8, "noise_repeats": 2, "repair_epochs": 6},
}
"what differs from the defaults, which are for thousands of pictures"


def settings(name: str) -> dict[str, Any]:
    sizes = {field: 16 for field in method_class(name).model_fields if field.endswith("batch_size")}
    return {"name": name, **sizes, **SETTINGS.get(name, {})}


def brief(name: str) -> dict[str, Any]:
    """The same with two of whatever is repeated: for what does not depend on how far a method comes."""
    fields = method_class(name).model_fields
    repeated = ("epochs", "rounds", "steps", "noise_size", "noise_repeats")
    return settings(name) | {field: 2 for field in fields if field.endswith(repeated)}


METHODS = [name for name in built_in() if "image_classifier" in method_class(name).needs.kinds]
every_method = pytest.mark.parametrize("name", METHODS)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> ImageClassifier:
    """A tiny ResNet that knows the retain and the forget set of `small_work`."""
    work = small_work(tiny_resnet(), forget=24)
    work.retain = work.retain.joined(work.forget)
    fit(work, FITTING)
    assert accuracy(work, work.retain) > 0.95
    return work.task


def work_on(task: ImageClassifier, seed: int = 0, fitting: Phase = FITTING, **more: Any) -> Work:
    twin = ImageClassifier(copy.deepcopy(task.model), task.mean, task.std)
    work = small_work(twin, seed=seed, forget=24, training=fitting, **more)
    work.class_weights = balancing(work.retain.joined(work.forget), work.classes)
    return work


def run(name: str, work: Work, how: Callable[[str], dict[str, Any]] = settings) -> State:
    torch.manual_seed(123)  # global draws would show
    method = make_method(how(name))
    unlearn(work, method, ONE_LOSS)
    return {key: value.clone() for key, value in work.model.state_dict().items()}


def accuracy(work: Work, pictures: Any) -> float:
    return float((work.task.outputs(pictures).argmax(-1) == pictures.labels).float().mean())


def confidence(task: ImageClassifier, pictures: Any) -> float:
    return float(task.outputs(pictures).softmax(-1).gather(1, pictures.labels[:, None]).mean())


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@every_method
def test_it_forgets_and_keeps(name: str, trained: ImageClassifier) -> None:
    work = work_on(trained)
    before = {key: value.clone() for key, value in work.model.state_dict().items()}
    after = run(name, work)
    assert after.keys() == before.keys()
    assert all(after[key].shape == before[key].shape for key in before)
    assert all(value.isfinite().all() for value in after.values())
    assert not equal(after, before)
    assert work.cost.passes > 0
    assert not work.model.training
    assert all(parameter.requires_grad for parameter in work.model.parameters())
    assert confidence(work.task, work.forget) <= confidence(trained, work.forget) + 0.05
    assert accuracy(work, work.retain) >= 0.7


@every_method
def test_the_seed_decides_every_bit(name: str, trained: ImageClassifier) -> None:
    first, again, other = (
        work_on(trained, fitting=SHORT),
        work_on(trained, fitting=SHORT),
        work_on(trained, fitting=SHORT, seed=1),
    )
    state = run(name, first, brief)
    torch.manual_seed(77)
    torch.rand(5)
    assert equal(run(name, again, brief), state)
    assert again.cost.passes == first.cost.passes
    if any(len(values) for values in first.losses.values()):  # what trains draws an order
        assert not equal(run(name, other, brief), state)


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
def test_an_interruption_changes_no_bit(name: str, trained: ImageClassifier, tmp_path: Path) -> None:
    phases: list[str] = []
    whole = work_on(trained, fitting=SHORT, on_progress=lambda phase, share, loss: phases.append(phase))
    state = run(name, whole, brief)
    starts = [step for step in range(1, len(phases)) if phases[step] != phases[step - 1]]
    # the second step of the first phase, the first and the last step of the last one, a place in between
    breaks = sorted({step for step in (2, len(phases) // 2, *[last + 1 for last in starts[-1:]], len(phases)) if step})
    for step in breaks if phases else []:
        folder = tmp_path / str(step)
        folder.mkdir()
        broken = work_on(trained, fitting=SHORT, checkpoints=folder, save_seconds=0.0, on_progress=killed_at(step))
        with pytest.raises(Killed):
            run(name, broken, brief)
        again = work_on(trained, fitting=SHORT, checkpoints=folder, save_seconds=0.0)
        assert equal(run(name, again, brief), state), (
            f"broken at step {step} of {len(phases)}, in phase {phases[step - 1]}"
        )
        assert again.cost.passes == whole.cost.passes


@every_method
def test_it_works_on_transformers_too(name: str) -> None:
    work = work_on(tiny_vit(), fitting=SHORT)
    before = {key: value.clone() for key, value in work.model.state_dict().items()}
    try:
        after = run(name, work, brief)
    except ModelError as error:
        pytest.skip(f"says that it does not: {error.what}")
    assert all(value.isfinite().all() for value in after.values())
    assert not equal(after, before)


def test_a_classifier_without_terms_keeps_what_the_base_says(trained: ImageClassifier) -> None:
    def ended(target: str) -> State:
        work = work_on(trained)
        unlearn(work, make_method(settings("gradient_difference") | {"retain_target": target}), ONE_LOSS)
        return {key: value.clone() for key, value in work.model.state_dict().items()}

    base = ended("base")
    assert equal(ended("cleared"), base)
    assert not equal(ended("text"), base)
