"""Runs that answer requests: pooled, one after another, interrupted, and which model came from which."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from expunge import spine
from expunge.core import storage
from expunge.data.text.readers import read_documents
from expunge.errors import DataError, RecipeError, RunError
from expunge.kinds.language.recipe import Recipe
from expunge.models.digest import digest_model, digest_saved
from expunge.requests.ledger import Ledger
from expunge.requests.lineage import copies_to_tell, model_digest
from expunge.requests.showing import facts, lines
from expunge.requests.work import batches, run_batch
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import read_fields
from small import FORGET, SMALL, files, write_texts

NAME, SUBJECT = "lovelace.txt", "Ada Lovelace"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Three requests."""
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as opened:
        for number in range(3):
            letter = tmp_path / "inbox" / str(number) / NAME
            letter.parent.mkdir(parents=True)
            letter.write_text(f"letter {number}", encoding="utf-8")
            opened.add(SUBJECT, [letter])
        yield opened


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    model = tmp_path / "base"
    model.mkdir()
    (model / "config.json").write_text("{}")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": str(model), "forget": "filled in", "method": {"name": "npo"}}))
    return path


class Runs:
    """What stands for `spine.run`: notes the recipes, and leaves a model that is no other run's."""

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []
        self.passed = True
        self.stops = False

    def __call__(self, recipe: Recipe, out: Path, show: object = None) -> RunFolder:
        folder = RunFolder(out)
        with folder.locked():
            storage.write_text(folder.recipe, recipe.to_yaml())
            self.recipes.append(recipe)
            if self.stops:
                raise KeyboardInterrupt
            storage.write_json(folder.model / "config.json", {"run": folder.path.name})
            digests = {"base model": digest_model(Path(recipe.model)), "model": digest_saved(folder.model)}
            storage.write_json(folder.record, {"verdict": {"passed": self.passed}, "digests": digests})
        return folder


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(spine, "run", made)
    return made


def start(name: str) -> dict[str, str]:
    return {"name": name, "run": f"runs/{name}", "base": "base"}


def end(name: str) -> dict[str, str]:
    return {"name": name, "model": f"model of {name}", "saved": "", "parent": "", "record": ""}


def run_all(ledger: Ledger, recipe: Path, out: Path, pool: bool, **fields: Any) -> list[RunFolder]:
    every = batches(ledger, ledger.requests(), pool)
    return [run_batch(ledger, each, recipe, fields, out) for each in every]


def test_a_pool_is_one_run_on_the_files_of_all(ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path) -> None:
    (folder,) = run_all(ledger, recipe, tmp_path / "runs", pool=True)
    (made,) = runs.recipes
    target = Path(made.forget)
    assert {file.name: file.read_text() for file in target.iterdir()} == {
        f"R00000{number + 1}-1.txt": f"letter {number}" for number in range(3)
    }
    assert (made.excerpts, made.forget_kind) == (False, "path")
    assert folder.path.name.startswith("R000001-R000003-")
    assert [each.state for each in ledger.requests()] == ["passed"] * 3
    assert {ledger.last(number, "passed")["model"] for number in (1, 2, 3)} == {  # type: ignore[index]
        model_digest(digest_saved(folder.model))
    }


def test_one_after_another_each_from_the_model_before(ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path) -> None:
    folders = run_all(ledger, recipe, tmp_path / "runs", pool=False)
    assert [folder.path.name for folder in folders] == ["R000001", "R000002", "R000003"]
    assert [Path(each.model) for each in runs.recipes] == [tmp_path / "base", folders[0].model, folders[1].model]
    third = facts(ledger, 3)
    base = model_digest(digest_model(tmp_path / "base"))
    assert third["came_from"] == [*(model_digest(digest_saved(each.model)) for each in (folders[1], folders[0])), base]


