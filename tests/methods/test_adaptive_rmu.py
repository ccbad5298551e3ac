"""Adaptive RMU against its formula in float64, its limits, and what is known of the forget set before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.kinds.language.task import CausalLM
from expunge.methods.adaptive_rmu import AdaptiveRMU
from expunge.methods.rmu import RMU
from expunge.train.step import Batch, Step
from known_sets import known_sets
from small_language import FORGET, RETAIN, check_by_finite_differences, hidden, loss_of, small_gpt2
from tiny import load_task, random_blocks, write_table


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


def lengths(task: CausalLM, layer: int) -> np.ndarray:
    """Of a model that is not quite this one."""
    return np.linalg.norm(hidden(task, FORGET, layer), axis=1) * np.linspace(0.7, 1.4, int(FORGET.lengths.sum()))


def known(task: CausalLM, layer: int) -> tuple[Batch, Batch]:
    reference = torch.from_numpy(hidden(task, RETAIN, layer) + 0.25)
    return (
        replace(FORGET, signals={"hidden_lengths": torch.from_numpy(lengths(task, layer))}),
        replace(RETAIN, signals={"hidden_states": reference}),
    )


@pytest.mark.parametrize(("layer", "beta", "alpha"), [(1, 5.0, 1200.0), (2, 0.5, 0.3), (2, 2.0, 0.0)])
def test_against_a_transcription(task: CausalLM, layer: int, beta: float, alpha: float) -> None:
    method = AdaptiveRMU(layer=layer, trained_layers=1, steering=beta, retain_weight=alpha)
    u = torch.rand(16, generator=torch.Generator().manual_seed(0)).double().numpy()
    u = u / np.sqrt((u**2).sum())
    target = beta * lengths(task, layer)[:, None] * u
    expected = ((hidden(task, FORGET, layer) - target) ** 2).sum(1).mean() / 16 + alpha * 0.25**2
    assert loss_of(task, method, *known(task, layer)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_by_finite_differences(task: CausalLM) -> None:
    method = AdaptiveRMU(layer=2, trained_layers=2, steering=1.5, retain_weight=0.5)
    step = Step(task, *known(task, 2))
    names = ("transformer.h.0.mlp.c_proj.weight", "transformer.h.1.mlp.c_proj.weight")
    check_by_finite_differences(task, lambda: method.loss(step).total, names)


def test_where_all_lengths_are_one_number_it_is_rmu(task: CausalLM) -> None:
    _, retain = known(task, 2)
    forget = replace(FORGET, signals={"hidden_lengths": torch.full((int(FORGET.lengths.sum()),), 4.0).double()})
    fields = {"layer": 2, "trained_layers": 1, "retain_weight": 2.0}
    adaptive = loss_of(task, AdaptiveRMU(**fields, steering=5.0), forget, retain)
    assert adaptive == pytest.approx(loss_of(task, RMU(**fields, steering=20.0), FORGET, retain), rel=1e-12)


@pytest.mark.parametrize("length", ["token", "mean"])
def test_the_lengths_are_the_originals(length: str, tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    blocks = random_blocks([12, 9, 5], seed=1)
    forget = write_table(tmp_path / "forget", blocks)
    retain = write_table(tmp_path / "retain", random_blocks([11, 12], seed=2))
    method = AdaptiveRMU(layer=2, trained_layers=1, length=length)
    found = known_sets(method, task, forget, retain, tmp_path / "run").forget
    own = []
    for block in blocks:
        seen: list[torch.Tensor] = []
        with task.layers[1].register_forward_hook(lambda _module, _given, said, seen=seen: seen.append(said)):
            task.model(torch.tensor([block]))
        own.append(seen[0].detach().reshape(-1, 32).norm(dim=1))
    expected = torch.cat([own[2], own[0]])
    if length == "mean":
        expected = torch.full_like(expected, float(torch.cat(own).mean()))
    torch.testing.assert_close(found.batch([2, 0]).signals["hidden_lengths"], expected, rtol=1e-5, atol=1e-6)
