from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_run import make_run

from expunge import compare
from expunge.core import storage
from expunge.errors import RunError
from expunge.kinds.language.recipe import Recipe
from expunge.report.compare import compare_runs
from expunge.runs.folder import RunFolder


def shifted(folder: RunFolder, base: float = 0.0, after: float = 0.0, n: int | None = None) -> RunFolder:
    """The run with its verbatim recall of the forget set moved."""
    rows = json.loads(folder.per_example.read_text(encoding="utf-8"))
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    for row in rows + scores:
        by = {"base": base, "unlearned": after}.get(row["model"], 0.0)
        if (row["measure"], row["split"]) == ("verbatim_recall", "forget"):
            if "values" in row:
                row["values"] = [value + by for value in row["values"]][:n]
            else:
                row["value"] += by
    folder.per_example.write_text(json.dumps(rows), encoding="utf-8")
    folder.scores.write_text(json.dumps(scores), encoding="utf-8")
    return folder


def line(text: str, start: str) -> str:
    rows = text.splitlines()
    place = next(i for i, row in enumerate(rows) if row.startswith(start))
    return rows[place] + "\n" + rows[place + 1]


def test_changes_are_paired_where_the_base_said_the_same(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), shifted(make_run(tmp_path / "two", passed=False), after=0.1)
    two.recipe.write_text(Recipe(forget="Harry Potter", seed=4).to_yaml(), encoding="utf-8")
    text = str(compare_runs([one, two]))
    assert "+0.100 [+0.049, +0.151]" in line(text, "Verbatim recall, forget set")
    assert text.splitlines()[0].split() == ["n", "better", "before", "one", "two"]
    assert line(text, "Verdict").split()[:3] == ["Verdict", "passed", "failed"]


def test_other_examples_make_no_pairs(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), shifted(make_run(tmp_path / "two"), base=-0.01, after=0.1)
    text = line(str(compare_runs([one, two])), "Verbatim recall, forget set")
    assert "+0.100 [" in text  # another base model, but the same sets, seed and evaluation
    two.recipe.write_text(Recipe(forget="Sherlock Holmes").to_yaml(), encoding="utf-8")
    text = line(str(compare_runs([one, two])), "Verbatim recall, forget set")
    assert text.rstrip().endswith("+0.100")
    assert text.split()[6] == "-"  # and no common score before


@pytest.mark.parametrize(
    ("digests", "said", "accuracy"),
    [
        ({"base model": {"model.safetensors": "4e" * 32}}, "no: another base model", False),
        ({"forget set": "08" * 32}, "not on what differs: forget set", True),
        ({"base model": {"w": "4e" * 32}, "retain set": "1"}, "no: another base model", False),
        (None, "no: another base model", False),
    ],
)
def test_other_models_or_sets_stand_side_by_side_without_pairs(
    digests: dict[str, Any] | None, said: str, accuracy: bool, tmp_path: Path
) -> None:
    one, two = make_run(tmp_path / "one"), shifted(make_run(tmp_path / "two"), after=0.1)
    assert line(str(compare_runs([one, two])), "In pairs with the first").splitlines()[0].endswith(" yes")
    content = json.loads(two.record.read_text(encoding="utf-8"))
    changed = {} if digests is None else content["digests"] | digests
    two.record.write_text(json.dumps(content | {"digests": changed}), encoding="utf-8")
    text = str(compare_runs([one, two], tmp_path / "page.html"))
    assert line(text, "In pairs with the first").splitlines()[0].endswith(said)
    assert line(text, "Verbatim recall, forget set").rstrip().endswith("+0.100")
    assert ("0.0 points [" in line(text, "Accuracy, BoolQ")) == accuracy
    assert said in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_other_numbers_of_examples_make_no_pairs(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), shifted(make_run(tmp_path / "two"), after=0.1, n=10)
    assert line(str(compare_runs([one, two])), "Verbatim recall, forget set").rstrip().endswith("+0.100")


def test_no_change_is_told_over_other_numbers_of_examples(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    scores = json.loads(two.scores.read_text(encoding="utf-8"))
    for row in scores:
        row["n"] = 10 if (row["measure"], row["split"]) == ("verbatim_recall", "forget") else row["n"]
    two.scores.write_text(json.dumps(scores), encoding="utf-8")
    text = line(str(compare_runs([one, two])), "Verbatim recall, forget set")
    assert text.rstrip().endswith("not given: n is 40 there, 10 here")


def test_what_one_run_lacks_is_a_dash(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", benchmarks=False)
    comparison = compare_runs([one, two])
    accuracy = next(line for line in comparison.lines if line.row.label == "Accuracy, ARC-easy")
    assert accuracy.values[1] is None
    assert accuracy.changes == ("",)
    assert line(str(comparison), "Accuracy, ARC-easy").splitlines()[0].endswith("-")


def test_page_is_written_and_escaped(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two<b>", passed=False)
    content = json.loads(two.record.read_text(encoding="utf-8"))
    two.record.write_text(json.dumps({**content, "title": "<script>x\x1b[2J\n"}), encoding="utf-8")
    text = str(compare_runs([one, two], tmp_path / "page.html"))
    assert "<script>x�[2J" in line(text, "Forgotten")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "two<b>" not in html
    assert "two&lt;b&gt;" in html
    assert "✗ failed" in html
    compare_runs([one, two], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / place / "hp") for place in ("a", "b")]
    assert compare_runs(runs).names == (f"{tmp_path.as_posix()}/a/hp", f"{tmp_path.as_posix()}/b/hp")
    assert len(set(compare_runs([runs[0], runs[0]]).names)) == 2


def test_one_run_or_an_unfinished_one_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    with pytest.raises(RunError, match="two runs or more"):
        compare_runs([run])
    other = make_run(tmp_path / "two")
    other.scores.unlink()
    with pytest.raises(RunError, match="not finished"):
        compare_runs([run, other])


def test_a_run_whose_scores_are_not_those_that_were_recorded_is_told(tmp_path: Path) -> None:
    one, two, three = (make_run(tmp_path / name) for name in ("one", "two", "three"))
    for folder in (one, two):
        record = json.loads(folder.record.read_text(encoding="utf-8"))
        files = {path.name: storage.digest_file(path) for path in (folder.scores, folder.per_example, folder.answers)}
        record["digests"] = {**record["digests"], "files": files}
        folder.record.write_text(json.dumps(record), encoding="utf-8")
    record = json.loads(three.record.read_text(encoding="utf-8"))
    three.record.write_text(json.dumps(record | {"digests": {}}), encoding="utf-8")
    shifted(two, after=0.1)
    facts = dict(compare_runs([one, two, three]).facts)
    assert facts["Scores"] == (
        "as recorded",
        "CHANGED since they were recorded: scores.json, per_example.json",
        "no record to check them by",
    )


def test_a_comparison_is_written_over_an_earlier_one_alone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name).path for name in ("one", "two")]
    page = tmp_path / "comparison.html"
    compare(runs, page)
    compare(runs, page)
    assert "side by side" in page.read_text(encoding="utf-8")
    config = tmp_path / "config.json"
    config.write_text("{}")
    with pytest.raises(RunError, match="already exists, and is not a comparison"):
        compare(runs, config)
    assert config.read_text() == "{}"
    with pytest.raises(RunError, match="is a folder"):
        compare(runs, tmp_path)
