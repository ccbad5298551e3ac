"""A loss with a signal of its own, in one file of another package, is found by entry points and run."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expunge
from expunge.core import storage
from expunge.train.step import Step
from small import SMALL, write_texts
from tiny import load_task

PAGE = Path(__file__).parents[4] / "docs" / "adding.md"
POINTS = """[expunge.methods]
entropy_ascent = entropy_ascent:EntropyAscent
[expunge.signals]
base_entropy = entropy_ascent:BaseEntropy
"""


def example() -> str:
    """The file that the page on methods shows."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if "class BaseEntropy" in block)
    return str(found)


def test_a_loss_with_a_signal_of_its_own(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "entropy_ascent-1.0.dist-info").mkdir(parents=True)
    (package / "entropy_ascent.py").write_text(example())
    (package / "entropy_ascent-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: entropy-ascent\nVersion: 1.0\n"
    )
    (package / "entropy_ascent-1.0.dist-info" / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(package)
    forget, retain = write_texts(tmp_path)
    recipe: dict[str, Any] = {"model": str(tiny_model_folder), "forget": str(forget), "retain": str(retain)}
    recipe |= {"method": {"name": "entropy_ascent"}}
    for name, value in (SMALL | {"evaluation.ordinary_text": str(retain)}).items():
        part, _, field = name.partition(".")
        recipe.setdefault(part, {})[field] = value
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    module = importlib.import_module("entropy_ascent")
    made: list[int] = []
    seen: list[tuple[tuple[int, ...], torch.Tensor]] = []
    block_of, loss_of = module.BaseEntropy.block, module.EntropyAscent.loss

    def block(self: Any, source: Any, row: int) -> Any:
        made.append(row)
        return block_of(self, source, row)

    def loss(self: Any, step: Step) -> Any:
        seen.append((step.forget.rows, step.signal("base_entropy")))
        return loss_of(self, step)

    monkeypatch.setattr(module.BaseEntropy, "block", block)
    monkeypatch.setattr(module.EntropyAscent, "loss", loss)
    folder = expunge.run(tmp_path / "recipe.yaml", tmp_path / "run")

    (stage,) = folder.stages.glob("base-entropy-*")
    table = folder.stages / storage.read_json(stage / "stage.json")["made_from"]["set"]
    starts, ids = np.load(table / "starts.npy"), np.fromfile(table / "ids.bin", np.int32)
    assert (len(np.load(stage / "values.npy")), made, len(seen)) == (len(ids), list(range(len(starts) - 1)), 4)
    task = load_task(tiny_model_folder)
    for rows, entropy in seen:
        expected = []
        for row in rows:
            with torch.no_grad():
                logits = task.model(torch.from_numpy(ids[starts[row] : starts[row + 1]]).long()[None]).logits[0, :-1]
            p = logits.double().softmax(-1)
            expected.append(-(p * p.log()).sum(-1))
        torch.testing.assert_close(entropy, torch.cat(expected).float(), rtol=1e-4, atol=1e-5)

    # The model is lost, and made again: the signal is there.
    (folder.model / "model.safetensors").unlink()
    expunge.run(tmp_path / "recipe.yaml", tmp_path / "run")
    assert len(seen) == 8
    assert len(made) == len(starts) - 1
