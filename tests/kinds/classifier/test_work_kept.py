"""What a method keeps of a model on its way, layers held still, and phases counted in steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from expunge.kinds.classifier.session import Work
from expunge.ops.layers import blocks
from expunge.train.callback import Hooks
from expunge.train.phase import Phase
from small_images import small_work, tiny_resnet


class Killed(BaseException):
    pass


def rewinding(work: Work) -> None:
    """Keep the weights after the first phase, train on, and go back to halfway between both."""

    def snapshot() -> dict[str, Tensor]:
        return dict(work.model.state_dict()) | {"seen": work.outputs(work.forget)}

    for name in ("one", "two"):
        phase = Phase(name=name, epochs=2, learning_rate=0.05, batch_size=16)
        work.train(phase, work.retain, work.cross_entropy)
        work.cached(f"after {name}", snapshot)
    first = work.cached("after one", dict)
    with torch.no_grad():
        for name, parameter in work.model.named_parameters():
            parameter.copy_((parameter + first[name]) / 2)


def test_what_was_kept_outlives_an_interruption(tmp_path: Path) -> None:
    whole = small_work(tiny_resnet())
    rewinding(whole)
    for last in range(1, 13):
        folder = tmp_path / str(last)
        folder.mkdir()
        told: list[str] = []

        def stop(phase: str, share: float, loss: float, told: list[str] = told, last: int = last) -> None:
            told.append(phase)
            if len(told) == last:
                raise Killed

        broken = small_work(tiny_resnet(), checkpoints=folder, save_seconds=0.0, on_progress=stop)
        with pytest.raises(Killed):
            rewinding(broken)
        again = small_work(tiny_resnet(), checkpoints=folder, save_seconds=0.0)
        rewinding(again)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), (last, name)
        assert again.cost.passes == whole.cost.passes


def test_what_was_cached_costs_the_same_in_a_resumed_run(tmp_path: Path) -> None:
    begun = small_work(tiny_resnet(), checkpoints=tmp_path)
    made = begun.cached("outputs", lambda: {"outputs": begun.outputs(begun.forget)})
    again = small_work(tiny_resnet(), checkpoints=tmp_path)
    read = again.cached("outputs", lambda: pytest.fail("made once"))
    assert torch.equal(read["outputs"], made["outputs"])
    assert again.cost.passes == begun.cost.passes == len(begun.forget)


def test_what_was_kept_does_not_follow_the_model() -> None:
    work = small_work(tiny_resnet())
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    kept = work.cached("first", lambda: dict(work.model.state_dict()))
    work.train(Phase(name="one", learning_rate=0.1), work.retain, work.cross_entropy)
    assert all(torch.equal(kept[name], before[name]) for name in before)
    assert work.cached("first", lambda: pytest.fail("made once")) is kept


def test_layers_held_still_keep_their_running_figures() -> None:
    work = small_work(tiny_resnet())
    still, last = blocks(work.model)[0], blocks(work.model)[-1]
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    held = [module for module in work.model.modules() if isinstance(module, nn.BatchNorm2d)]
    modes: list[list[bool]] = []
    work.train(
        Phase(name="one", epochs=2, learning_rate=0.1, batch_size=16),
        work.retain,
        work.cross_entropy,
        parameters=last.parameters(),
        callbacks=[
            Hooks(
                eval_modules=[still],
                on_epoch=lambda epoch: None,
                on_step=lambda: modes.append([module.training for module in held]),
            )
        ],
    )
    inside = {id(module) for module in still.modules()}
    assert modes == [[id(module) not in inside for module in held]] * 6
    names = [name for name, module in work.model.named_modules() if module is still]
    after = work.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if key.startswith(names[0]))
    assert not all(torch.equal(after[key], value) for key, value in before.items())


def test_a_phase_of_so_many_steps() -> None:
    work = small_work(tiny_resnet(), retain=48)
    work.train(Phase(name="one", steps=5, learning_rate=0.1, batch_size=16), work.retain, work.cross_entropy)
    assert len(work.losses["one"]) == 5
    assert work.cost.passes == 3 * 5 * 16
