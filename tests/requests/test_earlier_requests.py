"""Does a new model still forget what earlier requests were about? Measured, noted, and undone in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.auditing import Asked
from expunge.core import storage
from expunge.errors import DataError, RunError
from expunge.kinds.language.recipe import Recipe
from expunge.requests import attacking, earlier
from expunge.requests.attacking import Attacks
from expunge.requests.earlier import Earlier, came_back, earlier_runs
from expunge.requests.ledger import Ledger
from expunge.requests.lineage import copies_to_tell
from expunge.requests.showing import facts, lines, summary, texts_left
from expunge.requests.work import batches, run_batch
from expunge.runs.findings import DAMAGE, UNDER
from expunge.runs.folder import RunFolder
from small import FORGET, SMALL, contents, write_texts


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Four requests; the first two passed, one after the other, on one base; the fourth on another."""
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as opened:
        for number in range(4):
            letter = tmp_path / f"{number}.txt"
            letter.write_text(f"letter {number}", encoding="utf-8")
            opened.add("Ada", [letter])
        parent = "base"
        for number, base in ((1, "base"), (2, "base"), (4, "another")):
            name = f"R00000{number}"
            opened.note("started", [number], {"name": name, "run": f"runs/{name}", "base": base})
            opened.note("passed", [number], passed(name, parent))
            parent = f"model of {name}"
        yield opened


def passed(name: str, parent: str, *found: Earlier) -> dict[str, object]:
    body = {"name": name, "model": f"model of {name}", "saved": "", "parent": parent, "record": ""}
    return {**body, "earlier": [each.row() for each in found]}


def third(ledger: Ledger, *found: Earlier) -> None:
    ledger.note("started", [3], {"name": "R000003", "run": "runs/R000003", "base": "base"})
    ledger.note("passed", [3], passed("R000003", "model of R000002", *found))


def test_the_runs_before_on_the_same_base_are_measured(ledger: Ledger) -> None:
    found = earlier_runs(ledger, "base", "R000003")
    assert found == {"R000001": (Path("runs/R000001"), (1,)), "R000002": (Path("runs/R000002"), (2,))}
    ledger.close_request(1)
    assert list(earlier_runs(ledger, "base", "R000002")) == ["R000001"], "a closed one is measured, the new one is not"


def test_what_came_back_is_no_longer_passed_and_can_be_run_again(ledger: Ledger) -> None:
    copy = ledger.note_copy("model of R000003", "deployed", "web", "web team")
    third(ledger, Earlier("R000001", (1,), ("familiarity_completion",)), Earlier("R000002", (2,)))
    assert [each.state for each in ledger.requests()] == ["failed", "passed", "passed", "passed"]
    assert [each.numbers for each in batches(ledger, ledger.requests([1]), True)] == [(1,)]
    # The model in which it came back has not forgotten it, although it came from one that had.
    assert [row["copy"] for row in copies_to_tell(ledger, 1)] == [copy]
    assert copies_to_tell(ledger, 2) == []
    assert "came back in the model of R000003: familiarity_completion" in "\n".join(lines(facts(ledger, 1)))
    assert "2 earlier requests measured; came back: R000001" in "\n".join(lines(facts(ledger, 3)))
    assert list(earlier_runs(ledger, "base", "x")) == ["R000002", "R000003"]
    assert ledger.findings()[0] == []


def test_a_closed_request_stays_closed_and_nothing_else_changes(ledger: Ledger) -> None:
    ledger.close_request(1)
    third(ledger, Earlier("R000001", (1,), ("familiarity_completion",)), Earlier("R000002", (2,), why="it is gone"))
    assert [each.state for each in ledger.requests()] == ["closed", "passed", "passed", "passed"]
    assert summary(ledger.last(3, "passed")["earlier"]) == (  # type: ignore[index]
        "1 earlier request measured, 1 not; came back: R000001"
    )
    assert "it is gone" not in str(ledger.last(3, "passed")), "an error may name a file"
    assert ledger.findings()[0] == []


def test_a_run_that_cannot_be_measured_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone(folder: RunFolder, model: Path, show: object) -> tuple[str, ...]:
        if folder.path.name == "b":
            raise RunError("the text was deleted")
        return ("secret_exposure",)

    monkeypatch.setattr(earlier, "came_back", gone)
    runs = {"R000001": (tmp_path / "a", (1, 2)), "R000003": (tmp_path / "b", (3,))}
    assert [each.words for each in earlier.measure_earlier(runs, RunFolder(tmp_path))] == [
        "R000001, R000002: CAME BACK in the new model (secret_exposure)",
        "R000003: NOT MEASURED on the new model: the text was deleted",
    ]


