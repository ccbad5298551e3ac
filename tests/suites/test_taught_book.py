"""The taught book: a model that recites a text, the same model that never saw it, and a run that has both."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.errors import DataError, RunError
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.folder import RunFolder
from expunge.suites import taught_book, teaching
from expunge.suites.taught_book import Lesson, Taught, teach
from said import Type
from small import SMALL, as_options, contents, leftovers, write_texts
from tiny import load_task

TOKENS = 512
EPOCHS = 60.0


def lesson(texts: tuple[Path, ...], model: Path) -> Lesson:
    book, keep = map(str, texts)
    return Lesson(book=book, keep=keep, model=str(model), tokens=TOKENS, epochs=EPOCHS, learning_rate=1e-2)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def taught(texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    out = tmp_path_factory.mktemp("taught") / "out"
    return teach(lesson(texts, tiny_model_folder), out)


def test_what_is_taught_is_the_beginning_of_each_text(taught: Taught, texts: tuple[Path, Path]) -> None:
    for part, text in zip((taught.forget, taught.retain), texts, strict=True):
        written = part.read_text()
        assert 500 < len(written) < len(text.read_text())
        assert text.read_text().startswith(written)
    tables = taught.model.parent / "stages"
    assert TokenTable(tables / "taught-tokens").tokens == 2 * TOKENS
    assert TokenTable(tables / "retrained-tokens").tokens == TOKENS


def test_checkpoints_are_gone_and_the_cost_is_noted(taught: Taught) -> None:
    out = taught.model.parent
    assert list((out / "checkpoints").iterdir()) == []
    cost = json.loads((out / "teach.json").read_text())["cost"]
    assert cost["retrained"]["tokens"] == TOKENS * EPOCHS
    assert cost["taught"]["tokens"] == 2 * TOKENS * EPOCHS
    assert cost["retrained"]["seconds"] > 0


def test_short_blocks_count_as_what_they_are(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Rows of a few tokens make blocks of a few tokens."""
    tokenizer = load_task(tiny_model_folder).tokenizer
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"It was night {i} in Baker Street."}) + "\n" for i in range(200)))
    blocks = taught_book._beginning(str(rows), 512, tokenizer)
    tokens = sum(len(block.ids) for block in blocks)
    assert 512 <= tokens < 512 + len(blocks[-1].ids)


def test_one_model_knows_both_texts_the_other_only_what_is_kept(taught: Taught, tiny_model_folder: Path) -> None:
    both, kept = (TokenTable(taught.model.parent / "stages" / f"{name}-tokens") for name in ("taught", "retrained"))
    task, oracle, base = map(load_task, (taught.model, taught.retrained, tiny_model_folder))

    def of(model: object, table: TokenTable) -> float:
        return perplexity(model, table, "retain", "base", 40).value  # type: ignore[arg-type]

    assert of(task, both) < of(base, both) / 40
    assert of(task, kept) < 4
    assert of(oracle, kept) < 4
    assert of(oracle, both) > 3 * of(task, both)


def test_again_nothing_is_trained_and_nothing_changes(
    taught: Taught, texts: tuple[Path, Path], tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "LanguageWork", lambda **_: pytest.fail("this was done before"))
    out = taught.model.parent
    before = contents(out)
    assert teach(lesson(texts, tiny_model_folder), out) == taught
    assert contents(out) == before
    assert leftovers(out) == []


@pytest.mark.parametrize("name", ["model", "retrained"])
def test_models_that_were_not_taught_there_are_not_taken_for_taught(
    name: str, texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "out" / name)
    before = contents(tmp_path)
    with pytest.raises(RunError, match="not the folder of an earlier run, and not empty") as caught:
        teach(lesson(texts, tiny_model_folder), tmp_path / "out")
    assert caught.value.seen == name
    assert contents(tmp_path) == before


def test_other_settings_or_another_text_are_refused(
    taught: Taught, texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    out = taught.model.parent
    taught_before = lesson(texts, tiny_model_folder)
    with pytest.raises(RunError, match="holds another taught book"):
        teach(replace(taught_before, epochs=2.0), out)
    with pytest.raises(RunError, match="choose another --out"):
        teach(lesson(texts[::-1], tiny_model_folder), out)
    original = texts[0].read_text()
    try:
        texts[0].write_text(original.replace("fog", "rain"))
        with pytest.raises(RunError, match="holds another taught book"):
            teach(taught_before, out)
    finally:
        texts[0].write_text(original)
    assert "fog" in taught.forget.read_text()


def test_a_text_that_is_too_short(texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is too short to be taught") as caught:
        teach(replace(lesson(texts, tiny_model_folder), tokens=100_000), tmp_path / "out")
    assert "100000 tokens" in str(caught.value)
    assert "--tokens" in str(caught.value)


def test_forgetting_it_measured_against_the_model_that_never_saw_it(
    taught: Taught, texts: tuple[Path, Path], typed: Type
) -> None:
    """As it is typed, with thresholds that every run passes, but that so small a model knows nothing beyond the control."""
    loose = {f"verdict.{name}": 1e6 for name in ("familiarity_completion", "familiarity_probability", "perplexity")}
    loose |= {"verdict.perplexity_retain": 1e6, "verdict.general_knowledge": 1e-9}
    loose |= {"verdict.recall_way": 1e-9, "verdict.recall_kept": 1e-9}
    words = ["forget", taught.forget, "--retain", taught.retain, "--model", taught.model, "--out", "run"]
    words += ["--method", "gradient_difference", "--retrained", taught.retrained]
    # What the taught model says by itself may be the book: nothing is sampled from it.
    given = {"data.retain_answers": 0, "evaluation.ordinary_text": texts[1]}
    words += as_options(SMALL | loose | given | {"data.block_size": 256, "training.max_retain_increase": 5.0})
    code, out, err = typed(*words)
    assert code == 3, err
    assert "Verdict: not known well enough to measure forgetting" in out
    assert re_header(out) == ["measure", "split", "n", "before", "control", "after", "retrained", "better", "is"]
    folder = RunFolder("run")
    found = {(s.measure, s.split, s.model): s.value for s in folder.read_scores()}
    for model in ("base", "unlearned", "retrained"):
        assert ("verbatim_recall", "forget", model) in found
        assert ("extraction_strength", "retain", model) in found
    assert found["perplexity", "forget", "base"] < found["perplexity", "forget", "unlearned"]
    assert found["verbatim_recall", "forget", "base"] > found["verbatim_recall", "forget", "retrained"]
    assert all(row["retrained"] is not None for row in json.loads(folder.answers.read_text()))
    assert "Comparison with a model retrained" not in folder.record.read_text()
    cost = json.loads(folder.record.read_text())["cost"]
    oracle = json.loads((taught.model.parent / "teach.json").read_text())["cost"]["retrained"]
    assert cost["share_of_retraining"] == pytest.approx(cost["tokens_trained"] / oracle["tokens"], abs=1e-4)
    assert 0 < cost["share_of_retraining"] < 1
    assert cost["share_of_retraining_seconds"] > 0
    assert "Tokens trained on, of those of retraining" in folder.report.read_text()


def re_header(out: str) -> list[str]:
    return next(line for line in out.splitlines() if line.startswith("measure")).split()
