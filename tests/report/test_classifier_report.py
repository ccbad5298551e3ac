"""The report of a run on an image classifier: its own words and figures, and nothing of tokens and answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_classifier_run import make_classifier_run
from fake_run import make_run
from test_render import EVIL, Page, words

from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.report.figures import shared_bins, shares
from expunge.report.compare import compare_runs
from expunge.report.render import render_report
from expunge.report.wording import MISSING, sizes, title
from expunge.runs.folder import RunFolder


def html_of(folder: RunFolder) -> str:
    return render_report(folder).read_text(encoding="utf-8")


def test_report_speaks_of_pictures(tmp_path: Path) -> None:
    text = words(html_of(make_classifier_run(tmp_path / "run")))
    for said in (
        "The method “SCRUB” was applied to the model in 4,321 image passes, 13.0 % of those of retraining; "
        "the run took 1 min 11 s. The forget set has 40 pictures, 4 classes; the retain set has 120 pictures, 4 classes.",
        "at least 97.0 % of the retrained model",
        "at most 10.0 points",
        "at most 0.600",
        "at most 20.0 % of retraining",
        "Accuracy, forget set 40 as retrained",
        "Membership attack, forget set 40 near 0.5",
        "Balanced accuracy, test set 60 higher",
        "Distance to the retrained model",
        "Zero-retrain forgetting",
        "How sure the model is of the right class",
        "Image passes, of those of retraining 13.0 %",
        "Near-duplicates: 3 pictures",
    ):
        assert said in text, said
    for foreign in ("token", "Familiarity", "ordinary text", "Answers", "prompt", "benchmark", "not measured"):
        assert foreign not in text, foreign


@pytest.mark.usefixtures("figures_drawn")
def test_sound_page(tmp_path: Path) -> None:
    folder = make_classifier_run(tmp_path / "run")
    html = html_of(folder)
    page = Page(html)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert {load[1:] for load in page.loads} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert html_of(folder) == html


def test_losses_of_one_kind_share_a_panel(tmp_path: Path) -> None:
    text = words(html_of(make_classifier_run(tmp_path / "run")))
    assert "ascent from −0.100 to −0.600; descent from 1.200 to 0.700." in text


def test_without_a_retrained_model(tmp_path: Path) -> None:
    text = words(html_of(make_classifier_run(tmp_path / "run", retrained=False)))
    assert "at least 97.0 % of before" in text
    assert MISSING["retrained"] in text
    assert MISSING["benchmarks"] not in text
    assert "Distance to" not in text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    folder.recipe.write_text(ImageRecipe(data="faces", forget="class:9").to_yaml(), encoding="utf-8")
    text = words(html_of(folder))
    assert "The method “kookmin” was chosen. The run has not ended." in text
    for part in ("verdict", "headline", "confidences", "losses", "scores", "cost"):
        assert MISSING[part] in text, part


@pytest.mark.usefixtures("figures_drawn")
@pytest.mark.parametrize("damage", ["second stage", "no array", "empty file"])
def test_doubtful_outputs_are_not_drawn(tmp_path: Path, damage: str) -> None:
    folder = make_classifier_run(tmp_path / "run")
    for stage in list(folder.stages.glob("measured-*")):
        if damage == "second stage":
            other = stage.with_name(stage.name[:-4] + "beef")
            other.mkdir()
            (other / "outputs.npz").write_bytes((stage / "outputs.npz").read_bytes())
        elif damage == "no array":
            np.savez(stage / "outputs.npz", logits_forget=np.zeros((2, 2)))
        else:
            (stage / "outputs.npz").write_bytes(b"")
    assert MISSING["confidences"] in words(html_of(folder))


@pytest.mark.usefixtures("figures_drawn")
def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    method = {"name": EVIL, "settings": {EVIL: EVIL}, "citation": EVIL, "formula": EVIL}
    folder = make_classifier_run(tmp_path / "run", title=EVIL, method=method, warnings=[EVIL], stopped=EVIL)
    losses = next(folder.stages.glob("unlearned-*/trained.json"))
    losses.write_text(json.dumps({"losses": {EVIL: [1.0, 2.0]}}), encoding="utf-8")
    html = html_of(folder)
    assert "<script" not in html.lower()
    assert Page(html).text.count("alert(") >= 8


def test_language_runs_keep_their_report(tmp_path: Path) -> None:
    text = words(html_of(make_run(tmp_path / "run")))
    assert "The method “Who's Harry Potter?” was applied to the model in 48 steps" in text
    assert "The forget set has 96 documents, 12,345 tokens; the retain set has 92 documents, 11,020 tokens." in text
    assert "right class" not in text


def test_classifier_runs_can_be_compared(tmp_path: Path) -> None:
    folders = [make_classifier_run(tmp_path / name) for name in ("a", "b")]
    table = str(compare_runs(folders))
    assert "Accuracy, forget set" in table
    assert "SCRUB" in table


def test_one_of_everything_is_counted_in_the_singular() -> None:
    one = {"forget": {"pictures": 1, "classes": 1}, "retain": {"pictures": 2, "classes": 2}}
    expected = " The forget set has 1 picture, 1 class; the retain set has 2 pictures, 2 classes."
    assert sizes(one, ("pictures", "classes")) == expected


def test_names_from_citations() -> None:
    assert title("SCRUB+R (Kurmanji 2023, section 3.2): SCRUB, rewound.") == "SCRUB+R"
    assert title("Fine-tuning on the retain set, hoping that the rest fades (2021).") == "Fine-tuning on the retain set"
    assert title("Sun Jiaxi's seventh prize: noise.") == "Sun Jiaxi's seventh prize"
    assert title("l1-sparse unlearning.") == "l1-sparse unlearning"
    assert title("") is None


def test_bins_hold_every_value() -> None:
    groups = [np.linspace(-5.0, 5.0, 100), np.array([-400.0, 0.0, 0.1, 700.0])]
    edges = shared_bins(groups)
    assert len(edges) == 5 + 2 + 1
    for group in groups:
        assert shares(group, edges).sum() == pytest.approx(1)
    assert shares(groups[1], edges)[0] == 0.25
    constant = shared_bins([np.full(9, 3.0)])
    assert constant[0] < 3 < constant[-1]