@pytest.fixture(scope="module")
def taught(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after it learned the text by heart."""
    place = tmp_path_factory.mktemp("taught")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    ids = torch.tensor(tokenizer(FORGET)["input_ids"])
    blocks = ids[: len(ids) // 64 * 64].view(-1, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        model(blocks, labels=blocks).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_a_model_that_knows_the_text_is_told_from_one_that_does_not(taught: Path, tmp_path: Path) -> None:
    forget, retain = write_texts(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"model": str(taught), "forget": "filled in", "method": {"name": "gradient_ascent"}})
    )
    fields = {**SMALL, "retain": str(retain), "training.learning_rate": 1e-2, "training.max_retain_increase": 1e9}
    fields |= {"evaluation.max_prompts": 24, "evaluation.max_new_tokens": 12}  # the text is seen to be known
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as ledger:
        ledger.add("Ada", [forget])
        (batch,) = batches(ledger, ledger.requests(), True)
        folder = run_batch(ledger, batch, recipe, fields, tmp_path / "runs")
        before = contents(folder.path)
        assert came_back(folder, folder.model) == ()
        assert came_back(folder, taught) == ("familiarity_completion",)
        assert contents(folder.path) == before, "a signed run stays as it was signed"
        folder.record.unlink()
        with pytest.raises(RunError, match="missing"):
            came_back(folder, taught)


class Audits:
    """What stands for the audit: notes what was asked, and has a result ready for each folder that the text is of."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, recipe: Recipe, folder: RunFolder, asked: Asked, show: object = None) -> dict[str, Any]:
        self.asked.append((folder.path.name, asked.model and Path(asked.model).parent.name))
        (folder.stages / "forget-tokens").mkdir(parents=True)
        found = self.results[folder.path.name]
        if isinstance(found, Exception):
            raise found
        failed = [{"name": name, "kind": UNDER, "passed": False} for name in found["failed"]]
        damage = {"name": "perplexity", "kind": DAMAGE, "passed": False}
        return {
            "passed": False,
            "short": found.get("short", False),
            "attacks": [] if found.get("none") else [{"name": "relearn"}],
            "findings": [*failed, {"name": "noise", "kind": UNDER, "passed": found["other"]}, damage],
        }


@pytest.fixture
def earlier_folders(tmp_path: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    found = {}
    for number, name in enumerate(("R000001", "R000002", "R000003", "R000004", "R000005", "R000006"), 1):
        folder = RunFolder(tmp_path / "runs" / name).create()
        folder.recipe.write_text(yaml.safe_dump({"model": "m", "forget": "f.txt", "method": {"name": "npo"}}))
        found[name] = (folder.path, (number,))
    return found


def test_a_new_model_is_attacked_for_what_earlier_requests_were_about(
    earlier_folders: dict[str, tuple[Path, tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    audits = Audits(
        {
            "R000001": {"failed": ["relearn"], "other": True},
            "R000002": {"failed": [], "other": None},
            "R000003": DataError("too few facts"),
            "R000004": {"failed": [], "other": True},
            "R000005": {"failed": [], "other": True, "short": True},
            "R000006": {"failed": [], "other": True, "none": True},
        }
    )
    monkeypatch.setattr(attacking, "audit", audits)
    monkeypatch.setattr(earlier, "came_back", lambda *_: ())
    run = RunFolder(tmp_path / "runs" / "R000007").create()
    found = earlier.measure_earlier(earlier_folders, run, attacks=Attacks.named("relearn, quantize", "10m"))
    assert audits.asked == [(name, "R000007") for name in earlier_folders]
    assert [each.words for each in found] == [
        "R000001: CAME BACK in the new model (audit: relearn); audit: FAILED (relearn)",
        "R000002: still forgotten by the new model; audit: undecided, which is not passed",
        "R000003: still forgotten by the new model; NOT AUDITED: too few facts",
        "R000004: still forgotten by the new model; audit: passed",
        "R000005: still forgotten by the new model; audit: undecided, which is not passed",
        "R000006: still forgotten by the new model; audit: undecided, which is not passed",
    ], "damage by later requests brings nothing back"
    assert [each.row()["back"] for each in found] == [["audit: relearn"], [], [], [], [], []]
    assert "too few" not in str([each.row() for each in found]), "an error may name a file"
    assert summary([each.row() for each in found]) == "6 earlier requests measured, 5 attacked; came back: R000001"
    assert not list(run.path.rglob("forget-tokens")), "the text of others is not stored with the new run"
    assert all(RunFolder(path).stages.is_dir() for path, _ in earlier_folders.values())


def test_text_of_an_audit_that_was_cut_short_is_named(ledger: Ledger, tmp_path: Path) -> None:
    ledger.note("started", [3], {"name": "R000003", "run": str(tmp_path / "R000003"), "base": "base"})
    left = tmp_path / "R000003" / "earlier" / "R000001" / "stages"
    left.mkdir(parents=True)
    assert texts_left(ledger, 1) == [left]
    audit = left.parent / "audit"
    for rows, stored in (([], [left]), ([{"number": 0}], [left, audit])):
        storage.write_json(audit / "audit.json", {"facts_shown": {"rows": rows}})
        assert texts_left(ledger, 1) == stored
    assert texts_left(ledger, 2) == []
