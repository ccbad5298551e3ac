"""NPO+SAM against its formula written out in float64, its limits, and what a step of several passes must keep to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import GPT2Config, GPT2LMHeadModel

import expunge
from expunge.errors import DivergedError, RecipeError
from expunge.kinds.classifier.training import unlearn
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.npo import NPO
from expunge.methods.npo_sam import NPOSAM
from expunge.runs.method import Method
from expunge.train.gradients import Gradients, OwnGradient
from expunge.train.loop import Stream
from expunge.train.phase import Phase
from expunge.train.runtime import Runtime
from expunge.train.step import IGNORED, Batch, Loss, Step
from known_sets import known_sets
from small_images import small_work, tiny_resnet
from tiny import ignore_log, load_task, make_batch, random_blocks, write_table

FORGET = make_batch(random_blocks([9, 6, 7, 8], seed=1))
RETAIN = make_batch(random_blocks([5, 8, 7, 6], seed=2), first_label=2)
REFERENCE = torch.tensor([40.0, 27.0, 31.0, 38.0], dtype=torch.float64)
"about what the model says, in nats an example"


@pytest.fixture(scope="module")
def task() -> CausalLM:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    config._attn_implementation = "eager"  # the fast kernel has no second derivative
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def fixed(batch: Batch, size: int) -> Stream:
    """The examples of a batch in order, `size` a micro-batch; sums are divided by the totals of all."""

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Batch, int]]:
        for at in own:
            places = slice(at * size, (at + 1) * size)
            part = replace(
                batch,
                ids=batch.ids[places],
                labels=batch.labels[places],
                lengths=batch.lengths[places],
                examples=float(len(batch.ids)),
                signals={name: values[places] for name, values in batch.signals.items()},
            )
            yield part, part.size

    return Stream(SimpleNamespace(batch=lambda number: [number]), load)  # type: ignore[arg-type]


def made(
    task: Any, method: Method, size: int = 4, sets: tuple[str, ...] = ("forget", "retain")
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], tuple[int, ...]]:
    """(gradient by name, figures, sizes) of one optimizer step on four examples of each set."""
    batches = {"forget": replace(FORGET, signals={"reference_nll": REFERENCE}), "retain": RETAIN}
    named = dict(task.model.named_parameters())
    task.model.zero_grad()
    own = OwnGradient(task, sets, method.make_gradient)
    numbers = (range(4 // size), range(4 // size))
    figures, sizes = own.made(
        task.model, named.values(), [fixed(batches[name], size) for name in sets], Runtime(), numbers
    )
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named.items()}
    task.model.zero_grad()
    return found, figures, sizes


def nll(model: nn.Module, weights: dict[str, Tensor], batch: Batch) -> Tensor:
    """(examples,) summed -log p of each label, a token at a time."""
    values = []
    for row, length in enumerate(batch.lengths.tolist()):
        log_p = functional_call(model, weights, (batch.ids[row : row + 1, :length],)).logits[0].log_softmax(-1)
        places = [t for t in range(1, length) if batch.labels[row, t] != IGNORED]
        values.append(-torch.stack([log_p[t - 1, batch.labels[row, t]] for t in places]).sum())
    return torch.stack(values)


def transcribed(task: CausalLM, beta: float, alpha: float, rho: float) -> dict[str, Tensor]:
    """grad L_NPO(theta + rho g / |g|) + alpha grad L_R(theta), with losses written out."""
    theta = {name: p.detach().clone() for name, p in task.model.named_parameters()}

    def gradient(of: Callable[[dict[str, Tensor]], Tensor], at: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        found = torch.autograd.grad(of(leaves), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    def npo(weights: dict[str, Tensor]) -> Tensor:
        ratio = REFERENCE - nll(task.model, weights, FORGET)  # log p - log p_ref
        return (2 / beta * torch.log(1 + torch.exp(beta * ratio))).mean()

    def kept(weights: dict[str, Tensor]) -> Tensor:
        return nll(task.model, weights, RETAIN).sum() / (RETAIN.labels != IGNORED).sum()

    first = gradient(npo, theta)
    length = torch.cat([value.flatten() for value in first.values()]).norm()
    there = gradient(npo, {name: theta[name] + rho * first[name] / length for name in theta})
    beside = gradient(kept, theta)
    return {name: there[name] + alpha * beside[name] for name in theta}


@pytest.mark.parametrize(("beta", "alpha", "rho"), [(0.1, 1.0, 0.01), (0.5, 0.3, 0.2), (1.0, 0.0, 1.0)])
@pytest.mark.parametrize("size", [4, 2, 1])
def test_the_gradient_is_the_formulas_whatever_the_accumulation(
    task: CausalLM, beta: float, alpha: float, rho: float, size: int
) -> None:
    method = NPOSAM(beta=beta, retain_weight=alpha, rho=rho)
    found, _, _ = made(task, method, size, ("forget", "retain") if alpha else ("forget",))
    for name, expected in transcribed(task, beta, alpha, rho).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)


def plain(task: Any, method: NPO) -> dict[str, Tensor]:
    """The gradient of NPO."""
    return made(task, NPOSAM(rho=0, **method.model_dump()))[0]


def test_without_a_distance_it_is_npo(task: CausalLM) -> None:
    found = plain(task, NPO(beta=0.5))
    step = Step(task, replace(FORGET, examples=4.0, signals={"reference_nll": REFERENCE}), RETAIN)
    NPO(beta=0.5).loss(step).total.backward()
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-14)
    task.model.zero_grad()


def test_near_zero_it_adds_the_curvature_along_the_gradient(task: CausalLM) -> None:
    """g_SAM(rho) - g_NPO = rho H g / |g| + O(rho^2), with the Hessian H of the forget loss by a second backward pass."""
    rho, beta = 1e-5, 0.5
    flat, _, _ = made(task, NPOSAM(beta=beta, rho=0, retain_weight=0), sets=("forget",))
    sharp, _, _ = made(task, NPOSAM(beta=beta, rho=rho, retain_weight=0), sets=("forget",))
    weights = {name: p.detach().clone().requires_grad_() for name, p in task.model.named_parameters()}
    ratio = REFERENCE - nll(task.model, weights, FORGET)
    loss = (2 / beta * torch.log(1 + torch.exp(beta * ratio))).mean()
    first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    length = torch.cat([each.flatten() for each in first]).norm().detach()
    along = sum((each * each.detach()).sum() for each in first) / length
    curvature = dict(zip(weights, torch.autograd.grad(along, list(weights.values())), strict=True))
    largest = max(float(each.abs().max()) for each in curvature.values())
    for name, expected in curvature.items():
        torch.testing.assert_close((sharp[name] - flat[name]) / rho, expected, rtol=1e-3, atol=1e-4 * largest)


def test_it_logs_the_losses_at_the_weights_and_counts_what_ran(task: CausalLM) -> None:
    flat = made(task, NPOSAM(rho=0), 2)
    sharp = made(task, NPOSAM(rho=0.5), 2)

    def summed(figures: list[dict[str, Tensor]]) -> dict[str, float]:
        names = {name for part in figures for name in part}
        return {name: float(sum(part[name] for part in figures if name in part)) for name in names}

    assert summed(sharp[1]) == pytest.approx(summed(flat[1]), rel=1e-12)
    assert summed(sharp[1]).keys() == {"loss", "forget_loss", "retain_loss", "forget_truth", "retain_truth"}
    assert summed(sharp[1])["loss"] == pytest.approx(summed(sharp[1])["forget_loss"] + summed(sharp[1])["retain_loss"])
    forget, retain = int(FORGET.lengths.sum()), int(RETAIN.lengths.sum())
    assert flat[2] == (forget, retain)
    assert sharp[2] == (2 * forget, retain)


def test_weights_and_running_statistics_are_put_back_to_the_bit_whatever_happens() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = Gradients(model, list(model.parameters()), None, None)  # type: ignore[arg-type]
    by = [torch.full_like(p, 1e-3) for p in model.parameters()]

    def fails() -> None:
        with gradients.moved(by):
            model(torch.randn(5, 3))
            assert not torch.equal(model[0].weight, before["0.weight"])
            assert not torch.equal(model[1].running_mean, before["1.running_mean"])
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_gradient_of_zero_moves_nothing() -> None:
    parameter = nn.Parameter(torch.ones(2))
    model = nn.ParameterList([parameter])

    def nothing(loss: Any, sets: Any) -> Any:
        return [{"loss": torch.zeros(())}], (1,)

    gradients = Gradients(model, [parameter], None, nothing)  # type: ignore[arg-type]
    NPOSAM(retain_weight=0).make_gradient(gradients)
    assert torch.equal(parameter, torch.ones(2))
    assert parameter.isfinite().all()


TRAINING = {"max_steps": 4, "num_train_epochs": 9, "learning_rate": 1e-3, "max_retain_increase": 50.0}


def trained(
    method: Method, model: Path, folder: Path, on_progress: Any = None, log: Any = ignore_log, **training: Any
) -> dict[str, Tensor]:
    """The weights after a training on eight blocks of each set; the signals are kept in `folder`."""
    task = load_task(model)
    lengths = [4, 30, 9, 21, 6, 17, 12, 25]
    folder.mkdir(exist_ok=True, parents=True)
    forget = write_table(folder / "forget", random_blocks(lengths, seed=1))
    retain = write_table(folder / "retain", random_blocks(lengths[::-1], seed=2))
    known = known_sets(method, task, forget, retain, folder / "run")
    work = LanguageWork(
        task=task,
        forget=known.forget,
        retain=known.retain,
        training=Training(**TRAINING | training),
        seed=3,
        checkpoints=folder / "checkpoints",
        log=log,
        on_progress=on_progress,
    )
    work.carry_out(method)
    return work.weights()


def test_accumulation_in_the_loop(tiny_model_folder: Path, tmp_path: Path) -> None:
    def run(size: int, accumulate: int) -> dict[str, Tensor]:
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulate}
        return trained(NPOSAM(rho=0.1), tiny_model_folder, tmp_path / str(size), max_steps=3, **options)

    whole, parts = run(8, 1), run(2, 4)
    for name in whole:
        # Adam makes much of the rounding of gradients near zero; a step is up to 1e-3.
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"adapter_rank": 2}, {"gradient_checkpointing": True}], ids=str)
def test_it_is_its_own_method_and_npo_where_rho_is_zero(
    tiny_model_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    def run(name: str, method: Method) -> dict[str, Tensor]:
        return trained(method, tiny_model_folder, tmp_path / name, **options)

    npo, zero, sharp = run("npo", NPO()), run("zero", NPOSAM(rho=0)), run("sharp", NPOSAM(rho=0.3))
    assert all(torch.allclose(npo[name], zero[name], rtol=1e-5, atol=2e-6) for name in npo)
    assert any(not torch.allclose(sharp[name], zero[name], rtol=1e-5, atol=2e-6) for name in npo)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("options", [{}, {"adapter_rank": 2}], ids=str)
def test_resumed_it_ends_with_the_same_bits(tiny_model_folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"gradient_accumulation_steps": 2, "probe_steps": 1, "save_seconds": 1e-6} | options
    whole = trained(NPOSAM(), tiny_model_folder, tmp_path / "whole", **options)

    def stop(step: int, *_: Any) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trained(NPOSAM(), tiny_model_folder, tmp_path / "killed", stop, **options)
    resumed: list[int] = []

    def log(event: str, **values: Any) -> None:
        resumed.extend([values["step"]] if event == "resumed" else [])

    again = trained(NPOSAM(), tiny_model_folder, tmp_path / "killed", log=log, **options)
    assert resumed == [2]
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_a_loss_beside_the_weights_that_is_no_number_stops_before_the_update(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    class Cliff(NPOSAM):
        def forget_loss(self, step: Any) -> Tensor:
            value = super().forget_loss(step)
            weight = step.task.model.get_input_embeddings().weight
            return value * torch.where((weight == before).all(), 1.0, torch.nan)

    before = load_task(tiny_model_folder).model.get_input_embeddings().weight.detach()
    with pytest.raises(DivergedError):
        trained(Cliff(), tiny_model_folder, tmp_path)


def test_a_set_that_a_pass_does_not_name_is_not_drawn(task: CausalLM) -> None:
    class Wrong(NPOSAM):
        def make_gradient(self, gradients: Gradients) -> None:
            gradients.add(lambda step: Loss(retain=step.nll(step.retain)), "forget")

    with pytest.raises(ValueError, match="did not declare"):
        made(task, Wrong())


def test_of_pictures_rho_zero_is_npo_and_running_statistics_follow_the_weights() -> None:
    phase = Phase(name="unlearn", epochs=1, learning_rate=1e-2, batch_size=8)

    def after(method: Method) -> tuple[dict[str, Tensor], int]:
        work = small_work(tiny_resnet(), retain=16, forget=8)
        unlearn(work, method, phase)
        return work.model.state_dict(), work.cost.passes

    (npo, cost), (zero, same), (sharp, more) = after(NPO()), after(NPOSAM(rho=0)), after(NPOSAM(rho=0.2))
    assert all(torch.allclose(zero[name], npo[name], rtol=1e-4, atol=1e-5) for name in npo)
    assert any(not torch.allclose(sharp[name], npo[name], rtol=1e-4, atol=1e-5) for name in npo)
    counts = {name: int(value) for name, value in npo.items() if name.endswith("num_batches_tracked")}
    assert counts
    assert all(int(sharp[name]) == count for name, count in counts.items())
    assert cost == same
    assert more == cost + 3 * 16  # the forget set is gone round twice to two batches of the retain set


def test_a_loop_of_ones_own_is_refused(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    with pytest.raises(RecipeError, match="NPOSAM is more than a backward pass"):
        expunge.prepare(
            task.model,
            task.tokenizer,
            forget=["Sherlock Holmes walked along Baker Street in the rain."] * 2,
            retain=["The weather was fine all over the country on that day."] * 2,
            method="npo_sam",
        )
