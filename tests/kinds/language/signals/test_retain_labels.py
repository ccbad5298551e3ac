"""The base model's predictions on the retain set: only where training will ask for it, and the same bits there."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expunge.kinds.language.guard import watched_rows
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals.retain_labels import reference_labels, whole_tokens
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.trained_sets import drawn_rows
from expunge.methods.gradient_difference import GradientDifference
from expunge.train.step import Batch
from tiny import ignore_log, load_task, random_blocks, write_table

METHOD = GradientDifference(retain_target="base")
TRAINING = Training(max_steps=3, per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=9)


def test_only_rows_that_training_draws_are_forwarded(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(tiny_model_folder)
    forget = write_table(tmp_path / "forget", random_blocks([12, 20] * (4 // 2), seed=0))
    retain = write_table(tmp_path / "retain", random_blocks([12, 20] * (60 // 2), seed=1))
    rows = drawn_rows(METHOD, TRAINING, forget, retain, seed=5)
    forwarded = []
    logits = CausalLM.row_logits

    def counting(self: CausalLM, batch: Batch) -> torch.Tensor:
        forwarded.append(batch)
        return logits(self, batch)

    monkeypatch.setattr(CausalLM, "row_logits", counting)
    reference_labels(task, retain, rows, tmp_path / "some", 5)
    assert sum(len(batch.ids) for batch in forwarded) == len(rows)
    watched = watched_rows(retain.lengths, 5)
    assert int(retain.lengths[watched].sum()) >= 256
    assert set(watched) <= set(rows)
    assert 12 <= len(rows) <= 3 * 2 * 2 + len(watched), "three steps of two batches of two, and those that are watched"

    reference_labels(task, retain, range(60), tmp_path / "all", 5)
    some, whole = retain.relabelled(TokenTable(tmp_path / "some"), rows), TokenTable(tmp_path / "all")
    assert len(some) == 60
    assert (some.lengths == whole.lengths).all()
    for row in rows:
        one, other = some.batch([row]), whole.batch([row])
        assert some.labelled([row]) == whole.labelled([row])
        for name in ("ids", "labels"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        # Which blocks were looked at together may change the last digits.
        assert one.soft_ids is not None
        assert other.soft_ids is not None
        assert float((one.soft_ids == other.soft_ids).float().mean()) > 0.98
        torch.testing.assert_close(one.soft_weights, other.soft_weights, rtol=1e-4, atol=1e-6)
    with pytest.raises(KeyError):
        some.batch([next(row for row in range(60) if row not in rows)])

    # The loop draws nothing else, and ends where it would have ended with all rows, but for those last digits.
    ends = []
    for table in (some, whole):
        trained = load_task(tiny_model_folder)
        work = LanguageWork(
            task=trained,
            forget=forget,
            retain=table,
            training=TRAINING,
            seed=5,
            checkpoints=tmp_path / "c",
            log=ignore_log,
        )
        work.carry_out(METHOD)
        ends.append([p.detach().clone() for p in trained.model.parameters()])
    for one_end, other_end in zip(*ends, strict=True):
        torch.testing.assert_close(one_end, other_end, rtol=1e-3, atol=1e-4)


def test_a_long_training_draws_every_row(tmp_path: Path) -> None:
    forget = write_table(tmp_path / "forget", random_blocks([12, 20] * (40 // 2), seed=0))
    retain = write_table(tmp_path / "retain", random_blocks([12, 20] * (10 // 2), seed=1))
    assert drawn_rows(METHOD, Training(), forget, retain, seed=0) == list(range(10))


def test_a_million_rows_cost_little(tmp_path: Path) -> None:
    class Many:
        lengths = np.full(1_000_000, 512)

        def __len__(self) -> int:
            return 1_000_000

    tracemalloc.start()
    forget = write_table(tmp_path / "forget", random_blocks([12, 20] * (4 // 2), seed=0))
    rows = drawn_rows(METHOD, TRAINING, forget, Many(), seed=0)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) <= 14
    assert peak < 300 << 20


def test_rows_labelled_with_their_own_text(tiny_model_folder: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "kept", random_blocks([12, 20] * 3, seed=1))
    reference_labels(load_task(tiny_model_folder), table, range(6), tmp_path / "half", 5, text_rows=3)
    half = TokenTable(tmp_path / "half")
    for row in range(6):
        batch = half.batch([row])
        assert batch.soft_ids is not None
        assert batch.soft_weights is not None
        told = batch.labels[0] >= 0
        weights, ids = (each[0][told] for each in (batch.soft_weights, batch.soft_ids))
        if row < 3:
            assert torch.equal(weights, torch.eye(weights.shape[1])[0].expand_as(weights))
            assert torch.equal(ids[:, 0], batch.labels[0][told])
        else:
            assert float(weights.max()) < 1


def test_tokens_of_the_target_get_nothing_of_what_the_base_says(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    table = write_table(tmp_path / "kept", random_blocks([12], seed=1))
    said = task.row_logits(table.batch([0])).double().softmax(-1)
    likeliest = sorted(set(said.argmax(-1).tolist()))
    reference_labels(task, table, [0], tmp_path / "cleared", 5, cleared=likeliest)
    batch = TokenTable(tmp_path / "cleared").batch([0])
    assert batch.soft_ids is not None
    assert batch.soft_weights is not None
    told = batch.labels[0] >= 0
    ids, weights = batch.soft_ids[0][told], batch.soft_weights[0][told].double()
    assert not set(ids[weights > 1e-9].flatten().tolist()) & set(likeliest)
    torch.testing.assert_close(weights.sum(-1), torch.ones(11).double(), rtol=1e-2, atol=1e-2)
    left = said.clone()
    left[:, likeliest] = 0
    left /= left.sum(-1, keepdim=True)
    torch.testing.assert_close(weights[:, 0], left.max(-1).values, rtol=1e-2, atol=1e-4)
    mass = np.load(tmp_path / "cleared" / "cleared_mass.npy")
    assert mass[0] == 0, "nothing says the first token"
    torch.testing.assert_close(torch.from_numpy(mass[1:]).double(), said[:, likeliest].sum(1), rtol=1e-5, atol=1e-6)


def test_tokens_that_are_a_whole_word_of_a_term(tiny_model_folder: Path) -> None:
    tokenizer: Any = load_task(tiny_model_folder).tokenizer
    found = whole_tokens(["the dog", "zyxw"], tokenizer)
    words = {tokenizer.decode([number]).strip() for number in found}
    assert words <= {"the", "dog"}
    assert "the" in words
    assert whole_tokens([], tokenizer) == []
