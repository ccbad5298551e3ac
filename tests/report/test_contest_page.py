"""The page of a contest: complete, self-contained, escaped, and honest about what is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_contest import make_contest, write_pictures
from test_render import EVIL, Page, words

from expunge.cli.report import report
from expunge.errors import RunError
from expunge.report import wording
from expunge.runs.folder import RunFolder
from expunge.suites.challenge.faces import faces
from expunge.suites.challenge.plots import utility
from expunge.suites.challenge.report import confidences, estimate, leaks, render_contest

pytestmark = pytest.mark.usefixtures("figures_drawn")


def html_of(folder: RunFolder) -> str:
    return render_contest(folder).read_text(encoding="utf-8")


def test_page_is_complete(tmp_path: Path) -> None:
    text = words(html_of(make_contest(tmp_path / "contest")))
    for said in (
        "Unlearning contest: “random:0.02”",
        "Best: method_0",
        "0.80 of what retraining itself would get",
        "3 methods with 12 models each",
        "method_2: Over budget: the score is 0.",
        "0 over budget",
        "✗ 31.0 %",
        "1.000 [0.980, 1.020]",
        "An attack on the whole population overestimates safety",
        "F, forgetting quality",
        "Epsilon of each forgotten picture",
        "leakiest: ",
        "epochs: 4",
        "forget set 15 pictures, 3 classes",
        "The pictures themselves are not at nowhere on this machine",
        *wording.NOT_TESTED_IN_CONTESTS,
    ):
        assert said in text, said
    assert "kookmin" in text  # the whole recipe


def test_page_loads_nothing_but_its_own_pictures(tmp_path: Path) -> None:
    folder = make_contest(tmp_path / "contest", methods=9, data=write_pictures(tmp_path / "data", 15))
    html = html_of(folder)
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(set(page.ids)) == len(page.ids)
    pictures = [load for load in page.loads if not load.startswith("#")]
    assert len(pictures) == 12
    assert all(load.startswith("data:image/jpeg;base64,") for load in pictures)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    assert "This page shows pictures of the forget set" in page.text
    assert html_of(folder) == html


def test_leaks_are_ordered_by_the_largest_epsilon() -> None:
    figures: dict[str, Any] = {
        "methods": [
            {"name": "a", "epsilons": [0.5, 3.0, 50.0, 0.2]},
            {"name": "b", "epsilons": [0.1, 50.0, 50.0, 0.7]},
        ],
        "ceiling": {"epsilons": [0.1, 0.2, 0.3, 0.4]},
        "forget_ids": ["p", "q", "r", "s"],
        "classes": ["cat", "dog"],
        "forget_labels": [0, 1, 1, 0],
    }
    found = leaks(figures, {})
    assert [(leak.name, leak.by, leak.kind) for leak in found] == [
        ("r", "a", "dog"),
        ("q", "b", "dog"),
        ("s", "b", "cat"),
        ("p", "a", "cat"),
    ]
    assert (found[1].largest, found[1].median, found[1].ceiling) == (50.0, 26.5, 0.2)
    assert all(leak.face is None for leak in found)


def test_faces_come_from_local_data_alone(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"data": write_pictures(tmp_path / "data", 6), "images": {"limit": None}}
    wanted = {"cat/0.png": "cat", "dog/1.png": "fox", "cat/3.png": None, "gone.png": None}
    assert set(faces(recipe, wanted)) == {"cat/0.png", "cat/3.png"}  # a picture of another class is another picture
    assert faces({"data": "somebody/faces"}, wanted) == {}
    assert faces({"data": str(tmp_path / "missing")}, wanted) == {}
    (tmp_path / "data.npz").write_bytes(b"broken")
    assert faces({"data": str(tmp_path / "data.npz")}, wanted) == {}


def test_confidences_are_those_of_the_labels(tmp_path: Path) -> None:
    for seed, right in enumerate((0.0, 2.0)):
        np.savez(tmp_path / f"{seed:04d}.npz", logits_forget=np.array([[right, 0.0], [0.0, right]]))
    assert confidences(tmp_path, 2, [0, 0]) == pytest.approx(np.array([[0.0, 0.0], [2.0, -2.0]]))


@pytest.mark.parametrize("damage", ["model gone", "file cut", "older figures"])
def test_what_is_gone_is_named(tmp_path: Path, damage: str) -> None:
    folder = make_contest(tmp_path / "contest")
    model = folder.path / "results" / "retrained" / "0003.npz"
    if damage == "model gone":
        model.unlink()
    elif damage == "file cut":
        model.write_bytes(model.read_bytes()[:40])
    else:
        path = folder.path / "contest.json"
        figures = json.loads(path.read_text(encoding="utf-8"))
        for row in figures["methods"]:
            del row["group"], row["citation"], row["ulira"], row["ruli"]
        del figures["forget_labels"], figures["classes"]
        path.write_text(json.dumps(figures), encoding="utf-8")
    assert wording.MISSING["models"] in words(html_of(folder))


def test_few_models_and_nothing_known(tmp_path: Path) -> None:
    """Two models of a kind, and one method over its budget: no intervals, no best method, and a page all the same."""
    unknown = {"value": None, "low": None, "high": None}
    folder = make_contest(tmp_path / "contest", methods=1, models=2, pictures=1)
    path = folder.path / "contest.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    figures["methods"][0] |= {"over_budget": True, "share_of_ceiling": unknown, "membership_auc": None}
    path.write_text(json.dumps(figures), encoding="utf-8")
    text = words(html_of(folder))
    assert "No method kept to the budget" in text
    assert "upright lines are the intervals" not in text


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    folder = make_contest(tmp_path / "contest", forget_ids=[f"{EVIL}{n}" for n in range(15)],
                          classes=[EVIL] * 3, notes=[EVIL], versions={EVIL: EVIL}, data_path=EVIL)  # fmt: skip
    path = folder.path / "contest.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    figures["methods"][0] |= {"name": EVIL, "citation": EVIL, "notes": [EVIL]}
    path.write_text(json.dumps(figures), encoding="utf-8")
    folder.recipe.write_text(json.dumps({"task": "image_classifier", "forget": EVIL, "model": EVIL}), encoding="utf-8")
    html = html_of(folder)
    assert "<script" not in html.lower()
    assert Page(html).text.count("alert(") >= 20


def test_the_command_knows_contests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_contest(tmp_path / "contest")
    report(folder.path)
    assert capsys.readouterr().out.strip() == str(folder.path / "report.html")
    (folder.path / "contest.json").unlink()
    with pytest.raises(RunError, match="the contest has not ended"):
        report(folder.path)


def test_estimates_in_words() -> None:
    assert estimate({"value": 0.12345, "low": 0.1, "high": None}) == ("0.123", "")
    assert estimate({"value": 0.5, "low": 0.25, "high": 0.75}, 2) == ("0.50", "[0.25, 0.75]")
    assert estimate(None) == ("–", "")
    assert utility({"retain_ratio": {"value": 0.9}, "test_ratio": {"value": 0.5}}) == pytest.approx(0.45)
