"""Models that are loaded on first use: what they are held as, and that this changes no number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.narrow_training import narrow_notes
from expunge.models.source import find_model
from expunge.ops.narrow import NarrowLinear
from expunge.train.precision import Precision
from tiny import make_batch, random_blocks
from tiny_model import build_tiny_model


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_weights_under_narrow_products_are_held_as_stored_and_say_the_same(dtype: str, tmp_path: Path) -> None:
    source = find_model(str(build_tiny_model(tmp_path / "model", dtype=dtype)))
    lazy = LazyModel(source, Precision(True))
    task, batch = lazy(), make_batch(random_blocks([12, 5, 9], vocabulary=80))
    narrow = [module for module in task.model.modules() if isinstance(module, NarrowLinear)]
    assert narrow
    assert {module.weight.dtype for module in narrow} == {getattr(torch, dtype)}
    logits, texts = task.row_logits(batch), list(task.generate([[11, 60, 7]], 8))
    states = task.hidden(batch, 1)
    trained = lazy.to_train()
    assert trained is task
    assert all(p.dtype == torch.float32 and p.requires_grad for p in task.model.parameters())
    assert not any(isinstance(module, NarrowLinear) for module in task.model.modules())
    assert torch.equal(task.row_logits(batch), logits)
    assert torch.equal(task.hidden(batch, 1), states)
    assert list(task.generate([[11, 60, 7]], 8)) == texts


def test_weights_under_wide_products_are_wide(tmp_path: Path) -> None:
    source = find_model(str(build_tiny_model(tmp_path / "model", dtype="bfloat16")))
    task = LazyModel(source, Precision(False))()
    assert {p.dtype for p in task.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("stored", ["bfloat16", "float32", "float16"])
def test_weights_to_train_in_bfloat16(stored: str, tmp_path: Path) -> None:
    """Those stored so say the same as wide ones; others are rounded to nearest first, and that is said."""
    lazy = LazyModel(find_model(str(build_tiny_model(tmp_path / "model", dtype=stored))), Precision(False))
    batch = make_batch(random_blocks([12, 5, 9], vocabulary=80))
    before = lazy().row_logits(batch)
    wide = {name: p.detach().clone() for name, p in lazy().model.named_parameters()}
    task = lazy.to_train(torch.bfloat16)
    assert all(p.requires_grad for p in task.model.parameters())
    for name, p in task.model.named_parameters():
        if "norm" in name:
            assert torch.equal(p, wide[name])
            assert p.dtype == torch.float32
        else:
            assert torch.equal(p, wide[name].bfloat16())
    assert torch.equal(task.row_logits(batch), before) == (stored == "bfloat16")
    notes = narrow_notes(task.model, lazy.stored_dtype)
    assert notes == (
        []
        if stored == "bfloat16"
        else [f"the base model is stored as {stored}: its weights were rounded to bfloat16 before the first step"]
    )
