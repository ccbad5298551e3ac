"""Losses on a diffusion model's features, which are maps of several sizes: against maps that hooks take from diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import NEW, new_generator
from expunge.kinds.generator.session import GeneratorWork
from generator_transcription import Handed, moved
from small_generators import generator_work

ROWS = torch.arange(4, 12)
TINY = {"block_out_channels": (8, 16, 24), "norm_num_groups": 4, "attention_head_dim": 4}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> GeneratorWork:
    kind, settings = NEW["palette-small"]
    monkeypatch.setitem(NEW, "palette-small", (kind, settings | TINY))
    task = new_generator("palette-small", 16, Corruption("random-patches"), 0)
    return generator_work(task.twin(task.model.double()))


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    return Handed(monkeypatch)


def batches(work: GeneratorWork, call: dict[str, Any]) -> tuple[Any, Any]:
    return (
        work.task.batch(call["pictures"], ROWS, **call["known"]),
        work.task.batch(call["paired"], ROWS, **call["known_paired"]),
    )


def run(task: Any, given: torch.Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    """(every map that the way down makes, the predicted noise) of a pass through the whole network."""
    net, maps = task.model, []
    seen = [
        net.conv_in.register_forward_hook(lambda _, __, out: maps.append(out)),
        *(block.register_forward_hook(lambda _, __, out: maps.extend(out[1])) for block in net.down_blocks),
        net.mid_block.register_forward_hook(lambda _, __, out: maps.append(out)),
    ]
    with torch.no_grad():
        told = net(given[:, :6], (given[:, 6, 0, 0] * len(task.schedule.kept)).round().long()).sample
    for hook in seen:
        hook.remove()
    return [each.flatten(1).numpy() for each in maps], told.numpy()


def means(ours: list[np.ndarray], wanted: list[np.ndarray]) -> list[float]:
    return [float(np.mean((a - b) ** 2)) for a, b in zip(ours, wanted, strict=True)]


@pytest.mark.parametrize("maps", ["alike", "by_size"])
def test_encoder_scrubbing_adds_up_the_maps_means(maps: str, work: GeneratorWork, handed: Handed) -> None:
    settings = {} if maps == "alike" else {"maps": maps}
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.3, **settings)
    moved(work.task)
    kept, lost = batches(work, call)
    task: Any = work.task
    stays = means(run(task, kept.shown)[0], run(work.original, kept.shown)[0])
    # the teacher is given the picture's surroundings beside pure noise, the student the picture under noise
    _, drawn = task._draws(lost.keys, 16)
    hides = lost.hidden.view(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    pure = torch.where(hides, drawn, lost.shown[:, :3])
    theirs = run(work.original, torch.cat([lost.shown[:, :3], pure, lost.shown[:, 6:]], 1))[0]
    goes = means(run(task, lost.shown)[0], theirs)
    sizes = np.array([each.shape[1] for each in theirs])
    assert len(set(sizes)) > 2
    weights = np.ones(len(sizes)) if maps == "alike" else sizes / sizes.sum()
    wanted = float(weights @ stays + 0.3 * (weights @ goes))
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)


def test_a_small_map_that_is_wrong_counts_as_much_as_a_large_one(work: GeneratorWork, handed: Handed) -> None:
    (call,) = handed.by("constrained_scrubbing", work)
    assert call["pictures"] is not None
    first = work.task.maps(work.task.batch_features(batches(work, call)[0]), 16)
    whole = torch.cat(first, 1)
    from expunge.runs.registry import make_method

    found = {}
    for maps in ("alike", "by_size"):
        apart = make_method({"name": "constrained_scrubbing", "maps": maps}).apart(work)  # type: ignore[attr-defined]
        found[maps] = []
        for number in (0, len(first) - 1):
            other = [part + 1 if place == number else part for place, part in enumerate(first)]
            found[maps].append(float(apart(torch.cat(other, 1), whole).detach()))
    assert found["alike"] == pytest.approx([1, 1], rel=1e-9)
    assert found["by_size"] == pytest.approx([first[i].shape[1] / whole.shape[1] for i in (0, -1)], rel=1e-9)
    assert found["by_size"][0] > 4 * found["by_size"][1]


def test_random_encoder_draws_noise_map_by_map(work: GeneratorWork, handed: Handed) -> None:
    (call,) = handed.by("random_encoder", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    there, gone = run(work.original, kept.shown)[0], run(work.original, lost.shown)[0]
    torch.manual_seed(3)
    noise = []
    for one, other in zip(there, gone, strict=True):
        both = np.concatenate([one, other])
        drawn = torch.randn(both.shape, dtype=torch.float64).numpy()
        noise.append((both.mean() + both.std(ddof=1) * drawn)[len(one) :])
    deviations = [each.std() for each in noise]
    assert max(deviations) > 1.5 * min(deviations)
    wanted = sum(means(run(work.task, kept.shown)[0], there)) + 0.2 * sum(means(run(work.task, lost.shown)[0], noise))
    torch.manual_seed(3)
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)


def test_retain_label_wants_the_noise_that_the_original_tells(work: GeneratorWork, handed: Handed) -> None:
    (call,) = handed.by("retain_label", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    told = run(work.original, kept.shown)[1]
    wanted = np.mean((run(work.task, kept.shown)[1] - told) ** 2)
    wanted += 0.2 * np.mean((run(work.task, lost.shown)[1] - told) ** 2)
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)
