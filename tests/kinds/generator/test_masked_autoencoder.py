"""The masked autoencoder as a task: its start, and that it is transformers' own network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from expunge.kinds.generator.corruption import STRENGTHS, Corruption
from expunge.kinds.generator.model import grid_positions, new_generator
from generator_transcription import order
from small_images import pictures


def test_positions_tell_rows_from_columns() -> None:
    found = grid_positions(4, 8)
    assert found.shape == (16, 8)
    assert len({tuple(row.tolist()) for row in found}) == 16
    # row 1, column 2, the slower of two wavelengths: 10000 ** (1 / 2) = 100
    wanted = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01), math.sin(2), math.sin(0.02)]
    assert found[4 + 2][:6].tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_new_model_knows_where_a_patch_is() -> None:
    model = new_generator("mae-small", 64, Corruption("random-patches"), 0).model
    assert float(model.vit.embeddings.position_embeddings.std()) > 0.5  # type: ignore[union-attr, arg-type]
    assert float(model.decoder.decoder_pos_embed.std()) > 0.5  # type: ignore[union-attr, arg-type]
    assert not model.decoder.decoder_pos_embed.requires_grad  # type: ignore[union-attr]
    same = new_generator("mae-small", 64, Corruption("random-patches"), 0).model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())
    other = new_generator("mae-small", 64, Corruption("random-patches"), 1).model.state_dict()
    assert not torch.equal(other["vit.layers.0.mlp.fc1.weight"], same["vit.layers.0.mlp.fc1.weight"])


def test_the_training_loss_is_that_of_transformers() -> None:
    task = new_generator("mae-tiny", 16, Corruption("random-patches"), 0)
    unit = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    keys = torch.arange(5) + 40
    shown, hidden = task.corrupted(unit, keys)
    with torch.no_grad():
        wanted = task.model(pixel_values=task.normalised(unit), noise=order(keys))
        drawn = task.decoded(task.features(shown, hidden), hidden)
    assert torch.equal(hidden, wanted.mask.bool())
    weight = hidden.view(5, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    error = ((drawn - task.normalised(unit)) ** 2 * weight).sum() / (weight.sum() * 3)
    assert float(error) == pytest.approx(float(wanted.loss), rel=1e-5)
    torch.testing.assert_close(drawn, task.model.unpatchify(wanted.logits), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_corruption_can_be_undone(name: str) -> None:
    task = new_generator("mae-tiny", 16, Corruption(name), 0)
    unit = torch.rand(3, 3, 16, 16)
    shown, hidden = task.corrupted(unit, torch.arange(3))
    features = task.features(shown, hidden)
    assert features.shape[1] == 1 + int((~hidden[0]).sum())
    completed = task.completed(task.decoded(features, hidden), shown, hidden)
    assert completed.shape == (3, 3, 16, 16)
    if task.corruption.hides:
        seen = ~hidden.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
        assert ((completed.float() - 255 * unit)[seen].abs() <= 1).all()
    share = task.encoder_share(16)
    assert 0 < share < 1


def test_the_last_layer_begins_with_the_principal_components() -> None:
    task = new_generator("mae-tiny", 16, Corruption("random-patches"), 0)
    made = pictures(40)
    task.begin(made)
    patches = task.model.patchify((made.pixels.double() - 127.5) / 127.5).flatten(0, 1).numpy()  # type: ignore[operator]
    layer = task.model.decoder.decoder_pred  # type: ignore[union-attr]
    np.testing.assert_allclose(layer.bias.detach().numpy(), patches.mean(0), atol=1e-5)  # type: ignore[union-attr]
    weight = layer.weight.detach().numpy()  # type: ignore[union-attr]
    spread = np.linalg.svd(patches - patches.mean(0), compute_uv=False)[:16] / np.sqrt(len(patches) - 1)
    np.testing.assert_allclose(np.linalg.norm(weight, axis=0), spread / 2, rtol=1e-4)
    inner = weight.T @ weight
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-5)
