"""TOFU's files: read as published, and refused with the row where they do not fit, before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError, ExpungeError, RecipeError
from expunge.suites.tofu.reading import read_tofu
from tofu_data import AUTHORS, perturbed, rows_of, write_rows, write_tofu

Rows = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tofu(tmp_path / "tofu")


def test_all_parts_are_read(folder: Path) -> None:
    sets = read_tofu(str(folder), "forget25")
    assert (len(sets.forget), len(sets.retain)) == (20, 60)
    assert {name: len(rows) for name, rows in sets.measured.items()} == {
        "forget": 20, "retain": 20, "real_authors": 6, "world_facts": 6, "holdout": 20,
    }  # fmt: skip
    first = sets.measured["forget"][0]
    assert first.paraphrased == "That was a cat of Gil Hart."
    assert first.perturbed[0] == "It is a red cat of Gil Hart."
    assert sets.left_out == ()
    assert len(sets.spread(5).measured["forget"]) == 5
    assert sets.spread(5).digest != sets.digest == read_tofu(str(folder), "forget25").digest


def test_without_perturbed_files_it_says_what_is_left_out(tmp_path: Path) -> None:
    sets = read_tofu(str(write_tofu(tmp_path / "bare", with_perturbed=False)), "forget25")
    assert set(sets.measured) == {"forget", "retain"}
    said = " ".join(sets.left_out)
    for part in ("forget quality", "forget25_perturbed", "model utility", "world_facts_perturbed", "PrivLeak"):
        assert part in said


@pytest.mark.parametrize("ending", ["jsonl", "list", "parquet"])
def test_other_forms_of_a_file_are_the_same_rows(ending: str, folder: Path) -> None:
    before, path = read_tofu(str(folder), "forget25"), folder / "forget25_perturbed.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if ending == "list":
        path.write_text(json.dumps(rows, indent=1))
    elif ending == "jsonl":
        path.rename(path.with_suffix(".jsonl"))
    else:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        path.unlink()
    assert read_tofu(str(folder), "forget25").digest == before.digest


def test_authors_keep_the_forget_sets_share(folder: Path) -> None:
    sets = read_tofu(str(folder), "forget25", authors=2)
    assert {row.answer.split(" of ")[1] for row in sets.forget} == {"Gil Hart."}
    assert {row.answer.split(" of ")[1] for row in sets.retain} == {"Ada Brink."}
    assert len(sets.measured["retain"]) == 20
    for wrong in (1, 5):
        with pytest.raises(RecipeError, match="not this many authors") as caught:
            read_tofu(str(folder), "forget25", authors=wrong)
        assert "2 to 4" in str(caught.value)


def change(name: str, how: Callable[[Rows], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / f"{name}.json"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        how(rows)
        write_rows(path, rows)

    return apply


def old_version(folder: Path) -> None:
    """Files of a version in which the last author was another one."""
    write_rows(folder / "forget25_perturbed.json", [perturbed(row) for row in rows_of("Old Name")])


WRONG: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a field is missing": (
        change("forget25", lambda rows: rows[3].pop("answer")), "has no field `answer`", "forget25.json:4"),
    "an empty answer": (
        change("retain75", lambda rows: rows[7].update(answer="  ")), "`answer` is empty", "retain75.json:8"),
    "an answer that is not text": (
        change("forget25", lambda rows: rows[0].update(answer=7)), "`answer` is not text", "forget25.json:1"),
    "unequal numbers of perturbed answers": (
        change("forget25_perturbed", lambda rows: rows[5]["perturbed_answer"].pop()),
        "another number of perturbed answers", "forget25_perturbed.json:6"),
    "an empty perturbed answer": (
        change("retain_perturbed", lambda rows: rows[2]["perturbed_answer"].append("")), "is empty",
        "retain_perturbed.json:3"),
    "perturbed answers that are no list": (
        change("forget25_perturbed", lambda rows: rows[2].update(perturbed_answer="one")), "not a list of texts", ":3"),
    "an oracle trained on forget rows": (
        change("retain75", lambda rows: rows.append(rows_of(AUTHORS[3])[0])),
        "the oracle would be trained on what is to be forgotten", "retain75.json:61"),
    "held out, and taught": (
        change("holdout25", lambda rows: rows.append(rows_of(AUTHORS[0])[0])),
        "held-out rows would be taught", "retain75.json:1"),
    "another version's perturbed file": (old_version, "different versions", "forget25_perturbed.json:1"),
    "another version's full set": (
        change("full", lambda rows: rows.pop(0)), "different versions", "retain75.json:1"),
    "no JSON": (
        lambda folder: (folder / "full.json").write_text('{"question": 1}\nno\n'), "is not valid JSON", "full.json:2"),
    "no object": (
        lambda folder: (folder / "full.json").write_text('["a"]'), "is not an object", "full.json:1"),
    "a file is missing": (lambda folder: (folder / "retain75.json").unlink(), "has no retain75", "retain75, as .jsonl"),
    "an empty file": (lambda folder: (folder / "retain75.json").write_text("[]"), "is empty", "retain75.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named(case: str, folder: Path) -> None:
    apply, told, where = WRONG[case]
    apply(folder)
    with pytest.raises(DataError, match=told) as caught:
        read_tofu(str(folder), "forget25")
    assert where in str(caught.value)


@pytest.mark.parametrize(("data", "forget", "told"), [
    ("{folder}", "retain75", "not a forget set of TOFU"), ("{folder}", "forget10", "has no forget10"),
    ("{folder}/nowhere", "forget25", "nowhere"), ("{folder}/full.json", "forget25", "is not a folder"),
])  # fmt: skip
def test_other_names(data: str, forget: str, told: str, folder: Path) -> None:
    with pytest.raises(ExpungeError) as caught:
        read_tofu(data.format(folder=folder), forget)
    assert told in str(caught.value)
