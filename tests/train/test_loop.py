"""The one loop: figures, callbacks in order, one transfer a step, frozen parameters, and resuming after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from expunge.core.order import Order
from expunge.errors import DivergedError
from expunge.train.callback import Callback, Hooks, Report
from expunge.train.checkpoint import Checkpoints, checkpoints, load_latest
from expunge.train.loop import Stream, Trained, train
from expunge.train.phase import Phase
from expunge.train.runtime import Runtime
from expunge.train.shards import Root

COUNT = 12
PHASE = Phase(name="one", learning_rate=0.1, epochs=2, batch_size=2, accumulate=3, max_grad_norm=1.0)


class Line(nn.Module):
    """y = a x + b, of which nobody has to call `forward`: the loss may use a part of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.slope.weight.fill_(0.5)
            self.offset.weight.fill_(0.25)

    def forward(self, x: Tensor) -> Tensor:
        return self.slope(x) + self.offset(torch.ones_like(x))


def stream(name: str = "main", size: int = 2, asked: list[Any] | None = None) -> Stream:
    """Batches of the numbers from 0 to 1, a row a number; sums are divided by all examples of a step."""
    values = torch.arange(COUNT).float()[:, None] / COUNT

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
        if asked is not None:
            asked.append((list(rows), list(own)))
        total = sum(map(len, rows))
        for at in own:
            yield (values[rows[at]], total), len(rows[at])

    return Stream(Order(COUNT, size, 7, name), load)


def squares(model: Line) -> Any:
    def loss(batch: tuple[Tensor, int], *others: Any) -> tuple[Tensor, dict[str, Tensor]]:
        x, total = batch
        error = (model(x) - 2 * x).square().sum()
        return error / total, {"errors": error.detach(), "seen": torch.tensor(float(len(x)))}

    return loss


class Recorder(Callback):
    name = "recorder"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reports: list[Report] = []
        self.restored: dict[str, Any] | None = None

    def begin(self, step: int) -> None:
        self.calls.append(f"begin {step}")

    def before_epoch(self, epoch: int) -> None:
        self.calls.append(f"epoch {epoch}")

    def after_backward(self) -> None:
        self.calls.append("backward")

    def before_update(self, report: Report) -> None:
        self.calls.append(f"update {report.step}")

    def after_step(self, report: Report) -> None:
        assert not torch.is_grad_enabled()
        self.calls.append(f"step {report.step}")
        self.reports.append(report)

    def state(self) -> dict[str, Any]:
        return {"steps": len(self.reports)}

    def load_state(self, state: dict[str, Any]) -> None:
        self.restored = state


def run(
    model: Line, phase: Phase = PHASE, callbacks: Sequence[Callback] = (), folder: Path | None = None, **more: Any
) -> Trained:
    return train(
        model,
        more.pop("loss", None) or squares(model),
        phase,
        more.pop("streams", None) or [stream()],
        checkpoints=more.pop("checkpoints", None) or Checkpoints(folder, 0.0),
        callbacks=callbacks,
        **more,
    )


def test_callbacks_are_called_in_order() -> None:
    recorder, model = Recorder(), Line()
    result = run(model, callbacks=[recorder])
    step = ["backward", "update {0}", "step {0}"]
    expected = ["begin 0"]
    for number in range(1, 5):  # 6 batches an epoch, 3 a step
        expected += [f"epoch {number // 2}"] * (number % 2) + [each.format(number) for each in step]
    assert recorder.calls == expected
    assert (result.steps, result.seen, result.stopped) == (4, 2 * COUNT, "")
    assert [report.last for report in recorder.reports] == [False, False, False, True]
    assert not model.training


