"""What is known of the forget set before training: each block's likelihood, how common each token is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.signals import likelihoods as known
from expunge.kinds.language.signals.likelihoods import FLOOR, block_nll, know, token_surprise
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.source import find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method
from expunge.train.precision import Precision
from expunge.train.step import IGNORED
from tiny import load_task, random_blocks, write_table


@pytest.fixture
def tables(tmp_path: Path) -> tuple[TokenTable, TokenTable]:
    """A forget and a retain set; the first token of each block of the forget set has no label."""
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 5], seed=1), first_label=2)
    return forget, write_table(tmp_path / "kept", random_blocks([11, 7], seed=2))


def probabilities(folder: Path, table: TokenTable, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(labelled, vocabulary) in float64 from the plain model, one block at a time; and the labels."""
    ids, labels = (np.array(array[table.starts[row] : table.ends[row]]) for array in (table.ids, table.labels))
    with torch.no_grad():
        logits = load_task(folder).model(torch.from_numpy(ids).long()[None]).logits[0].double().numpy()
    places = [t for t in range(1, len(ids)) if labels[t] != IGNORED]
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p[[t - 1 for t in places]], labels[places]


def test_a_block_costs_the_sum_over_its_labels(tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable]) -> None:
    forget, _ = tables
    told: list[float] = []
    found = block_nll(load_task(tiny_model_folder), forget, told.append)
    for row in range(3):
        p, labels = probabilities(tiny_model_folder, forget, row)
        assert len(labels) == [10, 7, 3][row]
        assert found[row] == pytest.approx(-np.log(p[np.arange(len(labels)), labels]).sum(), rel=1e-5)
    assert found.dtype == np.float32
    assert told[-1] == 1


def test_a_token_is_as_common_as_the_model_expects_it(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable]
) -> None:
    _, kept = tables
    found = token_surprise(load_task(tiny_model_folder), kept)
    mean = np.concatenate([probabilities(tiny_model_folder, kept, row)[0] for row in range(2)]).mean(0)
    np.testing.assert_allclose(found, -np.log(np.maximum(mean, FLOOR)), rtol=1e-4)
    assert np.exp(-found.astype(float)).sum() == pytest.approx(1, abs=1e-4)
    assert found.max() <= -np.log(FLOOR) + 1e-4


def test_only_what_is_asked_for_is_computed_and_only_once(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, kept = tables
    folder = RunFolder(tmp_path / "run").create()
    base = LazyModel(find_model(str(tiny_model_folder)), Precision(False))

    def ask(method: str, **fields: float) -> None:
        forget.reference_nll = forget.surprise = None
        know(Run(Recipe(forget="x"), folder), forget, kept, make_method({"name": method, **fields}), base)

    for method in ("gradient_ascent", "simnpo", "jensun"):
        ask(method)
        assert forget.reference_nll is forget.surprise is None
    assert list(folder.stages.iterdir()) == []
    ask("npo")
    assert forget.surprise is None
    assert forget.reference_nll is not None
    assert forget.reference_nll.shape == (3,)
    batch = forget.batch([2, 0])
    assert batch.reference_nll is not None
    assert batch.reference_nll.tolist() == forget.reference_nll[[2, 0]].tolist()
    first = forget.reference_nll
    ask("gradient_difference", surprise_share=0.5)
    assert forget.reference_nll is None
    assert forget.surprise is not None
    again = forget.surprise
    for name in ("block_nll", "token_surprise"):
        monkeypatch.setattr(known, name, lambda *args: pytest.fail("computed again"))
    ask("npo")
    assert np.array_equal(forget.reference_nll, first)
    ask("gradient_difference", surprise_share=0.5)
    assert np.array_equal(forget.surprise, again)


def test_labels_are_looked_up_by_token(tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable]) -> None:
    forget, _ = tables
    forget.surprise = np.arange(4000, dtype=np.float32)
    batch = forget.batch([1, 2])
    task = load_task(tiny_model_folder)
    rows = task.surprise(batch).tolist()
    assert rows == [float(label) for row in batch.labels.tolist() for label in row[1:] if label != IGNORED]
