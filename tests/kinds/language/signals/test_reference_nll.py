"""What is known of the forget set before training: each block's likelihood, how common each token is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.kinds.language.signals import reference_nll, surprise
from expunge.kinds.language.signals.reference_nll import block_nll
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.signals.surprise import FLOOR, token_surprise
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.registry import make_method
from expunge.train.step import IGNORED
from known_sets import known_sets
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
    task = load_task(tiny_model_folder)
    stages = tmp_path / "run" / "stages"

    def ask(method: str, **fields: float) -> TokenTable:
        return known_sets(make_method({"name": method, **fields}), task, forget, kept, tmp_path / "run").forget

    for method in ("gradient_ascent", "simnpo"):
        assert ask(method).signals == {}
    assert list(stages.iterdir()) == []
    known = ask("npo")
    assert set(known.signals) == {"reference_nll"}
    values = block_nll(task, forget)
    assert known.batch([2, 0]).signals["reference_nll"].tolist() == values[[2, 0]].tolist()
    common = ask("gradient_difference", surprise_share=0.5).batch([0]).signals["surprise"]
    assert len(common) == 10
    for module, name in ((reference_nll, "block_nll"), (surprise, "token_surprise")):
        monkeypatch.setattr(module, name, lambda *args: pytest.fail("computed again"))
    assert ask("npo").batch([1]).signals["reference_nll"].tolist() == values[[1]].tolist()
    assert torch.equal(ask("gradient_difference", surprise_share=0.5).batch([0]).signals["surprise"], common)


def test_labels_are_looked_up_by_token(tables: tuple[TokenTable, TokenTable]) -> None:
    forget, _ = tables
    batch = forget.with_signal("surprise", lookup(np.arange(4000.0), "label", forget)).batch([1, 2])
    rows = batch.signals["surprise"].tolist()
    assert rows == [float(label) for row in batch.labels.tolist() for label in row[1:] if label != IGNORED]
