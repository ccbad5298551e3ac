"""The suite of the generated world: its sets and files, and a run from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from expunge.data.text.readers import read_documents
from expunge.errors import RecipeError, RunError
from expunge.runs.folder import RunFolder
from expunge.runs.suite import suite_of, suites
from expunge.suites.tofu.options import Models, Teaching
from expunge.suites.world.command import world
from expunge.suites.world.reading import read_world, split_world, write_world
from expunge.suites.world.settings import World

SMALL = World(subjects=8, share=0.25)


def test_by_subject_whole_subjects_are_forgotten_and_the_halves_share_none() -> None:
    split = split_world(World(subjects=30))
    forget, retain, holdout = (
        [fact.subject for fact in facts] for facts in (split.forget, split.retain, split.holdout)
    )
    assert (len(forget), len(retain), len(holdout)) == (30, 120, 30)
    assert len(set(forget)) == 6
    assert not set(forget) & set(retain)
    assert not set(holdout) & {*forget, *retain}
    assert not set(forget[:15]) & set(forget[15:])
    assert {fact.relation.of for fact in split.forget[:15]} == {"person", "place"}


def test_by_relation_some_relations_of_all_subjects_are_forgotten() -> None:
    split = split_world(World(subjects=9, share=0.4, by="relation", world_seed=1))
    assert {fact.relation.name for fact in split.forget} == {"profession", "instrument", "trade", "founder"}
    assert len({fact.subject for fact in split.forget}) == 9
    assert {fact.subject for fact in split.forget} == {fact.subject for fact in split.retain}
    assert not {fact.relation for fact in split.forget} & {fact.relation for fact in split.retain}
    assert len(split.holdout) == len(split.forget)
    assert {fact.relation for fact in split.holdout} == {fact.relation for fact in split.forget}
    assert not {fact.subject for fact in split.holdout} & {fact.subject for fact in split.forget}


@pytest.mark.parametrize("by", ["subject", "relation"])
def test_what_is_asked_is_never_taught_to_the_oracle(by: Literal["subject", "relation"]) -> None:
    of = World(subjects=9, by=by, world_seed=1)
    sets, split = read_world(of), split_world(of)
    kept = {(row.question, row.answer) for row in sets.kept}
    values = " ".join(row.answer for row in sets.kept)
    for name, rows in sets.measured.items():
        if not name.startswith("retain"):
            assert not kept & {(row.question, row.answer) for row in rows}
    for fact in (*split.forget, *split.holdout):
        if fact.relation.reversed is not None:
            assert fact.value not in values
    forms = {"paraphrased", "cloze", "reversed", "choice"}
    expected = {f"{side}_{form}" for side in ("forget", "retain") for form in forms}
    if by == "relation":  # a profession is not a name, so that nobody can be asked for by it
        expected -= {"forget_reversed"}
    assert set(sets.measured) == {"forget", "retain", "holdout", *expected}
    assert all(len(row.perturbed) == 3 for row in sets.measured["forget_cloze"])


@pytest.mark.parametrize(("wrong", "told"), [
    (World(subjects=3), "too small"), (World(share=0.0), "some kept"), (World(share=1.0), "some kept"),
])  # fmt: skip
def test_worlds_that_cannot_be_split(wrong: World, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        split_world(wrong)


def test_it_is_written_as_runs_and_audits_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "world"
    assert world(of=SMALL, write=folder) == 0
    assert "forget.jsonl: 10 facts" in capsys.readouterr().out
    for name in ("forget", "retain", "holdout"):
        facts = getattr(split_world(SMALL), name)
        found = list(read_documents(str(folder / f"{name}.jsonl")))
        assert [(each.prompt, each.text) for each in found] == [(fact.question, fact.answer) for fact in facts]
    rows = [json.loads(line) for line in (folder / "facts.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == ["forget"] * 10 + ["retain"] * 30 + ["holdout"] * 10
    settings = World(**json.loads((folder / "world.json").read_text()))
    assert settings == SMALL
    before = (folder / "facts.jsonl").read_bytes()
    write_world(settings, folder)
    assert (folder / "facts.jsonl").read_bytes() == before
    with pytest.raises(RunError, match="has no world"):
        write_world(SMALL, tmp_path)


def test_from_the_command_to_the_page(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    teaching = Teaching(epochs=2, learning_rate=1e-2, rows=3, new_tokens=4)
    limits = ["--training.max_steps", "2", "--training.learning_rate", "1e-3"]
    of = World(subjects=6, by="relation")
    models = Models(model=str(tiny_model_folder), methods="gradient_ascent", out=out)
    assert world(*limits, of=of, models=models, teaching=teaching) == 0
    said = capsys.readouterr().out
    assert "gradient_ascent" in said
    figures = json.loads((out / "world.json").read_text())
    assert figures["settings"]["by"] == "relation"
    assert "data" not in figures["settings"]
    measures = figures["methods"][0]["measures"]
    assert {"forget_quality", "privleak", "forget_choice/probability_options"} <= measures.keys()
    assert "forget_choice/extraction_strength" not in measures
    taught = figures["taught"]["forget"]
    assert len((out / "data-world" / "forget.jsonl").read_text().splitlines()) == taught / 2  # not the clozes
    suite = suite_of(out)
    assert suite is suites()["world"]
    assert "among" in said
    page = suite.render_report(RunFolder(out)).read_text()
    assert "A generated world" in page
    assert "Forget set, sentences to finish" in page


@pytest.mark.parametrize("option", ["--data", "--forget", "--retain"])
def test_what_is_forgotten_is_what_is_asked_about(option: str, tiny_model_folder: Path, tmp_path: Path) -> None:
    models = Models(model=str(tiny_model_folder), methods="npo", out=tmp_path / "out")
    with pytest.raises(RecipeError, match="the suite world itself decides the forget and retain sets"):
        world(option, "book.txt", of=SMALL, models=models)
    assert not (tmp_path / "out").exists()
