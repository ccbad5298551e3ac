"""The code on the page on Python, and that of the notebook, runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from test_docs import DOCS, ROOT, code_blocks


def test_the_code_on_the_page_runs(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "MODEL").symlink_to(tiny_model_folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"torch": torch}
    before = dict(AutoModelForCausalLM.from_pretrained(tiny_model_folder).named_parameters())
    blocks = code_blocks(DOCS / "python.md", "python")
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "python.md", "exec"), names)
        after = {name: weight.detach().clone() for name, weight in names["model"].named_parameters()}
        changed = any(not torch.equal(weight, before[name]) for name, weight in after.items())
        gradients = any(weight.grad is not None for weight in names["model"].parameters())
        assert changed or gradients, block
        before = after
        names["model"].zero_grad()
    assert names["result"].steps == 2


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((ROOT / "examples" / "unlearn.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "unlearn.ipynb", "exec"), names)
    (secret, kept), (secret_after, kept_after) = names["taught"], names["forgotten"]
    assert max(secret, kept) < 1
    assert secret_after > secret + 2
    assert kept_after < kept + 0.5
    assert "to forget:" in capsys.readouterr().out