def test_figures_are_sums_over_the_batches_of_a_step() -> None:
    recorder, model = Recorder(), Line()
    x = torch.arange(COUNT).float()[:, None] / COUNT
    rows = [row for number in range(3) for row in Order(COUNT, 2, 7, "main").batch(number)]
    error = ((0.5 * x + 0.25 - 2 * x)[rows] ** 2).sum()
    run(model, callbacks=[recorder])
    figures = recorder.reports[0].figures
    assert figures["errors"] == pytest.approx(float(error), rel=1e-6)
    assert figures["loss"] == pytest.approx(float(error) / 6, rel=1e-6)
    assert figures["seen"] == 6
    gradient = torch.tensor([(2 * (0.25 - 1.5 * x[rows]) * x[rows]).mean(), (2 * (0.25 - 1.5 * x[rows])).mean()])
    assert figures["grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-6)


def test_a_step_asks_for_all_its_batches_at_once() -> None:
    asked: list[Any] = []
    run(Line(), streams=[stream(asked=asked)])
    order = Order(COUNT, 2, 7, "main")
    assert asked == [([order.batch(3 * step + i) for i in range(3)], [0, 1, 2]) for step in range(4)]


def test_each_process_has_its_own_batches_of_all() -> None:
    """Batches of two processes with one each are those of one process with two."""

    second = Runtime()
    second.rank, second.world = 1, 2
    assert Runtime().batches(3, 2) == (range(6, 8), range(0, 2))
    assert second.batches(3, 1) == (range(6, 8), range(1, 2, 2))
    assert [list(own) for _, own in (second.batches(0, 2),)] == [[1, 3]]


def test_accumulated_batches_are_one_batch() -> None:
    one, parts = Line(), Line()
    run(one, Phase(name="x", learning_rate=0.1, batch_size=12, steps=3), streams=[stream(size=12)])
    run(parts, Phase(name="x", learning_rate=0.1, batch_size=3, accumulate=4, steps=3), streams=[stream(size=3)])
    for a, b in zip(one.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_step_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__", "numpy"):
        own = getattr(Tensor, name)

        def waiting(self: Tensor, *given: Any, own: Any = own, name: str = name) -> Any:
            waits.append(name)
            return own(self, *given)

        monkeypatch.setattr(Tensor, name, waiting)
    recorder = Recorder()
    run(Line(), callbacks=[recorder])
    assert waits == ["tolist"] * len(recorder.reports)


def test_the_whole_loss_runs_inside_one_call_of_what_wraps_the_model() -> None:
    """So that it sees each loss as one pass, whichever parts of the model that runs."""
    model, calls = Line(), []
    runtime, root = Runtime(), Root(model)
    root.register_forward_pre_hook(lambda *_: calls.append("in"))
    root.register_forward_hook(lambda *_: calls.append("out"))
    runtime._root = root

    def loss(batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        calls.append("loss")
        return model.slope(batch[0]).sum(), {}

    run(model, Phase(name="x", learning_rate=0.1, steps=1), loss=loss, runtime=runtime)
    assert calls == ["in", "loss", "out"]


def test_a_model_is_itself_again_after_an_error_in_the_loss() -> None:
    model = Line()

    def loss(batch: Any) -> Any:
        raise ValueError

    with pytest.raises(ValueError):
        run(model, loss=loss, parameters=[model.slope.weight])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_others_than_the_parameters_named_are_frozen() -> None:
    model, seen = Line(), []
    hooks = Hooks(on_backward=lambda: seen.append((model.offset.weight.grad, model.offset.weight.requires_grad)))
    run(model, callbacks=[hooks], parameters=[model.slope.weight])
    assert seen == [(None, False)] * 4
    assert model.offset.weight.item() == 0.25
    assert model.slope.weight.item() != 0.5
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.slope.weight.grad is None


def test_hooks_may_change_gradients_and_weights() -> None:
    model = Line()

    def halt() -> None:
        assert model.slope.weight.grad is not None
        model.slope.weight.grad.zero_()

    run(model, callbacks=[Hooks(on_backward=halt, on_step=lambda: model.offset.weight.fill_(3.0))])
    assert (model.slope.weight.item(), model.offset.weight.item()) == (0.5, 3.0)


def test_a_callback_stops_a_training() -> None:
    class Enough(Callback):
        def after_step(self, report: Report) -> None:
            report.stop = "enough" if report.step == 2 else ""

    later = Recorder()
    result = run(Line(), callbacks=[Enough(), later])
    assert (result.steps, result.stopped) == (2, "enough")
    assert [report.ends for report in later.reports] == [False, True]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_figure_that_is_no_number_stops_before_the_update(what: str) -> None:
    model = Line()

    def loss(batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        value = model.slope(batch[0]).sum()
        return (value * float("nan") if what == "loss" else (value * 0).sqrt()), {}

    with pytest.raises(DivergedError, match="phase one, step 1: the loss is not a number") as caught:
        run(model, loss=loss)
    assert ("loss nan" if what == "loss" else "grad norm nan") in str(caught.value.seen)
    assert model.slope.weight.item() == 0.5


class Killed(BaseException):
    pass


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("last", [1, 2, 3, 4, 5, 6])
def test_an_interruption_changes_no_bit(last: int, optimizer: Any, whole: bool, tmp_path: Path) -> None:
    phase = Phase(name="x", learning_rate=0.1, epochs=3, batch_size=2, accumulate=3, optimizer=optimizer, save_every=1)
    straight = Line()
    run(straight, phase)
    recorder, broken = Recorder(), Line()

    def stop() -> None:
        if len(recorder.reports) == last:
            raise Killed

    with pytest.raises(Killed):
        run(
            broken,
            phase,
            [recorder, Hooks(on_step=stop)],
            checkpoints=Checkpoints(tmp_path, 0.0, whole=whole),
        )
    torch.manual_seed(99)
    again, resumed = Line(), Recorder()
    result = run(again, phase, [resumed], checkpoints=Checkpoints(tmp_path, 0.0, whole=whole))
    assert resumed.calls[0] == f"begin {last - 1}"
    assert resumed.restored == (None if last == 1 else {"steps": last - 1})
    assert (result.steps, result.seen) == (6, 3 * COUNT)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), straight.parameters(), strict=True))


def test_a_checkpoint_holds_names_and_what_is_trained(tmp_path: Path) -> None:
    model = Line()
    phase = Phase(name="x", learning_rate=0.1, steps=3, batch_size=2, optimizer="adamw", save_every=2)
    run(model, phase, [Recorder()], tmp_path, parameters=[model.slope.weight])
    saved = load_latest(tmp_path)
    assert saved is not None
    assert saved.step == 2
    keys = {f"optimizer/{key}/slope.weight" for key in ("step", "exp_avg", "exp_avg_sq")}
    assert set(saved.tensors) == {"model/slope.weight", *keys}
    assert saved.state["phase"] == "x"
    assert (saved.state["step"], saved.state["seen"]) == (2, 4)
    assert saved.state["callbacks"] == {"recorder": {"steps": 2}}


def test_checkpoints_stand_between_epochs_unless_told_otherwise(tmp_path: Path) -> None:
    written: list[list[str]] = []
    note = Hooks(on_step=lambda: written.append([path.name for path in checkpoints(tmp_path)]))
    run(Line(), Phase(name="x", learning_rate=0.1, epochs=3, batch_size=4), [note], tmp_path, streams=[stream(size=4)])
    assert written == [[]] * 3 + [["step-00000003"]] * 3 + [["step-00000006"]] * 3


def test_a_checkpoint_of_an_older_format_is_ignored(tmp_path: Path) -> None:
    old = tmp_path / "step-00000004"
    old.mkdir()
    (old / "checkpoint.json").write_text('{"step": 4, "state": {"guard": {}, "seconds": 1.0}, "files": {}}')
    straight, model, noticed = Line(), Line(), []
    run(straight)
    run(model, checkpoints=Checkpoints(tmp_path, 0.0, notice=noticed.append))
    assert len(noticed) == 1
    assert "another version" in noticed[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), straight.parameters(), strict=True))
