"""Corruptions: how much is hidden, the same for the same key, and what is left."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import RecipeError
from expunge.kinds.generator.corruption import STRENGTHS, Corruption

KEYS = torch.tensor([5, 6, 1 << 61])


@pytest.mark.parametrize("name", STRENGTHS)
def test_a_key_decides_it_whatever_the_batch(name: str) -> None:
    corruption = Corruption(name, patch=4)
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    hidden = corruption.hidden(KEYS, 16)
    shown = corruption.shown(pictures, KEYS, hidden)
    alone = corruption.hidden(KEYS[1:2], 16)
    assert torch.equal(alone[0], hidden[1])
    assert torch.equal(corruption.shown(pictures[1:2], KEYS[1:2], alone)[0], shown[1])
    assert not torch.equal(shown, pictures)
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    assert len(set(hidden.sum(1).tolist())) == 1


def test_what_is_hidden() -> None:
    assert Corruption("random-patches", patch=4).hidden(KEYS, 16).sum(1).tolist() == [12] * 3
    middle = Corruption("center-crop", patch=4).hidden(KEYS, 16)[0].view(4, 4)
    assert middle.int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    border = Corruption("border", patch=4).hidden(KEYS, 16)[0].view(4, 4)
    assert torch.equal(border, ~middle)
    assert not Corruption("noise", patch=4).hidden(KEYS, 16).any()
    pictures = torch.rand(3, 3, 16, 16)
    shown = Corruption("center-crop", patch=4).shown(pictures, KEYS, middle.flatten().expand(3, -1))
    assert torch.equal(shown[:, :, 4:12, 4:12], torch.full((3, 3, 8, 8), 0.5))
    assert torch.equal(shown[:, :, :4], pictures[:, :, :4])


def test_downsampling_leaves_means() -> None:
    pictures = torch.rand(2, 3, 16, 16)
    shown = Corruption("downsampling", 8.0, 4).shown(pictures, KEYS[:2], torch.zeros(2, 16, dtype=torch.bool))
    torch.testing.assert_close(shown[0, 1, :8, 8:], pictures[0, 1, :8, 8:].mean().expand(8, 8))


def test_noise_is_as_strong_as_asked() -> None:
    grey = torch.full((1, 3, 64, 64), 0.5)
    shown = Corruption("noise", 0.1).shown(grey, KEYS[:1], torch.zeros(1, 64, dtype=torch.bool))
    assert float(shown.std()) == pytest.approx(0.1, rel=0.05)
    assert float(shown.mean()) == pytest.approx(0.5, abs=0.01)


def test_wrong_names_and_strengths_are_told() -> None:
    with pytest.raises(RecipeError, match="there is no corruption 'centre-crop'"):
        Corruption("centre-crop")
    with pytest.raises(RecipeError, match="cannot have this strength"):
        Corruption("border", 1.0)
    with pytest.raises(RecipeError, match="hides 16 of 16"):
        Corruption("random-patches", 0.99, 4).hidden(KEYS, 16)