def test_another_model_is_given_where_none_passed_and_a_changed_one_is_refused(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    first, *others = batches(ledger, ledger.requests(), pool=False)
    runs.passed = False
    run_batch(ledger, first, recipe, {}, tmp_path / "runs")
    assert ledger.request(1).state == "failed"
    runs.passed = True
    folder = run_batch(ledger, others[0], recipe, {}, tmp_path / "runs")
    assert Path(runs.recipes[1].model) == tmp_path / "base"  # the failed one is not built upon
    (again,) = batches(ledger, [ledger.request(1)], pool=True)
    assert again.name == "R000001-2"
    storage.write_json(folder.model / "config.json", {"run": "another"})
    with pytest.raises(RunError, match="is gone or was changed"):
        run_batch(ledger, others[1], recipe, {}, tmp_path / "runs")
    assert ledger.request(3).state == "open"


def test_an_interrupted_run_goes_on_with_the_requests_it_was_begun_for(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    every = ledger.requests()
    (begun,) = batches(ledger, every[:2], pool=True)
    runs.stops = True
    with pytest.raises(KeyboardInterrupt):
        run_batch(ledger, begun, recipe, {"seed": 5}, tmp_path / "runs")
    assert [each.state for each in ledger.requests()] == ["running", "running", "open"]
    runs.stops = False
    planned = batches(ledger, ledger.requests(), pool=True)
    assert [(each.numbers, each.begun is not None) for each in planned] == [((1, 2), True), ((3,), False)]
    # One of the two is enough to be asked for; the recipe is that of the run folder, whatever is typed now.
    (again,) = batches(ledger, [ledger.request(2)], pool=True)
    folder = run_batch(ledger, again, recipe, {"seed": 6}, tmp_path / "elsewhere")
    assert (folder.path.parent, runs.recipes[-1].seed) == (tmp_path / "runs", 5)
    assert [each.state for each in ledger.requests()] == ["passed", "passed", "open"]


def test_a_run_that_cannot_go_on_is_given_up_for_all_it_was_begun_for(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    (begun,) = batches(ledger, ledger.requests([1, 2]), pool=True)
    runs.stops = True
    with pytest.raises(KeyboardInterrupt):
        run_batch(ledger, begun, recipe, {}, tmp_path / "runs")
    runs.stops = False
    with pytest.raises(RunError, match="R000003 is open: it cannot be reopened"):
        ledger.reopen(3, "no run")
    assert ledger.reopen(2, "the loss ran away") == [1, 2]
    assert [each.state for each in ledger.requests()] == ["open"] * 3
    (again,) = batches(ledger, ledger.requests([1, 2]), pool=True)
    assert (again.name, again.begun) == (f"{begun.name}-2", None)
    run_batch(ledger, again, recipe, {"seed": 6}, tmp_path / "runs")
    assert [each.state for each in ledger.requests()] == ["passed", "passed", "open"]
    assert ledger.findings()[0] == []


def test_two_runs_on_one_base_do_not_run_at_once(ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path) -> None:
    first, second, third = batches(ledger, ledger.requests(), pool=False)
    runs.stops = True
    with pytest.raises(KeyboardInterrupt):
        run_batch(ledger, first, recipe, {}, tmp_path / "runs")
    runs.stops = False
    with pytest.raises(RunError, match=r"the run R000001 on .* has not ended") as raised:
        run_batch(ledger, second, recipe, {}, tmp_path / "runs")
    assert "expunge request reopen R000001" in str(raised.value.next_step)
    assert [each.state for each in ledger.requests()] == ["running", "open", "open"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    run_batch(ledger, second, recipe, {"model": str(tmp_path / "elsewhere")}, tmp_path / "runs")  # another base
    run_batch(ledger, batches(ledger, [ledger.request(1)], pool=False)[0], recipe, {}, tmp_path / "runs")
    run_batch(ledger, third, recipe, {}, tmp_path / "runs")
    assert [each.state for each in ledger.requests()] == ["passed"] * 3
    assert ledger.last(3, "started")["from"] == ledger.last(1, "passed")["model"]  # type: ignore[index]


def test_a_run_does_not_start_from_a_model_that_is_no_longer_the_newest(ledger: Ledger) -> None:
    ledger.note("started", [1], start("R000001"))
    ledger.note("passed", [1], end("R000001"))
    with pytest.raises(RunError, match="another run on base passed just now"):
        ledger.note("started", [2], {**start("R000002"), "from": None})
    ledger.note("started", [2], {**start("R000002"), "from": "model of R000001"})


def test_a_run_does_not_pass_where_another_passed_since_it_began(ledger: Ledger) -> None:
    with ledger.chain.writing():  # two at once, as nothing here starts them
        for number in (1, 2):
            ledger.chain.append("started", number, start(f"R00000{number}"))
    ledger.note("passed", [2], end("R000002"))
    with pytest.raises(RunError, match="R000002 passed since R000001 began"):
        ledger.note("passed", [1], end("R000001"))
    assert ledger.request(1).state == "running"
    ledger.note("failed", [1], end("R000001"))


@pytest.mark.parametrize("kind", ["passed", "failed"])
def test_a_run_that_was_given_up_decides_nothing(kind: str, ledger: Ledger) -> None:
    ledger.note("started", [1, 2], start("R000001"))
    ledger.reopen(1, "it stood still")
    ledger.note("started", [1], start("R000001-2"))
    with pytest.raises(RunError, match="the run R000001 was given up: it decides nothing for R000001"):
        ledger.note(kind, [1], end("R000001"))
    assert ledger.request(1).state == "running"
    ledger.note(kind, [1], end("R000001-2"))
    assert ledger.request(1).state == kind


def test_a_folder_that_is_there_is_refused_before_anything_is_noted(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    (batch,) = batches(ledger, ledger.requests([2]), pool=True)
    (tmp_path / "runs" / batch.name).mkdir(parents=True)
    with pytest.raises(RunError, match="already exists, and does not belong to this ledger"):
        run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    assert ledger.request(2).state == "open"


def test_files_that_changed_since_are_refused_before_anything_is_noted(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "inbox" / "1" / NAME).write_text("another letter")
    (batch,) = batches(ledger, ledger.requests([2]), pool=True)
    with pytest.raises(DataError, match="file 1 of R000002 is not as it was"):
        run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    (tmp_path / "inbox" / "1" / NAME).unlink()
    with pytest.raises(DataError, match="gone"):
        run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    assert ledger.request(2).state == "open"
    assert runs.recipes == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("scan.pdf", b"%PDF-1.4 damaged", "PDF"),
        ("notes.csv", b"id,note\n1,person five\n", "column"),
        ("blank.txt", b"  \n\n ", "no text but white space"),
        ("page.txt", b'<?xml version="1.0"?><a>person four</a>', "XML"),
        ("job.py", b"print('Ada Lovelace')\n", "source code among other text"),
    ],
)
@pytest.mark.parametrize("pool", [True, False])
def test_no_request_runs_of_which_a_file_would_not_be_read(
    pool: bool, name: str, content: bytes, reason: str, ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    ledger.add(SUBJECT, [tmp_path / "inbox" / "0" / NAME, tmp_path / "inbox" / "1" / NAME, tmp_path / name])
    batch = batches(ledger, ledger.requests([1, 4] if pool else [4]), pool)[0]
    with pytest.raises(DataError, match="file 3 of R000004 would not be read") as raised:
        run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    assert str(tmp_path / name) in str(raised.value.seen)
    assert reason in str(raised.value.seen)
    assert {each.state for each in ledger.requests()} == {"open"}
    assert runs.recipes == []


def test_files_are_laid_out_with_the_endings_that_are_known_and_no_others(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    named = tmp_path / "Akte von Dr. Erika Müller"
    named.write_text("She wrote a letter to the bank.", encoding="utf-8")
    (tmp_path / "mails.JSONL.gz").write_bytes(gzip.compress(b'{"text": "My name is Ann."}\n' * 3))
    ledger.add(SUBJECT, [named, tmp_path / "mails.JSONL.gz"])
    (batch,) = batches(ledger, ledger.requests([4]), pool=True)
    run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    target = Path(runs.recipes[0].forget)
    assert {file.name for file in target.iterdir()} == {"R000004-1", "R000004-2.jsonl.gz"}
    assert [each.text for each in read_documents(target / "R000004-2.jsonl.gz")] == ["My name is Ann."] * 3


def test_rows_are_read_by_the_columns_of_the_recipe(ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("id,note\n1,person five\n")
    ledger.add(SUBJECT, [tmp_path / "notes.csv"])
    (batch,) = batches(ledger, ledger.requests([4]), pool=True)
    run_batch(ledger, batch, recipe, {"data.columns": "text=note"}, tmp_path / "runs")
    assert ledger.request(4).state == "passed"
    with pytest.raises(RecipeError, match="files of requests are read as text"):
        run_batch(ledger, batches(ledger, ledger.requests([1]), True)[0], recipe, {"forget_kind": "topic"}, tmp_path)


def test_closing_takes_the_files_out_of_the_run(ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path) -> None:
    run_all(ledger, recipe, tmp_path / "runs", pool=True)
    target = Path(runs.recipes[0].forget)
    ledger.close_request(1)
    assert {file.name for file in target.iterdir()} == {"R000002-1.txt", "R000003-1.txt"}
    ledger.close_request(2)
    ledger.close_request(3)
    assert not target.exists()
    assert list(files(ledger.private.path)) == []
    assert (tmp_path / "inbox" / "0" / NAME).read_text() == "letter 0"


def test_who_has_a_copy_of_an_older_model_is_to_be_told(
    ledger: Ledger, recipe: Path, runs: Runs, tmp_path: Path
) -> None:
    base = model_digest(digest_saved(tmp_path / "base"))
    phone = ledger.note_copy(base, "quantized", "phone app", "mobile team")
    first, second, _ = run_all(ledger, recipe, tmp_path / "runs", pool=False)
    partner = ledger.note_copy(model_digest(digest_saved(first.model)), "merged", "partner", "Partner Ltd")
    ledger.note_copy(model_digest(digest_saved(second.model)), "deployed", "web", "web team")
    # The first model forgot the first request, and the second one came from it.
    assert [row["copy"] for row in copies_to_tell(ledger, 1)] == [phone]
    assert [row["copy"] for row in copies_to_tell(ledger, 2)] == [phone, partner]
    ledger.told(2, partner)
    assert [bool(row["told"]) for row in copies_to_tell(ledger, 2)] == [False, True]
    shown = "\n".join(lines(facts(ledger, 2)))
    assert "phone app; tell mobile team: NOT TOLD" in shown
    assert "tell Partner Ltd: told 2" in shown
    assert ledger.findings()[0] == []


def test_a_copy_of_a_clean_adapter_is_not_to_be_told(ledger: Ledger, tmp_path: Path) -> None:
    """`note-copy` sees the adapter's files; the model's digest covers its base, too."""
    ledger.note("started", [1], start("R000001"))
    ledger.note("passed", [1], {**end("R000001"), "saved": "adapter alone"})
    ledger.note("started", [2], start("R000002"))
    ledger.note("failed", [2], {**end("R000002"), "saved": "failed adapter", "parent": "another"})
    ledger.note_copy("adapter alone", "adapter", "phone app", "mobile team")
    failed = ledger.note_copy("failed adapter", "adapter", "web", "web team")
    assert [row["copy"] for row in copies_to_tell(ledger, 1)] == [failed]
    # The same files on a model that has not forgotten it: nobody can say which one the copy is of.
    ledger.note("started", [2], start("R000002-2"))
    ledger.note("failed", [2], {**end("R000002-2"), "saved": "adapter alone", "parent": "another"})
    assert len(copies_to_tell(ledger, 1)) == 2


@pytest.mark.parametrize("place", ["docs/requests.md", "docs/evidence.md", "src/expunge/cli/request_run.py"])
def test_the_recipes_that_are_named_are_there(place: str) -> None:
    text = (Path(__file__).parents[2] / place).read_text(encoding="utf-8")
    named = re.findall(r"--recipe ([\w./-]+)|expunge run ([\w./-]+) --", text)
    found = {word for pair in named for word in pair} - {"", "FILE"}
    assert found != set()
    for each in found:
        read_fields(Path(each))


def test_a_real_run_says_nothing_of_the_person(tiny_model_folder: Path, tmp_path: Path) -> None:
    """On the tiny model, which knows nothing: the verdict fails, and the request may be run again."""
    forget, retain = write_texts(tmp_path)
    letter = forget.rename(tmp_path / NAME)
    letter.write_text(FORGET.replace("Lestrade", "Zorblatt"), encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"model": str(tiny_model_folder), "forget": "filled in", "method": {"name": "gradient_ascent"}})
    )
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as ledger:
        ledger.add(SUBJECT, [letter])
        (folder,) = run_all(ledger, recipe, tmp_path / "runs", pool=True, **SMALL, retain=str(retain))
        ended = ledger.last(1, "failed")
        assert ledger.request(1).state == "failed"
        assert ended is not None
        assert ended["parent"] == model_digest(digest_saved(tiny_model_folder))
        assert ended["record"] == storage.digest_file(folder.record)
        assert json.loads(folder.record.read_text(encoding="utf-8"))["name"] == "R000001"
        places = [*files(folder.path), *files(tmp_path / "ledger")]
        kept = (folder.stages, ledger.private.path, folder.anchors)
        told = [file for file in places if not any(file.is_relative_to(each) for each in kept)]
        for file in told:
            held = file.read_bytes()
            assert [word for word in (SUBJECT, NAME, "Zorblatt") if word.encode() in held] == [], file
        assert ledger.findings()[0] == []


def test_a_request_without_files_cannot_be_run(ledger: Ledger, recipe: Path, tmp_path: Path) -> None:
    added, _ = ledger.add("CUSTOMER-1", [])
    [batch] = batches(ledger, [added], pool=True)
    with pytest.raises(RunError, match=f"{added.name} names no files"):
        run_batch(ledger, batch, recipe, {}, tmp_path / "runs")
    assert [each.state for each in ledger.requests([added.number])] == ["open"]
