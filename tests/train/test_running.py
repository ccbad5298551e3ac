"""Running statistics of batch normalisation, put together of what several processes saw."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from expunge.train import running
from expunge.train.running import Running


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
@pytest.mark.parametrize("seen", [2, 0])
def test_they_are_those_of_one_process_after_all_batches(
    momentum: float | None, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(3, momentum=momentum), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, momentum=momentum)
    )
    for _ in range(seen):
        model(3 + torch.randn(4, 3, 5, 5))
    batches = [[torch.randn(4, 3, 5, 5) + which, 2 * torch.randn(2, 3, 5, 5)][: 1 + which] for which in (0, 1, 0)]
    whole = copy.deepcopy(model)
    for batch in [batch for of_process in batches for batch in of_process]:
        whole(batch)

    copies, ended = [copy.deepcopy(model) for _ in batches], []
    of_all = [Running(each) for each in copies]
    for each, one, own in zip(of_all, copies, batches, strict=True):
        each.begin()
        for batch in own:
            one(batch)
        ended.append(torch.cat([running._state(layer) for layer in one if isinstance(layer, nn.BatchNorm2d)]))

    def gathered(every: list[torch.Tensor], own: torch.Tensor) -> None:
        assert any(torch.equal(own, each) for each in ended)
        for place, each in zip(every, ended, strict=True):
            place.copy_(each)

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: len(copies))
    monkeypatch.setattr(torch.distributed, "all_gather", gathered)
    for each, one in zip(of_all, copies, strict=True):
        each.end()
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(one.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_nothing_is_gathered_where_statistics_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.distributed, "all_gather")
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False))
    for each in (model.eval(), nn.Linear(2, 2), nn.BatchNorm2d(3, track_running_stats=False).train()):
        held = Running(each)
        held.begin()
        held.end()
